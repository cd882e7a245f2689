//! Start and end: readiness, draining, deadlines, second signals.

use std::io::{Read, Write};

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::events;
use crate::program::{PATIENCE, Program, TARGETS};
use crate::running::endless;

async fn readiness(program: &Program) -> (u16, String) {
    let response = reqwest::get(program.management_url("/readyz")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Starts a stream and reads its first event, so that it runs.
async fn running(program: &Program, body: &Value) -> impl futures_util::Stream<Item = events::Event> + Unpin + use<> {
    let response = Client::new().post(program.url("/v1/query")).json(body).send().await.unwrap();
    let mut events = events::events(response);
    assert_eq!(events.next().await.unwrap().0, "token");
    events
}

#[tokio::test]
async fn readiness_follows_the_models() {
    let mut program = Program::launch(TARGETS, &[]);
    let first = readiness(&program).await;
    assert!(first == (503, "starting".into()) || first == (200, "ready".into()), "{first:?}");
    program.wait_for_log(|line| line["listener"] == "public");
    while readiness(&program).await != (200, "ready".into()) {}
}

#[tokio::test]
async fn running_requests_finish_after_a_signal() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(TARGETS);
        let stream =
            running(&program, &json!({"model": "endless", "prompt": "one", "max_tokens": 3000, "stream": true})).await;
        program.signal(signal);
        program.wait_for_log(|line| line["message"] == "running requests finish");
        assert_eq!(readiness(&program).await, (503, "draining".into()));
        let refused = Client::new().post(program.url("/v1/query")).json(&endless(false)).send().await;
        // The address closes a moment after the log says so; until then, the answer does.
        if let Ok(answer) = refused {
            assert_eq!(answer.status(), 503, "no new request is served");
        }
        let events = stream.collect::<Vec<_>>().await;
        assert_eq!(events.last().unwrap(), &("done".into(), json!({"finish_reason": "length"})));
        assert_eq!(program.ended().code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn requests_that_do_not_finish_in_time_are_told_so() {
    let mut program = Program::start(&format!("drain_seconds = 1\n{TARGETS}"));
    let stream = running(&program, &endless(true)).await;
    let finite = tokio::spawn(Client::new().post(program.url("/v1/query")).json(&endless(false)).send());
    program.wait_for_metric(r#"sipp_engine_requests{state="running",target="endless"}"#, 2).await;
    program.signal("TERM");
    let events = timeout(PATIENCE, stream.collect::<Vec<_>>()).await.unwrap();
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!("cancelled")));
    let finite = finite.await.unwrap().unwrap();
    assert_eq!(finite.status(), 408);
    assert_eq!(finite.json::<Value>().await.unwrap()["error"]["code"], "cancelled");
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test]
async fn a_caller_that_still_sends_is_told_so() {
    let mut program = Program::start(&format!("drain_seconds = 1\n{TARGETS}"));
    let mut caller = std::net::TcpStream::connect(program.public()).unwrap();
    let head = "POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    caller.write_all(head.as_bytes()).unwrap();
    program.wait_for_metric("sipp_gateway_active_requests", 1).await;
    program.signal("TERM");
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(r#""code":"draining""#), "{answer}");
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut program = Program::start(TARGETS);
        let _stream = running(&program, &endless(true)).await;
        program.signal("TERM");
        program.wait_for_log(|line| line["message"] == "running requests finish");
        program.signal(signal);
        assert_eq!(program.ended().code(), Some(code));
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_program() {
    let mut program = Program::start(TARGETS);
    let _idle = std::net::TcpStream::connect(program.public()).unwrap();
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}
