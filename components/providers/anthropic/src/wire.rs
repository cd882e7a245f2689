//! What goes over the wire: the words of the [Messages API](https://platform.claude.com/docs/en/api/messages), as far
//! as this adapter speaks them.
//!
//! What is sent borrows from the request, so that a long conversation or an image is copied once, into the body. What
//! is received tolerates fields and kinds that are not known.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// The body of a request.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u32,
    pub(crate) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) stop_sequences: &'a [String],
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice<'a>>,
    /// `output_config`, and the caller's own fields.
    #[serde(flatten)]
    pub(crate) fields: Map<String, Value>,
}

/// One message of the conversation.
#[derive(Serialize)]
pub(crate) struct Message<'a> {
    pub(crate) role: &'static str,
    pub(crate) content: Content<'a>,
}

/// What is said in a message.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

/// A piece of a message that is sent.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Map<String, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        content: &'a str,
        is_error: bool,
    },
    Thinking {
        thinking: String,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

/// Where a file is.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Source<'a> {
    Base64 { media_type: &'a str, data: Encoded<'a> },
    Url { url: &'a str },
}

/// Bytes that are written in Base64.
pub(crate) struct Encoded<'a>(pub(crate) &'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// A tool that the model may ask for.
#[derive(Serialize)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<&'a str>,
    pub(crate) input_schema: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

/// Which tools it may or must ask for.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToolChoice<'a> {
    Auto,
    Any,
    None,
    Tool { name: &'a str },
}

/// A reply in one piece, or what is known of it at the start of a stream.
#[derive(Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: Option<String>,
    pub(crate) content: Option<Vec<ReplyBlock>>,
    pub(crate) stop_reason: Option<String>,
    pub(crate) usage: Option<Usage>,
}

/// A piece of a reply, or its beginning in a stream. Which fields it has, its kind tells.
#[derive(Deserialize)]
pub(crate) struct ReplyBlock {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) thinking: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) input: Option<Map<String, Value>>,
}

/// Counts of tokens.
#[derive(Default, Deserialize)]
pub(crate) struct Usage {
    pub(crate) input_tokens: Option<u32>,
    pub(crate) output_tokens: Option<u32>,
    pub(crate) cache_read_input_tokens: Option<u32>,
    pub(crate) cache_creation_input_tokens: Option<u32>,
    pub(crate) output_tokens_details: Option<OutputTokensDetails>,
}

/// What the written tokens were.
#[derive(Deserialize)]
pub(crate) struct OutputTokensDetails {
    pub(crate) thinking_tokens: Option<u32>,
}

/// An event of a stream. Which fields it has, its name tells.
#[derive(Deserialize)]
pub(crate) struct Event {
    pub(crate) message: Option<Reply>,
    pub(crate) index: Option<usize>,
    pub(crate) content_block: Option<ReplyBlock>,
    pub(crate) delta: Option<Delta>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Reason>,
}

/// What a block or the message grows by: each kind has its own field.
#[derive(Deserialize)]
pub(crate) struct Delta {
    pub(crate) text: Option<String>,
    pub(crate) partial_json: Option<String>,
    pub(crate) thinking: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) stop_reason: Option<String>,
}

/// The body of a refusal.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: Reason,
}

/// Why the API refused or broke off.
#[derive(Deserialize)]
pub(crate) struct Reason {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) message: Option<String>,
}
