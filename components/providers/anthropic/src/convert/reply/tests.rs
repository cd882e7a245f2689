//! Replies and what is read in them.

use provider::Delta::{Reasoning, Text, ToolCall as Call};

use super::*;

/// What a stream of events says, and how it ends.
fn streamed(events: &[(&str, &str)]) -> (Vec<provider::Delta>, Result<Ending, Fault>) {
    let (mut progress, mut pieces) = (Progress::default(), Vec::new());
    let read = events.iter().try_for_each(|(name, data)| progress.read(name, data, &mut pieces));
    (said(pieces), read.and_then(|()| progress.end().map(|(_, ending)| ending)))
}

fn said(pieces: Vec<Piece>) -> Vec<provider::Delta> {
    pieces.into_iter().map(|piece| piece.delta).collect()
}

fn finite(reply: &str) -> Result<(Vec<provider::Delta>, Ending), Fault> {
    whole(serde_json::from_str(reply).unwrap()).map(|(pieces, ending)| (said(pieces), ending))
}

fn text(text: &str) -> provider::Delta {
    Text(text.to_owned())
}

fn reasoning(text: &str, signature: Option<&str>) -> provider::Delta {
    Reasoning(provider::Reasoning { text: text.to_owned(), signature: signature.map(str::to_owned) })
}

fn call(id: &str, arguments: &str) -> provider::Delta {
    Call(ToolCall { id: id.to_owned(), name: "look".to_owned(), arguments: arguments.to_owned() })
}

/// Counts of tokens: read, written, out of a cache, into a cache, reasoning.
fn counts([input, output, cached, cache_write, reasoning]: [Option<u32>; 5]) -> Option<Usage> {
    Some(Usage {
        input_tokens: input,
        output_tokens: output,
        cached_tokens: cached,
        cache_write_tokens: cache_write,
        reasoning_tokens: reasoning,
    })
}

fn broken(words: &str) -> Fault {
    Fault::Broken(words.to_owned())
}

const START: (&str, &str) = (
    "message_start",
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m",
       "stop_reason":null,"usage":{"input_tokens":7,"cache_creation_input_tokens":2,"cache_read_input_tokens":3,
       "output_tokens":1,"service_tier":"standard"}}}"#,
);
const STOP: (&str, &str) = ("message_stop", r#"{"type":"message_stop"}"#);
const END_TURN: (&str, &str) =
    ("message_delta", r#"{"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}"#);
const TOOL_USE: (&str, &str) = ("message_delta", r#"{"delta":{"stop_reason":"tool_use"}}"#);
const MAX_TOKENS: (&str, &str) = ("message_delta", r#"{"delta":{"stop_reason":"max_tokens"}}"#);
const CALL: (&str, &str) = (
    "content_block_start",
    r#"{"index":1,"content_block":{"type":"tool_use","id":"t1","name":"look","input":{},"caller":{"type":"direct"}}}"#,
);
const CALL_STOP: (&str, &str) = ("content_block_stop", r#"{"index":1}"#);

#[test]
fn text_comes_as_it_is_written_and_counts_are_merged() {
    let (said, ended) = streamed(&[
        START,
        ("content_block_start", r#"{"index":0,"content_block":{"type":"text","text":""}}"#),
        ("ping", "not JSON at all"),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"text_delta","text":"Hel"}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"text_delta","text":""}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"citations_delta","citation":{}}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"text_delta","text":"lo"},"new":1}"#),
        ("content_block_stop", r#"{"index":0}"#),
        ("invented_later", "{"),
        END_TURN,
        STOP,
        ("content_block_delta", "after the end nothing is read"),
    ]);
    assert_eq!(said, [text("Hel"), text("lo")]);
    let usage = counts([Some(12), Some(15), Some(3), Some(2), None]);
    assert_eq!(ended, Ok(Ending { id: Some("msg_1".to_owned()), finish: FinishReason::Stop, usage }));
}

#[test]
fn a_tool_call_is_handed_on_whole() {
    for (parts, arguments) in [(&[r#"{\"at\":"#, r#" [1]}"#][..], r#"{"at": [1]}"#), (&[""], "{}"), (&[], "{}")] {
        let delta =
            |part: &&str| format!(r#"{{"index":1,"delta":{{"type":"input_json_delta","partial_json":"{part}"}}}}"#);
        let deltas: Vec<_> = parts.iter().map(delta).collect();
        let deltas = deltas.iter().map(|delta| ("content_block_delta", delta.as_str()));
        let events: Vec<_> = [START, CALL].into_iter().chain(deltas).chain([CALL_STOP, TOOL_USE, STOP]).collect();
        let (said, ended) = streamed(&events);
        assert_eq!(said, [call("t1", arguments)]);
        assert_eq!(ended.unwrap().finish, FinishReason::ToolCalls);
    }
    let whole_at_once = CALL.1.replace(r#""input":{}"#, r#""input":{"b":1,"a":2}"#);
    let (said, _) = streamed(&[START, ("content_block_start", &whole_at_once), CALL_STOP, TOOL_USE, STOP]);
    assert_eq!(said, [call("t1", r#"{"b":1,"a":2}"#)]);
}

#[test]
fn a_cut_tool_call_is_none() {
    let cut = ("content_block_delta", r#"{"index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#);
    let (said, ended) = streamed(&[START, CALL, cut, CALL_STOP, MAX_TOKENS, STOP]);
    assert_eq!((said, ended.unwrap().finish), (vec![], FinishReason::Length));
    for events in [&[START, CALL, cut, CALL_STOP, TOOL_USE, STOP][..], &[START, CALL, cut, CALL_STOP, END_TURN]] {
        assert_eq!(streamed(events).1, Err(broken("the arguments of the call of tool `look` are not JSON")));
    }
    assert_eq!(streamed(&[START, CALL, CALL]).1, Err(broken("a block began before the call of tool `look` ended")));
    assert_eq!(streamed(&[START, CALL, TOOL_USE, STOP]).1, Err(broken("the reply ended before the message did")));
}

#[test]
fn endless_arguments_are_not_held() {
    let (mut progress, mut pieces) = (Progress::default(), Vec::new());
    progress.read(CALL.0, CALL.1, &mut pieces).unwrap();
    let part = "x".repeat(1 << 20);
    let delta = format!(r#"{{"index":1,"delta":{{"type":"input_json_delta","partial_json":"{part}"}}}}"#);
    let fault = (0..20).find_map(|_| progress.read("content_block_delta", &delta, &mut pieces).err());
    assert_eq!(fault, Some(broken("the arguments of the call of tool `look` are longer than 16 MiB")));
}

#[test]
fn reasoning_ends_with_its_signature() {
    let (said, ended) = streamed(&[
        START,
        ("content_block_start", r#"{"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"thinking_delta","thinking":"so "}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"thinking_delta","thinking":"what"}}"#),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"signature_delta","signature":"S="}}"#),
        ("content_block_stop", r#"{"index":0}"#),
        ("content_block_start", r#"{"index":1,"content_block":{"type":"redacted_thinking","data":"E="}}"#),
        ("content_block_stop", r#"{"index":1}"#),
        (
            "message_delta",
            concat!(
                r#"{"delta":{"stop_reason":"end_turn"},"#,
                r#""usage":{"input_tokens":9,"output_tokens":15,"output_tokens_details":{"thinking_tokens":11}}}"#
            ),
        ),
    ]);
    let thoughts = [reasoning("so ", None), reasoning("what", None), reasoning("", Some("S="))];
    assert_eq!(said, [&thoughts[..], &[reasoning("", Some("redacted:E="))]].concat());
    assert_eq!(ended.unwrap().usage, counts([Some(14), Some(15), Some(3), Some(2), Some(11)]));
}

#[test]
fn what_the_apis_own_tools_do_is_skipped() {
    let (said, ended) = streamed(&[
        START,
        (
            "content_block_start",
            r#"{"index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search"}}"#,
        ),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q"}}"#),
        ("content_block_stop", r#"{"index":0}"#),
        ("content_block_start", r#"{"index":1,"content_block":{"type":"web_search_tool_result","content":[{"a":1}]}}"#),
        ("content_block_stop", r#"{"index":1}"#),
        END_TURN,
        STOP,
    ]);
    assert_eq!((said, ended.unwrap().finish), (vec![], FinishReason::Stop));
}

#[test]
fn a_stream_must_end_and_keep_to_its_form() {
    let ended = "the reply ended before the message did";
    for (events, words) in [
        (&[][..], ended),
        (&[START], ended),
        (&[START, STOP], ended),
        (&[("message_start", "{}")], "the reply lacks `message`"),
        (&[("content_block_start", r#"{"index":0}"#)], "the reply lacks `content_block`"),
        (&[("content_block_start", r#"{"index":0,"content_block":{"type":"text"}}"#)], "the reply lacks `text`"),
        (&[("content_block_start", r#"{"index":0,"content_block":{"type":"tool_use"}}"#)], "the reply lacks `id`"),
        (&[("content_block_delta", r#"{"delta":{"text":"a"}}"#)], "the reply lacks `index`"),
        (&[("content_block_delta", r#"{"index":0}"#)], "the reply lacks `delta`"),
        (&[("content_block_stop", "{}")], "the reply lacks `index`"),
        (&[("message_delta", "{}")], "the reply lacks `delta`"),
        (&[("error", "{}")], "the reply lacks `error`"),
    ] {
        assert_eq!(streamed(events).1, Err(broken(words)), "{events:?}");
    }
    for (name, data) in [
        ("message_start", "{"),
        ("content_block_delta", r#"{"index":0,"delta":{"type":"text_delta","text":5}}"#),
        ("content_block_delta", r#"{"index":-1,"delta":{}}"#),
        ("message_delta", r#"{"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":99999999999}}"#),
    ] {
        let (_, ended) = streamed(&[(name, data)]);
        let words = format!("event `{name}` is not what was expected: ");
        assert!(matches!(&ended, Err(Fault::Broken(text)) if text.starts_with(&words)), "{ended:?}");
    }
    // `message_stop` says nothing that is not known by then.
    assert!(streamed(&[START, END_TURN]).1.is_ok());
}

#[test]
fn an_error_may_come_late_and_what_came_before_is_kept() {
    let (said, ended) = streamed(&[
        START,
        ("content_block_delta", r#"{"index":0,"delta":{"type":"text_delta","text":"Hel"}}"#),
        ("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#),
    ]);
    assert_eq!(said, [text("Hel")]);
    let reported = Reported {
        code: Some("overloaded_error".to_owned()),
        message: Some("Overloaded".to_owned()),
        fault: Some(UpstreamFault::Overloaded),
    };
    assert_eq!(ended, Err(Fault::Reported(reported)));
}

#[test]
fn a_reader_that_went_away_is_told_what_is_known() {
    let mut progress = Progress::default();
    assert_eq!(Progress::default().cancelled(), Ending { id: None, finish: FinishReason::Cancelled, usage: None });
    progress.read(START.0, START.1, &mut Vec::new()).unwrap();
    let usage = counts([Some(12), Some(1), Some(3), Some(2), None]);
    assert_eq!(progress.cancelled(), Ending { id: Some("msg_1".to_owned()), finish: FinishReason::Cancelled, usage });
}

#[test]
fn a_reply_in_one_piece_is_read_alike() {
    let (said, ending) = finite(
        r#"{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[
            {"type":"thinking","thinking":"so","signature":"S="},
            {"type":"redacted_thinking","data":"E="},
            {"type":"text","text":"Hello","citations":null},
            {"type":"invented_later","new":5},
            {"type":"tool_use","id":"t1","name":"look","input":{"b":[1.5],"a":"é"}},
            {"type":"tool_use","id":"t2","name":"look","input":{}}
        ],"stop_reason":"tool_use","stop_sequence":null,
        "usage":{"input_tokens":4,"output_tokens":6,"cache_read_input_tokens":null}}"#,
    )
    .unwrap();
    let expected = [
        reasoning("so", Some("S=")),
        reasoning("", Some("redacted:E=")),
        text("Hello"),
        call("t1", r#"{"b":[1.5],"a":"é"}"#),
        call("t2", "{}"),
    ];
    assert_eq!(said, expected);
    let usage = counts([Some(4), Some(6), None, None, None]);
    assert_eq!(ending, Ending { id: Some("msg_2".to_owned()), finish: FinishReason::ToolCalls, usage });
    assert_eq!(ending.cancelled().finish, FinishReason::Cancelled);
    let nothing = finite(r#"{"content":[],"stop_reason":"end_turn"}"#).unwrap();
    assert_eq!(nothing, (vec![], Ending { id: None, finish: FinishReason::Stop, usage: None }));
    assert_eq!(finite("{}"), Err(broken("the reply lacks `content`")));
    assert_eq!(finite(r#"{"content":[]}"#), Err(broken("the reply ended before the message did")));
}

#[test]
fn reasons_to_end() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("pause_turn", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("refusal", FinishReason::ContentFilter),
        ("invented_later", FinishReason::Stop),
    ] {
        assert_eq!(finish(reason), expected, "{reason}");
    }
}

#[test]
fn refusals_have_a_meaning() {
    for (kind, expected) in [
        ("invalid_request_error", Some(UpstreamFault::InvalidRequest)),
        ("request_too_large", Some(UpstreamFault::InvalidRequest)),
        ("authentication_error", Some(UpstreamFault::Authentication)),
        ("permission_error", Some(UpstreamFault::Authorization)),
        ("billing_error", Some(UpstreamFault::QuotaExceeded)),
        ("not_found_error", Some(UpstreamFault::ModelNotFound)),
        ("rate_limit_error", Some(UpstreamFault::RateLimited)),
        ("overloaded_error", Some(UpstreamFault::Overloaded)),
        ("timeout_error", Some(UpstreamFault::Timeout)),
        ("api_error", None),
        ("invented_later", None),
    ] {
        let body = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"why"}}}}"#);
        let expected = Reported { code: Some(kind.to_owned()), message: Some("why".to_owned()), fault: expected };
        assert_eq!(refused(serde_json::from_str(&body).unwrap()), expected);
    }
    assert_eq!(refused(None), Reported::default());
}
