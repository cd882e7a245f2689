//! From a request to the body that asks for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider::{
    EmbedRequest, Error, Extension, Input, JsonSchemaFormat, Media, MediaSource, Message, Operation, Part, Reasoning,
    Request, ResponseFormat, Role, Settings, Tool, ToolCall, ToolChoice, ToolResult, invalid, merge_from, option,
    parse_json,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::local;
use crate::wire;

/// Fields of bodies that have a typed option, which a caller's own fields must not stand for.
const TYPED: &[&str] = &[
    "model",
    "prompt",
    "messages",
    "input",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "stream",
    "tools",
    "tool_choice",
    "response_format",
    "logprobs",
    "context_key",
    "grammar",
    "json_schema",
    "sampling",
    "media",
    "normalize",
    "query",
    "deadline_ms",
];

/// Path and body of a request for text.
///
/// # Errors
///
/// [`Error::InvalidRequest`] for JSON text that is none, and for fields of the caller's own that stand for a typed option.
pub(crate) fn text_body(settings: &Settings, request: Request) -> Result<(String, Vec<u8>), Error> {
    let Request { input, options, local, extensions, context } = request;
    let (operation, input) = match input {
        Input::Prompt(prompt) => (Operation::Query, wire::Input::Prompt(prompt)),
        Input::Messages(messages) => {
            (Operation::Chat, wire::Input::Messages(messages.into_iter().map(message).collect()))
        }
    };
    let tools = options.tools.into_iter().enumerate().map(tool).collect::<Result<_, _>>()?;
    let body = wire::TextBody {
        model: &settings.model,
        input,
        max_tokens: options.max_tokens,
        temperature: options.temperature,
        top_p: options.top_p,
        stop: options.stop,
        stream: options.stream.unwrap_or(true),
        tools,
        tool_choice: options.tool_choice.map(tool_choice),
        response_format: options.response_format.map(response_format).transpose()?,
        logprobs: options.logprobs,
        local: local.map(local::fields).transpose()?.unwrap_or_default(),
        deadline_ms: context.deadline,
        own: own_fields(settings, &extensions)?,
    };
    Ok((route(settings, operation)?, json(&body)?))
}

/// Path and body of a request for vectors.
///
/// # Errors
///
/// As [`text_body`].
pub(crate) fn embed_body(settings: &Settings, request: EmbedRequest) -> Result<(String, Vec<u8>), Error> {
    let EmbedRequest { inputs, normalize, context_key, query, extensions, context } = request;
    let body = wire::EmbedBody {
        model: &settings.model,
        input: inputs,
        normalize,
        context_key,
        query,
        deadline_ms: context.deadline,
        own: own_fields(settings, &extensions)?,
    };
    Ok((route(settings, Operation::Embed)?, json(&body)?))
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::Internal(format!("the request is no JSON: {error}")))
}

fn route(settings: &Settings, operation: Operation) -> Result<String, Error> {
    let (name, usual) = match operation {
        Operation::Query => ("query", "/v1/query"),
        Operation::Chat => ("chat", "/v1/chat"),
        Operation::Embed => ("embed", "/v1/embed"),
    };
    let routes: Option<wire::Routes> = option(&settings.options, "routes")?;
    Ok(routes.and_then(|mut routes| routes.remove(name)).flatten().unwrap_or_else(|| usual.to_owned()))
}

/// The endpoint's fields, and those of the request, which come last and so are the ones that count.
fn own_fields(settings: &Settings, extensions: &[Extension]) -> Result<Map<String, Value>, Error> {
    let options: Option<Map<String, Value>> = option(&settings.options, "protocol_options")?;
    let mut own = options.unwrap_or_default();
    if let Some(name) = own.keys().find(|name| TYPED.contains(&name.as_str())) {
        return Err(invalid(format!("protocol_options must not contain `{name}`; it has a typed option")));
    }
    merge_from("endpoint_options", &mut own, extensions, TYPED)?;
    Ok(own)
}

fn message(message: Message) -> wire::Message {
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut parts: Vec<_> = message.content.into_iter().map(part).collect();
    let content = match parts.pop() {
        Some(wire::Part::Text { text }) if parts.is_empty() => wire::Content::Text(text),
        last => wire::Content::Parts(parts.into_iter().chain(last).collect()),
    };
    wire::Message { role, content }
}

fn part(part: Part) -> wire::Part {
    match part {
        Part::Text(text) => wire::Part::Text { text },
        Part::Media(Media { mime_type, source }) => {
            let (data, url) = match source {
                MediaSource::Bytes(bytes) => (Some(STANDARD.encode(bytes)), None),
                MediaSource::Url(url) => (None, Some(url)),
            };
            wire::Part::Media { mime_type, data, url }
        }
        Part::ToolCall(ToolCall { id, name, arguments }) => {
            wire::Part::ToolCall(wire::ToolCall { id, name, arguments })
        }
        Part::ToolResult(ToolResult { id, content, is_error }) => wire::Part::ToolResult { id, content, is_error },
        Part::Reasoning(Reasoning { text, signature }) => wire::Part::Reasoning(wire::Reasoning { text, signature }),
    }
}

fn tool((index, tool): (usize, Tool)) -> Result<wire::Tool, Error> {
    let Tool { name, description, parameters, strict } = tool;
    let parameters = parameters.map(|text| parse_json(&format!("tools[{index}].parameters"), &text)).transpose()?;
    Ok(wire::Tool { name, description, parameters, strict })
}

fn tool_choice(choice: ToolChoice) -> wire::ToolChoice {
    match choice {
        ToolChoice::Auto => wire::ToolChoice::Word("auto"),
        ToolChoice::None => wire::ToolChoice::Word("none"),
        ToolChoice::Required => wire::ToolChoice::Word("required"),
        ToolChoice::Tool(name) => wire::ToolChoice::Tool { name },
    }
}

fn response_format(format: ResponseFormat) -> Result<wire::ResponseFormat, Error> {
    Ok(match format {
        ResponseFormat::Text => wire::ResponseFormat::Text,
        ResponseFormat::JsonObject => wire::ResponseFormat::JsonObject,
        ResponseFormat::JsonSchema(JsonSchemaFormat { name, description, schema, strict }) => {
            let schema = parse_json("response_format.schema", &schema)?;
            wire::ResponseFormat::JsonSchema { name, description, schema, strict }
        }
    })
}

#[cfg(test)]
mod tests {
    use provider::{Context, LocalOptions, TextOptions};
    use serde_json::json;

    use super::*;

    fn settings(options: &[(&str, Value)]) -> Settings {
        Settings {
            provider: "gateway".into(),
            model: "demo".into(),
            base_url: "https://gateway.example".into(),
            version: None,
            correlation_header: None,
            options: options.iter().map(|(name, value)| field(name, &value.to_string())).collect(),
        }
    }

    fn field(name: &str, value: &str) -> Extension {
        Extension { name: name.into(), value: value.into() }
    }

    fn plain(input: Input) -> Request {
        let options = TextOptions {
            max_tokens: None,
            temperature: None,
            top_p: None,
            stop: vec![],
            stream: None,
            tools: vec![],
            tool_choice: None,
            response_format: None,
            logprobs: None,
        };
        let context = Context { request_id: None, principal: None, deadline: None, call: None };
        Request { input, options, local: None, extensions: vec![], context }
    }

    fn say(role: Role, content: Vec<Part>) -> Message {
        Message { role, content }
    }

    fn body(settings: &Settings, request: Request) -> (String, Value) {
        let (route, body) = text_body(settings, request).unwrap();
        (route, serde_json::from_slice(&body).unwrap())
    }

    fn refusal(settings: &Settings, request: Request) -> String {
        match text_body(settings, request) {
            Err(Error::InvalidRequest(text)) => text,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_plain_request_holds_nothing_else() {
        let (route, body) = body(&settings(&[]), plain(Input::Prompt("one".into())));
        assert_eq!((route.as_str(), body), ("/v1/query", json!({"model": "demo", "prompt": "one", "stream": true})));
    }

    #[test]
    fn every_part_has_its_place() {
        let media = |source| Part::Media(Media { mime_type: "image/png".into(), source });
        let call = ToolCall { id: "c1".into(), name: "add".into(), arguments: r#"{"a":1}"#.into() };
        let result = ToolResult { id: "c1".into(), content: "no".into(), is_error: true };
        let reasoning = Reasoning { text: "hm".into(), signature: Some("s".into()) };
        let request = plain(Input::Messages(vec![
            say(Role::Developer, vec![Part::Text("be brief".into())]),
            say(
                Role::User,
                vec![
                    Part::Text("what?".into()),
                    media(MediaSource::Bytes(vec![1, 2])),
                    media(MediaSource::Url("u".into())),
                ],
            ),
            say(Role::Assistant, vec![Part::Reasoning(reasoning), Part::ToolCall(call)]),
            say(Role::Tool, vec![Part::ToolResult(result)]),
            say(Role::System, vec![]),
        ]));
        let (route, body) = body(&settings(&[]), request);
        assert_eq!(route, "/v1/chat");
        let expected = json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what?"},
                {"type": "media", "mime_type": "image/png", "data": "AQI="},
                {"type": "media", "mime_type": "image/png", "url": "u"},
            ]},
            {"role": "assistant", "content": [
                {"type": "reasoning", "text": "hm", "signature": "s"},
                {"type": "tool_call", "id": "c1", "name": "add", "arguments": "{\"a\":1}"},
            ]},
            {"role": "tool", "content": [{"type": "tool_result", "id": "c1", "content": "no", "is_error": true}]},
            {"role": "system", "content": []},
        ]);
        assert_eq!(body["messages"], expected);
    }

    #[test]
    fn every_option_is_sent() {
        let mut request = plain(Input::Prompt("one".into()));
        let schema = JsonSchemaFormat {
            name: "answer".into(),
            description: None,
            schema: r#"{"type":"object"}"#.into(),
            strict: Some(true),
        };
        let tool = Tool { name: "add".into(), description: None, parameters: Some("{}".into()), strict: None };
        request.options = TextOptions {
            max_tokens: Some(5),
            temperature: Some(0.7),
            top_p: Some(0.5),
            stop: vec!["x".into()],
            stream: Some(false),
            tools: vec![tool],
            tool_choice: Some(ToolChoice::Tool("add".into())),
            response_format: Some(ResponseFormat::JsonSchema(schema)),
            logprobs: Some(2),
        };
        request.context.deadline = Some(900);
        let (_, bytes) = text_body(&settings(&[]), request).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"model":"demo","prompt":"one","max_tokens":5,"temperature":0.7,"top_p":0.5,"stop":["x"],"stream":false,"tools":[{"name":"add","parameters":{}}],"tool_choice":{"name":"add"},"response_format":{"type":"json_schema","name":"answer","schema":{"type":"object"},"strict":true},"logprobs":2,"deadline_ms":900}"#
        );
    }

    #[test]
    fn local_options_stand_beside_the_others() {
        let mut request = plain(Input::Prompt("one".into()));
        let (context_key, grammar) = (Some("k".into()), Some("root ::= \"a\"".into()));
        request.local = Some(LocalOptions { context_key, grammar, json_schema: None, sampling: None, media: vec![] });
        let (_, sent) = body(&settings(&[]), request);
        let expected =
            json!({"model": "demo", "prompt": "one", "stream": true, "context_key": "k", "grammar": "root ::= \"a\""});
        assert_eq!(sent, expected);
    }

    #[test]
    fn vectors_are_asked_for_with_their_options() {
        let request = |normalize, context_key: Option<String>| EmbedRequest {
            inputs: vec!["one".into()],
            normalize,
            query: context_key.as_ref().map(|_| "two".into()),
            context_key,
            extensions: vec![],
            context: plain(Input::Prompt(String::new())).context,
        };
        let body = |request| {
            let (route, body) = embed_body(&settings(&[]), request).unwrap();
            (route, serde_json::from_slice::<Value>(&body).unwrap())
        };
        let (route, sent) = body(request(None, None));
        assert_eq!((route.as_str(), sent), ("/v1/embed", json!({"model": "demo", "input": ["one"]})));
        let (_, sent) = body(request(Some(false), Some("k".into())));
        assert_eq!(
            sent,
            json!({"model": "demo", "input": ["one"], "normalize": false, "context_key": "k", "query": "two"})
        );
    }

    #[test]
    fn routes_and_fields_of_the_endpoint_are_used() {
        let settings = settings(&[
            ("routes", json!({"query": "/ask", "chat": null})),
            ("protocol_options", json!({"team": "a", "trace": true})),
        ]);
        let mut request = plain(Input::Prompt("one".into()));
        request.extensions = vec![field("team", "\"b\""), field("provider_options", r#"{"seed":7}"#)];
        let (route, sent) = body(&settings, request);
        assert_eq!(route, "/ask");
        assert_eq!(
            sent,
            json!({"model": "demo", "prompt": "one", "stream": true,
                "team": "b", "trace": true, "provider_options": {"seed": 7}})
        );
        assert_eq!(body(&settings, plain(Input::Messages(vec![]))).0, "/v1/chat");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |edit: fn(&mut Request)| {
            let mut request = plain(Input::Prompt("one".into()));
            edit(&mut request);
            refusal(&settings(&[]), request)
        };
        assert_eq!(
            with(|request| request.extensions = vec![field("stream", "false")]),
            "endpoint_options must not contain `stream`; it has a typed option"
        );
        assert!(with(|request| request.extensions = vec![field("team", "{")]).starts_with("endpoint_options.team"));
        let broken = || Tool { name: "add".into(), description: None, parameters: Some("{".into()), strict: None };
        let mut request = plain(Input::Prompt("one".into()));
        request.options.tools = vec![broken()];
        assert!(refusal(&settings(&[]), request).starts_with("tools[0].parameters is not valid"));
        let settings = settings(&[("protocol_options", json!({"model": "other"}))]);
        assert!(
            refusal(&settings, plain(Input::Prompt("one".into()))).starts_with("protocol_options must not contain")
        );
    }
}
