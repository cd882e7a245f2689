//! The command line: `check`, exit codes, and refusing to start.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::program::{TARGETS, place_models};

/// Runs the program with a configuration of this text.
fn run(verb: &str, text: &str) -> (Option<i32>, String, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    place_models(folder.path());
    let program =
        Command::new(env!("CARGO_BIN_EXE_sipp-gateway")).args([verb, "--config"]).arg(&path).output().unwrap();
    let Output { status, stdout, stderr } = program;
    let relative =
        |text: Vec<u8>| String::from_utf8(text).unwrap().replace(&format!("{}/", folder.path().display()), "");
    (status.code(), relative(stdout), relative(stderr))
}

#[test]
fn a_valid_configuration_is_called_valid() {
    let (code, stdout, stderr) = run("check", TARGETS);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "configuration is valid: gateway.toml\n", ""));
}

#[test]
fn both_verbs_refuse_a_wrong_file_with_key_and_line() {
    for verb in ["check", "serve"] {
        let (code, stdout, stderr) = run(verb, &format!("{TARGETS}\n[targets.runtime.contxt]\n"));
        assert_eq!((code, stdout.as_str()), (Some(3), ""));
        assert!(stderr.starts_with("gateway.toml:21: targets[1].runtime.contxt: unknown field `contxt`"), "{stderr}");
    }
}

#[test]
fn both_verbs_refuse_what_the_client_refuses() {
    for verb in ["check", "serve"] {
        let (code, _, stderr) = run(verb, &TARGETS.replace("n_parallel = 2", "n_parallel = 0"));
        assert_eq!(code, Some(3));
        assert!(stderr.starts_with("gateway.toml:16: targets[1].runtime.context.n_parallel: "), "{stderr}");
        assert!(stderr.contains("16 | n_parallel = 0"), "{stderr}");
    }
}

#[test]
fn serve_refuses_what_the_model_cannot() {
    let (code, _, stderr) = run("serve", &TARGETS.replace("n_ctx = 16384", "n_ctx = 16385"));
    assert_eq!(code, Some(3));
    let refusal = stderr.lines().find(|line| line.starts_with("gateway.toml:")).expect(&stderr);
    assert!(refusal.starts_with("gateway.toml:15: targets[1].runtime.context.n_ctx: cannot open "), "{stderr}");
}

#[test]
fn serve_refuses_a_model_that_is_no_longer_whole() {
    let (code, _, stderr) = run("serve", &TARGETS.replace("long.gguf", "half.gguf"));
    assert_eq!(code, Some(3));
    let refusal = stderr.lines().find(|line| line.starts_with("gateway.toml:")).expect(&stderr);
    assert!(
        refusal.starts_with("gateway.toml:13: targets[1].model: cannot open the target: half.gguf is damaged"),
        "{stderr}"
    );
}

#[test]
fn serve_refuses_a_token_that_is_not_set() {
    let (code, _, stderr) = run("serve", &format!("{TARGETS}[[tokens]]\nenv = \"TEST_NO_TOKEN\"\ncaller = \"ann\"\n"));
    assert_eq!(code, Some(3));
    assert!(stderr.starts_with("gateway.toml:21: tokens[0].env: `TEST_NO_TOKEN` is required"), "{stderr}");
}

/// A target on another machine; its key is read when the gateway starts.
const REMOTE: &str = r#"
[[targets]]
name = "remote"
type = "openai"
model = "some-model"
api_key_env = "TEST_NO_KEY"
"#;

#[test]
fn secrets_are_only_wanted_where_requests_are_served() {
    let (code, stdout, stderr) = run("check", REMOTE);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "configuration is valid: gateway.toml\n", ""));
    let (code, _, stderr) = run("serve", REMOTE);
    assert_eq!(code, Some(3));
    assert!(stderr.starts_with("gateway.toml:6: targets[0].api_key_env: `TEST_NO_KEY` is required"), "{stderr}");
}

#[test]
fn both_verbs_refuse_a_remote_target_that_cannot_be() {
    for (key, refused) in [
        ("base_url = \"http://10.0.0.1\"", "gateway.toml:7: targets[0].base_url: base_url must be https"),
        ("retries = 11", "gateway.toml:7: targets[0].retries: retries must be from 0 to 10"),
        ("timeouts.idle_ms = 0", "gateway.toml:7: targets[0].timeouts: timeouts.idle must be positive"),
        ("headers = { a = \"b\" }", "gateway.toml:7: targets[0].headers: is not a key of targets of type `openai`"),
    ] {
        for verb in ["check", "serve"] {
            let (code, _, stderr) = run(verb, &format!("{REMOTE}{key}\n"));
            assert_eq!(code, Some(3));
            assert!(stderr.starts_with(refused), "{stderr}");
        }
    }
}

#[test]
fn serve_refuses_an_address_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, _, stderr) = run("serve", &format!("public_bind = \"{}\"\n{TARGETS}", taken.local_addr().unwrap()));
    assert_eq!(code, Some(3));
    assert!(stderr.starts_with("gateway.toml:1: public_bind: cannot listen on 127.0.0.1:"), "{stderr}");
}

#[test]
fn a_wrong_command_line_is_something_else() {
    let status = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sipp-gateway")).args(arguments).output().unwrap().status.code()
    };
    assert_eq!(status(&["serve"]), Some(2));
    assert_eq!(status(&["run"]), Some(2));
    assert_eq!(status(&["--help"]), Some(0));
    assert_eq!(status(&["check", "--config", "no/such/file.toml"]), Some(3));
}
