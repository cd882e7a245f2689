//! Conversations with tools or reasoning, through llama.cpp's own chat parser.

use std::ptr::NonNull;

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::sys;
use crate::template::Template;
use crate::vocab::{Token, Vocab};

/// A conversation that was rendered, with what its answer must match and how it is taken apart.
#[derive(Debug)]
pub(crate) struct Chat {
    raw: NonNull<sys::Chat>,
    facts: Facts,
}

#[derive(Debug, Deserialize)]
struct Facts {
    prompt: String,
    stops: Vec<String>,
    preserved: Vec<Token>,
}

/// An answer that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Reading {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Chat {
    /// Renders a conversation, which has the shape that `bridge/conversation.h` tells.
    pub(crate) fn new(template: &Template, vocab: &Vocab, request: &Value) -> Result<Self, Error> {
        let request = request.to_string();
        let (mut raw, mut facts) = (std::ptr::null_mut(), std::ptr::null_mut());
        sys::call(|error| {
            // SAFETY: template and vocabulary are valid, and the text has the size that is passed.
            unsafe {
                sys::sipp_chat_new(
                    template.raw(),
                    vocab.raw(),
                    request.as_ptr().cast(),
                    request.len(),
                    &mut raw,
                    &mut facts,
                    error,
                )
            }
        })
        .map_err(|failure| match failure.status {
            sys::UNSUPPORTED => Error::Unsupported(failure.message),
            _ => Error::InvalidRequest(format!("the model's chat template refuses the messages: {}", failure.message)),
        })?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Internal("the chat template rendered nothing".to_owned()))?;
        // SAFETY: on success it is a text of the bridge, and ours.
        let facts = unsafe { sys::take_text(facts) };
        let facts = serde_json::from_slice(facts.as_bytes());
        // Made before the text is read, so that it is freed if that fails.
        let mut chat = Self { raw, facts: Facts { prompt: String::new(), stops: Vec::new(), preserved: Vec::new() } };
        chat.facts = facts.map_err(|error| Error::Internal(format!("a rendering cannot be read: {error}")))?;
        Ok(chat)
    }

    /// The rendering.
    pub(crate) fn prompt(&self) -> &str {
        &self.facts.prompt
    }

    /// Texts that end the answer.
    pub(crate) fn stops(&self) -> &[String] {
        &self.facts.stops
    }

    /// Whether the answer is taken apart by the text of this control token.
    pub(crate) fn preserves(&self, token: Token) -> bool {
        self.facts.preserved.contains(&token)
    }

    /// The grammar that the answer must match, which the caller owns; null where there is none.
    pub(crate) fn grammar(&self, vocab: &Vocab) -> Result<*mut sys::llama_sampler, Error> {
        let mut sampler = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: the conversation and the vocabulary are valid.
            unsafe { sys::sipp_chat_grammar(self.raw.as_ptr(), vocab.raw(), &mut sampler, error) }
        })
        .map_err(|failure| {
            Error::InvalidRequest(format!("the tools or the schema are not valid: {}", failure.message))
        })?;
        Ok(sampler)
    }

    /// Takes an answer apart, or its beginning if `is_partial`. None if it is no answer of this template.
    pub(crate) fn read(&self, text: &str, is_partial: bool) -> Option<Reading> {
        let mut reading = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: the conversation is valid, and the text has the size that is passed.
            unsafe {
                sys::sipp_chat_read(
                    self.raw.as_ptr(),
                    text.as_ptr().cast(),
                    text.len(),
                    is_partial,
                    &mut reading,
                    error,
                )
            }
        })
        .ok()?;
        // SAFETY: on success it is a text of the bridge, and ours.
        let reading = unsafe { sys::take_text(reading) };
        serde_json::from_slice(reading.as_bytes()).ok()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // SAFETY: the conversation is ours and not used afterwards.
        unsafe { sys::sipp_chat_free(self.raw.as_ptr()) }
    }
}
