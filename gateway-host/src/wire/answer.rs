//! Bodies of answers, and the data of events.

use serde::Serialize;
use sipp::{Alternative, FinishReason, Metadata, Pooling, Reasoning, TokenLogprob, ToolCall, Usage};

/// The finite answer to a query or a chat.
#[derive(Debug, Serialize)]
pub struct TextAnswer<'a> {
    /// Names this answer.
    pub id: String,
    /// Target.
    pub model: &'a str,
    /// The whole text.
    pub text: &'a str,
    /// Reasoning that is not part of the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasoning: Vec<ReasoningBody<'a>>,
    /// Tools that the model wants called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallBody<'a>>,
    /// Why it ended.
    pub finish_reason: &'static str,
    /// How likely the text's tokens were, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprobBody<'a>>,
    /// What it cost, if anybody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageCounts>,
    /// Identifiers of whoever answered behind the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataBody<'a>>,
}

/// The answer to an embed.
#[derive(Debug, Serialize)]
pub struct EmbedAnswer<'a> {
    /// Names this answer.
    pub id: String,
    /// Target.
    pub model: &'a str,
    /// One vector or several, as the input was one text or several.
    #[serde(flatten)]
    pub vectors: Vectors,
    /// How they were pooled, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<&'static str>,
    /// Whether they have length 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<bool>,
    /// What it cost, if anybody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageCounts>,
    /// Identifiers of whoever answered behind the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataBody<'a>>,
}

/// Vectors of an embed answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Vectors {
    /// Of one text.
    Embedding(Vec<f32>),
    /// Of each text, in order.
    Embeddings(Vec<Vec<f32>>),
}

/// Reasoning, whole or a piece of it.
#[derive(Debug, Serialize)]
pub struct ReasoningBody<'a> {
    /// What was thought, as far as it is shown.
    pub text: &'a str,
    /// By which whoever answered knows its own reasoning again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'a str>,
}

/// A tool call.
#[derive(Debug, Serialize)]
pub struct ToolCallBody<'a> {
    /// Names the call.
    pub id: &'a str,
    /// Name of the tool.
    pub name: &'a str,
    /// Arguments as JSON text.
    pub arguments: &'a str,
}

/// How likely a token was. A probability of nought, whose logarithm JSON cannot say, is null.
#[derive(Debug, Serialize)]
pub struct TokenLogprobBody<'a> {
    /// Its text.
    pub token: &'a str,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens at its place.
    pub top: Vec<AlternativeBody<'a>>,
}

/// A token that could have stood at a place.
#[derive(Debug, Serialize)]
pub struct AlternativeBody<'a> {
    /// Its text.
    pub token: &'a str,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Data of a `token` event.
#[derive(Debug, Serialize)]
pub struct TokenEvent<'a> {
    /// What the tokens say.
    pub text: &'a str,
    /// Position of the first token, from 0.
    pub sequence: u32,
    /// How many tokens it is, unless it is one.
    #[serde(skip_serializing_if = "is_one")]
    pub tokens: u32,
    /// How likely they were, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprobBody<'a>>,
}

/// Data of a `reasoning` event.
#[derive(Debug, Serialize)]
pub struct ReasoningEvent<'a> {
    /// The next piece of reasoning.
    #[serde(flatten)]
    pub reasoning: ReasoningBody<'a>,
    /// Position of the first token, from 0.
    pub sequence: u32,
    /// How many tokens it is, unless it is one.
    #[serde(skip_serializing_if = "is_one")]
    pub tokens: u32,
}

/// Data of a `tool_call` event.
#[derive(Debug, Serialize)]
pub struct ToolCallEvent<'a> {
    /// The call, which is complete.
    #[serde(flatten)]
    pub call: ToolCallBody<'a>,
    /// Position of its first token, from 0.
    pub sequence: u32,
    /// How many tokens it is, unless it is one.
    #[serde(skip_serializing_if = "is_one")]
    pub tokens: u32,
}

/// Data of a `done` event.
#[derive(Debug, Serialize)]
pub struct DoneEvent<'a> {
    /// Why the answer ended.
    pub finish_reason: &'static str,
    /// Identifiers of whoever answered behind the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataBody<'a>>,
}

/// What is known of whoever answered behind the gateway.
#[derive(Debug, Serialize)]
pub struct MetadataBody<'a> {
    /// The id that it gave the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<&'a str>,
    /// The id that it gave the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_response_id: Option<&'a str>,
    /// How often the gateway asked it again, if it did.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
}

/// Tokens counted; null where a count is not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsageCounts {
    /// Tokens read.
    pub input_tokens: Option<u32>,
    /// Tokens written.
    pub output_tokens: Option<u32>,
    /// Both together.
    pub total_tokens: Option<u32>,
    /// Of the tokens read, those that came out of a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u32>,
    /// Of the tokens read, those that were put into a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u32>,
    /// Of the tokens written, those that were reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl From<&Usage> for UsageCounts {
    fn from(usage: &Usage) -> Self {
        let Usage { input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens } = *usage;
        Self {
            input_tokens,
            output_tokens,
            total_tokens: input_tokens.zip(output_tokens).map(|(input, output)| input.saturating_add(output)),
            cached_input_tokens: cached_tokens,
            cache_write_tokens,
            reasoning_tokens,
        }
    }
}

impl<'a> MetadataBody<'a> {
    /// What there is to say, if anything. The request's own id is a header.
    pub fn of(metadata: &'a Metadata) -> Option<Self> {
        let Metadata { request_id: _, upstream_request_id, upstream_response_id, retries } = metadata;
        let (upstream_request_id, upstream_response_id) =
            (upstream_request_id.as_deref(), upstream_response_id.as_deref());
        let says = upstream_request_id.is_some() || upstream_response_id.is_some() || *retries > 0;
        says.then_some(Self { upstream_request_id, upstream_response_id, retries: *retries })
    }
}

impl<'a> From<&'a Reasoning> for ReasoningBody<'a> {
    fn from(reasoning: &'a Reasoning) -> Self {
        Self { text: &reasoning.text, signature: reasoning.signature.as_deref() }
    }
}

impl<'a> From<&'a ToolCall> for ToolCallBody<'a> {
    fn from(call: &'a ToolCall) -> Self {
        Self { id: &call.id, name: &call.name, arguments: &call.arguments }
    }
}

impl<'a> From<&'a TokenLogprob> for TokenLogprobBody<'a> {
    fn from(token: &'a TokenLogprob) -> Self {
        let alternative = |other: &'a Alternative| AlternativeBody { token: &other.token, logprob: other.logprob };
        Self { token: &token.token, logprob: token.logprob, top: token.top.iter().map(alternative).collect() }
    }
}

/// The profile's word for why an answer ended.
pub fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Cancelled => "cancelled",
    }
}

/// The profile's word for how vectors were pooled.
pub fn pooling(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::None => "none",
        Pooling::Mean => "mean",
        Pooling::Cls => "cls",
        Pooling::Last => "last",
        Pooling::Rank => "rank",
    }
}
