//! What an engine has done so far, countable from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Requests, tokens and times of one engine.
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
    /// Requests that can run at the same time.
    pub slots: u64,
    /// Batches computed.
    pub batches: u64,
    /// Requests that had a part in these, summed up over the batches: divided by `batches` and `slots`, how full they were.
    pub batch_slots: u64,
    /// Tokens in these.
    pub batch_tokens: u64,
    /// Time in which the engine computed batches and chose tokens.
    pub computing: Duration,
    /// Tokens that the context holds now, and how many it has room for.
    pub held_tokens: u64,
    /// See `held_tokens`.
    pub context_tokens: u64,
    /// Bytes of snapshots now.
    pub snapshot_bytes: u64,
    /// From acceptance to the first token, by request.
    pub time_to_first_token: Histogram,
    /// Between two tokens of one request.
    pub inter_token: Histogram,
}

/// How often a time was how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Times up to each of [`Histogram::BOUNDS`] and above the one before it, then those above the last.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// All times together.
    pub sum: Duration,
}

impl Histogram {
    /// Upper bounds, in seconds.
    pub const BOUNDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
}

/// The live numbers behind a [`Histogram`].
#[derive(Debug, Default)]
struct Times {
    counts: [AtomicU64; Histogram::BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Times {
    fn count(&self, time: Duration) {
        let bucket = Histogram::BOUNDS.partition_point(|bound| *bound < time.as_secs_f64());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds(time), Relaxed);
    }

    fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|index| self.counts.get(index).map_or(0, |count| count.load(Relaxed))),
            sum: Duration::from_nanos(self.nanoseconds.load(Relaxed)),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What one computed batch was.
pub(crate) struct Computed {
    pub(crate) slots: usize,
    pub(crate) tokens: usize,
    pub(crate) time: Duration,
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
    slots: AtomicU64,
    batches: AtomicU64,
    batch_slots: AtomicU64,
    batch_tokens: AtomicU64,
    computing: AtomicU64,
    held_tokens: AtomicU64,
    context_tokens: AtomicU64,
    snapshot_bytes: AtomicU64,
    time_to_first_token: Times,
    inter_token: Times,
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

    /// Takes note of the engine's room: slots, and tokens in all of them.
    pub(crate) fn sized(&self, slots: usize, context_tokens: u64) {
        self.slots.store(slots as u64, Relaxed);
        self.context_tokens.store(context_tokens, Relaxed);
    }

    pub(crate) fn computed(&self, batch: &Computed) {
        self.batches.fetch_add(1, Relaxed);
        self.batch_slots.fetch_add(batch.slots as u64, Relaxed);
        self.batch_tokens.fetch_add(batch.tokens as u64, Relaxed);
        self.computing.fetch_add(nanoseconds(batch.time), Relaxed);
    }

    /// Takes note of what is remembered now.
    pub(crate) fn holds(&self, tokens: usize, snapshot_bytes: u64) {
        self.held_tokens.store(tokens as u64, Relaxed);
        self.snapshot_bytes.store(snapshot_bytes, Relaxed);
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.time_to_first_token.count(after);
    }

    pub(crate) fn next_token(&self, after: Duration) {
        self.inter_token.count(after);
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
            slots: self.slots.load(Relaxed),
            batches: self.batches.load(Relaxed),
            batch_slots: self.batch_slots.load(Relaxed),
            batch_tokens: self.batch_tokens.load(Relaxed),
            computing: Duration::from_nanos(self.computing.load(Relaxed)),
            held_tokens: self.held_tokens.load(Relaxed),
            context_tokens: self.context_tokens.load(Relaxed),
            snapshot_bytes: self.snapshot_bytes.load(Relaxed),
            time_to_first_token: self.time_to_first_token.read(),
            inter_token: self.inter_token.read(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_below_its_bound() {
        let times = Times::default();
        for milliseconds in [0, 1, 2, 3, 60_000] {
            times.count(Duration::from_millis(milliseconds));
        }
        let histogram = times.read();
        assert_eq!(histogram.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.sum, Duration::from_millis(60_006));
    }
}
