//! A stage for one upstream: a client with an endpoint at it, and another endpoint at a healthy one, which must not notice.

use std::future::{Future, IntoFuture};
use std::io;
use std::time::{Duration, Instant};

use crate::upstream::{Connection, SECRET, Upstream};
use anyhow::{Context as _, Result, bail, ensure};
use sipp::{
    Authentication, ChatRequest, EmbedRequest, EndpointRef, Error, Kind, Message, ProviderDescriptor, Secret,
    SippClient, TextOptions, Timeouts, UpstreamFault, UpstreamPayload,
};

/// Within this, whatever an upstream does must be over for its caller, however busy the machine is. Limits of
/// [`descriptor`] are a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Until an answer begins, or is complete when it comes in one piece.
pub const REQUEST: Duration = Duration::from_millis(1000);

/// Between two pieces of an answer.
pub const IDLE: Duration = Duration::from_millis(600);

/// The head of an answer that is streamed until the connection closes.
pub const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The head of an answer in one piece that ends when the connection closes.
pub const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";

/// A piece of a streamed answer.
pub const PIECE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n";

/// A whole answer.
const HEALTHY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 73\r\n\r\n\
    {\"choices\":[{\"message\":{\"content\":\"I am well.\"},\"finish_reason\":\"stop\"}]}";

/// A client with two endpoints, `hostile` and `healthy`.
#[derive(Debug)]
pub struct Stage {
    /// The client.
    pub client: SippClient,
    /// The upstream that misbehaves.
    pub hostile: Upstream,
    healthy: Upstream,
}

impl Stage {
    /// A stage for an upstream that does `serve` on each connection.
    ///
    /// # Errors
    ///
    /// When the healthy endpoint does not answer.
    pub async fn new<F>(serve: impl Fn(Connection) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let hostile = Upstream::start(serve).await?;
        let url = hostile.url();
        Self::with(hostile, |_| descriptor(&url)).await
    }

    /// A stage for an upstream that an endpoint reaches in its own way.
    ///
    /// # Errors
    ///
    /// As `new`.
    pub async fn with(hostile: Upstream, describe: impl FnOnce(&Upstream) -> ProviderDescriptor) -> Result<Self> {
        let client = SippClient::new()?;
        let healthy = Upstream::start(heal).await?;
        let authentication = Authentication::Bearer(client.credential(Secret::value(SECRET)));
        client.add("hostile", ProviderDescriptor { authentication, ..describe(&hostile) }).await?;
        client.add("healthy", descriptor(&healthy.url())).await?;
        let stage = Self { client, hostile, healthy };
        stage.check_health().await.context("before")?;
        Ok(stage)
    }

    /// Asks the hostile upstream for a streamed answer, and returns why there is none.
    ///
    /// # Errors
    ///
    /// When there is one, or no failure of an upstream; as `watch`.
    pub async fn stream_failure(&self) -> Result<UpstreamPayload> {
        failure(self.watch(self.client.chat(question(true))).await?)
    }

    /// Asks the hostile upstream for an answer in one piece, and returns why there is none.
    ///
    /// # Errors
    ///
    /// As `stream_failure`.
    pub async fn finite_failure(&self) -> Result<UpstreamPayload> {
        failure(self.watch(self.client.chat(question(false))).await?)
    }

    /// Asks the hostile upstream for a vector, and returns why there is none.
    ///
    /// # Errors
    ///
    /// As `stream_failure`.
    pub async fn embed_failure(&self) -> Result<UpstreamPayload> {
        let request = EmbedRequest { endpoint: Some(endpoint("hostile")), ..EmbedRequest::new(["hi"]) };
        failure(self.watch(self.client.embed(request)).await?)
    }

    /// Waits for what must end soon, and sees that the healthy endpoint answers all the while, and afterwards.
    ///
    /// # Errors
    ///
    /// When it does not end, or the healthy endpoint fails.
    pub async fn watch<F: IntoFuture>(&self, what: F) -> Result<F::Output> {
        let watched = async {
            loop {
                if let Err(error) = self.check_health().await {
                    return error;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let output = tokio::select! {
            output = tokio::time::timeout(PATIENCE, what.into_future()) => {
                output.with_context(|| format!("it did not end within {PATIENCE:?}"))?
            }
            error = watched => return Err(error.context("meanwhile")),
        };
        self.check_health().await.context("after")?;
        Ok(output)
    }

    async fn check_health(&self) -> Result<()> {
        let begun = Instant::now();
        let request = ChatRequest { endpoint: Some(endpoint("healthy")), ..question(false) };
        let response = self.client.chat(request).await.context("the healthy endpoint fails")?;
        ensure!(response.text == "I am well.", "the healthy endpoint answers {:?}", response.text);
        ensure!(begun.elapsed() < REQUEST, "the healthy endpoint took {:?}", begun.elapsed());
        ensure!(self.healthy.log().connections() > 0, "somebody else answered");
        Ok(())
    }
}

/// An endpoint of an OpenAI-compatible upstream that is given little time, and never asked again.
#[must_use]
pub fn descriptor(url: &str) -> ProviderDescriptor {
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).ok();
    ProviderDescriptor {
        base_url: Some(url.to_owned()),
        timeouts: Timeouts { connect: milliseconds(REQUEST), request: milliseconds(REQUEST), idle: milliseconds(IDLE) },
        retries: Some(0),
        ..ProviderDescriptor::new("openai_compatible", "some-model")
    }
}

/// Names an endpoint of a stage.
#[must_use]
pub fn endpoint(id: &str) -> EndpointRef {
    EndpointRef { kind: Kind::Provider, id: id.to_owned() }
}

/// A question for the hostile upstream.
#[must_use]
pub fn question(stream: bool) -> ChatRequest {
    ChatRequest {
        endpoint: Some(endpoint("hostile")),
        options: TextOptions { stream: Some(stream), ..TextOptions::default() },
        ..ChatRequest::new([Message::user("How are you?")])
    }
}

/// Sees what kind of failure it is.
///
/// # Errors
///
/// When it is another one.
pub fn check(failure: &UpstreamPayload, fault: UpstreamFault, words: &str) -> Result<()> {
    ensure!(failure.fault == fault && failure.message.contains(words), "expected {fault:?}, `{words}`: {failure:?}");
    Ok(())
}

fn failure<A: std::fmt::Debug>(result: Result<A, Error>) -> Result<UpstreamPayload> {
    match result {
        Err(Error::Upstream(payload)) => Ok(payload),
        Err(other) => bail!("expected an upstream's failure, got {other:?}"),
        Ok(answer) => bail!("expected an upstream's failure, got {answer:?}"),
    }
}

async fn heal(mut connection: Connection) -> io::Result<()> {
    while connection.request().await?.is_some() {
        connection.write(HEALTHY.as_bytes()).await?;
    }
    Ok(())
}
