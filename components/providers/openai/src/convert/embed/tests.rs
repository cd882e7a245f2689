use provider::{Context, Extension, UpstreamFault};
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

fn request() -> EmbedRequest {
    EmbedRequest {
        inputs: vec!["one".into(), "two".into()],
        normalize: None,
        context_key: None,
        query: None,
        extensions: vec![],
        context: Context { request_id: None, principal: None, deadline: None, call: None },
    }
}

fn read(reply: Value) -> Result<(Vec<Vec<f32>>, Option<Usage>), Fault> {
    vectors(serde_json::from_value(reply).unwrap(), 2)
}

#[test]
fn a_body() {
    let extensions = vec![Extension { name: "dimensions".into(), value: "256".into() }];
    let body = embed_body(&settings(OPENAI), &EmbedRequest { extensions, ..request() }).unwrap();
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"model":"m","input":["one","two"],"encoding_format":"float","dimensions":256}"#
    );
    assert!(embed_body(&settings(OPENAI), &EmbedRequest { normalize: Some(true), ..request() }).is_ok());
}

#[test]
fn what_has_no_effect_is_refused_by_name() {
    let refusal = |provider: &str, request: EmbedRequest| match embed_body(&settings(provider), &request) {
        Err(Error::InvalidRequest(text)) => text,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let normalize = |normalize: bool| EmbedRequest { normalize: Some(normalize), ..request() };
    assert!(refusal(OPENAI, normalize(false)).starts_with("normalize has no effect at openai"));
    assert!(refusal(COMPATIBLE, normalize(true)).starts_with("normalize has no effect at openai_compatible"));
    assert!(refusal(COMPATIBLE, normalize(false)).starts_with("normalize"));
    let keyed = EmbedRequest { context_key: Some("k".into()), ..request() };
    assert!(refusal(OPENAI, keyed).starts_with("context_key"));
    let asked = EmbedRequest { query: Some("q".into()), ..request() };
    assert!(refusal(OPENAI, asked).starts_with("query"));
    let extensions = vec![Extension { name: "encoding_format".into(), value: "\"base64\"".into() }];
    assert!(refusal(OPENAI, EmbedRequest { extensions, ..request() }).contains("`encoding_format`"));
}

#[test]
fn vectors_are_in_the_order_of_the_inputs() {
    let reply = json!({
        "object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4},
        "data": [{"object": "embedding", "index": 1, "embedding": [0.1, -2]},
            {"object": "embedding", "index": 0, "embedding": [3.5, 1e-3]}],
    });
    let usage = Usage {
        input_tokens: Some(4),
        output_tokens: None,
        cached_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
    };
    assert_eq!(read(reply), Ok((vec![vec![3.5, 0.001], vec![0.1, -2.0]], Some(usage))));
    let without = json!({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]});
    assert_eq!(read(without), Ok((vec![vec![1.0], vec![2.0]], None)));
}

#[test]
fn replies_that_do_not_fit_the_inputs_break_the_protocol() {
    let of = |first: Value, second: Value| json!({"data": [first, second]});
    for (reply, words) in [
        (json!({}), "lacks `data`"),
        (json!({"data": []}), "0 vectors for 2 inputs"),
        (of(json!({"index": 0, "embedding": [1]}), json!({"index": 0, "embedding": [1]})), "not one vector for each"),
        (of(json!({"index": 0, "embedding": [1]}), json!({"index": 7, "embedding": [1]})), "not one vector for each"),
        (of(json!({"index": 0, "embedding": [1]}), json!({"index": 1, "embedding": [1, 2]})), "same length"),
        (of(json!({"index": 0, "embedding": []}), json!({"index": 1, "embedding": []})), "empty"),
    ] {
        assert!(matches!(read(reply), Err(Fault::Broken(text)) if text.contains(words)), "{words}");
    }
    let error = json!({"error": {"code": 429, "message": "slow down"}});
    assert!(matches!(read(error), Err(Fault::Reported(said)) if said.fault == Some(UpstreamFault::RateLimited)));
}
