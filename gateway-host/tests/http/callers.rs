//! Bearer tokens.

use reqwest::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use crate::program::{Program, TARGETS};

const TOKENS: &str = r#"
[[tokens]]
env = "TEST_TOKEN_ANN"
caller = "ann"

[[tokens]]
env = "TEST_TOKEN_BOB"
caller = "bob"
targets = ["endless"]
"#;

#[tokio::test]
async fn a_token_says_who_asks_and_for_what() {
    let variables = [("TEST_TOKEN_ANN", "token-of-ann"), ("TEST_TOKEN_BOB", "token-of-bob")];
    let mut program = Program::start_with(&format!("{TARGETS}{TOKENS}"), &variables);
    let client = reqwest::Client::new();
    let ask = async |token: &str, model: &str| {
        let body = json!({"model": model, "prompt": "one", "max_tokens": 1});
        let request =
            client.post(program.url("/v1/query")).header("x-request-id", format!("{token}:{model}")).json(&body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = request.send().await.unwrap();
        let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(challenged, status == 401);
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask("", "demo").await, (401, "authentication".into()));
    assert_eq!(ask("token-of-eve", "demo").await, (401, "authentication".into()));
    assert_eq!(ask("token-of-ann", "demo").await, (200, String::new()));
    assert_eq!(ask("token-of-ann", "none").await, (404, "resolution".into()));
    assert_eq!(ask("token-of-bob", "endless").await, (200, String::new()));
    assert_eq!(ask("token-of-bob", "demo").await, (403, "authorization".into()));
    // Names that do not exist look no different from names that may not be used.
    assert_eq!(ask("token-of-bob", "none").await, (403, "authorization".into()));
    let listed = async |token: &str| {
        let request = client.get(program.url("/v1/models"));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let list: Value = request.send().await.unwrap().json().await.unwrap();
        let entries = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [""; 0]);
    assert_eq!(listed("token-of-ann").await, ["demo", "endless"]);
    assert_eq!(listed("token-of-bob").await, ["endless"]);
    assert_eq!(program.access_line("token-of-ann:demo")["caller"], "ann");
    assert_eq!(program.access_line("token-of-bob:demo")["code"], "authorization");
}
