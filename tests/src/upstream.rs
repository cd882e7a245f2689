//! A fake upstream: a server on loopback whose replies are bytes that a test chose.
//!
//! No HTTP framework stands between, so that a reply can be cut anywhere, be malformed, or never come. What clients did
//! is kept for the test to look at.

mod connection;
mod exchange;
mod replay;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use connection::{Connection, Received};
pub use exchange::{Exchange, Expected, Reply, SECRET};
pub use replay::{Pace, Replay};

/// A server on loopback, for as long as it is held.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    log: Log,
    accepting: JoinHandle<()>,
}

/// What clients did.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    connections: usize,
    requests: Vec<Received>,
    closings: Vec<Instant>,
    written: u64,
}

impl Upstream {
    /// Starts a server that does `serve` for every connection.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start<F>(serve: impl Fn(Connection) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free on loopback")?;
        let address = listener.local_addr()?;
        let log = Log::default();
        let entries = log.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                entries.entries().connections += 1;
                connections.spawn(serve(Connection::new(stream, entries.clone())));
                // Ended ones: how a connection broke is for the client to say.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, log, accepting })
    }

    /// Scheme and authority.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients did so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // With it go the connections.
        self.accepting.abort();
    }
}

impl Log {
    /// Connections that were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.entries().connections
    }

    /// Requests that came whole, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.entries().requests.clone()
    }

    /// When clients closed a connection, as far as the server was reading or writing then.
    #[must_use]
    pub fn closings(&self) -> Vec<Instant> {
        self.entries().closings.clone()
    }

    /// Bytes that clients took, or that wait for them in a buffer of the system's.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.entries().written
    }

    /// Waits until something is so.
    ///
    /// # Errors
    ///
    /// When it is not within `limit`.
    pub async fn wait(&self, what: &str, limit: Duration, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so(self) {
            ensure!(begun.elapsed() < limit, "within {limit:?} it did not happen that {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
