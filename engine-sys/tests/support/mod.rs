//! What the tests of the engine share: the demo model, and a listener that collects.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of it")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use engine_sys::{
    Cancel, ChatMessage, ContextConfig, Delta, Engine, Error, Input, Listener, ModelConfig, Outcome, Role, Sampling,
    TextRequest, TokenBatch,
};

pub use test_models::demo_path;

/// Loads the demo model with this context.
pub fn demo(context: ContextConfig) -> Engine {
    let config = ModelConfig { path: demo_path(), context, ..ModelConfig::default() };
    load(config).expect("the demo model loads")
}

/// Loads a model, without looking at its progress.
pub fn load(config: ModelConfig) -> Result<Engine, Error> {
    Engine::load(config, |_| ControlFlow::Continue(()))
}

/// What a generation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub batches: Vec<TokenBatch>,
    pub result: Result<Outcome, Error>,
}

impl Answer {
    pub fn outcome(&self) -> &Outcome {
        self.result.as_ref().expect("the generation succeeds")
    }
}

/// Events of a generation, as they come.
#[derive(Debug)]
pub enum Event {
    Tokens(TokenBatch),
    Done(Result<Outcome, Error>),
}

/// Sends what it hears, and breaks after `most` batches.
struct Collector {
    events: Sender<Event>,
    most: usize,
}

impl Listener for Collector {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        self.most -= 1;
        if self.events.send(Event::Tokens(batch)).is_err() || self.most == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        // A test that went away does not want to know.
        let _ = self.events.send(Event::Done(result));
    }
}

/// A running generation.
pub struct Run {
    pub events: Receiver<Event>,
    pub cancel: Cancel,
}

impl Run {
    /// Waits for the end and checks what holds for every answer.
    pub fn answer(self) -> Answer {
        let mut batches = Vec::new();
        loop {
            match self.events.recv_timeout(Duration::from_secs(120)).expect("the generation ends") {
                Event::Tokens(batch) => batches.push(batch),
                Event::Done(result) => {
                    assert!(self.events.recv().is_err(), "nothing comes after the end");
                    return check(batches, result);
                }
            }
        }
    }
}

fn check(batches: Vec<TokenBatch>, result: Result<Outcome, Error>) -> Answer {
    let mut sequence = 0;
    for (index, batch) in batches.iter().enumerate() {
        assert_eq!(batch.sequence, sequence, "batches follow each other: {batches:?}");
        let is_empty = batch.delta == Delta::Text(String::new());
        assert!(!is_empty || index + 1 == batches.len(), "only the last batch may be empty: {batches:?}");
        sequence += batch.tokens;
    }
    if let Ok(outcome) = &result
        && outcome.finish != engine_sys::Finish::Cancelled
    {
        assert_eq!(outcome.output_tokens, sequence, "every token is in a batch: {batches:?}");
    }
    Answer { text: batches.iter().map(|batch| batch.delta.text()).collect(), batches, result }
}

/// Starts a generation.
pub fn start(engine: &Engine, request: TextRequest) -> Run {
    start_and_break(engine, request, usize::MAX)
}

/// Starts a generation whose listener breaks after `most` batches.
pub fn start_and_break(engine: &Engine, request: TextRequest, most: usize) -> Run {
    let (events, received) = channel();
    let cancel = engine.generate(request, Box::new(Collector { events, most })).expect("the request is accepted");
    Run { events: received, cancel }
}

/// Runs a generation to its end.
pub fn generate(engine: &Engine, request: TextRequest) -> Answer {
    start(engine, request).answer()
}

/// The error with which a request is refused at once.
pub fn refused(engine: &Engine, request: TextRequest) -> Error {
    let (events, received) = channel();
    let error = engine.generate(request, Box::new(Collector { events, most: usize::MAX })).expect_err("it is refused");
    assert!(received.recv().is_err(), "a refused request calls no listener");
    error
}

pub fn message(role: Role, content: &str) -> ChatMessage {
    ChatMessage::text(role, content)
}

/// A greedy request.
pub fn greedy(input: Input) -> TextRequest {
    TextRequest { temperature: Some(0.0), ..TextRequest::new(input) }
}

/// A greedy question of the user.
pub fn ask(question: &str) -> TextRequest {
    greedy(Input::Chat(vec![message(Role::User, question)]))
}

/// A greedy raw prompt.
pub fn prompt(text: &str) -> TextRequest {
    greedy(Input::Prompt(text.to_owned()))
}

/// A question with this sampling.
pub fn sampled(question: &str, sampling: Sampling) -> TextRequest {
    TextRequest { sampling, ..TextRequest::new(Input::Chat(vec![message(Role::User, question)])) }
}

/// A file in a folder of its own that goes away with it.
pub struct TempFile {
    folder: PathBuf,
    pub path: PathBuf,
}

impl TempFile {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let unique = format!("sipp-engine-test-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { folder, path }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
