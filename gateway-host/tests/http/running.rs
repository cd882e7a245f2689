//! Requests while they run: many at once, too many, callers that leave, callers that do not read.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::events;
use crate::program::{PATIENCE, Program, TARGETS};

const RUNNING: &str = r#"sipp_engine_requests{state="running",target="endless"}"#;
const CANCELLED: &str = r#"sipp_engine_requests_total{end="cancelled",target="endless"}"#;
const ACTIVE: &str = "sipp_gateway_active_requests";

/// A request that goes on until somebody ends it.
pub(crate) fn endless(stream: bool) -> Value {
    json!({"model": "endless", "prompt": "one two three", "stream": stream})
}

#[tokio::test]
async fn requests_run_at_the_same_time_and_each_gets_its_own_answer() {
    let program = Program::start(TARGETS);
    let client = Client::new();
    let ask = async |prompt: &str| -> Value {
        let body = json!({"model": "demo", "prompt": prompt, "max_tokens": 8, "temperature": 0});
        client.post(program.url("/v1/query")).json(&body).send().await.unwrap().json().await.unwrap()
    };
    let prompts = ["one two", "red green", "monday tuesday", "hello"];
    let alone = [ask(prompts[0]).await, ask(prompts[1]).await, ask(prompts[2]).await, ask(prompts[3]).await];
    let together = join_all((0..16).map(|index| ask(prompts[index % prompts.len()]))).await;
    for (index, answer) in together.iter().enumerate() {
        assert_eq!(answer["text"], alone[index % prompts.len()]["text"]);
    }
    program.wait_for_metric(r#"sipp_engine_requests_total{end="completed",target="demo"}"#, 20).await;
    program.wait_for_metric(ACTIVE, 0).await;
}

#[tokio::test]
async fn a_stream_comes_while_it_is_written() {
    let program = Program::start(TARGETS);
    let response = Client::new().post(program.url("/v1/query")).json(&endless(true)).send().await.unwrap();
    let mut events = events::events(response);
    let (name, _) = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    assert_eq!(name, "token");
    assert_eq!(program.metric(RUNNING).await, 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_its_generation() {
    let mut program = Program::start(TARGETS);
    let client = Client::new();
    let ask = |id: &str, stream| {
        client.post(program.url("/v1/query")).header("x-request-id", id).json(&endless(stream)).send()
    };

    let streaming = ask("streaming", true).await.unwrap();
    let finite = timeout(Duration::from_millis(300), ask("finite", false));
    assert!(finite.await.is_err(), "the finite request ended by itself");
    program.wait_for_metric(CANCELLED, 1).await;
    assert_eq!(program.metric(RUNNING).await, 1);
    drop(streaming);
    program.wait_for_metric(CANCELLED, 2).await;
    program.wait_for_metric(RUNNING, 0).await;
    program.wait_for_metric(ACTIVE, 0).await;
    assert_eq!(program.metric("sipp_gateway_hang_ups_total").await, 2);
    assert_eq!(program.metric(r#"sipp_gateway_errors_total{operation="query"}"#).await, 0);
    let line = program.access_line("finite");
    assert!(line["complete"] == false && line["status"].is_null(), "{line}");
    let line = program.access_line("streaming");
    assert!(line["complete"] == false && line["status"] == 200 && line["output_tokens"].as_u64() > Some(0), "{line}");
}

#[tokio::test]
async fn too_many_at_once_are_refused_until_there_is_room() {
    let program = Program::start(&format!("max_concurrent_requests = 1\n{TARGETS}"));
    let client = Client::new();
    let first = client.post(program.url("/v1/query")).json(&endless(true)).send().await.unwrap();
    let refused = client.post(program.url("/v1/query")).json(&endless(true)).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "admission");
    drop(first);
    program.wait_for_metric(ACTIVE, 0).await;
    let body = json!({"model": "demo", "prompt": "one", "max_tokens": 1});
    assert_eq!(client.post(program.url("/v1/query")).json(&body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn http_2_without_tls_is_spoken() {
    let program = Program::start(TARGETS);
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let body = json!({"model": "demo", "prompt": "one", "max_tokens": 2, "stream": true});
    let started = Instant::now();
    let responses = join_all((0..4).map(|_| client.post(program.url("/v1/query")).json(&body).send())).await;
    for response in responses {
        let response = response.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(events::all(response).await.last().unwrap().0, "done");
    }
    assert!(started.elapsed() < PATIENCE);
    let streaming = client.post(program.url("/v1/query")).json(&endless(true)).send().await.unwrap();
    drop(streaming);
    program.wait_for_metric(CANCELLED, 1).await;
}
