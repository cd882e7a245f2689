//! What goes over the wire: the words of the [API](https://platform.openai.com/docs/api-reference), as far as this adapter
//! speaks them, and those that servers which are compatible with it have added.
//!
//! What is sent borrows from the request, so that a long conversation is copied once, into the body. What is received
//! tolerates fields that are not known, and the lack of those that the answer does not need.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of a request for text.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    pub(crate) model: &'a str,
    #[serde(flatten)]
    pub(crate) input: Input<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) stop: &'a [String],
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<OfFunction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs: Option<WantedLogprobs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_logprobs: Option<u32>,
    /// The caller's own fields.
    #[serde(flatten)]
    pub(crate) fields: Map<String, Value>,
}

/// What to continue.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input<'a> {
    Prompt(&'a str),
    Messages(Vec<Message<'a>>),
}

/// How to stream. Without it, a stream tells no counts of tokens.
#[derive(Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

/// Whether log probabilities are wanted of a chat, or how many of a completion.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum WantedLogprobs {
    Chat(bool),
    Completion(u32),
}

/// One message of the conversation.
#[derive(Serialize)]
pub(crate) struct Message<'a> {
    pub(crate) role: &'static str,
    /// Null when there are only calls, as in the API's own messages.
    pub(crate) content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<OfFunction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<&'a str>,
}

/// What is said in a message.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

/// A piece of a message that is sent.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: InputAudio },
}

/// An image.
#[derive(Serialize)]
pub(crate) struct ImageUrl<'a> {
    /// Its address, or the image itself in one.
    pub(crate) url: Cow<'a, str>,
}

/// A sound.
#[derive(Serialize)]
pub(crate) struct InputAudio {
    /// In Base64.
    pub(crate) data: String,
    pub(crate) format: &'static str,
}

/// A tool, a call, or a choice: all that a caller can run are functions.
#[derive(Serialize)]
pub(crate) struct OfFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: Function<'a>,
}

/// A function, with what a tool, a call or a choice says about it.
#[derive(Default, Serialize)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

/// Which tools the model may or must ask for.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ToolChoice<'a> {
    Any(&'static str),
    One(OfFunction<'a>),
}

/// The form of the answer, where it is not just text.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

/// A JSON schema for the answer.
#[derive(Serialize)]
pub(crate) struct JsonSchema<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    pub(crate) schema: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

/// The body of a request for vectors.
#[derive(Serialize)]
pub(crate) struct EmbedBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: &'a [String],
    pub(crate) encoding_format: &'static str,
    /// The caller's own fields.
    #[serde(flatten)]
    pub(crate) fields: Map<String, Value>,
}

/// A reply in one piece, or a chunk of a stream.
#[derive(Default, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: Option<String>,
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Value>,
}

/// An answer, or a piece of it.
#[derive(Deserialize)]
pub(crate) struct Choice {
    /// The answer of a chat.
    pub(crate) message: Option<Said>,
    /// A piece of it.
    pub(crate) delta: Option<Said>,
    /// The answer of a completion, or a piece of it.
    pub(crate) text: Option<String>,
    pub(crate) logprobs: Option<Logprobs>,
    pub(crate) finish_reason: Option<String>,
}

/// What a message says. Reasoning is not OpenAI's; of the two names for it, some servers give both.
#[derive(Default, Deserialize)]
pub(crate) struct Said {
    pub(crate) content: Option<String>,
    pub(crate) reasoning_content: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
}

/// A tool call, or a piece of one.
#[derive(Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) index: Option<usize>,
    pub(crate) id: Option<String>,
    pub(crate) function: Option<CalledFunction>,
}

/// What is called.
#[derive(Default, Deserialize)]
pub(crate) struct CalledFunction {
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
}

/// How likely tokens were: those of a chat in the first two fields, those of a completion in the others.
#[derive(Deserialize)]
pub(crate) struct Logprobs {
    pub(crate) content: Option<Vec<Token>>,
    pub(crate) refusal: Option<Vec<Token>>,
    pub(crate) tokens: Option<Vec<String>>,
    /// Of tokens of the prompt, which an answer can repeat, the first has none.
    pub(crate) token_logprobs: Option<Vec<Option<f32>>>,
    pub(crate) top_logprobs: Option<Vec<Option<BTreeMap<String, f32>>>>,
}

/// A token of a chat, or an alternative to one.
#[derive(Deserialize)]
pub(crate) struct Token {
    pub(crate) token: String,
    pub(crate) logprob: f32,
    pub(crate) top_logprobs: Option<Vec<Token>>,
}

/// Counts of tokens.
#[derive(Default, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
    pub(crate) prompt_tokens_details: Option<PromptTokensDetails>,
    pub(crate) completion_tokens_details: Option<CompletionTokensDetails>,
}

/// What the tokens read were.
#[derive(Deserialize)]
pub(crate) struct PromptTokensDetails {
    pub(crate) cached_tokens: Option<u32>,
}

/// What the tokens written were.
#[derive(Deserialize)]
pub(crate) struct CompletionTokensDetails {
    pub(crate) reasoning_tokens: Option<u32>,
}

/// The reply to a request for vectors.
#[derive(Deserialize)]
pub(crate) struct Embeddings {
    pub(crate) data: Option<Vec<Vector>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Value>,
}

/// One vector, and of which input.
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) index: Option<usize>,
    pub(crate) embedding: Vec<f32>,
}
