//! The contracts' types as JSON, in the shape that jco gives them in JavaScript: fields in camelCase, cases of enums in
//! kebab-case, variants as `{"tag", "val"}`, and what is none left out.
//!
//! The words are those of `wit/inference/types.wit` and `wit/host/endpoints.wit`, and what they mean stands there.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{
    CacheConfig, ContextConfig, ModelConfig, MultimodalConfig, Placement, Pooling, Residency, Sampling, SchedulerConfig,
};
use crate::error::{Error, ModelFault};
use crate::info::ModelInfo;
use crate::request::{
    self, CacheSource, ChatMessage, Finish, Input, Role, TextRequest, TokenBatch, Tool, ToolCall, ToolChoice,
    ToolResult,
};

/// What to load.
#[derive(Deserialize)]
pub(super) struct Load {
    /// The file, where the worker mounted it.
    model: String,
    /// Its projector, likewise.
    projector: Option<String>,
    /// Threads that the module was instantiated with.
    pub(super) threads: u32,
    descriptor: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    placement: Placement,
    context: ContextConfig,
    scheduler: SchedulerConfig,
    cache: CacheConfig,
    multimodal: Multimodal,
    sampling: Sampling,
    residency: Residency,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Multimodal {
    use_gpu: Option<bool>,
    image_min_tokens: Option<u32>,
    image_max_tokens: Option<u32>,
}

impl Load {
    pub(super) fn config(self) -> ModelConfig {
        let Descriptor { placement, context, scheduler, cache, multimodal, sampling, residency } = self.descriptor;
        let Multimodal { use_gpu, image_min_tokens, image_max_tokens } = multimodal;
        let projector = self.projector.map(Into::into);
        let multimodal = MultimodalConfig { projector, use_gpu, image_min_tokens, image_max_tokens };
        ModelConfig { path: self.model.into(), placement, context, scheduler, cache, multimodal, sampling, residency }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    Query,
    Chat,
    Embed,
}

#[derive(Deserialize)]
pub(super) struct Request {
    input: RequestInput,
    options: TextOptions,
    local: Option<LocalOptions>,
    context: Context,
}

#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
enum RequestInput {
    Prompt(String),
    Messages(Vec<Message>),
}

#[derive(Deserialize)]
struct Message {
    role: MessageRole,
    content: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MessageRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
enum Part {
    Text(String),
    Media(Media),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Reasoning(Reasoning),
}

#[derive(Deserialize)]
struct Media {
    source: MediaSource,
}

#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
enum MediaSource {
    Bytes(Encoded),
    Url(String),
}

/// Bytes, which JSON has as base64.
struct Encoded(Vec<u8>);

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Reasoning {
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextOptions {
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stop: Vec<String>,
    tools: Vec<Tool>,
    tool_choice: Option<ToolChoice>,
    response_format: Option<ResponseFormat>,
    logprobs: Option<u32>,
}

#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema(JsonSchemaFormat),
}

#[derive(Deserialize)]
struct JsonSchemaFormat {
    schema: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LocalOptions {
    context_key: Option<String>,
    grammar: Option<String>,
    json_schema: Option<String>,
    sampling: Option<Sampling>,
    media: Vec<Encoded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    request_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct EmbedRequest {
    inputs: Vec<String>,
    normalize: Option<bool>,
    query: Option<String>,
    context: Context,
}

/// A request in the engine's words.
pub(super) struct Requested {
    pub(super) request: TextRequest,
    pub(super) request_id: Option<String>,
}

impl Request {
    pub(super) fn operation(&self) -> Operation {
        match self.input {
            RequestInput::Prompt(_) => Operation::Query,
            RequestInput::Messages(_) => Operation::Chat,
        }
    }

    pub(super) fn engine_request(self) -> Requested {
        let Self { input, options, local, context } = self;
        let local = local.unwrap_or_default();
        let request = TextRequest {
            input: engine_input(input),
            max_tokens: options.max_tokens,
            temperature: options.temperature,
            top_p: options.top_p,
            stop: options.stop,
            sampling: local.sampling.unwrap_or_default(),
            grammar: local.grammar,
            json_schema: local.json_schema,
            response_format: match options.response_format {
                None | Some(ResponseFormat::Text) => request::ResponseFormat::Text,
                Some(ResponseFormat::JsonObject) => request::ResponseFormat::JsonObject,
                Some(ResponseFormat::JsonSchema(format)) => request::ResponseFormat::JsonSchema(format.schema),
            },
            tools: options.tools,
            tool_choice: options.tool_choice.unwrap_or_default(),
            logprobs: options.logprobs,
            media: local.media.into_iter().map(|Encoded(bytes)| bytes).collect(),
            context_key: local.context_key,
        };
        Requested { request, request_id: context.request_id }
    }
}

impl EmbedRequest {
    pub(super) fn engine_request(self) -> (request::EmbedRequest, Option<String>) {
        (
            request::EmbedRequest { inputs: self.inputs, normalize: self.normalize, query: self.query },
            self.context.request_id,
        )
    }
}

fn engine_input(input: RequestInput) -> Input {
    match input {
        RequestInput::Prompt(prompt) => Input::Prompt(prompt),
        RequestInput::Messages(messages) => Input::Chat(messages.into_iter().map(message).collect()),
    }
}

fn message(message: Message) -> ChatMessage {
    let role = match message.role {
        MessageRole::System => Role::System,
        MessageRole::Developer => Role::Developer,
        MessageRole::User => Role::User,
        MessageRole::Assistant => Role::Assistant,
        MessageRole::Tool => Role::Tool,
    };
    ChatMessage { role, content: message.content.into_iter().map(part).collect() }
}

fn part(part: Part) -> request::Part {
    match part {
        Part::Text(text) => request::Part::Text(text),
        Part::Media(Media { source: MediaSource::Bytes(Encoded(bytes)) }) => {
            request::Part::Media(request::Media::Bytes(bytes))
        }
        Part::Media(Media { source: MediaSource::Url(url) }) => request::Part::Media(request::Media::Url(url)),
        Part::ToolCall(call) => request::Part::ToolCall(call),
        Part::ToolResult(result) => request::Part::ToolResult(result),
        Part::Reasoning(Reasoning { text }) => request::Part::Reasoning(text),
    }
}

/// Something that happened, for JavaScript.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Event {
    Loaded { capabilities: Supported, model: LoadedModel },
    Failed { error: Failure },
    Batch { call: u32, batch: Batch },
    Done { call: u32, result: Ending<Outcome> },
    Embedded { call: u32, result: Ending<Embedding> },
}

impl Event {
    pub(super) fn loaded(info: &ModelInfo) -> Self {
        let capabilities = &info.capabilities;
        let can = |yes| if yes { "supported" } else { "unsupported" };
        Self::Loaded {
            capabilities: Supported {
                query: can(capabilities.generates_text),
                chat: can(capabilities.generates_text && capabilities.has_chat_template),
                embed: can(capabilities.embeds),
            },
            model: LoadedModel {
                name: info.name.clone(),
                architecture: info.architecture.clone(),
                description: info.description.clone(),
                // At most 2^53, so that JavaScript reads them whole.
                parameters: info.parameters,
                size_bytes: info.size_bytes,
                quantization: info.quantization.clone(),
                context_length: info.context_length,
                context: info.context,
                layers: info.layers,
                vocabulary: info.vocabulary,
                chat_template: info.chat_template.clone(),
                embedding_dimensions: capabilities.embedding.map(|embedding| embedding.dimensions),
            },
        }
    }

    pub(super) fn done(call: u32, result: Result<Outcome, Failure>) -> Self {
        Self::Done { call, result: result.into() }
    }

    pub(super) fn embedded(call: u32, result: Result<Embedding, Failure>) -> Self {
        Self::Embedded { call, result: result.into() }
    }

    /// The call that ended with it.
    pub(super) fn ended(&self) -> Option<u32> {
        match self {
            Self::Done { call, .. } | Self::Embedded { call, .. } => Some(*call),
            Self::Loaded { .. } | Self::Failed { .. } | Self::Batch { .. } => None,
        }
    }
}

/// Adds a batch; a text to the last one of the same call, if nobody took that yet and it is text too.
pub(super) fn push(events: &mut Vec<Event>, call: u32, batch: TokenBatch) {
    let TokenBatch { delta, sequence, tokens, logprobs } = batch;
    let last = events.iter_mut().rev().find_map(|event| match event {
        Event::Batch { call: other, batch } if *other == call => Some(batch),
        _ => None,
    });
    let logprobs = logprobs.into_iter().map(TokenLogprob::from);
    match (last, delta) {
        (
            Some(Batch { delta: Delta::Text(text), tokens: last_tokens, logprobs: last_logprobs, .. }),
            request::Delta::Text(more),
        ) => {
            text.push_str(&more);
            *last_tokens += tokens;
            last_logprobs.extend(logprobs);
        }
        (_, delta) => {
            let batch = Batch { delta: delta.into(), sequence, tokens, logprobs: logprobs.collect() };
            events.push(Event::Batch { call, batch });
        }
    }
}

#[derive(Serialize)]
pub(super) struct Supported {
    query: &'static str,
    chat: &'static str,
    embed: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoadedModel {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    architecture: String,
    description: String,
    parameters: u64,
    size_bytes: u64,
    quantization: String,
    context_length: u32,
    context: u32,
    layers: u32,
    vocabulary: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_dimensions: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Batch {
    delta: Delta,
    sequence: u32,
    tokens: u32,
    logprobs: Vec<TokenLogprob>,
}

#[derive(Serialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
enum Delta {
    Text(String),
    Reasoning(Reasoning),
    ToolCall(ToolCall),
}

impl From<request::Delta> for Delta {
    fn from(delta: request::Delta) -> Self {
        match delta {
            request::Delta::Text(text) => Self::Text(text),
            request::Delta::Reasoning(text) => Self::Reasoning(Reasoning { text }),
            request::Delta::ToolCall(call) => Self::ToolCall(call),
        }
    }
}

#[derive(Serialize)]
struct TokenLogprob {
    token: String,
    logprob: f32,
    top: Vec<Alternative>,
}

#[derive(Serialize)]
struct Alternative {
    token: String,
    logprob: f32,
}

impl From<request::TokenLogprob> for TokenLogprob {
    fn from(logprob: request::TokenLogprob) -> Self {
        let request::TokenLogprob { token, logprob, top } = logprob;
        let top = top.into_iter().map(|(token, logprob)| Alternative { token, logprob }).collect();
        Self { token, logprob, top }
    }
}

/// A result, as jco writes one that is not thrown.
#[derive(Serialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
pub(super) enum Ending<T> {
    Ok(T),
    Err(Failure),
}

impl<T> From<Result<T, Failure>> for Ending<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Err(failure),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Outcome {
    finish: &'static str,
    usage: Usage,
    stats: Stats,
    metadata: Metadata,
}

#[derive(Serialize)]
pub(super) struct Embedding {
    vectors: Vec<Vec<f32>>,
    pooling: Pooling,
    normalized: bool,
    usage: Usage,
    stats: Stats,
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    input_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u32>,
}

/// Times in milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    queue_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_first_token: Option<f64>,
    prefill_time: f64,
    decode_time: f64,
    #[serde(rename = "interTokenP50", skip_serializing_if = "Option::is_none")]
    inter_token_p50: Option<f64>,
    #[serde(rename = "interTokenP99", skip_serializing_if = "Option::is_none")]
    inter_token_p99: Option<f64>,
    prefill_tokens: u32,
    cache_source: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    retries: u32,
}

pub(super) fn outcome(
    result: Result<request::Outcome, Error>,
    operation: Operation,
    request_id: Option<String>,
) -> Result<Outcome, Failure> {
    let outcome = result.map_err(|error| Failure::new(error, operation))?;
    Ok(Outcome {
        finish: match outcome.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool-calls",
            Finish::Cancelled => "cancelled",
        },
        usage: Usage {
            input_tokens: outcome.input_tokens,
            output_tokens: Some(outcome.output_tokens),
            cached_tokens: Some(outcome.stats.cached_tokens),
        },
        stats: stats(outcome.stats),
        metadata: Metadata { request_id, retries: 0 },
    })
}

pub(super) fn embedding(
    result: Result<request::Embedding, Error>,
    request_id: Option<String>,
) -> Result<Embedding, Failure> {
    let embedding = result.map_err(|error| Failure::new(error, Operation::Embed))?;
    Ok(Embedding {
        vectors: embedding.vectors,
        pooling: embedding.pooling,
        normalized: embedding.normalized,
        usage: Usage { input_tokens: embedding.input_tokens, output_tokens: None, cached_tokens: None },
        stats: stats(embedding.stats),
        metadata: Metadata { request_id, retries: 0 },
    })
}

fn stats(stats: request::Stats) -> Stats {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Stats {
        queue_time: milliseconds(stats.queue),
        time_to_first_token: stats.time_to_first_token.map(milliseconds),
        prefill_time: milliseconds(stats.prefill),
        decode_time: milliseconds(stats.decode),
        inter_token_p50: stats.inter_token.map(|times| milliseconds(times.p50)),
        inter_token_p99: stats.inter_token.map(|times| milliseconds(times.p99)),
        prefill_tokens: stats.prefill_tokens,
        cache_source: match stats.cache_source {
            CacheSource::None => "none",
            CacheSource::Live => "live",
            CacheSource::Snapshot => "snapshot",
        },
    }
}

/// `variant error` of the contract.
#[derive(Serialize)]
#[serde(tag = "tag", content = "val", rename_all = "kebab-case")]
pub(super) enum Failure {
    InvalidRequest(String),
    Unsupported(Unsupported),
    PromptTooLong(PromptTooLong),
    Model(ModelFailure),
    Overloaded(String),
    Cancelled(&'static str),
    Internal(String),
}

#[derive(Serialize)]
pub(super) struct Unsupported {
    operation: Operation,
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptTooLong {
    prompt_tokens: u32,
    context_tokens: u32,
}

#[derive(Serialize)]
pub(super) struct ModelFailure {
    fault: &'static str,
    message: String,
}

impl Failure {
    /// The one place where an engine's error becomes the contract's.
    pub(super) fn new(error: Error, operation: Operation) -> Self {
        match error {
            Error::Model { fault, message } => Self::Model(ModelFailure { fault: model_fault(fault), message }),
            Error::InvalidRequest(text) => Self::InvalidRequest(text),
            Error::Unsupported(reason) => Self::Unsupported(Unsupported { operation, reason }),
            Error::PromptTooLong { prompt_tokens, context_tokens } => {
                Self::PromptTooLong(PromptTooLong { prompt_tokens, context_tokens })
            }
            Error::Overloaded(text) => Self::Overloaded(text),
            Error::Cancelled => Self::Cancelled("caller-cancelled"),
            Error::Internal(text) => Self::Internal(text),
        }
    }
}

fn model_fault(fault: ModelFault) -> &'static str {
    match fault {
        ModelFault::NotFound => "not-found",
        ModelFault::NotGguf => "not-gguf",
        ModelFault::Corrupt => "corrupt",
        ModelFault::UnsupportedArchitecture => "unsupported-architecture",
        ModelFault::OutOfMemory => "out-of-memory",
        ModelFault::Configuration => "configuration",
    }
}
