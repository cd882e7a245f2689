//! What an engine has done so far, countable from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Requests and tokens of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests being worked on.
    pub running: u64,
    /// Requests that wait for a slot.
    pub queued: u64,
    /// Requests that ended by themselves.
    pub completed: u64,
    /// Requests that were cancelled.
    pub cancelled: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Of these, tokens that were computed before.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// The live numbers behind [`Counters`]; the engine's thread writes, everyone reads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    running: AtomicU64,
    queued: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
    input_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    output_tokens: AtomicU64,
}

/// How a request left the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Cancelled,
    Failed,
}

impl Tally {
    /// Counts a request that comes, unless `most` are there already.
    pub(crate) fn queue(&self, most: u64) -> bool {
        let running = self.running.load(Relaxed);
        self.queued.fetch_update(Relaxed, Relaxed, |queued| (queued + running < most).then_some(queued + 1)).is_ok()
    }

    pub(crate) fn started(&self) {
        self.queued.fetch_sub(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
    }

    /// A request left the queue without being started.
    pub(crate) fn left_queue(&self, end: End) {
        self.queued.fetch_sub(1, Relaxed);
        self.count(end);
    }

    /// A started request ended.
    pub(crate) fn ended(&self, end: End, input_tokens: u32, output_tokens: u32) {
        self.running.fetch_sub(1, Relaxed);
        self.input_tokens.fetch_add(u64::from(input_tokens), Relaxed);
        self.output_tokens.fetch_add(u64::from(output_tokens), Relaxed);
        self.count(end);
    }

    /// Tokens of a prompt need not be computed.
    pub(crate) fn reused(&self, tokens: usize) {
        self.cached_tokens.fetch_add(tokens as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            running: self.running.load(Relaxed),
            queued: self.queued.load(Relaxed),
            completed: self.completed.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            failed: self.failed.load(Relaxed),
            input_tokens: self.input_tokens.load(Relaxed),
            cached_tokens: self.cached_tokens.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
        }
    }

    fn count(&self, end: End) {
        let counter = match end {
            End::Completed => &self.completed,
            End::Cancelled => &self.cancelled,
            End::Failed => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }
}
