//! One request from its first header to its last byte: what it is called, who asked, what it cost, how it ended.
//!
//! Every part that works on a request holds a handle on its exchange. When the last one is dropped, however that came
//! about, the access log gets its line and the counters are right: an early return or a hang-up cannot leak a count.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use sipp::Operation;

use crate::http_error::ErrorCode;
use crate::metrics::Metrics;
use crate::wire::UsageCounts;

/// A handle on one request's record.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Record>);

#[derive(Debug)]
struct Record {
    request_id: String,
    operation: Option<Operation>,
    started: Instant,
    metrics: Arc<Metrics>,
    progress: Mutex<Progress>,
}

/// What is learned on the way.
#[derive(Debug, Default)]
struct Progress {
    caller: Option<String>,
    target: Option<String>,
    status: Option<StatusCode>,
    code: Option<ErrorCode>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    /// Whether the whole answer was handed to the connection.
    complete: bool,
}

impl Exchange {
    /// A request that just arrived.
    pub fn begin(metrics: &Arc<Metrics>, request_id: String, operation: Option<Operation>) -> Self {
        if let Some(operation) = operation {
            metrics.requests.with_label_values(&[operation.to_string()]).inc();
            metrics.active.inc();
        }
        let (metrics, started) = (Arc::clone(metrics), Instant::now());
        Self(Arc::new(Record { request_id, operation, started, metrics, progress: Mutex::default() }))
    }

    /// The id that ties the request to its log lines.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// Who asked, once somebody authenticated it.
    pub fn caller(&self) -> Option<String> {
        self.0.progress().caller.clone()
    }

    /// The request comes from this caller.
    pub fn called_by(&self, caller: Option<&str>) {
        self.0.progress().caller = caller.map(str::to_owned);
    }

    /// The request goes to this target, which is configured.
    pub fn goes_to(&self, target: &str) {
        self.0.progress().target = Some(target.to_owned());
    }

    /// More tokens were written.
    pub fn wrote(&self, tokens: u32) {
        let mut progress = self.0.progress();
        progress.output_tokens = Some(progress.output_tokens.unwrap_or(0).saturating_add(tokens));
    }

    /// The request cost this much. It replaces what was counted on the way.
    pub fn used(&self, usage: UsageCounts) {
        let mut progress = self.0.progress();
        progress.input_tokens = usage.input_tokens;
        progress.output_tokens = usage.output_tokens;
    }

    /// The answer began with this status and, if it is an error, this code.
    pub fn answered(&self, status: StatusCode, code: Option<ErrorCode>) {
        let mut progress = self.0.progress();
        progress.status = Some(status);
        progress.code = code;
    }

    /// The answer ended in an error after it had begun.
    pub fn failed(&self, code: ErrorCode) {
        self.0.progress().code = Some(code);
    }

    /// A body that keeps the exchange open until it was sent or dropped.
    pub fn observe(self, body: Body) -> Body {
        Body::new(Observed { body, exchange: self })
    }
}

impl Record {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, progress: &Progress) {
        let metrics = &self.metrics;
        if let Some(status) = progress.status {
            metrics.responded(status);
        }
        let Some(operation) = self.operation else { return };
        metrics.active.dec();
        metrics.input_tokens.inc_by(progress.input_tokens.unwrap_or(0).into());
        metrics.output_tokens.inc_by(progress.output_tokens.unwrap_or(0).into());
        if progress.code.is_some() {
            metrics.errors.with_label_values(&[operation.to_string()]).inc();
        } else if !progress.complete {
            metrics.hang_ups.inc();
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let progress = self.progress();
        self.count(&progress);
        tracing::info!(
            request_id = self.request_id,
            caller = progress.caller,
            target = progress.target,
            operation = self.operation.map(tracing::field::display),
            status = progress.status.map(|status| status.as_u16()),
            code = progress.code.map(|ErrorCode(code)| code),
            complete = progress.complete,
            input_tokens = progress.input_tokens,
            output_tokens = progress.output_tokens,
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

struct Observed {
    body: Body,
    exchange: Exchange,
}

impl Drop for Observed {
    fn drop(&mut self) {
        // A body whose length is known beforehand is not polled to its end, so that both have to be asked.
        if self.is_end_stream() {
            self.exchange.0.progress().complete = true;
        }
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.exchange.0.progress().complete = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
