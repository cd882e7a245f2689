//! From the gateway's answers and events to the contracts' words.

use provider::bindings::sipp::inference::types::Pooling;
use provider::{Alternative, Event, FinishReason, Metadata, Outcome, Piece, TokenLogprob, ToolCall, Usage};
use serde::de::DeserializeOwned;

use crate::wire::{self, Refusal};

/// What an answer in one piece says, and how it ended.
pub(crate) fn answer(answer: wire::TextAnswer) -> (Vec<Piece>, Outcome) {
    let wire::TextAnswer { id, text, reasoning, tool_calls, finish_reason, logprobs, usage, metadata } = answer;
    let mut said: Vec<Piece> = reasoning.into_iter().map(|part| Piece::reasoning(part.text, part.signature)).collect();
    if !text.is_empty() || !logprobs.is_empty() {
        said.push(text_piece(text, logprobs));
    }
    said.extend(tool_calls.into_iter().map(|call| Piece::tool_call(tool_call(call))));
    (said, outcome(finish_reason, usage, id, metadata))
}

/// What is known about vectors besides themselves.
#[derive(Debug, PartialEq)]
pub(crate) struct AboutVectors {
    pub(crate) pooling: Option<Pooling>,
    pub(crate) normalized: Option<bool>,
    pub(crate) usage: Option<Usage>,
    pub(crate) metadata: Metadata,
}

/// The vectors of an answer to `count` texts.
///
/// # Errors
///
/// What breaks the profile: vectors that are too few, too many, or of different lengths.
pub(crate) fn embedding(answer: wire::EmbedAnswer, count: usize) -> Result<(Vec<Vec<f32>>, AboutVectors), String> {
    let wire::EmbedAnswer { id, embeddings, pooling, normalized, usage, metadata } = answer;
    if embeddings.len() != count {
        return Err(format!("the reply has {} vectors for {count} texts", embeddings.len()));
    }
    if embeddings.windows(2).any(|pair| matches!(pair, [one, other] if one.len() != other.len())) {
        return Err("the reply's vectors differ in length".to_owned());
    }
    let about = AboutVectors {
        pooling: pooling.as_deref().and_then(pooling_of),
        normalized,
        usage: usage.map(usage_of),
        metadata: metadata_of(id, metadata),
    };
    Ok((embeddings, about))
}

/// What one event means.
#[derive(Debug)]
pub(crate) enum Step {
    /// The answer goes on.
    Said(Piece),
    /// Nothing that a reader waits for.
    Nothing,
    /// The answer is complete.
    Done(Outcome),
    /// The answer ends with an error.
    Failed(Refusal),
}

/// What a stream has told besides its answer.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    usage: Option<wire::Usage>,
}

impl Transcript {
    /// Reads the next event. One of a name that is not known means nothing.
    ///
    /// # Errors
    ///
    /// What breaks the profile: data that is not what the event's name says.
    pub(crate) fn read(&mut self, event: &Event) -> Result<Step, String> {
        Ok(match event.name.as_str() {
            "token" => {
                let wire::TokenEvent { text, logprobs, tokens } = data(event)?;
                Step::Said(Piece { tokens: Some(tokens), ..text_piece(text, logprobs) })
            }
            "reasoning" => {
                let wire::Counted::<wire::Reasoning> { said, tokens } = data(event)?;
                Step::Said(Piece { tokens: Some(tokens), ..Piece::reasoning(said.text, said.signature) })
            }
            "tool_call" => {
                let wire::Counted::<wire::ToolCall> { said, tokens } = data(event)?;
                Step::Said(Piece { tokens: Some(tokens), ..Piece::tool_call(tool_call(said)) })
            }
            "usage" => {
                self.usage = Some(data(event)?);
                Step::Nothing
            }
            "done" => {
                let wire::DoneEvent { id, finish_reason, metadata } = data(event)?;
                Step::Done(outcome(finish_reason, self.usage, id, metadata))
            }
            "error" => Step::Failed(data(event)?),
            _ => Step::Nothing,
        })
    }

    /// How the answer ended when nobody wanted its rest.
    pub(crate) fn cancelled(&self) -> Outcome {
        outcome(wire::FinishReason::Cancelled, self.usage, None, wire::Metadata::default())
    }
}

fn data<T: DeserializeOwned>(event: &Event) -> Result<T, String> {
    serde_json::from_str(&event.data).map_err(|error| format!("the event `{}` is malformed: {error}", event.name))
}

fn outcome(
    reason: wire::FinishReason,
    usage: Option<wire::Usage>,
    id: Option<String>,
    metadata: wire::Metadata,
) -> Outcome {
    let finish = match reason {
        wire::FinishReason::Stop => FinishReason::Stop,
        wire::FinishReason::Length => FinishReason::Length,
        wire::FinishReason::ToolCalls => FinishReason::ToolCalls,
        wire::FinishReason::ContentFilter => FinishReason::ContentFilter,
        wire::FinishReason::Cancelled => FinishReason::Cancelled,
    };
    Outcome { finish, usage: usage.map(usage_of), stats: None, metadata: metadata_of(id, metadata) }
}

/// Identifiers, as far as the gateway tells them: a provider's behind it, or else its own. Retries are the host's to
/// count: those that a gateway made are its own affair.
fn metadata_of(id: Option<String>, metadata: wire::Metadata) -> Metadata {
    let wire::Metadata { upstream_request_id, upstream_response_id } = metadata;
    Metadata { request_id: None, upstream_request_id, upstream_response_id: upstream_response_id.or(id), retries: 0 }
}

fn usage_of(usage: wire::Usage) -> Usage {
    let wire::Usage { input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens } = usage;
    Usage { input_tokens, output_tokens, cached_tokens: cached_input_tokens, cache_write_tokens, reasoning_tokens }
}

/// How vectors were pooled. A way that is not known is as good as none that is told.
fn pooling_of(word: &str) -> Option<Pooling> {
    match word {
        "none" => Some(Pooling::None),
        "mean" => Some(Pooling::Mean),
        "cls" => Some(Pooling::Cls),
        "last" => Some(Pooling::Last),
        "rank" => Some(Pooling::Rank),
        _ => None,
    }
}

fn tool_call(call: wire::ToolCall) -> ToolCall {
    let wire::ToolCall { id, name, arguments } = call;
    ToolCall { id, name, arguments }
}

fn text_piece(text: String, logprobs: Vec<wire::TokenLogprob>) -> Piece {
    let likely = |logprob: Option<f32>| logprob.unwrap_or(f32::NEG_INFINITY);
    let alternative = |other: wire::Alternative| Alternative { token: other.token, logprob: likely(other.logprob) };
    let logprobs = logprobs.into_iter().map(|token| TokenLogprob {
        token: token.token,
        logprob: likely(token.logprob),
        top: token.top.into_iter().map(alternative).collect(),
    });
    Piece { logprobs: logprobs.collect(), ..Piece::text(text) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use provider::{Delta, Reasoning};
    use serde_json::{Value, json};

    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into(), id: Arc::default() }
    }

    fn said(step: Result<Step, String>) -> Piece {
        match step {
            Ok(Step::Said(piece)) => piece,
            other => panic!("expected a piece, got {other:?}"),
        }
    }

    fn whole(body: Value) -> (Vec<Piece>, Outcome) {
        answer(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn a_stream_says_what_it_says() {
        let mut transcript = Transcript::default();
        let token = r#"{"text":"a","sequence":0,"logprobs":[{"token":"a","logprob":-0.5,"top":[{"token":"b","logprob":null}]}]}"#;
        let piece = said(transcript.read(&event("token", token)));
        assert_eq!((&piece.delta, piece.tokens), (&Delta::Text("a".into()), Some(1)));
        let [TokenLogprob { logprob, top, .. }] = piece.logprobs.as_slice() else { panic!("{piece:?}") };
        assert_eq!((*logprob, top[0].logprob), (-0.5, f32::NEG_INFINITY));
        let piece =
            said(transcript.read(&event("reasoning", r#"{"text":"hm","signature":"s","sequence":1,"tokens":4}"#)));
        assert_eq!(piece.tokens, Some(4));
        assert_eq!(piece.delta, Delta::Reasoning(Reasoning { text: "hm".into(), signature: Some("s".into()) }));
        let call = r#"{"id":"c","name":"add","arguments":"{}","sequence":2}"#;
        let piece = said(transcript.read(&event("tool_call", call)));
        assert!(matches!(piece.delta, Delta::ToolCall(call) if call.id == "c"));
        for (name, data) in
            [("usage", r#"{"input_tokens":3,"output_tokens":null,"cached_input_tokens":2}"#), ("news", "x")]
        {
            assert!(matches!(transcript.read(&event(name, data)), Ok(Step::Nothing)));
        }
        let done = r#"{"finish_reason":"tool_calls","id":"resp_1","metadata":{"upstream_request_id":"r","retries":1}}"#;
        let Ok(Step::Done(outcome)) = transcript.read(&event("done", done)) else { panic!("no end") };
        assert_eq!(outcome.finish, FinishReason::ToolCalls);
        let usage = outcome.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_tokens), (Some(3), None, Some(2)));
        let Metadata { upstream_request_id, upstream_response_id, .. } = outcome.metadata;
        assert_eq!((upstream_request_id.as_deref(), upstream_response_id.as_deref()), (Some("r"), Some("resp_1")));
    }

    #[test]
    fn malformed_events_are_refused_by_name() {
        for (name, data) in [
            ("token", "{"),
            ("token", r#"{"text":1}"#),
            ("usage", "[]"),
            ("done", r#"{"finish_reason":"tired"}"#),
            ("tool_call", r#"{"id":"c"}"#),
            ("error", "oops"),
        ] {
            let problem = Transcript::default().read(&event(name, data)).unwrap_err();
            assert!(problem.starts_with(&format!("the event `{name}` is malformed: ")), "{problem}");
        }
    }

    #[test]
    fn every_finish_reason_is_kept() {
        for (word, finish) in [
            ("stop", FinishReason::Stop),
            ("length", FinishReason::Length),
            ("tool_calls", FinishReason::ToolCalls),
            ("content_filter", FinishReason::ContentFilter),
            ("cancelled", FinishReason::Cancelled),
        ] {
            let (said, outcome) = whole(json!({"id": "resp_1", "model": "m", "text": "", "finish_reason": word}));
            assert!(said.is_empty());
            assert_eq!((outcome.finish, outcome.usage), (finish, None));
        }
    }

    #[test]
    fn a_whole_answer_says_as_much_as_a_stream() {
        let (said, outcome) = whole(json!({
            "id": "resp_1", "model": "m", "text": "hi", "finish_reason": "stop",
            "reasoning": [{"text": "hm", "signature": "s"}],
            "tool_calls": [{"id": "c", "name": "add", "arguments": "{}"}],
            "logprobs": [{"token": "hi", "logprob": -1.0, "top": []}],
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "reasoning_tokens": 1},
            "metadata": {"upstream_response_id": "chatcmpl-1"},
        }));
        let [reasoning, text, call] = said.as_slice() else { panic!("{said:?}") };
        assert!(matches!(reasoning.delta, Delta::Reasoning(_)) && matches!(call.delta, Delta::ToolCall(_)));
        assert_eq!((&text.delta, text.logprobs.len()), (&Delta::Text("hi".into()), 1));
        assert_eq!(outcome.usage.unwrap().reasoning_tokens, Some(1));
        assert_eq!(outcome.metadata.upstream_response_id.as_deref(), Some("chatcmpl-1"));
    }

    #[test]
    fn vectors_are_counted() {
        let read = |vectors: Value, count| {
            let body =
                json!({"id": "resp_1", "model": "m", "embeddings": vectors, "pooling": "mean", "normalized": true});
            embedding(serde_json::from_value(body).unwrap(), count)
        };
        let (vectors, about) = read(json!([[0.5, 1], [1, 0]]), 2).unwrap();
        assert_eq!(vectors, [[0.5, 1.0], [1.0, 0.0]]);
        assert_eq!((about.pooling, about.normalized), (Some(Pooling::Mean), Some(true)));
        assert_eq!(read(json!([[1]]), 2), Err("the reply has 1 vectors for 2 texts".into()));
        assert_eq!(read(json!([[1], [1, 2]]), 2), Err("the reply's vectors differ in length".into()));
    }
}
