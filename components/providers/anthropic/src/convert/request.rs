//! From a request to a body.

use std::num::NonZeroU32;

use provider::{
    Error, Extension, Input, JsonSchemaFormat, Media, MediaSource, Message, Operation, Part, Reasoning, Request,
    ResponseFormat, Role, Settings, TextOptions, Tool, ToolCall, ToolChoice, invalid, merge, option, parse_json,
    unsupported,
};
use serde_json::{Map, Value, json};

use super::REDACTED;
use crate::wire::{self, Block, Body, Content, Encoded, Source};

#[cfg(test)]
mod tests;

/// Most tokens to write when nobody says. Every model in service can write that many, a reply in one piece is finished
/// within the API's ten minutes, and there is room for reasoning, which counts.
const MAX_TOKENS: u32 = 16_384;

/// Fields for which a request has options. `output_format` is an earlier name of `output_config.format`.
const TYPED: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "temperature",
    "top_p",
    "stop_sequences",
    "stream",
    "tools",
    "tool_choice",
    "output_format",
];

/// The body for a request.
///
/// # Errors
///
/// [`Error::InvalidRequest`] and [`Error::Unsupported`] for what the API has no words for.
pub(crate) fn body(settings: &Settings, request: &Request) -> Result<Vec<u8>, Error> {
    let Request { input, options, local, extensions, context: _ } = request;
    if local.is_some() {
        return Err(invalid("local options are not valid for provider endpoints"));
    }
    let operation = operation(input);
    if options.logprobs.is_some() {
        return Err(unsupported(operation, "anthropic tells no log probabilities; leave out logprobs"));
    }
    let (system, messages) = match input {
        Input::Prompt(prompt) => (None, message("user", vec![Block::Text { text: prompt }]).into_iter().collect()),
        Input::Messages(messages) => conversation(operation, messages)?,
    };
    let body = Body {
        model: &settings.model,
        max_tokens: max_tokens(&settings.options, options)?,
        messages,
        system,
        temperature: options.temperature,
        top_p: options.top_p,
        stop_sequences: &options.stop,
        stream: is_streamed(options),
        tools: options.tools.iter().map(tool).collect::<Result<_, _>>()?,
        tool_choice: tool_choice(options),
        fields: fields(operation, options, extensions)?,
    };
    serde_json::to_vec(&body).map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))
}

/// Whether the answer is wanted as it is produced.
pub(crate) fn is_streamed(options: &TextOptions) -> bool {
    options.stream.unwrap_or(true)
}

fn operation(input: &Input) -> Operation {
    match input {
        Input::Prompt(_) => Operation::Query,
        Input::Messages(_) => Operation::Chat,
    }
}

fn max_tokens(settings: &[Extension], options: &TextOptions) -> Result<u32, Error> {
    if let Some(foreign) = settings.iter().find(|setting| setting.name != "max_tokens") {
        return Err(invalid(format!(
            "options.{} is not known to anthropic, which has options.max_tokens",
            foreign.name
        )));
    }
    let usual: Option<NonZeroU32> = option(settings, "max_tokens")?;
    Ok(options.max_tokens.or(usual.map(NonZeroU32::get)).unwrap_or(MAX_TOKENS))
}

/// `system` and the messages.
fn conversation(operation: Operation, messages: &[Message]) -> Result<(Option<String>, Vec<wire::Message<'_>>), Error> {
    let mut system = Vec::new();
    let mut others = Vec::new();
    // All results of a turn's calls have to stand in the one message that follows it.
    for group in messages.chunk_by(|one, next| one.role == Role::Tool && next.role == Role::Tool) {
        let Some(Message { role, .. }) = group.first() else { continue };
        let blocks = blocks(operation, *role, group.iter().flat_map(|message| &message.content))?;
        match role {
            Role::System | Role::Developer => system.push(joined(&blocks)),
            Role::User | Role::Tool => others.extend(message("user", blocks)),
            Role::Assistant => others.extend(message("assistant", blocks)),
        }
    }
    system.retain(|text| !text.is_empty());
    let system = (!system.is_empty()).then(|| system.join("\n\n"));
    Ok((system, others))
}

/// A message, unless it says nothing.
fn message<'a>(role: &'static str, mut blocks: Vec<Block<'a>>) -> Option<wire::Message<'a>> {
    blocks.retain(|block| !matches!(block, Block::Text { text: "" }));
    let content = match blocks.as_slice() {
        [] => return None,
        [Block::Text { text }] => Content::Text(text),
        _ => Content::Blocks(blocks),
    };
    Some(wire::Message { role, content })
}

fn blocks<'a>(
    operation: Operation,
    role: Role,
    parts: impl Iterator<Item = &'a Part>,
) -> Result<Vec<Block<'a>>, Error> {
    let mut blocks = Vec::new();
    let mut unsigned = String::new();
    for part in parts {
        if !matches!(part, Part::Reasoning(_)) {
            unsigned.clear();
        }
        match (role, part) {
            (Role::System | Role::Developer | Role::User | Role::Assistant, Part::Text(text)) => {
                blocks.push(Block::Text { text });
            }
            (Role::User, Part::Media(media)) => blocks.push(file(operation, media)?),
            (Role::Assistant, Part::ToolCall(call)) => blocks.push(tool_use(call)?),
            (Role::Assistant, Part::Reasoning(reasoning)) => blocks.extend(thinking(&mut unsigned, reasoning)),
            (Role::Tool, Part::ToolResult(result)) => blocks.push(Block::ToolResult {
                tool_use_id: &result.id,
                content: &result.content,
                is_error: result.is_error,
            }),
            (role, part) => return Err(misplaced(role, part)),
        }
    }
    Ok(blocks)
}

fn misplaced(role: Role, part: &Part) -> Error {
    let role = match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let part = match part {
        Part::Text(_) => "text",
        Part::Media(_) => "media",
        Part::ToolCall(_) => "a tool call",
        Part::ToolResult(_) => "a tool result",
        Part::Reasoning(_) => "reasoning",
    };
    invalid(format!("a message of role `{role}` cannot hold {part} at anthropic"))
}

fn joined(blocks: &[Block<'_>]) -> String {
    let texts = blocks.iter().map(|block| if let Block::Text { text } = block { text } else { "" });
    texts.collect()
}

fn file(operation: Operation, media: &Media) -> Result<Block<'_>, Error> {
    let media_type = media.mime_type.as_str();
    let source = match &media.source {
        MediaSource::Bytes(bytes) => Source::Base64 { media_type, data: Encoded(bytes) },
        MediaSource::Url(url) => Source::Url { url },
    };
    match media_type {
        "application/pdf" => Ok(Block::Document { source }),
        _ if media_type.starts_with("image/") => Ok(Block::Image { source }),
        _ => Err(unsupported(operation, format!("anthropic takes images and PDF files, not `{media_type}`"))),
    }
}

fn tool_use(call: &ToolCall) -> Result<Block<'_>, Error> {
    let input = parse_json(&format!("arguments of the call of tool `{}`", call.name), &call.arguments)?;
    Ok(Block::ToolUse { id: &call.id, name: &call.name, input })
}

/// Reasoning as a block, once its signature comes: it may come in pieces, as it was handed out.
fn thinking<'a>(unsigned: &mut String, reasoning: &'a Reasoning) -> Option<Block<'a>> {
    let Some(signature) = &reasoning.signature else {
        unsigned.push_str(&reasoning.text);
        return None;
    };
    let mut thinking = std::mem::take(unsigned);
    match signature.strip_prefix(REDACTED) {
        Some(data) => Some(Block::RedactedThinking { data }),
        None => {
            thinking.push_str(&reasoning.text);
            Some(Block::Thinking { thinking, signature })
        }
    }
}

fn tool(tool: &Tool) -> Result<wire::Tool<'_>, Error> {
    let Tool { name, description, parameters, strict } = tool;
    let input_schema = match parameters {
        Some(parameters) => parse_json(&format!("parameters of tool `{name}`"), parameters)?,
        None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
    };
    Ok(wire::Tool { name, description: description.as_deref(), input_schema, strict: *strict })
}

/// Without tools there is nothing to choose, and the API refuses a choice.
fn tool_choice(options: &TextOptions) -> Option<wire::ToolChoice<'_>> {
    let choice = options.tool_choice.as_ref().filter(|_| !options.tools.is_empty())?;
    Some(match choice {
        ToolChoice::Auto => wire::ToolChoice::Auto,
        ToolChoice::None => wire::ToolChoice::None,
        ToolChoice::Required => wire::ToolChoice::Any,
        ToolChoice::Tool(name) => wire::ToolChoice::Tool { name },
    })
}

/// The caller's own fields, and the form of the answer, which shares `output_config` with some of them.
fn fields(operation: Operation, options: &TextOptions, own: &[Extension]) -> Result<Map<String, Value>, Error> {
    let mut fields = Map::new();
    merge(&mut fields, own, TYPED)?;
    if fields.get("output_config").is_some_and(|config| config.get("format").is_some()) {
        return Err(invalid("provider_options must not contain `output_config.format`; it has a typed option"));
    }
    match &options.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            return Err(unsupported(operation, "anthropic writes JSON by a schema only; give a json_schema"));
        }
        Some(ResponseFormat::JsonSchema(format)) => {
            let config = fields.entry("output_config").or_insert_with(|| Map::new().into());
            let Value::Object(config) = config else {
                return Err(invalid("provider_options.output_config must be an object"));
            };
            config.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema(format)?}));
        }
    }
    Ok(fields)
}

/// The schema, with the answer's description, for which the API has no other place.
fn schema(format: &JsonSchemaFormat) -> Result<Map<String, Value>, Error> {
    let mut schema: Map<String, Value> = parse_json("response_format.schema", &format.schema)?;
    if let Some(description) = &format.description {
        schema.entry("description").or_insert_with(|| description.as_str().into());
    }
    Ok(schema)
}
