//! The gateway's profile as its client writes and reads it: bodies of requests, answers, and the data of events.
//!
//! `gateway-host/README.md` describes it. What it may add later is passed over; a known field of another shape is an error.

mod local;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use local::{LocalFields, Sampling};

/// Body of `/v1/query` and `/v1/chat`.
#[derive(Debug, Serialize)]
pub(crate) struct TextBody<'a> {
    pub(crate) model: &'a str,
    #[serde(flatten)]
    pub(crate) input: Input,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<u32>,
    #[serde(flatten)]
    pub(crate) local: LocalFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u32>,
    /// Fields of the caller's own, none of which has a typed name.
    #[serde(flatten)]
    pub(crate) own: Map<String, Value>,
}

/// What the model continues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    Prompt(String),
    Messages(Vec<Message>),
}

#[derive(Debug, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: Content,
}

/// One text as it is, anything else as a list of parts.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text {
        text: String,
    },
    Media {
        mime_type: String,
        /// Base64.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    ToolCall(ToolCall),
    ToolResult {
        id: String,
        content: String,
        is_error: bool,
    },
    Reasoning(Reasoning),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON text, as the model wrote it.
    pub(crate) arguments: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reasoning {
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tool {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// A JSON schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ToolChoice {
    Word(&'static str),
    Tool { name: String },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        schema: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// Body of `/v1/embed`.
#[derive(Debug, Serialize)]
pub(crate) struct EmbedBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) normalize: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u32>,
    #[serde(flatten)]
    pub(crate) own: Map<String, Value>,
}

/// Answer of `/v1/query` and `/v1/chat` in one piece.
#[derive(Debug, Deserialize)]
pub(crate) struct TextAnswer {
    pub(crate) id: Option<String>,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) reasoning: Vec<Reasoning>,
    #[serde(default)]
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) finish_reason: FinishReason,
    #[serde(default)]
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) usage: Option<Usage>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

/// Answer of `/v1/embed` to a list of texts.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbedAnswer {
    pub(crate) id: Option<String>,
    pub(crate) embeddings: Vec<Vec<f32>>,
    pub(crate) pooling: Option<String>,
    pub(crate) normalized: Option<bool>,
    pub(crate) usage: Option<Usage>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Cancelled,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TokenLogprob {
    pub(crate) token: String,
    /// JSON has no infinity: null stands for a probability of nought.
    pub(crate) logprob: Option<f32>,
    #[serde(default)]
    pub(crate) top: Vec<Alternative>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Alternative {
    pub(crate) token: String,
    pub(crate) logprob: Option<f32>,
}

/// Data of `usage`, and the field of answers.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    pub(crate) input_tokens: Option<u32>,
    pub(crate) output_tokens: Option<u32>,
    pub(crate) cached_input_tokens: Option<u32>,
    pub(crate) cache_write_tokens: Option<u32>,
    pub(crate) reasoning_tokens: Option<u32>,
}

/// What the gateway learned from whoever answered it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) upstream_request_id: Option<String>,
    pub(crate) upstream_response_id: Option<String>,
}

/// Data of `token`.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenEvent {
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) logprobs: Vec<TokenLogprob>,
    #[serde(default = "one")]
    pub(crate) tokens: u32,
}

/// Data of `reasoning` and of `tool_call`: what is said, and how many tokens it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Counted<T> {
    #[serde(flatten)]
    pub(crate) said: T,
    #[serde(default = "one")]
    pub(crate) tokens: u32,
}

/// Tokens of an event that does not say how many it holds.
const fn one() -> u32 {
    1
}

/// Data of `done`.
#[derive(Debug, Deserialize)]
pub(crate) struct DoneEvent {
    pub(crate) id: Option<String>,
    pub(crate) finish_reason: FinishReason,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

/// Body of a refusal, and data of `error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refusal {
    pub(crate) error: Fault,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fault {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) retry_after_ms: Option<u32>,
    /// With `prompt_too_long`.
    pub(crate) prompt_tokens: Option<u32>,
    /// With `prompt_too_long`.
    pub(crate) context_tokens: Option<u32>,
    /// Whom the gateway asked, when that one failed.
    pub(crate) upstream: Option<Upstream>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Upstream {
    pub(crate) provider: String,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<String>,
    pub(crate) request_id: Option<String>,
}

/// Paths of the gateway, by operation.
pub(crate) type Routes = BTreeMap<String, Option<String>>;
