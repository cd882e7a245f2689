//! What goes in and what comes out: requests, token batches, outcomes.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::config::{Pooling, Sampling};
use crate::error::Error;

/// A request for text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRequest {
    /// What to continue.
    pub input: Input,
    /// Most tokens to write, at least 1. Without it: up to the end of the context.
    pub max_tokens: Option<u32>,
    /// Overrides `sampling.temperature`; a different value in both is refused.
    pub temperature: Option<f32>,
    /// Overrides `sampling.top_p`; a different value in both is refused.
    pub top_p: Option<f32>,
    /// Texts that end the answer. They are not part of it. None may be empty.
    pub stop: Vec<String>,
    /// Overrides the model's sampling, field by field.
    pub sampling: Sampling,
    /// A GBNF grammar that the text must match.
    pub grammar: Option<String>,
    /// A JSON schema, as JSON text, that the text must match. Not together with `grammar`.
    pub json_schema: Option<String>,
    /// The form of the answer. Anything but text excludes `grammar` and `json_schema`.
    pub response_format: ResponseFormat,
    /// Tools that the model may ask for. Only in a chat, and where the model's template takes them.
    pub tools: Vec<Tool>,
    /// Which of the tools it may or must ask for.
    pub tool_choice: ToolChoice,
    /// Tell each token's log probability, and those of this many likeliest alternatives, from 0 to 20.
    pub logprobs: Option<u32>,
    /// Encoded images for a raw prompt, in the order of its markers [`MEDIA_MARKER`]. Those that have none come before the
    /// prompt. In a chat, images are parts of messages.
    pub media: Vec<Vec<u8>>,
    /// A hint: requests with the same key are likely to begin alike. It never decides what may be shared.
    pub context_key: Option<String>,
}

impl TextRequest {
    /// A request with every option left to the model's configuration.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self {
            input,
            max_tokens: None,
            temperature: None,
            top_p: None,
            stop: Vec::new(),
            sampling: Sampling::default(),
            grammar: None,
            json_schema: None,
            response_format: ResponseFormat::Text,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            logprobs: None,
            media: Vec::new(),
            context_key: None,
        }
    }
}

/// Where an image stands in a raw prompt.
pub const MEDIA_MARKER: &str = "<__media__>";

/// What a generation continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A raw prompt. Special tokens are not parsed in it.
    Prompt(String),
    /// A conversation, rendered by the model's chat template. Special tokens are parsed in the template's own text
    /// and never in the messages' contents.
    Chat(Vec<ChatMessage>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
}

impl ChatMessage {
    /// A message that is a text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Part::Text(text.into())] }
    }
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// As `System`: no local model tells them apart.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call. Refused where the model's template does not render it.
    Tool,
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image. Refused where the model has no projector.
    Media(Media),
    /// A tool call of the assistant.
    ToolCall(ToolCall),
    /// The result of a tool call. A message with one holds nothing else.
    ToolResult(ToolResult),
    /// Reasoning of the assistant that is not part of its answer. Templates without a place for it leave it out.
    Reasoning(String),
}

/// An image of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// The encoded file: PNG, JPEG, WebP or GIF.
    Bytes(Vec<u8>),
    /// An address. Refused: an engine reads none.
    Url(String),
}

/// A call that the model wants made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Serialize, serde::Deserialize))]
pub struct ToolCall {
    /// Names this call, so that a result can refer to it.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: String,
}

/// What a tool call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize))]
pub struct ToolResult {
    /// `id` of the call.
    pub id: String,
    /// The result, as the tool's own text. Templates have no other place for a failure.
    pub content: String,
}

/// A tool that the model may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize))]
pub struct Tool {
    /// Its name: letters, digits, `_`, `-` and `.`, at most 64.
    pub name: String,
    /// What it does and when to use it.
    pub description: Option<String>,
    /// JSON schema of its arguments, as JSON text. Without it the tool takes none.
    pub parameters: Option<String>,
}

/// Which tools the model may or must ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    target_os = "emscripten",
    derive(serde::Deserialize),
    serde(tag = "tag", content = "val", rename_all = "kebab-case")
)]
pub enum ToolChoice {
    /// It decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// The one with this name.
    Tool(String),
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that matches this schema, as JSON text.
    JsonSchema(String),
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Text of the answer: whole UTF-8 characters. Empty only in a last batch whose tokens have no text of their own.
    Text(String),
    /// Reasoning that is not part of the answer.
    Reasoning(String),
    /// A tool call, once it is complete.
    ToolCall(ToolCall),
}

impl Delta {
    /// The text of the answer in it; empty for what is no text of the answer.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Reasoning(_) | Self::ToolCall(_) => "",
        }
    }
}

/// Consecutive tokens of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBatch {
    /// What they say.
    pub delta: Delta,
    /// Position of the first token in the answer, from 0.
    pub sequence: u32,
    /// Number of tokens whose text ends with this batch; 0 when the batch only releases text that was held back.
    pub tokens: u32,
    /// How likely these tokens were, where it was asked for.
    pub logprobs: Vec<TokenLogprob>,
}

/// How likely a token was, before sampling changed the model's probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Its text; bytes that are no whole character are U+FFFD.
    pub token: String,
    /// Natural logarithm of its probability, at most 0.
    pub logprob: f32,
    /// The likeliest tokens at its place and their logarithms, as many as were asked for, likeliest first.
    pub top: Vec<(String, f32)>,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// Tokens sampled, without a final end-of-generation token. The sum of all batches' `tokens`, unless it was
    /// cancelled: then text that was held back is dropped.
    pub output_tokens: u32,
    /// How fast it was.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text did.
    Stop,
    /// The token limit or the end of the context was reached.
    Length,
    /// The model wants tools called.
    ToolCalls,
    /// It was cancelled.
    Cancelled,
}

/// How fast a request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// From acceptance to the first work on the request.
    pub queue: Duration,
    /// From acceptance to the first token, if there was one.
    pub time_to_first_token: Option<Duration>,
    /// Reading the prompt.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// Median and 99th percentile of the times between two tokens, if there were two.
    pub inter_token: Option<InterToken>,
    /// Prompt tokens that were computed, not reused.
    pub prefill_tokens: u32,
    /// Prompt tokens that were computed before, for this caller or another.
    pub cached_tokens: u32,
    /// Where these came from.
    pub cache_source: CacheSource,
}

/// How evenly the tokens of an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterToken {
    /// Half of the times between two tokens were shorter.
    pub p50: Duration,
    /// Of 100 times between two tokens, 99 were shorter.
    pub p99: Duration,
}

/// Where the reused beginning of a prompt came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSource {
    /// Nothing was reused.
    #[default]
    None,
    /// A slot of the context held it.
    Live,
    /// A snapshot held it.
    Snapshot,
}

/// Who receives an answer.
///
/// Called on the engine's thread, which serves every request of the model: it must not block.
pub trait Listener: Send {
    /// Takes the next piece of the answer. [`ControlFlow::Break`] cancels the generation.
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()>;

    /// Takes the end. Called exactly once, after the last batch.
    fn done(self: Box<Self>, result: Result<Outcome, Error>);
}

/// A request for vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The texts, at least one.
    pub inputs: Vec<String>,
    /// Whether vectors are scaled to length 1. Default true; scores of `Pooling::Rank` never are.
    pub normalize: Option<bool>,
    /// What each input is scored against. Refused where pooling is not `Pooling::Rank`.
    pub query: Option<String>,
}

/// The answer to an [`EmbedRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// One vector for each input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// How they were pooled.
    pub pooling: Pooling,
    /// Whether they have length 1.
    pub normalized: bool,
    /// Tokens of all inputs.
    pub input_tokens: u32,
    /// How fast it was.
    pub stats: Stats,
}
