//! From a component's streams into a channel: what a component produces, read at the reader's pace.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureConsumer, Source, StreamConsumer, StreamResult};

use crate::Error;
use crate::bindings::types::{self, Outcome, TokenBatch};
use crate::channel::Feeder;

/// Reads the tokens that a component produces.
pub(crate) struct TokenConsumer {
    pub(crate) feeder: Feeder,
    /// Goes with the consumer, which tells who waits that everything has come.
    pub(crate) _end: Option<oneshot::Sender<()>>,
}

impl<D> StreamConsumer<D> for TokenConsumer {
    type Item = TokenBatch;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<D>,
        mut source: Source<'_, Self::Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.feeder.poll_room(context) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(false) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(true) => {}
        }
        let mut batches = Vec::with_capacity(16);
        source.read(store, &mut batches)?;
        let wanted = batches.into_iter().all(|batch| self.feeder.push(batch));
        Poll::Ready(Ok(if wanted { StreamResult::Completed } else { StreamResult::Dropped }))
    }
}

/// Reads how an answer ended.
pub(crate) struct OutcomeConsumer(pub(crate) Option<oneshot::Sender<Result<Outcome, Error>>>);

impl<D> FutureConsumer<D> for OutcomeConsumer {
    type Item = Result<Outcome, types::Error>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        store: StoreContextMut<D>,
        mut source: Source<'_, Self::Item>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut outcome = None;
        source.read(store, &mut outcome)?;
        if let (Some(ender), Some(outcome)) = (self.0.take(), outcome) {
            // Nobody may be waiting for the outcome any more.
            let _ = ender.send(outcome.map_err(Error::from));
        }
        Poll::Ready(Ok(()))
    }
}
