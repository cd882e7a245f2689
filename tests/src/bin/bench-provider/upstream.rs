//! The upstream: a server that speaks OpenAI's chat completions, and does what a request's prompt tells it.
//!
//! Who asks through a gateway has no other way to tell it how long to take: headers are not handed on.

use std::convert::Infallible;
use std::io::Read as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_timer::Delay;
use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sipp_tests::companion::Companion;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The argument that makes this program the upstream.
pub(crate) const ROLE: &str = "upstream";

/// Starts this program in that role.
pub(crate) fn start() -> Result<Companion> {
    let program = std::env::current_exe()?;
    Companion::start(Command::new(program).arg(ROLE)).context("the upstream does not start")
}

/// The text of each token.
pub(crate) const TOKEN: &str = " token";

/// Connections that may wait to be accepted: slow streams begin all at once.
const BACKLOG: u32 = 8192;

/// What a prompt tells the upstream.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) stream: bool,
    /// Tokens of the answer.
    pub(crate) tokens: u32,
    /// Before each token of a stream, or before an answer in one piece, in microseconds.
    pub(crate) pause_us: u64,
}

impl Script {
    /// The prompt that tells it.
    pub(crate) fn prompt(&self) -> String {
        json!(self).to_string()
    }

    /// The answer.
    pub(crate) fn text(&self) -> String {
        TOKEN.repeat(self.tokens as usize)
    }

    fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us)
    }
}

/// Serves until the input ends. The first line that it writes is its URL.
pub(crate) fn serve() -> Result<()> {
    std::thread::spawn(|| {
        // An input that fails has ended too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        println!("http://{}", listener.local_addr()?);
        accept(&listener).await
    })
}

async fn accept(listener: &TcpListener) -> Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        tokio::spawn(converse(connection));
    }
}

async fn converse(connection: TcpStream) {
    let answered =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service_fn(answer));
    // How a connection broke is for its client to say.
    let _ = answered.await;
}

type Answer = Response<Either<Full<Bytes>, StreamBody<Frames>>>;

type Frames = std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let Some(script) = script(&body) else {
        let mut refusal = Response::new(Either::Left(Full::new(Bytes::from_static(b"the prompt is no script"))));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refusal);
    };
    let (kind, body) = if script.stream {
        ("text/event-stream", Either::Right(StreamBody::new(events(script))))
    } else {
        Delay::new(script.pause()).await;
        ("application/json", Either::Left(Full::new(whole(&script))))
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(answer)
}

/// A request, as far as it matters.
#[derive(Deserialize)]
struct Asked {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: String,
}

fn script(body: &[u8]) -> Option<Script> {
    let asked: Asked = serde_json::from_slice(body).ok()?;
    let prompt = match asked.messages.into_iter().next()?.content {
        Content::Text(text) => text,
        Content::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
    };
    serde_json::from_str(&prompt).ok()
}

/// An answer in one piece.
fn whole(script: &Script) -> Bytes {
    let message = json!({ "role": "assistant", "content": script.text(), "refusal": null });
    let answer = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }],
        "usage": usage(script),
    });
    answer.to_string().into()
}

fn usage(script: &Script) -> serde_json::Value {
    json!({ "prompt_tokens": 1, "completion_tokens": script.tokens, "total_tokens": script.tokens + 1 })
}

/// An answer as events: each token when it is due, whatever became of those before it.
fn events(script: Script) -> Frames {
    let begun = Instant::now();
    Box::pin(stream::unfold(1, move |number| async move {
        if number > script.tokens {
            return None;
        }
        Delay::new((script.pause() * number).saturating_sub(begun.elapsed())).await;
        let mut events = String::new();
        if number == 1 {
            events.push_str(&event(&json!({ "role": "assistant", "content": "" }), None));
        }
        events.push_str(&event(&json!({ "content": TOKEN }), None));
        if number == script.tokens {
            events.push_str(&event(&json!({}), Some("stop")));
            events.push_str(&chunk(&json!([]), &usage(&script)));
            events.push_str("data: [DONE]\n\n");
        }
        Some((Ok(Frame::data(events.into())), number + 1))
    }))
}

fn event(delta: &serde_json::Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
    chunk(&json!([choice]), &serde_json::Value::Null)
}

fn chunk(choices: &serde_json::Value, usage: &serde_json::Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    });
    format!("data: {chunk}\n\n")
}
