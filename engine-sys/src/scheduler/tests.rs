//! Random schedules over a model that is only a rule: the next token follows from the whole sequence.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers of the rule are small")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use crate::backend::Prepared;
use crate::projector::Vectors;
use crate::reply::TextReply;
use crate::request::{Delta, Input, Listener, Outcome, TextRequest, TokenBatch, TokenLogprob};
use crate::sampling::ModelSampling;
use crate::slot::Sight;
use crate::vision::Placed;

use super::*;

const CONTEXT: u32 = 48;
const BATCH: usize = 16;
const END: Token = 0;
/// A prompt with this token cannot be computed.
const POISON: Token = 99;

/// The rule. It checks that what the scheduler computes fits what the sequences hold.
struct Rule {
    sequences: Vec<Vec<Token>>,
    /// Of each output of the last batch: the sequence up to it.
    outputs: HashMap<usize, Vec<Token>>,
    /// Whether a sequence can be cut anywhere, or only forgotten.
    cuts: bool,
    /// Whether there are images, and of each sequence, how many vectors of its next one are computed.
    sees: bool,
    seen: Vec<usize>,
}

/// The prompt's characters from here on are images, where the rule sees.
const IMAGES: u8 = 200;

/// An image: its vectors say which it is.
fn image(character: u8) -> Vectors {
    let count = 3 + usize::from(character % 5);
    let positions = if character.is_multiple_of(2) { count } else { 2 };
    Vectors::new(vec![f32::from(character); count], count, positions, character % 4 == 3)
}

/// A prompt's tokens, its images, and the places that they take.
fn tokenized(prompt: &[u8], sees: bool) -> (Vec<Token>, Vec<Placed>, usize) {
    let (mut tokens, mut placed, mut surplus) = (Vec::new(), Vec::new(), 0);
    for character in prompt {
        if sees && *character >= IMAGES {
            let image = Placed { at: tokens.len(), vectors: Arc::new(image(*character)) };
            tokens.extend(vec![-Token::from(*character); image.vectors.positions]);
            surplus += image.surplus();
            placed.push(image);
        } else {
            tokens.push(Token::from(*character));
        }
    }
    let taken = tokens.len() + surplus;
    (tokens, placed, taken)
}

/// What the rule says after a sequence.
fn next(sequence: &[Token]) -> Token {
    let sum = sequence.iter().fold(7i64, |sum, token| (sum * 31 + i64::from(*token)) % 1_000_003);
    if sum % 13 == 0 { END } else { i32::try_from(sum % 90).unwrap() + 1 }
}

impl Backend for Rule {
    type Sampler = ();

    fn prepare(&mut self, job: &Job) -> Result<Prepared<()>, Error> {
        let Input::Prompt(prompt) = &job.request.input else { unreachable!("prompts only") };
        let characters: Vec<u8> = prompt.chars().map(|c| c as u8).collect();
        let (prompt, placed, taken) = tokenized(&characters, self.sees);
        if taken >= CONTEXT as usize {
            return Err(Error::invalid("too long"));
        }
        Ok(Prepared { encoded: None, prompt, placed, sampler: (), reader: None })
    }

    fn batch_size(&self) -> usize {
        BATCH
    }

    fn encode(&mut self, _: &[Token], _: Arc<AtomicBool>) -> Result<(), Failed> {
        unreachable!("a rule has no encoder")
    }

    fn compute(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        assert!(batch.len() <= BATCH && !batch.is_empty(), "a batch of {}", batch.len());
        self.outputs.clear();
        let cancelled = waiting.iter().all(|cancelled| cancelled.load(Ordering::Relaxed));
        for (index, (token, position, sequence, output)) in batch.tokens().enumerate() {
            let held = &mut self.sequences[sequence as usize];
            assert_eq!(held.len(), position as usize, "tokens follow what sequence {sequence} holds");
            assert!(held.len() < CONTEXT as usize, "a context is not exceeded");
            if token == POISON {
                return Err(Failed::Broken("poison".to_owned()));
            }
            held.push(token);
            if cancelled && index == 1 {
                return Err(Failed::Cancelled);
            }
            if output {
                self.outputs.insert(index, held.clone());
            }
        }
        Ok(())
    }

    fn look(&mut self, sight: &Sight, waiting: Arc<AtomicBool>) -> Result<(), Failed> {
        let Sight { vectors, from, count, start, sequence, chooses } = sight;
        let (held, seen) = (&mut self.sequences[*sequence], &mut self.seen[*sequence]);
        assert_eq!((held.len(), *seen), (*start, *from), "an image follows what sequence {sequence} holds");
        assert!(*count > 0 && *count <= BATCH && from + count <= vectors.count);
        assert!(!vectors.is_mutual || *count == vectors.count, "it is computed at once");
        self.outputs.clear();
        if waiting.load(Ordering::Relaxed) {
            *seen += count / 2;
            return Err(Failed::Cancelled);
        }
        *seen += count;
        if *seen == vectors.count {
            *seen = 0;
            held.extend(vec![-(vectors.values[0] as Token); vectors.positions]);
            if *chooses {
                self.outputs.insert(count - 1, held.clone());
            }
        } else {
            assert!(!chooses);
        }
        Ok(())
    }

    fn sample(&mut self, (): &mut (), index: usize) -> Result<Choice, Error> {
        Ok(Choice::Token(next(&self.outputs[&index])))
    }

    fn is_end(&self, token: Token) -> bool {
        token == END
    }

    fn logprobs(&mut self, index: usize, token: Token, most: usize) -> Result<TokenLogprob, Error> {
        assert_eq!(next(&self.outputs[&index]), token, "the output is still there");
        Ok(TokenLogprob { token: token.to_string(), logprob: 0.0, top: vec![(token.to_string(), 0.0); most] })
    }

    fn piece(&self, token: Token, _: bool) -> Vec<u8> {
        format!("{token} ").into_bytes()
    }

    fn can_cut(&self, _: usize, held: usize, kept: usize) -> bool {
        self.cuts || held == kept || kept == 0
    }

    fn can_cut_saved(&self, held: usize, kept: usize) -> bool {
        self.cuts || held == kept
    }

    fn cut(&mut self, sequence: usize, kept: usize) -> bool {
        let held = &mut self.sequences[sequence];
        let divided = std::mem::take(&mut self.seen[sequence]) > 0 && !self.cuts;
        if (held.len() == kept && !divided) || kept == 0 || (self.cuts && kept < held.len()) {
            held.truncate(kept);
            return true;
        }
        assert!(kept < held.len() || divided, "a sequence is not cut beyond its end");
        held.clear();
        false
    }

    fn copy(&mut self, from: usize, to: usize) {
        self.sequences[to] = self.sequences[from].clone();
        self.seen[to] = 0;
    }

    fn shift(&mut self, sequence: usize, kept: usize, count: usize, held: usize) {
        assert_eq!(self.sequences[sequence].len(), held);
        self.sequences[sequence].drain(kept..kept + count);
    }

    fn save(&mut self, sequence: usize) -> Option<Vec<u8>> {
        Some(self.sequences[sequence].iter().map(|token| *token as u8).collect())
    }

    fn restore(&mut self, sequence: usize, state: &[u8]) -> bool {
        self.sequences[sequence] = state.iter().map(|token| Token::from(*token)).collect();
        true
    }
}

/// What a request heard.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    tokens: u32,
    ends: Vec<Result<Outcome, Error>>,
}

struct Ear(Arc<Mutex<Heard>>);

impl Listener for Ear {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        let mut heard = self.0.lock().unwrap();
        assert!(heard.ends.is_empty(), "nothing comes after the end");
        assert_eq!(batch.sequence, heard.tokens, "no token is lost");
        heard.tokens += batch.tokens;
        let Delta::Text(text) = &batch.delta else { unreachable!("a rule writes text only") };
        heard.text.push_str(text);
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        self.0.lock().unwrap().ends.push(result);
    }
}

#[derive(Debug, Clone)]
struct Asked {
    prompt: Vec<u8>,
    most: u32,
    key: Option<bool>,
    /// Steps after which it comes, and after which it is cancelled from then on.
    after: usize,
    cancel: Option<usize>,
}

#[derive(Debug, Clone)]
struct Schedule {
    asked: Vec<Asked>,
    rules: Rules,
    cuts: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    // Prompts that often begin alike.
    let beginning = prop::sample::select(vec![0usize, 8, 12, 20, 36]);
    let rest =
        prop::collection::vec(prop_oneof![20 => 1u8..5, 2 => IMAGES..IMAGES + 8, 1 => Just(POISON as u8)], 1..24);
    (beginning, rest, 1u32..70, prop::option::of(any::<bool>()), 0usize..12, prop::option::weighted(0.3, 0usize..20))
        .prop_map(|(beginning, rest, most, key, after, cancel)| {
            let prompt =
                (0..beginning).map(|index| (index % 7) as u8 + 1).chain(rest).take(CONTEXT as usize + 2).collect();
            Asked { prompt, most, key, after, cancel }
        })
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let modes =
        [CacheMode::Disabled, CacheMode::LiveSlotPrefix, CacheMode::StateSnapshot, CacheMode::LiveSlotAndSnapshot];
    let rules =
        (1usize..5, 1usize..=BATCH, prop::sample::select(modes.to_vec()), prop::option::of(0usize..20), 1usize..4)
            .prop_map(|(slots, chunk, cache, shift, entries)| Rules {
                context: CONTEXT,
                slots,
                running: slots.div_ceil(2).max(slots - 1),
                chunk,
                chunk_alone: BATCH,
                cache,
                snapshot_entries: entries,
                snapshot_bytes: 100,
                shift,
            });
    (prop::collection::vec(asked(), 1..12), rules, any::<bool>()).prop_map(|(asked, rules, cuts)| Schedule {
        asked,
        rules,
        cuts,
    })
}

struct Running {
    heard: Arc<Mutex<Heard>>,
    cancelled: Arc<AtomicBool>,
}

fn job(asked: &Asked) -> (Job, Running) {
    let prompt = asked.prompt.iter().map(|byte| char::from(*byte)).collect();
    let request = TextRequest {
        max_tokens: Some(asked.most),
        context_key: asked.key.map(|key| key.to_string()),
        ..TextRequest::new(Input::Prompt(prompt))
    };
    let sampling = ModelSampling::default().resolve(&request, 100).unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let cancelled = Arc::new(AtomicBool::new(false));
    let reply = TextReply::new(Box::new(Ear(Arc::clone(&heard))));
    let job = Job {
        request,
        sampling,
        images: Vec::new(),
        reply,
        cancelled: Arc::clone(&cancelled),
        accepted: Instant::now(),
    };
    (job, Running { heard, cancelled })
}

fn scheduler(rules: Rules, cuts: bool, tally: &Arc<Tally>) -> Scheduler<Rule> {
    let sequences = vec![Vec::new(); rules.slots];
    let (outputs, sees, seen) = (HashMap::new(), rules.shift.is_none(), vec![0; rules.slots]);
    Scheduler::new(Rule { sequences, outputs, cuts, sees, seen }, rules, Arc::clone(tally))
}

/// The text and the tokens that a request has when nothing else runs and nothing is kept.
fn alone(asked: &Asked, rules: Rules) -> (String, u32) {
    let rules = Rules { slots: 1, running: 1, cache: CacheMode::Disabled, ..rules };
    let tally = Arc::new(Tally::default());
    let mut scheduler = scheduler(rules, true, &tally);
    let (job, running) = job(asked);
    assert!(tally.queue(1));
    scheduler.submit(job);
    while scheduler.step() {}
    let heard = running.heard.lock().unwrap();
    (heard.text.clone(), heard.tokens)
}

fn run(schedule: &Schedule) {
    let Schedule { asked, rules, cuts } = schedule;
    let tally = Arc::new(Tally::default());
    let mut scheduler = scheduler(*rules, *cuts, &tally);
    let mut waiting: Vec<(usize, &Asked)> = asked.iter().enumerate().collect();
    let mut running: HashMap<usize, (Running, usize)> = HashMap::new();
    let mut steps = 0;
    loop {
        waiting.retain(|(index, asked)| {
            let comes = asked.after <= steps;
            if comes {
                let (job, handle) = job(asked);
                assert!(tally.queue(u64::MAX));
                scheduler.submit(job);
                running.insert(*index, (handle, steps));
            }
            !comes
        });
        for (index, (handle, came)) in &running {
            if asked[*index].cancel.is_some_and(|after| came + after <= steps) {
                handle.cancelled.store(true, Ordering::Relaxed);
            }
        }
        let more = scheduler.step();
        assert!(scheduler.running() <= rules.running, "no more run than may");
        steps += 1;
        assert!(steps < 10_000, "no request waits for ever");
        if !more && waiting.is_empty() {
            break;
        }
    }
    for (index, (handle, _)) in &running {
        let heard = handle.heard.lock().unwrap();
        assert_eq!(heard.ends.len(), 1, "a request ends once");
        let (text, tokens) = alone(&asked[*index], *rules);
        match &heard.ends[0] {
            Ok(outcome) if outcome.finish == Finish::Cancelled => assert!(text.starts_with(&heard.text)),
            Ok(outcome) => {
                assert_eq!((&heard.text, heard.tokens), (&text, tokens), "request {index} is answered as it is alone");
                assert_eq!(outcome.output_tokens, tokens);
                let stats = outcome.stats;
                assert_eq!(stats.cached_tokens + stats.prefill_tokens, outcome.input_tokens);
                assert_eq!(stats.cached_tokens > 0, stats.cache_source != CacheSource::None);
            }
            // Without cuts, a batch that failed takes those with it that cannot go back.
            Err(_) => assert!(
                !cuts
                    || asked[*index].prompt.contains(&(POISON as u8))
                    || tokenized(&asked[*index].prompt, rules.shift.is_none()).2 >= CONTEXT as usize,
                "only a request that cannot be computed fails"
            ),
        }
    }
    let counters = tally.read();
    assert_eq!((counters.running, counters.queued), (0, 0), "no slot leaks");
    assert_eq!(counters.completed + counters.cancelled + counters.failed, asked.len() as u64);
    assert!(scheduler.ready.is_empty());
    for (index, place) in scheduler.places.iter().enumerate() {
        assert!(place.slot.is_none());
        assert_eq!(place.held, scheduler.backend.sequences[index], "what is held is what is known to be held");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_as_it_is_alone(schedule in schedules()) {
        run(&schedule);
    }
}

fn rules(slots: usize, cache: CacheMode) -> Rules {
    Rules {
        context: CONTEXT,
        slots,
        running: slots,
        chunk: BATCH,
        chunk_alone: BATCH,
        cache,
        snapshot_entries: 4,
        snapshot_bytes: 1000,
        shift: None,
    }
}

fn ask(prompt: Vec<u8>) -> Asked {
    Asked { prompt, most: 4, key: None, after: 0, cancel: None }
}

#[test]
fn callers_at_once_compute_their_common_beginning_once() {
    let beginning: Vec<u8> = (0..40).map(|index| index % 7 + 1).collect();
    let tally = Arc::new(Tally::default());
    let mut scheduler = scheduler(rules(4, CacheMode::LiveSlotPrefix), true, &tally);
    let mut running = Vec::new();
    for last in 1..=4 {
        let (job, handle) = job(&ask(beginning.iter().copied().chain([last]).collect()));
        assert!(tally.queue(u64::MAX));
        scheduler.submit(job);
        running.push(handle);
    }
    while scheduler.step() {}
    let counters = tally.read();
    assert_eq!((counters.completed, counters.input_tokens, counters.cached_tokens), (4, 4 * 41, 3 * 40));
}

#[test]
fn what_a_slot_loses_comes_back_from_a_snapshot() {
    for cache in [CacheMode::StateSnapshot, CacheMode::LiveSlotAndSnapshot] {
        let tally = Arc::new(Tally::default());
        let mut scheduler = scheduler(rules(1, cache), true, &tally);
        let mut sources = Vec::new();
        for first in [1, 2, 1] {
            let (job, handle) = job(&ask(std::iter::once(first).chain([3; 20]).collect()));
            assert!(tally.queue(u64::MAX));
            scheduler.submit(job);
            while scheduler.step() {}
            let heard = handle.heard.lock().unwrap();
            sources.push(heard.ends[0].as_ref().unwrap().stats.cache_source);
        }
        assert_eq!(sources, [CacheSource::None, CacheSource::None, CacheSource::Snapshot], "{cache:?}");
    }
}
