//! Takes an answer apart while it is written: text, reasoning and tool calls.

use std::hash::{BuildHasher, RandomState};

use crate::chat::{Call, Chat, Reading};
use crate::request::{Delta, ToolCall};

/// An answer is read anew with each piece, so that a long one is read only when it grew by this share.
const SHARE: usize = 256;

/// Where an answer comes apart.
pub(crate) struct Reader {
    chat: Chat,
    text: String,
    /// Bytes of `text` that were read.
    read: usize,
    /// Bytes that went out.
    content: usize,
    reasoning: usize,
    /// Calls that went out.
    calls: usize,
}

impl Reader {
    pub(crate) fn new(chat: Chat) -> Self {
        Self { chat, text: String::new(), read: 0, content: 0, reasoning: 0, calls: 0 }
    }

    pub(crate) fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Whether the model wants tools called.
    pub(crate) fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// Takes more of the answer, and gives what became certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Delta> {
        self.text.push_str(text);
        if text.is_empty() || self.text.len() - self.read < self.read / SHARE {
            return Vec::new();
        }
        self.read = self.text.len();
        let Some(mut reading) = self.chat.read(&self.text, true) else { return Vec::new() };
        // It may still be growing.
        reading.calls.pop();
        self.advance(reading)
    }

    /// Gives the rest. `is_whole`: the model ended the answer by itself.
    pub(crate) fn finish(&mut self, is_whole: bool) -> Vec<Delta> {
        if let Some(reading) = self.chat.read(&self.text, false).filter(|reading| is_whole && self.is_further(reading))
        {
            return self.advance(reading);
        }
        let partial = self.chat.read(&self.text, true).map(|mut reading| {
            reading.calls.pop();
            self.advance(reading)
        });
        match partial {
            // An answer that was not understood at all is still an answer.
            None | Some(_) if self.content + self.reasoning + self.calls == 0 && !self.text.is_empty() => {
                vec![Delta::Text(std::mem::take(&mut self.text))]
            }
            partial => partial.unwrap_or_default(),
        }
    }

    /// Whether the reading goes on from what went out.
    fn is_further(&self, reading: &Reading) -> bool {
        reading.content.len() >= self.content
            && reading.reasoning.len() >= self.reasoning
            && reading.calls.len() >= self.calls
    }

    fn advance(&mut self, reading: Reading) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if let Some(more) = reading.reasoning.get(self.reasoning..).filter(|more| !more.is_empty()) {
            self.reasoning += more.len();
            deltas.push(Delta::Reasoning(more.to_owned()));
        }
        if let Some(more) = reading.content.get(self.content..).filter(|more| !more.is_empty()) {
            self.content += more.len();
            deltas.push(Delta::Text(more.to_owned()));
        }
        for Call { id, name, arguments } in reading.calls.into_iter().skip(self.calls) {
            self.calls += 1;
            let id = if id.is_empty() { call_id() } else { id };
            deltas.push(Delta::ToolCall(ToolCall { id, name, arguments }));
        }
        deltas
    }
}

/// A name for a call. Nine letters and digits, because there are templates that take no other.
fn call_id() -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = RandomState::new().hash_one(0u8);
    let mut id = String::new();
    for _ in 0..9 {
        let digit = usize::try_from(rest % DIGITS.len() as u64).unwrap_or(0);
        id.extend(DIGITS.get(digit).map(|digit| char::from(*digit)));
        rest /= DIGITS.len() as u64;
    }
    id
}
