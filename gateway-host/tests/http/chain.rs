//! A gateway in front of another one: two real programs, the model behind the second.

use futures_util::StreamExt;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::events;
use crate::program::{PATIENCE, Program, TARGETS, VECTORS};

const TOKENS: &str = "[[tokens]]\nenv = \"TEST_BACK_TOKEN\"\ncaller = \"front\"\n";

/// The gateway that has the models, and one that has targets there: `demo`, `endless`, `vectors`, `none` (which is not
/// there), and `stranger` (whose token is wrong).
fn chain(settings: &str) -> (Program, Program) {
    let back =
        Program::start_with(&format!("{settings}{TARGETS}{VECTORS}{TOKENS}"), &[("TEST_BACK_TOKEN", "back-token")]);
    let targets: Vec<String> = [
        ("demo", "demo"),
        ("endless", "endless"),
        ("vectors", "vectors"),
        ("none", "none"),
        ("stranger", "demo"),
    ]
    .into_iter()
    .map(|(name, target)| {
        let variable = if name == "stranger" { "TEST_WRONG_TOKEN" } else { "TEST_FRONT_TOKEN" };
        format!(
            "[[targets]]\nname = \"{name}\"\ntype = \"gateway\"\ntarget = \"{target}\"\nbase_url = \"http://{}\"\n\
                 token_env = \"{variable}\"\nretries = 0\n",
            back.public()
        )
    })
    .collect();
    let secrets = [("TEST_FRONT_TOKEN", "back-token"), ("TEST_WRONG_TOKEN", "front-token")];
    let front = Program::start_with(&targets.concat(), &secrets);
    (back, front)
}

async fn ask(program: &Program, route: &str, body: &Value) -> Response {
    Client::new()
        .post(program.url(route))
        .header("x-request-id", "r-1")
        .bearer_auth("back-token")
        .json(body)
        .send()
        .await
        .unwrap()
}

async fn answer(program: &Program, route: &str, body: &Value) -> Value {
    let response = ask(program, route, body).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// The text that the events of a stream make, and the events after it.
fn text_and_rest(events: &[events::Event]) -> (String, &[events::Event]) {
    let end = events.iter().position(|(name, _)| name != "token").unwrap_or(events.len());
    (events[..end].iter().map(|(_, data)| data["text"].as_str().unwrap()).collect(), &events[end..])
}

#[tokio::test]
async fn all_operations_say_the_same_through_two_gateways() {
    let (mut back, front) = chain("");
    let chat = json!({"model": "demo", "max_tokens": 12, "temperature": 0,
        "messages": [{"role": "user", "content": "What is the opposite of hot?"}]});
    let query = json!({"model": "demo", "max_tokens": 12, "temperature": 0, "prompt": "one two three"});
    for (route, mut body) in [("/v1/chat", chat), ("/v1/query", query)] {
        // So that all find the prompt computed.
        answer(&back, route, &body).await;
        let near = answer(&back, route, &body).await;
        let far = answer(&front, route, &body).await;
        for field in ["text", "finish_reason", "usage", "model"] {
            assert_eq!(far[field], near[field], "{field}");
        }
        assert!(far["metadata"]["upstream_response_id"].as_str().unwrap().starts_with("resp_"), "{far}");
        assert_eq!(far["metadata"]["upstream_request_id"], "r-1");
        body["stream"] = json!(true);
        let events = events::all(ask(&front, route, &body).await).await;
        let tokens = events.iter().filter(|(name, _)| name == "token");
        let tokens: u64 = tokens.map(|(_, data)| data.get("tokens").map_or(1, |count| count.as_u64().unwrap())).sum();
        assert_eq!(near["usage"]["output_tokens"], tokens);
        let (text, rest) = text_and_rest(&events);
        let [(usage, counts), (done, end)] = rest else { panic!("{events:?}") };
        assert_eq!((json!(text), usage.as_str(), counts), (near["text"].clone(), "usage", &near["usage"]));
        assert_eq!((done.as_str(), &end["finish_reason"]), ("done", &near["finish_reason"]));
    }
    assert_eq!(back.access_line("r-1")["caller"], "front");
    let embed = json!({"model": "vectors", "input": ["a red house", "two blue cars"]});
    let (near, far) = (answer(&back, "/v1/embed", &embed).await, answer(&front, "/v1/embed", &embed).await);
    for field in ["embeddings", "pooling", "normalized", "usage"] {
        assert_eq!(far[field], near[field], "{field}");
    }
}

#[tokio::test]
async fn options_of_local_models_reach_the_one_behind_both() {
    let (back, front) = chain("");
    let chat = |sampling: Value| {
        json!({"model": "demo", "max_tokens": 40, "sampling": sampling, "context_key": "k",
            "messages": [{"role": "user", "content": "Tell me a story."}]})
    };
    let seeded = |seed: u32| chat(json!({"seed": seed, "temperature": 2, "samplers": ["temperature"]}));
    let near = answer(&back, "/v1/chat", &seeded(7)).await;
    assert_eq!(answer(&front, "/v1/chat", &seeded(7)).await["text"], near["text"]);
    assert_ne!(answer(&front, "/v1/chat", &seeded(8)).await["text"], near["text"]);

    let mut forced = chat(json!({"temperature": 0}));
    forced["grammar"] = json!("root ::= \"no\" | \"never\"");
    let text = answer(&front, "/v1/chat", &forced).await["text"].clone();
    assert!(text == "no" || text == "never", "{text}");

    let vectors = json!({"model": "vectors", "input": "a red house", "normalize": false});
    let (near, far) = (answer(&back, "/v1/embed", &vectors).await, answer(&front, "/v1/embed", &vectors).await);
    assert_eq!((&far["embedding"], &far["normalized"]), (&near["embedding"], &json!(false)));

    let refused = ask(&front, "/v1/chat", &chat(json!({"top_p": 2}))).await;
    assert_eq!(refused.status(), 400);
    let error = refused.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("invalidrequest"), &json!("top_p must be a number from 0 to 1"))
    );
}

#[tokio::test]
async fn every_refusal_keeps_whose_it_is() {
    let (back, front) = chain("");
    let prompt = "one two three ".repeat(20_000);
    for (target, prompt, status, code, own_status, own_code) in [
        ("none", "x", 404, "resolution", 502, "upstream_model_not_found"),
        ("stranger", "x", 401, "authentication", 502, "upstream_authentication"),
        ("vectors", "x", 400, "invalidrequest", 400, "upstream_invalid_request"),
        ("demo", prompt.as_str(), 400, "prompt_too_long", 400, "prompt_too_long"),
    ] {
        for stream in [false, true] {
            let body = json!({"model": target, "prompt": prompt, "stream": stream});
            let response = ask(&front, "/v1/query", &body).await;
            assert_eq!(response.status(), own_status, "{target}");
            let error = response.json::<Value>().await.unwrap()["error"].clone();
            assert_eq!(error["code"], own_code, "{error}");
            if code == own_code {
                assert!(error["prompt_tokens"].as_u64() > error["context_tokens"].as_u64(), "{error}");
            } else {
                let told = json!({"provider": "gateway", "status": status, "code": code, "request_id": "r-1"});
                assert_eq!(error["upstream"], told);
            }
        }
    }
    drop(back);
    let body = json!({"model": "demo", "prompt": "x"});
    let response = ask(&front, "/v1/query", &body).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "upstream_transport");
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_the_model_behind_both() {
    let (back, front) = chain("");
    let running = r#"sipp_engine_requests{state="running",target="endless"}"#;
    let cancelled = r#"sipp_engine_requests_total{end="cancelled",target="endless"}"#;
    let body = json!({"model": "endless", "prompt": "one", "stream": true});
    let mut events = events::events(ask(&front, "/v1/query", &body).await);
    assert_eq!(timeout(PATIENCE, events.next()).await.unwrap().unwrap().0, "token");
    assert_eq!(back.metric(running).await, 1);
    drop(events);
    back.wait_for_metric(cancelled, 1).await;

    let finite = json!({"model": "endless", "prompt": "one"});
    let asked = tokio::spawn(Client::new().post(front.url("/v1/query")).json(&finite).send());
    back.wait_for_metric(running, 1).await;
    asked.abort();
    back.wait_for_metric(cancelled, 2).await;
    front.wait_for_metric("sipp_gateway_active_requests", 0).await;
}

#[tokio::test]
async fn a_deadline_and_an_end_reach_the_caller() {
    let (back, front) = chain("drain_seconds = 0\n");
    let body = json!({"model": "endless", "prompt": "one", "deadline_ms": 300});
    let response = timeout(PATIENCE, ask(&front, "/v1/query", &body)).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "cancelled");
    back.wait_for_metric(r#"sipp_engine_requests{state="running",target="endless"}"#, 0).await;

    let body = json!({"model": "endless", "prompt": "one", "stream": true});
    let mut events = events::events(ask(&front, "/v1/query", &body).await);
    assert_eq!(timeout(PATIENCE, events.next()).await.unwrap().unwrap().0, "token");
    back.signal("TERM");
    let rest = timeout(PATIENCE, events.collect::<Vec<_>>()).await.unwrap();
    let (name, data) = rest.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!("upstream_timeout")));
    assert_eq!(data["error"]["upstream"]["code"], "cancelled");
}
