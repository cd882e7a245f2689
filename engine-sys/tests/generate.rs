//! Generations on the demo model: texts, ends, limits and counts.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use engine_sys::{ContextConfig, Error, Finish, Input, Role, TextRequest};
use support::{ask, demo, generate, greedy, message, prompt, refused};

#[test]
fn greedy_answers_are_right_and_stop_by_themselves() {
    let engine = demo(ContextConfig::default());
    for (question, expected) in [
        ("Hello", "Hello! How can I help you?"),
        ("Count from 1 to 5.", "1, 2, 3, 4, 5"),
        ("What day comes after Monday?", "Tuesday"),
        ("Give me a JSON object with name Anna and age 7.", "{\"name\": \"Anna\", \"age\": 7}"),
        ("Show me a happy face.", "😀"),
        ("Say hello in Japanese.", "こんにちは"),
    ] {
        let answer = generate(&engine, ask(question));
        assert_eq!(answer.text, expected, "{question}");
        assert_eq!(answer.outcome().finish, Finish::Stop);
    }
}

#[test]
fn system_and_earlier_messages_count() {
    let engine = demo(ContextConfig::default());
    let capitals = [message(Role::System, "Answer in capital letters."), message(Role::User, "Hello")];
    assert_eq!(generate(&engine, greedy(Input::Chat(capitals.to_vec()))).text, "HELLO! HOW CAN I HELP YOU?");
    let conversation = [
        message(Role::User, "My name is Tom."),
        message(Role::Assistant, "Nice to meet you, Tom."),
        message(Role::User, "What is my name?"),
    ];
    assert_eq!(generate(&engine, greedy(Input::Chat(conversation.to_vec()))).text, "Your name is Tom.");
}

#[test]
fn a_raw_prompt_is_continued() {
    let engine = demo(ContextConfig::default());
    let answer = generate(&engine, prompt("Monday Tuesday"));
    assert_eq!(answer.text, " Wednesday Thursday Friday Saturday Sunday");
}

#[test]
fn max_tokens_1_gives_one_tokens_text() {
    let engine = demo(ContextConfig::default());
    let answer = generate(&engine, TextRequest { max_tokens: Some(1), ..ask("What day comes after Monday?") });
    assert!(!answer.text.is_empty() && "Tuesday".starts_with(&answer.text), "{:?}", answer.text);
    assert_eq!(answer.outcome().finish, Finish::Length);
    assert_eq!(answer.outcome().output_tokens, 1);
}

#[test]
fn every_max_tokens_gives_a_prefix_of_the_whole_answer() {
    let engine = demo(ContextConfig::default());
    let whole = generate(&engine, ask("Count from 1 to 5."));
    let tokens = whole.outcome().output_tokens;
    for most in 1..=tokens {
        let answer = generate(&engine, TextRequest { max_tokens: Some(most), ..ask("Count from 1 to 5.") });
        assert_eq!(answer.outcome().output_tokens, most);
        assert_eq!(answer.outcome().finish, Finish::Length);
        assert!(whole.text.starts_with(&answer.text), "{:?}", answer.text);
        assert_eq!(answer.text == whole.text, most == tokens, "the last token's text is there");
    }
    let more = generate(&engine, TextRequest { max_tokens: Some(tokens + 1), ..ask("Count from 1 to 5.") });
    assert_eq!((more.text, more.result.unwrap().finish), (whole.text, Finish::Stop));
}

#[test]
fn a_character_cut_by_the_limit_becomes_a_replacement_character() {
    let engine = demo(ContextConfig::default());
    let whole = generate(&engine, ask("Show me a happy face."));
    let tokens = whole.outcome().output_tokens;
    assert!(tokens > 1, "the face has more than one token");
    let cut = generate(&engine, TextRequest { max_tokens: Some(tokens - 1), ..ask("Show me a happy face.") });
    assert_eq!(cut.text, "\u{FFFD}");
    assert_eq!(cut.outcome().output_tokens, tokens - 1);
}

#[test]
fn stop_texts_end_the_answer_and_are_not_part_of_it() {
    let engine = demo(ContextConfig::default());
    for (stops, expected) in [
        (vec![", 4"], "1, 2, 3"),
        (vec!["4, 5"], "1, 2, 3, "),
        (vec!["3, 4, 5", "2, 9"], "1, 2, "),
        (vec!["1"], ""),
        (vec!["5", ", 3"], "1, 2"),
        (vec!["1, 2, 3, 4, 5, 6"], "1, 2, 3, 4, 5"),
        (vec!["x"], "1, 2, 3, 4, 5"),
    ] {
        let stop = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let answer = generate(&engine, TextRequest { stop, ..ask("Count from 1 to 5.") });
        assert_eq!(answer.text, expected, "{stops:?}");
        assert_eq!(answer.outcome().finish, Finish::Stop, "{stops:?}");
    }
}

#[test]
fn a_full_context_ends_with_length() {
    let engine = demo(ContextConfig { n_ctx: Some(40), ..ContextConfig::default() });
    let answer = generate(&engine, ask("Count from 1 to 30."));
    let outcome = answer.outcome();
    assert_eq!(outcome.finish, Finish::Length);
    assert_eq!(outcome.input_tokens + outcome.output_tokens, 40);
    assert_eq!(engine.model().context, 40);
}

#[test]
fn a_prompt_must_leave_room_for_an_answer() {
    let whole = demo(ContextConfig::default());
    let tokens = generate(&whole, prompt("one two three four five six seven")).outcome().input_tokens;
    let exact = demo(ContextConfig { n_ctx: Some(tokens), ..ContextConfig::default() });
    let answer = generate(&exact, prompt("one two three four five six seven"));
    assert_eq!(answer.result, Err(Error::PromptTooLong { prompt_tokens: tokens, context_tokens: tokens }));
    let one_more = demo(ContextConfig { n_ctx: Some(tokens + 1), ..ContextConfig::default() });
    let answer = generate(&one_more, prompt("one two three four five six seven"));
    assert_eq!((answer.outcome().finish, answer.outcome().output_tokens), (Finish::Length, 1));
}

#[test]
fn long_prompts_are_refused_and_do_not_disturb() {
    let engine = demo(ContextConfig::default());
    for text in ["a".repeat(4 << 20), "word ".repeat(100_000), "\u{10FFFF}".repeat(10_000), " ".repeat(1 << 20)] {
        let answer = generate(&engine, prompt(&text));
        assert!(matches!(answer.result, Err(Error::PromptTooLong { .. })), "{:?}", answer.result);
    }
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn a_long_prompt_is_read_in_pieces() {
    let text = "one two three four five six seven eight nine ten ".repeat(12);
    let expected = generate(&demo(ContextConfig::default()), prompt(&text));
    for (n_batch, n_ubatch) in [(1, 1), (7, 3), (64, 64), (512, 5)] {
        let context = ContextConfig { n_batch: Some(n_batch), n_ubatch: Some(n_ubatch), ..ContextConfig::default() };
        let answer = generate(&demo(context), prompt(&text));
        assert_eq!(answer.text, expected.text, "n_batch {n_batch}, n_ubatch {n_ubatch}");
    }
}

#[test]
fn an_empty_prompt_is_the_beginning_alone() {
    let engine = demo(ContextConfig::default());
    let answer = generate(&engine, TextRequest { max_tokens: Some(4), ..prompt("") });
    assert_eq!(answer.outcome().input_tokens, 1);
}

#[test]
fn odd_texts_are_taken() {
    let engine = demo(ContextConfig::default());
    for text in ["\0", "a\0b\0\0c", "\u{FEFF}", "\u{202E}abc", "🏳️‍🌈🏳️‍🌈", "\n\n\n", "\r\n\t", "\u{0301}", "ﷺ"]
    {
        for input in [Input::Prompt(text.to_owned()), Input::Chat(vec![message(Role::User, text)])] {
            let answer = generate(&engine, TextRequest { max_tokens: Some(3), ..greedy(input) });
            assert!(answer.result.is_ok(), "{text:?}: {:?}", answer.result);
        }
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_at_once() {
    let engine = demo(ContextConfig::default());
    let cases = [
        (TextRequest { max_tokens: Some(0), ..ask("Hello") }, "max_tokens"),
        (TextRequest { stop: vec![String::new()], ..ask("Hello") }, "stop"),
        (greedy(Input::Chat(Vec::new())), "messages"),
        (
            TextRequest { grammar: Some("root ::= \"a\"".into()), json_schema: Some("{}".into()), ..ask("Hello") },
            "json_schema",
        ),
    ];
    for (request, word) in cases {
        let error = refused(&engine, request);
        assert!(matches!(&error, Error::InvalidRequest(text) if text.contains(word)), "{error:?}");
    }
}

#[test]
fn timings_and_counts_are_plausible() {
    let engine = demo(ContextConfig::default());
    let answer = generate(&engine, ask("Count from 1 to 5."));
    let stats = answer.outcome().stats;
    let first = stats.time_to_first_token.expect("there was a token");
    assert!(stats.queue <= first && stats.prefill <= first);
    assert!(stats.decode.as_nanos() > 0);
    assert_eq!(stats.prefill_tokens, answer.outcome().input_tokens);
    let counters = engine.counters();
    assert_eq!((counters.completed, counters.running, counters.queued), (1, 0, 0));
    assert_eq!(counters.output_tokens, u64::from(answer.outcome().output_tokens));
}
