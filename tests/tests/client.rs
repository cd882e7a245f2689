//! What the Rust API promises beside what cases can say: concurrency, cancellation, lifetimes, executors.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::StreamExt as _;
use sipp::engine::Counters;
use sipp::{
    CacheOptions, CancelReason, ChatRequest, Context, ContextOptions, Delta, Error, FinishReason, LocalDescriptor,
    LocalOptions, Message, QueryRequest, Sampling, SippClient, TextOptions, TextResponse,
};
use sipp_tests::tree;

/// Tokens of an answer that takes a while and ends.
const LONG: u32 = 480;

/// Tokens of an answer that no machine ends before a test does something to it.
const ENDLESS: u32 = 1_000_000;

const STORY: &str = "Tell me a short story about a cat.";

/// A client with the demo model, of so many slots, as `demo`.
async fn client(slots: u32) -> Result<SippClient> {
    let client = SippClient::new()?;
    let context = ContextOptions { n_parallel: Some(slots), ..ContextOptions::default() };
    let cache = CacheOptions { context_shift: Some(true), ..CacheOptions::default() };
    client.add("demo", LocalDescriptor { context, cache, ..LocalDescriptor::new(tree::demo_model()) }).await?;
    Ok(client)
}

/// A question that is answered greedily.
fn question(text: &str) -> ChatRequest {
    let options = TextOptions { temperature: Some(0.0), ..TextOptions::default() };
    ChatRequest { options, ..ChatRequest::new([Message::user(text)]) }
}

/// A prompt that is answered greedily, for [`LONG`] tokens.
fn long() -> QueryRequest {
    prompt(LONG)
}

/// A prompt that is answered greedily, until somebody ends it.
fn endless() -> QueryRequest {
    prompt(ENDLESS)
}

fn prompt(tokens: u32) -> QueryRequest {
    let sampling = Sampling { ignore_eos: Some(true), ..Sampling::default() };
    QueryRequest {
        options: TextOptions { max_tokens: Some(tokens), temperature: Some(0.0), ..TextOptions::default() },
        local: Some(LocalOptions { sampling: Some(sampling), ..LocalOptions::default() }),
        ..QueryRequest::new("1 2 3")
    }
}

fn counters(client: &SippClient) -> Counters {
    client.engines().pop().map(|engine| engine.counters).unwrap_or_default()
}

/// Waits until the engine has nothing to do, and returns what it counted.
async fn idle(client: &SippClient) -> Result<Counters> {
    let begun = Instant::now();
    loop {
        let counters = counters(client);
        if counters.running + counters.queued == 0 {
            return Ok(counters);
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "the engine does not become idle: {counters:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn output_tokens(response: &TextResponse) -> u32 {
    response.usage.and_then(|usage| usage.output_tokens).unwrap_or_default()
}

#[test]
fn a_client_is_shared_between_threads_and_cheap_to_clone() -> Result<()> {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send>(_: &T) {}
    shared::<SippClient>();
    assert_eq!(size_of::<SippClient>(), size_of::<usize>());
    let client = SippClient::new()?;
    sent(&client.query("hi"));
    sent(&client.add("demo", LocalDescriptor::default()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_at_once_answer_as_they_do_alone() -> Result<()> {
    let client = client(8).await?;
    let questions: BTreeSet<_> = (0..16)
        .flat_map(|n| {
            [
                format!("Count from {n} to {}.", n + 4),
                format!("What is {n} plus {}?", 16 - n),
                format!("What number comes after {}?", n * 5 + 1),
                format!("Is {} even or odd?", n * 3 + 2),
            ]
        })
        .collect();
    assert_eq!(questions.len(), 64);
    let mut alone = Vec::new();
    for text in &questions {
        alone.push(client.chat(question(text)).await?.text);
    }
    let runs: Vec<_> = questions
        .iter()
        .map(|text| {
            let (client, request) = (client.clone(), question(text));
            tokio::spawn(async move { client.chat(request).await })
        })
        .collect();
    for ((run, alone), text) in runs.into_iter().zip(alone).zip(&questions) {
        let response = run.await??;
        ensure!(response.text == alone, "{text}: {:?} at once, {alone:?} alone", response.text);
        ensure!(response.finish_reason == FinishReason::Stop, "{text}: {:?}", response.finish_reason);
    }
    assert_eq!(idle(&client).await?.completed, 128);
    Ok(())
}

#[tokio::test]
async fn batches_are_the_text_and_their_tokens_the_usage() -> Result<()> {
    let client = client(1).await?;
    let mut stopped = question("Count from 1 to 5.");
    stopped.options.stop = vec!["4, 6".to_owned()];
    for request in [question(STORY), question("Say hello in Japanese."), stopped] {
        let mut run = client.chat(request);
        let (mut text, mut tokens) = (String::new(), 0);
        let mut batches = run.tokens();
        while let Some(batch) = batches.next().await {
            ensure!(batch.sequence == tokens, "a batch begins at {}, after {tokens} tokens", batch.sequence);
            tokens += batch.tokens;
            let Delta::Text(piece) = batch.delta else { bail!("{:?} is no text", batch.delta) };
            text.push_str(&piece);
        }
        let response = run.await?;
        assert_eq!((response.text.as_str(), output_tokens(&response)), (text.as_str(), tokens));
        ensure!(!text.is_empty() && tokens > 0, "the answer is empty");
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_run_keeps_its_text() -> Result<()> {
    let client = client(1).await?;
    let beginning = client.query(long()).await?.text;
    let mut run = client.query(endless());
    ensure!(run.next().await.is_some(), "no token came");
    run.cancel(CancelReason::CallerCancelled);
    let part = run.await?;
    assert_eq!((part.finish_reason, part.cancelled), (FinishReason::Cancelled, Some(CancelReason::CallerCancelled)));
    ensure!(output_tokens(&part) < ENDLESS, "all tokens were written");
    let text = &part.text;
    ensure!(!text.is_empty() && (beginning.starts_with(text) || text.starts_with(&beginning)), "{text:?} differs");
    Ok(())
}

#[tokio::test]
async fn a_deadline_ends_a_run() -> Result<()> {
    let client = client(1).await?;
    let context = Context { deadline: Some(20), ..Context::default() };
    let reason = match client.query(QueryRequest { context, ..endless() }).await {
        Ok(response) if response.finish_reason == FinishReason::Cancelled => response.cancelled,
        Err(Error::Cancelled(reason)) => Some(reason),
        other => bail!("expected that the deadline passed, got {other:?}"),
    };
    assert_eq!(reason, Some(CancelReason::DeadlineExceeded));
    ensure!(idle(&client).await?.output_tokens < u64::from(ENDLESS), "the engine went on");
    let in_time = Context { deadline: Some(60_000), ..Context::default() };
    let response = client.chat(ChatRequest { context: in_time, ..question("Spell lamp.") }).await?;
    assert_eq!((response.text.as_str(), response.cancelled), ("l-a-m-p", None));
    Ok(())
}

#[tokio::test]
async fn a_dropped_run_stops_the_engine() -> Result<()> {
    let client = client(1).await?;
    let mut run = client.query(endless());
    ensure!(run.next().await.is_some(), "no token came");
    drop(run);
    // One that waits for the slot, and one that nobody waited for at all.
    let waiting = client.query(endless());
    drop((waiting, client.query(endless())));
    client.chat(question("Spell lamp.")).await?;
    let counted = idle(&client).await?;
    ensure!(counted.failed == 0 && counted.completed == 1, "{counted:?}");
    ensure!(counted.output_tokens < u64::from(ENDLESS), "the engine went on: {counted:?}");
    Ok(())
}

#[test]
fn any_executor_will_do() -> Result<()> {
    pollster::block_on(async {
        let client = client(1).await?;
        let mut run = client.chat(question("Count from 1 to 5."));
        let first = run.next().await;
        ensure!(first.is_some(), "no token came");
        assert_eq!(run.await?.text, "1, 2, 3, 4, 5");
        client.close().await;
        Ok(())
    })
}

#[tokio::test]
async fn a_removed_endpoint_finishes_what_it_began() -> Result<()> {
    let client = client(1).await?;
    let whole = client.query(long()).await?.text;
    let mut run = client.query(long());
    run.started().await?;
    let [entry] = client.list().await?.try_into().map_err(|_| anyhow::anyhow!("there is more than one endpoint"))?;
    client.remove(&entry.endpoint).await?;
    ensure!(matches!(client.query("hi").await, Err(Error::NoSupportedEndpoint(_))), "it still answers");
    assert_eq!(run.await?.text, whole);
    Ok(())
}

#[tokio::test]
async fn a_replaced_endpoint_finishes_what_it_began() -> Result<()> {
    let client = client(1).await?;
    let whole = client.query(long()).await?.text;
    let mut run = client.query(long());
    run.started().await?;
    client.add("demo", LocalDescriptor::new(tree::demo_model())).await?;
    assert_eq!(client.chat(question("Spell lamp.")).await?.text, "l-a-m-p");
    assert_eq!(counters(&client).completed, 1, "the new engine counts from its own beginning");
    assert_eq!(run.await?.text, whole);
    Ok(())
}

#[tokio::test]
async fn closing_cancels_what_runs() -> Result<()> {
    let client = client(1).await?;
    let mut run = client.query(endless());
    ensure!(run.next().await.is_some(), "no token came");
    let other = client.clone();
    other.close().await;
    let response = run.await?;
    assert_eq!(response.finish_reason, FinishReason::Cancelled);
    ensure!(output_tokens(&response) < ENDLESS, "all tokens were written");
    ensure!(matches!(client.query("hi").await, Err(Error::Closed)), "a closed client answers");
    ensure!(client.list().await?.is_empty() && client.engines().is_empty(), "a closed client has endpoints");
    Ok(())
}

#[tokio::test]
async fn a_run_outlives_the_last_handle() -> Result<()> {
    let client = client(1).await?;
    let run = client.chat(question("Count from 1 to 5."));
    drop(client);
    assert_eq!(run.await?.text, "1, 2, 3, 4, 5");
    Ok(())
}

#[tokio::test]
async fn an_add_that_nobody_waits_for_is_given_up() -> Result<()> {
    let client = SippClient::new()?;
    {
        let mut add = pin!(client.add("given-up", LocalDescriptor::new(tree::demo_model())));
        ensure!(futures_util::poll!(&mut add).is_pending(), "it loaded at once");
    }
    client.add("wanted", LocalDescriptor::new(tree::demo_model())).await?;
    // Longer than the load of the demo model takes.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ids: Vec<_> = client.list().await?.into_iter().map(|entry| entry.endpoint.id).collect();
    assert_eq!(ids, ["wanted"]);
    Ok(())
}

#[tokio::test]
async fn a_load_tells_its_progress() -> Result<()> {
    let client = SippClient::new()?;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |fraction| assert!(told.send(fraction).is_ok(), "nobody listens");
    client.add_with_progress("demo", LocalDescriptor::new(tree::demo_model()), progress).await?;
    let mut fractions: Vec<f32> = Vec::new();
    while let Some(fraction) = heard.recv().await {
        fractions.push(fraction);
    }
    ensure!(fractions.is_sorted() && fractions.last() == Some(&1.0), "progress was {fractions:?}");
    Ok(())
}
