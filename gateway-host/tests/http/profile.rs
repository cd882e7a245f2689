//! The exact shapes of the first-party profile.

use serde_json::{Value, json};

use crate::events;
use crate::program::{Program, TARGETS, VECTORS};

async fn post(program: &Program, route: &str, body: Value) -> reqwest::Response {
    reqwest::Client::new().post(program.url(route)).json(&body).send().await.unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Checks the fields of a finite text answer and returns its text.
fn text_of(answer: &Value, model: &str) -> String {
    assert_eq!(keys(answer), ["id", "model", "text", "finish_reason", "usage"]);
    assert!(answer["id"].as_str().unwrap().starts_with("resp_"), "{answer}");
    assert_eq!(answer["model"], model);
    check_usage(&answer["usage"]);
    answer["text"].as_str().unwrap().to_owned()
}

fn check_usage(usage: &Value) {
    assert_eq!(keys(usage), ["input_tokens", "output_tokens", "total_tokens", "cached_input_tokens"]);
    let [input, output, total, cached] = ["input_tokens", "output_tokens", "total_tokens", "cached_input_tokens"]
        .map(|key| usage[key].as_u64().unwrap());
    assert!(input > cached && output > 0 && total == input + output, "{usage}");
}

#[tokio::test]
async fn finite_and_streamed_answers_say_the_same() {
    let program = Program::start(TARGETS);
    let chat = json!({"model": "demo", "messages": [{"role": "user", "content": "What is 3 plus 4?"}]});
    let query = json!({"model": "demo", "prompt": "one two three"});
    for (route, mut body) in [("/v1/chat", chat), ("/v1/query", query)] {
        body["temperature"] = json!(0);
        body["max_tokens"] = json!(12);
        body["top_p"] = Value::Null;
        body["stop"] = Value::Null;
        // So that both find the prompt computed.
        assert_eq!(post(&program, route, body.clone()).await.status(), 200);
        let response = post(&program, route, body.clone()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let answer: Value = response.json().await.unwrap();
        let text = text_of(&answer, "demo");

        body["stream"] = json!(true);
        let response = post(&program, route, body).await;
        assert_eq!(response.status(), 200);
        let events = events::all(response).await;
        let [tokens @ .., (usage, counts), (done, reason)] = events.as_slice() else { panic!("{events:?}") };
        let mut sequence = 0;
        for (name, data) in tokens {
            assert!(name == "token" && data["sequence"] == sequence, "{events:?}");
            assert!(keys(data).iter().all(|key| ["text", "sequence", "tokens"].contains(key)), "{data}");
            sequence += data.get("tokens").map_or(1, |tokens| tokens.as_u64().unwrap());
        }
        assert_eq!(answer["usage"]["output_tokens"], sequence);
        assert_eq!(tokens.iter().map(|(_, data)| data["text"].as_str().unwrap()).collect::<String>(), text);
        assert_eq!((usage.as_str(), counts), ("usage", &answer["usage"]));
        assert_eq!((done.as_str(), reason), ("done", &json!({"finish_reason": answer["finish_reason"]})));
    }
}

#[tokio::test]
async fn a_limit_ends_an_answer_with_length() {
    let program = Program::start(TARGETS);
    let body = json!({"model": "endless", "prompt": "one", "max_tokens": 1});
    let answer: Value = post(&program, "/v1/query", body).await.json().await.unwrap();
    text_of(&answer, "endless");
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["usage"]["output_tokens"], 1);
}

#[tokio::test]
async fn one_text_gives_one_vector_and_a_list_gives_a_list() {
    let program = Program::start(&format!("{TARGETS}{VECTORS}"));
    let answer: Value =
        post(&program, "/v1/embed", json!({"model": "vectors", "input": "a red house"})).await.json().await.unwrap();
    assert_eq!(keys(&answer), ["id", "model", "embedding", "pooling", "normalized", "usage"]);
    assert_eq!((&answer["pooling"], &answer["normalized"]), (&json!("mean"), &json!(true)));
    assert_eq!(keys(&answer["usage"]), ["input_tokens", "output_tokens", "total_tokens"]);
    let alone = answer["embedding"].as_array().unwrap().clone();
    assert!(alone.len() > 8 && alone.iter().all(Value::is_number), "{answer}");

    let input = json!(["a red house", "two blue cars"]);
    let answer: Value =
        post(&program, "/v1/embed", json!({"model": "vectors", "input": input})).await.json().await.unwrap();
    assert_eq!(keys(&answer), ["id", "model", "embeddings", "pooling", "normalized", "usage"]);
    let vectors = answer["embeddings"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    assert_ne!(vectors[0], vectors[1]);
    for (together, alone) in vectors[0].as_array().unwrap().iter().zip(&alone) {
        assert!((together.as_f64().unwrap() - alone.as_f64().unwrap()).abs() < 1e-3);
    }
}

#[tokio::test]
async fn options_of_local_models_have_an_effect() {
    let program = Program::start(&format!("{TARGETS}{VECTORS}"));
    let ask = async |option: &str, value: Value| -> String {
        let mut body = json!({"model": "demo", "prompt": "one two three", "max_tokens": 4, "temperature": 0});
        body[option] = value;
        text_of(&post(&program, "/v1/query", body).await.json().await.unwrap(), "demo")
    };
    let plain = ask("context_key", json!("k")).await;
    assert_eq!(plain, ask("deadline_ms", json!(20_000)).await);
    assert_eq!(ask("grammar", json!("root ::= \"no\"")).await, "no");
    assert_eq!(ask("json_schema", json!({"const": 5})).await, "5");
    let banned = ask("sampling", json!({"samplers": ["temperature"], "ignore_eos": true, "seed": 1})).await;
    assert_eq!(banned, plain);
    let chat = json!({
        "model": "demo", "max_tokens": 40, "temperature": 0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "3 plus 4?"}]}],
        "response_format": {"type": "json_schema", "name": "number", "schema": {"const": 7}},
    });
    let answer: Value = post(&program, "/v1/chat", chat).await.json().await.unwrap();
    assert_eq!(text_of(&answer, "demo"), "7");

    let embed = json!({"model": "vectors", "input": "a red house", "normalize": false});
    let answer: Value = post(&program, "/v1/embed", embed).await.json().await.unwrap();
    assert_eq!(answer["normalized"], false);
}

#[tokio::test]
async fn request_ids_are_echoed_or_made() {
    let mut program = Program::start(TARGETS);
    let client = reqwest::Client::new();
    let body = json!({"model": "demo", "prompt": "one", "max_tokens": 2});
    let ask = || client.post(program.url("/v1/query")).json(&body);
    let response = ask().header("x-request-id", "r-1").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "r-1");
    let answer: Value = response.json().await.unwrap();
    let response = ask().header("x-request-id", "not one word").send().await.unwrap();
    let made = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(made.starts_with("req_"), "{made}");

    let line = program.access_line("r-1");
    assert_eq!([&line["operation"], &line["target"], &line["status"]], [&json!("query"), &json!("demo"), &json!(200)]);
    assert_eq!(line["input_tokens"], answer["usage"]["input_tokens"]);
    assert_eq!(line["output_tokens"], answer["usage"]["output_tokens"]);
    assert!(line["complete"] == true && line["ms"].is_u64(), "{line}");
}

#[tokio::test]
async fn the_management_listener_says_how_it_is() {
    let program = Program::start(TARGETS);
    let get = async |route: &str| {
        let response = reqwest::get(program.management_url(route)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ready".to_owned()));
    assert_eq!(get("/").await, (200, r#"{"capabilities":["query","chat","embed"]}"#.to_owned()));
    assert_eq!(get("/v1/query").await.0, 404);

    post(&program, "/v1/query", json!({"model": "demo", "prompt": "one", "max_tokens": 2})).await.text().await.unwrap();
    post(&program, "/v1/chat", json!({"model": "none", "messages": [{"role": "user", "content": "x"}]})).await;
    program.wait_for_metric(r#"sipp_gateway_requests_total{operation="query"}"#, 1).await;
    program.wait_for_metric(r#"sipp_gateway_errors_total{operation="chat"}"#, 1).await;
    assert_eq!(program.metric(r#"sipp_gateway_errors_total{operation="query"}"#).await, 0);
    assert_eq!(program.metric("sipp_gateway_output_tokens_total").await, 2);
    assert_eq!(program.metric(r#"sipp_gateway_responses_total{status_class="4xx"}"#).await, 1);
    assert_eq!(program.metric("sipp_gateway_active_requests").await, 0);
    assert_eq!(program.metric(r#"sipp_engine_requests_total{end="completed",target="demo"}"#).await, 1);
    assert_eq!(program.metric(r#"sipp_engine_inter_token_seconds_count{target="demo"}"#).await, 1);
    assert_eq!(program.metric(r#"sipp_engine_time_to_first_token_seconds_bucket{target="demo",le="+Inf"}"#).await, 1);
    let (_, text) = get("/metrics").await;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.split(['{', ' ']).next().unwrap();
        // A histogram has three kinds of series.
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end));
        let name = histogram.unwrap_or(series);
        assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{line}");
    }
}
