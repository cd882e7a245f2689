//! What a conversation is made of in a body: messages and their parts, tools, and the form of an answer.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sipp::{
    JsonSchemaFormat, Media, MediaSource, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
    ToolResult,
};

/// One message of a conversation.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub struct ChatMessage {
    role: ChatRole,
    content: Content,
    /// Fields that a message does not have.
    #[serde(flatten)]
    pub(super) unknown: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// What is said: one text, or parts in order.
#[derive(Debug)]
struct Content(Vec<Part>);

/// One part of a message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ChatPart {
    Text { text: String },
    Media { mime_type: String, data: Option<Base64>, url: Option<String> },
    Reasoning { text: String, signature: Option<String> },
    ToolCall { id: String, name: String, arguments: String },
    ToolResult { id: String, content: String, is_error: Option<bool> },
}

/// Bytes, as base64 (RFC 4648, section 4).
#[derive(Debug)]
pub struct Base64(pub Vec<u8>);

/// A tool that the model may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ToolBody {
    name: String,
    description: Option<String>,
    /// A JSON schema.
    parameters: Option<Value>,
    strict: Option<bool>,
}

/// Which tools the model may or must ask for.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected `auto`, `none`, `required` or an object with the `name` of a tool")]
pub enum ToolChoiceBody {
    /// A word for several tools.
    Word(ToolChoiceWord),
    /// One tool.
    Tool(NamedTool),
}

/// A word for several tools.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoiceWord {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
}

/// One tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedTool {
    name: String,
}

/// The form of an answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseFormatBody {
    /// Any text.
    Text {},
    /// Some JSON object.
    JsonObject {},
    /// JSON that matches a schema.
    JsonSchema {
        /// A name for the schema.
        name: String,
        /// What the answer is for.
        description: Option<String>,
        /// A JSON schema.
        schema: Value,
        /// Whether the answer must match exactly.
        strict: Option<bool>,
    },
}

impl From<ChatMessage> for Message {
    fn from(message: ChatMessage) -> Self {
        let role = match message.role {
            ChatRole::System => Role::System,
            ChatRole::Developer => Role::Developer,
            ChatRole::User => Role::User,
            ChatRole::Assistant => Role::Assistant,
            ChatRole::Tool => Role::Tool,
        };
        Self { role, content: message.content.0 }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        /// By hand, because serde's untagged types forget what was wrong with a part, and where.
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string or an array of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content(vec![Part::Text(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                let parts = Vec::<ContractPart>::deserialize(SeqAccessDeserializer::new(parts))?;
                Ok(Content(parts.into_iter().map(|ContractPart(part)| part).collect()))
            }
        }

        value.deserialize_any(TextOrParts)
    }
}

/// A part that is complete.
#[derive(Debug, Deserialize)]
#[serde(try_from = "ChatPart")]
struct ContractPart(Part);

impl TryFrom<ChatPart> for ContractPart {
    type Error = &'static str;

    fn try_from(part: ChatPart) -> Result<Self, Self::Error> {
        Ok(Self(match part {
            ChatPart::Text { text } => Part::Text(text),
            ChatPart::Media { mime_type, data: Some(Base64(bytes)), url: None } => {
                Part::Media(Media { mime_type, source: MediaSource::Bytes(bytes) })
            }
            ChatPart::Media { mime_type, data: None, url: Some(url) } => {
                Part::Media(Media { mime_type, source: MediaSource::Url(url) })
            }
            ChatPart::Media { .. } => return Err("a media part has either `data` or `url`"),
            ChatPart::Reasoning { text, signature } => Part::Reasoning(Reasoning { text, signature }),
            ChatPart::ToolCall { id, name, arguments } => Part::ToolCall(ToolCall { id, name, arguments }),
            ChatPart::ToolResult { id, content, is_error } => {
                Part::ToolResult(ToolResult { id, content, is_error: is_error.unwrap_or(false) })
            }
        }))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        STANDARD.decode(text).map(Self).map_err(|error| de::Error::custom(format_args!("not base64: {error}")))
    }
}

impl From<ToolBody> for Tool {
    fn from(tool: ToolBody) -> Self {
        let ToolBody { name, description, parameters, strict } = tool;
        Self { name, description, parameters: parameters.map(|schema| schema.to_string()), strict }
    }
}

impl From<ToolChoiceBody> for ToolChoice {
    fn from(choice: ToolChoiceBody) -> Self {
        match choice {
            ToolChoiceBody::Word(ToolChoiceWord::Auto) => Self::Auto,
            ToolChoiceBody::Word(ToolChoiceWord::None) => Self::None,
            ToolChoiceBody::Word(ToolChoiceWord::Required) => Self::Required,
            ToolChoiceBody::Tool(NamedTool { name }) => Self::Tool(name),
        }
    }
}

impl From<ResponseFormatBody> for ResponseFormat {
    fn from(format: ResponseFormatBody) -> Self {
        match format {
            ResponseFormatBody::Text {} => Self::Text,
            ResponseFormatBody::JsonObject {} => Self::JsonObject,
            ResponseFormatBody::JsonSchema { name, description, schema, strict } => {
                Self::JsonSchema(JsonSchemaFormat { name, description, schema: schema.to_string(), strict })
            }
        }
    }
}
