//! The chat page: its files, its models, and the list of targets that it reads.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::program::{Program, TARGETS, VECTORS};

const PAGE: &str = "[chat]\nassets = \"page\"\nmodels = [\"demo.gguf\"]\n";

fn program() -> Program {
    Program::start(&format!("{PAGE}{TARGETS}"))
}

async fn get(program: &Program, route: &str) -> Response {
    reqwest::get(program.url(route)).await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn files_come_with_their_types_and_isolate_the_page() {
    let program = program();
    for (route, kind) in [
        ("/chat/", "text/html"),
        ("/chat/index.html", "text/html"),
        ("/chat/chat.js", "text/javascript"),
        ("/chat/chat.css", "text/css"),
        ("/chat/engine/engine.mjs", "application/javascript"),
        ("/chat/engine/engine.wasm", "application/wasm"),
        ("/chat/models/demo.gguf", "application/octet-stream"),
        ("/chat/gateway.json", "application/json"),
    ] {
        let response = get(&program, route).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, kind), "{route}");
        assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin");
        assert_eq!(header(&response, "cross-origin-embedder-policy"), "require-corp");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        let content = header(&response, "content-security-policy");
        assert!(content.contains("script-src 'self' 'wasm-unsafe-eval';"), "{content}");
    }
    let plain = Client::builder().redirect(Policy::none()).build().unwrap();
    let response = plain.get(program.url("/chat")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()[LOCATION].to_str().unwrap()), (308, "chat/"));
    // Requests are no part of the page.
    let response = get(&program, "/v1/models").await;
    assert!(!response.headers().contains_key("content-security-policy"));
}

#[tokio::test]
async fn what_is_no_file_is_refused_as_everywhere() {
    let program = program();
    let client = Client::new();
    for route in ["/chat/none.js", "/chat/models/none.gguf", "/chat/models/long.gguf", "/chat/models/..%2Fsecret.txt"] {
        let response = get(&program, route).await;
        assert_eq!(response.status(), 404, "{route}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "not_found");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for route in ["/chat", "/chat/", "/chat/chat.js", "/chat/models/demo.gguf", "/chat/gateway.json"] {
            let response = client.request(method.clone(), program.url(route)).send().await.unwrap();
            assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, "GET,HEAD"), "{method} {route}");
            assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "method_not_allowed");
        }
    }
    let head = client.head(program.url("/chat/models/demo.gguf")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    // A client would take the dots out of a path before it sends it.
    for path in ["/chat/../secret.txt", "/chat/%2e%2e/secret.txt", "/chat/..%2fsecret.txt", "/chat//../secret.txt"] {
        let mut stream = TcpStream::connect(program.public()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("not for callers"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_model_comes_in_parts_that_belong_together() {
    let program = program();
    let client = Client::new();
    let list: Value = get(&program, "/chat/gateway.json").await.json().await.unwrap();
    let whole = get(&program, "/chat/models/demo.gguf").await;
    let tag = whole.headers()[ETAG].clone();
    let whole = whole.bytes().await.unwrap();
    assert_eq!(list, json!({"base": "../", "models": [{"file": "demo.gguf", "bytes": whole.len()}]}));

    let part = |range: &str| client.get(program.url("/chat/models/demo.gguf")).header(RANGE, range);
    let response = part("bytes=4-9").send().await.unwrap();
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()[CONTENT_RANGE].to_str().unwrap(), format!("bytes 4-9/{}", whole.len()));
    assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream");
    assert_eq!(response.bytes().await.unwrap(), whole.slice(4..10));
    assert_eq!(part("bytes=999999999-").send().await.unwrap().status(), 416);

    let same = part("bytes=4-9").header(IF_RANGE, &tag).send().await.unwrap();
    assert_eq!(same.status(), 206);
    for range in ["bytes=4-9", "bytes=999999999-"] {
        let other = part(range).header(IF_RANGE, "\"of-another-file\"").send().await.unwrap();
        assert_eq!((other.status().as_u16(), other.bytes().await.unwrap().len()), (200, whole.len()));
    }
    let known = client.get(program.url("/chat/models/demo.gguf")).header(IF_NONE_MATCH, &tag);
    assert_eq!(known.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn without_its_table_there_is_no_page() {
    let program = Program::start(&format!("{TARGETS}{VECTORS}"));
    for route in ["/chat", "/chat/", "/chat/gateway.json"] {
        assert_eq!(get(&program, route).await.status(), 404, "{route}");
    }
    let list: Value = get(&program, "/v1/models").await.json().await.unwrap();
    let text = |id: &str| json!({"id": id, "object": "model", "operations": ["query", "chat"]});
    let vectors = json!({"id": "vectors", "object": "model", "operations": ["embed"]});
    assert_eq!(list, json!({"object": "list", "data": [text("demo"), text("endless"), vectors]}));
    let refused = Client::new().post(program.url("/v1/models")).body("{}").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "GET,HEAD"));
}
