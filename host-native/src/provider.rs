//! Gateways and providers: endpoints that an adapter answers, a component in a store of its own for each request.

mod adapter;
mod connection;
mod guarded;
pub(crate) mod opening;
mod outbound;
mod retry;
mod session;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::Store;
use wasmtime::component::Accessor;

use crate::Error;
use crate::bindings::adapter::Provider as World;
use crate::bindings::adapter::endpoint::Settings;
use crate::bindings::endpoints::{Capabilities, Support};
use crate::bindings::types::{
    Context, EmbedRequest, Embedding, FinishReason, Generation, Metadata, Operation, Outcome, Request,
};
use crate::channel::{self, Feeder};
use crate::pipe::{OutcomeConsumer, TokenConsumer};
use crate::sandbox;
use crate::switchboard::{Answer, Answerer, Answering};
use adapter::Adapter;
use outbound::{Outbound, Route};
use session::Session;

/// How long an adapter has to end a cancelled answer with what it knows.
const GRACE: Duration = Duration::from_millis(250);

/// A gateway's target or a provider's model.
pub(crate) struct Remote {
    adapter: Arc<Adapter>,
    settings: Arc<Settings>,
    route: Arc<Route>,
    operations: Vec<Operation>,
    retries: u32,
}

impl Answerer for Remote {
    fn capabilities(&self) -> Capabilities {
        let can =
            |operation| if self.operations.contains(&operation) { Support::Unknown } else { Support::Unsupported };
        Capabilities { query: can(Operation::Query), chat: can(Operation::Chat), embed: can(Operation::Embed) }
    }

    fn generate(self: Arc<Self>, request: Request) -> Answering<Answer> {
        Box::pin(async move {
            let mut retries = 0;
            loop {
                let (outbound, answer) = self.clone().attempt(request.clone(), retries)?;
                match begun(answer).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => match self.again(&error, retries, &outbound) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => return Err(error),
                    },
                }
                retries += 1;
            }
        })
    }

    fn embed(self: Arc<Self>, request: EmbedRequest) -> Answering<Embedding> {
        Box::pin(async move {
            let mut retries = 0;
            loop {
                let EmbedAttempt { outbound, embedded, _guard } = self.clone().embed_once(request.clone())?;
                let error = match embedded.await.unwrap_or_else(|_| Err(gone())) {
                    Ok(embedding) => {
                        return Ok(Embedding { metadata: counted(embedding.metadata, retries), ..embedding });
                    }
                    Err(error) => error,
                };
                match self.again(&error, retries, &outbound) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                }
                retries += 1;
            }
        })
    }
}

/// With the retries of this host, besides those of a gateway behind it.
fn counted(metadata: Metadata, retries: u32) -> Metadata {
    Metadata { retries: metadata.retries.saturating_add(retries), ..metadata }
}

fn gone() -> Error {
    Error::Internal("the endpoint went away".to_owned())
}

/// Waits for the first token, or for the end when there is none.
async fn begun(mut answer: Answer) -> Result<Answer, Error> {
    if answer.tokens.begun().await {
        return Ok(answer);
    }
    let outcome = answer.ending.await.unwrap_or_else(|_| Err(gone()))?;
    // An answer without a token is one too.
    Ok(Answer { ending: channel::ended(Ok(outcome)), ..answer })
}

/// An attempt to get vectors. To drop it is to cancel it.
struct EmbedAttempt {
    outbound: Outbound,
    embedded: oneshot::Receiver<Result<Embedding, Error>>,
    _guard: DropGuard,
}

impl Remote {
    fn again(&self, error: &Error, retries: u32, outbound: &Outbound) -> Option<Duration> {
        let wait = retry::wait(error, retries, outbound.may_pass()).filter(|_| retries < self.retries)?;
        let provider = self.settings.provider.as_str();
        tracing::info!(provider, retries, wait_ms = wait.as_millis() as u64, "an upstream failed and is asked again");
        Some(wait)
    }

    /// Begins to answer, in a store of its own.
    fn attempt(self: Arc<Self>, request: Request, retries: u32) -> Result<(Outbound, Answer), Error> {
        let cancelled = CancellationToken::new();
        let outbound = Outbound::new(self.route.clone(), request.options.stream == Some(false), cancelled.clone());
        let (mut feeder, tokens, ending) = channel::channel();
        let Some(ender) = feeder.split_ending() else { return Err(gone()) };
        let stop = cancelled.clone();
        feeder.canceller().on_cancel(move || stop.cancel());
        let (remote, session) = (self.clone(), Session::new(self.settings.clone(), outbound.clone()));
        let out = outbound.clone();
        runtime()?.spawn(async move {
            let context = request.context.clone();
            let ended = remote.drive(session, cancelled.clone(), |accessor, adapter| {
                Box::pin(async move {
                    match adapter.sipp_inference_inference().call_generate(accessor, request).await? {
                        Ok(generation) => follow(accessor, generation, feeder).await,
                        Err(error) => Ok(Err(Error::from(error))),
                    }
                })
            });
            let ended = match ended.await {
                Ok(outcome) => Ok(Outcome { metadata: counted(outcome.metadata, retries), ..outcome }),
                // Who cancelled wants an end, whatever became of the upstream meanwhile.
                Err(_) if cancelled.is_cancelled() => Ok(cut_off(context, retries)),
                Err(error) => Err(out.judged(error)),
            };
            // Nobody may want to know any more.
            let _ = ender.send(ended);
        });
        Ok((outbound, Answer { tokens, ending }))
    }

    fn embed_once(self: Arc<Self>, request: EmbedRequest) -> Result<EmbedAttempt, Error> {
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        let outbound = Outbound::new(self.route.clone(), true, cancelled.clone());
        let (remote, session) = (self.clone(), Session::new(self.settings.clone(), outbound.clone()));
        let (done, embedded) = oneshot::channel();
        let out = outbound.clone();
        runtime()?.spawn(async move {
            let ended = remote.drive(session, cancelled, |accessor, adapter| {
                Box::pin(async move {
                    let embedded = adapter.sipp_inference_inference().call_embed(accessor, request).await?;
                    Ok(embedded.map_err(Error::from))
                })
            });
            let ended = ended.await.map_err(|error| out.judged(error));
            // Nobody may want it any more.
            let _ = done.send(ended);
        });
        Ok(EmbedAttempt { outbound, embedded, _guard: guard })
    }

    /// Runs the adapter for one request, until it is done or, once cancelled, was given its time.
    async fn drive<R: Send + 'static>(
        &self,
        session: Session,
        cancelled: CancellationToken,
        act: impl for<'a> FnOnce(&'a Accessor<Session>, World) -> Act<'a, R> + Send,
    ) -> Result<R, Error> {
        let component = &self.adapter.component;
        let mut store = Store::new(component.engine(), session);
        let meter = sandbox::confine(&mut store, Session::limits);
        let drive = async {
            let adapter = component.instantiate_async(&mut store).await?;
            store.run_concurrent(async |accessor| act(accessor, adapter).await).await?
        };
        let given_up = async {
            cancelled.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let ended = tokio::select! {
            ended = meter.measure(drive) => ended,
            () = given_up => return Err(gone()),
        };
        ended.unwrap_or_else(|error| Err(self.trapped(&error)))
    }

    fn trapped(&self, error: &wasmtime::Error) -> Error {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Error::Overloaded(format!("too many requests run at once: {error}"));
        }
        Error::Internal(format!("the adapter {} failed: {error:#}", self.adapter.name))
    }
}

/// What an adapter is asked, on its way: a trap, or else an answer.
type Act<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<Result<R, Error>>> + Send + 'a>>;

/// Carries an adapter's answer out of its store, to its end.
async fn follow(
    accessor: &Accessor<Session>,
    generation: Generation,
    feeder: Feeder,
) -> wasmtime::Result<Result<Outcome, Error>> {
    let Generation { tokens, outcome } = generation;
    let (told, ending) = oneshot::channel();
    let (end, drained) = oneshot::channel();
    accessor.with(|mut access| {
        outcome.pipe(&mut access, OutcomeConsumer(Some(told)))?;
        tokens.pipe(&mut access, TokenConsumer { feeder, _end: Some(end) })
    })?;
    let ended = ending.await.unwrap_or_else(|_| Err(Error::Internal("the adapter gave no outcome".to_owned())));
    // The store goes with this function, so what the adapter still writes must have come.
    let _ = drained.await;
    Ok(ended)
}

/// How an answer ended that was cancelled before its adapter could say.
fn cut_off(context: Context, retries: u32) -> Outcome {
    Outcome {
        finish: FinishReason::Cancelled,
        usage: None,
        stats: None,
        metadata: Metadata {
            request_id: context.request_id,
            upstream_request_id: None,
            upstream_response_id: None,
            retries,
        },
    }
}

/// Where adapters run, and their connections: one for the process, however many clients it has.
fn runtime() -> Result<&'static Handle, Error> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(thread::available_parallelism().map_or(2, usize::from).min(8))
            .thread_name("sipp-providers")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start threads for providers: {error}"))
    };
    RUNTIME.get_or_init(start).as_ref().map(Runtime::handle).map_err(|error| Error::Internal(error.clone()))
}
