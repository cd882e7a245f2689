//! A generation that runs: one sequence of the context.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::Prepared;
use crate::counters::{End, Tally};
use crate::cutter::{Cut, Cutter};
use crate::error::Error;
use crate::projector::Vectors;
use crate::reader::Reader;
use crate::reply::TextReply;
use crate::request::{CacheSource, Delta, Finish, InterToken, Outcome, Stats, TextRequest, TokenBatch, TokenLogprob};
use crate::sampling::Resolved;
use crate::vision::{Image, Placed};
use crate::vocab::Token;

/// A request for text that waits for a slot.
pub(crate) struct Job {
    pub(crate) request: TextRequest,
    pub(crate) sampling: Resolved,
    /// Images that were looked at, in the order in which the request has them.
    pub(crate) images: Vec<Arc<Image>>,
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

    /// Ends it before it ran, as cancelled or with an error.
    pub(crate) fn end_early(self, error: Error, tally: &Tally) {
        if error == Error::Cancelled { self.cancel(tally) } else { self.fail(error, tally) }
    }

    /// Ends it before it ran, with an error.
    pub(crate) fn fail(self, error: Error, tally: &Tally) {
        tally.left_queue(End::Failed);
        self.reply.done(Err(error));
    }
}

/// A request for text that runs.
pub(crate) struct Slot<S> {
    /// The hint of whoever asked, which requests with the same beginning share.
    pub(crate) key: Option<String>,
    /// What an encoder still has to read before anything else.
    unread: Option<Vec<Token>>,
    /// Tokens that an encoder has read.
    encoded: usize,
    /// The prompt, then the tokens that were chosen; without those that a shift removed. Where an image is, numbers stand
    /// that are no tokens.
    tokens: Vec<Token>,
    /// Images in the prompt.
    placed: Vec<Placed>,
    /// Vectors of the next image that are computed.
    seen: usize,
    /// Tokens of these that are computed.
    held: usize,
    /// Tokens of the prompt.
    prompt: usize,
    /// Of these, those that were computed before.
    reused: usize,
    source: CacheSource,
    /// Tokens that the context holds.
    context: usize,
    is_shifted: bool,
    sampler: S,
    cutter: Cutter,
    reader: Option<Reader>,
    reply: TextReply,
    cancelled: Arc<AtomicBool>,
    /// Alternatives that are told for each token, where they are.
    logprobs: Option<usize>,
    /// How likely the tokens were that have not gone out.
    likely: VecDeque<TokenLogprob>,
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
    /// Times between two tokens.
    gaps: Vec<Duration>,
}

/// A part of an image that is computed next.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) vectors: Arc<Vectors>,
    /// The first vector of the part, and how many they are.
    pub(crate) from: usize,
    pub(crate) count: usize,
    /// Position of the image's first vector.
    pub(crate) start: usize,
    pub(crate) sequence: usize,
    /// Whether a token is chosen after the last of them.
    pub(crate) chooses: bool,
}

/// What a slot wants to compute next.
pub(crate) struct Feed<'a> {
    pub(crate) tokens: &'a [Token],
    /// Position of the first of them.
    pub(crate) position: usize,
    /// Whether a token is chosen after the last of them.
    pub(crate) chooses: bool,
}

impl<S> Slot<S> {
    /// Starts a request in a context of `context` tokens, which may be shifted.
    pub(crate) fn new(job: Job, prepared: Prepared<S>, context: u32, shifts: bool) -> Self {
        let Prepared { encoded, prompt, placed, sampler, reader } = prepared;
        let taken = prompt.len() + placed.iter().map(Placed::surplus).sum::<usize>();
        let room = if shifts { context } else { context.saturating_sub(count(taken)) };
        let limit = match job.request.max_tokens {
            Some(most) if shifts => most,
            Some(most) => most.min(room),
            None => room,
        };
        let mut stops = job.request.stop;
        stops.extend(reader.iter().flat_map(|reader| reader.chat().stops()).cloned());
        Self {
            key: job.request.context_key,
            unread: encoded,
            encoded: 0,
            held: 0,
            prompt: prompt.len(),
            tokens: prompt,
            placed,
            seen: 0,
            reused: 0,
            source: CacheSource::None,
            context: context as usize,
            is_shifted: false,
            sampler,
            cutter: Cutter::new(stops),
            reader,
            reply: job.reply,
            cancelled: job.cancelled,
            logprobs: job.request.logprobs.map(|most| most as usize),
            likely: VecDeque::new(),
            limit,
            written: 0,
            sent: 0,
            owed: 0,
            clock: Clock {
                accepted: job.accepted,
                started: Instant::now(),
                prefilled: None,
                first_token: None,
                last_token: None,
                gaps: Vec::new(),
            },
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    pub(crate) fn sampler(&mut self) -> &mut S {
        &mut self.sampler
    }

    /// How many alternatives of each token are told, where they are.
    pub(crate) fn logprobs(&self) -> Option<usize> {
        self.logprobs
    }

    /// Whether the text of this control token belongs to the answer.
    pub(crate) fn preserves(&self, token: Token) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.chat().preserves(token))
    }

    /// Whether it reads its prompt.
    pub(crate) fn is_prefilling(&self) -> bool {
        self.clock.prefilled.is_none()
    }

    /// When it started, by which slots share the room for prompts.
    pub(crate) fn started(&self) -> Instant {
        self.clock.started
    }

    /// The prompt without its last token, which is always computed anew: its output is needed.
    pub(crate) fn beginning(&self) -> &[Token] {
        self.tokens.get(..self.prompt.saturating_sub(1)).unwrap_or_default()
    }

    /// The tokens whose computation can be shared. After a shift nothing can: what is left was computed with what is not.
    pub(crate) fn held(&self) -> &[Token] {
        let held = if self.is_shifted { 0 } else { self.held };
        self.tokens.get(..held).unwrap_or_default()
    }

    /// Tokens that the sequence holds.
    pub(crate) fn held_count(&self) -> usize {
        self.held
    }

    /// The prompt, while it is read.
    pub(crate) fn coming(&self) -> &[Token] {
        if self.is_prefilling() { &self.tokens } else { &[] }
    }

    /// Takes what the encoder has to read.
    pub(crate) fn take_unread(&mut self) -> Option<Vec<Token>> {
        self.unread.take()
    }

    /// Takes note that the encoder has read `count` tokens.
    pub(crate) fn encoded(&mut self, count: usize) {
        self.encoded = count;
    }

    /// Takes note that the first `count` tokens of the prompt are computed already.
    pub(crate) fn reuse(&mut self, source: CacheSource, count: usize) {
        self.held = count;
        self.reused = count;
        self.source = source;
    }

    /// Whether the context has no room for another token.
    pub(crate) fn is_full(&self) -> bool {
        self.places(self.held) >= self.context
    }

    /// Places in the memory that the first `count` positions take.
    fn places(&self, count: usize) -> usize {
        count + self.placed.iter().filter(|placed| placed.end() <= count).map(Placed::surplus).sum::<usize>()
    }

    /// Whether its beginning of `count` positions ends inside an image.
    pub(crate) fn divides(&self, count: usize) -> bool {
        self.placed.iter().any(|placed| placed.at < count && count < placed.end())
    }

    /// The image that is computed next, if it is one.
    pub(crate) fn next_image(&self) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.at == self.held)
    }

    /// The next part of an image, of at most `most` vectors where it can be divided.
    pub(crate) fn sight(&self, sequence: usize, most: usize) -> Option<Sight> {
        let placed = self.next_image()?;
        let vectors = Arc::clone(&placed.vectors);
        let left = vectors.count.saturating_sub(self.seen);
        let count = if vectors.is_mutual { left } else { left.min(most) };
        let chooses = count == left && placed.end() == self.tokens.len();
        Some(Sight { vectors, from: self.seen, count, start: placed.at, sequence, chooses })
    }

    /// Takes note that `count` vectors of `sight` were computed.
    pub(crate) fn saw(&mut self, count: usize) {
        self.seen += count;
        let whole = self.next_image().filter(|placed| placed.vectors.count <= self.seen);
        if let Some(positions) = whole.map(|placed| placed.vectors.positions) {
            self.seen = 0;
            self.computed(positions);
        }
    }

    /// Makes room: of the tokens after the first `kept`, the older half goes. Returns how many.
    pub(crate) fn shift(&mut self, kept: usize) -> usize {
        let count = self.held.saturating_sub(kept).div_ceil(2);
        self.tokens.drain(kept.min(self.held)..(kept + count).min(self.held));
        self.held -= count;
        self.is_shifted = true;
        count
    }

    /// The next tokens to compute, at most `most`; none where an image comes first.
    pub(crate) fn feed(&self, most: usize) -> Feed<'_> {
        let image = self.placed.iter().map(|placed| placed.at).filter(|at| *at >= self.held).min();
        let end = self.tokens.len().min(self.held.saturating_add(most)).min(image.unwrap_or(usize::MAX));
        let tokens = self.tokens.get(self.held..end).unwrap_or_default();
        Feed { tokens, position: self.held, chooses: end == self.tokens.len() && !tokens.is_empty() }
    }

    /// Takes note that `count` tokens of `feed` were computed.
    pub(crate) fn computed(&mut self, count: usize) {
        self.held += count;
        if self.is_prefilling() && self.held >= self.prompt {
            self.clock.prefilled = Some(Instant::now());
        }
    }

    /// Takes the chosen token, which stands for `piece`. Breaks with the reason if the generation ended.
    pub(crate) fn take(
        &mut self,
        token: Token,
        piece: &[u8],
        likely: Option<TokenLogprob>,
        tally: &Tally,
    ) -> ControlFlow<Finish> {
        self.clock.tick(tally);
        self.written += 1;
        self.likely.extend(likely);
        let cut = self.cutter.push(piece);
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
        self.tokens.push(token);
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
            let rest = self.reader.as_mut().map(|reader| reader.finish(finish == Finish::Stop));
            let _ = self.send_all(rest.unwrap_or_default());
            if self.owed > 0 {
                let _ = self.send_owed(Delta::Text(String::new()));
            }
            if finish == Finish::Stop && self.reader.as_ref().is_some_and(Reader::has_called) {
                finish = Finish::ToolCalls;
            }
        }
        let (input_tokens, output_tokens) = (self.read_tokens(), self.written);
        let end = if finish == Finish::Cancelled { End::Cancelled } else { End::Completed };
        tally.ended(end, input_tokens, output_tokens);
        let outcome = Outcome { finish, input_tokens, output_tokens, stats: self.stats() };
        self.reply.done(Ok(outcome));
    }

    /// Ends the request with an error.
    pub(crate) fn fail(self, error: Error, tally: &Tally) {
        tally.ended(End::Failed, self.read_tokens(), self.written);
        self.reply.done(Err(error));
    }

    /// Tokens of the prompt that were read, computed now or before.
    fn read_tokens(&self) -> u32 {
        count(match self.encoded {
            0 if self.is_prefilling() => self.places(self.held),
            0 => self.places(self.prompt),
            // What the decoder begins with is not of the caller's prompt.
            encoded => encoded,
        })
    }

    fn send(&mut self, cut: Cut) -> ControlFlow<()> {
        self.owed += cut.tokens;
        match &mut self.reader {
            Some(reader) => {
                let deltas = reader.push(&cut.text);
                self.send_all(deltas)
            }
            None if cut.text.is_empty() => ControlFlow::Continue(()),
            None => self.send_owed(Delta::Text(cut.text)),
        }
    }

    fn send_all(&mut self, deltas: Vec<Delta>) -> ControlFlow<()> {
        deltas.into_iter().try_for_each(|delta| self.send_owed(delta))
    }

    fn send_owed(&mut self, delta: Delta) -> ControlFlow<()> {
        let logprobs = self.likely.drain(..self.likely.len().min(self.owed as usize)).collect();
        let batch = TokenBatch { delta, sequence: self.sent, tokens: self.owed, logprobs };
        self.sent += self.owed;
        self.owed = 0;
        self.reply.tokens(batch)
    }

    fn stats(&mut self) -> Stats {
        let inter_token = percentiles(std::mem::take(&mut self.clock.gaps));
        let reused = count(self.places(self.reused));
        let clock = &self.clock;
        let first = clock.first_token;
        Stats {
            queue: clock.started.duration_since(clock.accepted),
            time_to_first_token: first.map(|first| first.duration_since(clock.accepted)),
            prefill: clock.prefilled.unwrap_or_else(Instant::now).duration_since(clock.started),
            decode: first.zip(clock.last_token).map(|(first, last)| last.duration_since(first)).unwrap_or_default(),
            inter_token,
            prefill_tokens: self.read_tokens().saturating_sub(reused),
            cached_tokens: reused,
            cache_source: self.source,
        }
    }
}

impl Clock {
    /// A token came.
    fn tick(&mut self, tally: &Tally) {
        let now = Instant::now();
        match self.last_token {
            Some(last) => {
                let gap = now.duration_since(last);
                self.gaps.push(gap);
                tally.next_token(gap);
            }
            None => {
                self.first_token = Some(now);
                tally.first_token(now.duration_since(self.accepted));
            }
        }
        self.last_token = Some(now);
    }
}

fn percentiles(mut times: Vec<Duration>) -> Option<InterToken> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    let at = |percent: usize| times.get((last * percent).div_ceil(100)).copied().unwrap_or_default();
    Some(InterToken { p50: at(50), p99: at(99) })
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
