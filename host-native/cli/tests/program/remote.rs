//! Endpoints at providers: what is asked of them, what is shown of their answers, and what of their failures.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::sipp::{Ended, said, sipp};
#[cfg(unix)]
use crate::terminal::{exit_code, greeted, say};
use crate::upstream::{Reply, Upstream, completion, finite, messages};

/// The credential. It must not be in anything that the program writes.
const KEY: &str = "sk-never-shown";

const HELLO: &[(&str, &str, &str)] = &[("text_delta", "text", "Hello"), ("text_delta", "text", " there!")];

/// `sipp chat` with a message for the model `m` of this upstream.
fn chat(upstream: &Upstream, arguments: &[&str]) -> Command {
    ask("chat", &upstream.url, &[&["Hi"], arguments].concat())
}

fn ask(verb: &str, url: &str, arguments: &[&str]) -> Command {
    let endpoint =
        [verb, "--provider", "anthropic", "--model", "m", "--base-url", url, "--api-key-env", "SIPP_TEST_KEY"];
    let mut command = sipp(&[&endpoint, arguments].concat());
    command.env("SIPP_TEST_KEY", KEY).env_remove("ANTHROPIC_API_KEY");
    command
}

/// Runs the program. Whatever it says, it does not say the credential.
fn run(mut command: Command) -> Ended {
    let ended: Ended = command.stdin(Stdio::null()).output().unwrap().into();
    assert!(!ended.stdout.contains(KEY) && !ended.stderr.contains(KEY), "{ended:?}");
    ended
}

fn hello() -> Reply {
    Reply::Whole(messages(HELLO, Some("end_turn")))
}

#[test]
fn a_provider_answers() {
    let upstream = Upstream::start([hello(), hello()]);
    assert_eq!(run(chat(&upstream, &["--system", "Be brief."])).answer(), "Hello there!\n");
    let seen = upstream.seen();
    assert_eq!((seen.path.as_str(), seen.headers["x-api-key"].as_str()), ("/messages", KEY));
    assert_eq!((&seen.body["model"], &seen.body["stream"]), (&json!("m"), &json!(true)));
    assert!(seen.body["system"].to_string().contains("Be brief."), "{seen:?}");
    assert!(!seen.body.to_string().contains(KEY), "{seen:?}");
    assert_eq!(run(ask("query", &upstream.url, &["Hi"])).answer(), "Hello there!\n");
}

#[test]
fn openai_and_compatible_upstreams_answer() {
    let embedding = json!({"object": "embedding", "index": 0, "embedding": [0.5, -1.0]});
    let usage = json!({"prompt_tokens": 3, "total_tokens": 3});
    let vectors = finite("200 OK", &[], &json!({"object": "list", "data": [embedding], "model": "m", "usage": usage}));
    let upstream = Upstream::start([
        Reply::Whole(completion(&["Hello", " there!"])),
        Reply::Whole(vectors.clone()),
        Reply::Whole(vectors),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("one.json");
    fs::write(&schema, r#"{"const": 1}"#).unwrap();
    let ask = |verb, provider, arguments: &[&str]| {
        let endpoint = [verb, "--provider", provider, "--model", "m", "--base-url", &upstream.url, "Hi"];
        let mut command = sipp(&[&endpoint, arguments].concat());
        command.env("SIPP_TEST_KEY", KEY).env("OPENAI_API_KEY", KEY);
        run(command)
    };
    let key = ["--api-key-env", "SIPP_TEST_KEY"];
    let ended = ask("chat", "openai_compatible", &[&key[..], &["--json-schema", schema.to_str().unwrap()]].concat());
    assert_eq!(ended.answer(), "Hello there!\n");
    let seen = upstream.seen();
    assert_eq!(seen.path, "/chat/completions");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.body["response_format"]["json_schema"]["schema"], json!({"const": 1}), "{seen:?}");
    // Without a flag, each provider has its own variable, and whoever is compatible has none.
    for (provider, authorization) in [("openai", Some(format!("Bearer {KEY}"))), ("openai_compatible", None)] {
        assert_eq!(ask("embed", provider, &[]).answer(), "0.5 -1\n");
        let seen = upstream.seen();
        assert_eq!(seen.path, "/embeddings");
        assert_eq!(seen.headers.get("authorization"), authorization.as_ref());
    }
}

#[test]
fn flags_reach_the_request() {
    let upstream = Upstream::start([hello()]);
    let options = ["-n", "7", "--temperature", "0.5", "--stop", "END"];
    let own = ["--option", "metadata={\"user_id\":\"ann\"}", "--option", "service_tier=auto", "--option", "top_k=5"];
    run(chat(&upstream, &[&options[..], &own].concat())).answer();
    let body = upstream.seen().body;
    for (field, value) in [
        ("max_tokens", json!(7)),
        ("temperature", json!(0.5)),
        ("stop_sequences", json!(["END"])),
        ("metadata", json!({"user_id": "ann"})),
        ("service_tier", json!("auto")),
        ("top_k", json!(5)),
    ] {
        assert_eq!(body[field], value, "{field}: {body}");
    }
}

#[test]
fn json_tells_where_an_answer_is_found() {
    // In one piece: how pieces are put together on their way is up to the machine.
    let upstream = Upstream::start([Reply::Whole(messages(&HELLO[..1], Some("end_turn")))]);
    let ended = run(chat(&upstream, &["--json"]));
    insta::assert_snapshot!(ended.answer());
}

#[test]
fn stats_hold_what_was_counted() {
    let upstream = Upstream::start([hello()]);
    let ended = run(chat(&upstream, &["--stats"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "Hello there!\n"));
    assert_eq!(ended.stderr, "prompt           11 tokens\nanswer            5 tokens\n");
}

#[test]
fn reasoning_is_for_programs() {
    let deltas = [("thinking_delta", "thinking", "A greeting."), HELLO[0]];
    let reply = || Reply::Whole(messages(&deltas, Some("end_turn")));
    let upstream = Upstream::start([reply(), reply()]);
    assert_eq!(run(chat(&upstream, &[])).answer(), "Hello\n");
    let ended = run(chat(&upstream, &["--json"]));
    let events = ended.events();
    assert_eq!((&events[0]["type"], &events[0]["text"]), (&json!("reasoning"), &json!("A greeting.")), "{ended:?}");
    assert_eq!(events.last().unwrap()["text"], "Hello");
}

#[test]
fn an_end_that_the_text_does_not_show_is_worth_a_note() {
    let call = [("input_json_delta", "partial_json", "{\"city\":\"Oslo\"}")];
    for (deltas, reason, code, note) in [
        (
            HELLO,
            "max_tokens",
            0,
            "note: the answer ends because it met the endpoint's own limit; --max-tokens sets another\n",
        ),
        (HELLO, "refusal", 0, "note: the answer ends because the provider withheld the rest\n"),
        (&call, "tool_use", 0, "note: the answer ends because the model wants a tool called; --json shows which\n"),
    ] {
        let upstream = Upstream::start([Reply::Whole(messages(deltas, Some(reason)))]);
        let ended = run(chat(&upstream, &[]));
        assert_eq!((ended.code, ended.stderr.as_str()), (code, note), "{ended:?}");
    }
}

/// A refusal whose text holds the credential, as some upstreams do.
fn wrong_key() -> Reply {
    let message = format!("invalid x-api-key: {KEY}");
    let body = json!({"type": "error", "error": {"type": "authentication_error", "message": message}});
    Reply::Whole(finite("401 Unauthorized", &[("request-id", "req_9")], &body))
}

#[test]
fn a_wrong_key_gets_a_hint_and_is_not_shown() {
    let upstream = Upstream::start([wrong_key(), wrong_key()]);
    let (people, programs) = (run(chat(&upstream, &[])), run(chat(&upstream, &["--json"])));
    assert_eq!((people.code, people.stdout.as_str()), (1, ""), "{people:?}");
    assert_eq!((programs.code, programs.stderr.as_str()), (1, ""), "{programs:?}");
    insta::assert_snapshot!(people.stderr + &programs.stdout);
}

fn busy(wait: &str) -> Reply {
    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    Reply::Whole(finite("429 Too Many Requests", &[("retry-after-ms", wait)], &body))
}

#[test]
fn a_busy_upstream_is_asked_again() {
    let upstream = Upstream::start([busy("1"), hello()]);
    let ended = run(chat(&upstream, &["--json"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    let response = ended.events().pop().unwrap();
    assert_eq!((&response["text"], &response["metadata"]["retries"]), (&json!("Hello there!"), &json!(1)));
}

#[test]
fn retries_end() {
    let upstream = Upstream::start([busy("1"), busy("7"), hello()]);
    let ended = run(chat(&upstream, &["--json", "--retries", "1"]));
    let [error]: [Value; 1] = ended.events().try_into().unwrap();
    assert_eq!((ended.code, &error["fault"]), (1, &json!("rate_limited")), "{ended:?}");
    assert_eq!((&error["retry_after_ms"], &error["upstream"]["status"]), (&json!(7), &json!(429)), "{ended:?}");
}

#[test]
fn an_upstream_that_is_not_there_is_a_failure() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(ask("chat", &format!("http://{address}"), &["Hi", "--retries", "0"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("does not accept connections"), "{ended:?}");
}

#[test]
fn half_an_answer_is_a_failure() {
    let upstream = Upstream::start([Reply::Whole(messages(&HELLO[..1], None))]);
    let ended = run(chat(&upstream, &[]));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout == "Hello\n" && ended.stderr.starts_with("error: anthropic: "), "{ended:?}");
}

#[test]
fn a_deadline_ends_an_answer_from_elsewhere() {
    let upstream = Upstream::start([Reply::Held(messages(HELLO, None))]);
    let ended = run(chat(&upstream, &["--deadline", "500ms"]));
    // Text that came before it stays, but whether any came is up to the machine.
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("deadline passed"), "{ended:?}");
}

#[test]
fn a_wrong_remote_command_line_exits_with_2() {
    let upstream = Upstream::start([hello()]);
    let mut all = String::new();
    for arguments in [
        &["chat", "--provider", "anthropic", "Hi"][..],
        &["chat", "--model", "m", "Hi"],
        &["chat", "--provider", "anthropic", "--model", "m", "--gateway", "URL", "--target", "demo", "Hi"],
        &["chat", "--gateway", "URL", "Hi"],
        &["chat", "--provider", "anthropic", "--model", "m", "--base-url", "URL", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--token-env", "SIPP_TEST_UNSET", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--threads", "2", "--seed", "7", "--ctx-size", "9", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--grammar", "a.gbnf", "--batch-size", "7", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--grammar", "missing.gbnf", "Hi"],
        &["embed", "--gateway", "URL", "--target", "demo", "--no-normalize", "--pooling", "cls", "Hi"],
        &["chat", "--provider", "anthropic", "--model", "m", "--threads", "2", "--seed", "7", "Hi"],
        &["query", "--provider", "anthropic", "--model", "m", "--grammar", "a.gbnf", "Hi"],
        &["embed", "--provider", "openai", "--model", "m", "--no-normalize", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "model.gguf", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--option", "seed", "Hi"],
        &["chat", "--gateway", "URL", "--target", "demo", "--retries", "11", "Hi"],
        &["chat", "--gateway", "http://sipp.example", "--target", "demo", "Hi"],
        &["chat", "--provider", "none", "--model", "m", "Hi"],
        &["chat", "DEMO", "--retries", "1", "Hi"],
        &["chat"],
    ] {
        let given: Vec<_> = arguments.iter().map(|word| if *word == "URL" { &upstream.url } else { *word }).collect();
        let mut command = sipp(&given);
        command.env_remove("ANTHROPIC_API_KEY");
        let ended = run(command);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        all += &said(arguments, &ended);
    }
    assert!(!upstream.was_asked());
    insta::assert_snapshot!(all);
}

#[test]
#[cfg(unix)]
fn interrupting_an_answer_closes_its_connection() {
    use std::io::Read;

    let upstream = Upstream::start([Reply::Held(messages(HELLO, None))]);
    let mut child = chat(&upstream, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = [0; 5];
    // The upstream has more to say, so what is here came as a stream.
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"Hello");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    upstream.wait_for_close();
}

#[test]
#[cfg(unix)]
fn interrupting_in_a_conversation_keeps_it_and_closes_the_connection() {
    let answer = Reply::Whole(messages(&[("text_delta", "text", "Good day.")], Some("end_turn")));
    let upstream = Upstream::start([hello(), Reply::Held(messages(HELLO, None)), answer]);
    let mut session = greeted(ask("chat", &upstream.url, &["--system", "Be brief."]));
    assert_eq!(say(&mut session, "Hi"), "Hello there!");
    assert_eq!(upstream.seen().body["messages"].as_array().unwrap().len(), 1);
    session.send("Again\r").unwrap();
    session.flush().unwrap();
    session.exp_string("Hello there!").unwrap();
    session.send_control('c').unwrap();
    upstream.wait_for_close();
    session.exp_string("> ").unwrap();
    assert_eq!(say(&mut session, "And now?"), "Good day.");
    // Both answers went before, the interrupted one as far as it came.
    assert_eq!(upstream.seen().body["messages"].as_array().unwrap().len(), 3);
    let last = upstream.seen().body;
    assert_eq!(last["messages"].as_array().unwrap().len(), 5, "{last}");
    session.send_control('d').unwrap();
    assert_eq!(exit_code(session), 0);
}
