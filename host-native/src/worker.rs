//! The client's thread: runs the component and carries out commands.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime::component::{Accessor, AccessorTask, ResourceAny};

use crate::Error;
use crate::bindings::client::{
    ChatRequest, EmbedAnswer, EmbedRequest, EndpointEntry, EndpointRef, Guest, QueryRequest, TextAnswer,
};
use crate::bindings::endpoints::Descriptor;
use crate::bindings::types::{self, CancelReason, Generation};
use crate::bindings::{App, AppPre};
use crate::channel::{self, Ending, Tokens, WeakCanceller};
use crate::pipe::{OutcomeConsumer, TokenConsumer};
use crate::sandbox;
use crate::switchboard::{Calls, Progress, Switchboard, TokenProducer, lock};

/// How long a producer has to end a cancelled answer with an outcome.
const GRACE: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// An answer that has begun.
pub(crate) struct Started {
    pub(crate) endpoint: EndpointRef,
    pub(crate) tokens: Tokens,
    pub(crate) ending: Ending,
}

/// When a request was made: its deadline counts from then.
pub(crate) struct Asked(Instant);

impl Asked {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// When the request is due; never for a deadline of zero, which the component refuses.
    fn due(&self, deadline: Option<u32>) -> Option<Instant> {
        let deadline = deadline.filter(|milliseconds| *milliseconds > 0)?;
        self.0.checked_add(Duration::from_millis(deadline.into()))
    }
}

/// What a handle asks of the component.
pub(crate) enum Command {
    Add {
        id: String,
        descriptor: Descriptor,
        progress: Progress,
        reply: Reply<EndpointRef>,
    },
    Remove {
        endpoint: EndpointRef,
        reply: Reply<()>,
    },
    List {
        reply: oneshot::Sender<Vec<EndpointEntry>>,
    },
    Query {
        request: QueryRequest,
        asked: Asked,
        reply: Reply<Started>,
    },
    Chat {
        request: ChatRequest,
        asked: Asked,
        reply: Reply<Started>,
    },
    Embed {
        request: EmbedRequest,
        asked: Asked,
        reply: Reply<EmbedAnswer>,
    },
    /// Ends a cancelled answer for its reader, when its producer does not.
    Abandon {
        canceller: WeakCanceller,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Runs the component until no handle is left, or until it traps; then `fate` says why.
pub(crate) async fn run(
    mut store: Store<Switchboard>,
    app: AppPre<Switchboard>,
    inbox: mpsc::UnboundedReceiver<Command>,
    fate: Arc<OnceLock<Error>>,
) {
    let meter = sandbox::confine(&mut store, |switchboard| &mut switchboard.limits);
    let drive = async {
        let app = app.instantiate_async(&mut store).await?;
        store.run_concurrent(async |accessor| serve(accessor, &app, inbox).await).await?
    };
    if let Err(error) = meter.measure(drive).await {
        // Before the store goes: whoever waits for something in it asks for the fate as soon as that is gone.
        let _ = fate.set(Error::Internal(format!("the client component failed: {error:#}; make a new client")));
    }
    lock(&store.data().watch).clear();
}

async fn serve(
    accessor: &Accessor<Switchboard>,
    app: &App,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) -> wasmtime::Result<()> {
    let guest = app.sipp_client_client();
    let client = guest.client().call_constructor(accessor).await?;
    // A trap in one call is the end of the store, and so of every call: the first one reports it.
    let (trapped, mut trap) = mpsc::unbounded_channel();
    loop {
        let command = tokio::select! {
            command = inbox.recv() => command,
            Some(error) = trap.recv() => return Err(error),
        };
        let Some(command) = command else { return Ok(()) };
        accessor.spawn(Call { guest: guest.clone(), client, command, trapped: trapped.clone() })?;
    }
}

/// One command on its way through the component.
struct Call {
    guest: Guest,
    client: ResourceAny,
    command: Command,
    trapped: mpsc::UnboundedSender<wasmtime::Error>,
}

impl AccessorTask<Switchboard> for Call {
    async fn run(self, accessor: &Accessor<Switchboard>) -> wasmtime::Result<()> {
        let trapped = self.trapped.clone();
        if let Err(error) = self.carry_out(accessor).await {
            // Nobody listens only when the store has ended already.
            let _ = trapped.send(error);
        }
        Ok(())
    }
}

impl Call {
    /// Carries the command out. Who asked may be gone; then the reply is dropped, and what it holds with it.
    async fn carry_out(self, accessor: &Accessor<Switchboard>) -> wasmtime::Result<()> {
        let client = self.client;
        let guest = self.guest.client();
        match self.command {
            Command::Add { id, descriptor, progress, reply } => {
                accessor.with(|mut access| access.data_mut().progress.insert(id.clone(), progress));
                let added = guest.call_add(accessor, client, id.clone(), descriptor).await?;
                accessor.with(|mut access| access.data_mut().progress.remove(&id));
                let _ = reply.send(added.map_err(Error::from));
            }
            Command::Remove { endpoint, reply } => {
                let removed = guest.call_remove(accessor, client, endpoint).await?;
                let _ = reply.send(removed.map_err(Error::from));
            }
            Command::List { reply } => {
                let _ = reply.send(guest.call_list(accessor, client).await?);
            }
            Command::Query { mut request, asked, reply } => {
                let asking = Asking::new(accessor, &mut request.context, &asked);
                let call = guest.call_query(accessor, client, vec![request]);
                begin(accessor, call, asking, reply).await?;
            }
            Command::Chat { mut request, asked, reply } => {
                let asking = Asking::new(accessor, &mut request.context, &asked);
                let call = guest.call_chat(accessor, client, vec![request]);
                begin(accessor, call, asking, reply).await?;
            }
            Command::Embed { mut request, asked, reply } => {
                let asking = Asking::new(accessor, &mut request.context, &asked);
                let call = guest.call_embed(accessor, client, vec![request]);
                if let (answer, Some(reply)) = asking.answer(call, reply).await? {
                    let _ = reply.send(answer.map_err(Error::from));
                }
            }
            Command::Abandon { canceller } => abandon(canceller).await,
            Command::Close { reply } => {
                guest.call_close(accessor, client).await?;
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

/// A call on its way through the component, which cannot be taken back there. Its name tells the switchboard, at the
/// other end, which answer is not wanted any more.
struct Asking {
    call: u32,
    cancelled: CancellationToken,
    calls: Calls,
    due: Option<Instant>,
}

impl Asking {
    /// Names a call, in the context that goes with it.
    fn new(accessor: &Accessor<Switchboard>, context: &mut types::Context, asked: &Asked) -> Self {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call = CALLS.fetch_add(1, Relaxed);
        context.call = Some(call);
        let calls = accessor.with(|mut access| access.data_mut().calls.clone());
        let cancelled = CancellationToken::new();
        lock(&calls).insert(call, cancelled.clone());
        Self { call, cancelled, calls, due: asked.due(context.deadline) }
    }

    /// Waits for the call's answer. When it is due, or nobody waits for the reply any more, it is cancelled; then the
    /// answer comes without the reply, because who waited was told.
    async fn answer<A, R>(
        &self,
        call: impl Future<Output = wasmtime::Result<A>>,
        mut reply: Reply<R>,
    ) -> wasmtime::Result<(A, Option<Reply<R>>)> {
        let mut call = pin!(call);
        let due = async {
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = &mut call => return answer.map(|answer| (answer, Some(reply))),
            () = due => {}
            () = reply.closed() => {}
        }
        self.cancelled.cancel();
        let _ = reply.send(Err(Error::Cancelled(CancelReason::DeadlineExceeded)));
        call.await.map(|answer| (answer, None))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.calls).remove(&self.call);
    }
}

/// Waits for an answer to begin, and hands it to who asked for it.
async fn begin(
    accessor: &Accessor<Switchboard>,
    call: impl Future<Output = wasmtime::Result<Result<TextAnswer, types::Error>>>,
    asking: Asking,
    reply: Reply<Started>,
) -> wasmtime::Result<()> {
    let due = asking.due;
    let (answer, reply) = asking.answer(call, reply).await?;
    let started = match answer {
        Ok(TextAnswer { endpoint, generation }) => {
            // Also when nobody waits: what is left in the store is never dropped there, and so would go on.
            let (tokens, ending) = take(accessor, generation)?;
            if let Some(due) = due.filter(|_| reply.is_some()) {
                tokio::spawn(expire(due, tokens.canceller().downgrade()));
            }
            Ok(Started { endpoint, tokens, ending })
        }
        Err(error) => Err(Error::from(error)),
    };
    if let Some(reply) = reply {
        let _ = reply.send(started);
    }
    Ok(())
}

/// Cancels an answer that is not over when it is due.
async fn expire(due: Instant, canceller: WeakCanceller) {
    tokio::time::sleep_until(due).await;
    canceller.cancel(CancelReason::DeadlineExceeded);
    abandon(canceller).await;
}

/// Gives a cancelled answer up when its producer does not end it.
async fn abandon(canceller: WeakCanceller) {
    tokio::time::sleep(GRACE).await;
    canceller.abandon();
}

/// Takes an answer out of the store.
fn take(accessor: &Accessor<Switchboard>, generation: Generation) -> wasmtime::Result<(Tokens, Ending)> {
    let Generation { tokens, outcome } = generation;
    accessor.with(|mut access| {
        let (mut feeder, piped, ending) = channel::channel();
        let ender = feeder.split_ending();
        outcome.pipe(&mut access, OutcomeConsumer(ender))?;
        // Tokens that no component touched are the host's own: they need not pass through the store at all.
        let tokens = match tokens.try_into::<TokenProducer>(&mut access) {
            Ok(TokenProducer(tokens)) => tokens,
            Err(tokens) => {
                tokens.pipe(&mut access, TokenConsumer { feeder, _end: None })?;
                piped
            }
        };
        Ok((tokens, ending))
    })
}
