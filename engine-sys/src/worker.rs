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
use crate::eyes;
use crate::info::ModelInfo;
use crate::model::{Model, Progress};
use crate::placement::Place;
use crate::plan::{Plan, Purpose};
use crate::projector::Projector;
#[cfg(not(target_os = "emscripten"))]
use crate::residency;
use crate::sampling::ModelSampling;
use crate::scheduler::{Rules, Scheduler};
use crate::slot::Job;
use crate::vision::{self, Vision};

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
    Text(Box<Writer>),
    Vectors(Box<Embedder>),
    /// The model only tells what it is; every request was refused before it came here.
    Nobody,
}

/// Writes text, and looks at images.
pub(crate) struct Writer {
    /// Ends before the model, which the scheduler keeps.
    eyes: Option<Eyes>,
    scheduler: Scheduler<Llama>,
    tally: Arc<Tally>,
}

/// Who looks at images.
enum Eyes {
    /// Whoever computes too, so that everyone waits.
    Here(Box<Vision>),
    /// A thread of its own.
    Thread(eyes::Thread),
}

impl Writer {
    fn submit(&mut self, mut job: Box<Job>) {
        // It comes back with the images that were looked at.
        let looks = job.images.is_empty() && vision::has_media(&job.request);
        match &mut self.eyes {
            Some(Eyes::Here(vision)) if looks => match vision.look(&mut job) {
                Ok(()) => self.scheduler.submit(*job),
                Err(error) => job.end_early(error, &self.tally),
            },
            Some(Eyes::Thread(thread)) if looks => thread.look(job),
            Some(_) | None => self.scheduler.submit(*job),
        }
    }
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
                let eyes = match &config.multimodal.projector {
                    Some(path) => {
                        let projector =
                            Projector::load(path, &config.multimodal, &model, &plan, !place.gpus().is_empty())?;
                        Some(Eyes::Here(Box::new(Vision::new(projector))))
                    }
                    None => None,
                };
                let backend = Llama::new(model, context, &plan);
                let scheduler = Scheduler::new(backend, Rules::new(&plan), Arc::clone(&tally));
                Self::Text(Box::new(Writer { eyes, scheduler, tally }))
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

    /// Has images looked at on a thread of their own, which gives the requests back through `commands`.
    fn look_aside(&mut self, commands: &Sender<Command>) -> Result<(), Error> {
        let Self::Text(writer) = self else { return Ok(()) };
        writer.eyes = match writer.eyes.take() {
            Some(Eyes::Here(vision)) => {
                let thread = eyes::Thread::start(vision, commands.clone(), Arc::clone(&writer.tally))?;
                Some(Eyes::Thread(thread))
            }
            other => other,
        };
        Ok(())
    }

    pub(crate) fn submit(&mut self, command: Command) -> ControlFlow<()> {
        match (self, command) {
            (_, Command::Stop) => return ControlFlow::Break(()),
            (Self::Text(writer), Command::Generate(job)) => writer.submit(job),
            (Self::Vectors(embedder), Command::Embed(job)) => embedder.submit(job),
            (Self::Text(_) | Self::Vectors(_) | Self::Nobody, Command::Generate(_) | Command::Embed(_)) => {}
        }
        ControlFlow::Continue(())
    }

    /// Does a bounded piece of work; says whether there is more.
    pub(crate) fn step(&mut self) -> bool {
        match self {
            Self::Text(writer) => writer.scheduler.step(),
            Self::Vectors(embedder) => embedder.step(),
            Self::Nobody => false,
        }
    }

    pub(crate) fn close(&mut self) {
        match self {
            Self::Text(writer) => {
                writer.eyes = None;
                writer.scheduler.close();
            }
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

/// The thread: loads, then works until it is told to stop, sleeping while there is nothing to do. `returned` is the other end
/// of `commands`.
pub(crate) fn run(
    config: &ModelConfig,
    mut progress: impl FnMut(f32) -> ControlFlow<()> + 'static,
    ready: &Sender<Ready>,
    commands: &Receiver<Command>,
    returned: &Sender<Command>,
    tally: Arc<Tally>,
) {
    let loaded = Worker::load(config, &mut progress, tally).and_then(|(mut worker, info, sampling)| {
        worker.look_aside(returned)?;
        Ok((worker, info, sampling))
    });
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
