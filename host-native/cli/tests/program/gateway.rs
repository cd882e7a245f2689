//! Targets of a gateway: the real `sipp-gateway`, with the demo model.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sipp::{Ended, demo, sipp};

/// The token that the gateway wants.
const TOKEN: &str = "a-token-of-thirty-two-characters";

/// A running `sipp-gateway serve`, which ends with the test.
struct Gateway {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Gateway {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.toml");
        fs::copy(demo(), folder.path().join("demo.gguf")).unwrap();
        fs::write(&config, CONFIG).unwrap();
        // Both programs lie in one folder, but cargo tells a test only of those of its own package.
        let program = Path::new(env!("CARGO_BIN_EXE_sipp")).with_file_name("sipp-gateway").with_extension(EXTENSION);
        assert!(program.exists(), "there is no {}; `cargo x build` makes it", program.display());
        let mut command = Command::new(program);
        command.args(["serve", "--config"]).arg(&config).env_remove("RUST_LOG").env("SIPP_TEST_TOKEN", TOKEN);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let line = lines.find(|line| line["listener"] == "public").expect("the gateway listens");
        // Nobody else reads what it goes on to say, and it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{}", line["address"].as_str().unwrap()), _folder: folder }
    }

    fn run(&self, verb: &str, target: &str, arguments: &[&str]) -> Ended {
        let mut command = sipp(&[&[verb, "--gateway", &self.url, "--target", target], arguments].concat());
        command.env("SIPP_TEST_TOKEN", TOKEN).env("SIPP_TEST_OTHER", "another").stdin(Stdio::null());
        let ended: Ended = command.output().unwrap().into();
        assert!(!ended.stdout.contains(TOKEN) && !ended.stderr.contains(TOKEN), "{ended:?}");
        ended
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const EXTENSION: &str = std::env::consts::EXE_EXTENSION;

const CONFIG: &str = r#"
public_bind = "127.0.0.1:0"
management_bind = "127.0.0.1:0"

[[tokens]]
env = "SIPP_TEST_TOKEN"
caller = "ann"
targets = ["demo", "vectors"]

[[targets]]
name = "demo"
type = "local"
model = "demo.gguf"

[targets.runtime.context]
n_threads = 1

[[targets]]
name = "vectors"
type = "local"
model = "demo.gguf"

[targets.runtime.context]
embeddings = true
pooling = "mean"
n_threads = 1
"#;

const AUTHORISED: &[&str] = &["--token-env", "SIPP_TEST_TOKEN"];

#[test]
fn a_gateway_answers() {
    let gateway = Gateway::start();
    let ask = |verb, target, arguments: &[&str]| gateway.run(verb, target, &[AUTHORISED, arguments].concat());
    let greedy = ["--temperature", "0"];
    let ended = ask("chat", "demo", &[&["What colour is a lemon?"], &greedy[..]].concat());
    assert_eq!(ended.answer(), "A lemon is yellow.\n");
    let ended = ask("query", "demo", &[&["Monday Tuesday"], &greedy[..]].concat());
    assert_eq!(ended.answer(), " Wednesday Thursday Friday Saturday Sunday\n");
    let ended = ask("chat", "demo", &[&["What colour is a lemon?", "--json"], &greedy[..]].concat());
    let mut events = ended.events();
    let response = events.pop().unwrap();
    assert!(events.iter().all(|event| event["type"] == "token"), "{ended:?}");
    assert_eq!((&response["text"], &response["finish_reason"]), (&json!("A lemon is yellow."), &json!("stop")));
    assert!(response["usage"]["output_tokens"].as_u64().unwrap() > 0, "{ended:?}");
    assert!(response["metadata"]["upstream_request_id"].is_string(), "{ended:?}");
    let here = sipp(&["embed", "DEMO", "a red apple"]).output().unwrap().stdout;
    assert_eq!(ask("embed", "vectors", &["a red apple"]).answer().as_bytes(), here);
}

#[test]
fn a_gateway_hands_on_how_its_model_answers() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().unwrap();
    let grammar = folder.path().join("answer.gbnf");
    fs::write(&grammar, "root ::= \"never\" | \"always\"").unwrap();
    let ask = |verb, target, arguments: &[&str]| gateway.run(verb, target, &[AUTHORISED, arguments].concat());
    let story = |seed| {
        let wild = ["--temperature", "2", "--top-k", "0", "--top-p", "1", "-n", "40", "--seed", seed];
        ask("chat", "demo", &[&["Tell me a story.", "--quiet"], &wild[..]].concat()).answer().to_owned()
    };
    let once = story("7");
    assert_eq!(story("7"), once);
    assert_ne!(story("8"), once);
    let ended = ask("chat", "demo", &["What colour is a lemon?", "--grammar", grammar.to_str().unwrap()]);
    assert!(["never\n", "always\n"].contains(&ended.answer()), "{ended:?}");
    // JSON has no number for this bias, which bans the token that ends answers.
    let endless = |flag| {
        let greedy = ["--temperature", "0", "-n", "24", flag];
        ask("chat", "demo", &[&["What day comes after Monday?", "--quiet"], &greedy[..]].concat()).answer().to_owned()
    };
    assert_eq!(endless("--logit-bias=1=-inf"), endless("--ignore-eos"));
    let here = sipp(&["embed", "DEMO", "--no-normalize", "a red apple"]).output().unwrap().stdout;
    assert_eq!(ask("embed", "vectors", &["--no-normalize", "a red apple"]).answer().as_bytes(), here);
    let ended = ask("chat", "demo", &["Hi", "--min-p", "2"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    assert!(ended.stderr.starts_with("error: min_p must be a number from 0 to 1\n"), "{ended:?}");
}

#[test]
fn a_gateway_refuses() {
    let gateway = Gateway::start();
    for (target, arguments, words) in [
        ("demo", &[][..], "error: gateway: missing bearer token\nhint: --api-key-env and --token-env"),
        ("demo", &["--token-env", "SIPP_TEST_OTHER"], "error: gateway: invalid bearer token\nhint: "),
        ("other", AUTHORISED, "error: gateway: caller is not allowed to use the target\n"),
        ("vectors", AUTHORISED, "error: gateway: endpoint `vectors` cannot chat: "),
    ] {
        let ended = gateway.run("chat", target, &[&["Hi"], arguments].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.starts_with(words), "{ended:?}");
    }
}
