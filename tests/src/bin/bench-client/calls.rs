//! What a client and a call cost by themselves, over an endpoint that answers at once and without a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use sipp::UnsupportedPayload;
use sipp::parts::{Answerer, EmbedRequest, Feeder, Open, Outcome, Request};
use sipp::{Capabilities, Embedding, Error, FinishReason, LocalDescriptor, Metadata, Operation, SippClient, Support};
use tokio::sync::oneshot::Sender;

use crate::figures::{Latency, Start, median};

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

    fn generate(&self, request: Request, feeder: Feeder) -> Result<(), Error> {
        let metadata =
            Metadata { request_id: request.context.request_id, upstream_request_id: None, upstream_response_id: None };
        feeder.finish(Ok(Outcome { finish: FinishReason::Stop, usage: None, stats: None, metadata }));
        Ok(())
    }

    fn embed(&self, _request: EmbedRequest, _done: Sender<Result<Embedding, Error>>) -> Result<(), Error> {
        let reason = "it answers text only".to_owned();
        Err(Error::Unsupported(UnsupportedPayload { operation: Operation::Embed, endpoint: None, reason }))
    }
}
