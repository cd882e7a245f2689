//! Iteration-level batching of generations over the slots of one context.
//!
//! [`Scheduler::step`] does a bounded piece of work and returns: it has no thread, no timer and no lock, so that a
//! native thread and a browser's worker can both drive it.
//!
//! A slot that ends a request keeps what its sequence holds. A later prompt that begins alike, whoever sent it, goes on
//! in that slot or starts with a copy; while another request still reads the same beginning, it waits for that.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::Backend;
use crate::config::{CacheMode, Policy};
use crate::context::{Batch, Failed};
use crate::counters::{Computed, Tally};
use crate::error::Error;
use crate::plan::Plan;
use crate::prefix::{self, Candidate, Source};
use crate::request::{CacheSource, Finish};
use crate::sampler::Choice;
use crate::slot::{Job, Slot};
use crate::snapshots::Snapshots;
use crate::vocab::Token;

/// How many tokens a sequence must hold for a snapshot of it to be worth its bytes.
const WORTH_SAVING: usize = 16;

/// The rules that a scheduler keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Tokens that one request may have.
    pub(crate) context: u32,
    pub(crate) slots: usize,
    /// Requests that run at the same time, at most `slots`.
    pub(crate) running: usize,
    /// Most prompt tokens in one step, while others write and while nobody does.
    pub(crate) chunk: usize,
    pub(crate) chunk_alone: usize,
    pub(crate) cache: CacheMode,
    pub(crate) snapshot_entries: usize,
    pub(crate) snapshot_bytes: u64,
    /// Tokens that stay when a full context is shifted; none where it is not.
    pub(crate) shift: Option<usize>,
}

impl Rules {
    pub(crate) fn new(plan: &Plan) -> Self {
        let (ubatch, batch) = (plan.ubatch as usize, plan.batch as usize);
        let (chunk, chunk_alone) = match (plan.prefill_chunk, plan.policy) {
            (Some(size), _) => (size as usize, size as usize),
            (None, Policy::LatencyFirst) => ((ubatch / 4).max(1), ubatch),
            (None, Policy::Balanced) => (ubatch, batch),
            (None, Policy::ThroughputFirst) => (batch, batch),
        };
        Self {
            context: plan.context,
            slots: plan.slots as usize,
            running: plan.running as usize,
            chunk,
            chunk_alone,
            cache: plan.cache_mode,
            snapshot_entries: plan.snapshot_entries as usize,
            snapshot_bytes: plan.snapshot_bytes,
            shift: plan.shift.map(|kept| kept as usize),
        }
    }

    fn keeps_live(&self) -> bool {
        matches!(self.cache, CacheMode::LiveSlotPrefix | CacheMode::LiveSlotAndSnapshot)
    }

    fn keeps_snapshots(&self) -> bool {
        matches!(self.cache, CacheMode::StateSnapshot | CacheMode::LiveSlotAndSnapshot)
    }
}

/// Runs the generations of one model.
pub(crate) struct Scheduler<B: Backend> {
    backend: B,
    rules: Rules,
    queue: VecDeque<Job>,
    /// Requests that have a claim on a slot, and wait for the beginning of their prompt.
    ready: Vec<Slot<B::Sampler>>,
    places: Vec<Place<B::Sampler>>,
    snapshots: Snapshots,
    batch: Batch,
    tally: Arc<Tally>,
    clock: u64,
}

/// A slot, and what its sequence holds.
struct Place<S> {
    slot: Option<Slot<S>>,
    /// The tokens that the sequence holds, while nothing runs in it.
    held: Vec<Token>,
    key: Option<String>,
    used: u64,
}

impl<S> Place<S> {
    /// Tokens that the sequence holds.
    fn held(&self) -> usize {
        self.slot.as_ref().map_or(self.held.len(), Slot::held_count)
    }
}

/// What one slot has in the batch.
struct Share {
    slot: usize,
    count: usize,
    /// Where in the batch the output is that its next token is chosen from.
    output: Option<usize>,
}

impl<B: Backend> Scheduler<B> {
    pub(crate) fn new(backend: B, rules: Rules, tally: Arc<Tally>) -> Self {
        tally.sized(rules.slots, rules.slots as u64 * u64::from(rules.context));
        Self {
            backend,
            rules,
            queue: VecDeque::new(),
            ready: Vec::new(),
            places: (0..rules.slots).map(|_| Place { slot: None, held: Vec::new(), key: None, used: 0 }).collect(),
            snapshots: Snapshots::new(rules.snapshot_entries, rules.snapshot_bytes),
            batch: Batch::default(),
            tally,
            clock: 0,
        }
    }

    /// Queues a request. Its listener hears everything else.
    pub(crate) fn submit(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// Does one piece of work: at most one computation, and at most one token for each slot. Returns whether there is
    /// more to do.
    pub(crate) fn step(&mut self) -> bool {
        self.end_cancelled();
        self.admit();
        self.settle();
        self.encode();
        let shares = self.fill_batch();
        let is_alone = shares.is_empty();
        if !is_alone {
            let (begun, tokens) = (Instant::now(), self.batch.len());
            self.compute(&shares);
            self.tally.computed(&Computed { slots: shares.len(), tokens, time: begun.elapsed() });
        }
        self.look(is_alone);
        self.tally.holds(self.places.iter().map(Place::held).sum(), self.snapshots.bytes());
        !self.queue.is_empty() || self.running() > 0
    }

    /// Ends everything as cancelled.
    pub(crate) fn close(&mut self) {
        for job in std::mem::take(&mut self.queue) {
            job.cancel(&self.tally);
        }
        for slot in std::mem::take(&mut self.ready) {
            slot.finish(Finish::Cancelled, &self.tally);
        }
        for index in 0..self.places.len() {
            self.finish(index, Finish::Cancelled);
        }
    }

    fn running(&self) -> usize {
        self.ready.len() + self.places.iter().filter(|place| place.slot.is_some()).count()
    }

    fn end_cancelled(&mut self) {
        let (cancelled, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(Job::is_cancelled);
        self.queue = waiting;
        for job in cancelled {
            job.cancel(&self.tally);
        }
        let (cancelled, ready): (Vec<_>, _) = std::mem::take(&mut self.ready).into_iter().partition(Slot::is_cancelled);
        self.ready = ready;
        for slot in cancelled {
            slot.finish(Finish::Cancelled, &self.tally);
        }
        for index in 0..self.places.len() {
            if self.slot(index).is_some_and(Slot::is_cancelled) {
                self.finish(index, Finish::Cancelled);
            }
        }
    }

    /// Gives waiting requests a claim on the free slots, in the order they came.
    fn admit(&mut self) {
        while self.running() < self.rules.running {
            let Some(job) = self.queue.pop_front() else { return };
            match self.backend.prepare(&job) {
                Ok(prepared) => {
                    self.tally.started();
                    self.ready.push(Slot::new(job, prepared, self.rules.context, self.rules.shift.is_some()));
                }
                Err(error) => job.fail(error, &self.tally),
            }
        }
    }

    /// Puts the requests that have a claim into slots, but for those that wait for what another one reads.
    fn settle(&mut self) {
        for slot in std::mem::take(&mut self.ready) {
            match self.find(&slot) {
                prefix::Plan::Start(source) => self.start(slot, source),
                prefix::Plan::Wait => self.ready.push(slot),
            }
        }
    }

    /// Has the encoder of a model that has one read the prompts of requests that started. There is one slot then: what the
    /// encoder read last is what every sequence looks at.
    fn encode(&mut self) {
        for index in 0..self.places.len() {
            let Some(slot) = self.slot_mut(index) else { continue };
            let Some(tokens) = slot.take_unread() else { continue };
            let (begun, cancelled) = (Instant::now(), slot.cancelled());
            let encoded = self.backend.encode(&tokens, cancelled);
            self.tally.computed(&Computed { slots: 1, tokens: tokens.len(), time: begun.elapsed() });
            match (encoded, self.slot_mut(index)) {
                (Ok(()), Some(slot)) => slot.encoded(tokens.len()),
                (Ok(()), None) => {}
                (Err(failed), _) => self.give_up(index, failed),
            }
        }
    }

    /// Computes a part of an image for the request that waits longest for it. Vectors and tokens do not go into one batch.
    fn look(&mut self, is_alone: bool) {
        let slots = self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.slot.as_ref()?)));
        let waiting = slots.filter(|(_, slot)| slot.next_image().is_some()).min_by_key(|(_, slot)| slot.started());
        let chunk = if is_alone { self.rules.chunk_alone } else { self.rules.chunk };
        let most = chunk.min(self.backend.batch_size());
        let Some((index, sight, cancelled)) =
            waiting.and_then(|(index, slot)| Some((index, slot.sight(index, most)?, slot.cancelled())))
        else {
            return;
        };
        let begun = Instant::now();
        let seen = self.backend.look(&sight, cancelled);
        self.tally.computed(&Computed { slots: 1, tokens: sight.count, time: begun.elapsed() });
        if let Err(failed) = seen {
            return self.give_up(index, failed);
        }
        if let Some(slot) = self.slot_mut(index) {
            slot.saw(sight.count);
        }
        let output = sight.chooses.then(|| sight.count.saturating_sub(1));
        self.advance(&Share { slot: index, count: 0, output });
    }

    fn find(&self, slot: &Slot<B::Sampler>) -> prefix::Plan {
        if !self.rules.keeps_live() {
            return prefix::Plan::Start(None);
        }
        let candidates = self.places.iter().enumerate().map(|(index, place)| Candidate {
            slot: index,
            held: place.slot.as_ref().map_or(&place.held, Slot::held),
            coming: place.slot.as_ref().map_or(&[], Slot::coming),
            is_free: place.slot.is_none(),
            is_akin: place.key.is_some() && place.key == slot.key,
            used: place.used,
        });
        prefix::find(slot.beginning(), candidates, |index, held, kept| {
            !slot.divides(kept) && self.backend.can_cut(index, held, kept)
        })
    }

    /// Starts a request in a free slot, with as much of its prompt as is computed already.
    fn start(&mut self, mut slot: Slot<B::Sampler>, source: Option<Source>) {
        let Some(target) = self.target(source) else {
            // There are as many free slots as there are claims.
            slot.fail(Error::Internal("there is no free slot".to_owned()), &self.tally);
            return;
        };
        let live = source.map_or(0, |source| source.shared);
        let continues = source.is_some_and(|source| source.slot == target && source.is_mostly_shared());
        if !continues || self.saved(&slot, live).is_some() {
            self.save(target);
        }
        let saved = self.saved(&slot, live);
        let reused = match (saved, source) {
            (Some((snapshot, shared)), _) => {
                self.restore(target, snapshot, shared).then_some((CacheSource::Snapshot, shared))
            }
            (None, Some(source)) => {
                if source.slot != target {
                    self.backend.copy(source.slot, target);
                }
                self.backend.cut(target, source.shared).then_some((CacheSource::Live, source.shared))
            }
            (None, None) => None,
        };
        match reused {
            Some((source, count)) => {
                self.tally.reused(count);
                slot.reuse(source, count);
            }
            None => drop(self.backend.cut(target, 0)),
        }
        self.clock += 1;
        if let Some(place) = self.places.get_mut(target) {
            *place = Place { key: slot.key.clone(), slot: Some(slot), held: Vec::new(), used: self.clock };
        }
    }

    /// The free slot for a request: the one that it continues, else the one whose loss costs least.
    fn target(&self, source: Option<Source>) -> Option<usize> {
        let continued = source.filter(|source| source.is_free);
        if let Some(source) = continued.filter(Source::is_mostly_shared) {
            return Some(source.slot);
        }
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.slot.is_none())
            .min_by_key(|(index, place)| {
                (continued.is_some_and(|source| source.slot == *index), !place.held.is_empty(), place.used)
            })
            .map(|(index, _)| index)
    }

    /// The snapshot that holds most of a prompt's beginning, if that is more than `live` tokens.
    fn saved(&self, slot: &Slot<B::Sampler>, live: usize) -> Option<(usize, usize)> {
        let can_cut = |held, kept| !slot.divides(kept) && self.backend.can_cut_saved(held, kept);
        let best = self.snapshots.best(slot.beginning(), can_cut);
        best.filter(|(_, shared)| *shared > live)
    }

    /// Saves what a free slot holds, where snapshots are kept, before it is lost.
    fn save(&mut self, index: usize) {
        let Some(place) = self.places.get(index).filter(|place| place.held.len() >= WORTH_SAVING) else { return };
        // A saved state does not hold where the vectors of an image stand in its grid.
        if place.held.iter().any(|token| *token < 0) {
            return;
        }
        if !self.rules.keeps_snapshots() || !self.snapshots.wants(&place.held) {
            return;
        }
        if let Some(state) = self.backend.save(index) {
            self.snapshots.keep(place.held.clone(), state);
        }
    }

    fn restore(&mut self, target: usize, snapshot: usize, shared: usize) -> bool {
        let Some(state) = self.snapshots.state(snapshot) else { return false };
        self.backend.cut(target, 0) && self.backend.restore(target, state) && self.backend.cut(target, shared)
    }

    /// Puts one token of each writing slot into the batch, then prompts, oldest first, into what is left.
    fn fill_batch(&mut self) -> Vec<Share> {
        self.batch.clear();
        let mut shares = Vec::new();
        let mut reading = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(slot) = &mut place.slot else { continue };
            if slot.is_prefilling() {
                reading.push((slot.started(), index));
                continue;
            }
            if let (true, Some(kept)) = (slot.is_full(), self.rules.shift) {
                let held = slot.held_count();
                let count = slot.shift(kept);
                self.backend.shift(index, kept, count, held);
            }
            shares.push(add_share(&mut self.batch, index, slot, 1));
        }
        reading.sort_unstable();
        let chunk = if shares.is_empty() { self.rules.chunk_alone } else { self.rules.chunk };
        let mut room = chunk.min(self.backend.batch_size().saturating_sub(self.batch.len()));
        for (_, index) in reading {
            let Some(slot) = self.places.get(index).and_then(|place| place.slot.as_ref()).filter(|_| room > 0) else {
                break;
            };
            if slot.next_image().is_some() {
                continue;
            }
            let share = add_share(&mut self.batch, index, slot, room);
            room -= share.count;
            shares.push(share);
        }
        shares
    }

    fn compute(&mut self, shares: &[Share]) {
        let waiting = shares.iter().filter_map(|share| self.slot(share.slot)).map(Slot::cancelled).collect();
        match self.backend.compute(&mut self.batch, waiting) {
            Ok(()) => {
                for share in shares {
                    self.advance(share);
                }
            }
            Err(failed) => match (shares, &failed) {
                ([share], _) => self.give_up(share.slot, failed),
                // Everyone in the batch is cancelled.
                (_, Failed::Cancelled) => self.end_cancelled(),
                (_, Failed::Broken(_)) => self.compute_apart(shares),
            },
        }
    }

    /// Ends the one request that a computation was for.
    fn give_up(&mut self, index: usize, failed: Failed) {
        match failed {
            Failed::Cancelled => self.finish(index, Finish::Cancelled),
            Failed::Broken(_) => self.fail(index, failed.into()),
        }
    }

    /// Computes the shares of a batch that failed one by one, so that only those fail that are at fault.
    fn compute_apart(&mut self, shares: &[Share]) {
        for share in shares {
            let Some(held) = self.slot(share.slot).map(Slot::held_count) else { continue };
            if !self.backend.cut(share.slot, held) {
                let reason = "the computation failed, and the model cannot go back to where it began".to_owned();
                self.fail(share.slot, Error::Internal(reason));
                continue;
            }
            self.batch.clear();
            if let Some(slot) = self.places.get(share.slot).and_then(|place| place.slot.as_ref()) {
                let share = add_share(&mut self.batch, share.slot, slot, share.count);
                self.compute(&[share]);
            }
        }
    }

    /// Takes a slot's part of a computed batch, and its next token.
    fn advance(&mut self, share: &Share) {
        let Some(slot) = self.places.get_mut(share.slot).and_then(|place| place.slot.as_mut()) else { return };
        slot.computed(share.count);
        let Some(output) = share.output else { return };
        match self.backend.sample(slot.sampler(), output) {
            Ok(Choice::Token(token)) if self.backend.is_end(token) => self.finish(share.slot, Finish::Stop),
            Ok(Choice::Token(token)) => {
                let likely = match slot.logprobs().map(|most| self.backend.logprobs(output, token, most)).transpose() {
                    Ok(likely) => likely,
                    Err(error) => return self.fail(share.slot, error),
                };
                let piece = self.backend.piece(token, slot.preserves(token));
                if let ControlFlow::Break(finish) = slot.take(token, &piece, likely, &self.tally) {
                    self.finish(share.slot, finish);
                }
            }
            // A grammar that is complete and cannot be ended by a token, or a bias against every token.
            Ok(Choice::Nothing) => self.finish(share.slot, Finish::Stop),
            Err(error) => self.fail(share.slot, error),
        }
    }

    /// Ends a request; its slot keeps what it holds.
    fn finish(&mut self, index: usize, finish: Finish) {
        let Some(place) = self.places.get_mut(index) else { return };
        let Some(slot) = place.slot.take() else { return };
        place.held = slot.held().to_vec();
        // A computation that was ended may have left a part of itself.
        if !self.backend.cut(index, place.held.len()) {
            place.held.clear();
        }
        if !self.rules.keeps_live() {
            self.save(index);
            self.forget(index);
        }
        slot.finish(finish, &self.tally);
    }

    fn fail(&mut self, index: usize, error: Error) {
        let slot = self.places.get_mut(index).and_then(|place| place.slot.take());
        if let Some(slot) = slot {
            self.forget(index);
            slot.fail(error, &self.tally);
        }
    }

    fn forget(&mut self, index: usize) {
        self.backend.cut(index, 0);
        if let Some(place) = self.places.get_mut(index) {
            place.held.clear();
        }
    }

    fn slot_mut(&mut self, index: usize) -> Option<&mut Slot<B::Sampler>> {
        self.places.get_mut(index)?.slot.as_mut()
    }

    fn slot(&self, index: usize) -> Option<&Slot<B::Sampler>> {
        self.places.get(index)?.slot.as_ref()
    }
}

fn add_share<S>(batch: &mut Batch, index: usize, slot: &Slot<S>, most: usize) -> Share {
    let feed = slot.feed(most);
    let mut last = None;
    for (offset, token) in feed.tokens.iter().enumerate() {
        let output = feed.chooses && offset + 1 == feed.tokens.len();
        last = Some(batch.push(*token, feed.position + offset, index, output));
    }
    Share { slot: index, count: feed.tokens.len(), output: last.filter(|_| feed.chooses) }
}
