use provider::{Delta, UpstreamFault};
use serde_json::json;

use super::*;

type Read = Result<(Vec<String>, FinishReason, Option<String>), Fault>;

/// What was said, in short: text as it is, reasoning and calls marked; the ending behind it.
fn short(pieces: Vec<Piece>, ending: Ending) -> (Vec<String>, FinishReason, Option<String>) {
    let said = pieces.into_iter().map(|piece| match piece.delta {
        Delta::Text(text) => text,
        Delta::Reasoning(reasoning) => format!("<{}>", reasoning.text),
        Delta::ToolCall(call) => format!("{}:{}({})", call.id, call.name, call.arguments),
    });
    (said.collect(), ending.finish, ending.id)
}

fn whole(reply: Value) -> Read {
    let (pieces, ending) = Progress::new(None).whole(serde_json::from_value(reply).unwrap())?;
    Ok(short(pieces, ending))
}

fn stream(events: &[&str]) -> Read {
    let mut progress = Progress::new(None);
    let mut pieces = Vec::new();
    for event in events {
        progress.read("message", event, &mut pieces)?;
    }
    let (calls, ending) = progress.end()?;
    pieces.extend(calls);
    Ok(short(pieces, ending))
}

/// A chunk of a chat.
fn chunk(delta: Value, finish: Value) -> String {
    json!({"id": "c-1", "object": "chat.completion.chunk", "choices": [
        {"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}], "usage": null})
    .to_string()
}

fn said(pieces: &[&str], finish: FinishReason) -> Read {
    Ok((pieces.iter().map(ToString::to_string).collect(), finish, Some("c-1".to_owned())))
}

#[test]
fn whole_replies() {
    let chat = |message: Value, finish: &str| {
        whole(json!({"id": "c-1", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}))
    };
    let call =
        |name: &str, arguments: &str| json!({"type": "function", "function": {"name": name, "arguments": arguments}});
    for (message, finish, expected) in [
        (json!({"role": "assistant", "content": "Hi", "refusal": null}), "stop", said(&["Hi"], FinishReason::Stop)),
        (json!({"content": "Hi"}), "length", said(&["Hi"], FinishReason::Length)),
        (json!({"content": "Hi"}), "content_filter", said(&["Hi"], FinishReason::ContentFilter)),
        (json!({"content": "Hi"}), "of_a_later_version", said(&["Hi"], FinishReason::Stop)),
        (json!({"content": null, "refusal": "No."}), "stop", said(&["No."], FinishReason::ContentFilter)),
        (json!({"content": "4", "reasoning_content": "2+2"}), "stop", said(&["<2+2>", "4"], FinishReason::Stop)),
        (json!({"content": "4", "reasoning": "2+2"}), "stop", said(&["<2+2>", "4"], FinishReason::Stop)),
        (
            json!({"content": "4", "reasoning": "2+2", "reasoning_content": "2+2"}),
            "stop",
            said(&["<2+2>", "4"], FinishReason::Stop),
        ),
        (
            json!({"content": null, "tool_calls": [call("f", "{}"), call("g", r#"{"x":1}"#)]}),
            "tool_calls",
            said(&["call_0:f({})", r#"call_1:g({"x":1})"#], FinishReason::ToolCalls),
        ),
        // As OpenAI answers when `tool_choice` names the tool.
        (json!({"tool_calls": [call("f", "{}")]}), "stop", said(&["call_0:f({})"], FinishReason::ToolCalls)),
        (json!({"tool_calls": [call("f", "{")]}), "length", said(&[], FinishReason::Length)),
    ] {
        assert_eq!(chat(message.clone(), finish), expected, "{message}");
    }
    let completion = json!({"id": "c-1", "choices": [{"text": " cat", "finish_reason": "stop"}]});
    assert_eq!(whole(completion), said(&[" cat"], FinishReason::Stop));
}

#[test]
fn streams() {
    let hello = [
        chunk(json!({"role": "assistant", "content": "", "refusal": null}), json!(null)),
        chunk(json!({"content": "Hel"}), json!(null)),
        chunk(json!({"content": "lo"}), json!("")),
        chunk(json!({}), json!("stop")),
    ];
    let hello: Vec<&str> = hello.iter().map(String::as_str).collect();
    let expected = said(&["Hel", "lo"], FinishReason::Stop);
    assert_eq!(stream(&hello), expected, "without an end");
    for (what, first, last) in [
        ("as OpenAI does", "", &["[DONE]"][..]),
        ("as Azure does", r#"{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#, &["[DONE]"]),
        ("with usage after the end", "", &[r#"{"id":"c-1","choices":[],"usage":{"prompt_tokens":1}}"#, "[DONE]"]),
        ("with more after the end", "", &["[DONE]", "this is not JSON"]),
        ("with space around the end", " ", &[" [DONE] "]),
    ] {
        assert_eq!(stream(&[&[first], &hello[..], last].concat()), expected, "{what}");
    }
    let reasoned = [
        chunk(json!({"reasoning_content": "2+", "content": null}), json!(null)),
        chunk(json!({"reasoning": "2", "reasoning_content": null}), json!(null)),
        chunk(json!({"content": "4"}), json!("stop")),
    ];
    let reasoned: Vec<&str> = reasoned.iter().map(String::as_str).collect();
    assert_eq!(stream(&reasoned), said(&["<2+>", "<2>", "4"], FinishReason::Stop));
    let refused = chunk(json!({"refusal": "No."}), json!("stop"));
    assert_eq!(stream(&[&refused, "[DONE]"]), said(&["No."], FinishReason::ContentFilter));
    let completion = r#"{"id":"c-1","choices":[{"text":" cat","index":0,"finish_reason":"length"}]}"#;
    assert_eq!(stream(&[completion, "[DONE]"]), said(&[" cat"], FinishReason::Length));
}

#[test]
fn calls_come_whole_when_the_answer_is_over() {
    let call = |fragment: Value| chunk(json!({"tool_calls": [fragment]}), json!(null));
    let begin = call(json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}));
    let more = call(json!({"index": 0, "function": {"arguments": "{}"}}));
    let end = chunk(json!({}), json!("tool_calls"));
    let events = [begin.as_str(), more.as_str(), end.as_str(), "[DONE]"];
    assert_eq!(stream(&events), said(&["a:f({})"], FinishReason::ToolCalls));
}

#[test]
fn the_last_counts_count() {
    let mut progress = Progress::new(None);
    let counts =
        |counts: Value| json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": counts}).to_string();
    let details = json!({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2}});
    let events = [
        counts(json!({"prompt_tokens": 9, "completion_tokens": 1})),
        counts(details),
        counts(json!(null)),
        "[DONE]".to_owned(),
    ];
    for event in &events {
        assert!(!progress.is_over());
        progress.read("message", event, &mut Vec::new()).unwrap();
    }
    assert!(progress.is_over());
    let expected = Usage {
        input_tokens: Some(9),
        output_tokens: Some(5),
        cached_tokens: Some(4),
        cache_write_tokens: None,
        reasoning_tokens: Some(2),
    };
    assert_eq!(progress.end().unwrap().1, Ending { id: None, finish: FinishReason::Stop, usage: Some(expected) });
    let mut gone = Progress::default();
    gone.read("message", &counts(json!({"prompt_tokens": 9})), &mut Vec::new()).unwrap();
    let expected = Usage { output_tokens: None, cached_tokens: None, reasoning_tokens: None, ..expected };
    assert_eq!(gone.cancelled(), Ending { id: None, finish: FinishReason::Cancelled, usage: Some(expected) });
    assert_eq!(usage(wire::Usage::default()), None);
}

#[test]
fn log_probabilities_belong_to_the_text_and_to_who_asked() {
    let event = |content: &str| {
        json!({"choices": [{"delta": {"content": content}, "finish_reason": null, "logprobs": {"content": [
            {"token": "x", "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": -0.5}]}]}}]})
        .to_string()
    };
    for (logprobs, content, expected) in [
        (Some(1), "x", vec![("x", 1)]),
        // Part of a character only.
        (Some(1), "", vec![("", 1)]),
        (None, "x", vec![("x", 0)]),
        (None, "", vec![]),
    ] {
        let mut pieces = Vec::new();
        Progress::new(logprobs).read("message", &event(content), &mut pieces).unwrap();
        let expected: Vec<_> =
            expected.into_iter().map(|(text, count)| (Delta::Text(text.to_owned()), count)).collect();
        let read: Vec<_> = pieces.into_iter().map(|piece| (piece.delta, piece.logprobs.len())).collect();
        assert_eq!(read, expected, "{logprobs:?} {content:?}");
    }
}

#[test]
fn what_is_not_complete_breaks_the_protocol() {
    let begun = chunk(json!({"content": "Hel"}), json!(null));
    let broken_call =
        chunk(json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}), json!("stop"));
    for (events, words) in [
        (&[][..], "without a finish reason"),
        (&[begun.as_str()], "without a finish reason"),
        (&[begun.as_str(), "[DONE]"], "without a finish reason"),
        (&["{\"choices\":"], "an event is not what was expected"),
        (&["{\"choices\":7}"], "an event is not what was expected"),
        (&[broken_call.as_str()], "are not JSON"),
    ] {
        assert!(matches!(stream(events), Err(Fault::Broken(text)) if text.contains(words)), "{events:?}");
    }
    assert!(matches!(whole(json!({})), Err(Fault::Broken(_))));
}

#[test]
fn errors_within_a_reply() {
    let code = |read: Read| match read {
        Err(Fault::Reported(Reported { code, fault, .. })) => (code, fault),
        other => panic!("expected an error, got {other:?}"),
    };
    let overloaded = (Some("server_error".to_owned()), Some(UpstreamFault::Overloaded));
    let error = json!({"error": {"message": "m", "type": "server_error", "param": null, "code": null}});
    assert_eq!(code(stream(&[&error.to_string()])), overloaded);
    assert_eq!(code(whole(error.clone())), overloaded);
    assert_eq!(code(stream(&[&chunk(json!({"content": ""}), json!("error"))])), (None, None));
    let event = |name: &str, data: &str| Progress::default().read(name, data, &mut Vec::new());
    let named = event("error", &error.to_string()).map(|()| (vec![], FinishReason::Stop, None));
    assert_eq!(code(named), overloaded);
    let plain = Reported { code: None, message: Some("out of memory".to_owned()), fault: None };
    assert_eq!(event("error", "out of memory"), Err(Fault::Reported(plain)));
    assert_eq!(event("ping", "this is not JSON"), Ok(()));
}
