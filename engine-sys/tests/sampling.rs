//! Every sampling option has its effect or is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::collections::HashSet;

use engine_sys::{ContextConfig, Engine, Error, Finish, LogitBias, ModelConfig, SamplerStage, Sampling, TextRequest};
use support::{ask, demo, demo_path, generate, load, refused, sampled};

const STORY: &str = "Tell me a short story about a cat.";

fn text(engine: &Engine, sampling: Sampling) -> String {
    let answer = generate(engine, TextRequest { max_tokens: Some(40), ..sampled(STORY, sampling) });
    assert!(answer.result.is_ok(), "{answer:?}");
    answer.text
}

/// Different texts under one sampling with different seeds.
fn texts(engine: &Engine, sampling: &Sampling) -> usize {
    let texts: HashSet<String> =
        (0..8).map(|seed| text(engine, Sampling { seed: Some(seed), ..sampling.clone() })).collect();
    texts.len()
}

fn wild() -> Sampling {
    Sampling { temperature: Some(3.0), top_k: Some(0), top_p: Some(1.0), ..Sampling::default() }
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let engine = demo(ContextConfig::default());
    for seed in [0, 1, u32::MAX - 1, u32::MAX] {
        let sampling = Sampling { seed: Some(seed), ..wild() };
        assert_eq!(text(&engine, sampling.clone()), text(&engine, sampling), "{seed}");
    }
    assert!(texts(&engine, &wild()) > 4);
    let unseeded: HashSet<String> = (0..8).map(|_| text(&engine, wild())).collect();
    assert!(unseeded.len() > 4);
}

#[test]
fn every_truncating_option_has_its_effect_without_naming_its_stage() {
    let engine = demo(ContextConfig::default());
    let only_the_best = [
        Sampling { top_k: Some(1), ..wild() },
        Sampling { top_p: Some(0.0), ..wild() },
        Sampling { min_p: Some(1.0), ..wild() },
        Sampling { top_n_sigma: Some(0.001), ..wild() },
        Sampling { temperature: Some(0.0), ..wild() },
    ];
    for sampling in only_the_best {
        assert_eq!(texts(&engine, &sampling), 1, "{sampling:?}");
    }
    let kept = Sampling { top_p: Some(0.0), min_keep: Some(50), ..wild() };
    assert!(texts(&engine, &kept) > 4, "min_keep keeps tokens");
}

#[test]
fn the_other_options_change_the_text() {
    let engine = demo(ContextConfig::default());
    let plain = text(&engine, Sampling { seed: Some(7), ..wild() });
    let changed = [
        ("typical_p", Sampling { typical_p: Some(0.1), ..wild() }),
        ("xtc", Sampling { xtc_probability: Some(1.0), xtc_threshold: Some(0.0), ..wild() }),
        ("dynatemp", Sampling { dynatemp_range: Some(2.9), dynatemp_exponent: Some(2.0), ..wild() }),
        ("repeat_penalty", Sampling { repeat_penalty: Some(5.0), ..wild() }),
        ("frequency_penalty", Sampling { frequency_penalty: Some(2.0), ..wild() }),
        ("presence_penalty", Sampling { presence_penalty: Some(-2.0), ..wild() }),
        ("mirostat 1", Sampling { mirostat: Some(1), temperature: Some(3.0), ..Sampling::default() }),
        (
            "mirostat 2",
            Sampling { mirostat: Some(2), mirostat_tau: Some(1.0), temperature: Some(3.0), ..Sampling::default() },
        ),
        ("order", Sampling { samplers: Some(vec![SamplerStage::TopK, SamplerStage::TopP]), ..Sampling::default() }),
    ];
    for (name, sampling) in changed {
        assert_ne!(text(&engine, Sampling { seed: Some(7), ..sampling }), plain, "{name}");
    }
}

#[test]
fn penalties_look_back_on_the_prompt_as_far_as_they_are_told() {
    let engine = demo(ContextConfig::default());
    let question = "Count from 1 to 5.";
    let counting = |sampling| {
        generate(&engine, TextRequest { temperature: Some(0.0), max_tokens: Some(20), ..sampled(question, sampling) })
            .text
    };
    let penalty = Sampling { repeat_penalty: Some(10.0), ..Sampling::default() };
    assert_eq!(counting(Sampling::default()), "1, 2, 3, 4, 5");
    assert_ne!(counting(penalty.clone()), "1, 2, 3, 4, 5");
    assert_eq!(counting(Sampling { repeat_last_n: Some(0), ..penalty }), "1, 2, 3, 4, 5");
}

#[test]
fn dry_lowers_what_would_repeat() {
    let engine = demo(ContextConfig::default());
    let counting = |sampling| {
        let request = TextRequest { max_tokens: Some(60), ..ask("Count from 1 to 30.") };
        generate(&engine, TextRequest { sampling, ..request }).text
    };
    let plain = counting(Sampling::default());
    let dry = Sampling { dry_multiplier: Some(100.0), dry_allowed_length: Some(1), ..Sampling::default() };
    assert_ne!(counting(dry.clone()), plain);
    let breakers = (b' '..=b'~').map(|letter| char::from(letter).to_string()).collect();
    let broken = Sampling { dry_sequence_breakers: Some(breakers), ..dry.clone() };
    assert_eq!(counting(broken), plain, "with a breaker in every place nothing can match");
    let short = Sampling { dry_allowed_length: Some(100), ..dry };
    assert_eq!(counting(short), plain, "no repetition is as long as that");
}

#[test]
fn biases_and_ignore_eos() {
    let engine = demo(ContextConfig::default());
    let question = "What day comes after Monday?";
    let greedy =
        |sampling, most| TextRequest { temperature: Some(0.0), max_tokens: Some(most), ..sampled(question, sampling) };
    let endless = generate(&engine, greedy(Sampling { ignore_eos: Some(true), ..Sampling::default() }, 60));
    assert_eq!((endless.outcome().finish, endless.outcome().output_tokens), (Finish::Length, 60));
    assert!(endless.text.starts_with("Tuesday"));

    let only = |token| {
        let banned = (0..768).filter(|other| *other != token).map(|token| LogitBias { token, bias: f32::NEG_INFINITY });
        Sampling { logit_bias: banned.collect(), ..Sampling::default() }
    };
    let ended = generate(&engine, greedy(only(1), 5));
    assert_eq!((ended.text.as_str(), ended.outcome().output_tokens, ended.outcome().finish), ("", 0, Finish::Stop));
    let repeated = generate(&engine, greedy(only(100), 5));
    assert_eq!((repeated.outcome().output_tokens, repeated.outcome().finish), (5, Finish::Length));
    let everything = Sampling { ignore_eos: Some(true), ..only(1) };
    assert_eq!(generate(&engine, greedy(everything, 5)).outcome().output_tokens, 0, "no token is left");
}

#[test]
fn a_request_overrides_the_models_sampling_field_by_field() {
    let sampling = Sampling { temperature: Some(0.0), ignore_eos: Some(true), ..Sampling::default() };
    let engine = load(ModelConfig { path: demo_path(), sampling, ..ModelConfig::default() }).expect("it loads");
    let own = TextRequest { max_tokens: Some(30), ..sampled("Hello", Sampling::default()) };
    let answer = generate(&engine, own.clone());
    assert_eq!(answer.outcome().finish, Finish::Length);
    assert!(answer.text.starts_with("Hello! How can I help you?"));
    let ended =
        generate(&engine, TextRequest { sampling: Sampling { ignore_eos: Some(false), ..Sampling::default() }, ..own });
    assert_eq!((ended.text.as_str(), ended.outcome().finish), ("Hello! How can I help you?", Finish::Stop));
}

#[test]
fn options_out_of_range_or_without_effect_are_refused_by_name() {
    let engine = demo(ContextConfig::default());
    let none = Sampling::default;
    let cases = [
        ("temperature", Sampling { temperature: Some(-0.1), ..none() }),
        ("temperature", Sampling { temperature: Some(f32::NAN), ..none() }),
        ("temperature", Sampling { temperature: Some(f32::INFINITY), ..none() }),
        ("dynatemp_range", Sampling { dynatemp_range: Some(-1.0), ..none() }),
        ("dynatemp_exponent", Sampling { dynatemp_exponent: Some(0.0), ..none() }),
        ("top_k", Sampling { top_k: Some(u32::MAX), ..none() }),
        ("top_p", Sampling { top_p: Some(1.5), ..none() }),
        ("min_p", Sampling { min_p: Some(-0.5), ..none() }),
        ("typical_p", Sampling { typical_p: Some(0.0), ..none() }),
        ("top_n_sigma", Sampling { top_n_sigma: Some(-1.0), ..none() }),
        ("xtc_probability", Sampling { xtc_probability: Some(2.0), ..none() }),
        ("xtc_threshold", Sampling { xtc_threshold: Some(f32::NAN), ..none() }),
        ("repeat_last_n", Sampling { repeat_last_n: Some(u32::MAX), ..none() }),
        ("repeat_penalty", Sampling { repeat_penalty: Some(0.0), ..none() }),
        ("frequency_penalty", Sampling { frequency_penalty: Some(2.1), ..none() }),
        ("presence_penalty", Sampling { presence_penalty: Some(-2.1), ..none() }),
        ("dry_multiplier", Sampling { dry_multiplier: Some(-1.0), ..none() }),
        ("dry_base", Sampling { dry_base: Some(0.5), ..none() }),
        ("dry_sequence_breakers", Sampling { dry_sequence_breakers: Some(vec![String::new()]), ..none() }),
        ("mirostat", Sampling { mirostat: Some(3), ..none() }),
        ("mirostat_tau", Sampling { mirostat: Some(1), mirostat_tau: Some(0.0), ..none() }),
        ("mirostat_eta", Sampling { mirostat_eta: Some(0.1), ..none() }),
        ("mirostat", Sampling { mirostat: Some(2), top_k: Some(5), ..none() }),
        ("token 768", Sampling { logit_bias: vec![LogitBias { token: 768, bias: 1.0 }], ..none() }),
        ("token 5", Sampling { logit_bias: vec![LogitBias { token: 5, bias: f32::NAN }], ..none() }),
        ("min_p", Sampling { samplers: Some(vec![SamplerStage::TopK]), min_p: Some(0.1), ..none() }),
        ("twice", Sampling { samplers: Some(vec![SamplerStage::TopK, SamplerStage::TopK]), ..none() }),
    ];
    for (name, sampling) in cases {
        let error = refused(&engine, sampled("Hello", sampling.clone()));
        assert!(matches!(&error, Error::InvalidRequest(text) if text.contains(name)), "{sampling:?}: {error:?}");
    }
    let twice =
        TextRequest { temperature: Some(0.5), ..sampled("Hello", Sampling { temperature: Some(0.6), ..none() }) };
    assert!(matches!(refused(&engine, twice), Error::InvalidRequest(text) if text.contains("temperature")));
    let unlisted = TextRequest {
        top_p: Some(0.5),
        ..sampled("Hello", Sampling { samplers: Some(vec![SamplerStage::TopK]), ..none() })
    };
    assert!(matches!(refused(&engine, unlisted), Error::InvalidRequest(text) if text.contains("top_p")));
}

#[test]
fn a_grammar_decides_what_can_be_written() {
    let engine = demo(ContextConfig { n_parallel: Some(3), ..ContextConfig::default() });
    let with = |grammar: &str| TextRequest { grammar: Some(grammar.to_owned()), ..ask("Hello") };
    let yes = support::start(&engine, with("root ::= \"yes\" | \"no\""));
    let digits = support::start(&engine, with("# three digits\nroot ::= digit{3}\ndigit ::= [0-9]\n"));
    let free = support::start(&engine, ask("Hello"));
    let yes = yes.answer();
    assert!(yes.text == "yes" || yes.text == "no", "{yes:?}");
    assert_eq!(yes.outcome().finish, Finish::Stop);
    let digits = digits.answer().text;
    assert!(digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit()), "{digits}");
    assert_eq!(free.answer().text, "Hello! How can I help you?");
}

#[test]
fn a_json_schema_decides_what_can_be_written() {
    let engine = demo(ContextConfig::default());
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"enum": [7, 8]}},
                     "required": ["name", "age"], "additionalProperties": false}"#;
    let request =
        TextRequest { json_schema: Some(schema.to_owned()), max_tokens: Some(200), ..ask("Count from 1 to 5.") };
    let answer = generate(&engine, request);
    let text: String = answer.text.split_whitespace().collect();
    assert!(
        text.starts_with("{\"name\":\"") && (text.ends_with("\"age\":7}") || text.ends_with("\"age\":8}")),
        "{answer:?}"
    );
    assert_eq!(answer.outcome().finish, Finish::Stop);
}

#[test]
fn bad_grammars_and_schemas_are_refused_before_any_token() {
    let engine = demo(ContextConfig::default());
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(5000), ")".repeat(5000));
    for grammar in [
        "",
        "  \n",
        "root",
        "root ::= \"a",
        "root ::= missing",
        "other ::= \"a\"",
        "root ::= root \"a\"",
        "\0",
        "root ::= [a-",
        &deep,
    ] {
        let answer = generate(&engine, TextRequest { grammar: Some(grammar.to_owned()), ..ask("Hello") });
        let Err(Error::InvalidRequest(text)) = &answer.result else { panic!("{grammar:?}: {answer:?}") };
        assert!(answer.batches.is_empty() && text.len() > 12, "{grammar:?}: {text}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for schema in ["", "{", "not json", "{\"type\": \"nosuch\"}", "{\"$ref\": \"#/nowhere\"}", "3", &deep] {
        let answer = generate(&engine, TextRequest { json_schema: Some(schema.to_owned()), ..ask("Hello") });
        assert!(matches!(&answer.result, Err(Error::InvalidRequest(_))), "{schema:?}: {answer:?}");
    }
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}
