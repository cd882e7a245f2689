//! Targets that are answered by somebody else: what is asked there, and what callers get.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use reqwest::Response;
use serde_json::{Value, json};

use crate::events;
use crate::program::Program;
use crate::upstream::{self, Seen, Upstream};

const SECRET: (&str, &str) = ("TEST_UPSTREAM_TOKEN", "s3cret-token");

/// A target `remote` of this type at an upstream.
fn target(kind: &str, upstream: &Upstream) -> String {
    let (named, path) = if kind == "gateway" { ("target = \"there\"", "") } else { ("model = \"there\"", "/v1") };
    format!(
        "[[targets]]\nname = \"remote\"\ntype = \"{kind}\"\n{named}\nbase_url = \"{}{path}\"\n\
         token_env = \"TEST_UPSTREAM_TOKEN\"\nretries = 0\n",
        upstream.url()
    )
}

async fn ask(program: &Program, route: &str, body: &Value) -> Response {
    let request = reqwest::Client::new().post(program.url(route)).header("x-request-id", "r-1");
    request.json(body).send().await.unwrap()
}

/// A conversation with everything that a body can hold, for `remote`.
fn full_chat() -> Value {
    json!({
        "model": "remote", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "logprobs": 1,
        "tools": [{"name": "add", "description": "adds", "parameters": {"type": "object", "a": 1}, "strict": true}],
        "tool_choice": {"name": "add"},
        "response_format": {"type": "json_schema", "name": "n", "schema": {"z": 1, "a": 2}, "strict": true},
        "deadline_ms": 20000,
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what?"},
                {"type": "media", "mime_type": "image/png", "data": "AQI="},
                {"type": "media", "mime_type": "image/png", "url": "https://a.example/b.png"},
            ]},
            {"role": "assistant", "content": [
                {"type": "reasoning", "text": "hm", "signature": "s"},
                {"type": "tool_call", "id": "c", "name": "add", "arguments": "{}"},
            ]},
            {"role": "tool", "content": [{"type": "tool_result", "id": "c", "content": "3", "is_error": true}]},
        ],
    })
}

const STREAM: &str = concat!(
    "event: reasoning\ndata: {\"text\":\"h\",\"sequence\":0}\n\n",
    "event: reasoning\ndata: {\"text\":\"m\",\"signature\":\"s\",\"sequence\":1}\n\n",
    ": a comment\n\n",
    "event: news\ndata: of a later version\n\n",
    "event: token\ndata: {\"text\":\"hi\",\"sequence\":2,\"logprobs\":[{\"token\":\"hi\",\"logprob\":-0.5,\"top\":[]}]}\n\n",
    "event: tool_call\ndata: {\"id\":\"c\",\"name\":\"add\",\"arguments\":\"{}\",\"sequence\":3}\n\n",
    "event: usage\ndata: {\"input_tokens\":9,\"output_tokens\":4,\"total_tokens\":13,\"cached_input_tokens\":8,\
     \"cache_write_tokens\":1,\"reasoning_tokens\":2}\n\n",
    "event: done\ndata: {\"finish_reason\":\"tool_calls\",\"metadata\":{\"upstream_response_id\":\"msg_1\"}}\n\n",
);

fn whole() -> Value {
    json!({
        "id": "resp_9", "model": "there", "text": "hi", "finish_reason": "tool_calls",
        "reasoning": [{"text": "hm", "signature": "s"}],
        "tool_calls": [{"id": "c", "name": "add", "arguments": "{}"}],
        "logprobs": [{"token": "hi", "logprob": -0.5, "top": []}],
        "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13, "cached_input_tokens": 8,
            "cache_write_tokens": 1, "reasoning_tokens": 2},
        "metadata": {"upstream_response_id": "msg_1"},
    })
}

#[tokio::test]
async fn everything_goes_through_a_gateway_and_back() {
    let upstream = Upstream::start(|seen: &Seen| {
        if seen.body["stream"] == true { upstream::events(STREAM) } else { upstream::json(200, &[], &whole()) }
    })
    .await;
    let program = Program::start_with(&target("gateway", &upstream), &[SECRET]);

    let answer: Value = ask(&program, "/v1/chat", &full_chat()).await.json().await.unwrap();
    let Seen { path, headers, body } = upstream.last();
    assert_eq!((path.as_str(), headers["authorization"].to_str().unwrap()), ("/v1/chat", "Bearer s3cret-token"));
    assert_eq!((headers["x-request-id"].to_str().unwrap(), &body["stream"]), ("r-1", &json!(false)));
    let mut expected = full_chat();
    expected["model"] = json!("there");
    expected["stream"] = json!(false);
    assert_eq!(body, expected);
    let mut expected = whole();
    expected["id"].clone_from(&answer["id"]);
    expected["model"] = json!("remote");
    assert_eq!(answer, expected);

    let mut streamed = full_chat();
    streamed["stream"] = json!(true);
    let events = events::all(ask(&program, "/v1/chat", &streamed).await).await;
    assert_eq!(upstream.last().body["stream"], true);
    let said = |wanted: &str| -> Vec<Value> {
        events.iter().filter(|(name, _)| name == wanted).map(|(_, data)| data.clone()).collect()
    };
    let thoughts = said("reasoning");
    assert_eq!(thoughts.iter().map(|data| data["text"].as_str().unwrap()).collect::<String>(), "hm");
    assert_eq!(thoughts.last().unwrap()["signature"], "s");
    let tokens = said("token");
    assert_eq!((&tokens[0]["text"], &tokens[0]["logprobs"]), (&json!("hi"), &whole()["logprobs"]));
    assert_eq!(said("tool_call")[0]["name"], "add");
    assert_eq!(said("usage"), [whole()["usage"].clone()]);
    let done = json!({"finish_reason": "tool_calls", "metadata": {"upstream_response_id": "msg_1"}});
    assert_eq!(events.last().unwrap(), &("done".to_owned(), done));
}

#[tokio::test]
async fn own_fields_reach_the_gateway_and_typed_ones_are_kept() {
    let upstream = Upstream::start(|_| upstream::json(200, &[], &whole())).await;
    let settings = format!("{}protocol_options = {{ team = \"a\", trace = 1 }}\n", target("gateway", &upstream));
    let program = Program::start_with(&settings, &[SECRET]);
    let mut body = json!({"model": "remote", "prompt": "x", "grammar": "root ::= \"x\"",
        "endpoint_options": {"team": "b", "provider_options": {"k": 1}}});
    assert_eq!(ask(&program, "/v1/query", &body).await.status(), 200);
    assert_eq!(
        upstream.last().body,
        json!({"model": "there", "prompt": "x", "stream": false, "grammar": "root ::= \"x\"",
            "team": "b", "trace": 1, "provider_options": {"k": 1}})
    );
    for (option, value) in [
        ("endpoint_options", json!({"stream": true})),
        ("endpoint_options", json!({"deadline_ms": 1})),
        ("endpoint_options", json!({"grammar": "root ::= \"x\""})),
        ("provider_options", json!({"k": 1})),
    ] {
        body = json!({"model": "remote", "prompt": "x"});
        body[option] = value;
        let response = ask(&program, "/v1/query", &body).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "invalidrequest", "{body}");
    }
}

/// An upstream's refusals in a provider's words; what callers get.
const REFUSALS: &[(u16, &str, &str, u16, &str)] = &[
    (400, "invalid_request_error", "bad temperature", 400, "upstream_invalid_request"),
    (401, "invalid_api_key", "wrong key of acct-1", 502, "upstream_authentication"),
    (403, "forbidden", "not for acct-1", 502, "upstream_authorization"),
    (404, "model_not_found", "no model", 502, "upstream_model_not_found"),
    (429, "rate_limit_exceeded", "slower, acct-1", 429, "upstream_rate_limited"),
    (429, "insufficient_quota", "pay, acct-1", 402, "upstream_quota_exceeded"),
    (503, "overloaded", "later", 503, "upstream_overloaded"),
];

#[tokio::test]
async fn a_providers_refusals_are_told_apart() {
    let upstream = Upstream::start(|seen: &Seen| {
        let case = usize::try_from(seen.body["max_tokens"].as_u64().unwrap()).unwrap() - 1;
        let (status, code, message, ..) = REFUSALS[case];
        let headers = [("retry-after-ms", "2500"), ("x-request-id", "u-1")];
        let error = json!({"error": {"code": code, "type": code, "message": message}});
        upstream::json(status, &headers, &error)
    })
    .await;
    let settings = format!(
        "{}options = {{ max_tokens_field = \"max_tokens\" }}\ncorrelation_header = \"x-trace\"\n",
        target("openai_compatible", &upstream)
    );
    let program = Program::start_with(&settings, &[SECRET]);
    for (case, (status, code, words, own_status, own_code)) in REFUSALS.iter().enumerate() {
        let message = json!({"role": "user", "content": "x"});
        let body = json!({"model": "remote", "messages": [message], "max_tokens": case + 1, "stream": case % 2 == 0});
        let response = ask(&program, "/v1/chat", &body).await;
        assert_eq!(response.status(), *own_status, "{code}");
        assert_eq!(response.headers()["retry-after"], "3");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!((&error["code"], &error["retry_after_ms"]), (&json!(own_code), &json!(2500)), "{error}");
        let told = json!({"provider": "openai_compatible", "status": status, "code": code, "request_id": "u-1"});
        assert_eq!(error["upstream"], told);
        // An upstream's text reaches callers where it is about their request, and not where it is about the account.
        assert_eq!(error["message"].as_str().unwrap().contains(words), *own_status == 400, "{error}");
        assert_eq!(upstream.last().headers["x-trace"], "r-1");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_ends_it_with_its_code() {
    let upstream = Upstream::start(|_| {
        upstream::events(concat!(
            "event: token\ndata: {\"text\":\"hi\",\"sequence\":0}\n\n",
            "event: error\ndata: {\"error\":{\"code\":\"upstream_overloaded\",\"message\":\"anthropic is overloaded\",",
            "\"retry_after_ms\":1500,\"upstream\":{\"provider\":\"anthropic\",\"status\":529,",
            "\"code\":\"overloaded_error\",\"request_id\":\"req_1\"}}}\n\n",
        ))
    })
    .await;
    let program = Program::start_with(&target("gateway", &upstream), &[SECRET]);
    let body = json!({"model": "remote", "prompt": "x", "stream": true});
    let events = events::all(ask(&program, "/v1/query", &body).await).await;
    let [(token, _), (error, data)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (token.as_str(), error.as_str(), &data["error"]["code"]),
        ("token", "error", &json!("upstream_overloaded"))
    );
    assert_eq!((&data["error"]["upstream"]["status"], &data["error"]["retry_after_ms"]), (&json!(529), &json!(1500)));
}

#[tokio::test]
async fn what_breaks_the_profile_is_an_upstreams_fault() {
    let upstream = Upstream::start(|seen: &Seen| match seen.body["prompt"].as_str().unwrap() {
        "unfinished" => upstream::events("event: token\ndata: {\"text\":\"hi\",\"sequence\":0}\n\n"),
        "malformed" => upstream::events("event: token\ndata: {\"text\":5}\n\n"),
        "untyped" => upstream::json(200, &[], &json!({"id": "x"})),
        "compressed" => upstream::json(200, &[("content-encoding", "gzip")], &whole()),
        "moved" => upstream::json(307, &[("location", "https://elsewhere.example/")], &json!({})),
        other => panic!("{other}"),
    })
    .await;
    let program = Program::start_with(&target("gateway", &upstream), &[SECRET]);
    for (prompt, stream) in [
        ("unfinished", true),
        ("malformed", true),
        ("untyped", true),
        ("untyped", false),
        ("compressed", false),
        ("moved", true),
    ] {
        let response =
            ask(&program, "/v1/query", &json!({"model": "remote", "prompt": prompt, "stream": stream})).await;
        let error = if response.status() == 200 {
            let events = events::all(response).await;
            let (name, data) = events.last().unwrap();
            assert_eq!(name, "error", "{prompt}");
            data["error"].clone()
        } else {
            assert_eq!(response.status(), 502, "{prompt}");
            response.json::<Value>().await.unwrap()["error"].clone()
        };
        assert_eq!((&error["code"], &error["upstream"]["provider"]), (&json!("upstream_protocol"), &json!("gateway")));
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_asked_again_and_said() {
    let failures = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&failures);
    let upstream = Upstream::start(move |_| {
        let refused = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let error = json!({"error": {"code": "overloaded", "message": "later", "retry_after_ms": 10}});
        if refused { upstream::json(503, &[], &error) } else { upstream::json(200, &[], &whole()) }
    })
    .await;
    let settings = target("gateway", &upstream).replace("retries = 0", "retries = 1");
    let program = Program::start_with(&settings, &[SECRET]);
    let body = json!({"model": "remote", "prompt": "x"});
    let answer: Value = ask(&program, "/v1/query", &body).await.json().await.unwrap();
    assert_eq!((&answer["metadata"]["retries"], upstream.count()), (&json!(1), 2));
    failures.store(2, Relaxed);
    assert_eq!(ask(&program, "/v1/query", &body).await.status(), 503);
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_reached() {
    let upstream = Upstream::start(|_| upstream::json(200, &[], &whole())).await;
    let settings = format!("network = {{ allow_private = [\"10.0.0.0/8\"] }}\n{}", target("gateway", &upstream));
    let program = Program::start_with(&settings, &[SECRET]);
    let response = ask(&program, "/v1/query", &json!({"model": "remote", "prompt": "x"})).await;
    assert!(!response.status().is_success());
    assert_eq!(upstream.count(), 0);
}
