//! An upstream that replays a cassette, and sees whether it is asked what was recorded.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Connection, Exchange, Upstream};

/// Between the two halves of a reply: long enough for the client to read the first on its own.
const PAUSE: Duration = Duration::from_millis(1);

/// How replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Whole,
    /// Every byte in a write of its own.
    Bytes,
    /// In two, cut behind so many bytes.
    Cut(usize),
}

/// A fake upstream that replays exchanges in their order, whatever connection they come on.
#[derive(Debug)]
pub struct Replay {
    /// The server.
    pub upstream: Upstream,
    tape: Arc<Tape>,
}

#[derive(Debug)]
struct Tape {
    exchanges: Vec<Exchange>,
    pace: Pace,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    next: usize,
    mismatches: Vec<String>,
}

impl Replay {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(exchanges: Vec<Exchange>, pace: Pace) -> Result<Self> {
        let tape = Arc::new(Tape { exchanges, pace, progress: Mutex::default() });
        let played = tape.clone();
        let upstream = Upstream::start(move |connection| played.clone().serve(connection)).await?;
        Ok(Self { upstream, tape })
    }

    /// Sees that every exchange took place, with the requests that were recorded, and no other.
    ///
    /// # Errors
    ///
    /// What was different.
    pub fn check(&self) -> Result<()> {
        let progress = self.tape.progress();
        ensure!(progress.mismatches.is_empty(), "requests are not as recorded:\n{}", progress.mismatches.join("\n"));
        let all = self.tape.exchanges.len();
        ensure!(progress.next == all, "{} of {all} exchanges took place", progress.next);
        Ok(())
    }
}

impl Tape {
    async fn serve(self: Arc<Self>, mut connection: Connection) -> io::Result<()> {
        loop {
            let request = match connection.request().await {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.progress().mismatches.push(error.to_string());
                    return Err(error);
                }
            };
            let Some((number, exchange)) = self.next() else {
                self.progress().mismatches.push(format!("one more request, to {}", request.path));
                return Ok(());
            };
            let found = exchange.request.differences(&request);
            self.progress().mismatches.extend(found.iter().map(|found| format!("request {}: {found}", number + 1)));
            self.write(&mut connection, &exchange.reply.bytes).await?;
            if exchange.reply.closes {
                return Ok(());
            }
        }
    }

    async fn write(&self, connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
        match self.pace {
            Pace::Whole => connection.write(bytes).await,
            Pace::Bytes => {
                for byte in bytes.chunks(1) {
                    connection.write(byte).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Pace::Cut(at) => {
                let (first, second) = bytes.split_at(at.min(bytes.len()));
                connection.write(first).await?;
                tokio::time::sleep(PAUSE).await;
                connection.write(second).await
            }
        }
    }

    fn next(&self) -> Option<(usize, &Exchange)> {
        let mut progress = self.progress();
        let number = progress.next;
        let exchange = self.exchanges.get(number)?;
        progress.next += 1;
        Some((number, exchange))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
