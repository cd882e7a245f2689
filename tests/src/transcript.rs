//! How results are written down: the same line from every runner, without what differs from run to run.
//!
//! Left out are times, and what a local model found in its cache. The README of `cases/` says the same for those who
//! write another runner.

use serde_json::{Map, Value, json};
use sipp::{
    EmbedResponse, EndpointEntry, EndpointRef, Error, FinishReason, Kind, Metadata, Part, TextResponse, TokenLogprob,
    UpstreamPayload, Usage,
};

use crate::read::Named;

/// Characters that remain of the text of a cancelled answer: how far it came is a matter of luck.
const CANCELLED_CHARACTERS: usize = 8;

/// Numbers that remain of a vector.
const VECTOR_NUMBERS: usize = 4;

/// An endpoint's name.
pub(crate) fn endpoint(endpoint: &EndpointRef) -> Value {
    json!({ "kind": endpoint.kind.name(), "id": endpoint.id })
}

/// What `list` says.
pub(crate) fn endpoints(entries: &[EndpointEntry]) -> Value {
    let entry = |entry: &EndpointEntry| {
        json!({
            "kind": entry.endpoint.kind.name(),
            "id": entry.endpoint.id,
            "query": entry.capabilities.query.name(),
            "chat": entry.capabilities.chat.name(),
            "embed": entry.capabilities.embed.name(),
        })
    };
    entries.iter().map(entry).collect()
}

/// What `query` and `chat` say.
pub(crate) fn text(response: &TextResponse) -> Value {
    let mut line = Map::new();
    line.insert("endpoint".into(), json!(response.endpoint.id));
    if response.finish_reason == FinishReason::Cancelled {
        let begins: String = response.text.chars().take(CANCELLED_CHARACTERS).collect();
        line.insert("begins".into(), json!(begins));
    } else {
        line.insert("text".into(), json!(response.text));
    }
    if !response.reasoning.is_empty() {
        line.insert("reasoning".into(), json!(response.reasoning));
    }
    let signatures: Vec<_> = response.message.content.iter().filter_map(signature).collect();
    if !signatures.is_empty() {
        line.insert("signatures".into(), json!(signatures));
    }
    let call = |call: &sipp::ToolCall| json!({ "id": call.id, "name": call.name, "arguments": call.arguments });
    if !response.tool_calls.is_empty() {
        line.insert("tool_calls".into(), response.tool_calls.iter().map(call).collect());
    }
    if !response.logprobs.is_empty() {
        line.insert("logprobs".into(), response.logprobs.iter().map(logprob).collect());
    }
    line.insert("finish_reason".into(), json!(response.finish_reason.name()));
    if let Some(reason) = response.cancelled {
        line.insert("cancelled".into(), json!(reason.name()));
    }
    if let Some(usage) = &response.usage {
        let cancelled = response.finish_reason == FinishReason::Cancelled;
        let output = usage.output_tokens.filter(|_| !cancelled);
        line.insert("usage".into(), tokens(&Usage { output_tokens: output, ..*usage }, response.endpoint.kind));
    }
    identify(&mut line, &response.metadata);
    Value::Object(line)
}

/// What `embed` says.
pub(crate) fn embedding(response: &EmbedResponse) -> Value {
    let embedding = &response.embedding;
    let begins =
        |vector: &Vec<f32>| vector.iter().take(VECTOR_NUMBERS).map(|number| rounded(*number)).collect::<Value>();
    let mut line = Map::new();
    line.insert("endpoint".into(), json!(response.endpoint.id));
    line.insert("dimensions".into(), json!(embedding.vectors.first().map_or(0, Vec::len)));
    line.insert("begin".into(), embedding.vectors.iter().map(begins).collect());
    line.insert("norms".into(), embedding.vectors.iter().map(|vector| rounded(norm(vector))).collect());
    if let Some(pooling) = embedding.pooling {
        line.insert("pooling".into(), json!(pooling.name()));
    }
    if let Some(normalized) = embedding.normalized {
        line.insert("normalized".into(), json!(normalized));
    }
    if let Some(usage) = &embedding.usage {
        line.insert("usage".into(), tokens(usage, response.endpoint.kind));
    }
    identify(&mut line, &embedding.metadata);
    Value::Object(line)
}

fn signature(part: &Part) -> Option<&str> {
    match part {
        Part::Reasoning(reasoning) => reasoning.signature.as_deref(),
        Part::Text(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) => None,
    }
}

fn logprob(token: &TokenLogprob) -> Value {
    let top = token.top.iter().map(|other| json!({ "token": other.token, "logprob": rounded(other.logprob) }));
    json!({ "token": token.token, "logprob": rounded(token.logprob), "top": top.collect::<Value>() })
}

/// Adds the ids, and how often an upstream was asked again.
fn identify(line: &mut Map<String, Value>, metadata: &Metadata) {
    let Metadata { request_id, upstream_request_id, upstream_response_id, retries } = metadata;
    for (name, id) in [
        ("request_id", request_id),
        ("upstream_request_id", upstream_request_id),
        ("upstream_response_id", upstream_response_id),
    ] {
        if let Some(id) = id {
            line.insert(name.into(), json!(id));
        }
    }
    if *retries > 0 {
        line.insert("retries".into(), json!(retries));
    }
}

/// Why something failed. Texts of `internal` are for people only, so they are left out.
pub(crate) fn error(error: &Error) -> Value {
    let described = match error {
        Error::InvalidRequest(message) => json!({ "kind": "invalid_request", "message": message }),
        Error::EndpointNotFound(id) => json!({ "kind": "endpoint_not_found", "endpoint": id }),
        Error::AmbiguousEndpoint(operation) => json!({ "kind": "ambiguous_endpoint", "operation": operation.name() }),
        Error::NoSupportedEndpoint(operation) => {
            json!({ "kind": "no_supported_endpoint", "operation": operation.name() })
        }
        Error::Unsupported(payload) => json!({
            "kind": "unsupported",
            "operation": payload.operation.name(),
            "endpoint": payload.endpoint,
            "reason": payload.reason,
        }),
        Error::PromptTooLong(payload) => json!({
            "kind": "prompt_too_long",
            "prompt_tokens": payload.prompt_tokens,
            "context_tokens": payload.context_tokens,
        }),
        Error::Model(payload) => {
            json!({ "kind": "model", "fault": payload.fault.name(), "message": payload.message })
        }
        Error::Overloaded(message) => json!({ "kind": "overloaded", "message": message }),
        Error::Upstream(payload) => upstream(payload),
        Error::Cancelled(reason) => json!({ "kind": "cancelled", "reason": reason.name() }),
        Error::Closed => json!({ "kind": "closed" }),
        Error::Internal(_) => json!({ "kind": "internal" }),
        other => json!({ "kind": "unknown to this runner", "message": other.to_string() }),
    };
    json!({ "error": described })
}

fn upstream(payload: &UpstreamPayload) -> Value {
    let UpstreamPayload { fault, provider, status, code, message, retry_after, request_id } = payload;
    let mut described = Map::new();
    described.insert("kind".into(), json!("upstream"));
    described.insert("fault".into(), json!(fault.name()));
    described.insert("provider".into(), json!(provider));
    described.insert("status".into(), json!(status));
    described.insert("message".into(), json!(message));
    for (name, value) in [("code", json!(code)), ("retry_after", json!(retry_after)), ("request_id", json!(request_id))]
    {
        if !value.is_null() {
            described.insert(name.into(), value);
        }
    }
    Value::Object(described)
}

/// Takes fields out, at any depth.
pub(crate) fn hide(value: Value, names: &[String]) -> Value {
    match value {
        Value::Object(fields) => {
            let left = fields.into_iter().filter(|(name, _)| !names.contains(name));
            left.map(|(name, field)| (name, hide(field, names))).collect()
        }
        Value::Array(items) => items.into_iter().map(|item| hide(item, names)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn tokens(usage: &Usage, kind: Kind) -> Value {
    let Usage { input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens } = *usage;
    // What a local model finds in its cache depends on what ran before.
    let told = |count: Option<u32>| count.filter(|_| kind != Kind::Local);
    let mut counts = Map::new();
    for (name, count) in [
        ("input_tokens", input_tokens),
        ("output_tokens", output_tokens),
        ("cached_tokens", told(cached_tokens)),
        ("cache_write_tokens", told(cache_write_tokens)),
        ("reasoning_tokens", reasoning_tokens),
    ] {
        if let Some(count) = count {
            counts.insert(name.into(), json!(count));
        }
    }
    Value::Object(counts)
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}

/// Three digits; `expected` allows as much again, for a number that lies between two roundings.
fn rounded(number: f32) -> Value {
    json!((f64::from(number) * 1e3).round() / 1e3)
}
