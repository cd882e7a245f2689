//! The client: a handle to the thread that runs its component.
//!
//! A store of components belongs to one thread at a time. So each client has a thread of its own, which waits for
//! commands and never computes a token; handles send commands from anywhere, from any async runtime or none.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use crate::Error;
use crate::bindings::client::{ChatRequest, EmbedRequest, EndpointEntry, EndpointRef, QueryRequest};
use crate::bindings::endpoints::{Credential, Descriptor};
use crate::bindings::types::CancelReason;
use crate::bindings::{App, AppPre};
use crate::channel::WeakCanceller;
use crate::local::Local;
use crate::network::Network;
use crate::provider::opening;
use crate::run::{EmbedRun, TextRun};
use crate::sandbox::{self, Builtin, Limits};
use crate::secret::{Secret, Vault};
use crate::switchboard::{Answerer, Open, Progress, Switchboard, Watch, lock};
use crate::worker::{self, Command};

/// One client for language models, wherever they run.
///
/// It is cheap to clone, and its clones share their endpoints. When the last clone and the last run are gone, its
/// endpoints are closed.
#[derive(Clone)]
pub struct SippClient {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    vault: Arc<Vault>,
    commands: mpsc::UnboundedSender<Command>,
    /// Why the component ended, once it did.
    fate: Arc<OnceLock<Error>>,
    watch: Watch,
    /// Answers under way, to be cancelled by `close`.
    running: Mutex<Vec<WeakCanceller>>,
}

impl Inner {
    pub(crate) fn send(&self, command: Command) {
        // When the thread has ended, the command is dropped, and with it the sender of its reply.
        let _ = self.commands.send(command);
    }

    /// Why no reply came.
    pub(crate) fn fate(&self) -> Error {
        self.fate.get().cloned().unwrap_or(Error::Closed)
    }

    /// Remembers an answer, so that `close` can cancel it.
    pub(crate) fn remember(&self, canceller: WeakCanceller) {
        let mut running = lock(&self.running);
        running.retain(WeakCanceller::is_alive);
        running.push(canceller);
    }

    fn cancel_all(&self, reason: CancelReason) {
        for run in lock(&self.running).drain(..) {
            run.cancel(reason);
        }
    }
}

/// A local engine and what it counted, for metrics.
#[derive(Debug, Clone)]
pub struct EngineEntry {
    /// Id of the endpoint.
    pub id: String,
    /// The model.
    pub model: engine_sys::ModelInfo,
    /// Counted since it was loaded.
    pub counters: engine_sys::Counters,
}

impl SippClient {
    /// A client without endpoints.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when this machine cannot run components, or start a thread.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A client with settings of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client whose component and endpoints are somebody's own: for measurements and for tests of the host.
    ///
    /// `component` is a component of the world `sipp:client/app`, as WebAssembly.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when the component does not fit the world.
    #[doc(hidden)]
    pub fn with_parts(component: Option<&[u8]>, open: Option<Open>) -> Result<Self, Error> {
        let component = match component {
            Some(bytes) => Component::new(sandbox::engine()?, bytes).map_err(internal)?,
            None => sandbox::builtin(Builtin::Client)?.clone(),
        };
        let vault = Arc::new(Vault::default());
        let open = open.unwrap_or_else(|| opener(vault.clone(), Arc::default()));
        Self::with(component, open, vault)
    }

    fn with(component: Component, open: Open, vault: Arc<Vault>) -> Result<Self, Error> {
        let app = link(&component)?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let fate = Arc::new(OnceLock::new());
        let watch = Watch::default();
        let switchboard = Switchboard::new(open, Limits::new(), watch.clone());
        let store = Store::new(component.engine(), switchboard);
        let end = fate.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| Error::Internal(format!("cannot start a client: {error}")))?;
        let run = move || {
            runtime.block_on(worker::run(store, app, inbox, end));
            // Loads that still run are told to stop by their progress, at their own pace.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name("sipp-client".to_owned())
            .spawn(run)
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { inner: Arc::new(Inner { vault, commands, fate, watch, running: Mutex::default() }) })
    }

    /// Keeps a secret for descriptors of this client, which name it by the number that is returned.
    #[must_use = "the number is the only name of the secret"]
    pub fn credential(&self, secret: Secret) -> Credential {
        self.inner.vault.keep(secret)
    }

    /// Gives a secret up. Endpoints that were opened with it keep it until they are gone.
    pub fn forget(&self, credential: Credential) {
        self.inner.vault.forget(credential);
    }

    /// Opens an endpoint and gives it an id.
    ///
    /// An endpoint of any kind that had the id is replaced once the new one is open; when opening fails, it stays. To
    /// drop the future is to give the load up.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for an id or a descriptor that breaks a rule, [`Error::Model`] for a model that cannot
    /// be loaded.
    pub async fn add(&self, id: impl Into<String>, descriptor: impl Into<Descriptor>) -> Result<EndpointRef, Error> {
        self.add_with_progress(id, descriptor, |_| ()).await
    }

    /// As [`add`](Self::add), and tells how far the load is, from 0 to 1.
    ///
    /// # Errors
    ///
    /// As `add`.
    pub async fn add_with_progress(
        &self,
        id: impl Into<String>,
        descriptor: impl Into<Descriptor>,
        mut progress: impl FnMut(f32) + Send + 'static,
    ) -> Result<EndpointRef, Error> {
        let (reply, answer) = oneshot::channel();
        // Lives as long as this future: a load that nobody waits for any more is given up.
        let (_wanted, mut unwanted) = oneshot::channel::<()>();
        let progress: Progress = Box::new(move |fraction| {
            if matches!(unwanted.try_recv(), Err(oneshot::error::TryRecvError::Closed)) {
                return ControlFlow::Break(());
            }
            progress(fraction);
            ControlFlow::Continue(())
        });
        self.inner.send(Command::Add { id: id.into(), descriptor: descriptor.into(), progress, reply });
        answer.await.unwrap_or_else(|_| Err(self.inner.fate()))
    }

    /// Takes an endpoint out. Requests that run on it go on.
    ///
    /// # Errors
    ///
    /// [`Error::EndpointNotFound`] when there is no such endpoint.
    pub async fn remove(&self, endpoint: &EndpointRef) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Command::Remove { endpoint: endpoint.clone(), reply });
        answer.await.unwrap_or_else(|_| Err(self.inner.fate()))
    }

    /// The endpoints and what each can do, by id.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when the component failed.
    pub async fn list(&self) -> Result<Vec<EndpointEntry>, Error> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Command::List { reply });
        answer.await.map_err(|_| self.inner.fate())
    }

    /// Continues a raw prompt. The run starts at once.
    #[must_use = "dropping a run cancels it"]
    pub fn query(&self, request: impl Into<QueryRequest>) -> TextRun {
        let request = request.into();
        TextRun::start(self.inner.clone(), |asked, reply| Command::Query { request, asked, reply })
    }

    /// Answers a conversation. The run starts at once.
    #[must_use = "dropping a run cancels it"]
    pub fn chat(&self, request: impl Into<ChatRequest>) -> TextRun {
        let request = request.into();
        TextRun::start(self.inner.clone(), |asked, reply| Command::Chat { request, asked, reply })
    }

    /// Turns texts into vectors. The run starts at once.
    #[must_use = "dropping a run cancels it"]
    pub fn embed(&self, request: impl Into<EmbedRequest>) -> EmbedRun {
        EmbedRun::start(self.inner.clone(), request.into())
    }

    /// Takes every endpoint out and cancels every run; later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Command::Close { reply });
        // It is closed either way.
        let _ = answer.await;
        self.inner.cancel_all(CancelReason::CallerCancelled);
    }

    /// The local engines and what they counted, by endpoint id.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineEntry> {
        let watched: BTreeMap<_, _> = lock(&self.inner.watch).clone();
        let entry = |(id, answerer): (String, Arc<dyn Answerer>)| {
            let engine = answerer.engine()?;
            Some(EngineEntry { id, model: engine.model().clone(), counters: engine.counters() })
        };
        watched.into_iter().filter_map(entry).collect()
    }
}

/// Settings of a client.
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    network: Network,
}

impl Builder {
    /// Which addresses the client's endpoints may reach.
    pub fn network(self, network: Network) -> Self {
        Self { network }
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// As [`SippClient::new`].
    pub fn build(self) -> Result<SippClient, Error> {
        let vault = Arc::new(Vault::default());
        let open = opener(vault.clone(), Arc::new(self.network));
        SippClient::with(sandbox::builtin(Builtin::Client)?.clone(), open, vault)
    }
}

/// The fork: from what a descriptor says to who answers.
fn opener(vault: Arc<Vault>, network: Arc<Network>) -> Open {
    Arc::new(move |descriptor, progress| {
        Ok(match descriptor {
            Descriptor::Local(descriptor) => Arc::new(Local::load(descriptor, progress)?),
            Descriptor::Gateway(descriptor) => Arc::new(opening::gateway(descriptor, &vault, &network)?),
            Descriptor::Provider(descriptor) => Arc::new(opening::provider(descriptor, &vault, &network)?),
        })
    })
}

impl std::fmt::Debug for SippClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SippClient").finish_non_exhaustive()
    }
}

fn link(component: &Component) -> Result<AppPre<Switchboard>, Error> {
    let mut linker = Linker::<Switchboard>::new(component.engine());
    App::add_to_linker::<_, Switchboard>(&mut linker, |switchboard| switchboard).map_err(internal)?;
    linker.instantiate_pre(component).and_then(AppPre::new).map_err(internal)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn internal(error: wasmtime::Error) -> Error {
    Error::Internal(format!("the component does not fit the world sipp:client/app: {error:#}"))
}
