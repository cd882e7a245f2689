//! From a reply, whole or in [events](https://platform.claude.com/docs/en/build-with-claude/streaming), to pieces and an
//! ending or an error.

use provider::{Ending, Fault, FinishReason, Piece, Reported, ToolCall, Transcript, UpstreamFault, Usage};
use serde::de::IgnoredAny;

use super::REDACTED;
use crate::wire::{self, Delta, Event, Reason, Refusal, Reply, ReplyBlock};

#[cfg(test)]
mod tests;

/// Longest arguments of a tool call, in bytes: an upstream is not trusted to end.
const LONGEST_ARGUMENTS: usize = 16 << 20;

/// Reads a reply in one piece, as if its blocks had come one by one.
pub(crate) fn whole(reply: Reply) -> Result<(Vec<Piece>, Ending), Fault> {
    let Reply { id, content, stop_reason, usage } = reply;
    let mut progress = Progress { id, stop_reason, ..Progress::default() };
    progress.count(usage);
    let mut pieces = Vec::new();
    for (index, block) in needed("content", content)?.into_iter().enumerate() {
        pieces.extend(progress.start_block(index, block)?);
        pieces.extend(progress.stop_block(index));
    }
    let (_, ending) = progress.end()?;
    Ok((pieces, ending))
}

/// How far a reply has come.
#[derive(Default)]
pub(crate) struct Progress {
    id: Option<String>,
    counts: wire::Usage,
    stop_reason: Option<String>,
    /// The tool call whose block is open. The API writes one block after the other.
    open: Option<OpenCall>,
    /// Name of the tool whose arguments ended before they were JSON.
    cut: Option<String>,
    is_over: bool,
}

struct OpenCall {
    index: usize,
    /// The call, with the arguments so far.
    call: ToolCall,
    /// What the arguments are when none follow.
    begun: String,
}

impl Transcript for Progress {
    fn is_over(&self) -> bool {
        self.is_over
    }

    fn read(&mut self, name: &str, data: &str, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        if self.is_over {
            return Ok(());
        }
        match name {
            "message_start" => {
                let Reply { id, usage, .. } = needed("message", parse(name, data)?.message)?;
                self.id = id;
                self.count(usage);
            }
            "content_block_start" => {
                let Event { index, content_block, .. } = parse(name, data)?;
                pieces.extend(self.start_block(needed("index", index)?, needed("content_block", content_block)?)?);
            }
            "content_block_delta" => {
                let Event { index, delta, .. } = parse(name, data)?;
                pieces.extend(self.grow(needed("index", index)?, needed("delta", delta)?)?);
            }
            "content_block_stop" => pieces.extend(self.stop_block(needed("index", parse(name, data)?.index)?)),
            "message_delta" => {
                let Event { delta, usage, .. } = parse(name, data)?;
                self.stop_reason = needed("delta", delta)?.stop_reason.or(self.stop_reason.take());
                self.count(usage);
            }
            "message_stop" => self.is_over = true,
            "error" => return Err(Fault::Reported(reported(needed("error", parse(name, data)?.error)?))),
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> Result<(Vec<Piece>, Ending), Fault> {
        let Some(reason) = self.stop_reason.as_deref().filter(|_| self.open.is_none()) else {
            return Err(Fault::Broken("the reply ended before the message did".to_owned()));
        };
        let finish = finish(reason);
        match (finish, &self.cut) {
            (FinishReason::Stop | FinishReason::ToolCalls, Some(name)) => {
                Err(Fault::Broken(format!("the arguments of the call of tool `{name}` are not JSON")))
            }
            (_, _) => Ok((Vec::new(), self.ending(finish))),
        }
    }

    fn cancelled(self) -> Ending {
        self.ending(FinishReason::Cancelled)
    }
}

impl Progress {
    fn ending(self, finish: FinishReason) -> Ending {
        Ending { id: self.id, finish, usage: usage(&self.counts) }
    }

    /// Takes over the counts that are there: later events of a stream tell only some.
    fn count(&mut self, counts: Option<wire::Usage>) {
        let Some(new) = counts else { return };
        let old = std::mem::take(&mut self.counts);
        self.counts = wire::Usage {
            input_tokens: new.input_tokens.or(old.input_tokens),
            output_tokens: new.output_tokens.or(old.output_tokens),
            cache_read_input_tokens: new.cache_read_input_tokens.or(old.cache_read_input_tokens),
            cache_creation_input_tokens: new.cache_creation_input_tokens.or(old.cache_creation_input_tokens),
            output_tokens_details: new.output_tokens_details.or(old.output_tokens_details),
        };
    }

    fn start_block(&mut self, index: usize, block: ReplyBlock) -> Result<Option<Piece>, Fault> {
        if let Some(OpenCall { call, .. }) = &self.open {
            return Err(Fault::Broken(format!("a block began before the call of tool `{}` ended", call.name)));
        }
        match block.kind.as_str() {
            "text" => Ok(text_piece(needed("text", block.text)?)),
            "thinking" => Ok(thinking_piece(needed("thinking", block.thinking)?, block.signature)),
            "redacted_thinking" => {
                let signature = format!("{REDACTED}{}", needed("data", block.data)?);
                Ok(Some(Piece::reasoning("", Some(signature))))
            }
            "tool_use" => {
                let (id, name) = (needed("id", block.id)?, needed("name", block.name)?);
                // There is nothing in such an object that could not be written.
                let begun = serde_json::to_string(&block.input.unwrap_or_default()).unwrap_or_default();
                self.open = Some(OpenCall { index, call: ToolCall { id, name, arguments: String::new() }, begun });
                Ok(None)
            }
            // What the API's own tools do, and whatever comes later.
            _ => Ok(None),
        }
    }

    fn grow(&mut self, index: usize, delta: Delta) -> Result<Option<Piece>, Fault> {
        let Delta { text, partial_json, thinking, signature, .. } = delta;
        // The API's own tools have arguments too, which are nobody's business here.
        let open = self.open.as_mut().filter(|open| open.index == index);
        if let (Some(OpenCall { call, .. }), Some(json)) = (open, partial_json) {
            call.arguments.push_str(&json);
            if call.arguments.len() > LONGEST_ARGUMENTS {
                let (name, most) = (&call.name, LONGEST_ARGUMENTS >> 20);
                return Err(Fault::Broken(format!(
                    "the arguments of the call of tool `{name}` are longer than {most} MiB"
                )));
            }
        }
        let text = text.and_then(text_piece);
        Ok(text.or_else(|| thinking_piece(thinking.unwrap_or_default(), signature)))
    }

    /// A whole tool call. One whose arguments were cut off is none: at the token limit the API ends it like that.
    fn stop_block(&mut self, index: usize) -> Option<Piece> {
        let OpenCall { mut call, begun, .. } = self.open.take_if(|open| open.index == index)?;
        if call.arguments.is_empty() {
            call.arguments = begun;
        }
        if serde_json::from_slice::<IgnoredAny>(call.arguments.as_bytes()).is_err() {
            self.cut = Some(call.name);
            return None;
        }
        Some(Piece::tool_call(call))
    }
}

fn parse(name: &str, data: &str) -> Result<Event, Fault> {
    serde_json::from_slice(data.as_bytes())
        .map_err(|error| Fault::Broken(format!("event `{name}` is not what was expected: {error}")))
}

fn needed<T>(name: &str, field: Option<T>) -> Result<T, Fault> {
    field.ok_or_else(|| Fault::Broken(format!("the reply lacks `{name}`")))
}

/// Text, unless it is empty.
fn text_piece(text: String) -> Option<Piece> {
    (!text.is_empty()).then(|| Piece::text(text))
}

/// Reasoning, unless it is empty. A stream begins a block with an empty signature.
fn thinking_piece(thinking: String, signature: Option<String>) -> Option<Piece> {
    let signature = signature.filter(|signature| !signature.is_empty());
    (signature.is_some() || !thinking.is_empty()).then(|| Piece::reasoning(thinking, signature))
}

/// Why the API ended an answer. What it adds later ends answers too.
fn finish(stop_reason: &str) -> FinishReason {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

/// The contract's counts, if there are any. The API counts what a cache gave or took apart from the other input.
fn usage(counts: &wire::Usage) -> Option<Usage> {
    let read = [counts.input_tokens, counts.cache_read_input_tokens, counts.cache_creation_input_tokens];
    let input_tokens = read.into_iter().flatten().reduce(u32::saturating_add);
    if input_tokens.is_none() && counts.output_tokens.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens,
        output_tokens: counts.output_tokens,
        cached_tokens: counts.cache_read_input_tokens,
        cache_write_tokens: counts.cache_creation_input_tokens,
        reasoning_tokens: counts.output_tokens_details.as_ref().and_then(|details| details.thinking_tokens),
    })
}

/// What a refusal says, if it is one of the API's.
pub(crate) fn refused(refusal: Option<Refusal>) -> Reported {
    refusal.map(|refusal| reported(refusal.error)).unwrap_or_default()
}

fn reported(reason: Reason) -> Reported {
    let Reason { kind, message } = reason;
    Reported { fault: kind.as_deref().and_then(fault), code: kind, message }
}

/// What an [error's type](https://platform.claude.com/docs/en/api/errors) means. `api_error` means whatever the status
/// means.
fn fault(kind: &str) -> Option<UpstreamFault> {
    match kind {
        "invalid_request_error" | "request_too_large" => Some(UpstreamFault::InvalidRequest),
        "authentication_error" => Some(UpstreamFault::Authentication),
        "permission_error" => Some(UpstreamFault::Authorization),
        "billing_error" => Some(UpstreamFault::QuotaExceeded),
        "not_found_error" => Some(UpstreamFault::ModelNotFound),
        "rate_limit_error" => Some(UpstreamFault::RateLimited),
        "overloaded_error" => Some(UpstreamFault::Overloaded),
        "timeout_error" => Some(UpstreamFault::Timeout),
        _ => None,
    }
}
