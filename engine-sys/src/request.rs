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
            context_key: None,
        }
    }
}

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
    /// What is said.
    pub content: String,
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call. Refused where the model's template does not render it.
    Tool,
}

/// Consecutive tokens of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// What they say: whole UTF-8 characters. Empty only in a last batch whose tokens have no text of their own.
    pub text: String,
    /// Position of the first token in the answer, from 0.
    pub sequence: u32,
    /// Number of tokens whose text ends with this batch; 0 when the batch only releases text that was held back.
    pub tokens: u32,
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
    /// Prompt tokens that were computed, not reused.
    pub prefill_tokens: u32,
    /// Prompt tokens that were computed before, for this caller or another.
    pub cached_tokens: u32,
    /// Where these came from.
    pub cache_source: CacheSource,
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
