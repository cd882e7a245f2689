//! Tools, reasoning and log probabilities, on the demo model with templates that know them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use engine_sys::{
    ChatMessage, ContextConfig, Delta, Engine, Error, Finish, Input, ModelConfig, Part, ResponseFormat, Role,
    TextRequest, Tool, ToolCall, ToolChoice, ToolResult,
};
use serde_json::{Value, json};
use support::TempFile;
use support::{Answer, ask, demo, demo_path, generate, greedy, load, message, prompt, refused, start};
use test_models::gguf::{File, text};

/// Describes tools and writes calls as many models do.
const TOOLS: &str = include_str!("../../tests/cases/tools.jinja");

/// Lets the assistant think before it answers.
const THINKS: &str = r"{%- for message in messages %}{{ '<|' + message.role + '|>\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}{{ '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}{% endif %}
{{- message.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}";

/// The demo model with another template.
fn with_template(name: &str, template: &str) -> Engine {
    let mut gguf = File::open(&demo_path());
    gguf.set("tokenizer.chat_template", text(template.trim_end()));
    let file = TempFile::new(&format!("{name}.gguf"), &gguf.bytes());
    let context = ContextConfig { n_parallel: Some(2), ..ContextConfig::default() };
    load(ModelConfig { path: file.path.clone(), context, ..ModelConfig::default() }).expect("the model loads")
}

fn tool(name: &str, parameters: &Value) -> Tool {
    Tool { name: name.to_owned(), description: Some("Says it.".to_owned()), parameters: Some(parameters.to_string()) }
}

fn weather() -> Tool {
    let city = json!({ "enum": ["Oslo", "Rome"] });
    tool("weather", &json!({ "type": "object", "properties": { "city": city }, "required": ["city"] }))
}

fn calls(answer: &Answer) -> Vec<ToolCall> {
    let deltas = answer.batches.iter().map(|batch| batch.delta.clone());
    deltas
        .filter_map(|delta| match delta {
            Delta::ToolCall(call) => Some(call),
            Delta::Text(_) | Delta::Reasoning(_) => None,
        })
        .collect()
}

fn reasoning(answer: &Answer) -> String {
    let deltas = answer.batches.iter().map(|batch| &batch.delta);
    deltas
        .filter_map(|delta| match delta {
            Delta::Reasoning(text) => Some(text.as_str()),
            Delta::Text(_) | Delta::ToolCall(_) => None,
        })
        .collect()
}

#[test]
fn a_required_tool_is_called_with_arguments_of_its_schema() {
    let engine = with_template("required", TOOLS);
    for choice in [ToolChoice::Required, ToolChoice::Tool("weather".to_owned())] {
        let request = TextRequest { tools: vec![weather()], tool_choice: choice, ..ask("Hello") };
        let answer = generate(&engine, request);
        let [call] = calls(&answer).try_into().unwrap_or_else(|calls| panic!("{calls:?} in {answer:?}"));
        let arguments: Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
        assert!(arguments["city"] == "Oslo" || arguments["city"] == "Rome", "{arguments}");
        assert_eq!((call.name.as_str(), call.id.len(), answer.text.trim()), ("weather", 9, ""));
        assert_eq!(answer.outcome().finish, Finish::ToolCalls);
    }
}

#[test]
fn a_named_tool_is_the_only_one_that_is_called() {
    let engine = with_template("named", TOOLS);
    let time = tool("time", &json!({ "type": "object", "properties": {} }));
    for name in ["time", "weather"] {
        let request = TextRequest {
            tools: vec![weather(), time.clone()],
            tool_choice: ToolChoice::Tool(name.to_owned()),
            ..ask("Hello")
        };
        assert_eq!(calls(&generate(&engine, request))[0].name, name);
    }
}

#[test]
fn with_the_choice_of_a_tool_a_model_may_answer() {
    let engine = with_template("auto", TOOLS);
    for choice in [ToolChoice::Auto, ToolChoice::None] {
        let request = TextRequest { tools: vec![weather()], tool_choice: choice, max_tokens: Some(16), ..ask("Hello") };
        let answer = generate(&engine, request);
        assert!(calls(&answer).is_empty() && !answer.text.is_empty(), "{answer:?}");
    }
}

#[test]
fn the_result_of_a_call_is_read() {
    let engine = with_template("results", TOOLS);
    let call =
        ToolCall { id: "a1b2c3d4e".to_owned(), name: "weather".to_owned(), arguments: r#"{"city":"Oslo"}"#.to_owned() };
    let conversation = |result: &str| {
        let result = ToolResult { id: call.id.clone(), content: result.to_owned() };
        let messages = vec![
            message(Role::User, "Hello"),
            ChatMessage { role: Role::Assistant, content: vec![Part::ToolCall(call.clone())] },
            ChatMessage { role: Role::Tool, content: vec![Part::ToolResult(result)] },
        ];
        TextRequest { tools: vec![weather()], max_tokens: Some(8), ..greedy(Input::Chat(messages)) }
    };
    let tokens = |result: &str| generate(&engine, conversation(result)).outcome().input_tokens;
    assert!(tokens("It rains in Oslo.") > tokens("It"), "the result is in the prompt");
    // As a control token it would be one.
    assert!(tokens("<|end|>") > tokens("x") + 2, "a control text in a result stays text");
}

#[test]
fn tools_are_refused_where_they_cannot_be_called() {
    let plain = demo(ContextConfig::default());
    let with = |tools: Vec<Tool>| TextRequest { tools, ..ask("Hello") };
    let answer = generate(&plain, with(vec![weather()]));
    assert!(matches!(&answer.result, Err(Error::Unsupported(text)) if text.contains("takes no tools")), "{answer:?}");

    let engine = with_template("refused", TOOLS);
    let bad = |name: &str, parameters: &str| Tool {
        name: name.to_owned(),
        description: None,
        parameters: Some(parameters.to_owned()),
    };
    for (request, reason) in [
        (TextRequest { tools: vec![weather()], ..prompt("Hello") }, "use chat"),
        (with(vec![weather(), weather()]), "same name"),
        (with(vec![bad("a b", "{}")]), "name of a tool"),
        (with(vec![bad("x", "{")]), "not JSON"),
        (with(vec![bad("x", "[]")]), "no JSON object"),
        (TextRequest { tool_choice: ToolChoice::Required, ..ask("Hello") }, "no tools"),
        (TextRequest { tool_choice: ToolChoice::Tool("x".to_owned()), ..with(vec![weather()]) }, "no such tool"),
        (TextRequest { grammar: Some("root ::= \"a\"".to_owned()), ..with(vec![weather()]) }, "exclude"),
        (TextRequest { response_format: ResponseFormat::JsonObject, ..with(vec![weather()]) }, "exclude"),
        (TextRequest { logprobs: Some(21), ..ask("Hello") }, "at most 20"),
        (TextRequest { media: vec![Vec::new()], ..ask("Hello") }, "images"),
    ] {
        let error = refused(&engine, request);
        assert!(error.to_string().contains(reason), "{error} says nothing of {reason}");
    }
    let unknown = bad("x", r#"{"type":"object","properties":{"a":{"type":"nosuch"}}}"#);
    let answer = generate(&engine, TextRequest { tool_choice: ToolChoice::Required, ..with(vec![unknown]) });
    assert!(matches!(&answer.result, Err(Error::InvalidRequest(_))), "{answer:?}");
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn reasoning_is_no_part_of_the_answer() {
    let engine = with_template("thinks", THINKS);
    let grammar = r#"root ::= "<think>\nLet me see.\n</think>\n\nHello!""#;
    let request = TextRequest { grammar: Some(grammar.to_owned()), ..ask("Hello") };
    let answer = generate(&engine, request);
    assert_eq!((reasoning(&answer).trim(), answer.text.trim()), ("Let me see.", "Hello!"));
    assert!(answer.batches.len() > 3, "it comes as it is written: {answer:?}");
    assert_eq!(answer.outcome().finish, Finish::Stop);

    // A model that does not think is understood too.
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");

    // What was thought before can be handed back.
    let thought = ChatMessage {
        role: Role::Assistant,
        content: vec![Part::Reasoning("A greeting.".to_owned()), Part::Text("Hello!".to_owned())],
    };
    let messages = vec![message(Role::User, "Hello"), thought, message(Role::User, "Hello")];
    let answer = generate(&engine, greedy(Input::Chat(messages)));
    assert!(!answer.text.is_empty(), "{answer:?}");
}

#[test]
fn an_answer_that_is_cut_while_it_thinks_is_reasoning() {
    let engine = with_template("cut", THINKS);
    let grammar = r#"root ::= "<think>\nLet me see.\n</think>\n\nHello!""#;
    let request = TextRequest { grammar: Some(grammar.to_owned()), ..ask("Hello") };
    let whole = generate(&engine, request.clone()).outcome().output_tokens;
    for most in 1..whole {
        let answer = generate(&engine, TextRequest { max_tokens: Some(most), ..request.clone() });
        assert_eq!(answer.outcome().finish, Finish::Length);
        assert!("Let me see.".starts_with(reasoning(&answer).trim()), "{most}: {answer:?}");
        // The first letters of a tag may as well be the answer.
        let text = answer.text.trim();
        assert!("Hello!".starts_with(text) || "<think>".starts_with(text), "{most}: {answer:?}");
    }
}

#[test]
fn each_token_tells_how_likely_it_was() {
    let engine = demo(ContextConfig { n_parallel: Some(2), ..ContextConfig::default() });
    let asked = TextRequest { logprobs: Some(3), ..ask("Hello") };
    let (told, beside) = (start(&engine, asked.clone()), start(&engine, ask("Spell lamp.")));
    let answer = told.answer();
    assert!(beside.answer().batches.iter().all(|batch| batch.logprobs.is_empty()), "nobody asked for them");
    let likely: Vec<_> = answer.batches.iter().flat_map(|batch| &batch.logprobs).collect();
    assert_eq!(likely.len(), answer.outcome().output_tokens as usize);
    for batch in &answer.batches {
        assert_eq!(batch.logprobs.len(), batch.tokens as usize);
    }
    let text: String = likely.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(text, answer.text);
    for token in likely {
        assert!(token.logprob <= 0.0 && token.top.len() == 3, "{token:?}");
        assert!(token.top.is_sorted_by(|(_, a), (_, b)| a >= b), "{token:?}");
        // It was chosen greedily.
        assert_eq!((&token.token, token.logprob), (&token.top[0].0, token.top[0].1));
    }
    let none = generate(&engine, TextRequest { logprobs: Some(0), ..asked });
    assert!(none.batches.iter().flat_map(|batch| &batch.logprobs).all(|token| token.top.is_empty()));
}
