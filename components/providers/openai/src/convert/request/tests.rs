use provider::{Context, JsonSchemaFormat, Reasoning};
use serde_json::{Value, json};

use super::*;
use crate::convert::COMPATIBLE;

fn settings(provider: &str) -> Settings {
    Settings {
        provider: provider.into(),
        model: "m".into(),
        base_url: "https://api.example/v1".into(),
        version: None,
        correlation_header: None,
        options: vec![],
    }
}

fn options() -> TextOptions {
    TextOptions {
        max_tokens: None,
        temperature: None,
        top_p: None,
        stop: vec![],
        stream: Some(false),
        tools: vec![],
        tool_choice: None,
        response_format: None,
        logprobs: None,
    }
}

fn request(input: Input, options: TextOptions) -> Request {
    let context = Context { request_id: None, principal: None, deadline: None, call: None };
    Request { input, options, local: None, extensions: vec![], context }
}

fn message(role: Role, content: Vec<Part>) -> Message {
    Message { role, content }
}

fn chat(content: Vec<Message>, options: TextOptions) -> Request {
    request(Input::Messages(content), options)
}

fn hi() -> Vec<Message> {
    vec![message(Role::User, vec![Part::Text("hi".into())])]
}

fn field(name: &str, value: &str) -> Extension {
    Extension { name: name.into(), value: value.into() }
}

fn tool() -> Tool {
    let parameters = Some(r#"{"type":"object","properties":{"z":{},"a":{}}}"#.into());
    Tool { name: "f".into(), description: Some("d".into()), parameters, strict: Some(true) }
}

fn text(settings: &Settings, request: &Request) -> String {
    String::from_utf8(body(settings, request).unwrap().1).unwrap()
}

/// One field of a chat's body.
fn sent(provider: &str, request: &Request, name: &str) -> Value {
    serde_json::from_str::<Value>(&text(&settings(provider), request)).unwrap()[name].take()
}

fn refusal(provider: &str, request: &Request) -> String {
    match body(&settings(provider), request) {
        Err(Error::InvalidRequest(text)) => text,
        Err(Error::Unsupported(payload)) => payload.reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_chat() {
    let all = TextOptions {
        max_tokens: Some(7),
        temperature: Some(0.7),
        top_p: Some(0.1),
        stop: vec!["\n".into()],
        stream: None,
        tools: vec![tool()],
        tool_choice: Some(ToolChoice::Required),
        response_format: Some(ResponseFormat::JsonObject),
        logprobs: Some(2),
    };
    let mut request = chat(hi(), all);
    request.extensions = vec![field("seed", "3"), field("n", "1")];
    assert_eq!(body(&settings(OPENAI), &request).unwrap().0, "/chat/completions");
    assert_eq!(
        text(&settings(OPENAI), &request),
        concat!(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":7,"temperature":0.7,"#,
            r#""top_p":0.1,"stop":["\n"],"stream":true,"stream_options":{"include_usage":true},"#,
            r#""tools":[{"type":"function","function":{"name":"f","description":"d","#,
            r#""parameters":{"type":"object","properties":{"z":{},"a":{}}},"strict":true}}],"tool_choice":"required","#,
            r#""response_format":{"type":"json_object"},"logprobs":true,"top_logprobs":2,"seed":3,"n":1}"#,
        )
    );
    assert_eq!(
        text(&settings(OPENAI), &chat(hi(), options())),
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":false}"#
    );
}

#[test]
fn a_completion() {
    let all = TextOptions {
        max_tokens: Some(7),
        temperature: Some(0.0),
        logprobs: Some(0),
        stream: Some(true),
        response_format: Some(ResponseFormat::Text),
        ..options()
    };
    let mut request = request(Input::Prompt("Once".into()), all);
    request.extensions = vec![field("suffix", "\"!\"")];
    assert_eq!(body(&settings(OPENAI), &request).unwrap().0, "/completions");
    let expected = concat!(
        r#"{"model":"m","prompt":"Once","max_tokens":7,"temperature":0.0,"stream":true,"#,
        r#""stream_options":{"include_usage":true},"logprobs":0,"suffix":"!"}"#,
    );
    assert_eq!(text(&settings(OPENAI), &request), expected);
    assert_eq!(text(&settings(COMPATIBLE), &request), expected);
}

#[test]
fn the_limit_has_the_field_that_the_endpoint_wants() {
    let request = chat(hi(), TextOptions { max_tokens: Some(7), ..options() });
    for (provider, option, expected) in [
        (OPENAI, None, "max_completion_tokens"),
        (COMPATIBLE, None, "max_tokens"),
        (OPENAI, Some("max_tokens"), "max_tokens"),
        (COMPATIBLE, Some("max_completion_tokens"), "max_completion_tokens"),
    ] {
        let options = option.map(|option| field(MAX_TOKENS_FIELD, &format!("\"{option}\"")));
        let settings = Settings { options: options.into_iter().collect(), ..settings(provider) };
        let body: Value = serde_json::from_str(&text(&settings, &request)).unwrap();
        for name in ["max_tokens", "max_completion_tokens"] {
            assert_eq!(body.get(name).is_some(), name == expected, "{provider} {option:?} {name}");
        }
    }
    for (setting, words) in [
        (field(MAX_TOKENS_FIELD, "\"max\""), "options.max_tokens_field is not valid"),
        (field("organisation", "\"o\""), "options.organisation is not known to openai"),
    ] {
        let settings = Settings { options: vec![setting], ..settings(OPENAI) };
        let refused = body(&settings, &request);
        assert!(matches!(&refused, Err(Error::InvalidRequest(text)) if text.starts_with(words)), "{refused:?}");
    }
}

#[test]
fn messages() {
    let text = |text: &str| Part::Text(text.into());
    let call = Part::ToolCall(ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() });
    let result =
        |id: &str, is_error: bool| Part::ToolResult(ToolResult { id: id.into(), content: "r".into(), is_error });
    let media = |mime_type: &str, source: MediaSource| Part::Media(Media { mime_type: mime_type.into(), source });
    let thought = Part::Reasoning(Reasoning { text: "hm".into(), signature: Some("s".into()) });
    let function = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for (role, parts, expected) in [
        (Role::System, vec![text("s")], json!([{"role": "system", "content": "s"}])),
        (Role::Developer, vec![text("d")], json!([{"role": "developer", "content": "d"}])),
        (Role::User, vec![text("")], json!([{"role": "user", "content": ""}])),
        (
            Role::User,
            vec![text("a"), text("b")],
            json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
        ),
        (
            Role::User,
            vec![
                text("a"),
                media("image/png", MediaSource::Bytes(vec![1, 2, 3, 4])),
                media("image/png", MediaSource::Url("https://x.example/a.png".into())),
                media("audio/wav", MediaSource::Bytes(vec![255])),
                media("audio/mpeg", MediaSource::Bytes(vec![])),
            ],
            json!([{"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQIDBA=="}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "/w==", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}},
            ]}]),
        ),
        (Role::Assistant, vec![thought.clone(), text("t")], json!([{"role": "assistant", "content": "t"}])),
        (Role::Assistant, vec![thought], json!([])),
        (
            Role::Assistant,
            vec![text("t"), call.clone()],
            json!([{"role": "assistant", "content": "t", "tool_calls": function}]),
        ),
        (Role::Assistant, vec![call], json!([{"role": "assistant", "content": null, "tool_calls": function}])),
        (
            Role::Tool,
            vec![result("a", false), result("b", true)],
            json!([{"role": "tool", "content": "r", "tool_call_id": "a"},
                {"role": "tool", "content": "r", "tool_call_id": "b"}]),
        ),
        (Role::User, vec![], json!([])),
    ] {
        let request = chat(vec![message(role, parts)], options());
        assert_eq!(sent(OPENAI, &request, "messages"), expected);
    }
    let request = chat(vec![message(Role::Developer, vec![text("d")])], options());
    assert_eq!(sent(COMPATIBLE, &request, "messages"), json!([{"role": "system", "content": "d"}]));
}

#[test]
fn choices_and_forms() {
    let with = |tool_choice: ToolChoice| {
        let options = TextOptions { tools: vec![tool()], tool_choice: Some(tool_choice), ..options() };
        sent(OPENAI, &chat(hi(), options), "tool_choice")
    };
    assert_eq!(with(ToolChoice::Auto), "auto");
    assert_eq!(with(ToolChoice::None), "none");
    assert_eq!(with(ToolChoice::Tool("f".into())), json!({"type": "function", "function": {"name": "f"}}));
    let none = TextOptions { tool_choice: Some(ToolChoice::None), ..options() };
    assert_eq!(sent(OPENAI, &chat(hi(), none), "tool_choice"), Value::Null);
    let bare = Tool { description: None, parameters: None, strict: None, ..tool() };
    let options_of_bare = TextOptions { tools: vec![bare], ..options() };
    let expected = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(sent(OPENAI, &chat(hi(), options_of_bare), "tools"), expected);
    let format = |format: ResponseFormat| {
        let options = TextOptions { response_format: Some(format), ..options() };
        sent(COMPATIBLE, &chat(hi(), options), "response_format")
    };
    assert_eq!(format(ResponseFormat::Text), Value::Null);
    let schema = JsonSchemaFormat {
        name: "n".into(),
        description: Some("d".into()),
        schema: r#"{"type":"object"}"#.into(),
        strict: Some(true),
    };
    let expected = json!({"name": "n", "description": "d", "schema": {"type": "object"}, "strict": true});
    let expected = json!({"type": "json_schema", "json_schema": expected});
    assert_eq!(format(ResponseFormat::JsonSchema(schema)), expected);
}

#[test]
fn what_the_api_has_no_words_for_is_refused_by_name() {
    let media = |mime_type: &str, source: MediaSource| Part::Media(Media { mime_type: mime_type.into(), source });
    let url = || MediaSource::Url("https://x.example/a".into());
    let result = Part::ToolResult(ToolResult { id: "a".into(), content: "r".into(), is_error: false });
    for (role, part, words) in [
        (Role::User, media("audio/wav", url()), "takes sounds as bytes"),
        (Role::User, media("audio/ogg", MediaSource::Bytes(vec![])), "not `audio/ogg`"),
        (Role::User, media("video/mp4", url()), "not `video/mp4`"),
        (Role::System, media("image/png", url()), "`system` cannot hold media"),
        (Role::User, result, "`user` cannot hold a tool result"),
        (Role::Tool, Part::Text("t".into()), "`tool` cannot hold text"),
    ] {
        let refused = refusal(OPENAI, &chat(vec![message(role, vec![part])], options()));
        assert!(refused.contains(words), "{refused}");
    }
    let prompt = |options: TextOptions| refusal(OPENAI, &request(Input::Prompt("p".into()), options));
    let expected = |name: &str| format!("{name} is not valid for query at openai; use chat");
    assert_eq!(prompt(TextOptions { tools: vec![tool()], ..options() }), expected("tools"));
    assert_eq!(prompt(TextOptions { tool_choice: Some(ToolChoice::Auto), ..options() }), expected("tool_choice"));
    let json_object = Some(ResponseFormat::JsonObject);
    assert_eq!(prompt(TextOptions { response_format: json_object, ..options() }), expected("response_format"));
    let odd = Tool { parameters: Some("[]".into()), ..tool() };
    let refused = refusal(OPENAI, &chat(hi(), TextOptions { tools: vec![odd], ..options() }));
    assert!(refused.starts_with("parameters of tool `f` is not valid"), "{refused}");
}

#[test]
fn fields_of_the_callers_own_never_stand_for_options() {
    let with = |input: Input, name: &str| {
        let mut request = request(input, options());
        request.extensions = vec![field(name, "2")];
        refusal(OPENAI, &request)
    };
    for name in TYPED_IN_CHAT {
        assert!(with(Input::Messages(hi()), name).contains(&format!("`{name}`")));
    }
    for name in TYPED_IN_COMPLETION {
        assert!(with(Input::Prompt("p".into()), name).contains(&format!("`{name}`")));
    }
    assert!(with(Input::Messages(hi()), "n").starts_with("provider_options.n must be 1"));
    assert!(with(Input::Prompt("p".into()), "n").starts_with("provider_options.n must be 1"));
}

#[test]
fn only_openai_has_a_usual_correlation_header() {
    assert_eq!(correlation_header(&settings(OPENAI)), Some("x-client-request-id"));
    assert_eq!(correlation_header(&settings(COMPATIBLE)), None);
}
