//! What the scheduler needs of a model: computing, choosing, and a memory with one sequence for each slot.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::context::{Batch, Context, Failed};
use crate::conversation;
use crate::error::Error;
use crate::model::Model;
use crate::plan::Plan;
use crate::prompt::{self, Prompt};
use crate::reader::Reader;
use crate::request::{Input, TokenLogprob};
use crate::sampler::{Choice, Constraint, Sampler};
use crate::slot::{Job, Sight};
use crate::template::Template;
use crate::vision::Placed;
use crate::vocab::Token;

/// A request that can start.
pub(crate) struct Prepared<S> {
    /// What an encoder reads first; none where the model has none.
    pub(crate) encoded: Option<Vec<Token>>,
    /// The tokens of its prompt; after an encoder, the token that an answer begins with.
    pub(crate) prompt: Vec<Token>,
    /// Images in it.
    pub(crate) placed: Vec<Placed>,
    /// What chooses its answer.
    pub(crate) sampler: S,
    /// What takes its answer apart, where it is more than text.
    pub(crate) reader: Option<Reader>,
}

/// A model that computes batches and remembers sequences. Sequences are numbered as slots are.
pub(crate) trait Backend {
    /// Chooses the tokens of one request.
    type Sampler;

    /// Makes a request ready to start.
    fn prepare(&mut self, job: &Job) -> Result<Prepared<Self::Sampler>, Error>;

    /// Most tokens in one batch.
    fn batch_size(&self) -> usize;

    /// Has the encoder read a text, which every computation after it looks at.
    fn encode(&mut self, tokens: &[Token], waiting: Arc<AtomicBool>) -> Result<(), Failed>;

    /// Computes a batch. It ends early when every one of `waiting` is cancelled; then, as after any failure, the
    /// sequences in it may hold a part of it.
    fn compute(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed>;

    /// Computes a part of an image in the place of tokens, as [`Backend::compute`] does.
    fn look(&mut self, sight: &Sight, waiting: Arc<AtomicBool>) -> Result<(), Failed>;

    /// Chooses a token from output `index` of the last batch.
    fn sample(&mut self, sampler: &mut Self::Sampler, index: usize) -> Result<Choice, Error>;

    /// How likely a token was at output `index` of the last batch, and its `most` likeliest alternatives.
    fn logprobs(&mut self, index: usize, token: Token, most: usize) -> Result<TokenLogprob, Error>;

    /// Whether the token ends a generation.
    fn is_end(&self, token: Token) -> bool;

    /// The bytes that a token stands for; none for a control token, unless `special`.
    fn piece(&self, token: Token, special: bool) -> Vec<u8>;

    /// Whether a sequence of `held` tokens can be cut to its first `kept`.
    fn can_cut(&self, sequence: usize, held: usize, kept: usize) -> bool;

    /// Whether a saved state of `held` tokens can be cut to its first `kept`.
    fn can_cut_saved(&self, held: usize, kept: usize) -> bool;

    /// Cuts a sequence to its first `kept` tokens. If that fails, it is forgotten whole, and false comes back.
    fn cut(&mut self, sequence: usize, kept: usize) -> bool;

    /// Makes `to` a copy of `from`.
    fn copy(&mut self, from: usize, to: usize);

    /// Removes `count` tokens after the first `kept`, and moves the rest, up to `held`, in their place.
    fn shift(&mut self, sequence: usize, kept: usize, count: usize, held: usize);

    /// The state of a sequence, to be kept outside of the context.
    fn save(&mut self, sequence: usize) -> Option<Vec<u8>>;

    /// Gives a sequence a saved state. If that fails, it is empty, and false comes back.
    fn restore(&mut self, sequence: usize, state: &[u8]) -> bool;
}

/// llama.cpp.
pub(crate) struct Llama {
    /// Freed before the model, which it keeps.
    context: Context,
    template: Result<Template, String>,
    model: Rc<Model>,
    context_tokens: u32,
    /// Most tokens that are computed at once.
    ubatch: usize,
}

impl Llama {
    pub(crate) fn new(model: Rc<Model>, context: Context, plan: &Plan) -> Self {
        let template = match model.chat_template() {
            Some(_) => Template::new(&model),
            None => Err(String::new()),
        };
        Self { context, template, model, context_tokens: plan.context, ubatch: plan.ubatch as usize }
    }

    fn template(&self, input: &Input) -> Result<Option<&Template>, Error> {
        match (input, &self.template) {
            (Input::Chat(_), Err(reason)) if !reason.is_empty() => Err(Error::Unsupported(format!(
                "the model's chat template cannot be read; use query with a prompt that is formatted for it: {reason}"
            ))),
            (_, template) => Ok(template.as_ref().ok()),
        }
    }
}

impl Backend for Llama {
    type Sampler = Sampler;

    fn prepare(&mut self, job: &Job) -> Result<Prepared<Sampler>, Error> {
        let request = &job.request;
        let vocab = self.model.vocab();
        let Prompt { tokens, placed, chat } =
            prompt::prepare(vocab, self.template(&request.input)?, request, &job.images, self.context_tokens)?;
        if let Some(count) =
            placed.iter().filter(|placed| placed.vectors.is_mutual).map(|placed| placed.vectors.count).max()
            && count > self.ubatch
        {
            return Err(Error::InvalidRequest(format!(
                "an image takes {count} tokens, which this model computes at once, and n_ubatch is {}; raise it",
                self.ubatch
            )));
        }
        let constraint = match (&request.grammar, &chat, conversation::schema(request)) {
            (Some(grammar), _, _) => Constraint::Grammar(grammar),
            (None, Some(chat), _) => Constraint::Chat(chat),
            (None, None, Some(schema)) => Constraint::Schema(schema),
            (None, None, None) => Constraint::None,
        };
        let mut sampler = Sampler::new(vocab, &job.sampling, constraint, self.context_tokens)?;
        let (encoded, prompt) = match self.model.answer_start() {
            Some(start) => (Some(tokens), vec![start]),
            None => (None, tokens),
        };
        sampler.observe(&prompt)?;
        Ok(Prepared { encoded, prompt, placed, sampler, reader: chat.map(Reader::new) })
    }

    fn batch_size(&self) -> usize {
        self.context.batch_size()
    }

    fn encode(&mut self, tokens: &[Token], waiting: Arc<AtomicBool>) -> Result<(), Failed> {
        let mut batch = Batch::default();
        for (position, token) in tokens.iter().enumerate() {
            batch.push(*token, position, 0, true);
        }
        self.context.encode(&mut batch, vec![waiting])
    }

    fn compute(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        self.context.compute(batch, waiting)
    }

    fn look(&mut self, sight: &Sight, waiting: Arc<AtomicBool>) -> Result<(), Failed> {
        self.context.look(sight, self.model.input_length() as usize, vec![waiting])
    }

    fn sample(&mut self, sampler: &mut Sampler, index: usize) -> Result<Choice, Error> {
        sampler.sample(&mut self.context, index)
    }

    fn is_end(&self, token: Token) -> bool {
        self.model.vocab().is_end(token)
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        self.model.vocab().piece(token, special)
    }

    fn logprobs(&mut self, index: usize, token: Token, most: usize) -> Result<TokenLogprob, Error> {
        let logits = self.context.logits(index)?;
        let chosen = logits.get(usize::try_from(token).unwrap_or(usize::MAX)).copied().unwrap_or(f32::NEG_INFINITY);
        let (total, top) = likeliest(logits, most);
        let text = |token| String::from_utf8_lossy(&self.model.vocab().piece(token, true)).into_owned();
        let top = top.into_iter().map(|(token, logit)| (text(token), (logit - total).min(0.0))).collect();
        Ok(TokenLogprob { token: text(token), logprob: (chosen - total).min(0.0), top })
    }

    fn can_cut(&self, sequence: usize, held: usize, kept: usize) -> bool {
        held == kept || (!self.model.is_recurrent() && self.context.remembers_from_start(sequence))
    }

    fn can_cut_saved(&self, held: usize, kept: usize) -> bool {
        held == kept || self.model.remembers_all()
    }

    fn cut(&mut self, sequence: usize, kept: usize) -> bool {
        self.context.cut_sequence(sequence, kept)
    }

    fn copy(&mut self, from: usize, to: usize) {
        self.context.copy_sequence(from, to);
    }

    fn shift(&mut self, sequence: usize, kept: usize, count: usize, held: usize) {
        self.context.shift_sequence(sequence, kept, count, held);
    }

    fn save(&mut self, sequence: usize) -> Option<Vec<u8>> {
        self.context.save_sequence(sequence)
    }

    fn restore(&mut self, sequence: usize, state: &[u8]) -> bool {
        self.context.restore_sequence(sequence, state)
    }
}

/// The logarithm of the sum of all exponentials, and the `most` largest logits with their tokens, largest first.
fn likeliest(logits: &[f32], most: usize) -> (f32, Vec<(Token, f32)>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    let mut top: Vec<(Token, f32)> = Vec::with_capacity(most + 1);
    for (token, logit) in (0..).zip(logits.iter().copied()) {
        if top.len() < most || top.last().is_some_and(|(_, least)| logit > *least) {
            let at = top.partition_point(|(_, other)| *other >= logit);
            top.insert(at, (token, logit));
            top.truncate(most);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a sum of probabilities needs no double")]
    let total = largest + sum.ln() as f32;
    (total, top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_are_in_order_and_their_probabilities_sum_up() {
        let logits = [1.0, 3.0, 2.0, 3.0, -5.0];
        let (total, top) = likeliest(&logits, 3);
        assert_eq!(top, [(1, 3.0), (3, 3.0), (2, 2.0)]);
        let sum: f32 = logits.iter().map(|logit| (logit - total).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(likeliest(&logits, 0).1, []);
    }
}
