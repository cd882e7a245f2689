//! From a reply, whole or in [chunks](https://platform.openai.com/docs/api-reference/chat-streaming), to pieces and an
//! ending or an error.

use provider::{Ending, Fault, FinishReason, Piece, Reported, Transcript, Usage};
use serde_json::Value;

use super::calls::Calls;
use super::fault::reported;
use super::likelihood;
use crate::wire::{self, Choice, Reply, Said};

/// How far a reply has come.
#[derive(Default)]
pub(crate) struct Progress {
    /// How many alternatives to each token are wanted, if log probabilities are.
    logprobs: Option<u32>,
    id: Option<String>,
    usage: Option<wire::Usage>,
    finish: Option<FinishReason>,
    calls: Calls,
    has_refused: bool,
    is_over: bool,
}

impl Transcript for Progress {
    fn is_over(&self) -> bool {
        self.is_over
    }

    fn read(&mut self, name: &str, data: &str, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        let data = data.trim();
        if self.is_over || data.is_empty() {
            return Ok(());
        }
        match name {
            "message" if data == "[DONE]" => self.is_over = true,
            "message" => {
                let reply = serde_json::from_slice(data.as_bytes())
                    .map_err(|error| Fault::Broken(format!("an event is not what was expected: {error}")))?;
                self.take(reply, pieces)?;
            }
            "error" => {
                let error = serde_json::from_slice(data.as_bytes()).unwrap_or_else(|_| Value::from(data));
                return Err(Fault::Reported(reported(error)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(mut self) -> Result<(Vec<Piece>, Ending), Fault> {
        let Some(finish) = self.finish else {
            return Err(Fault::Broken("the reply ended without a finish reason".to_owned()));
        };
        let is_cut = matches!(finish, FinishReason::Length | FinishReason::ContentFilter);
        let calls = std::mem::take(&mut self.calls).end(is_cut)?;
        let finish = if finish != FinishReason::Stop {
            finish
        } else if self.has_refused {
            FinishReason::ContentFilter
        } else if !calls.is_empty() {
            // The API says `stop` when the choice of a tool was not the model's, and some servers always do.
            FinishReason::ToolCalls
        } else {
            FinishReason::Stop
        };
        Ok((calls, self.ending(finish)))
    }

    fn cancelled(self) -> Ending {
        self.ending(FinishReason::Cancelled)
    }
}

impl Progress {
    /// At the beginning of a reply. `logprobs` is the request's option.
    pub(crate) fn new(logprobs: Option<u32>) -> Self {
        Self { logprobs, ..Self::default() }
    }

    /// Reads a reply in one piece: it is as one chunk.
    ///
    /// # Errors
    ///
    /// [`Fault`] when the reply is an error, or not complete.
    pub(crate) fn whole(mut self, reply: Reply) -> Result<(Vec<Piece>, Ending), Fault> {
        let mut pieces = Vec::new();
        self.take(reply, &mut pieces)?;
        let (calls, ending) = self.end()?;
        pieces.extend(calls);
        Ok((pieces, ending))
    }

    fn ending(self, finish: FinishReason) -> Ending {
        Ending { id: self.id, finish, usage: self.usage.and_then(usage) }
    }

    fn take(&mut self, reply: Reply, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        let Reply { id, choices, usage, error } = reply;
        if let Some(error) = error {
            return Err(Fault::Reported(reported(error)));
        }
        self.id = self.id.take().or(id.and_then(filled));
        // It comes last, after a choice that ended the answer, or grows with every chunk.
        self.usage = usage.or(self.usage.take());
        match choices.into_iter().flatten().next() {
            Some(choice) => self.hear(choice, pieces),
            None => Ok(()),
        }
    }

    fn hear(&mut self, choice: Choice, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        let Choice { message, delta, text, logprobs, finish_reason } = choice;
        let is_whole = delta.is_none();
        let Said { content, reasoning_content, reasoning, refusal, tool_calls } = delta.or(message).unwrap_or_default();
        let refusal = refusal.and_then(filled);
        self.has_refused |= refusal.is_some();
        let reasoning = reasoning_content.and_then(filled).or(reasoning.and_then(filled));
        let reasoning = reasoning.map(|text| Piece::reasoning(text, None));
        let text = content.or(text).and_then(filled);
        let mut said: Vec<_> = reasoning.into_iter().chain(text.into_iter().chain(refusal).map(Piece::text)).collect();
        if let (Some(most), Some(logprobs)) = (self.logprobs, logprobs) {
            let tokens = likelihood::tokens(logprobs, usize::try_from(most).unwrap_or(usize::MAX));
            // A token that is part of a character only has no text of its own.
            if said.is_empty() && !tokens.is_empty() {
                said.push(Piece::text(""));
            }
            if let Some(last) = said.last_mut() {
                last.logprobs = tokens;
            }
        }
        pieces.append(&mut said);
        for (place, mut call) in tool_calls.into_iter().flatten().enumerate() {
            if is_whole {
                call.index = Some(place);
            }
            self.calls.add(call)?;
        }
        match finish_reason.and_then(filled).as_deref() {
            Some("error") => return Err(Fault::Reported(Reported::default())),
            Some(reason) => self.finish = Some(finish(reason)),
            None => {}
        }
        Ok(())
    }
}

/// A text, unless it is empty: servers also say nothing in that way.
fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Why the API ended an answer. What servers add to its reasons ends answers too.
fn finish(reason: &str) -> FinishReason {
    match reason {
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

/// The contract's counts, if there are any.
pub(super) fn usage(counts: wire::Usage) -> Option<Usage> {
    let wire::Usage { prompt_tokens, completion_tokens, prompt_tokens_details, completion_tokens_details } = counts;
    if prompt_tokens.is_none() && completion_tokens.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens: prompt_tokens,
        output_tokens: completion_tokens,
        cached_tokens: prompt_tokens_details.and_then(|details| details.cached_tokens),
        cache_write_tokens: None,
        reasoning_tokens: completion_tokens_details.and_then(|details| details.reasoning_tokens),
    })
}

#[cfg(test)]
mod tests;
