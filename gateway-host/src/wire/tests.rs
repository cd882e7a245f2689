//! What bodies say, and what is refused.

use serde_json::{Value, json};
use sipp::{
    ChatRequest, Context, EmbedRequest, EndpointRef, FinishReason, Kind, MediaSource, Metadata, Part, QueryRequest,
    Reasoning, ResponseFormat, Role, TextOptions, ToolChoice, Usage,
};

use super::*;

fn target() -> EndpointRef {
    EndpointRef { kind: Kind::Local, id: "demo".into() }
}

fn query(body: Value) -> QueryRequest {
    let body: QueryBody = read(body.to_string().as_bytes()).unwrap();
    body.into_request(target(), Context::default())
}

fn chat(body: Value) -> ChatRequest {
    let body: ChatBody = read(body.to_string().as_bytes()).unwrap();
    body.into_request(target(), Context::default())
}

fn refusal<B: Body>(body: Value) -> String {
    let Err(error) = read::<B>(body.to_string().as_bytes()) else { panic!("{body} was taken") };
    let body = serde_json::to_value(error.body()).unwrap();
    format!("{}: {}", error.code().0, body["error"]["message"].as_str().unwrap())
}

#[test]
fn options_may_be_null_or_left_out() {
    let names = [
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
        "provider_options",
        "endpoint_options",
        "deadline_ms",
    ];
    let mut body = json!({"model": "demo", "prompt": "x"});
    let bare = format!("{:?}", query(body.clone()));
    for name in names {
        body[name] = Value::Null;
    }
    let request = query(body);
    assert_eq!(format!("{request:?}"), bare);
    assert!(request.local.is_none() && request.options.stream == Some(false));
}

#[test]
fn every_option_reaches_the_client() {
    let QueryRequest { prompt, options, local, endpoint_options, provider_options, context, .. } = query(json!({
        "model": "demo", "prompt": "x",
        "max_tokens": 5, "temperature": 0, "top_p": 0.5, "stop": ["a", "b"], "stream": true, "logprobs": 3,
        "tools": [{"name": "add", "description": "adds", "parameters": {"type": "object", "a": 1}, "strict": true}],
        "tool_choice": {"name": "add"},
        "response_format": {"type": "json_schema", "name": "n", "schema": {"z": 1, "a": 2}},
        "context_key": "k", "grammar": "g", "json_schema": {"type": "object"}, "media": ["AQI="],
        "sampling": {"seed": 7, "samplers": ["top_k", "temperature"],
            "logit_bias": [{"token": 1, "bias": -2}, {"token": 3, "bias": null}]},
        "provider_options": {"seed": 7}, "endpoint_options": {"team": ["a"]}, "deadline_ms": 900,
    }));
    assert_eq!(prompt, "x");
    let TextOptions { max_tokens, temperature, top_p, stop, stream, tools, tool_choice, response_format, logprobs } =
        options;
    assert_eq!(
        (max_tokens, temperature, top_p, stream, logprobs),
        (Some(5), Some(0.0), Some(0.5), Some(true), Some(3))
    );
    assert_eq!(stop, ["a", "b"]);
    assert_eq!((tools[0].name.as_str(), tools[0].strict), ("add", Some(true)));
    // A schema keeps the order in which its author wrote it.
    assert_eq!(tools[0].parameters.as_deref(), Some(r#"{"type":"object","a":1}"#));
    assert!(matches!(tool_choice, Some(ToolChoice::Tool(name)) if name == "add"));
    let Some(ResponseFormat::JsonSchema(format)) = response_format else { panic!("no format") };
    assert_eq!((format.schema.as_str(), format.strict), (r#"{"z":1,"a":2}"#, None));
    let local = local.unwrap();
    assert_eq!((local.context_key.as_deref(), local.grammar.as_deref()), (Some("k"), Some("g")));
    assert_eq!(local.json_schema.as_deref(), Some(r#"{"type":"object"}"#));
    assert_eq!(local.media, [[1, 2]]);
    let sampling = local.sampling.unwrap();
    assert_eq!((sampling.seed, sampling.samplers.unwrap().len()), (Some(7), 2));
    let bias: Vec<_> = sampling.logit_bias.iter().map(|bias| (bias.token, bias.bias)).collect();
    assert_eq!(bias, [(1, -2.0), (3, f32::NEG_INFINITY)]);
    assert_eq!((provider_options[0].name.as_str(), provider_options[0].value.as_str()), ("seed", "7"));
    assert_eq!(endpoint_options[0].value, r#"["a"]"#);
    assert_eq!(context.deadline, Some(900));
}

#[test]
fn every_part_and_role_reaches_the_client() {
    let request = chat(json!({"model": "demo", "messages": [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": []},
        {"role": "user", "content": [
            {"type": "text", "text": "t"},
            {"type": "media", "mime_type": "image/png", "data": "AQI="},
            {"type": "media", "mime_type": "image/png", "url": "https://a.example/b.png"},
        ]},
        {"role": "assistant", "content": [
            {"type": "reasoning", "text": "hm", "signature": "s"},
            {"type": "tool_call", "id": "c", "name": "add", "arguments": "{"},
        ]},
        {"role": "tool", "content": [
            {"type": "tool_result", "id": "c", "content": "3"},
            {"type": "tool_result", "id": "c", "content": "no", "is_error": true},
        ]},
    ]}));
    let [system, developer, user, assistant, tool] = request.messages.as_slice() else { panic!("{request:?}") };
    assert!(matches!((system.role, system.content.as_slice()), (Role::System, [Part::Text(text)]) if text == "s"));
    assert!(matches!((developer.role, developer.content.as_slice()), (Role::Developer, [])));
    let [Part::Text(_), Part::Media(data), Part::Media(url)] = user.content.as_slice() else { panic!("{user:?}") };
    assert!(matches!(&data.source, MediaSource::Bytes(bytes) if *bytes == [1, 2]) && data.mime_type == "image/png");
    assert!(matches!(&url.source, MediaSource::Url(url) if url.ends_with("/b.png")));
    let [Part::Reasoning(reasoning), Part::ToolCall(call)] = assistant.content.as_slice() else { panic!() };
    assert_eq!((reasoning.signature.as_deref(), call.arguments.as_str()), (Some("s"), "{"));
    assert!(matches!(
        (tool.role, tool.content.as_slice()),
        (Role::Tool, [Part::ToolResult(good), Part::ToolResult(bad)]) if !good.is_error && bad.is_error
    ));
}

#[test]
fn embeds_reach_the_client() {
    let embed = |body: Value| -> (bool, EmbedRequest) {
        let body: EmbedBody = read(body.to_string().as_bytes()).unwrap();
        (body.is_single(), body.into_request(target(), Context::default()))
    };
    let (single, request) = embed(json!({"model": "demo", "input": "x"}));
    assert!(single && request.local.is_none() && request.inputs == ["x"]);
    let (single, request) = embed(json!({
        "model": "demo", "input": ["x", "y"], "normalize": false, "context_key": "k", "deadline_ms": 5,
        "provider_options": {"dimensions": 8}, "endpoint_options": null,
    }));
    assert!(!single && request.inputs == ["x", "y"] && request.context.deadline == Some(5));
    let local = request.local.unwrap();
    assert_eq!((local.normalize, local.context_key.as_deref()), (Some(false), Some("k")));
    assert_eq!((request.provider_options[0].value.as_str(), request.endpoint_options.len()), ("8", 0));
}

#[test]
fn refusals_name_the_field() {
    let message = json!({"role": "user", "content": "x"});
    let with_part = |part: Value| json!({"model": "demo", "messages": [message, {"role": "user", "content": [part]}]});
    let with_option = |name: &str, value: Value| json!({"model": "demo", "prompt": "x", name: value});
    for (said, expected) in [
        (
            refusal::<QueryBody>(with_option("max_tokens", json!("five"))),
            "invalid_json: max_tokens: invalid type: string",
        ),
        (refusal::<QueryBody>(json!({"model": "demo"})), "invalid_json: missing field `prompt`"),
        (refusal::<ChatBody>(json!({"model": "demo"})), "invalid_json: missing field `messages`"),
        (refusal::<QueryBody>(with_option("messages", json!([message]))), "invalidrequest: unknown field `messages`; "),
        (refusal::<QueryBody>(with_option("seed", json!(1))), "invalidrequest: unknown field `seed`; "),
        (
            refusal::<ChatBody>(json!({"model": "demo", "messages": [{"role": "robot", "content": "x"}]})),
            "invalid_json: messages[0].role: unknown variant `robot`, expected one of `system`, `developer`",
        ),
        (
            refusal::<ChatBody>(json!({"model": "demo", "messages": [{"role": "user", "content": 5}]})),
            "invalid_json: messages[0].content: invalid type: integer `5`, expected a string or an array of parts",
        ),
        (
            refusal::<ChatBody>(json!({"model": "demo", "messages": [{"role": "user", "content": "x", "name": "y"}]})),
            "invalidrequest: unknown field `messages[0].name`",
        ),
        (
            refusal::<ChatBody>(with_part(json!({"type": "image", "url": "x"}))),
            "invalid_json: messages[1].content[0].type: unknown variant `image`, expected one of `text`, `media`",
        ),
        (
            refusal::<ChatBody>(with_part(json!({"type": "text", "text": "x", "lang": "en"}))),
            "invalid_json: messages[1].content[0]: unknown field `lang`",
        ),
        (
            refusal::<ChatBody>(with_part(json!({"type": "media", "mime_type": "image/png"}))),
            "invalid_json: messages[1].content[0]: a media part has either `data` or `url`",
        ),
        (
            refusal::<ChatBody>(with_part(json!({"type": "media", "mime_type": "image/png", "data": "?"}))),
            "invalid_json: messages[1].content[0]: not base64",
        ),
        (
            refusal::<QueryBody>(with_option("tools", json!([{"name": "a"}, {"name": "b", "args": {}}]))),
            "invalid_json: tools[1].args: unknown field `args`",
        ),
        (
            refusal::<QueryBody>(with_option("tool_choice", json!("perhaps"))),
            "invalid_json: tool_choice: expected `auto`, `none`, `required` or an object with the `name` of a tool",
        ),
        (
            refusal::<QueryBody>(with_option("response_format", json!({"type": "text", "name": "x"}))),
            "invalid_json: response_format: unknown field `name`",
        ),
        (
            refusal::<QueryBody>(with_option("sampling", json!({"topk": 1}))),
            "invalid_json: sampling.topk: unknown field `topk`",
        ),
        (refusal::<QueryBody>(with_option("media", json!(["?"]))), "invalid_json: media[0]: not base64"),
        (
            refusal::<EmbedBody>(json!({"model": "demo", "input": ["x", ""]})),
            "invalidrequest: `input` must not be empty",
        ),
        (refusal::<EmbedBody>(json!({"model": " ", "input": "x"})), "invalidrequest: `model` must not be empty"),
    ] {
        assert!(said.starts_with(expected), "{said}\nis not\n{expected}");
    }
}

fn usage(input_tokens: Option<u32>, output_tokens: Option<u32>) -> Usage {
    Usage { input_tokens, output_tokens, cached_tokens: None, cache_write_tokens: None, reasoning_tokens: None }
}

fn plain(usage: Option<UsageCounts>) -> TextAnswer<'static> {
    TextAnswer {
        id: "resp_1".into(),
        model: "demo",
        text: "Hello",
        reasoning: vec![],
        tool_calls: vec![],
        finish_reason: "stop",
        logprobs: vec![],
        usage,
        metadata: None,
    }
}

#[test]
fn answers_have_the_profiles_shape() {
    assert_eq!(
        serde_json::to_string(&plain(Some((&usage(Some(9), Some(2))).into()))).unwrap(),
        r#"{"id":"resp_1","model":"demo","text":"Hello","finish_reason":"stop","usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11}}"#
    );
    let answer = |vectors, usage| EmbedAnswer {
        id: "resp_1".into(),
        model: "demo",
        vectors,
        pooling: None,
        normalized: None,
        usage,
        metadata: None,
    };
    assert_eq!(
        serde_json::to_string(&answer(Vectors::Embedding(vec![0.01, -0.2]), Some((&usage(Some(3), None)).into())))
            .unwrap(),
        r#"{"id":"resp_1","model":"demo","embedding":[0.01,-0.2],"usage":{"input_tokens":3,"output_tokens":null,"total_tokens":null}}"#
    );
    assert_eq!(
        serde_json::to_string(&answer(Vectors::Embeddings(vec![vec![0.5], vec![1.0]]), None)).unwrap(),
        r#"{"id":"resp_1","model":"demo","embeddings":[[0.5],[1.0]]}"#
    );
}

#[test]
fn a_full_answer_says_everything() {
    let reasoning = Reasoning { text: "hm".into(), signature: Some("s".into()) };
    let call = sipp::ToolCall { id: "c".into(), name: "add".into(), arguments: "{}".into() };
    let alternative = sipp::Alternative { token: "b".into(), logprob: f32::NEG_INFINITY };
    let token = sipp::TokenLogprob { token: "a".into(), logprob: -0.5, top: vec![alternative] };
    let usage = Usage {
        cached_tokens: Some(4),
        cache_write_tokens: Some(1),
        reasoning_tokens: Some(2),
        ..usage(Some(9), Some(2))
    };
    let metadata = Metadata {
        request_id: Some("own".into()),
        upstream_request_id: Some("r".into()),
        upstream_response_id: None,
        retries: 1,
    };
    let answer = TextAnswer {
        reasoning: vec![(&reasoning).into()],
        tool_calls: vec![(&call).into()],
        finish_reason: finish_reason(FinishReason::ToolCalls),
        logprobs: vec![(&token).into()],
        metadata: MetadataBody::of(&metadata),
        ..plain(Some((&usage).into()))
    };
    assert_eq!(
        serde_json::to_value(&answer).unwrap(),
        json!({
            "id": "resp_1", "model": "demo", "text": "Hello",
            "reasoning": [{"text": "hm", "signature": "s"}],
            "tool_calls": [{"id": "c", "name": "add", "arguments": "{}"}],
            "finish_reason": "tool_calls",
            "logprobs": [{"token": "a", "logprob": -0.5, "top": [{"token": "b", "logprob": null}]}],
            "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11,
                "cached_input_tokens": 4, "cache_write_tokens": 1, "reasoning_tokens": 2},
            "metadata": {"upstream_request_id": "r", "retries": 1},
        })
    );
}

#[test]
fn events_have_the_profiles_shape() {
    let token = |tokens| TokenEvent { text: "a", sequence: 3, tokens, logprobs: vec![] };
    assert_eq!(serde_json::to_string(&token(1)).unwrap(), r#"{"text":"a","sequence":3}"#);
    assert_eq!(serde_json::to_string(&token(0)).unwrap(), r#"{"text":"a","sequence":3,"tokens":0}"#);
    let reasoning = ReasoningBody { text: "hm", signature: None };
    let event = ReasoningEvent { reasoning, sequence: 1, tokens: 1 };
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"text":"hm","sequence":1}"#);
    let call = ToolCallBody { id: "c", name: "add", arguments: "{}" };
    let event = ToolCallEvent { call, sequence: 2, tokens: 7 };
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"id":"c","name":"add","arguments":"{}","sequence":2,"tokens":7}"#
    );
    let done = DoneEvent { finish_reason: "stop", metadata: None };
    assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"finish_reason":"stop"}"#);
}
