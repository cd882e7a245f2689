//! The composition root: puts the parts together, runs them, and takes them down in the right order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sipp::{Network, SippClient};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::callers::Callers;
use crate::chat;
use crate::config::Config;
use crate::edge::{self, Edge};
use crate::error::Error;
use crate::listener::Bound;
use crate::management::{self, Management};
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::signals::{Signal, Signals};
use crate::targets::{self, Targets};

/// How long cancelled requests get to tell their callers so.
const FAREWELL: Duration = Duration::from_secs(5);

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After a signal, in order.
    InOrder,
    /// At once, because of a second signal.
    AtOnce(Signal),
}

/// Runs the gateway until a signal ends it. Running requests get the configured time to finish; a second signal ends
/// them at once.
///
/// # Errors
/// Why it did not start: a token, an address or a model cannot be had.
pub async fn serve(config: &Config) -> Result<Ended, Error> {
    let mut signals = Signals::receive().map_err(system("receive signals"))?;
    targets::check(config).await?;
    let (phase, seen_phase) = Phase::begin();
    let metrics = Arc::new(Metrics::new()?);
    let callers = Callers::from_environment(config).map_err(Error::Setting)?;
    targets::check_secrets(config).map_err(Error::Setting)?;
    let public = bind(config, "public", config.settings.public_bind)?;
    let management = bind(config, "management", config.settings.management_bind)?;

    let client = SippClient::builder().network(network(config)).build().map_err(Error::Client)?;
    let watched = Management { phase: seen_phase.clone(), metrics: Arc::clone(&metrics), client: client.clone() };
    let closed = CancellationToken::new();
    let management = management.listen().map_err(system("listen"))?.serve(management::router(watched), closed.clone());
    let management = tokio::spawn(management);

    let targets = tokio::select! {
        targets = Targets::open(&client, config) => targets?,
        _ = signals.next() => return Ok(Ended::InOrder),
    };
    let settings = &config.settings;
    let end = End { stop: CancellationToken::new(), deadline: CancellationToken::new(), phase };
    let page = settings.chat.as_ref().map(|page| chat::router(page, config.source.folder())).unwrap_or_default();
    let edge = Edge {
        client,
        targets,
        callers,
        metrics,
        phase: seen_phase,
        room: settings.max_concurrent_requests.map(|most| Arc::new(Semaphore::new(most.get()))),
        max_request_bytes: settings.max_request_bytes.get(),
        deadline: end.deadline.clone(),
    };
    let router = edge::router(Arc::new(edge), page);
    let public = public.listen().map_err(system("listen"))?.serve(router, end.stop.clone());
    end.phase.send_replace(Phase::Ready);
    let ended = tokio::select! {
        () = public => Ended::InOrder,
        ended = end.come(signals, settings.drain()) => ended,
    };
    closed.cancel();
    // Whoever still reads metrics when the time is up has seen enough.
    let _ = timeout(FAREWELL, management).await;
    Ok(ended)
}

/// The gateway's end.
struct End {
    /// No connection is accepted any more.
    stop: CancellationToken,
    /// No request may go on.
    deadline: CancellationToken,
    phase: watch::Sender<Phase>,
}

impl End {
    /// Waits for a signal, then winds down step by step. Returns when whatever still runs has to be cut off; requests
    /// that finish before end the gateway earlier.
    async fn come(self, mut signals: Signals, drain: Duration) -> Ended {
        let signal = signals.next().await;
        self.phase.send_replace(Phase::Draining);
        self.stop.cancel();
        tracing::info!(?signal, seconds = drain.as_secs(), "running requests finish");
        let steps = async {
            sleep(drain).await;
            tracing::warn!("running requests are cancelled");
            self.deadline.cancel();
            sleep(FAREWELL).await;
            tracing::warn!("open connections are cut off");
        };
        tokio::select! {
            () = steps => Ended::InOrder,
            signal = signals.next() => Ended::AtOnce(signal),
        }
    }
}

/// What targets may reach. A base URL that leads into the operator's own network has to be meant.
fn network(config: &Config) -> Network {
    match &config.settings.network.allow_private {
        Some(allowed) => Network { allow_private: Some(allowed.clone()) },
        None => Network::loopback(),
    }
}

fn bind(config: &Config, name: &'static str, address: SocketAddr) -> Result<Bound, Error> {
    Bound::to(name, address).map_err(|error| {
        let message = format!("cannot listen on {address}: {error}; choose another address");
        Error::Setting(config.source.problem(&format!("{name}_bind"), message))
    })
}

fn system(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { action, source }
}
