//! What a client and a call cost by themselves, over an endpoint that answers at once and without a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use sipp::UnsupportedPayload;
use sipp::parts::{Answer, Answerer, Answering, EmbedRequest, Open, Outcome, Request};
use sipp::{Capabilities, Embedding, Error, FinishReason, LocalDescriptor, Metadata, Operation, SippClient, Support};
use sipp_tests::machine::median;

use crate::figures::{Latency, Start};

const CLIENTS: usize = 100;
const CALLS: usize = 4096;

/// Times from nothing to a client that answers.
pub(crate) fn start() -> Result<Start> {
    let mut times = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let begun = Instant::now();
        let client = SippClient::with_parts(None, Some(opener()))?;
        // The component is there once it answers.
        pollster::block_on(client.list())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let first_ms = times.remove(0);
    Ok(Start { first_ms, later_ms: median(times) })
}

/// Times calls one after the other.
pub(crate) fn alone() -> Result<Latency> {
    concurrent(1)
}

/// Times calls of so many callers at once.
pub(crate) fn concurrent(callers: usize) -> Result<Latency> {
    let client = SippClient::with_parts(None, Some(opener()))?;
    pollster::block_on(async {
        client.add("nothing", LocalDescriptor::new("nothing")).await?;
        calls(&client, callers, CALLS / callers / 8).await?;
        let times = calls(&client, callers, CALLS / callers).await?;
        Ok(Latency::of(times))
    })
}

async fn calls(client: &SippClient, callers: usize, calls: usize) -> Result<Vec<Duration>> {
    let caller = async || {
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begun = Instant::now();
            client.query("").await?;
            times.push(begun.elapsed());
        }
        Ok::<_, Error>(times)
    };
    let times = try_join_all((0..callers).map(|_| caller())).await?;
    Ok(times.into_iter().flatten().collect())
}

fn opener() -> Open {
    Arc::new(|_, _| Ok(Arc::new(Nothing)))
}

/// Answers at once, without a token.
struct Nothing;

impl Answerer for Nothing {
    fn capabilities(&self) -> Capabilities {
        Capabilities { query: Support::Supported, chat: Support::Supported, embed: Support::Unsupported }
    }

    fn generate(self: Arc<Self>, request: Request) -> Answering<Answer> {
        let metadata = Metadata {
            request_id: request.context.request_id,
            upstream_request_id: None,
            upstream_response_id: None,
            retries: 0,
        };
        let (feeder, answer) = Answer::new();
        feeder.finish(Ok(Outcome { finish: FinishReason::Stop, usage: None, stats: None, metadata }));
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn embed(self: Arc<Self>, _request: EmbedRequest) -> Answering<Embedding> {
        let reason = "it answers text only".to_owned();
        let payload = UnsupportedPayload { operation: Operation::Embed, endpoint: None, reason };
        Box::pin(std::future::ready(Err(Error::Unsupported(payload))))
    }
}
