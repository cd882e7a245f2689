//! An answer that grows while the upstream writes it.

use crate::bindings::{wit_future, wit_stream};
use crate::{Delta, Error, Generation, Outcome, Reasoning, TokenBatch, TokenLogprob, ToolCall};

/// One piece of an answer, as the upstream sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// What it says.
    pub delta: Delta,
    /// How likely its tokens were, where the upstream tells.
    pub logprobs: Vec<TokenLogprob>,
    /// How many tokens it is, where the upstream tells. Else it is as many as it has `logprobs`, and at least one.
    pub tokens: Option<u32>,
}

impl Piece {
    /// Text of the answer.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Delta::Text(text.into()))
    }

    /// Reasoning.
    #[must_use]
    pub fn reasoning(text: impl Into<String>, signature: Option<String>) -> Self {
        Self::of(Delta::Reasoning(Reasoning { text: text.into(), signature }))
    }

    /// A whole tool call.
    #[must_use]
    pub fn tool_call(call: ToolCall) -> Self {
        Self::of(Delta::ToolCall(call))
    }

    fn of(delta: Delta) -> Self {
        Self { delta, logprobs: Vec::new(), tokens: None }
    }
}

/// Where the pieces of an answer go.
pub struct Pieces {
    writer: wit_bindgen::StreamWriter<TokenBatch>,
    batches: Vec<TokenBatch>,
    /// Tokens so far.
    sequence: u32,
}

impl Pieces {
    /// Adds pieces, and hands them on together.
    ///
    /// False when nobody reads the answer any more: the upstream's body should be dropped then.
    pub async fn push(&mut self, pieces: impl IntoIterator<Item = Piece>) -> bool {
        for piece in pieces {
            self.add(piece);
        }
        if self.batches.is_empty() {
            return true;
        }
        let batches = std::mem::take(&mut self.batches);
        self.writer.write_all(batches).await.is_empty()
    }

    /// Whether somebody still reads. It tells a reader that went away from an upstream that did.
    pub async fn is_read(&mut self) -> bool {
        let nothing = Delta::Text(String::new());
        let batch = TokenBatch { delta: nothing, sequence: self.sequence, tokens: 0, logprobs: Vec::new() };
        self.writer.write_one(batch).await.is_none()
    }

    fn add(&mut self, piece: Piece) {
        let Piece { delta, mut logprobs, tokens } = piece;
        let tokens = tokens.unwrap_or_else(|| u32::try_from(logprobs.len()).unwrap_or(u32::MAX).max(1));
        let sequence = self.sequence;
        self.sequence = sequence.saturating_add(tokens);
        if let (Some(TokenBatch { delta: Delta::Text(last), tokens: counted, logprobs: all, .. }), Delta::Text(text)) =
            (self.batches.last_mut(), &delta)
        {
            last.push_str(text);
            *counted = counted.saturating_add(tokens);
            all.append(&mut logprobs);
            return;
        }
        self.batches.push(TokenBatch { delta, sequence, tokens, logprobs });
    }
}

/// Begins an answer, which `write` then writes at the upstream's pace. What it returns is how the answer ended.
pub fn answer<F>(write: impl FnOnce(Pieces) -> F + 'static) -> Generation
where
    F: Future<Output = Result<Outcome, Error>> + 'static,
{
    let (writer, tokens) = wit_stream::new();
    let (ended, outcome) = wit_future::new(|| Err(Error::Internal("the adapter gave no outcome".to_owned())));
    let pieces = Pieces { writer, batches: Vec::new(), sequence: 0 };
    wit_bindgen::spawn_local(async move {
        let ending = write(pieces).await;
        // Nobody may want the outcome any more.
        let _ = ended.write(ending).await;
    });
    Generation { tokens, outcome }
}
