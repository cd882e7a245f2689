//! Beginnings of prompts that are computed once, contexts that go on when they are full, and queues that end.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::ops::ControlFlow;

use engine_sys::{
    CacheConfig, CacheMode, CacheSource, ContextConfig, Engine, Error, Finish, Input, ModelConfig, ModelFault, Role,
    SchedulerConfig, Stats, TextRequest,
};
use support::{Answer, ask, demo_path, generate, greedy, load, message, start};

/// A system prompt that several callers share.
const RULES: &str = "You answer in one short sentence. You are polite. You never speak of yourself.";

fn engine(slots: u32, cache: CacheConfig) -> Engine {
    let context = ContextConfig { n_parallel: Some(slots), ..ContextConfig::default() };
    load(ModelConfig { path: demo_path(), context, cache, ..ModelConfig::default() }).expect("the demo model loads")
}

fn mode(mode: CacheMode) -> CacheConfig {
    CacheConfig { mode: Some(mode), ..CacheConfig::default() }
}

fn with_rules(question: &str) -> TextRequest {
    greedy(Input::Chat(vec![message(Role::System, RULES), message(Role::User, question)]))
}

fn stats(answer: &Answer) -> Stats {
    answer.outcome().stats
}

#[test]
fn a_conversation_reads_only_its_new_turn() {
    let engine = engine(1, CacheConfig::default());
    let mut messages = vec![message(Role::User, "Count from 1 to 30.")];
    let first = generate(&engine, greedy(Input::Chat(messages.clone())));
    assert_eq!(stats(&first).cache_source, CacheSource::None);
    messages.extend([message(Role::Assistant, &first.text), message(Role::User, "Hello")]);
    let request = greedy(Input::Chat(messages));
    let second = generate(&engine, request.clone());
    let (read, all) = (stats(&second).prefill_tokens, second.outcome().input_tokens);
    assert_eq!(stats(&second).cache_source, CacheSource::Live);
    // The template ends the turn with a token that was chosen and not computed, so a few tokens more are read.
    assert!(read < 24 && all > 80, "{read} of {all} tokens are read");
    assert_eq!(read + stats(&second).cached_tokens, all);
    let fresh = generate(&self::engine(1, mode(CacheMode::Disabled)), request);
    assert_eq!(second.text, fresh.text);
}

#[test]
fn callers_with_one_system_prompt_read_it_once() {
    let questions = ["Hello", "Who are you?", "What colour is a lemon?", "Say hello in Chinese.", "Count from 1 to 5."];
    let alone = engine(1, mode(CacheMode::Disabled));
    let expected: Vec<_> = questions.iter().map(|question| generate(&alone, with_rules(question)).text).collect();
    let together = engine(4, CacheConfig::default());
    let runs: Vec<_> = questions
        .iter()
        .enumerate()
        .map(|(index, question)| {
            let request = TextRequest { context_key: Some(index.to_string()), ..with_rules(question) };
            start(&together, request)
        })
        .collect();
    let answers: Vec<_> = runs.into_iter().map(|run| run.answer()).collect();
    let texts: Vec<_> = answers.iter().map(|answer| answer.text.clone()).collect();
    assert_eq!(texts, expected);
    let reusing = answers.iter().filter(|answer| stats(answer).cached_tokens > 20).count();
    assert_eq!(reusing, questions.len() - 1, "one of them computes the system prompt");
    let counters = together.counters();
    assert_eq!(
        counters.cached_tokens,
        answers.iter().map(|answer| u64::from(stats(answer).cached_tokens)).sum::<u64>()
    );
}

#[test]
fn the_same_prompt_again_reads_one_token() {
    let engine = engine(2, CacheConfig::default());
    let first = generate(&engine, with_rules("Hello"));
    let second = generate(&engine, with_rules("Hello"));
    assert_eq!((stats(&second).prefill_tokens, &second.text), (1, &first.text));
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let engine = engine(2, mode(CacheMode::Disabled));
    for _ in 0..2 {
        let answer = generate(&engine, with_rules("Hello"));
        assert_eq!((stats(&answer).cache_source, stats(&answer).cached_tokens), (CacheSource::None, 0));
    }
}

#[test]
fn snapshots_bring_back_what_a_slot_lost() {
    for kept in [CacheMode::StateSnapshot, CacheMode::LiveSlotAndSnapshot] {
        let engine = engine(1, mode(kept));
        let first = generate(&engine, with_rules("What colour is a lemon?"));
        generate(&engine, ask("Tell me a short story about a cat."));
        let again = generate(&engine, with_rules("What colour is a lemon?"));
        assert_eq!((stats(&again).cache_source, &again.text), (CacheSource::Snapshot, &first.text), "{kept:?}");
        assert_eq!(stats(&again).prefill_tokens, 1);
    }
}

#[test]
fn a_cancelled_answer_leaves_what_it_read() {
    let engine = engine(1, CacheConfig::default());
    let run = support::start_and_break(&engine, with_rules("Tell me a short story about a cat."), 2);
    assert_eq!(run.answer().outcome().finish, Finish::Cancelled);
    let answer = generate(&engine, with_rules("Hello"));
    assert!(stats(&answer).cached_tokens > 20);
    assert_eq!(answer.text, generate(&self::engine(1, mode(CacheMode::Disabled)), with_rules("Hello")).text);
}

#[test]
fn a_full_context_is_shifted_where_it_may_be() {
    let context = ContextConfig { n_ctx: Some(256), ..ContextConfig::default() };
    let sampling = engine_sys::Sampling { ignore_eos: Some(true), ..Default::default() };
    let request = TextRequest { sampling, max_tokens: Some(700), ..ask("Tell me a short story about a cat.") };
    let config = ModelConfig { path: demo_path(), context, ..ModelConfig::default() };
    let ends = load(config.clone()).unwrap();
    let ended = generate(&ends, request.clone());
    assert_eq!(ended.outcome().finish, Finish::Length);
    assert!(ended.outcome().output_tokens < 256);
    let cache = CacheConfig { context_shift: Some(true), ..CacheConfig::default() };
    let shifts = load(ModelConfig { cache, ..config }).unwrap();
    let shifted = generate(&shifts, request.clone());
    assert_eq!((shifted.outcome().finish, shifted.outcome().output_tokens), (Finish::Length, 700));
    assert!(shifted.text.starts_with(&ended.text));
    let unlimited = generate(&shifts, TextRequest { max_tokens: None, ..request });
    assert_eq!(unlimited.outcome().output_tokens, 256);
    assert_eq!(generate(&shifts, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn a_full_queue_refuses() {
    let scheduler = SchedulerConfig { max_queued_requests: Some(1), ..SchedulerConfig::default() };
    let engine = load(ModelConfig { path: demo_path(), scheduler, ..ModelConfig::default() }).unwrap();
    let sampling = engine_sys::Sampling { ignore_eos: Some(true), ..Default::default() };
    let endless = TextRequest { sampling, ..ask("Tell me a short story about a cat.") };
    let runs: Vec<_> = (0..2).map(|_| start(&engine, endless.clone())).collect();
    let error = support::refused(&engine, ask("Hello"));
    assert!(matches!(&error, Error::Overloaded(text) if text.contains("max_queued_requests")), "{error:?}");
    for run in runs {
        run.cancel.cancel();
        run.answer();
    }
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn fewer_requests_run_than_there_are_slots() {
    let scheduler = SchedulerConfig { max_running_requests: Some(1), ..SchedulerConfig::default() };
    let context = ContextConfig { n_parallel: Some(4), ..ContextConfig::default() };
    let engine = load(ModelConfig { path: demo_path(), context, scheduler, ..ModelConfig::default() }).unwrap();
    let runs: Vec<_> = (0..4).map(|_| start(&engine, ask("Count from 1 to 30."))).collect();
    let mut most = 0;
    while engine.counters().completed < 4 {
        most = most.max(engine.counters().running);
    }
    assert_eq!(most, 1);
    let texts: Vec<_> = runs.into_iter().map(|run| run.answer().text).collect();
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[test]
fn what_has_no_effect_is_refused() {
    let default = || ModelConfig { path: demo_path(), ..ModelConfig::default() };
    let scheduled = |scheduler| ModelConfig { scheduler, ..default() };
    let cached = |cache| ModelConfig { cache, ..default() };
    let configurations = [
        ("prefill_chunk_size", scheduled(SchedulerConfig { prefill_chunk_size: Some(0), ..Default::default() })),
        ("prefill_chunk_size", scheduled(SchedulerConfig { prefill_chunk_size: Some(2049), ..Default::default() })),
        ("max_running_requests", scheduled(SchedulerConfig { max_running_requests: Some(2), ..Default::default() })),
        ("max_queued_requests", scheduled(SchedulerConfig { max_queued_requests: Some(65_537), ..Default::default() })),
        ("retained_prefix_tokens", cached(CacheConfig { retained_prefix_tokens: Some(4), ..Default::default() })),
        ("max_snapshot_bytes", cached(CacheConfig { max_snapshot_bytes: Some(4), ..Default::default() })),
        (
            "retained_prefix_tokens",
            cached(CacheConfig { context_shift: Some(true), retained_prefix_tokens: Some(4095), ..Default::default() }),
        ),
        (
            "max_snapshot_entries",
            cached(CacheConfig { max_snapshot_entries: Some(0), ..mode(CacheMode::StateSnapshot) }),
        ),
        (
            "models that write text",
            ModelConfig {
                context: ContextConfig { embeddings: Some(true), ..ContextConfig::default() },
                ..cached(mode(CacheMode::Disabled))
            },
        ),
    ];
    for (name, config) in configurations {
        match Engine::load(config, |_| ControlFlow::Continue(())) {
            Err(Error::Model { fault: ModelFault::Configuration, message }) => {
                assert!(message.contains(name), "{message}")
            }
            other => panic!("{name} is not refused: {other:?}"),
        }
    }
}
