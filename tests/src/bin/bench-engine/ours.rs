//! Our engine.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Result, ensure};
use engine_sys::{
    ContextConfig, Engine, Error, Input, Listener, ModelConfig, Outcome, Policy, Sampling, SchedulerConfig,
    TextRequest, TokenBatch,
};
use sipp_tests::memory::anonymous;

use crate::streams::{Asked, CONTEXT, Seen, Way};

pub(crate) struct Ours {
    engine: Engine,
    /// Memory of the process before there was an engine.
    before: Option<u64>,
}

impl Ours {
    pub(crate) fn load(model: &Path, threads: u32, slots: u32, policy: Policy) -> Result<Self> {
        let before = anonymous("self");
        let context = ContextConfig {
            n_ctx: Some(CONTEXT),
            n_parallel: Some(slots),
            n_threads: Some(threads),
            ..ContextConfig::default()
        };
        let scheduler = SchedulerConfig { policy: Some(policy), ..SchedulerConfig::default() };
        let config = ModelConfig { path: model.to_owned(), context, scheduler, ..ModelConfig::default() };
        Ok(Self { engine: Engine::load(config, |_| ControlFlow::Continue(()))?, before })
    }
}

/// Notes when tokens come.
struct Clock {
    tokens: Vec<Instant>,
    done: Sender<(Vec<Instant>, Result<Outcome, Error>)>,
}

impl Listener for Clock {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        let now = Instant::now();
        self.tokens.extend((0..batch.tokens).map(|_| now));
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        // Whoever asked waits for this.
        let _ = self.done.send((self.tokens, result));
    }
}

impl Way for Ours {
    fn answer(&self, asked: &Asked) -> Result<Seen> {
        let (done, ended) = channel();
        let request = TextRequest {
            max_tokens: Some(asked.tokens),
            temperature: Some(0.0),
            sampling: Sampling { ignore_eos: Some(true), ..Sampling::default() },
            ..TextRequest::new(Input::Prompt(asked.prompt.clone()))
        };
        let sent = Instant::now();
        self.engine.generate(request, Box::new(Clock { tokens: Vec::new(), done }))?;
        let (tokens, outcome) = ended.recv()?;
        let outcome = outcome?;
        ensure!(outcome.output_tokens == asked.tokens, "{} tokens came", outcome.output_tokens);
        Ok(Seen { read: outcome.input_tokens, sent, tokens })
    }

    fn memory(&self) -> Option<u64> {
        Some(anonymous("self")?.saturating_sub(self.before?))
    }
}
