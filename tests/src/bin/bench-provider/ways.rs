//! The ways to ask: a bare HTTP client, straight or through a gateway, and ours.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sipp::{
    Authentication, ChatRequest, EndpointRef, Message, ProviderDescriptor, Secret, SippClient, TextOptions, TextRun,
};

use crate::upstream::{Script, TOKEN};

/// The upstream's model.
pub(crate) const MODEL: &str = "m";

/// A way to ask.
#[derive(Clone)]
pub(crate) enum Way {
    Bare(Box<Bare>),
    Ours(Ours),
}

/// How long an answer took.
pub(crate) struct Sample {
    /// Until its first token; of an answer in one piece, until its end.
    pub(crate) first: Duration,
    pub(crate) total: Duration,
}

impl Way {
    /// A bare client of a server at a URL.
    pub(crate) fn bare(url: &str, model: &'static str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self::Bare(Box::new(Bare { client, url: format!("{url}/chat/completions"), model }))
    }

    /// Asks once, and checks the answer.
    pub(crate) async fn ask(&self, script: Script) -> Result<Sample> {
        let begun = Instant::now();
        let first = match self {
            Self::Bare(bare) if script.stream => Some(bare.stream(script, begun).await?),
            Self::Bare(bare) => bare.finite(script).await.map(|()| None)?,
            Self::Ours(ours) => ours.ask(script, begun).await?,
        };
        let total = begun.elapsed();
        Ok(Sample { first: first.unwrap_or(total), total })
    }
}

/// A client without anything around it.
#[derive(Clone)]
pub(crate) struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    model: &'static str,
}

impl Bare {
    async fn post(&self, script: Script) -> Result<Response<Incoming>> {
        let body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": script.prompt() }],
            "stream": script.stream,
            "stream_options": script.stream.then(|| json!({ "include_usage": true })),
        });
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, "Bearer k")
            .body(Full::new(body.to_string().into()))?;
        let response = self.client.request(request).await?;
        ensure!(response.status().is_success(), "{} answers {}", self.url, response.status());
        Ok(response)
    }

    async fn finite(&self, script: Script) -> Result<()> {
        let body = self.post(script).await?.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&body)?;
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        ensure!(text == Some(&script.text()), "{} gave another answer: {answer}", self.url);
        Ok(())
    }

    /// Reads a stream to its end, and tells how long its first token took.
    async fn stream(&self, script: Script, begun: Instant) -> Result<Duration> {
        let mut body = self.post(script).await?.into_body();
        let (mut first, mut tokens) = (None, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let bytes = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            tokens += bytes.windows(TOKEN.len()).filter(|window| *window == TOKEN.as_bytes()).count();
            if tokens > 0 {
                first.get_or_insert_with(|| begun.elapsed());
            }
        }
        ensure!(tokens == script.tokens as usize, "{} gave {tokens} tokens instead of {}", self.url, script.tokens);
        first.context("there was no token")
    }
}

/// Our client, with the upstream as its provider.
#[derive(Clone)]
pub(crate) struct Ours {
    client: SippClient,
    endpoint: EndpointRef,
}

impl Ours {
    /// A client of an upstream at a URL.
    pub(crate) async fn new(upstream: &str) -> Result<Self> {
        let client = SippClient::new()?;
        let key = client.credential(Secret::value("k"));
        let descriptor = ProviderDescriptor {
            base_url: Some(upstream.to_owned()),
            authentication: Authentication::ApiKey(key),
            ..ProviderDescriptor::new("openai", MODEL)
        };
        let endpoint = client.add("upstream", descriptor).await?;
        Ok(Self { client, endpoint })
    }

    /// Begins to ask.
    pub(crate) fn run(&self, script: Script) -> TextRun {
        let options = TextOptions { stream: Some(script.stream), ..TextOptions::default() };
        let endpoint = Some(self.endpoint.clone());
        self.client.chat(ChatRequest { endpoint, options, ..ChatRequest::new([Message::user(script.prompt())]) })
    }

    /// Tells how long the first token of a stream took.
    async fn ask(&self, script: Script, begun: Instant) -> Result<Option<Duration>> {
        let mut run = self.run(script);
        let first = if script.stream { run.next().await.map(|_| begun.elapsed()) } else { None };
        let response = run.await?;
        ensure!(response.text == script.text(), "our client gave another answer: {}", response.text);
        Ok(first)
    }
}
