//! A response's body on its way to an adapter: under limits on time, and let go as soon as nobody wants it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::Error as HttpError;

/// Most of a body that is read after its adapter had enough, in bytes.
const REST: usize = 16 << 10;

/// How long the rest of a body may take.
const REST_TIME: Duration = Duration::from_millis(500);

/// A response's body under its limits on time. Once it ended or failed, its connection is let go.
pub(super) struct Guarded {
    body: Option<Incoming>,
    /// When it must be complete.
    due: Option<Pin<Box<Sleep>>>,
    idle: Pin<Box<Sleep>>,
    patience: Duration,
    cancelled: CancellationToken,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Guarded {
    /// A body that must be complete when it is `due`, and never silent for longer than `patience`.
    pub(super) fn new(body: Incoming, due: Option<Instant>, patience: Duration, cancelled: CancellationToken) -> Self {
        Self {
            body: Some(body),
            due: due.map(|due| Box::pin(tokio::time::sleep_until(due))),
            idle: Box::pin(tokio::time::sleep(patience)),
            patience,
            stop: Box::pin(cancelled.clone().cancelled_owned()),
            cancelled,
        }
    }

    fn end(&mut self, error: HttpError) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.stop.as_mut().poll(context).is_ready() {
            return self.end(HttpError::ConnectionTerminated);
        }
        if self.due.as_mut().is_some_and(|due| due.as_mut().poll(context).is_ready()) {
            return self.end(HttpError::HttpResponseTimeout);
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let due = Instant::now() + self.patience;
                self.idle.as_mut().reset(due);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let broken = error.is_parse() || error.is_body_write_aborted();
                self.end(if broken { HttpError::HttpProtocolError } else { HttpError::HttpResponseIncomplete })
            }
            Poll::Ready(None) => {
                self.body = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(context));
                self.end(HttpError::ConnectionReadTimeout)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Drop for Guarded {
    /// An adapter has read what it needs when its provider's protocol says so, which is a little before the body ends.
    /// What is left is read here, so that the connection can serve again.
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream() && !self.cancelled.is_cancelled()) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(REST_TIME, Limited::new(body, REST).collect()));
        }
    }
}
