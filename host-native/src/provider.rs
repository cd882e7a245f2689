//! Gateways and providers: endpoints that an adapter answers, a component in a store of its own for each request.

mod adapter;
mod connection;
mod outbound;
mod retry;
mod session;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::value::RawValue;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::Store;
use wasmtime::component::Accessor;

use crate::bindings::adapter::Description;
use crate::bindings::adapter::Provider as World;
use crate::bindings::adapter::endpoint::Settings;
use crate::bindings::endpoints::{
    Authentication, Capabilities, GatewayDescriptor, Header, ProviderDescriptor, Routes, Support, Timeouts,
};
use crate::bindings::types::{
    Context, EmbedRequest, Embedding, Extension, FinishReason, Generation, Metadata, Operation, Outcome, Request,
};
use crate::channel::{self, Feeder};
use crate::pipe::{OutcomeConsumer, TokenConsumer};
use crate::sandbox;
use crate::secret::{Secret, Vault};
use crate::switchboard::{Answer, Answerer, Answering};
use crate::{Error, Network};
use adapter::Adapter;
use outbound::{Outbound, Placement, Route};
use session::Session;

/// How often an endpoint is asked again, where its descriptor does not say.
const RETRIES: u32 = 2;

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

/// Opens a provider's model.
pub(crate) fn open_provider(
    descriptor: ProviderDescriptor,
    vault: &Vault,
    network: &Arc<Network>,
) -> Result<Remote, Error> {
    let provider = match descriptor.provider.as_str() {
        "openai-compatible" if descriptor.component.is_none() => "openai_compatible".to_owned(),
        other => other.to_owned(),
    };
    let adapter = match &descriptor.component {
        Some(path) => Adapter::of_file(Path::new(path))?,
        None => Adapter::own(&provider)?,
    };
    Opening {
        provider,
        model: descriptor.model,
        base_url: descriptor.base_url,
        authentication: descriptor.authentication,
        version: descriptor.version,
        correlation_header: descriptor.correlation_header,
        headers: descriptor.headers,
        timeouts: descriptor.timeouts,
        options: descriptor.options,
        retries: descriptor.retries,
    }
    .open(adapter, vault, network)
}

/// Opens a gateway's target.
pub(crate) fn open_gateway(
    descriptor: GatewayDescriptor,
    vault: &Vault,
    network: &Arc<Network>,
) -> Result<Remote, Error> {
    let options = vec![
        Extension { name: "routes".to_owned(), value: routes(&descriptor.routes) },
        Extension { name: "protocol_options".to_owned(), value: object(&descriptor.protocol_options)? },
    ];
    Opening {
        provider: "gateway".to_owned(),
        model: descriptor.target,
        base_url: Some(descriptor.base_url),
        authentication: descriptor.authentication,
        version: None,
        correlation_header: None,
        headers: descriptor.headers,
        timeouts: descriptor.timeouts,
        options,
        retries: descriptor.retries,
    }
    .open(Adapter::own("gateway")?, vault, network)
}

fn routes(routes: &Routes) -> String {
    let named = [("query", &routes.query), ("chat", &routes.chat), ("embed", &routes.embed)];
    let given = named.into_iter().filter_map(|(name, route)| Some((name.to_owned(), route.clone()?.into())));
    serde_json::Value::Object(given.collect()).to_string()
}

/// Fields as one JSON object.
fn object(fields: &[Extension]) -> Result<String, Error> {
    let mut texts = Vec::new();
    for Extension { name, value } in fields {
        let value: &RawValue = serde_json::from_str(value)
            .map_err(|error| Error::InvalidRequest(format!("protocol_options.{name} is not JSON: {error}")))?;
        texts.push(format!("{}:{value}", serde_json::Value::from(name.as_str())));
    }
    Ok(format!("{{{}}}", texts.join(",")))
}

/// What both kinds of descriptor come down to.
struct Opening {
    provider: String,
    model: String,
    base_url: Option<String>,
    authentication: Authentication,
    version: Option<String>,
    correlation_header: Option<String>,
    headers: Vec<Header>,
    timeouts: Timeouts,
    options: Vec<Extension>,
    retries: Option<u32>,
}

impl Opening {
    fn open(self, adapter: Arc<Adapter>, vault: &Vault, network: &Arc<Network>) -> Result<Remote, Error> {
        let description = adapter.description(&self.provider)?;
        let base_url = self.base_url.as_ref().or(description.base_url.as_ref()).ok_or_else(|| {
            Error::InvalidRequest(format!("base_url is required for {} endpoint descriptors", self.provider))
        })?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        let url: Uri = base_url
            .parse()
            .map_err(|error| Error::InvalidRequest(format!("base_url `{base_url}` is not a URL: {error}")))?;
        let milliseconds = |own: Option<u32>, usual| Duration::from_millis(own.unwrap_or(usual).into());
        let route = Route {
            pool: connection::pool(&url, network, milliseconds(self.timeouts.connect, 10_000))?,
            credential: placement(&self.authentication, description, vault)?,
            headers: headers(&self.headers)?,
            request: milliseconds(self.timeouts.request, 60_000),
            idle: milliseconds(self.timeouts.idle, 60_000),
            base_url: url,
        };
        let settings = Settings {
            provider: self.provider,
            model: self.model,
            base_url,
            version: self.version,
            correlation_header: self.correlation_header,
            options: self.options,
        };
        Ok(Remote {
            operations: description.operations.clone(),
            settings: Arc::new(settings),
            route: Arc::new(route),
            retries: self.retries.unwrap_or(RETRIES),
            adapter,
        })
    }
}

/// Where the credential goes: as the descriptor says, or else as the adapter does.
fn placement(
    authentication: &Authentication,
    description: &Description,
    vault: &Vault,
) -> Result<Option<Placement>, Error> {
    let (header, prefix, credential) = match authentication {
        Authentication::None => return Ok(None),
        Authentication::ApiKey(credential) => match &description.credential {
            Some(own) => (own.name.clone(), own.prefix.clone(), *credential),
            None => {
                let provider = &description.provider;
                return Err(Error::InvalidRequest(format!(
                    "provider `{provider}` takes no api_key; use bearer or header"
                )));
            }
        },
        Authentication::Bearer(credential) => ("authorization".to_owned(), "Bearer ".to_owned(), *credential),
        Authentication::Header(own) => (own.name.clone(), String::new(), own.value),
    };
    let header = HeaderName::try_from(&header)
        .map_err(|_| Error::InvalidRequest(format!("authentication header `{header}` is not a header name")))?;
    let secret: Arc<Secret> = vault.get(credential)?;
    secret.check()?;
    Ok(Some(Placement { header, prefix, secret }))
}

fn headers(own: &[Header]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for Header { name, value } in own {
        let refused = || Error::InvalidRequest(format!("header `{name}` cannot be sent"));
        let name = HeaderName::try_from(name).map_err(|_| refused())?;
        headers.append(name, HeaderValue::try_from(value).map_err(|_| refused())?);
    }
    Ok(headers)
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
                let mut attempt = self.clone().attempt(request.clone(), retries)?;
                match attempt.begun().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => match self.again(&error, retries, &attempt.outbound) {
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
                    Ok(mut embedding) => {
                        embedding.metadata.retries = retries;
                        return Ok(embedding);
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

fn gone() -> Error {
    Error::Internal("the endpoint went away".to_owned())
}

/// An attempt whose answer has not begun.
struct Attempt {
    outbound: Outbound,
    answer: Option<Answer>,
}

impl Attempt {
    /// Waits for the first token, or for the end when there is none.
    async fn begun(&mut self) -> Result<Answer, Error> {
        let Some(mut answer) = self.answer.take() else { return Err(gone()) };
        if answer.tokens.begun().await {
            return Ok(answer);
        }
        let outcome = answer.ending.await.unwrap_or_else(|_| Err(gone()))?;
        // An answer without a token is one too.
        Ok(Answer { ending: channel::ended(Ok(outcome)), ..answer })
    }
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
    fn attempt(self: Arc<Self>, request: Request, retries: u32) -> Result<Attempt, Error> {
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
                Ok(outcome) => Ok(Outcome { metadata: Metadata { retries, ..outcome.metadata }, ..outcome }),
                // Who cancelled wants an end, whatever became of the upstream meanwhile.
                Err(_) if cancelled.is_cancelled() => Ok(cut_off(context, retries)),
                Err(error) => Err(out.judged(error)),
            };
            // Nobody may want to know any more.
            let _ = ender.send(ended);
        });
        Ok(Attempt { outbound, answer: Some(Answer { tokens, ending }) })
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
