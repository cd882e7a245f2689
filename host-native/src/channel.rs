//! Carries one answer from who produces it to who reads it.
//!
//! The producer never waits for a slow reader: text that was not read yet is joined into one batch, so that what waits
//! is never more than the answer itself. A producer that could write without end (a guest) asks for room first.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::sync::oneshot;

use crate::Error;
use crate::bindings::types::{CancelReason, Delta, Outcome, TokenBatch};

/// Unread text above which a guest's stream waits, in bytes.
const ROOM: usize = 64 << 10;

/// Makes the two ends of an answer, and what tells how it ended.
pub(crate) fn channel() -> (Feeder, Tokens, Ending) {
    let shared = Arc::new(Shared::default());
    let (ending, ended) = oneshot::channel();
    (Feeder { shared: shared.clone(), ending: Some(ending) }, Tokens { shared }, ended)
}

/// How an answer ended. An error here means that its producer vanished.
pub(crate) type Ending = oneshot::Receiver<Result<Outcome, Error>>;

/// An ending that is known.
pub(crate) fn ended(ending: Result<Outcome, Error>) -> Ending {
    let (sender, receiver) = oneshot::channel();
    // The receiver is at hand.
    let _ = sender.send(ending);
    receiver
}

/// Stops a producer; called at most once.
type Stop = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<TokenBatch>,
    /// Bytes of text in `batches`.
    unread: usize,
    /// The producer is done.
    closed: bool,
    /// The reader went away, or cancelled.
    cancelled: Option<CancelReason>,
    /// It was cancelled, and its producer did not end it in time.
    abandoned: bool,
    stop: Option<Stop>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and every state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, reason: CancelReason) {
        let mut state = self.state();
        if state.cancelled.is_some() {
            return;
        }
        state.cancelled = Some(reason);
        let (stop, writer) = (state.stop.take(), state.writer.take());
        drop(state);
        if let Some(stop) = stop {
            stop();
        }
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.stop = None;
        Self::wake(state);
    }

    /// Ends a cancelled answer for its reader, whatever its producer does.
    fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.closed = true;
        Self::wake(state);
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The producer's end.
pub struct Feeder {
    shared: Arc<Shared>,
    ending: Option<oneshot::Sender<Result<Outcome, Error>>>,
}

impl Feeder {
    /// Hands a batch to the reader. False when nobody wants it any more.
    pub fn push(&self, batch: TokenBatch) -> bool {
        let mut state = self.shared.state();
        if state.cancelled.is_some() {
            return false;
        }
        state.unread += size(&batch.delta);
        match (state.batches.back_mut(), batch) {
            (
                Some(TokenBatch { delta: Delta::Text(last), tokens: last_tokens, logprobs: last_logprobs, .. }),
                TokenBatch { delta: Delta::Text(text), tokens, mut logprobs, .. },
            ) => {
                last.push_str(&text);
                *last_tokens = last_tokens.saturating_add(tokens);
                last_logprobs.append(&mut logprobs);
            }
            (_, batch) => state.batches.push_back(batch),
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    /// Waits until the reader has read most of what was pushed. False when nobody wants more.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.state();
        if state.cancelled.is_some() {
            return Poll::Ready(false);
        }
        if state.unread < ROOM {
            return Poll::Ready(true);
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Says how the answer ended.
    pub fn finish(mut self, ending: Result<Outcome, Error>) {
        if let Some(sender) = self.ending.take() {
            // Nobody may be waiting for the ending any more.
            let _ = sender.send(ending);
        }
    }

    /// Takes the sender of the ending away, for an answer that ends elsewhere.
    pub(crate) fn split_ending(&mut self) -> Option<oneshot::Sender<Result<Outcome, Error>>> {
        self.ending.take()
    }

    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { shared: self.shared.clone() }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The reader's end. Dropping it cancels the answer.
pub(crate) struct Tokens {
    shared: Arc<Shared>,
}

impl Tokens {
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { shared: self.shared.clone() }
    }

    /// Waits for the first batch. False when there is none.
    pub(crate) async fn begun(&mut self) -> bool {
        std::future::poll_fn(|context| {
            let mut state = self.shared.state();
            if !state.batches.is_empty() || state.closed {
                return Poll::Ready(!state.batches.is_empty());
            }
            state.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Stream for Tokens {
    type Item = TokenBatch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TokenBatch>> {
        let mut state = self.shared.state();
        if let Some(batch) = state.batches.pop_front() {
            state.unread = state.unread.saturating_sub(size(&batch.delta));
            let writer = state.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(batch));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.shared.cancel(CancelReason::CallerCancelled);
    }
}

/// Cancels an answer from anywhere.
#[derive(Clone)]
pub(crate) struct Canceller {
    shared: Arc<Shared>,
}

impl Canceller {
    /// Stops the producer. What it produced so far can still be read, and the answer still ends with an outcome.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        self.shared.cancel(reason);
    }

    /// Why the answer was cancelled, if it was.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.shared.state().cancelled
    }

    /// Waits until the answer is given up, and says why it had been cancelled. The reader's waker is the one that is
    /// woken, so this takes the place of reading.
    pub(crate) fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<CancelReason> {
        let mut state = self.shared.state();
        match state.cancelled {
            Some(reason) if state.abandoned => Poll::Ready(reason),
            Some(_) | None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn downgrade(&self) -> WeakCanceller {
        WeakCanceller { shared: Arc::downgrade(&self.shared) }
    }

    /// Sets what stops the producer when the reader cancels or goes away. It is called at once if that happened.
    pub(crate) fn on_cancel(&self, stop: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state();
        if state.cancelled.is_some() {
            drop(state);
            stop();
        } else if !state.closed {
            state.stop = Some(Box::new(stop));
        }
    }
}

/// A canceller that does not keep the answer alive.
pub(crate) struct WeakCanceller {
    shared: Weak<Shared>,
}

impl WeakCanceller {
    pub(crate) fn is_alive(&self) -> bool {
        self.shared.strong_count() > 0
    }

    pub(crate) fn cancel(&self, reason: CancelReason) {
        if let Some(shared) = self.shared.upgrade() {
            shared.cancel(reason);
        }
    }

    /// Ends a cancelled answer for its reader, whatever its producer does.
    pub(crate) fn abandon(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.abandon();
        }
    }
}

fn size(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) => text.len(),
        Delta::Reasoning(reasoning) => reasoning.text.len() + reasoning.signature.as_ref().map_or(0, String::len),
        Delta::ToolCall(call) => call.arguments.len() + call.name.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    fn batch(text: &str, sequence: u32) -> TokenBatch {
        TokenBatch { delta: Delta::Text(text.to_owned()), sequence, tokens: 1, logprobs: Vec::new() }
    }

    fn read(tokens: &mut Tokens) -> Poll<Option<(String, u32, u32)>> {
        let batch = Pin::new(tokens).poll_next(&mut Context::from_waker(Waker::noop()));
        batch.map(|batch| {
            batch.map(|batch| match batch.delta {
                Delta::Text(text) => (text, batch.sequence, batch.tokens),
                other @ (Delta::Reasoning(_) | Delta::ToolCall(_)) => panic!("expected text, got {other:?}"),
            })
        })
    }

    #[test]
    fn unread_text_is_joined() {
        let (feeder, mut tokens, _ending) = channel();
        assert!(read(&mut tokens).is_pending());
        assert!(feeder.push(batch("a", 0)));
        assert_eq!(read(&mut tokens), Poll::Ready(Some(("a".to_owned(), 0, 1))));
        assert!(feeder.push(batch("b", 1)) && feeder.push(batch("c", 2)));
        assert_eq!(read(&mut tokens), Poll::Ready(Some(("bc".to_owned(), 1, 2))));
        drop(feeder);
        assert_eq!(read(&mut tokens), Poll::Ready(None));
    }

    #[test]
    fn what_was_pushed_is_read_after_the_end() {
        let (feeder, mut tokens, _ending) = channel();
        assert!(feeder.push(batch("a", 0)));
        drop(feeder);
        assert_eq!(read(&mut tokens), Poll::Ready(Some(("a".to_owned(), 0, 1))));
        assert_eq!(read(&mut tokens), Poll::Ready(None));
    }

    #[test]
    fn cancelling_stops_the_producer_once_and_keeps_the_reason() {
        let (feeder, tokens, _ending) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        feeder.canceller().on_cancel(move || assert!(!stop.swap(true, Relaxed)));
        tokens.canceller().cancel(CancelReason::DeadlineExceeded);
        tokens.canceller().cancel(CancelReason::CallerCancelled);
        assert!(stopped.load(Relaxed));
        assert_eq!(tokens.canceller().reason(), Some(CancelReason::DeadlineExceeded));
        assert!(!feeder.push(batch("late", 0)));
    }

    #[test]
    fn a_reader_that_goes_away_cancels_also_before_the_producer_can_be_stopped() {
        let (feeder, tokens, _ending) = channel();
        drop(tokens);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        feeder.canceller().on_cancel(move || stop.store(true, Relaxed));
        assert!(stopped.load(Relaxed));
    }

    #[test]
    fn a_producer_waits_for_room() {
        let (feeder, mut tokens, _ending) = channel();
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!(feeder.poll_room(context), Poll::Ready(true));
        assert!(feeder.push(batch(&"x".repeat(ROOM), 0)));
        assert_eq!(feeder.poll_room(context), Poll::Pending);
        assert!(read(&mut tokens).is_ready());
        assert_eq!(feeder.poll_room(context), Poll::Ready(true));
        drop(tokens);
        assert_eq!(feeder.poll_room(context), Poll::Ready(false));
    }

    #[test]
    fn an_abandoned_answer_ends_for_its_reader() {
        let (_feeder, mut tokens, _ending) = channel();
        let canceller = tokens.canceller();
        let context = &mut Context::from_waker(Waker::noop());
        canceller.cancel(CancelReason::CallerCancelled);
        assert!(canceller.poll_abandoned(context).is_pending());
        canceller.downgrade().abandon();
        assert_eq!(canceller.poll_abandoned(context), Poll::Ready(CancelReason::CallerCancelled));
        assert_eq!(read(&mut tokens), Poll::Ready(None));
    }
}
