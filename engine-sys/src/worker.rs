//! What the engine's thread does: it loads a model and works off requests.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use crate::backend::Llama;
use crate::config::ModelConfig;
use crate::context::{Context, Failed};
use crate::counters::Tally;
use crate::embed::{EmbedJob, Embedder};
use crate::error::{Error, ModelFault};
use crate::info::ModelInfo;
use crate::model::{Model, Progress};
use crate::placement::Place;
use crate::plan::{Plan, Purpose};
#[cfg(not(target_os = "emscripten"))]
use crate::residency;
use crate::sampling::ModelSampling;
use crate::scheduler::{Rules, Scheduler};
use crate::slot::Job;

/// What a handle asks of the thread.
pub(crate) enum Command {
    Generate(Box<Job>),
    Embed(EmbedJob),
    Stop,
}

/// What the thread tells the loading caller.
pub(crate) type Ready = Result<(ModelInfo, ModelSampling), Error>;

/// Who does the work.
pub(crate) enum Worker {
    Text(Box<Scheduler<Llama>>),
    Vectors(Box<Embedder>),
    /// The model only tells what it is; every request was refused before it came here.
    Nobody,
}

impl Worker {
    /// Loads a model. Blocks until it is ready.
    pub(crate) fn load(
        config: &ModelConfig,
        progress: &mut Progress,
        tally: Arc<Tally>,
    ) -> Result<(Self, ModelInfo, ModelSampling), Error> {
        let place = Place::new(config)?;
        #[cfg(not(target_os = "emscripten"))]
        let leases = residency::admit(config, &place)?;
        #[cfg_attr(target_os = "emscripten", expect(unused_mut, reason = "there are no leases"))]
        let mut model = Model::load(&config.path, &place, progress)?;
        #[cfg(not(target_os = "emscripten"))]
        model.keep(leases);
        let model = Rc::new(model);
        let plan = Plan::new(config, &model)?;
        let info = ModelInfo::new(&config.path, &model, &plan);
        let sampling = ModelSampling::new(config.sampling.clone(), info.vocabulary)?;
        let worker = match plan.purpose {
            Purpose::Text => {
                let context = context(&config.path, Rc::clone(&model), &plan)?;
                if plan.shift.is_some() && !context.can_shift() {
                    return Err(Error::configuration("this model cannot shift its context; leave context_shift out"));
                }
                let backend = Llama::new(model, context, &plan);
                Self::Text(Box::new(Scheduler::new(backend, Rules::new(&plan), tally)))
            }
            Purpose::Vectors(_) => Self::Vectors(Box::new(Embedder::new(
                Rc::clone(&model),
                context(&config.path, model, &plan)?,
                &plan,
                tally,
            ))),
            Purpose::Nothing => Self::Nobody,
        };
        Ok((worker, info, sampling))
    }

    pub(crate) fn submit(&mut self, command: Command) -> ControlFlow<()> {
        match (self, command) {
            (_, Command::Stop) => return ControlFlow::Break(()),
            (Self::Text(scheduler), Command::Generate(job)) => scheduler.submit(*job),
            (Self::Vectors(embedder), Command::Embed(job)) => embedder.submit(job),
            (Self::Text(_) | Self::Vectors(_) | Self::Nobody, Command::Generate(_) | Command::Embed(_)) => {}
        }
        ControlFlow::Continue(())
    }

    /// Does a bounded piece of work; says whether there is more.
    pub(crate) fn step(&mut self) -> bool {
        match self {
            Self::Text(scheduler) => scheduler.step(),
            Self::Vectors(embedder) => embedder.step(),
            Self::Nobody => false,
        }
    }

    pub(crate) fn close(&mut self) {
        match self {
            Self::Text(scheduler) => scheduler.close(),
            Self::Vectors(embedder) => embedder.close(),
            Self::Nobody => {}
        }
    }
}

/// Makes the context and, unless configured otherwise, computes one token in it, so that the first request finds
/// weights and buffers in place.
fn context(path: &Path, model: Rc<Model>, plan: &Plan) -> Result<Context, Error> {
    let mut context = Context::new(model, plan)?;
    if plan.warmup
        && let Err(Failed::Broken(reason)) = context.prove()
    {
        let message = format!("{} does not compute: {reason}", path.display());
        return Err(Error::model(ModelFault::Corrupt, message));
    }
    Ok(context)
}

/// The thread: loads, then works until it is told to stop, sleeping while there is nothing to do.
pub(crate) fn run(
    config: &ModelConfig,
    mut progress: impl FnMut(f32) -> ControlFlow<()> + 'static,
    ready: &Sender<Ready>,
    commands: &Receiver<Command>,
    tally: Arc<Tally>,
) {
    let loaded = Worker::load(config, &mut progress, tally);
    // Whoever listens to the progress learns from this that there is no more.
    drop(progress);
    let mut worker = match loaded {
        Ok((worker, info, sampling)) => {
            // If nobody waits any more, there will be no handle, and the channel below is closed.
            let _ = ready.send(Ok((info, sampling)));
            worker
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let mut busy = false;
    loop {
        let command = if busy { commands.try_recv().ok() } else { Some(commands.recv().unwrap_or(Command::Stop)) };
        match command {
            Some(command) => {
                if worker.submit(command).is_break() {
                    break;
                }
                busy = true;
            }
            None => busy = worker.step(),
        }
    }
    worker.close();
}
