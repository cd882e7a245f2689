//! The switchboard: opens what a descriptor names and hands requests to it.
//!
//! It implements `sipp:host/endpoints`, which the client component imports. Here is the only fork: from an endpoint to
//! who answers.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio_util::sync::CancellationToken;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, HasData, Resource, ResourceTable, StreamProducer, StreamReader, StreamResult,
};

use crate::Error;
use crate::bindings::endpoints::{self, Capabilities, Descriptor};
use crate::bindings::types::{self, CancelReason, EmbedRequest, Embedding, Generation, Request, TokenBatch};
use crate::channel::{self, Ending, Feeder, Tokens};
use crate::sandbox::Limits;

/// What answers behind an endpoint.
///
/// A failure before the first token is an error of `generate`, a later one the answer's ending. To drop what a method
/// returned is to cancel it.
pub trait Answerer: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Answers a request for text.
    fn generate(self: Arc<Self>, request: Request) -> Answering<Answer>;

    /// Answers a request for vectors.
    fn embed(self: Arc<Self>, request: EmbedRequest) -> Answering<Embedding>;

    /// The engine, for those that have one.
    fn engine(&self) -> Option<&engine_sys::Engine> {
        None
    }
}

/// An answer on its way.
pub type Answering<A> = Pin<Box<dyn Future<Output = Result<A, Error>> + Send>>;

/// An answer that has begun.
pub struct Answer {
    pub(crate) tokens: Tokens,
    pub(crate) ending: Ending,
}

impl Answer {
    /// An answer, and what feeds it.
    #[must_use]
    pub fn new() -> (Feeder, Self) {
        let (feeder, tokens, ending) = channel::channel();
        (feeder, Self { tokens, ending })
    }
}

/// Told of a load's progress, from 0 to 1; says whether to go on.
pub type Progress = Box<dyn FnMut(f32) -> ControlFlow<()> + Send>;

/// Opens what a descriptor names. It may block.
pub type Open = Arc<dyn Fn(Descriptor, Progress) -> Result<Arc<dyn Answerer>, Error> + Send + Sync>;

/// An open endpoint, as the client component holds it.
#[expect(unreachable_pub, reason = "generated bindings name it in public traits")]
pub struct Endpoint {
    id: String,
    answerer: Arc<dyn Answerer>,
}

/// Answerers by endpoint id, for those who watch.
pub(crate) type Watch = Arc<Mutex<BTreeMap<String, Arc<dyn Answerer>>>>;

/// Calls that have no answer yet, by `context.call`: what cancels each.
pub(crate) type Calls = Arc<Mutex<BTreeMap<u32, CancellationToken>>>;

/// What the store of a client holds.
pub(crate) struct Switchboard {
    pub(crate) limits: Limits,
    pub(crate) watch: Watch,
    pub(crate) calls: Calls,
    /// Who wants to hear of the load of an endpoint, by its id.
    pub(crate) progress: BTreeMap<String, Progress>,
    open: Open,
    endpoints: ResourceTable,
}

impl Switchboard {
    pub(crate) fn new(open: Open, limits: Limits, watch: Watch) -> Self {
        let (calls, progress, endpoints) = (Calls::default(), BTreeMap::new(), ResourceTable::new());
        Self { limits, watch, calls, progress, open, endpoints }
    }
}

impl HasData for Switchboard {
    type Data<'a> = &'a mut Switchboard;
}

impl types::Host for Switchboard {}
impl endpoints::Host for Switchboard {}

impl endpoints::HostEndpoint for Switchboard {
    fn capabilities(&mut self, endpoint: Resource<Endpoint>) -> wasmtime::Result<Capabilities> {
        Ok(self.endpoints.get(&endpoint)?.answerer.capabilities())
    }

    fn drop(&mut self, endpoint: Resource<Endpoint>) -> wasmtime::Result<()> {
        let endpoint = self.endpoints.delete(endpoint)?;
        let mut watch = lock(&self.watch);
        if watch.get(&endpoint.id).is_some_and(|watched| Arc::ptr_eq(watched, &endpoint.answerer)) {
            watch.remove(&endpoint.id);
        }
        // Ending an engine waits for its thread; that must not hold up the client's.
        tokio::task::spawn_blocking(move || drop(endpoint));
        Ok(())
    }
}

impl<T: Send + 'static> endpoints::HostEndpointWithStore<T> for Switchboard {
    async fn open(
        accessor: &Accessor<T, Self>,
        id: String,
        descriptor: Descriptor,
    ) -> wasmtime::Result<Result<Resource<Endpoint>, types::Error>> {
        let (open, progress) = accessor.with(|mut access| {
            let switchboard = access.get();
            (switchboard.open.clone(), switchboard.progress.remove(&id))
        });
        let progress = progress.unwrap_or_else(|| Box::new(|_| ControlFlow::Continue(())));
        // Loading a model blocks for as long as the disk takes.
        let answerer = match tokio::task::spawn_blocking(move || open(descriptor, progress)).await? {
            Ok(answerer) => answerer,
            Err(error) => return Ok(Err(error.into())),
        };
        accessor.with(|mut access| {
            let switchboard = access.get();
            lock(&switchboard.watch).insert(id.clone(), answerer.clone());
            Ok(Ok(switchboard.endpoints.push(Endpoint { id, answerer })?))
        })
    }

    async fn generate(
        accessor: &Accessor<T, Self>,
        endpoint: Resource<Endpoint>,
        request: Request,
    ) -> wasmtime::Result<Result<Generation, types::Error>> {
        let (answerer, cancelled) = called(accessor, &endpoint, request.context.call)?;
        let Answer { tokens, ending } = match unless(cancelled, answerer.generate(request)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.into())),
        };
        let outcome = async move {
            let ending = ending.await.unwrap_or_else(|_| Err(Error::Internal("the endpoint went away".to_owned())));
            wasmtime::error::Ok(ending.map_err(types::Error::from))
        };
        accessor.with(|mut access| {
            let tokens = StreamReader::new(&mut access, TokenProducer(tokens))?;
            let outcome = FutureReader::new(&mut access, outcome)?;
            Ok(Ok(Generation { tokens, outcome }))
        })
    }

    async fn embed(
        accessor: &Accessor<T, Self>,
        endpoint: Resource<Endpoint>,
        request: EmbedRequest,
    ) -> wasmtime::Result<Result<Embedding, types::Error>> {
        let (answerer, cancelled) = called(accessor, &endpoint, request.context.call)?;
        Ok(unless(cancelled, answerer.embed(request)).await.map_err(types::Error::from))
    }
}

/// Who answers a call, and what cancels it.
fn called<T>(
    accessor: &Accessor<T, Switchboard>,
    endpoint: &Resource<Endpoint>,
    call: Option<u32>,
) -> wasmtime::Result<(Arc<dyn Answerer>, CancellationToken)> {
    accessor.with(|mut access| {
        let switchboard = access.get();
        let answerer = switchboard.endpoints.get(endpoint)?.answerer.clone();
        let cancelled = call.and_then(|call| lock(&switchboard.calls).get(&call).cloned());
        Ok((answerer, cancelled.unwrap_or_default()))
    })
}

/// The answer, unless the call is cancelled before there is one.
async fn unless<A>(cancelled: CancellationToken, answering: Answering<A>) -> Result<A, Error> {
    tokio::select! {
        answer = answering => answer,
        () = cancelled.cancelled() => Err(Error::Cancelled(CancelReason::CallerCancelled)),
    }
}

pub(crate) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    // The maps behind these locks are whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tokens of an answer, as a stream that components can hold.
pub(crate) struct TokenProducer(pub(crate) Tokens);

impl<D> StreamProducer<D> for TokenProducer {
    type Item = TokenBatch;
    type Buffer = Option<TokenBatch>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match Pin::new(&mut self.0).poll_next(context) {
            Poll::Ready(Some(batch)) => {
                destination.set_buffer(Some(batch));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Gives the tokens back to the host, when a component handed them on untouched: they cost nothing then.
    fn try_into(me: Pin<Box<Self>>, kind: TypeId) -> Result<Box<dyn Any>, Pin<Box<Self>>> {
        if kind == TypeId::of::<Self>() { Ok(Box::new(*Pin::into_inner(me))) } else { Err(me) }
    }
}
