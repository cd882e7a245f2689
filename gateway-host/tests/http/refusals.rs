//! Requests that are refused: each with its status, its code, and JSON.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::program::{PATIENCE, Program, TARGETS};

/// Checks that the response is a refusal of this status and code, and returns its message.
async fn refused(response: Response, status: u16, code: &str) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], code, "{body}");
    let counts = if code == "prompt_too_long" { 2 } else { 0 };
    assert_eq!(body["error"].as_object().unwrap().len(), 2 + counts, "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

/// Bodies that are refused, and what the refusal says.
const BODIES: &[(&str, &str, u16, &str, &str)] = &[
    ("query", "", 400, "invalid_json", "EOF while parsing"),
    ("query", "{", 400, "invalid_json", "EOF while parsing"),
    ("query", "[1]", 400, "invalid_json", "invalid type: sequence, expected an object"),
    ("query", r#"{"model":"demo","prompt":"x"} {}"#, 400, "invalid_json", "trailing characters"),
    ("query", r#"{"model":"demo"}"#, 400, "invalid_json", "missing field `prompt`"),
    ("query", r#"{"model":"demo","prompt":1}"#, 400, "invalid_json", "prompt: invalid type"),
    ("query", r#"{"model":"demo","prompt":"x","max_tokens":-1}"#, 400, "invalid_json", "max_tokens: invalid value"),
    ("query", r#"{"model":"demo","prompt":"x","stop":"x"}"#, 400, "invalid_json", "stop: invalid type"),
    ("query", r#"{"model":"demo","prompt":"x","stream":1}"#, 400, "invalid_json", "stream: invalid type"),
    ("query", r#"{"model":"demo","prompt":"x","seed":1}"#, 400, "invalidrequest", "unknown field `seed`"),
    ("query", r#"{"model":"","prompt":"x"}"#, 400, "invalidrequest", "`model` must not be empty"),
    ("query", r#"{"model":"demo","prompt":""}"#, 400, "invalidrequest", "`prompt` must not be empty"),
    ("query", r#"{"model":"demo","prompt":"x","max_tokens":0}"#, 400, "invalidrequest", "max_tokens"),
    ("query", r#"{"model":"demo","prompt":"x","temperature":-1}"#, 400, "invalidrequest", "temperature"),
    ("query", r#"{"model":"demo","prompt":"x","temperature":1e300}"#, 400, "invalidrequest", "temperature"),
    ("query", r#"{"model":"demo","prompt":"x","temperature":NaN}"#, 400, "invalid_json", "expected value"),
    ("query", r#"{"model":"demo","prompt":"x","top_p":1.5}"#, 400, "invalidrequest", "top_p"),
    ("query", r#"{"model":"demo","prompt":"x","stop":[""]}"#, 400, "invalidrequest", "stop"),
    ("query", r#"{"model":"other","prompt":"x"}"#, 404, "resolution", "target `other` is not configured"),
    ("chat", r#"{"model":"demo","messages":[]}"#, 400, "invalidrequest", "`messages` must not be empty"),
    ("chat", r#"{"model":"demo","messages":"x"}"#, 400, "invalid_json", "messages: invalid type"),
    ("chat", r#"{"model":"demo","messages":[{"role":"user"}]}"#, 400, "invalid_json", "missing field `content`"),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"robot","content":"x"}]}"#,
        400,
        "invalid_json",
        "messages[0].role: unknown variant `robot`",
    ),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"user","content":"x","name":"y"}]}"#,
        400,
        "invalidrequest",
        "unknown field `messages[0].name`",
    ),
    ("query", r#"{"model":"demo","prompt":"x","logprobs":21}"#, 400, "invalidrequest", "logprobs"),
    ("query", r#"{"model":"demo","prompt":"x","deadline_ms":0}"#, 400, "invalidrequest", "deadline"),
    ("query", r#"{"model":"demo","prompt":"x","media":["AQI="]}"#, 400, "invalidrequest", "takes no images"),
    (
        "query",
        r#"{"model":"demo","prompt":"x","provider_options":{"a":1}}"#,
        400,
        "invalidrequest",
        "provider_options are not valid for local endpoints",
    ),
    (
        "query",
        r#"{"model":"demo","prompt":"x","endpoint_options":{"a":1}}"#,
        400,
        "invalidrequest",
        "endpoint_options are not valid for local endpoints",
    ),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"user","content":"x"}],"tools":[{"name":"add"}]}"#,
        400,
        "invalidrequest",
        "takes no tools",
    ),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"user","content":"x"}],"tool_choice":"required"}"#,
        400,
        "invalidrequest",
        "tool_choice requires a tool",
    ),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"user","content":[{"type":"media","mime_type":"image/png","data":"AQI="}]}]}"#,
        400,
        "invalidrequest",
        "takes no images",
    ),
    (
        "chat",
        r#"{"model":"demo","messages":[{"role":"user","content":[{"type":"text","text":"x","lang":"en"}]}]}"#,
        400,
        "invalid_json",
        "messages[0].content[0]",
    ),
    ("embed", r#"{"model":"demo","input":""}"#, 400, "invalidrequest", "`input` must not be empty"),
    ("embed", r#"{"model":"demo","input":[]}"#, 400, "invalidrequest", "`input` must not be empty"),
    ("embed", r#"{"model":"demo","input":1}"#, 400, "invalid_json", "expected a string or an array of strings"),
    ("embed", r#"{"model":"demo","input":"x","stream":true}"#, 400, "invalidrequest", "unknown field `stream`"),
    ("embed", r#"{"model":"demo","input":"x"}"#, 400, "invalidrequest", "demo"),
];

#[tokio::test]
async fn bodies_are_refused_with_the_reason_and_the_program_goes_on() {
    let program = Program::start(TARGETS);
    let client = Client::new();
    let post = |route: &str, body: &str| {
        client.post(program.url(&format!("/v1/{route}"))).header(CONTENT_TYPE, "application/json").body(body.to_owned())
    };
    for (route, body, status, code, words) in BODIES {
        let message = refused(post(route, body).send().await.unwrap(), *status, code).await;
        assert!(message.contains(words), "{body}: {message}");
    }
    // A refusal keeps its status when a stream was asked for.
    let body = r#"{"model":"demo","prompt":"x","max_tokens":0,"stream":true}"#;
    refused(post("query", body).send().await.unwrap(), 400, "invalidrequest").await;
    let long = json!({"model": "demo", "prompt": "one two three ".repeat(20_000)}).to_string();
    let message = refused(post("query", &long).send().await.unwrap(), 400, "prompt_too_long").await;
    assert!(message.contains("tokens"), "{message}");
    let body = r#"{"model":"demo","prompt":"one","max_tokens":1}"#;
    assert_eq!(post("query", body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn routes_methods_and_types_are_refused() {
    let program = Program::start(TARGETS);
    let client = Client::new();
    let message = refused(client.get(program.url("/v2/query")).send().await.unwrap(), 404, "not_found").await;
    assert!(message.contains("/v2/query"), "{message}");
    refused(client.get(program.url("/healthz")).send().await.unwrap(), 404, "not_found").await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = client.request(method, program.url("/v1/chat")).send().await.unwrap();
        assert_eq!(response.headers()[ALLOW], "POST");
        refused(response, 405, "method_not_allowed").await;
    }
    let typed = client.post(program.url("/v1/query")).body("{}");
    refused(
        typed.try_clone().unwrap().header(CONTENT_TYPE, "text/plain").send().await.unwrap(),
        415,
        "unsupported_media_type",
    )
    .await;
    refused(
        typed.try_clone().unwrap().header(CONTENT_ENCODING, "gzip").send().await.unwrap(),
        415,
        "unsupported_media_type",
    )
    .await;
    // No type at all is taken for JSON.
    refused(typed.send().await.unwrap(), 400, "invalid_json").await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_every_way_it_can_come() {
    let program = Program::start(&format!("max_request_bytes = 1000\n{TARGETS}"));
    let client = Client::new();
    let large = json!({"model": "demo", "prompt": "x".repeat(3_000_000)}).to_string();
    let announced = client.post(program.url("/v1/query")).body(large.clone());
    let message = refused(announced.send().await.unwrap(), 413, "too_large").await;
    assert!(message.contains("1000 bytes"), "{message}");
    let chunks =
        large.into_bytes().chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let unannounced =
        client.post(program.url("/v1/query")).body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)));
    refused(unannounced.send().await.unwrap(), 413, "too_large").await;

    // Who asks for leave is refused before it sends anything.
    let mut stream = TcpStream::connect(program.public()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_sends_its_headers_slowly_is_cut_off() {
    let program = Program::start(TARGETS);
    let address = program.public();
    let slow = |text: &'static [u8]| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let start = Instant::now();
            stream.write_all(text).unwrap();
            // Either the end of the stream or a reset: the gateway does not wait any more.
            let read = stream.read(&mut [0; 100]).unwrap_or(0);
            (read, start.elapsed())
        })
    };
    // Nothing at all, the beginning of what might become HTTP/2, and headers without an end.
    let (nothing, preface, headers) =
        tokio::join!(slow(b""), slow(b"PRI * HT"), slow(b"POST /v1/query HTTP/1.1\r\nhost: x\r\n"));
    for (read, took) in [nothing.unwrap(), preface.unwrap(), headers.unwrap()] {
        assert_eq!(read, 0);
        assert!(took > Duration::from_secs(8) && took < Duration::from_secs(15), "{took:?}");
    }
    assert_eq!(reqwest::get(program.management_url("/healthz")).await.unwrap().status(), 200);
}
