//! Requests and the bodies that come of them.

use provider::bindings::sipp::inference::types::LocalOptions;
use provider::{Context, ToolResult};

use super::*;

fn settings(options: &[(&str, &str)]) -> Settings {
    Settings {
        provider: "anthropic".to_owned(),
        model: "m".to_owned(),
        base_url: "https://api.anthropic.com/v1".to_owned(),
        version: None,
        correlation_header: None,
        options: fields_of(options),
    }
}

fn fields_of(fields: &[(&str, &str)]) -> Vec<Extension> {
    fields.iter().map(|(name, value)| Extension { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn plain() -> TextOptions {
    TextOptions {
        max_tokens: None,
        temperature: None,
        top_p: None,
        stop: vec![],
        stream: None,
        tools: vec![],
        tool_choice: None,
        response_format: None,
        logprobs: None,
    }
}

fn asking(input: Input, options: TextOptions) -> Request {
    let context = Context { request_id: None, principal: None, deadline: None, call: None };
    Request { input, options, local: None, extensions: vec![], context }
}

fn chat(messages: Vec<Message>) -> Request {
    asking(Input::Messages(messages), plain())
}

fn query(options: TextOptions) -> Request {
    asking(Input::Prompt("hi".to_owned()), options)
}

fn written(request: &Request) -> Result<Value, Error> {
    body(&settings(&[]), request).map(|body| serde_json::from_slice(&body).unwrap())
}

fn refusal(request: &Request) -> String {
    match written(request) {
        Err(Error::InvalidRequest(text)) => text,
        Err(Error::Unsupported(payload)) => format!("{:?}: {}", payload.operation, payload.reason),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn message(role: Role, content: Vec<Part>) -> Message {
    Message { role, content }
}

fn text(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn media(mime_type: &str, source: MediaSource) -> Part {
    Part::Media(Media { mime_type: mime_type.to_owned(), source })
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall { id: id.to_owned(), name: "look".to_owned(), arguments: arguments.to_owned() })
}

fn result(id: &str, content: &str, is_error: bool) -> Part {
    Part::ToolResult(ToolResult { id: id.to_owned(), content: content.to_owned(), is_error })
}

fn reasoning(text: &str, signature: Option<&str>) -> Part {
    Part::Reasoning(Reasoning { text: text.to_owned(), signature: signature.map(str::to_owned) })
}

fn tool_of(name: &str, parameters: Option<&str>) -> Tool {
    let parameters = parameters.map(str::to_owned);
    Tool { name: name.to_owned(), description: Some("looks".to_owned()), parameters, strict: Some(true) }
}

#[test]
fn a_prompt_is_a_message_of_the_user() {
    let body = body(&settings(&[]), &query(TextOptions { temperature: Some(0.7), top_p: Some(0.1), ..plain() }));
    let expected = concat!(
        r#"{"model":"m","max_tokens":16384,"messages":[{"role":"user","content":"hi"}],"#,
        r#""temperature":0.7,"top_p":0.1,"stream":true}"#
    );
    assert_eq!(String::from_utf8(body.unwrap()).unwrap(), expected);
}

#[test]
fn instructions_are_joined_wherever_they_stand() {
    let request = chat(vec![
        message(Role::System, vec![text("be "), text("kind")]),
        message(Role::User, vec![text("hi")]),
        message(Role::System, vec![text("")]),
        message(Role::Developer, vec![text("be brief")]),
    ]);
    let body = written(&request).unwrap();
    assert_eq!(body["system"], "be kind\n\nbe brief");
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hi"}]));
    assert_eq!(written(&chat(vec![])).unwrap().get("system"), None);
}

#[test]
fn parts_of_the_user_are_blocks() {
    let bytes = || MediaSource::Bytes(vec![0xfb, 0xff, 1]);
    let url = || MediaSource::Url("https://a.example/b".to_owned());
    for (content, expected) in [
        (vec![text("a"), text("")], json!("a")),
        (vec![text("a"), text("b")], json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        (
            vec![media("image/png", bytes())],
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "+/8B"}}]),
        ),
        (
            vec![media("image/png", url()), text("a")],
            json!([
                {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}},
                {"type": "text", "text": "a"},
            ]),
        ),
        (
            vec![media("application/pdf", bytes())],
            json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "+/8B"}}]),
        ),
    ] {
        let body = written(&chat(vec![message(Role::User, content)])).unwrap();
        assert_eq!(body["messages"], json!([{"role": "user", "content": expected}]));
    }
}

#[test]
fn messages_that_say_nothing_are_left_out() {
    let request = chat(vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![reasoning("somebody else's", None), text("")]),
        message(Role::User, vec![]),
    ]);
    assert_eq!(written(&request).unwrap()["messages"], json!([{"role": "user", "content": "hi"}]));
}

#[test]
fn calls_are_the_assistants_and_results_come_in_one_message() {
    let request = chat(vec![
        message(Role::Assistant, vec![text("wait"), call("1", r#"{"b":1.0,"a":[2]}"#), call("2", "{}")]),
        message(Role::Tool, vec![result("1", "seen", false)]),
        message(Role::Tool, vec![result("2", "", true)]),
        message(Role::User, vec![text("and?")]),
    ]);
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "text", "text": "wait"},
            {"type": "tool_use", "id": "1", "name": "look", "input": {"b": 1.0, "a": [2]}},
            {"type": "tool_use", "id": "2", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "seen", "is_error": false},
            {"type": "tool_result", "tool_use_id": "2", "is_error": true},
        ]},
        {"role": "user", "content": "and?"},
    ]);
    assert_eq!(written(&request).unwrap()["messages"], expected);
}

#[test]
fn reasoning_goes_back_by_its_signature() {
    let thought = |thinking: &str| json!({"type": "thinking", "thinking": thinking, "signature": "S="});
    let redacted = json!({"type": "redacted_thinking", "data": "E="});
    for (content, expected) in [
        (vec![reasoning("a b", Some("S="))], json!([thought("a b")])),
        (vec![reasoning("a", None), reasoning(" b", None), reasoning("", Some("S="))], json!([thought("a b")])),
        (vec![reasoning("", Some("S=")), reasoning("", Some("redacted:E="))], json!([thought(""), redacted])),
        (vec![reasoning("lost", None), reasoning("", Some("redacted:E="))], json!([redacted])),
        (vec![reasoning("lost", None), text("a"), reasoning("b", Some("S="))], {
            json!([{"type": "text", "text": "a"}, thought("b")])
        }),
    ] {
        let body = written(&chat(vec![message(Role::Assistant, content)])).unwrap();
        assert_eq!(body["messages"], json!([{"role": "assistant", "content": expected}]));
    }
}

#[test]
fn what_a_role_cannot_say_is_refused() {
    let sound = || media("audio/wav", MediaSource::Bytes(vec![1]));
    let image = || media("image/png", MediaSource::Bytes(vec![1]));
    for (role, part, words) in [
        (Role::User, sound(), "Operation::Chat: anthropic takes images and PDF files, not `audio/wav`"),
        (Role::Assistant, image(), "a message of role `assistant` cannot hold media at anthropic"),
        (Role::System, image(), "a message of role `system` cannot hold media at anthropic"),
        (Role::User, call("1", "{}"), "a message of role `user` cannot hold a tool call at anthropic"),
        (Role::User, result("1", "", false), "a message of role `user` cannot hold a tool result at anthropic"),
        (Role::Developer, reasoning("", None), "a message of role `developer` cannot hold reasoning at anthropic"),
        (Role::Tool, text("a"), "a message of role `tool` cannot hold text at anthropic"),
        (Role::Assistant, call("1", "[]"), "arguments of the call of tool `look` is not valid: "),
        (Role::Assistant, call("1", ""), "arguments of the call of tool `look` is not valid: "),
    ] {
        let refusal = refusal(&chat(vec![message(role, vec![part])]));
        assert!(refusal.starts_with(words), "{refusal}");
    }
}

#[test]
fn options_have_the_apis_names() {
    let options = TextOptions {
        max_tokens: Some(8),
        stop: vec!["a".to_owned(), "b".to_owned()],
        stream: Some(false),
        tools: vec![
            tool_of("look", Some(r#"{"type":"object","properties":{"at":{}}}"#)),
            Tool { description: None, strict: None, ..tool_of("wait", None) },
        ],
        ..plain()
    };
    let schema = json!({"type": "object", "properties": {"at": {}}});
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let expected = json!({
        "model": "m",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "hi"}],
        "stop_sequences": ["a", "b"],
        "stream": false,
        "tools": [
            {"name": "look", "description": "looks", "input_schema": schema, "strict": true},
            {"name": "wait", "input_schema": none},
        ],
    });
    assert_eq!(written(&query(options)).unwrap(), expected);
}

#[test]
fn a_tool_is_chosen_where_there_are_tools() {
    for (choice, expected) in [
        (ToolChoice::Auto, json!({"type": "auto"})),
        (ToolChoice::None, json!({"type": "none"})),
        (ToolChoice::Required, json!({"type": "any"})),
        (ToolChoice::Tool("look".to_owned()), json!({"type": "tool", "name": "look"})),
    ] {
        let without = TextOptions { tool_choice: Some(choice), ..plain() };
        let with = TextOptions { tools: vec![tool_of("look", None)], ..without.clone() };
        assert_eq!(written(&query(with)).unwrap()["tool_choice"], expected);
        assert_eq!(written(&query(without)).unwrap().get("tool_choice"), None);
    }
}

#[test]
fn the_most_tokens_are_the_requests_or_the_endpoints() {
    let asked = || query(TextOptions { max_tokens: Some(8), ..plain() });
    let most = |settings: &Settings, request: &Request| {
        body(settings, request).map(|body| serde_json::from_slice::<Value>(&body).unwrap()["max_tokens"].clone())
    };
    assert_eq!(most(&settings(&[("max_tokens", "99")]), &asked()), Ok(json!(8)));
    assert_eq!(most(&settings(&[("max_tokens", "99")]), &query(plain())), Ok(json!(99)));
    for (option, words) in [(("max_tokens", "0"), "options.max_tokens is not valid"), (("beta", "1"), "options.beta")] {
        let error = most(&settings(&[option]), &asked());
        assert!(matches!(&error, Err(Error::InvalidRequest(text)) if text.starts_with(words)), "{error:?}");
    }
}

#[test]
fn an_answer_may_have_a_schema() {
    let format = |description: Option<&str>, schema: &str| {
        let format = JsonSchemaFormat {
            name: "n".to_owned(),
            description: description.map(str::to_owned),
            schema: schema.to_owned(),
            strict: None,
        };
        query(TextOptions { response_format: Some(ResponseFormat::JsonSchema(format)), ..plain() })
    };
    let expected = |schema: Value| json!({"format": {"type": "json_schema", "schema": schema}});
    for (request, schema) in [
        (format(None, r#"{"type":"object"}"#), json!({"type": "object"})),
        (format(Some("why"), r#"{"type":"object"}"#), json!({"type": "object", "description": "why"})),
        (format(Some("why"), r#"{"description":"own"}"#), json!({"description": "own"})),
    ] {
        assert_eq!(written(&request).unwrap()["output_config"], expected(schema));
    }
    let own = Request { extensions: fields_of(&[("output_config", r#"{"effort":"low"}"#)]), ..format(None, "{}") };
    let both = json!({"effort": "low", "format": {"type": "json_schema", "schema": {}}});
    assert_eq!(written(&own).unwrap()["output_config"], both);
    let list = Request { extensions: fields_of(&[("output_config", "[]")]), ..format(None, "{}") };
    assert_eq!(refusal(&list), "provider_options.output_config must be an object");
    assert!(refusal(&format(None, "[]")).starts_with("response_format.schema is not valid"));
}

#[test]
fn own_fields_pass_and_typed_ones_do_not() {
    let with = |name: &str, value: &str| Request { extensions: fields_of(&[(name, value)]), ..query(plain()) };
    for (name, value) in [
        ("thinking", r#"{"type":"adaptive"}"#),
        ("top_k", "5"),
        ("metadata", r#"{"user_id":"u"}"#),
        ("service_tier", r#""auto""#),
        ("output_config", r#"{"effort":"low"}"#),
    ] {
        let expected: Value = serde_json::from_str(value).unwrap();
        assert_eq!(written(&with(name, value)).unwrap()[name], expected);
    }
    for name in TYPED {
        let words = format!("provider_options must not contain `{name}`; it has a typed option");
        assert_eq!(refusal(&with(name, "1")), words);
    }
    let words = "provider_options must not contain `output_config.format`; it has a typed option";
    assert_eq!(refusal(&with("output_config", r#"{"format":null}"#)), words);
}

#[test]
fn what_the_api_has_not_is_refused_by_name() {
    let json_object = TextOptions { response_format: Some(ResponseFormat::JsonObject), ..plain() };
    let logprobs = TextOptions { logprobs: Some(0), ..plain() };
    let local = LocalOptions { context_key: None, grammar: None, json_schema: None, sampling: None, media: vec![] };
    for (request, words) in [
        (query(json_object), "Operation::Query: anthropic writes JSON by a schema only; give a json_schema"),
        (query(logprobs), "Operation::Query: anthropic tells no log probabilities; leave out logprobs"),
        (Request { local: Some(local), ..chat(vec![]) }, "local options are not valid for provider endpoints"),
    ] {
        assert_eq!(refusal(&request), words);
    }
}
