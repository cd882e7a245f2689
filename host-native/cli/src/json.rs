//! What `--json` writes: one object per line, each with a `type`.
//!
//! Names are those of the gateway's HTTP profile where it has them. The last line is of type `response` or `error`.

use serde::Serialize;
use sipp::{
    CacheSource, Delta, EmbedResponse, Error, FinishReason, ModelFault, Pooling, Stats, TextResponse, TokenBatch, Usage,
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
    },
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
}

/// Tokens counted; null where a count is not known.
#[derive(Debug, Serialize)]
struct Counts {
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    total_tokens: Option<u32>,
    cached_tokens: Option<u32>,
}

/// Times in milliseconds, and speeds; null where there was nothing to time.
#[derive(Debug, Serialize)]
struct Times {
    queue_ms: f64,
    ttft_ms: Option<f64>,
    prefill_ms: f64,
    decode_ms: f64,
    prefill_tokens: u32,
    prefill_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
    cache_source: &'static str,
}

impl<'a> From<&'a TokenBatch> for Event<'a> {
    fn from(batch: &'a TokenBatch) -> Self {
        let TokenBatch { delta, sequence, tokens } = batch;
        let (sequence, tokens) = (*sequence, *tokens);
        match delta {
            Delta::Text(text) => Self::Token { text, sequence, tokens },
            Delta::Reasoning(text) => Self::Reasoning { text, sequence, tokens },
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
            ..End::default()
        })
    }
}

impl From<&EmbedResponse> for Event<'_> {
    fn from(response: &EmbedResponse) -> Self {
        let embedding = &response.embedding;
        Self::Response(End {
            pooling: embedding.pooling.map(pooling),
            normalized: embedding.normalized,
            usage: embedding.usage.as_ref().map(Counts::from),
            stats: embedding.stats.as_ref().map(|stats| Times::new(stats, embedding.usage.as_ref())),
            ..End::default()
        })
    }
}

impl From<&Failure> for Event<'_> {
    fn from(failure: &Failure) -> Self {
        let fault =
            if let Failure::Client(Error::Model(model)) = failure { Some(model_fault(model.fault)) } else { None };
        Self::Error { code: failure.code(), fault, message: failure.to_string() }
    }
}

impl From<&Usage> for Counts {
    fn from(usage: &Usage) -> Self {
        let Usage { input_tokens, output_tokens, cached_tokens } = *usage;
        let total_tokens = input_tokens.zip(output_tokens).map(|(input, output)| input.saturating_add(output));
        Self { input_tokens, output_tokens, total_tokens, cached_tokens }
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
