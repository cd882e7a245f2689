//! Handles to the thread that owns a model: loading, requests, cancelling.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::config::{ModelConfig, Pooling};
use crate::conversation;
use crate::counters::{Counters, Tally};
use crate::embed::EmbedJob;
use crate::error::Error;
use crate::exit;
use crate::info::{ModelClass, ModelInfo};
use crate::model::Model;
use crate::placement::Place;
use crate::plan::Plan;
use crate::prompt;
use crate::reply::{EmbedDone, EmbedReply, TextReply};
use crate::request::{EmbedRequest, Embedding, Input, Listener, TextRequest};
use crate::sampling::ModelSampling;
use crate::slot::Job;
use crate::vision;
use crate::worker::{self, Command};

/// Some of llama.cpp's tokenisers and parsers recurse once for each character. Only pages that are used take memory.
const STACK_BYTES: usize = 256 << 20;

/// A loaded model that answers requests. Cheap to clone; every clone is a handle to the same thread.
///
/// When the last clone is dropped, running and queued requests end cancelled and the thread is joined.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    sampling: ModelSampling,
    commands: Sender<Command>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Loads a model and starts its thread. Blocks until the model is ready.
    ///
    /// `progress` is called on the engine's thread with 0 to 1 while weights are loaded; [`ControlFlow::Break`] ends
    /// the load.
    ///
    /// # Errors
    /// [`Error::Model`] for a bad file or configuration, [`Error::Cancelled`] if `progress` ended the load.
    pub fn load(
        config: ModelConfig,
        progress: impl FnMut(f32) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Self, Error> {
        let (commands, received) = channel();
        let returned = commands.clone();
        let (ready, loaded) = channel();
        let tally = Arc::new(Tally::default());
        let counted = Arc::clone(&tally);
        let (running, ended) = exit::life();
        let thread = thread::Builder::new()
            .name("sipp-engine".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _running = running;
                worker::run(&config, progress, &ready, &received, &returned, counted);
            })
            .map_err(|e| Error::Internal(format!("the engine's thread cannot be started: {e}")))?;
        let (info, sampling) = loaded
            .recv()
            .unwrap_or_else(|_| Err(Error::Internal("the engine's thread ended while loading".to_owned())))?;
        let stop = commands.clone();
        // A thread that has ended needs no stop.
        exit::wait_for(thread.thread().id(), ended, move || drop(stop.send(Command::Stop)));
        Ok(Self { shared: Arc::new(Shared { info, sampling, commands, tally, thread: Some(thread) }) })
    }

    /// What is known about the model.
    #[must_use]
    pub fn model(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// Queues a request for text.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] and [`Error::Unsupported`] for what can be seen at once, [`Error::Overloaded`] if as
    /// many requests wait as may; the listener is then dropped without a call. Everything else arrives through
    /// [`Listener::done`].
    pub fn generate(&self, request: TextRequest, listener: Box<dyn Listener>) -> Result<Cancel, Error> {
        let (job, cancel) = text_job(&self.shared.info, &self.shared.sampling, &self.shared.tally, request, listener)?;
        self.send(Command::Generate(Box::new(job)));
        Ok(cancel)
    }

    /// Queues a request for vectors. `done` is called once, on the engine's thread; it must not block.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn embed(
        &self,
        request: EmbedRequest,
        done: Box<dyn FnOnce(Result<Embedding, Error>) + Send>,
    ) -> Result<Cancel, Error> {
        let (job, cancel) = embed_job(&self.shared.info, &self.shared.tally, request, done)?;
        self.send(Command::Embed(job));
        Ok(cancel)
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }

    fn send(&self, command: Command) {
        // If the thread is gone, the command is dropped, and its reply says so.
        let _ = self.shared.commands.send(command);
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("model", &self.shared.info.path).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let Some(thread) = self.thread.take() else { return };
        // A listener may hold the last handle; the thread cannot wait for itself.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// Cancels one request. Dropping it does not.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Cancels the request, at the latest before its next token. Nothing happens if it has ended.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads what a model file holds without loading its weights.
///
/// # Errors
/// As [`Engine::load`].
pub fn inspect(path: &Path) -> Result<ModelInfo, Error> {
    let read = || {
        let model = Model::read_metadata(path, &Place::to_look())?;
        let plan = Plan::new(&ModelConfig::default(), &model)?;
        Ok(ModelInfo::new(path, &model, &plan))
    };
    aside(read)
}

/// Looks at a file on a stack as large as an engine's, for the reason given there.
pub(crate) fn aside<T: Send>(look: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("sipp-inspect".to_owned()).stack_size(STACK_BYTES);
        let thread = thread
            .spawn_scoped(scope, look)
            .map_err(|e| Error::Internal(format!("the thread that inspects cannot be started: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::Internal("the thread that inspects ended".to_owned())))
    })
}

/// A request for text that was checked and counted, and what cancels it.
pub(crate) fn text_job(
    info: &ModelInfo,
    sampling: &ModelSampling,
    tally: &Tally,
    request: TextRequest,
    listener: Box<dyn Listener>,
) -> Result<(Job, Cancel), Error> {
    check_generates(info)?;
    check_request(&request, info)?;
    let sampling = sampling.resolve(&request, info.vocabulary)?;
    enter(tally, info)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let job = Job {
        request,
        sampling,
        images: Vec::new(),
        reply: TextReply::new(listener),
        cancelled: Arc::clone(&cancelled),
        accepted: Instant::now(),
    };
    Ok((job, Cancel(cancelled)))
}

/// A request for vectors that was checked and counted, and what cancels it.
pub(crate) fn embed_job(
    info: &ModelInfo,
    tally: &Tally,
    request: EmbedRequest,
    done: EmbedDone,
) -> Result<(EmbedJob, Cancel), Error> {
    if !info.capabilities.embeds {
        return Err(Error::Unsupported(cannot_embed(info.capabilities.class)));
    }
    if request.inputs.is_empty() {
        return Err(Error::invalid("there is no input to embed"));
    }
    let ranks = info.capabilities.embedding.is_some_and(|embedding| embedding.pooling == Pooling::Rank);
    if request.query.is_some() && !ranks {
        return Err(Error::Unsupported(
            "only a model with pooling `rank` scores texts against a query; leave query out".to_owned(),
        ));
    }
    enter(tally, info)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let job =
        EmbedJob { request, reply: EmbedReply::new(done), cancelled: Arc::clone(&cancelled), accepted: Instant::now() };
    Ok((job, Cancel(cancelled)))
}

/// Counts a request that comes, or refuses it.
fn enter(tally: &Tally, info: &ModelInfo) -> Result<(), Error> {
    if tally.queue(info.most_requests) {
        return Ok(());
    }
    Err(Error::Overloaded(format!(
        "{} requests run or wait already, as many as may; try again later or raise max_queued_requests",
        info.most_requests
    )))
}

fn check_generates(info: &ModelInfo) -> Result<(), Error> {
    let capabilities = &info.capabilities;
    if capabilities.generates_text {
        return Ok(());
    }
    Err(Error::Unsupported(
        match capabilities.class {
            ModelClass::EncoderOnly => "an encoder-only model writes no text; use embed",
            ModelClass::EncoderDecoder => "the model drafts for another one and writes no text of its own",
            ModelClass::DecoderOnly if capabilities.embeds => {
                "the model is loaded for embeddings; load it without embeddings to write text"
            }
            ModelClass::DecoderOnly => "a diffusion model does not continue text; use another model",
        }
        .to_owned(),
    ))
}

fn check_request(request: &TextRequest, info: &ModelInfo) -> Result<(), Error> {
    if request.max_tokens == Some(0) {
        return Err(Error::invalid("max_tokens is 0; it must be at least 1"));
    }
    if request.stop.iter().any(String::is_empty) {
        return Err(Error::invalid("stop contains an empty text; leave it out"));
    }
    if request.grammar.is_some() && request.json_schema.is_some() {
        return Err(Error::invalid("grammar and json_schema exclude each other; give one of them"));
    }
    if vision::has_media(request) && !info.capabilities.sees {
        return Err(Error::Unsupported(
            "the model takes no images; load it with the projector that belongs to it, or send text only".to_owned(),
        ));
    }
    conversation::check(request)?;
    match &request.input {
        Input::Chat(messages) if messages.is_empty() => Err(Error::invalid("there are no messages; give at least one")),
        Input::Chat(_) if info.chat_template.is_none() => Err(prompt::no_template()),
        Input::Chat(_) | Input::Prompt(_) => Ok(()),
    }
}

fn cannot_embed(class: ModelClass) -> String {
    match class {
        ModelClass::EncoderOnly => "pooling `none` leaves one vector a token; configure another pooling to embed",
        ModelClass::EncoderDecoder => "an encoder-decoder model has no embeddings; use another model",
        ModelClass::DecoderOnly => {
            "the model is loaded for text; load it with embeddings set to true and a pooling other than `none`"
        }
    }
    .to_owned()
}
