//! What `--json` writes: one object per line, each with a `type`.
//!
//! Names are those of the gateway's HTTP profile where it has them. The last line is of type `response` or `error`.

use serde::Serialize;
use sipp::{
    CacheSource, Delta, EmbedResponse, Error, FinishReason, Metadata, ModelFault, Pooling, Stats, TextResponse,
    TokenBatch, UpstreamFault, UpstreamPayload, Usage,
};

use crate::exit::{Failure, cancel_reason};
use crate::stats::Speed;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// Consecutive tokens of the answer.
    Token { text: &'a str, sequence: u32, tokens: u32 },
    /// Consecutive tokens that are not part of the answer.
    Reasoning { text: &'a str, sequence: u32, tokens: u32 },
    /// A tool call, whole.
    ToolCall { id: &'a str, name: &'a str, arguments: &'a str, sequence: u32, tokens: u32 },
    /// The vector of one input.
    Embedding { index: usize, embedding: &'a [f32] },
    /// The end of an answer.
    Response(End<'a>),
    /// A failure.
    Error {
        code: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<&'static str>,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        upstream: Option<Upstream<'a>>,
    },
}

/// Who failed elsewhere, and in which words; null where it said nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Upstream<'a> {
    provider: &'a str,
    status: Option<u16>,
    code: Option<&'a str>,
    request_id: Option<&'a str>,
}

/// How an answer ended, and what it cost. A text has `text` and `finish_reason`, vectors have `pooling` and `normalized`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct End<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pooling: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalized: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Trace<'a>>,
}

/// Where an answer from elsewhere is found there, and how often it was asked for again.
#[derive(Debug, Serialize)]
struct Trace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_response_id: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u32,
}

impl<'a> Trace<'a> {
    /// What there is to say, if anything.
    fn of(metadata: &'a Metadata) -> Option<Self> {
        let Metadata { request_id: _, upstream_request_id, upstream_response_id, retries } = metadata;
        let says = upstream_request_id.is_some() || upstream_response_id.is_some() || *retries > 0;
        says.then_some(Self {
            upstream_request_id: upstream_request_id.as_deref(),
            upstream_response_id: upstream_response_id.as_deref(),
            retries: *retries,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Tokens counted; null where a count is not known.
#[derive(Debug, Serialize)]
struct Counts {
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    total_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u32>,
}

/// Times in milliseconds, and speeds; null where there was nothing to time.
#[derive(Debug, Serialize)]
struct Times {
    queue_ms: f64,
    ttft_ms: Option<f64>,
    prefill_ms: f64,
    decode_ms: f64,
    inter_token_p50_ms: Option<f64>,
    inter_token_p99_ms: Option<f64>,
    prefill_tokens: u32,
    prefill_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
    cache_source: &'static str,
}

impl<'a> From<&'a TokenBatch> for Event<'a> {
    fn from(batch: &'a TokenBatch) -> Self {
        let TokenBatch { delta, sequence, tokens, .. } = batch;
        let (sequence, tokens) = (*sequence, *tokens);
        match delta {
            Delta::Text(text) => Self::Token { text, sequence, tokens },
            Delta::Reasoning(reasoning) => Self::Reasoning { text: &reasoning.text, sequence, tokens },
            Delta::ToolCall(call) => {
                Self::ToolCall { id: &call.id, name: &call.name, arguments: &call.arguments, sequence, tokens }
            }
        }
    }
}

impl<'a> From<&'a TextResponse> for Event<'a> {
    fn from(response: &'a TextResponse) -> Self {
        Self::Response(End {
            text: Some(&response.text),
            finish_reason: Some(finish_reason(response.finish_reason)),
            cancelled: response.cancelled.map(cancel_reason),
            usage: response.usage.as_ref().map(Counts::from),
            stats: response.stats.as_ref().map(|stats| Times::new(stats, response.usage.as_ref())),
            metadata: Trace::of(&response.metadata),
            ..End::default()
        })
    }
}

impl<'a> From<&'a EmbedResponse> for Event<'a> {
    fn from(response: &'a EmbedResponse) -> Self {
        let embedding = &response.embedding;
        Self::Response(End {
            pooling: embedding.pooling.map(pooling),
            normalized: embedding.normalized,
            usage: embedding.usage.as_ref().map(Counts::from),
            stats: embedding.stats.as_ref().map(|stats| Times::new(stats, embedding.usage.as_ref())),
            metadata: Trace::of(&embedding.metadata),
            ..End::default()
        })
    }
}

impl<'a> From<&'a Failure> for Event<'a> {
    fn from(failure: &'a Failure) -> Self {
        let (fault, upstream) = if let Failure::Client(Error::Model(model)) = failure {
            (Some(model_fault(model.fault)), None)
        } else if let Failure::Client(Error::Upstream(payload)) = failure {
            (Some(upstream_fault(payload.fault)), Some(payload))
        } else {
            (None, None)
        };
        Self::Error {
            code: failure.code(),
            fault,
            message: failure.to_string(),
            retry_after_ms: upstream.and_then(|payload| payload.retry_after),
            upstream: upstream.map(Upstream::from),
        }
    }
}

impl<'a> From<&'a UpstreamPayload> for Upstream<'a> {
    fn from(payload: &'a UpstreamPayload) -> Self {
        Self {
            provider: &payload.provider,
            status: payload.status,
            code: payload.code.as_deref(),
            request_id: payload.request_id.as_deref(),
        }
    }
}

impl From<&Usage> for Counts {
    fn from(usage: &Usage) -> Self {
        let Usage { input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens } = *usage;
        let total_tokens = input_tokens.zip(output_tokens).map(|(input, output)| input.saturating_add(output));
        Self {
            input_tokens,
            output_tokens,
            total_tokens,
            cached_input_tokens: cached_tokens,
            cache_write_tokens,
            reasoning_tokens,
        }
    }
}

impl Times {
    fn new(stats: &Stats, usage: Option<&Usage>) -> Self {
        let speed = Speed::new(stats, usage);
        Self {
            queue_ms: rounded(stats.queue_time),
            ttft_ms: stats.time_to_first_token.map(rounded),
            prefill_ms: rounded(stats.prefill_time),
            decode_ms: rounded(stats.decode_time),
            inter_token_p50_ms: stats.inter_token_p50.map(rounded),
            inter_token_p99_ms: stats.inter_token_p99.map(rounded),
            prefill_tokens: stats.prefill_tokens,
            prefill_tokens_per_second: speed.prefill.map(rounded),
            decode_tokens_per_second: speed.decode.map(rounded),
            cache_source: match stats.cache_source {
                CacheSource::None => "none",
                CacheSource::Live => "live",
                CacheSource::Snapshot => "snapshot",
            },
        }
    }
}

/// No more digits than clocks can tell.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Cancelled => "cancelled",
    }
}

fn pooling(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::None => "none",
        Pooling::Mean => "mean",
        Pooling::Cls => "cls",
        Pooling::Last => "last",
        Pooling::Rank => "rank",
    }
}

fn upstream_fault(fault: UpstreamFault) -> &'static str {
    match fault {
        UpstreamFault::Authentication => "authentication",
        UpstreamFault::Authorization => "authorization",
        UpstreamFault::RateLimited => "rate_limited",
        UpstreamFault::QuotaExceeded => "quota_exceeded",
        UpstreamFault::InvalidRequest => "invalid_request",
        UpstreamFault::UnsupportedFeature => "unsupported_feature",
        UpstreamFault::ModelNotFound => "model_not_found",
        UpstreamFault::Timeout => "timeout",
        UpstreamFault::Overloaded => "overloaded",
        UpstreamFault::Transport => "transport",
        UpstreamFault::Protocol => "protocol",
        UpstreamFault::Provider => "provider",
    }
}

fn model_fault(fault: ModelFault) -> &'static str {
    match fault {
        ModelFault::NotFound => "not_found",
        ModelFault::NotGguf => "not_gguf",
        ModelFault::Corrupt => "corrupt",
        ModelFault::UnsupportedArchitecture => "unsupported_architecture",
        ModelFault::OutOfMemory => "out_of_memory",
        ModelFault::Configuration => "configuration",
    }
}
