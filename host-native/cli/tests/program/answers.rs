//! `chat`, `query` and `embed`: what comes out, and in which form.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use crate::sipp::{redact, run, run_with_input, sipp};

/// An answer that ends only with the context.
pub(crate) const ENDLESS: &[&str] = &["chat", "DEMO", "Count from 1 to 30.", "--temperature", "0", "--ignore-eos"];

#[test]
fn chat_answers() {
    let ended = run(&["chat", "DEMO", "What colour is a lemon?", "--temperature", "0"]);
    assert_eq!(ended.answer(), "A lemon is yellow.\n");
}

#[test]
fn instructions_come_first() {
    let ended = run(&["chat", "DEMO", "What is your name?", "--system", "Your name is Max.", "--temperature", "0"]);
    assert_eq!(ended.answer(), "My name is Max.\n");
}

#[test]
fn query_continues_a_raw_prompt() {
    let ended = run(&["query", "DEMO", "Monday Tuesday", "--temperature", "0"]);
    assert_eq!(ended.answer(), " Wednesday Thursday Friday Saturday Sunday\n");
}

#[test]
fn prompts_come_from_standard_input() {
    let question = b"What day comes after Monday?\n";
    let ended = run_with_input(&["chat", "DEMO", "--temperature", "0"], question);
    assert_eq!(ended.answer(), "Tuesday\n");
    let ended = run_with_input(&["chat", "DEMO", "-", "--temperature", "0"], question);
    assert_eq!(ended.answer(), "Tuesday\n");
}

#[test]
fn a_prompt_leaves_standard_input_alone() {
    let ended =
        run_with_input(&["chat", "DEMO", "Spell lamp.", "--temperature", "0"], b"What day comes after Monday?\n");
    assert_eq!(ended.answer(), "l-a-m-p\n");
}

#[test]
fn flags_reach_the_model() {
    let count = ["chat", "DEMO", "Count from 3 to 9.", "--temperature", "0"];
    assert_eq!(run(&[&count[..], &["--stop", "7"]].concat()).answer(), "3, 4, 5, 6, \n");
    let folder = tempfile::tempdir().unwrap();
    let grammar = folder.path().join("yes.gbnf");
    fs::write(&grammar, r#"root ::= "maybe""#).unwrap();
    assert_eq!(run(&[&count[..], &["--grammar", grammar.to_str().unwrap()]].concat()).answer(), "maybe\n");
    let schema = folder.path().join("one.json");
    fs::write(&schema, r#"{"const": 1}"#).unwrap();
    assert_eq!(run(&[&count[..], &["--json-schema", schema.to_str().unwrap()]].concat()).answer().trim(), "1");
}

#[test]
fn json_has_tokens_and_then_the_response() {
    let ended = run(&["chat", "DEMO", "Count from 3 to 9.", "--temperature", "0", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let mut events = ended.events();
    let response = events.pop().unwrap();
    assert!(events.iter().all(|event| event["type"] == "token"), "{ended:?}");
    let text: String = events.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(text, "3, 4, 5, 6, 7, 8, 9");
    let mut written = 0;
    for event in &events {
        assert!(event["sequence"].as_u64().unwrap() <= written, "{ended:?}");
        written += event["tokens"].as_u64().unwrap();
    }
    assert_eq!(response["text"], text.as_str());
    assert!(response["usage"]["output_tokens"].as_u64().unwrap() >= written, "{ended:?}");
    insta::assert_snapshot!(shape(&response));
}

#[test]
fn json_says_why_an_answer_ended() {
    let ended = run(&["query", "DEMO", "one two three", "-n", "1", "--temperature", "0", "--json"]);
    let events = ended.events();
    let response = events.last().unwrap();
    assert_eq!((ended.code, &response["finish_reason"]), (0, &Value::from("length")));
    assert_eq!(response["usage"]["output_tokens"], 1);
}

#[test]
fn stats_are_for_people() {
    let ended = run(&["chat", "DEMO", "Count from 3 to 9.", "--temperature", "0", "--stats"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "3, 4, 5, 6, 7, 8, 9\n"));
    insta::assert_snapshot!(redact(&ended.stderr));
}

#[test]
fn a_full_context_is_worth_a_note() {
    let ended = run(&[ENDLESS, &["--ctx-size", "64"]].concat());
    assert_eq!(ended.code, 0);
    assert!(ended.stdout.starts_with("1, 2, 3"), "{ended:?}");
    insta::assert_snapshot!(ended.stderr);
}

#[test]
fn a_deadline_ends_an_answer() {
    let ended = run(&[ENDLESS, &["--deadline", "1ms"]].concat());
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("deadline passed"), "{ended:?}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = sipp(ENDLESS).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{output:?}");
}

#[test]
fn files_and_pipes_get_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let grammar = folder.path().join("bell.gbnf");
    fs::write(&grammar, r#"root ::= "\x1B[31m\x07""#).unwrap();
    let ended = run(&["query", "DEMO", "x", "--temperature", "0", "--grammar", grammar.to_str().unwrap()]);
    assert_eq!(ended.answer(), "\u{1b}[31m\u{7}\n");
}

#[test]
fn embed_writes_a_line_for_each_text() {
    let ended = run(&["embed", "DEMO", "a red apple", "a green apple"]);
    let vectors: Vec<Vec<f32>> =
        ended.answer().lines().map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect();
    let [red, green] = vectors.as_slice() else { panic!("{ended:?}") };
    assert_eq!(red.len(), green.len());
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    assert!((dot(red, red) - 1.0).abs() < 1e-3 && dot(red, green) < 0.9999, "{ended:?}");
    let lines = run_with_input(&["embed", "DEMO"], b"a red apple\na green apple\n");
    assert_eq!(lines.answer(), ended.answer());
    let longer = run(&["embed", "DEMO", "a red apple", "--no-normalize", "--pooling", "last"]);
    assert_ne!(longer.answer().lines().next(), ended.answer().lines().next());
}

#[test]
fn embed_writes_json() {
    let ended = run(&["embed", "DEMO", "a red apple", "a green apple", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let events = ended.events();
    let [first, second, response] = events.as_slice() else { panic!("{ended:?}") };
    for (index, event) in [first, second].into_iter().enumerate() {
        assert_eq!((&event["type"], &event["index"]), (&Value::from("embedding"), &Value::from(index)));
        assert!(event["embedding"].as_array().unwrap().iter().all(Value::is_number));
    }
    insta::assert_snapshot!(shape(response));
}

/// A JSON value with every number replaced.
fn shape(value: &Value) -> String {
    fn replace(value: &mut Value) {
        match value {
            Value::Number(_) => *value = Value::from("N"),
            Value::Array(values) => values.iter_mut().for_each(replace),
            Value::Object(fields) => fields.values_mut().for_each(replace),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut value = value.clone();
    replace(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}
