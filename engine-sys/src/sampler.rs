//! The chain of llama.cpp's samplers that chooses a request's tokens.

use std::ffi::CString;
use std::ptr::NonNull;

use crate::chat::Chat;
use crate::config::SamplerStage;
use crate::context::Context;
use crate::error::Error;
use crate::log;
use crate::sampling::{Resolved, replaced_by_mirostat};
use crate::sys;
use crate::vocab::{Token, Vocab};

/// How deep a grammar or a schema may nest, and how many bytes it may have. llama.cpp reads both recursively, and its
/// stack must hold a chain of as many rules as fit.
const MAX_NESTING: usize = 200;
const MAX_BYTES: usize = 1 << 20;

/// llama.cpp's `LLAMA_DEFAULT_SEED`, which asks for a new seed each time.
const RANDOM_SEED: u32 = u32::MAX;

/// What a grammar constrains the text to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Constraint<'a> {
    /// Anything.
    None,
    /// A GBNF grammar.
    Grammar(&'a str),
    /// A JSON schema.
    Schema(&'a str),
    /// What a conversation's tools and format need.
    Chat(&'a Chat),
}

/// What a sampler chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A token.
    Token(Token),
    /// A grammar or biases forbid every token.
    Nothing,
}

/// The samplers of one request.
pub(crate) struct Sampler {
    raw: NonNull<sys::Sampler>,
    /// Whether a stage looks back on the prompt.
    looks_back: bool,
}

impl Sampler {
    /// Builds the chain. `context` is the number of tokens that DRY looks back on at most.
    pub(crate) fn new(
        vocab: &Vocab,
        sampling: &Resolved,
        constraint: Constraint<'_>,
        context: u32,
    ) -> Result<Self, Error> {
        let constraints = Chain::new();
        constraints.add_biases(vocab, sampling);
        constraints.add_constraint(vocab, constraint)?;
        let choice = Chain::new();
        choice.add_choice(vocab, sampling, i32::try_from(context).unwrap_or(i32::MAX))?;
        let mut raw = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: both chains are given away, and not used or freed here any more.
            unsafe {
                sys::sipp_sampler_new(constraints.into_raw(), choice.into_raw(), signed(vocab.size()), &mut raw, error)
            }
        })
        .map_err(|failure| Error::Internal(failure.message))?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Internal("there is no sampler".to_owned()))?;
        Ok(Self { raw, looks_back: looks_back(sampling) })
    }

    /// Tells the samplers of the prompt, if one of them looks back on it.
    pub(crate) fn observe(&mut self, prompt: &[Token]) -> Result<(), Error> {
        if !self.looks_back {
            return Ok(());
        }
        for token in prompt {
            sys::call(|error| {
                // SAFETY: the sampler is valid for as long as `self`.
                unsafe { sys::sipp_sampler_observe(self.raw.as_ptr(), *token, error) }
            })
            .map_err(|failure| Error::Internal(failure.message))?;
        }
        Ok(())
    }

    /// Chooses a token from output `index` of the last batch.
    pub(crate) fn sample(&mut self, context: &mut Context, index: usize) -> Result<Choice, Error> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let mut token = 0;
        let sampled = sys::call(|error| {
            // SAFETY: sampler and context are valid, and an index without an output is reported as a failure.
            unsafe { sys::sipp_sampler_sample(self.raw.as_ptr(), context.raw(), index, &mut token, error) }
        });
        match sampled {
            Ok(()) => Ok(Choice::Token(token)),
            Err(failure) if failure.status == sys::NO_CANDIDATE => Ok(Choice::Nothing),
            Err(failure) => Err(Error::Internal(format!("sampling failed: {}", failure.message))),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: the sampler is ours and not used afterwards.
        unsafe { sys::sipp_sampler_free(self.raw.as_ptr()) }
    }
}

fn looks_back(s: &Resolved) -> bool {
    let penalties = s.repeat_last_n > 0
        && (s.repeat_penalty != 1.0 || s.frequency_penalty != 0.0 || s.presence_penalty != 0.0)
        && s.stages.contains(&SamplerStage::Penalties);
    penalties || s.dry_multiplier != 0.0 && s.stages.contains(&SamplerStage::Dry)
}

/// A chain that is being built. It owns what is added.
struct Chain(*mut sys::llama_sampler);

impl Chain {
    fn new() -> Self {
        // SAFETY: functions that make a struct and an object of ours.
        Self(unsafe { sys::llama_sampler_chain_init(sys::llama_sampler_chain_params { no_perf: true }) })
    }

    fn into_raw(self) -> *mut sys::llama_sampler {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }

    /// # Safety
    /// `sampler` must be null or a sampler that nobody else owns.
    unsafe fn add(&self, sampler: *mut sys::llama_sampler) {
        if !sampler.is_null() {
            // SAFETY: by this function's contract; the chain is ours.
            unsafe { sys::llama_sampler_chain_add(self.0, sampler) }
        }
    }

    fn add_biases(&self, vocab: &Vocab, sampling: &Resolved) {
        let asked =
            sampling.logit_bias.iter().map(|bias| sys::llama_logit_bias { token: signed(bias.token), bias: bias.bias });
        let ends = sampling.ignore_eos.then(|| vocab.end_tokens()).into_iter().flatten();
        let banned = ends.map(|token| sys::llama_logit_bias { token, bias: f32::NEG_INFINITY });
        let biases: Vec<sys::llama_logit_bias> = asked.chain(banned).collect();
        if !biases.is_empty() {
            let count = i32::try_from(biases.len()).unwrap_or(i32::MAX);
            // SAFETY: the list has `count` elements and is copied.
            unsafe { self.add(sys::llama_sampler_init_logit_bias(signed(vocab.size()), count, biases.as_ptr())) }
        }
    }

    fn add_constraint(&self, vocab: &Vocab, constraint: Constraint<'_>) -> Result<(), Error> {
        let grammar = match constraint {
            Constraint::None => return Ok(()),
            Constraint::Chat(chat) => {
                // SAFETY: a sampler that was just made, or null.
                unsafe { self.add(chat.grammar(vocab)?) };
                return Ok(());
            }
            Constraint::Grammar(grammar) => {
                check_text("grammar", grammar, &['('], &[')'])?;
                CString::new(grammar).map_err(|_| Error::invalid("grammar contains a zero byte"))?
            }
            Constraint::Schema(schema) => {
                check_schema("json_schema", schema)?;
                schema_to_grammar(schema)?
            }
        };
        let name = if matches!(constraint, Constraint::Schema(_)) { "json_schema" } else { "grammar" };
        let mut raw = std::ptr::null_mut();
        log::clear();
        sys::call(|error| {
            // SAFETY: the grammar ends with a zero byte and is copied.
            unsafe { sys::sipp_grammar_new(vocab.raw(), grammar.as_ptr(), &mut raw, error) }
        })
        .map_err(|failure| Error::InvalidRequest(format!("{name} is not valid: {}", log::explain(&failure.message))))?;
        // SAFETY: the sampler was just made.
        unsafe { self.add(raw) };
        Ok(())
    }

    fn add_choice(&self, vocab: &Vocab, sampling: &Resolved, context: i32) -> Result<(), Error> {
        // A caller's seed must stay one number.
        let seed = sampling.seed.map_or(RANDOM_SEED, |seed| seed.min(RANDOM_SEED - 1));
        // The likeliest token stays the likeliest under every stage that only drops unlikely ones.
        let greedy = sampling.temperature == 0.0 && sampling.stages.contains(&SamplerStage::Temperature);
        for stage in &sampling.stages {
            let skipped = if greedy {
                !matches!(stage, SamplerStage::Penalties | SamplerStage::Dry)
            } else {
                sampling.mirostat != 0 && replaced_by_mirostat(*stage)
            };
            if !skipped {
                self.add_stage(*stage, vocab, sampling, context, seed)?;
            }
        }
        let (tau, eta) = (sampling.mirostat_tau, sampling.mirostat_eta);
        // SAFETY: functions that make a sampler out of numbers.
        unsafe {
            self.add(match sampling.mirostat {
                _ if greedy => sys::llama_sampler_init_greedy(),
                // 100 is the paper's m.
                1 => sys::llama_sampler_init_mirostat(signed(vocab.size()), seed, tau, eta, 100),
                2 => sys::llama_sampler_init_mirostat_v2(seed, tau, eta),
                _ => sys::llama_sampler_init_dist(seed),
            });
        }
        Ok(())
    }

    fn add_stage(
        &self,
        stage: SamplerStage,
        vocab: &Vocab,
        s: &Resolved,
        context: i32,
        seed: u32,
    ) -> Result<(), Error> {
        if stage == SamplerStage::Dry {
            return self.add_dry(vocab, s, context);
        }
        // SAFETY: functions that make a sampler out of numbers, all of them checked in `sampling`.
        unsafe {
            self.add(match stage {
                SamplerStage::Penalties => sys::llama_sampler_init_penalties(
                    signed(vocab.size()),
                    s.repeat_last_n,
                    s.repeat_penalty,
                    s.frequency_penalty,
                    s.presence_penalty,
                ),
                SamplerStage::Dry => std::ptr::null_mut(),
                SamplerStage::TopNSigma => sys::llama_sampler_init_top_n_sigma(s.top_n_sigma),
                SamplerStage::TopK => sys::llama_sampler_init_top_k(s.top_k),
                SamplerStage::TypicalP => sys::llama_sampler_init_typical(s.typical_p, s.min_keep),
                SamplerStage::TopP => sys::llama_sampler_init_top_p(s.top_p, s.min_keep),
                SamplerStage::MinP => sys::llama_sampler_init_min_p(s.min_p, s.min_keep),
                SamplerStage::Xtc => sys::llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, s.min_keep, seed),
                SamplerStage::Temperature => {
                    sys::llama_sampler_init_temp_ext(s.temperature, s.dynatemp_range, s.dynatemp_exponent)
                }
            });
        }
        Ok(())
    }

    fn add_dry(&self, vocab: &Vocab, s: &Resolved, context: i32) -> Result<(), Error> {
        if s.dry_multiplier == 0.0 {
            return Ok(());
        }
        let last_n = if s.dry_penalty_last_n == 0 { context } else { s.dry_penalty_last_n };
        let breakers: Vec<CString> =
            s.dry_sequence_breakers.iter().filter_map(|text| CString::new(text.as_str()).ok()).collect();
        let mut pointers: Vec<_> = breakers.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: the list has as many zero-terminated texts as is said, and is copied.
        unsafe {
            self.add(sys::llama_sampler_init_dry(
                vocab.raw(),
                s.dry_multiplier,
                s.dry_base,
                s.dry_allowed_length,
                last_n,
                pointers.as_mut_ptr(),
                pointers.len(),
            ));
        }
        Ok(())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: the chain is ours unless it was given away, and then `drop` does not run.
        unsafe { sys::llama_sampler_free(self.0) }
    }
}

fn schema_to_grammar(schema: &str) -> Result<CString, Error> {
    let mut raw = std::ptr::null_mut();
    sys::call(|error| {
        // SAFETY: the schema has the size that is passed.
        unsafe { sys::sipp_schema_to_grammar(schema.as_ptr().cast(), schema.len(), &mut raw, error) }
    })
    .map_err(|failure| Error::InvalidRequest(format!("json_schema is not valid: {}", failure.message)))?;
    // SAFETY: on success it is a text of the bridge, and ours.
    Ok(unsafe { sys::take_text(raw) })
}

/// Refuses a schema that llama.cpp's converter cannot take, which reads it recursively.
pub(crate) fn check_schema(name: &str, schema: &str) -> Result<(), Error> {
    check_text(name, schema, &['{', '['], &['}', ']'])
}

fn check_text(name: &str, text: &str, opening: &[char], closing: &[char]) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::InvalidRequest(format!("{name} is empty")));
    }
    if text.len() > MAX_BYTES {
        return Err(Error::InvalidRequest(format!("{name} has {} bytes; it may have {MAX_BYTES}", text.len())));
    }
    let mut depth = 0usize;
    for character in text.chars() {
        if opening.contains(&character) {
            depth += 1;
        } else if closing.contains(&character) {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_NESTING {
            return Err(Error::InvalidRequest(format!("{name} nests more than {MAX_NESTING} levels deep")));
        }
    }
    Ok(())
}

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
