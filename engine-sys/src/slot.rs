//! A generation that runs: one sequence of the context.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::counters::{End, Tally};
use crate::cutter::{Cut, Cutter};
use crate::error::Error;
use crate::reply::TextReply;
use crate::request::{Finish, Outcome, Stats, TextRequest, TokenBatch};
use crate::sampler::Sampler;
use crate::sampling::Resolved;
use crate::vocab::{Token, Vocab};

/// A request for text that waits for a slot.
pub(crate) struct Job {
    pub(crate) request: TextRequest,
    pub(crate) sampling: Resolved,
    pub(crate) reply: TextReply,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) accepted: Instant,
}

impl Job {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Ends it before it ran, as cancelled.
    pub(crate) fn cancel(self, tally: &Tally) {
        tally.left_queue(End::Cancelled);
        let stats = Stats { queue: self.accepted.elapsed(), ..Stats::default() };
        self.reply.done(Ok(Outcome { finish: Finish::Cancelled, input_tokens: 0, output_tokens: 0, stats }));
    }

    /// Ends it before it ran, with an error.
    pub(crate) fn fail(self, error: Error, tally: &Tally) {
        tally.left_queue(End::Failed);
        self.reply.done(Err(error));
    }
}

/// A request for text that runs.
pub(crate) struct Slot {
    prompt: Vec<Token>,
    /// Tokens of the prompt that are computed.
    fed: usize,
    /// The token that was chosen last and is not computed yet.
    next: Option<Token>,
    sampler: Sampler,
    cutter: Cutter,
    reply: TextReply,
    cancelled: Arc<AtomicBool>,
    /// Most tokens to write.
    limit: u32,
    /// Tokens written.
    written: u32,
    /// Of these, those that went out in batches.
    sent: u32,
    /// Of the rest, those whose text is decided: they go out with the next text.
    owed: u32,
    clock: Clock,
}

struct Clock {
    accepted: Instant,
    started: Instant,
    prefilled: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

/// What a slot wants to compute next.
pub(crate) struct Feed<'a> {
    pub(crate) tokens: &'a [Token],
    /// Position of the first of them.
    pub(crate) position: usize,
    /// Whether a token is chosen after the last of them.
    pub(crate) chooses: bool,
}

impl Slot {
    /// Starts a request whose prompt has these tokens, in a context of `context` tokens.
    pub(crate) fn new(job: Job, prompt: Vec<Token>, sampler: Sampler, context: u32) -> Self {
        let room = context.saturating_sub(u32::try_from(prompt.len()).unwrap_or(u32::MAX));
        Self {
            prompt,
            fed: 0,
            next: None,
            sampler,
            cutter: Cutter::new(job.request.stop),
            reply: job.reply,
            cancelled: job.cancelled,
            limit: job.request.max_tokens.map_or(room, |most| most.min(room)),
            written: 0,
            sent: 0,
            owed: 0,
            clock: Clock {
                accepted: job.accepted,
                started: Instant::now(),
                prefilled: None,
                first_token: None,
                last_token: None,
            },
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> &Arc<AtomicBool> {
        &self.cancelled
    }

    pub(crate) fn sampler(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// Whether it reads its prompt.
    pub(crate) fn is_prefilling(&self) -> bool {
        self.fed < self.prompt.len()
    }

    /// When it started, by which slots share the room for prompts.
    pub(crate) fn started(&self) -> Instant {
        self.clock.started
    }

    /// The next tokens to compute, at most `most`.
    pub(crate) fn feed(&self, most: usize) -> Feed<'_> {
        if self.is_prefilling() {
            let end = self.prompt.len().min(self.fed.saturating_add(most));
            let tokens = self.prompt.get(self.fed..end).unwrap_or_default();
            return Feed { tokens, position: self.fed, chooses: end == self.prompt.len() };
        }
        let position = self.prompt.len() + (self.written as usize).saturating_sub(1);
        Feed { tokens: self.next.as_slice(), position, chooses: true }
    }

    /// Takes note that `count` tokens of `feed` were computed.
    pub(crate) fn computed(&mut self, count: usize) {
        if self.is_prefilling() {
            self.fed += count;
            if !self.is_prefilling() {
                self.clock.prefilled = Some(Instant::now());
            }
        } else {
            self.next = None;
        }
    }

    /// Takes the chosen token. Breaks with the reason if the generation ended.
    pub(crate) fn take(&mut self, token: Token, vocab: &Vocab) -> ControlFlow<Finish> {
        if vocab.is_end(token) {
            return ControlFlow::Break(Finish::Stop);
        }
        let now = Instant::now();
        self.clock.first_token.get_or_insert(now);
        self.clock.last_token = Some(now);
        self.written += 1;
        let cut = self.cutter.push(&vocab.piece(token));
        let stopped = cut.stopped;
        if self.send(cut).is_break() {
            return ControlFlow::Break(Finish::Cancelled);
        }
        if stopped {
            return ControlFlow::Break(Finish::Stop);
        }
        if self.written >= self.limit {
            return ControlFlow::Break(Finish::Length);
        }
        self.next = Some(token);
        ControlFlow::Continue(())
    }

    /// Ends the request.
    pub(crate) fn finish(mut self, mut finish: Finish, tally: &Tally) {
        if finish != Finish::Cancelled {
            let rest = self.cutter.finish();
            // The text that was held may hold a stop text whose match was still open.
            if rest.stopped {
                finish = Finish::Stop;
            }
            // Whoever breaks now hears the end next anyway.
            let _ = self.send(rest);
            let _ = self.send_owed(String::new());
        }
        let (input_tokens, output_tokens) = (self.fed_tokens(), self.written);
        let end = if finish == Finish::Cancelled { End::Cancelled } else { End::Completed };
        tally.ended(end, input_tokens, output_tokens);
        let outcome = Outcome { finish, input_tokens, output_tokens, stats: self.stats() };
        self.reply.done(Ok(outcome));
    }

    /// Ends the request with an error.
    pub(crate) fn fail(self, error: Error, tally: &Tally) {
        tally.ended(End::Failed, self.fed_tokens(), self.written);
        self.reply.done(Err(error));
    }

    fn fed_tokens(&self) -> u32 {
        u32::try_from(self.fed).unwrap_or(u32::MAX)
    }

    fn send(&mut self, cut: Cut) -> ControlFlow<()> {
        self.owed += cut.tokens;
        if cut.text.is_empty() { ControlFlow::Continue(()) } else { self.send_owed(cut.text) }
    }

    fn send_owed(&mut self, text: String) -> ControlFlow<()> {
        if text.is_empty() && self.owed == 0 {
            return ControlFlow::Continue(());
        }
        let batch = TokenBatch { text, sequence: self.sent, tokens: self.owed };
        self.sent += self.owed;
        self.owed = 0;
        self.reply.tokens(batch)
    }

    fn stats(&self) -> Stats {
        let clock = &self.clock;
        let first = clock.first_token;
        Stats {
            queue: clock.started.duration_since(clock.accepted),
            time_to_first_token: first.map(|first| first.duration_since(clock.accepted)),
            prefill: clock.prefilled.unwrap_or_else(Instant::now).duration_since(clock.started),
            decode: first.zip(clock.last_token).map(|(first, last)| last.duration_since(first)).unwrap_or_default(),
            prefill_tokens: self.fed_tokens(),
        }
    }
}
