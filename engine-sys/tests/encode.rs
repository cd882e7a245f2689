//! Models that read a text first and then write: an encoder and a decoder, with weights by chance.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use engine_sys::{
    CacheConfig, CacheMode, ContextConfig, Engine, Error, Finish, ModelClass, ModelConfig, ModelFault, Policy,
    SchedulerConfig, TextRequest,
};
use support::TempFile;
use support::{Answer, ask, generate, load, prompt, refused, start};
use test_models::models::encoder_decoder;

fn open(name: &str) -> (TempFile, Engine) {
    let file = TempFile::new(&format!("{name}.gguf"), &encoder_decoder().bytes());
    let engine = load(ModelConfig { path: file.path.clone(), ..ModelConfig::default() }).expect("the model loads");
    (file, engine)
}

fn answer(engine: &Engine, text: &str) -> Answer {
    generate(engine, TextRequest { max_tokens: Some(12), ..prompt(text) })
}

#[test]
fn an_answer_follows_from_the_whole_prompt_and_from_nothing_before() {
    let (_file, engine) = open("answers");
    let capabilities = &engine.model().capabilities;
    assert_eq!(capabilities.class, ModelClass::EncoderDecoder);
    assert!(capabilities.generates_text && !capabilities.embeds);
    let texts = ["translate: one", "translate: two", "summarize: a long text, and then some more of it"];
    let answers: Vec<_> = texts.iter().map(|text| answer(&engine, text)).collect();
    for (text, first) in texts.iter().zip(&answers) {
        let outcome = first.outcome();
        assert!(outcome.output_tokens > 0, "{text}: {outcome:?}");
        // A token for each letter, those of words and ends, and the end of the text.
        assert!(outcome.input_tokens as usize > text.len() / 2, "{text}: {outcome:?}");
        assert_eq!(outcome.stats.prefill_tokens, outcome.input_tokens, "{text}");
        let again = answer(&engine, text);
        assert_eq!((&again.text, again.outcome().stats.cached_tokens), (&first.text, 0), "{text}");
    }
    assert!(answers.iter().any(|answer| answer.text != answers[0].text), "the prompt matters: {answers:?}");
    assert_eq!(engine.counters().cached_tokens, 0);
}

#[test]
fn requests_wait_for_each_other_and_can_be_cancelled() {
    let (_file, engine) = open("requests");
    let alone = answer(&engine, "translate: one");
    let endless = |text: &str| TextRequest { max_tokens: Some(100), ..prompt(text) };
    let runs: Vec<_> =
        (0..6).map(|_| start(&engine, TextRequest { max_tokens: Some(12), ..prompt("translate: one") })).collect();
    let cancelled = start(&engine, endless("summarize: everything"));
    cancelled.cancel.cancel();
    assert_eq!(cancelled.answer().outcome().finish, Finish::Cancelled);
    for run in runs {
        assert_eq!(run.answer().text, alone.text);
    }
    assert_eq!(answer(&engine, "translate: one").text, alone.text);
}

#[test]
fn what_it_cannot_do_is_refused() {
    let (file, engine) = open("refused");
    let too_long = generate(&engine, prompt(&"word ".repeat(100))).result;
    assert!(matches!(too_long, Err(Error::PromptTooLong { context_tokens: 128, .. })), "{too_long:?}");
    assert!(matches!(refused(&engine, ask("Hello")), Error::Unsupported(_)));
    let config = ModelConfig { path: file.path.clone(), ..ModelConfig::default() };
    let context = |context| ModelConfig { context, ..config.clone() };
    let refusals = [
        ("n_parallel", context(ContextConfig { n_parallel: Some(2), ..ContextConfig::default() })),
        ("n_ubatch", context(ContextConfig { n_ubatch: Some(64), ..ContextConfig::default() })),
        ("embeddings", context(ContextConfig { embeddings: Some(true), ..ContextConfig::default() })),
        (
            "cache",
            ModelConfig {
                cache: CacheConfig { mode: Some(CacheMode::StateSnapshot), ..CacheConfig::default() },
                ..config.clone()
            },
        ),
        (
            "policy",
            ModelConfig {
                scheduler: SchedulerConfig { policy: Some(Policy::LatencyFirst), ..SchedulerConfig::default() },
                ..config.clone()
            },
        ),
    ];
    for (name, config) in refusals {
        match load(config) {
            Err(Error::Model { fault: ModelFault::Configuration, message }) => {
                assert!(message.contains(name), "{name}: {message}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
