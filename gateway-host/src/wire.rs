//! The first-party HTTP profile: request bodies, response bodies and event data, as serde types.
//!
//! Bodies are read strictly. A field that nothing acts on is refused by name, because a misspelled option that is
//! ignored gives a wrong answer instead of an error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sipp::{FinishReason, Message, Part, Role, Usage};

use crate::http_error::HttpError;

/// Fields that a route does not know.
type Unknown = Map<String, Value>;

/// A request body.
pub trait Body: DeserializeOwned {
    /// The target that it names.
    fn model(&self) -> &str;

    /// The path of its first unknown field.
    fn unknown(&self) -> Option<String>;

    /// The name of a required field that is empty.
    fn empty(&self) -> Option<&'static str>;
}

/// `POST /v1/query`
#[derive(Debug, Deserialize)]
pub struct QueryBody {
    /// Target.
    pub model: String,
    /// Text to continue.
    pub prompt: String,
    /// As in `sipp:inference/types.text-options`.
    pub max_tokens: Option<u32>,
    /// As in `sipp:inference/types.text-options`.
    pub temperature: Option<f32>,
    /// As in `sipp:inference/types.text-options`.
    pub top_p: Option<f32>,
    /// As in `sipp:inference/types.text-options`.
    pub stop: Option<Vec<String>>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// `POST /v1/chat`
#[derive(Debug, Deserialize)]
pub struct ChatBody {
    /// Target.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// As in `sipp:inference/types.text-options`.
    pub max_tokens: Option<u32>,
    /// As in `sipp:inference/types.text-options`.
    pub temperature: Option<f32>,
    /// As in `sipp:inference/types.text-options`.
    pub top_p: Option<f32>,
    /// As in `sipp:inference/types.text-options`.
    pub stop: Option<Vec<String>>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// One message of a conversation.
#[derive(Debug, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// Instructions of the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// `POST /v1/embed`
#[derive(Debug, Deserialize)]
pub struct EmbedBody {
    /// Target.
    pub model: String,
    /// What to turn into vectors.
    pub input: EmbedInput,
    #[serde(flatten)]
    unknown: Unknown,
}

/// One text, answered by `embedding`, or several, answered by `embeddings`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "input: expected a string or an array of strings")]
pub enum EmbedInput {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

impl Body for QueryBody {
    fn model(&self) -> &str {
        &self.model
    }

    fn unknown(&self) -> Option<String> {
        self.unknown.keys().next().cloned()
    }

    fn empty(&self) -> Option<&'static str> {
        self.prompt.is_empty().then_some("prompt")
    }
}

impl Body for ChatBody {
    fn model(&self) -> &str {
        &self.model
    }

    fn unknown(&self) -> Option<String> {
        let of_message = |(index, message): (usize, &ChatMessage)| {
            message.unknown.keys().next().map(|field| format!("messages[{index}].{field}"))
        };
        self.unknown.keys().next().cloned().or_else(|| self.messages.iter().enumerate().find_map(of_message))
    }

    fn empty(&self) -> Option<&'static str> {
        self.messages.is_empty().then_some("messages")
    }
}

impl From<ChatMessage> for Message {
    fn from(message: ChatMessage) -> Self {
        let role = match message.role {
            ChatRole::System => Role::System,
            ChatRole::User => Role::User,
            ChatRole::Assistant => Role::Assistant,
        };
        Self { role, content: vec![Part::Text(message.content)] }
    }
}

impl Body for EmbedBody {
    fn model(&self) -> &str {
        &self.model
    }

    fn unknown(&self) -> Option<String> {
        self.unknown.keys().next().cloned()
    }

    fn empty(&self) -> Option<&'static str> {
        let empty = match &self.input {
            EmbedInput::One(text) => text.is_empty(),
            EmbedInput::Many(texts) => texts.is_empty() || texts.iter().any(String::is_empty),
        };
        empty.then_some("input")
    }
}

/// Reads a body and checks what its type cannot express.
///
/// # Errors
/// `invalid_json` where it is not JSON of the route's shape, `invalidrequest` where a required field is empty or a
/// field is not known.
pub fn read<B: Body>(json: &[u8]) -> Result<B, HttpError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let body: B = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let cause = error.into_inner();
        // A path that does not lead into the body adds nothing to serde's text.
        HttpError::invalid_json(if field == "." || field == "?" {
            cause.to_string()
        } else {
            format!("{field}: {cause}")
        })
    })?;
    deserializer.end().map_err(|error| HttpError::invalid_json(error.to_string()))?;
    if let Some(field) = body.unknown() {
        return Err(HttpError::invalid_request(format!("unknown field `{field}`; local targets take no such option")));
    }
    let model = body.model().trim().is_empty().then_some("model");
    match model.or_else(|| body.empty()) {
        Some(field) => Err(HttpError::invalid_request(format!("`{field}` must not be empty"))),
        None => Ok(body),
    }
}

/// The finite answer to a query or a chat.
#[derive(Debug, Serialize)]
pub struct TextAnswer<'a> {
    /// Names this answer.
    pub id: String,
    /// Target.
    pub model: &'a str,
    /// The whole text.
    pub text: &'a str,
    /// Why it ended.
    pub finish_reason: &'static str,
    /// What it cost, if anybody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageCounts>,
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
    /// What it cost, if anybody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageCounts>,
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

/// Data of a `token` event, and of a `reasoning` event.
#[derive(Debug, Serialize)]
pub struct TokenEvent<'a> {
    /// What the tokens say.
    pub text: &'a str,
    /// Position of the first token, from 0.
    pub sequence: u32,
}

/// Data of a `tool_call` event.
#[derive(Debug, Serialize)]
pub struct ToolCallEvent<'a> {
    /// Names the call.
    pub id: &'a str,
    /// Name of the tool.
    pub name: &'a str,
    /// Arguments as JSON text.
    pub arguments: &'a str,
    /// Position of its first token, from 0.
    pub sequence: u32,
}

/// Data of a `done` event.
#[derive(Debug, Serialize)]
pub struct DoneEvent {
    /// Why the answer ended.
    pub finish_reason: &'static str,
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
}

impl From<&Usage> for UsageCounts {
    fn from(usage: &Usage) -> Self {
        let Usage { input_tokens, output_tokens, .. } = *usage;
        let total_tokens = input_tokens.zip(output_tokens).map(|(input, output)| input.saturating_add(output));
        Self { input_tokens, output_tokens, total_tokens }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal<B: Body>(body: Value) -> String {
        let Err(error) = read::<B>(body.to_string().as_bytes()) else { panic!("{body} was taken") };
        let body = serde_json::to_value(error.body()).unwrap();
        format!("{}: {}", error.code().0, body["error"]["message"].as_str().unwrap())
    }

    #[test]
    fn options_may_be_null_or_left_out() {
        let body = json!({
            "model": "demo", "prompt": "x", "max_tokens": null, "temperature": null, "top_p": null, "stop": null, "stream": null,
        });
        let body: QueryBody = read(body.to_string().as_bytes()).unwrap();
        assert!(body.max_tokens.is_none() && body.stop.is_none() && body.stream.is_none());
        let body = json!({"model": "demo", "prompt": "x", "max_tokens": 5, "temperature": 0, "stop": ["a", "b"], "stream": true});
        let body: QueryBody = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((body.max_tokens, body.temperature, body.stream), (Some(5), Some(0.0), Some(true)));
        assert_eq!(body.stop.unwrap(), ["a", "b"]);
    }

    #[test]
    fn refusals_name_the_field() {
        let message = json!({"role": "user", "content": "x"});
        assert_eq!(
            refusal::<QueryBody>(json!({"model": "demo", "prompt": "x", "max_tokens": "five"})),
            "invalid_json: max_tokens: invalid type: string \"five\", expected u32 at line 1 column 48"
        );
        assert_eq!(
            refusal::<ChatBody>(json!({"model": "demo", "messages": [message, {"role": "tool", "content": "x"}]})),
            "invalid_json: messages[1].role: unknown variant `tool`, expected one of `system`, `user`, `assistant` \
             at line 1 column 72"
        );
        assert_eq!(
            refusal::<ChatBody>(json!({"model": "demo", "messages": [message], "tools": []})),
            "invalidrequest: unknown field `tools`; local targets take no such option"
        );
        assert_eq!(
            refusal::<EmbedBody>(json!({"model": "demo", "input": ["x", ""]})),
            "invalidrequest: `input` must not be empty"
        );
        assert_eq!(
            refusal::<EmbedBody>(json!({"model": " ", "input": "x"})),
            "invalidrequest: `model` must not be empty"
        );
    }

    #[test]
    fn answers_have_the_profiles_shape() {
        let usage = Usage { input_tokens: Some(9), output_tokens: Some(2), cached_tokens: Some(4) };
        let usage = Some(UsageCounts::from(&usage));
        let answer = TextAnswer { id: "resp_1".into(), model: "demo", text: "Hello", finish_reason: "stop", usage };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"id":"resp_1","model":"demo","text":"Hello","finish_reason":"stop","usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11}}"#
        );
        let usage = Some(UsageCounts::from(&Usage { input_tokens: Some(3), output_tokens: None, cached_tokens: None }));
        let vectors = Vectors::Embedding(vec![0.01, -0.2]);
        let answer = EmbedAnswer { id: "resp_1".into(), model: "demo", vectors, usage };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"id":"resp_1","model":"demo","embedding":[0.01,-0.2],"usage":{"input_tokens":3,"output_tokens":null,"total_tokens":null}}"#
        );
        let vectors = Vectors::Embeddings(vec![vec![0.5], vec![1.0]]);
        let answer = EmbedAnswer { id: "resp_1".into(), model: "demo", vectors, usage: None };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"id":"resp_1","model":"demo","embeddings":[[0.5],[1.0]]}"#
        );
    }
}
