//! Tokens per second of one engine, called directly and through the client.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Result, ensure};
use engine_sys::{Engine, Error, Input, Listener, ModelConfig, Outcome, TextRequest, TokenBatch};
use sipp::{LocalDescriptor, LocalOptions, QueryRequest, Sampling, SippClient, TextOptions};
use sipp_tests::machine::median;

use crate::figures::Decode;

/// Long enough that reading the prompt does not count, short enough for the demo model's context.
const TOKENS: u32 = 400;

const PROMPT: &str = "Once upon a time";

/// Decodes the same text in all three ways, in turns.
pub(crate) fn measure(model: &Path, rounds: u32) -> Result<Decode> {
    let config = ModelConfig { path: model.to_owned(), ..ModelConfig::default() };
    let engine = Engine::load(config, |_| ControlFlow::Continue(()))?;
    let client = SippClient::new()?;
    pollster::block_on(client.add("model", LocalDescriptor::new(model)))?;
    let ways: [&dyn Fn() -> Result<f64>; 3] =
        [&|| engine_alone(&engine), &|| engine_streamed(&engine), &|| client_streamed(&client)];
    let mut lanes = ways.map(|way| (way, Vec::new()));
    for _ in 0..=rounds {
        for (way, speeds) in &mut lanes {
            speeds.push(way()?);
        }
        // Who comes later may find the machine warmer, so everyone begins in turn.
        lanes.rotate_left(1);
    }
    lanes.rotate_right((rounds as usize + 1) % ways.len());
    // The first round finds caches and clocks cold, and does not count.
    let [alone, streamed, through] = lanes.map(|(_, speeds)| speeds.into_iter().skip(1).collect::<Vec<_>>());
    let ratio = |to: &[f64]| median(through.iter().zip(to).map(|(client, engine)| client / engine).collect());
    Ok(Decode {
        model: model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        tokens: TOKENS,
        rounds,
        ratio: ratio(&alone),
        ratio_streamed: ratio(&streamed),
        engine: median(alone),
        engine_streamed: median(streamed),
        client: median(through),
    })
}

/// Collects a text on the engine's own thread.
struct Collector {
    text: String,
    done: Sender<Result<Outcome, Error>>,
}

impl Listener for Collector {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        self.text.push_str(batch.delta.text());
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        // The receiver waits for it.
        let _ = self.done.send(result);
    }
}

/// Hands each token to another thread, as an application that shows it must.
struct Streamer(Sender<Piece>);

enum Piece {
    Tokens(TokenBatch),
    Done(Result<Outcome, Error>),
}

impl Listener for Streamer {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        // The receiver waits for it.
        let _ = self.0.send(Piece::Tokens(batch));
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        // The receiver waits for it.
        let _ = self.0.send(Piece::Done(result));
    }
}

fn engine_request() -> TextRequest {
    let mut request = TextRequest::new(Input::Prompt(PROMPT.to_owned()));
    request.max_tokens = Some(TOKENS);
    request.temperature = Some(0.0);
    request.sampling.ignore_eos = Some(true);
    request
}

/// Tokens per second of the engine that hands nothing on before the end.
fn engine_alone(engine: &Engine) -> Result<f64> {
    let (done, outcome) = channel();
    let begun = Instant::now();
    engine.generate(engine_request(), Box::new(Collector { text: String::new(), done }))?;
    let outcome = outcome.recv()??;
    speed(begun, Some(outcome.output_tokens))
}

/// Tokens per second of the engine whose tokens this thread reads.
fn engine_streamed(engine: &Engine) -> Result<f64> {
    let (sender, pieces) = channel();
    let mut text = String::new();
    let begun = Instant::now();
    engine.generate(engine_request(), Box::new(Streamer(sender)))?;
    loop {
        match pieces.recv()? {
            Piece::Tokens(batch) => text.push_str(batch.delta.text()),
            Piece::Done(outcome) => break speed(begun, Some(outcome?.output_tokens)),
        }
    }
}

/// Tokens per second of the same engine behind a client.
fn client_streamed(client: &SippClient) -> Result<f64> {
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
