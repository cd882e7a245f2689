//! Conversations as templates take them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::request::{
    ChatMessage, Input, MEDIA_MARKER, Media, Part, ResponseFormat, Role, TextRequest, Tool, ToolChoice,
};
use crate::sampler::check_schema;

/// Most alternatives that are told for a token.
const MOST_LOGPROBS: u32 = 20;

/// Longest name of a tool.
const LONGEST_NAME: usize = 64;

/// A message that is a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// Refuses what no model can do, or what contradicts itself.
pub(crate) fn check(request: &TextRequest) -> Result<(), Error> {
    if let Some(most) = request.logprobs.filter(|most| *most > MOST_LOGPROBS) {
        return Err(Error::InvalidRequest(format!("logprobs is {most}; it may be at most {MOST_LOGPROBS}")));
    }
    let is_text = request.response_format == ResponseFormat::Text;
    if !is_text && (request.grammar.is_some() || request.json_schema.is_some()) {
        return Err(Error::invalid("response_format excludes grammar and json_schema; give one of them"));
    }
    check_tools(request)?;
    match &request.input {
        Input::Prompt(prompt) => {
            let markers = prompt.matches(MEDIA_MARKER).count();
            if markers <= request.media.len() || request.media.is_empty() {
                return Ok(());
            }
            Err(Error::InvalidRequest(format!(
                "the prompt has {markers} markers {MEDIA_MARKER} and {} images",
                request.media.len()
            )))
        }
        Input::Chat(_) if !request.media.is_empty() => {
            Err(Error::invalid("media is for raw prompts; in a chat, put images into the messages"))
        }
        Input::Chat(messages) => messages.iter().try_for_each(check_message),
    }
}

fn check_tools(request: &TextRequest) -> Result<(), Error> {
    let names: BTreeSet<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    if request.tools.is_empty() {
        return match &request.tool_choice {
            ToolChoice::Auto | ToolChoice::None => Ok(()),
            ToolChoice::Required | ToolChoice::Tool(_) => {
                Err(Error::invalid("tool_choice asks for a call, but there are no tools"))
            }
        };
    }
    if matches!(request.input, Input::Prompt(_)) {
        return Err(Error::invalid("a prompt takes no tools; use chat"));
    }
    if let ToolChoice::Tool(name) = &request.tool_choice
        && !names.contains(name.as_str())
    {
        return Err(Error::InvalidRequest(format!("tool_choice names `{name}`, but there is no such tool")));
    }
    if names.len() < request.tools.len() {
        return Err(Error::invalid("two tools have the same name"));
    }
    if request.tool_choice != ToolChoice::None && (request.grammar.is_some() || schema(request).is_some()) {
        return Err(Error::invalid(
            "tools exclude grammar, json_schema and response_format for local models; leave one of them out",
        ));
    }
    request.tools.iter().try_for_each(check_tool)
}

fn check_tool(tool: &Tool) -> Result<(), Error> {
    let name = &tool.name;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_allowed) {
        return Err(Error::InvalidRequest(format!(
            "the name of a tool is `{name}`; it must be 1 to {LONGEST_NAME} letters, digits, `_`, `-` or `.`"
        )));
    }
    let Some(parameters) = &tool.parameters else { return Ok(()) };
    check_schema("parameters", parameters)?;
    match serde_json::from_str(parameters) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Error::InvalidRequest(format!("the parameters of `{name}` are no JSON object"))),
        Err(error) => Err(Error::InvalidRequest(format!("the parameters of `{name}` are not JSON: {error}"))),
    }
}

fn check_message(message: &ChatMessage) -> Result<(), Error> {
    let mut results = 0;
    for part in &message.content {
        match part {
            Part::Text(_) => {}
            Part::Media(Media::Bytes(_)) => {}
            Part::Media(Media::Url(_)) => {
                return Err(Error::Unsupported("local models read no addresses; send the image itself".to_owned()));
            }
            Part::ToolResult(_) => results += 1,
            Part::ToolCall(call) if message.role != Role::Assistant => {
                return Err(Error::InvalidRequest(format!(
                    "the tool call `{}` is in a message that is not the assistant's",
                    call.id
                )));
            }
            Part::ToolCall(call) => {
                serde_json::from_str::<Value>(&call.arguments).map_err(|error| {
                    Error::InvalidRequest(format!("the arguments of the tool call `{}` are not JSON: {error}", call.id))
                })?;
            }
            Part::Reasoning(_) if message.role != Role::Assistant => {
                return Err(Error::invalid("reasoning is in a message that is not the assistant's"));
            }
            Part::Reasoning(_) => {}
        }
    }
    if results > 0 && results < message.content.len() {
        return Err(Error::invalid("a message holds a tool result and something else; use two messages"));
    }
    Ok(())
}

/// The schema that the text must match, from either place where a request can say it.
pub(crate) fn schema(request: &TextRequest) -> Option<&str> {
    match &request.response_format {
        ResponseFormat::Text => request.json_schema.as_deref(),
        ResponseFormat::JsonObject => Some("{\"type\":\"object\"}"),
        ResponseFormat::JsonSchema(schema) => Some(schema),
    }
}

/// The messages, if each is a text.
pub(crate) fn turns(messages: &[ChatMessage]) -> Option<Vec<Turn>> {
    messages
        .iter()
        .map(|message| {
            let mut text = String::new();
            for part in &message.content {
                let Part::Text(more) = part else { return None };
                text.push_str(more);
            }
            Some(Turn { role: message.role, text })
        })
        .collect()
}

/// Bytes of what the caller wrote into the messages, at least.
pub(crate) fn size(messages: &[ChatMessage]) -> usize {
    let parts = messages.iter().flat_map(|message| &message.content);
    parts
        .map(|part| match part {
            Part::Text(text) => text.len(),
            Part::ToolResult(result) => result.content.len(),
            // Templates may leave these out.
            Part::Media(_) | Part::ToolCall(_) | Part::Reasoning(_) => 0,
        })
        .sum()
}

/// The request as `bridge/conversation.h` takes it. `write` is applied to every text of the caller's, and `image` stands
/// where an image is.
pub(crate) fn to_json(
    request: &TextRequest,
    messages: &[ChatMessage],
    image: &str,
    write: impl Fn(&str) -> Result<String, Error>,
) -> Result<Value, Error> {
    let mut list = Vec::new();
    for message in messages {
        push_message(&mut list, message, messages, image, &write)?;
    }
    let (choice, only) = match &request.tool_choice {
        ToolChoice::Auto => ("auto", None),
        ToolChoice::None => ("none", None),
        ToolChoice::Required => ("required", None),
        ToolChoice::Tool(name) => ("required", Some(name)),
    };
    let mut tools = Vec::new();
    for tool in request.tools.iter().filter(|tool| only.is_none_or(|only| tool.name == *only)) {
        let parameters = tool.parameters.as_deref().map(&write).transpose()?;
        let parameters: Value = match &parameters {
            // It was JSON when it was checked, and only texts in it were changed.
            Some(parameters) => serde_json::from_str(parameters).unwrap_or_default(),
            None => json!({ "type": "object", "properties": {} }),
        };
        let description = write(tool.description.as_deref().unwrap_or_default())?;
        let function = json!({ "name": tool.name, "description": description, "parameters": parameters });
        tools.push(json!({ "type": "function", "function": function }));
    }
    let schema = schema(request).unwrap_or_default();
    Ok(json!({ "messages": list, "tools": tools, "tool_choice": choice, "json_schema": schema }))
}

fn push_message(
    list: &mut Vec<Value>,
    message: &ChatMessage,
    all: &[ChatMessage],
    image: &str,
    write: &impl Fn(&str) -> Result<String, Error>,
) -> Result<(), Error> {
    let (mut content, mut text, mut reasoning, mut calls) = (String::new(), String::new(), String::new(), Vec::new());
    let mut has_results = false;
    for part in &message.content {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Reasoning(more) => reasoning.push_str(more),
            Part::ToolCall(call) => {
                let (name, arguments) = (write(&call.name)?, write(&call.arguments)?);
                let function = json!({ "name": name, "arguments": arguments });
                calls.push(json!({ "id": write(&call.id)?, "type": "function", "function": function }));
            }
            Part::ToolResult(result) => {
                has_results = true;
                let mut entry = Map::new();
                entry.insert("role".into(), "tool".into());
                entry.insert("tool_call_id".into(), write(&result.id)?.into());
                entry.insert("content".into(), write(&result.content)?.into());
                if let Some(name) = called(all, &result.id) {
                    entry.insert("name".into(), write(name)?.into());
                }
                list.push(entry.into());
            }
            Part::Media(_) => {
                content.push_str(&write(&std::mem::take(&mut text))?);
                content.push_str(image);
            }
        }
    }
    if has_results {
        return Ok(());
    }
    let mut entry = Map::new();
    entry.insert("role".into(), role_name(message.role).into());
    content.push_str(&write(&text)?);
    entry.insert("content".into(), content.into());
    if !reasoning.is_empty() {
        entry.insert("reasoning_content".into(), write(&reasoning)?.into());
    }
    if !calls.is_empty() {
        entry.insert("tool_calls".into(), calls.into());
    }
    list.push(entry.into());
    Ok(())
}

/// The tool that the call of this name called.
fn called<'a>(messages: &'a [ChatMessage], id: &str) -> Option<&'a str> {
    messages.iter().flat_map(|message| &message.content).find_map(|part| match part {
        Part::ToolCall(call) if call.id == id => Some(call.name.as_str()),
        Part::ToolCall(_) | Part::Text(_) | Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) => None,
    })
}

/// What templates call a role.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        // Local models do not tell these two apart.
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}
