//! Tokens per second of one engine, called directly and through the client.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Result, ensure};
use engine_sys::{Engine, Error, Input, Listener, ModelConfig, Outcome, TextRequest, TokenBatch};
use sipp::{LocalDescriptor, LocalOptions, QueryRequest, Sampling, SippClient, TextOptions};

use crate::figures::{Decode, median};

/// Long enough that reading the prompt does not count, short enough for the demo model's context.
const TOKENS: u32 = 400;

const PROMPT: &str = "Once upon a time";

/// Decodes the same text with both, in turns.
pub(crate) fn measure(model: &Path, rounds: u32) -> Result<Decode> {
    let config = ModelConfig { path: model.to_owned(), ..ModelConfig::default() };
    let engine = Engine::load(config, |_| ControlFlow::Continue(()))?;
    let client = SippClient::new()?;
    pollster::block_on(client.add("model", LocalDescriptor::new(model)))?;
    // A first pair finds caches and clocks cold, and does not count.
    through_engine(&engine)?;
    through_client(&client)?;
    let (mut engines, mut clients, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who goes second may find the machine warmer.
        let (direct, through) = if round % 2 == 0 {
            let direct = through_engine(&engine)?;
            (direct, through_client(&client)?)
        } else {
            let through = through_client(&client)?;
            (through_engine(&engine)?, through)
        };
        engines.push(direct);
        clients.push(through);
        ratios.push(through / direct);
    }
    Ok(Decode {
        model: model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        tokens: TOKENS,
        rounds,
        engine: median(engines),
        client: median(clients),
        ratio: median(ratios),
    })
}

/// Collects a text, as the client's run does.
struct Collector {
    text: String,
    done: Sender<Result<Outcome, Error>>,
}

impl Listener for Collector {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        self.text.push_str(&batch.text);
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        // The receiver waits for it.
        let _ = self.done.send(result);
    }
}

/// Tokens per second.
fn through_engine(engine: &Engine) -> Result<f64> {
    let mut request = TextRequest::new(Input::Prompt(PROMPT.to_owned()));
    request.max_tokens = Some(TOKENS);
    request.temperature = Some(0.0);
    request.sampling.ignore_eos = Some(true);
    let (done, outcome) = channel();
    let begun = Instant::now();
    engine.generate(request, Box::new(Collector { text: String::new(), done }))?;
    let outcome = outcome.recv()??;
    speed(begun, Some(outcome.output_tokens))
}

/// Tokens per second.
fn through_client(client: &SippClient) -> Result<f64> {
    let sampling = Sampling { ignore_eos: Some(true), ..Sampling::default() };
    let request = QueryRequest {
        options: TextOptions { max_tokens: Some(TOKENS), temperature: Some(0.0), ..TextOptions::default() },
        local: Some(LocalOptions { sampling: Some(sampling), ..LocalOptions::default() }),
        ..QueryRequest::new(PROMPT)
    };
    let begun = Instant::now();
    let response = pollster::block_on(client.query(request))?;
    speed(begun, response.usage.and_then(|usage| usage.output_tokens))
}

fn speed(begun: Instant, tokens: Option<u32>) -> Result<f64> {
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(tokens == Some(TOKENS), "the model wrote {tokens:?} tokens instead of {TOKENS}; its context is too short");
    Ok(f64::from(TOKENS) / seconds)
}
