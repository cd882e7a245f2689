//! A stand-in for a provider: a loopback address that gives prepared replies, one for each request, in their order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the upstream does with one request.
pub(crate) enum Reply {
    /// Sends this and closes the connection.
    Whole(String),
    /// Sends this and waits until the other side closes the connection.
    Held(String),
}

/// A request that the upstream got.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Names are in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// A running upstream. Its thread ends with its replies, or else with the test.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Receiver<Seen>,
    closed: Receiver<()>,
}

impl Upstream {
    pub(crate) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies: Vec<_> = replies.into_iter().collect();
        let ((saw, seen), (close, closed)) = (channel(), channel());
        thread::spawn(move || {
            for reply in replies {
                let (stream, _) = listener.accept().unwrap();
                answer(stream, reply, &saw, &close);
            }
        });
        Self { url, seen, closed }
    }

    /// The next request that came.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a request")
    }

    /// Whether there is a request that was not looked at.
    pub(crate) fn was_asked(&self) -> bool {
        self.seen.try_recv().is_ok()
    }

    /// Waits until the other side closed a connection that is held.
    pub(crate) fn wait_for_close(&self) {
        self.closed.recv_timeout(PATIENCE).expect("the connection is closed");
    }
}

fn answer(stream: TcpStream, reply: Reply, saw: &Sender<Seen>, close: &Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // Who is told may be gone: a test need not look at every request.
    let _ = saw.send(read(&mut reader));
    let (text, held) = match reply {
        Reply::Whole(text) => (text, false),
        Reply::Held(text) => (text, true),
    };
    // The other side may have closed the connection already.
    let _ = (&stream).write_all(text.as_bytes());
    if held {
        let _ = reader.read_to_end(&mut Vec::new());
        let _ = close.send(());
    }
}

fn read(reader: &mut impl BufRead) -> Seen {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let path = line().split(' ').nth(1).unwrap().to_owned();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line().split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Seen { path, headers, body: serde_json::from_slice(&body).unwrap() }
}

/// A finite answer with these headers.
pub(crate) fn finite(status: &str, headers: &[(&str, &str)], body: &Value) -> String {
    let body = body.to_string();
    let mut text = head(status, "application/json", headers);
    write!(text, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

/// An answer of events in the shape of Anthropic's Messages: these deltas, each `(its type, its field, its text)`, and
/// a reason to stop; without one the answer is not complete.
pub(crate) fn messages(deltas: &[(&str, &str, &str)], stop_reason: Option<&str>) -> String {
    let usage = json!({"input_tokens": 11, "output_tokens": 1});
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": null,
        "usage": usage,
    });
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, (kind, field, text)) in deltas.iter().enumerate() {
        let block = match *kind {
            "thinking_delta" => json!({"type": "thinking", "thinking": "", "signature": ""}),
            "input_json_delta" => json!({"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}),
            _ => json!({"type": "text", "text": ""}),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let delta = json!({"type": kind, *field: text});
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    if let Some(reason) = stop_reason {
        let usage = json!({"output_tokens": 5});
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}));
        events.push(json!({"type": "message_stop"}));
    }
    let mut text = head("200 OK", "text/event-stream", &[("request-id", "req_1")]) + "\r\n";
    for event in events {
        write!(text, "event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).unwrap();
    }
    text
}

/// An answer of events in the shape of OpenAI's chat completions, with these pieces of text.
pub(crate) fn completion(texts: &[&str]) -> String {
    let chunk = |choices: Value, usage: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage});
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let pieces = texts.iter().map(|text| chunk(choice(json!({"content": text}), Value::Null), Value::Null));
    let end = [
        chunk(choice(json!({}), json!("stop")), Value::Null),
        chunk(json!([]), json!({"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16})),
    ];
    let mut text = head("200 OK", "text/event-stream", &[]) + "\r\n";
    for event in pieces.chain(end) {
        write!(text, "data: {event}\n\n").unwrap();
    }
    text + "data: [DONE]\n\n"
}

fn head(status: &str, media_type: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text
}
