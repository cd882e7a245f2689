//! From a run of the client to an HTTP answer: one JSON body, or server-sent events as tokens come.
//!
//! The answer owns the run. When the caller hangs up, hyper drops the answer, the run goes with it, and the model stops.

use std::time::Duration;

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde::Serialize;
use sipp::{CancelReason, Delta, EmbedRun, Embedding, Part, TextResponse, TextRun, TokenBatch, Usage};
use uuid::Uuid;

use crate::edge::Admitted;
use crate::http_error::HttpError;
use crate::wire::answer::pooling;
use crate::wire::{
    DoneEvent, EmbedAnswer, MetadataBody, ReasoningBody, ReasoningEvent, TextAnswer, TokenEvent, TokenLogprobBody,
    ToolCallEvent, UsageCounts, Vectors, finish_reason,
};

/// How long a stream may be silent before a comment shows that it lives: prefill of a long prompt can take a while, and
/// proxies cut silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers a query or a chat.
///
/// # Errors
/// What went wrong, if it did before the answer began.
pub async fn text(mut run: TextRun, admitted: Admitted, stream: bool) -> Result<Response, HttpError> {
    if stream {
        // Until the client component has accepted the request, a failure still has its HTTP status.
        tokio::select! {
            started = run.started() => started?,
            () = admitted.deadline.cancelled() => return Err(HttpError::cancelled(CancelReason::ServerShutdown)),
        }
        return Ok(Sse::new(events(run, admitted)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let response = tokio::select! {
        response = &mut run => response,
        () = admitted.deadline.cancelled() => {
            run.cancel(CancelReason::ServerShutdown);
            run.await
        }
    };
    let response = complete(response, &admitted)?;
    let usage = admitted.count(response.usage.as_ref());
    Ok(Json(whole(&response, &admitted.target, usage)).into_response())
}

fn whole<'a>(response: &'a TextResponse, model: &'a str, usage: Option<UsageCounts>) -> TextAnswer<'a> {
    let reasoning = response.message.content.iter().filter_map(|part| match part {
        Part::Reasoning(reasoning) => Some(ReasoningBody::from(reasoning)),
        Part::Text(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) => None,
    });
    TextAnswer {
        id: answer_id(),
        model,
        text: &response.text,
        reasoning: reasoning.collect(),
        tool_calls: response.tool_calls.iter().map(Into::into).collect(),
        finish_reason: finish_reason(response.finish_reason),
        logprobs: response.logprobs.iter().map(TokenLogprobBody::from).collect(),
        usage,
        metadata: MetadataBody::of(&response.metadata),
    }
}

/// Answers an embed: with one vector, if the request had a single text.
///
/// # Errors
/// What went wrong.
pub async fn vectors(run: EmbedRun, admitted: Admitted, single: bool) -> Result<Response, HttpError> {
    let Embedding { mut vectors, pooling: pooled, normalized, usage, metadata, .. } = tokio::select! {
        response = run => response?.embedding,
        () = admitted.deadline.cancelled() => return Err(HttpError::cancelled(CancelReason::ServerShutdown)),
    };
    let vectors = match vectors.pop() {
        Some(vector) if single => Vectors::Embedding(vector),
        last => Vectors::Embeddings(vectors.into_iter().chain(last).collect()),
    };
    let answer = EmbedAnswer {
        id: answer_id(),
        model: &admitted.target,
        vectors,
        pooling: pooled.map(pooling),
        normalized,
        usage: admitted.count(usage.as_ref()),
        metadata: MetadataBody::of(&metadata),
    };
    Ok(Json(answer).into_response())
}

/// The events of an answer: `token` each time the model wrote something, `usage`, then `done` or `error`.
fn events(mut run: TextRun, admitted: Admitted) -> impl Stream<Item = Result<Event, axum::Error>> {
    async_stream::stream! {
        let mut cut = false;
        loop {
            let batch = tokio::select! {
                () = admitted.deadline.cancelled(), if !cut => {
                    run.cancel(CancelReason::ServerShutdown);
                    cut = true;
                    continue;
                }
                batch = run.next() => batch,
            };
            let Some(batch) = batch else { break };
            admitted.exchange.wrote(batch.tokens);
            yield token_event(&batch);
        }
        match complete(run.await, &admitted) {
            Ok(response) => {
                if let Some(usage) = admitted.count(response.usage.as_ref()) {
                    yield event("usage", &usage);
                }
                let metadata = MetadataBody::of(&response.metadata);
                yield event("done", &DoneEvent { finish_reason: finish_reason(response.finish_reason), metadata });
            }
            Err(error) => {
                admitted.exchange.failed(error.code());
                yield event("error", &error.body());
            }
        }
    }
}

fn token_event(batch: &TokenBatch) -> Result<Event, axum::Error> {
    let TokenBatch { delta, sequence, tokens, logprobs } = batch;
    let (sequence, tokens) = (*sequence, *tokens);
    match delta {
        Delta::Text(text) => {
            let logprobs = logprobs.iter().map(Into::into).collect();
            event("token", &TokenEvent { text, sequence, tokens, logprobs })
        }
        Delta::Reasoning(reasoning) => {
            event("reasoning", &ReasoningEvent { reasoning: reasoning.into(), sequence, tokens })
        }
        Delta::ToolCall(call) => event("tool_call", &ToolCallEvent { call: call.into(), sequence, tokens }),
    }
}

fn event(name: &str, data: &impl Serialize) -> Result<Event, axum::Error> {
    Event::default().event(name).json_data(data)
}

/// The run's response. One that was cancelled while its caller still waits has failed.
fn complete(response: Result<TextResponse, sipp::Error>, admitted: &Admitted) -> Result<TextResponse, HttpError> {
    let response = response?;
    match response.cancelled {
        Some(reason) => {
            admitted.count(response.usage.as_ref());
            Err(HttpError::cancelled(reason))
        }
        None => Ok(response),
    }
}

impl Admitted {
    /// Notes what the request cost, if anybody counted.
    fn count(&self, usage: Option<&Usage>) -> Option<UsageCounts> {
        let counts = usage.map(UsageCounts::from);
        if let Some(counts) = counts {
            self.exchange.used(counts);
        }
        counts
    }
}

fn answer_id() -> String {
    format!("resp_{}", Uuid::new_v4().simple())
}
