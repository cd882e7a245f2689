//! From a request for text to a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider::{
    Error, Extension, Input, Media, MediaSource, Message, Operation, Part, Request, ResponseFormat, Role, Settings,
    TextOptions, Tool, ToolCall, ToolChoice, ToolResult, invalid, merge, option, parse_json, unsupported,
};
use serde::Deserialize;
use serde_json::Map;

use super::OPENAI;
use crate::wire::{
    self, Body, Content, Function, ImageUrl, InputAudio, JsonSchema, OfFunction, StreamOptions, WantedLogprobs,
};

/// Fields of a chat for which a request has options. `functions` and `function_call` are earlier names of the tools.
const TYPED_IN_CHAT: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "logprobs",
    "top_logprobs",
];

/// Fields of a completion for which a request has options.
const TYPED_IN_COMPLETION: &[&str] =
    &["model", "prompt", "max_tokens", "temperature", "top_p", "stop", "stream", "stream_options", "logprobs"];

/// The only setting of this adapter's own.
const MAX_TOKENS_FIELD: &str = "max_tokens_field";

/// Which field of a chat holds the limit.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MaxTokensField {
    MaxTokens,
    MaxCompletionTokens,
}

/// The path and the body for a request.
///
/// # Errors
///
/// [`Error::InvalidRequest`] and [`Error::Unsupported`] for what the API has no words for.
pub(crate) fn body(settings: &Settings, request: &Request) -> Result<(&'static str, Vec<u8>), Error> {
    if request.local.is_some() {
        return Err(invalid("local options are not valid for provider endpoints"));
    }
    let (path, body) = match &request.input {
        Input::Prompt(prompt) => ("/completions", completion(settings, prompt, request)?),
        Input::Messages(messages) => ("/chat/completions", chat(settings, messages, request)?),
    };
    let body = serde_json::to_vec(&body)
        .map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))?;
    Ok((path, body))
}

/// Whether the answer is wanted as it is produced.
pub(crate) fn is_streamed(options: &TextOptions) -> bool {
    options.stream.unwrap_or(true)
}

/// Header for the request's id, where the endpoint names none.
pub(crate) fn correlation_header(settings: &Settings) -> Option<&'static str> {
    (settings.provider == OPENAI).then_some("x-client-request-id")
}

/// Refuses settings that are not known, whatever the request: they have no effect.
pub(super) fn check_settings(settings: &Settings) -> Result<(), Error> {
    match settings.options.iter().find(|setting| setting.name != MAX_TOKENS_FIELD) {
        Some(Extension { name, .. }) => Err(invalid(format!(
            "options.{name} is not known to {}, which has options.{MAX_TOKENS_FIELD}",
            settings.provider
        ))),
        None => Ok(()),
    }
}

fn max_tokens_field(settings: &Settings) -> Result<MaxTokensField, Error> {
    let usual = match settings.provider.as_str() {
        OPENAI => MaxTokensField::MaxCompletionTokens,
        _ => MaxTokensField::MaxTokens,
    };
    Ok(option(&settings.options, MAX_TOKENS_FIELD)?.unwrap_or(usual))
}

fn completion<'a>(settings: &'a Settings, prompt: &'a str, request: &'a Request) -> Result<Body<'a>, Error> {
    let options = &request.options;
    let is_plain = matches!(options.response_format, None | Some(ResponseFormat::Text));
    for (name, is_fit) in [
        ("tools", options.tools.is_empty()),
        ("tool_choice", options.tool_choice.is_none()),
        ("response_format", is_plain),
    ] {
        if !is_fit {
            return Err(invalid(format!("{name} is not valid for query at {}; use chat", settings.provider)));
        }
    }
    let mut body = plain(settings, wire::Input::Prompt(prompt), request, TYPED_IN_COMPLETION)?;
    body.max_tokens = options.max_tokens;
    body.logprobs = options.logprobs.map(WantedLogprobs::Completion);
    Ok(body)
}

fn chat<'a>(settings: &'a Settings, messages: &'a [Message], request: &'a Request) -> Result<Body<'a>, Error> {
    let options = &request.options;
    let mut all = Vec::with_capacity(messages.len());
    for message in messages {
        converted(settings, message, &mut all)?;
    }
    let mut body = plain(settings, wire::Input::Messages(all), request, TYPED_IN_CHAT)?;
    match max_tokens_field(settings)? {
        MaxTokensField::MaxTokens => body.max_tokens = options.max_tokens,
        MaxTokensField::MaxCompletionTokens => body.max_completion_tokens = options.max_tokens,
    }
    body.tools = options.tools.iter().map(tool).collect::<Result<_, _>>()?;
    body.tool_choice = tool_choice(options);
    body.response_format = options.response_format.as_ref().map(response_format).transpose()?.flatten();
    body.logprobs = options.logprobs.map(|_| WantedLogprobs::Chat(true));
    body.top_logprobs = options.logprobs;
    Ok(body)
}

/// What completions and chats have in common.
fn plain<'a>(
    settings: &'a Settings,
    input: wire::Input<'a>,
    request: &'a Request,
    typed: &[&str],
) -> Result<Body<'a>, Error> {
    check_settings(settings)?;
    let Request { options, extensions, .. } = request;
    if extensions.iter().any(|field| field.name == "n" && field.value.trim() != "1") {
        return Err(invalid("provider_options.n must be 1: there is one answer to a request"));
    }
    let mut fields = Map::new();
    merge(&mut fields, extensions, typed)?;
    let stream = is_streamed(options);
    Ok(Body {
        model: &settings.model,
        input,
        max_tokens: None,
        max_completion_tokens: None,
        temperature: options.temperature,
        top_p: options.top_p,
        stop: &options.stop,
        stream,
        stream_options: stream.then_some(StreamOptions { include_usage: true }),
        tools: Vec::new(),
        tool_choice: None,
        response_format: None,
        logprobs: None,
        top_logprobs: None,
        fields,
    })
}

/// Adds a message to those that are sent: the results of tool calls are one message each.
fn converted<'a>(settings: &Settings, message: &'a Message, all: &mut Vec<wire::Message<'a>>) -> Result<(), Error> {
    let mut parts = Vec::new();
    let mut tool_calls = Vec::new();
    for part in &message.content {
        match (message.role, part) {
            (Role::System | Role::Developer | Role::User | Role::Assistant, Part::Text(text)) => {
                parts.push(wire::Part::Text { text });
            }
            (Role::User, Part::Media(media)) => parts.push(file(settings, media)?),
            (Role::Assistant, Part::ToolCall(call)) => tool_calls.push(tool_call(call)),
            (Role::Tool, Part::ToolResult(result)) => all.push(tool_result(result)),
            // The API takes none back, and a conversation must go on all the same.
            (Role::Assistant, Part::Reasoning(_)) => {}
            (role, part) => return Err(misplaced(settings, role, part)),
        }
    }
    let content = match parts.as_slice() {
        [] if tool_calls.is_empty() => return Ok(()),
        [] => None,
        [wire::Part::Text { text }] => Some(Content::Text(text)),
        _ => Some(Content::Parts(parts)),
    };
    let role = if message.role == Role::Developer && settings.provider != OPENAI { Role::System } else { message.role };
    all.push(wire::Message { role: role_name(role), content, tool_calls, tool_call_id: None });
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn misplaced(settings: &Settings, role: Role, part: &Part) -> Error {
    let (role, provider) = (role_name(role), &settings.provider);
    let part = match part {
        Part::Text(_) => "text",
        Part::Media(_) => "media",
        Part::ToolCall(_) => "a tool call",
        Part::ToolResult(_) => "a tool result",
        Part::Reasoning(_) => "reasoning",
    };
    invalid(format!("a message of role `{role}` cannot hold {part} at {provider}"))
}

fn file<'a>(settings: &Settings, media: &'a Media) -> Result<wire::Part<'a>, Error> {
    let (mime_type, provider) = (media.mime_type.as_str(), &settings.provider);
    let format = match mime_type {
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        _ if mime_type.starts_with("image/") => {
            let url = match &media.source {
                MediaSource::Bytes(bytes) => format!("data:{mime_type};base64,{}", STANDARD.encode(bytes)).into(),
                MediaSource::Url(url) => url.into(),
            };
            return Ok(wire::Part::ImageUrl { image_url: ImageUrl { url } });
        }
        _ => {
            let reason = format!("{provider} takes images, audio/wav and audio/mpeg, not `{mime_type}`");
            return Err(unsupported(Operation::Chat, reason));
        }
    };
    let MediaSource::Bytes(bytes) = &media.source else {
        return Err(unsupported(Operation::Chat, format!("{provider} takes sounds as bytes, not by an address")));
    };
    Ok(wire::Part::InputAudio { input_audio: InputAudio { data: STANDARD.encode(bytes), format } })
}

fn tool_call(ToolCall { id, name, arguments }: &ToolCall) -> OfFunction<'_> {
    OfFunction { id: Some(id), ..of_function(Function { name, arguments: Some(arguments), ..Function::default() }) }
}

fn tool_result(ToolResult { id, content, is_error: _ }: &ToolResult) -> wire::Message<'_> {
    let (role, content) = (role_name(Role::Tool), Some(Content::Text(content)));
    wire::Message { role, content, tool_calls: Vec::new(), tool_call_id: Some(id) }
}

fn tool(Tool { name, description, parameters, strict }: &Tool) -> Result<OfFunction<'_>, Error> {
    let parameters = parameters.as_ref().map(|text| parse_json(&format!("parameters of tool `{name}`"), text));
    let (description, parameters) = (description.as_deref(), parameters.transpose()?);
    Ok(of_function(Function { name, arguments: None, description, parameters, strict: *strict }))
}

/// Without tools there is nothing to choose, and the API refuses a choice.
fn tool_choice(options: &TextOptions) -> Option<wire::ToolChoice<'_>> {
    let choice = options.tool_choice.as_ref().filter(|_| !options.tools.is_empty())?;
    Some(match choice {
        ToolChoice::Auto => wire::ToolChoice::Any("auto"),
        ToolChoice::None => wire::ToolChoice::Any("none"),
        ToolChoice::Required => wire::ToolChoice::Any("required"),
        ToolChoice::Tool(name) => wire::ToolChoice::One(of_function(Function { name, ..Function::default() })),
    })
}

fn of_function(function: Function<'_>) -> OfFunction<'_> {
    OfFunction { id: None, kind: "function", function }
}

/// The form of the answer. Text needs no words.
fn response_format(format: &ResponseFormat) -> Result<Option<wire::ResponseFormat<'_>>, Error> {
    Ok(match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(wire::ResponseFormat::JsonObject),
        ResponseFormat::JsonSchema(format) => Some(wire::ResponseFormat::JsonSchema {
            json_schema: JsonSchema {
                name: &format.name,
                description: format.description.as_deref(),
                schema: parse_json("response_format.schema", &format.schema)?,
                strict: format.strict,
            },
        }),
    })
}

#[cfg(test)]
mod tests;
