//! What every way to compute is asked for, and what is seen of it.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Slots of everyone, and tokens that each holds.
pub(crate) const SLOTS: u32 = 8;
pub(crate) const CONTEXT: u32 = 2048;

/// One greedy request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) prompt: String,
    /// Tokens to write; all of them are written.
    pub(crate) tokens: u32,
    /// When it is sent, from the beginning on.
    pub(crate) after: Duration,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Tokens of the prompt.
    pub(crate) read: u32,
    pub(crate) sent: Instant,
    /// When each token came.
    pub(crate) tokens: Vec<Instant>,
}

impl Seen {
    /// From the request to the first token, in seconds.
    pub(crate) fn first(&self) -> f64 {
        self.tokens.first().map_or(f64::NAN, |first| (*first - self.sent).as_secs_f64())
    }

    /// Tokens per second after the first.
    pub(crate) fn decode(&self) -> f64 {
        match (self.tokens.first(), self.tokens.last()) {
            (Some(first), Some(last)) => (self.tokens.len() - 1) as f64 / (*last - *first).as_secs_f64(),
            _ => f64::NAN,
        }
    }
}

/// Who answers.
pub(crate) trait Way: Sync {
    /// Answers one request as it streams. Called from many threads at once.
    fn answer(&self, asked: &Asked) -> Result<Seen>;

    /// Bytes of memory that hold no file, as far as the system tells.
    fn memory(&self) -> Option<u64>;
}

/// Sends all requests, each from a thread of its own.
pub(crate) fn together(way: &dyn Way, asked: &[Asked]) -> Result<Vec<Seen>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = asked
            .iter()
            .map(|asked| {
                scope.spawn(move || {
                    std::thread::sleep(asked.after);
                    way.answer(asked)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread failed"))).collect()
    })
}
