//! Bodies of requests, and the client's requests that they ask for.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sipp::{
    ChatRequest, Context, EmbedRequest, EndpointRef, Extension, LocalEmbedOptions, LocalOptions, QueryRequest,
    Sampling, TextOptions,
};

use super::Body;
use super::message::{Base64, ChatMessage, ResponseFormatBody, ToolBody, ToolChoiceBody};
use crate::config::SamplingTable;

/// Fields that a route does not know.
type Unknown = Map<String, Value>;

/// Fields that are handed on as they are.
type Fields = Map<String, Value>;

/// `POST /v1/query`
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct QueryBody(TextBody);

/// `POST /v1/chat`
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct ChatBody(TextBody);

/// What both routes take, and what each takes of its own.
///
/// One type for both, because serde loses the place of an error in types that are flattened into others.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct TextBody {
    model: String,
    /// Of `/v1/query`.
    prompt: Option<String>,
    /// Of `/v1/chat`.
    messages: Option<Vec<ChatMessage>>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stop: Option<Vec<String>>,
    stream: Option<bool>,
    tools: Option<Vec<ToolBody>>,
    tool_choice: Option<ToolChoiceBody>,
    response_format: Option<ResponseFormatBody>,
    logprobs: Option<u32>,
    context_key: Option<String>,
    grammar: Option<String>,
    json_schema: Option<Value>,
    #[serde(default, deserialize_with = "sampling")]
    sampling: Option<Sampling>,
    media: Option<Vec<Base64>>,
    provider_options: Option<Fields>,
    endpoint_options: Option<Fields>,
    deadline_ms: Option<u32>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// The parts of a text request that both routes have.
struct TextParts {
    options: TextOptions,
    local: Option<LocalOptions>,
    endpoint_options: Vec<Extension>,
    provider_options: Vec<Extension>,
    context: Context,
}

impl TextBody {
    fn unknown(&self) -> Option<String> {
        self.unknown.keys().next().cloned()
    }

    /// Options, with the time that the body gives added to `context`.
    fn into_parts(self, context: Context) -> TextParts {
        let media: Vec<_> = self.media.unwrap_or_default().into_iter().map(|Base64(bytes)| bytes).collect();
        let json_schema = self.json_schema.map(|schema| schema.to_string());
        let Self { context_key, grammar, sampling, .. } = self;
        let is_local = context_key.is_some()
            || grammar.is_some()
            || json_schema.is_some()
            || sampling.is_some()
            || !media.is_empty();
        let options = TextOptions {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            stop: self.stop.unwrap_or_default(),
            stream: Some(self.stream.unwrap_or(false)),
            tools: self.tools.unwrap_or_default().into_iter().map(Into::into).collect(),
            tool_choice: self.tool_choice.map(Into::into),
            response_format: self.response_format.map(Into::into),
            logprobs: self.logprobs,
        };
        TextParts {
            options,
            local: is_local.then_some(LocalOptions { context_key, grammar, json_schema, sampling, media }),
            endpoint_options: extensions(self.endpoint_options),
            provider_options: extensions(self.provider_options),
            context: Context { deadline: self.deadline_ms, ..context },
        }
    }
}

impl QueryBody {
    /// Whether the answer comes as server-sent events.
    pub fn stream(&self) -> bool {
        self.0.stream.unwrap_or(false)
    }

    /// The request for a target.
    pub fn into_request(mut self, endpoint: EndpointRef, context: Context) -> QueryRequest {
        let prompt = self.0.prompt.take().unwrap_or_default();
        let TextParts { options, local, endpoint_options, provider_options, context } = self.0.into_parts(context);
        let endpoint = Some(endpoint);
        QueryRequest { endpoint, prompt, options, local, endpoint_options, provider_options, context }
    }
}

impl ChatBody {
    /// Whether the answer comes as server-sent events.
    pub fn stream(&self) -> bool {
        self.0.stream.unwrap_or(false)
    }

    /// The request for a target.
    pub fn into_request(mut self, endpoint: EndpointRef, context: Context) -> ChatRequest {
        let messages = self.0.messages.take().unwrap_or_default().into_iter().map(Into::into).collect();
        let TextParts { options, local, endpoint_options, provider_options, context } = self.0.into_parts(context);
        let endpoint = Some(endpoint);
        ChatRequest { endpoint, messages, options, local, endpoint_options, provider_options, context }
    }
}

impl Body for QueryBody {
    fn model(&self) -> &str {
        &self.0.model
    }

    fn unknown(&self) -> Option<String> {
        self.0.unknown().or_else(|| self.0.messages.as_ref().map(|_| "messages".to_owned()))
    }

    fn missing(&self) -> Option<&'static str> {
        self.0.prompt.is_none().then_some("prompt")
    }

    fn empty(&self) -> Option<&'static str> {
        self.0.prompt.as_ref().is_some_and(String::is_empty).then_some("prompt")
    }
}

impl Body for ChatBody {
    fn model(&self) -> &str {
        &self.0.model
    }

    fn unknown(&self) -> Option<String> {
        let messages = self.0.messages.iter().flatten().enumerate();
        let of_messages = messages.into_iter().find_map(|(index, message)| {
            message.unknown.keys().next().map(|field| format!("messages[{index}].{field}"))
        });
        self.0.unknown().or_else(|| self.0.prompt.as_ref().map(|_| "prompt".to_owned())).or(of_messages)
    }

    fn missing(&self) -> Option<&'static str> {
        self.0.messages.is_none().then_some("messages")
    }

    fn empty(&self) -> Option<&'static str> {
        self.0.messages.as_ref().is_some_and(Vec::is_empty).then_some("messages")
    }
}

/// `POST /v1/embed`
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub struct EmbedBody {
    model: String,
    input: EmbedInput,
    normalize: Option<bool>,
    context_key: Option<String>,
    query: Option<String>,
    provider_options: Option<Fields>,
    endpoint_options: Option<Fields>,
    deadline_ms: Option<u32>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// One text, answered by `embedding`, or several, answered by `embeddings`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "input: expected a string or an array of strings")]
enum EmbedInput {
    One(String),
    Many(Vec<String>),
}

impl EmbedBody {
    /// Whether it has one text, which is answered with one vector.
    pub fn is_single(&self) -> bool {
        matches!(self.input, EmbedInput::One(_))
    }

    /// The request for a target.
    pub fn into_request(self, endpoint: EndpointRef, context: Context) -> EmbedRequest {
        let inputs = match self.input {
            EmbedInput::One(text) => vec![text],
            EmbedInput::Many(texts) => texts,
        };
        let Self { normalize, context_key, query, .. } = self;
        let is_local = normalize.is_some() || context_key.is_some() || query.is_some();
        EmbedRequest {
            endpoint: Some(endpoint),
            inputs,
            local: is_local.then_some(LocalEmbedOptions { context_key, normalize, query }),
            endpoint_options: extensions(self.endpoint_options),
            provider_options: extensions(self.provider_options),
            context: Context { deadline: self.deadline_ms, ..context },
        }
    }
}

impl Body for EmbedBody {
    fn model(&self) -> &str {
        &self.model
    }

    fn unknown(&self) -> Option<String> {
        self.unknown.keys().next().cloned()
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn empty(&self) -> Option<&'static str> {
        let empty = match &self.input {
            EmbedInput::One(text) => text.is_empty(),
            EmbedInput::Many(texts) => texts.is_empty() || texts.iter().any(String::is_empty),
        };
        empty.then_some("input")
    }
}

fn extensions(fields: Option<Fields>) -> Vec<Extension> {
    let fields = fields.unwrap_or_default().into_iter();
    fields.map(|(name, value)| Extension { name, value: value.to_string() }).collect()
}

fn sampling<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Sampling>, D::Error> {
    #[derive(Deserialize)]
    struct Table(#[serde(with = "SamplingTable")] Sampling);
    Ok(Option::<Table>::deserialize(value)?.map(|Table(sampling)| sampling))
}
