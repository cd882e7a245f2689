//! The public listener's routes: HTTP in, a run of the client out.
//!
//! The order of the checks is fixed, so that a refusal tells an outsider no more than it must: who asks, is the body
//! what the route takes, may they use the target, does it exist, is there room.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use sipp::{Context, EndpointRef, Operation, SippClient};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::answer;
use crate::body;
use crate::callers::Callers;
use crate::exchange::Exchange;
use crate::http_error::{ErrorCode, HttpError};
use crate::metrics::{Metrics, OPERATIONS};
use crate::phase::Phase;
use crate::request_id;
use crate::targets::Targets;
use crate::wire::{self, ChatBody, EmbedBody, ModelList, QueryBody};

/// What the routes work with.
pub struct Edge {
    /// Answers requests.
    pub client: SippClient,
    /// The names that requests may use.
    pub targets: Targets,
    /// Who may ask.
    pub callers: Callers,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Where the gateway stands.
    pub phase: watch::Receiver<Phase>,
    /// Room for requests that run at the same time; without it there is no limit.
    pub room: Option<Arc<Semaphore>>,
    /// Bytes that a body may have.
    pub max_request_bytes: usize,
    /// Cancelled when running requests have to end.
    pub deadline: CancellationToken,
}

/// A request that passed every check.
#[derive(Debug)]
pub struct Admitted {
    /// The target's name.
    pub target: String,
    /// What is noted about the request.
    pub exchange: Exchange,
    /// Cancelled when the request has to end.
    pub deadline: CancellationToken,
    endpoint: EndpointRef,
    /// Held until the answer is complete.
    _room: Option<OwnedSemaphorePermit>,
}

const fn path(operation: Operation) -> &'static str {
    match operation {
        Operation::Query => "/v1/query",
        Operation::Chat => "/v1/chat",
        Operation::Embed => "/v1/embed",
    }
}

/// The routes `/v1/query`, `/v1/chat`, `/v1/embed` and `/v1/models`, and those of `beside`.
pub fn router(edge: Arc<Edge>, beside: Router) -> Router {
    let requests = Router::new()
        .route(path(Operation::Query), post(query))
        .route(path(Operation::Chat), post(chat))
        .route(path(Operation::Embed), post(embed))
        .method_not_allowed_fallback(|| async { HttpError::method_not_allowed("POST") });
    let models = Router::new()
        .route("/v1/models", get(models))
        .method_not_allowed_fallback(|| async { HttpError::method_not_allowed("GET,HEAD") });
    let router = requests.merge(models).merge(beside.with_state(()));
    with_json_failures(router).layer(middleware::from_fn_with_state(Arc::clone(&edge), note)).with_state(edge)
}

/// Answers unknown routes and panics as every other failure is answered.
pub fn with_json_failures<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|uri: Uri| async move { HttpError::unknown_route(uri.path()) })
        .layer(CatchPanicLayer::custom(|_| HttpError::internal().into_response()))
}

/// Opens the request's record, and closes it with the last byte of the answer.
async fn note(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let operation = OPERATIONS.into_iter().find(|&operation| path(operation) == request.uri().path());
    let exchange = Exchange::begin(&edge.metrics, request_id::of(request.headers()), operation);
    request.extensions_mut().insert(exchange.clone());
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::try_from(exchange.request_id()) {
        response.headers_mut().insert(request_id::REQUEST_ID, id);
    }
    exchange.answered(response.status(), response.extensions().get::<ErrorCode>().copied());
    response.map(|body| exchange.observe(body))
}

async fn query(
    State(edge): State<Arc<Edge>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Result<Response, HttpError> {
    let (body, admitted) = edge.admit::<QueryBody>(exchange, request).await?;
    let stream = body.stream();
    let run = edge.client.query(body.into_request(admitted.endpoint.clone(), admitted.context()));
    answer::text(run, admitted, stream).await
}

async fn chat(
    State(edge): State<Arc<Edge>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Result<Response, HttpError> {
    let (body, admitted) = edge.admit::<ChatBody>(exchange, request).await?;
    let stream = body.stream();
    let run = edge.client.chat(body.into_request(admitted.endpoint.clone(), admitted.context()));
    answer::text(run, admitted, stream).await
}

async fn embed(
    State(edge): State<Arc<Edge>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Result<Response, HttpError> {
    let (body, admitted) = edge.admit::<EmbedBody>(exchange, request).await?;
    let single = body.is_single();
    let run = edge.client.embed(body.into_request(admitted.endpoint.clone(), admitted.context()));
    answer::vectors(run, admitted, single).await
}

/// The targets that the caller may use, and what each can do.
async fn models(
    State(edge): State<Arc<Edge>>,
    Extension(exchange): Extension<Exchange>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = edge.callers.identify(&headers)?;
    exchange.called_by(caller.map(|caller| caller.name.as_str()));
    let entries = edge.client.list().await?;
    let usable = entries.iter().filter(|entry| caller.is_none_or(|caller| caller.may_use(&entry.endpoint.id)));
    Ok(Json(ModelList::of(usable)).into_response())
}

impl Edge {
    /// Takes a request through every check that comes before the client's own.
    async fn admit<B: wire::Body>(&self, exchange: Exchange, request: Request) -> Result<(B, Admitted), HttpError> {
        let caller = self.callers.identify(request.headers())?;
        exchange.called_by(caller.map(|caller| caller.name.as_str()));
        if *self.phase.borrow() == Phase::Draining {
            return Err(HttpError::draining());
        }
        let body = tokio::select! {
            body = body::read(request, self.max_request_bytes) => body?,
            // Who still sends when requests have to end is told so, before the connection is cut off.
            () = self.deadline.cancelled() => return Err(HttpError::draining()),
        };
        let body: B = wire::read(&body)?;
        if caller.is_some_and(|caller| !caller.may_use(body.model())) {
            return Err(HttpError::authorization());
        }
        let endpoint = self.targets.resolve(body.model())?.clone();
        exchange.goes_to(body.model());
        let room = match &self.room {
            Some(room) => Some(Arc::clone(room).try_acquire_owned().map_err(|_| HttpError::admission())?),
            None => None,
        };
        let (target, deadline) = (body.model().to_owned(), self.deadline.clone());
        Ok((body, Admitted { target, exchange, deadline, endpoint, _room: room }))
    }
}

impl Admitted {
    /// Who asked, for everybody behind the gateway.
    fn context(&self) -> Context {
        let request_id = Some(self.exchange.request_id().to_owned());
        Context { request_id, principal: self.exchange.caller(), ..Context::default() }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_as_every_other_failure() {
        async fn broken() -> Response {
            panic!("broken on purpose")
        }
        let router: Router = with_json_failures(Router::new().route("/", get(broken)));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let body = to_bytes(response.into_body(), 1000).await.unwrap();
        assert!(body.starts_with(br#"{"error":{"code":"internal","message":""#), "{body:?}");
    }
}
