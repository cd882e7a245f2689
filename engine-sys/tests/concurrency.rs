//! Many requests at once, cancelling, and ends of every kind.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use engine_sys::{ContextConfig, Engine, Error, Finish, Listener, Outcome, TextRequest, TokenBatch};
use support::{Event, ask, demo, generate, prompt, start, start_and_break};

const QUESTIONS: [&str; 8] = [
    "Hello",
    "Who are you?",
    "Count from 1 to 30.",
    "What colour is a lemon?",
    "What is the opposite of hot?",
    "Tell me a short story about a cat.",
    "Give me a JSON object with name Anna and age 7.",
    "Say hello in Chinese.",
];

/// A request that does not end by itself before the context does.
fn endless() -> TextRequest {
    let sampling = engine_sys::Sampling { ignore_eos: Some(true), ..Default::default() };
    TextRequest { sampling, ..ask("Tell me a short story about a cat.") }
}

#[test]
fn concurrent_answers_equal_those_given_alone() {
    let alone = demo(ContextConfig::default());
    let expected: Vec<_> = QUESTIONS.iter().map(|question| generate(&alone, ask(question)).text).collect();
    let together = demo(ContextConfig { n_parallel: Some(4), ..ContextConfig::default() });
    for _ in 0..4 {
        let runs: Vec<_> = QUESTIONS.iter().map(|question| start(&together, ask(question))).collect();
        let answers: Vec<_> = runs.into_iter().map(|run| run.answer().text).collect();
        assert_eq!(answers, expected);
    }
}

#[test]
fn many_tasks_share_one_engine() {
    let engine = demo(ContextConfig { n_parallel: Some(4), ..ContextConfig::default() });
    thread::scope(|scope| {
        for index in 0..64 {
            let engine = engine.clone();
            scope.spawn(move || {
                let question = QUESTIONS[index % 2];
                let expected = ["Hello! How can I help you?", "I am the Sipp demo model."][index % 2];
                assert_eq!(generate(&engine, ask(question)).text, expected);
            });
        }
    });
    assert_eq!(engine.counters().completed, 64);
}

#[test]
fn cancel_ends_a_running_request() {
    let engine = demo(ContextConfig::default());
    let run = start(&engine, endless());
    assert!(matches!(run.events.recv(), Ok(Event::Tokens(_))));
    run.cancel.cancel();
    let outcome = run.answer_from_here();
    assert_eq!(outcome.finish, Finish::Cancelled);
    assert!(outcome.output_tokens > 0 && outcome.output_tokens < 400, "{outcome:?}");
    assert_eq!(engine.counters().cancelled, 1);
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn a_listener_that_breaks_cancels() {
    let engine = demo(ContextConfig::default());
    let answer = start_and_break(&engine, endless(), 3).answer();
    assert_eq!(answer.batches.len(), 3);
    assert_eq!(answer.outcome().finish, Finish::Cancelled);
    assert_eq!(answer.outcome().output_tokens, 3, "it ends within one token");
}

#[test]
fn cancel_ends_a_queued_request_while_others_run() {
    let engine = demo(ContextConfig::default());
    let running = start(&engine, endless());
    assert!(matches!(running.events.recv(), Ok(Event::Tokens(_))));
    let queued = start(&engine, ask("Hello"));
    let third = start(&engine, ask("Who are you?"));
    queued.cancel.cancel();
    let answer = queued.answer();
    assert_eq!(answer.outcome().finish, Finish::Cancelled);
    assert_eq!((answer.outcome().input_tokens, answer.text.as_str()), (0, ""));
    running.cancel.cancel();
    assert_eq!(third.answer().text, "I am the Sipp demo model.");
}

#[test]
fn cancel_is_prompt_while_a_prompt_is_read() {
    let engine = demo(ContextConfig { n_ubatch: Some(1), ..ContextConfig::default() });
    let run = start(&engine, prompt(&"one two three ".repeat(50)));
    run.cancel.cancel();
    let answer = run.answer();
    assert_eq!(answer.outcome().finish, Finish::Cancelled);
    assert_eq!(answer.outcome().output_tokens, 0);
}

#[test]
fn one_bad_request_fails_alone() {
    let engine = demo(ContextConfig { n_parallel: Some(3), ..ContextConfig::default() });
    let good = start(&engine, ask("Count from 1 to 30."));
    let bad = start(&engine, TextRequest { grammar: Some("root ::= missing".into()), ..ask("Hello") });
    let too_long = start(&engine, prompt(&"word ".repeat(2000)));
    let cancelled = start(&engine, endless());
    cancelled.cancel.cancel();
    assert!(matches!(bad.answer().result, Err(Error::InvalidRequest(_))));
    assert!(matches!(too_long.answer().result, Err(Error::PromptTooLong { .. })));
    assert_eq!(cancelled.answer().outcome().finish, Finish::Cancelled);
    assert!(good.answer().text.ends_with("28, 29, 30"));
    let counters = engine.counters();
    assert_eq!((counters.failed, counters.cancelled, counters.completed), (2, 1, 1));
}

#[test]
fn dropping_the_last_handle_ends_everything_as_cancelled() {
    let engine = demo(ContextConfig::default());
    let runs: Vec<_> = (0..3).map(|_| start(&engine, endless())).collect();
    let clone = engine.clone();
    drop(engine);
    assert!(matches!(runs[0].events.recv(), Ok(Event::Tokens(_))), "a clone keeps it running");
    drop(clone);
    for run in runs {
        assert_eq!(run.answer_from_here().finish, Finish::Cancelled);
    }
}

#[test]
fn dropping_an_idle_engine_ends_its_thread() {
    let started = Instant::now();
    drop(demo(ContextConfig::default()));
    assert!(started.elapsed() < Duration::from_secs(30));
}

/// Panics at its first token.
struct Panics;

impl Listener for Panics {
    fn tokens(&mut self, _batch: TokenBatch) -> ControlFlow<()> {
        panic!("a listener's own fault")
    }

    fn done(self: Box<Self>, _result: Result<Outcome, Error>) {}
}

#[test]
fn a_listener_that_panics_harms_only_its_own_request() {
    let engine = demo(ContextConfig { n_parallel: Some(2), ..ContextConfig::default() });
    let good = start(&engine, ask("Count from 1 to 30."));
    engine.generate(ask("Hello"), Box::new(Panics)).expect("it is accepted");
    assert!(good.answer().text.ends_with("28, 29, 30"));
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

/// Holds an engine until its request ends.
struct Holds(Option<Engine>, Sender<()>);

impl Listener for Holds {
    fn tokens(&mut self, _batch: TokenBatch) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn done(mut self: Box<Self>, _result: Result<Outcome, Error>) {
        drop(self.0.take());
        self.1.send(()).expect("the test waits");
    }
}

#[test]
fn a_listener_may_drop_the_last_handle() {
    let engine = demo(ContextConfig::default());
    let (done, ended) = channel();
    let listener = Holds(Some(engine.clone()), done);
    engine.generate(ask("Hello"), Box::new(listener)).expect("it is accepted");
    drop(engine);
    ended.recv_timeout(Duration::from_secs(60)).expect("it ends");
}

impl support::Run {
    /// The outcome, whatever comes before it.
    fn answer_from_here(self) -> Outcome {
        loop {
            match self.events.recv_timeout(Duration::from_secs(60)).expect("it ends") {
                Event::Tokens(_) => {}
                Event::Done(result) => return result.expect("it succeeds"),
            }
        }
    }
}
