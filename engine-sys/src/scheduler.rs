//! Iteration-level batching of generations over the slots of one context.
//!
//! [`Scheduler::step`] does a bounded piece of work and returns: it has no thread, no timer and no lock, so that a
//! native thread and a browser's worker can both drive it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Batch, Context, Failed};
use crate::counters::Tally;
use crate::error::Error;
use crate::model::Model;
use crate::plan::Plan;
use crate::prompt;
use crate::request::{Finish, Input};
use crate::sampler::{Choice, Constraint, Sampler};
use crate::slot::{Job, Slot};
use crate::template::Template;

/// Runs the generations of one model.
pub(crate) struct Scheduler {
    /// Freed before the model, which it keeps.
    context: Context,
    template: Result<Template, String>,
    model: Rc<Model>,
    context_tokens: u32,
    /// Most prompt tokens in one step: running requests wait for no more than these, and so does a cancel.
    prefill_share: usize,
    queue: VecDeque<Job>,
    slots: Vec<Option<Slot>>,
    batch: Batch,
    tally: Arc<Tally>,
}

/// What one slot has in the batch.
struct Share {
    slot: usize,
    count: usize,
    /// Where in the batch the output is that its next token is chosen from.
    output: Option<usize>,
}

impl Scheduler {
    pub(crate) fn new(model: Rc<Model>, context: Context, plan: &Plan, tally: Arc<Tally>) -> Self {
        let template = match model.chat_template() {
            Some(_) => Template::new(&model),
            None => Err(String::new()),
        };
        Self {
            context,
            template,
            model,
            context_tokens: plan.context,
            prefill_share: plan.ubatch as usize,
            queue: VecDeque::new(),
            slots: (0..plan.slots).map(|_| None).collect(),
            batch: Batch::default(),
            tally,
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
        let shares = self.fill_batch();
        if !shares.is_empty() {
            self.compute(&shares);
        }
        !self.queue.is_empty() || self.slots.iter().any(Option::is_some)
    }

    /// Ends everything as cancelled.
    pub(crate) fn close(&mut self) {
        for job in std::mem::take(&mut self.queue) {
            job.cancel(&self.tally);
        }
        for index in 0..self.slots.len() {
            self.finish(index, Finish::Cancelled);
        }
    }

    fn end_cancelled(&mut self) {
        let (cancelled, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(Job::is_cancelled);
        self.queue = waiting;
        for job in cancelled {
            job.cancel(&self.tally);
        }
        for index in 0..self.slots.len() {
            if self.slot(index).is_some_and(|slot| slot.is_cancelled()) {
                self.finish(index, Finish::Cancelled);
            }
        }
    }

    /// Gives waiting requests the free slots, in the order they came.
    fn admit(&mut self) {
        while let Some(free) = self.slots.iter().position(Option::is_none) {
            let Some(job) = self.queue.pop_front() else { return };
            match self.prepare(&job) {
                Ok((prompt, sampler)) => {
                    self.tally.started();
                    let slot = Slot::new(job, prompt, sampler, self.context_tokens);
                    if let Some(place) = self.slots.get_mut(free) {
                        *place = Some(slot);
                    }
                }
                Err(error) => job.fail(error, &self.tally),
            }
        }
    }

    fn prepare(&self, job: &Job) -> Result<(Vec<i32>, Sampler), Error> {
        let request = &job.request;
        let template = match (&request.input, &self.template) {
            (Input::Chat(_), Err(reason)) if !reason.is_empty() => {
                return Err(Error::Unsupported(format!(
                    "the model's chat template cannot be read; use query with a prompt that is formatted for it: {reason}"
                )));
            }
            (_, template) => template.as_ref().ok(),
        };
        let vocab = self.model.vocab();
        let tokens = prompt::tokenize(vocab, template, &request.input, self.context_tokens)?;
        let constraint = match (&request.grammar, &request.json_schema) {
            (Some(grammar), _) => Constraint::Grammar(grammar),
            (None, Some(schema)) => Constraint::Schema(schema),
            (None, None) => Constraint::None,
        };
        let mut sampler = Sampler::new(vocab, &job.sampling, constraint, self.context_tokens)?;
        sampler.observe(&tokens)?;
        Ok((tokens, sampler))
    }

    /// Puts one token of each writing slot into the batch, then prompts, oldest first, into what is left.
    fn fill_batch(&mut self) -> Vec<Share> {
        self.batch.clear();
        let mut shares = Vec::new();
        let mut reading = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            match slot {
                Some(slot) if slot.is_prefilling() => reading.push((slot.started(), index)),
                Some(slot) => shares.push(add_share(&mut self.batch, index, slot, 1)),
                None => {}
            }
        }
        reading.sort_unstable();
        let mut room = self.prefill_share.min(self.context.batch_size().saturating_sub(self.batch.len()));
        for (_, index) in reading {
            let Some(slot) = self.slots.get(index).and_then(Option::as_ref).filter(|_| room > 0) else { break };
            let share = add_share(&mut self.batch, index, slot, room);
            room -= share.count;
            shares.push(share);
        }
        shares
    }

    fn compute(&mut self, shares: &[Share]) {
        let waiting = shares
            .iter()
            .filter_map(|share| self.slots.get(share.slot)?.as_ref())
            .map(|slot| Arc::clone(slot.cancelled()))
            .collect();
        match self.context.compute(&mut self.batch, waiting) {
            Ok(()) => {
                for share in shares {
                    self.advance(share);
                }
            }
            // Everyone in the batch is cancelled; the next step ends them.
            Err(Failed::Cancelled) => self.end_cancelled(),
            Err(Failed::Broken(reason)) => {
                for share in shares {
                    self.fail(share.slot, Error::Internal(format!("the computation failed: {reason}")));
                }
            }
        }
    }

    /// Takes a slot's part of a computed batch, and its next token.
    fn advance(&mut self, share: &Share) {
        let Some(slot) = self.slots.get_mut(share.slot).and_then(Option::as_mut) else { return };
        slot.computed(share.count);
        let Some(output) = share.output else { return };
        match slot.sampler().sample(&mut self.context, output) {
            Ok(Choice::Token(token)) => {
                if let ControlFlow::Break(finish) = slot.take(token, self.model.vocab()) {
                    self.finish(share.slot, finish);
                }
            }
            // A grammar that is complete and cannot be ended by a token, or a bias against every token.
            Ok(Choice::Nothing) => self.finish(share.slot, Finish::Stop),
            Err(error) => self.fail(share.slot, error),
        }
    }

    fn finish(&mut self, index: usize, finish: Finish) {
        if let Some(slot) = self.vacate(index) {
            slot.finish(finish, &self.tally);
        }
    }

    fn fail(&mut self, index: usize, error: Error) {
        if let Some(slot) = self.vacate(index) {
            slot.fail(error, &self.tally);
        }
    }

    /// Takes a request out of its slot. Its part of the KV cache is forgotten here, which is where keeping it for a
    /// prompt with the same start would begin.
    fn vacate(&mut self, index: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(index)?.take()?;
        self.context.clear_sequence(index);
        Some(slot)
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)?.as_ref()
    }
}

fn add_share(batch: &mut Batch, index: usize, slot: &Slot, most: usize) -> Share {
    let feed = slot.feed(most);
    let mut last = None;
    for (offset, token) in feed.tokens.iter().enumerate() {
        let output = feed.chooses && offset + 1 == feed.tokens.len();
        last = Some(batch.push(*token, feed.position + offset, index, output));
    }
    Share { slot: index, count: feed.tokens.len(), output: last.filter(|_| feed.chooses) }
}
