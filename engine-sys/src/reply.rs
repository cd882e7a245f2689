//! The way back to a caller: heard exactly once to its end, whatever happens here.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;
use crate::request::{Embedding, Listener, Outcome, TokenBatch};

/// What a caller gets to embed.
pub(crate) type EmbedDone = Box<dyn FnOnce(Result<Embedding, Error>) + Send>;

/// The listener of one generation.
///
/// A listener that panics loses its own request and nobody else's: it is not called again.
pub(crate) struct TextReply(Option<Box<dyn Listener>>);

impl TextReply {
    pub(crate) fn new(listener: Box<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    pub(crate) fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        let Some(listener) = &mut self.0 else { return ControlFlow::Break(()) };
        catch_unwind(AssertUnwindSafe(|| listener.tokens(batch))).unwrap_or_else(|_| {
            self.0 = None;
            ControlFlow::Break(())
        })
    }

    pub(crate) fn done(mut self, result: Result<Outcome, Error>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Outcome, Error>) {
        if let Some(listener) = self.0.take() {
            // Nothing is left that a panic could disturb.
            let _ = catch_unwind(AssertUnwindSafe(|| listener.done(result)));
        }
    }
}

impl Drop for TextReply {
    fn drop(&mut self) {
        self.end(Err(stopped()));
    }
}

/// The callback of one embedding.
pub(crate) struct EmbedReply(Option<EmbedDone>);

impl EmbedReply {
    pub(crate) fn new(done: EmbedDone) -> Self {
        Self(Some(done))
    }

    pub(crate) fn done(mut self, result: Result<Embedding, Error>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Embedding, Error>) {
        if let Some(done) = self.0.take() {
            // As above.
            let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
        }
    }
}

impl Drop for EmbedReply {
    fn drop(&mut self) {
        self.end(Err(stopped()));
    }
}

fn stopped() -> Error {
    Error::Internal("the engine stopped before the request ended".to_owned())
}
