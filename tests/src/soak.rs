//! Many callers with every kind of request, for a while: does memory stay what it was, and does everything end?

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use serde::Serialize;
use sipp::{
    CacheMode, CacheOptions, CancelReason, ChatRequest, Context, ContextOptions, EmbedRequest, Error, LocalDescriptor,
    LocalOptions, Message, QueryRequest, Sampling, SchedulerOptions, SippClient, TextOptions,
};

use crate::machine::median;
use crate::memory;
use crate::tree;

/// Callers at the same time: more than there are slots, and than may wait.
const CALLERS: usize = 12;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How a soak went.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests that gave an answer.
    pub answered: u64,
    /// Requests that were cancelled, by a call, a drop or a deadline.
    pub cancelled: u64,
    /// Requests that were refused because too many waited.
    pub overloaded: u64,
    /// Requests with a bad grammar, which were refused.
    pub refused: u64,
    /// Median of the anonymous memory in each tenth of the time, in bytes, where the system tells.
    pub memory: Vec<f64>,
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.cancelled += other.cancelled;
        self.overloaded += other.overloaded;
        self.refused += other.refused;
    }

    /// By how many bytes memory grew from the third tenth to the last: what comes before fills caches.
    #[must_use]
    pub fn growth(&self) -> f64 {
        self.memory.last().zip(self.memory.get(2)).map_or(0.0, |(last, third)| last - third)
    }
}

/// Asks for so long, with random requests from this seed.
///
/// # Errors
/// When a request fails that should not, or something still runs at the end.
pub async fn run(time: Duration, seed: u64) -> Result<Report> {
    let client = client().await?;
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..CALLERS as u64)
        .map(|caller| tokio::spawn(call(client.clone(), Rng::with_seed(seed.wrapping_add(caller)), until)))
        .collect();
    let mut samples = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(INTERVAL).await;
        samples.extend(memory::anonymous("self").map(|bytes| bytes as f64));
    }
    let mut report = Report::default();
    for caller in callers {
        report.add(&caller.await??);
    }
    let tenth = samples.len().div_ceil(10).max(1);
    report.memory = samples.chunks(tenth).map(|samples| median(samples.to_vec())).collect();
    idle(&client).await?;
    client.close().await;
    Ok(report)
}

/// A client with the demo model twice: as `text`, where everything is scarce, and as `vectors`.
async fn client() -> Result<SippClient> {
    let client = SippClient::new()?;
    let text = LocalDescriptor {
        context: ContextOptions { n_parallel: Some(3), n_ctx: Some(256), ..ContextOptions::default() },
        scheduler: SchedulerOptions { max_queued_requests: Some(6), ..SchedulerOptions::default() },
        cache: CacheOptions {
            mode: Some(CacheMode::LiveSlotAndSnapshot),
            max_snapshot_entries: Some(16),
            max_snapshot_bytes: Some(4 << 20),
            context_shift: Some(true),
            ..CacheOptions::default()
        },
        ..LocalDescriptor::new(tree::demo_model())
    };
    client.add("text", text).await?;
    let vectors = LocalDescriptor {
        context: ContextOptions { embeddings: Some(true), ..ContextOptions::default() },
        ..LocalDescriptor::new(tree::demo_model())
    };
    client.add("vectors", vectors).await?;
    Ok(client)
}

async fn call(client: SippClient, mut random: Rng, until: Instant) -> Result<Report> {
    let mut report = Report::default();
    while Instant::now() < until {
        let kind = random.u8(0..10);
        match one(&client, &mut random, kind).await {
            Ok(true) => report.answered += 1,
            Ok(false) | Err(Error::Cancelled(_)) => report.cancelled += 1,
            Err(Error::Overloaded(_)) => {
                report.overloaded += 1;
                tokio::time::sleep(Duration::from_millis(random.u64(1..20))).await;
            }
            Err(Error::InvalidRequest(_)) if kind == BAD_GRAMMAR => report.refused += 1,
            Err(error) => bail!("a request of kind {kind} failed: {error:?}"),
        }
    }
    Ok(report)
}

/// The kind of request whose grammar is refused.
const BAD_GRAMMAR: u8 = 6;

/// Sends a request of a kind. True if there was an answer, false if it was cancelled.
async fn one(client: &SippClient, random: &mut Rng, kind: u8) -> Result<bool, Error> {
    let most = random.u32(1..60);
    let grammar = |grammar: &str| LocalOptions { grammar: Some(grammar.to_owned()), ..LocalOptions::default() };
    match kind {
        0 | 1 => client.chat(question(random, most)).await.map(|_| true),
        2 => {
            let mut run = client.query(endless(random));
            for _ in 0..random.u8(0..5) {
                run.next().await;
            }
            run.cancel(CancelReason::CallerCancelled);
            run.await.map(|_| false)
        }
        3 => {
            let mut run = client.query(endless(random));
            if random.bool() {
                run.started().await?;
            }
            drop(run);
            Ok(false)
        }
        4 => {
            let context = Context { deadline: Some(random.u32(1..60)), ..Context::default() };
            client.query(QueryRequest { context, ..endless(random) }).await.map(|_| false)
        }
        5 => {
            let local = Some(grammar("root ::= [0-9]{1,20}"));
            client.chat(ChatRequest { local, ..question(random, most) }).await.map(|_| true)
        }
        BAD_GRAMMAR => {
            let local = Some(grammar("root ::= nothing"));
            client.chat(ChatRequest { local, ..question(random, most) }).await.map(|_| true)
        }
        7 => {
            let schema = r#"{"type": "object", "properties": {"n": {"enum": [1, 22, 333]}}, "required": ["n"]}"#;
            let local = Some(LocalOptions { json_schema: Some(schema.to_owned()), ..LocalOptions::default() });
            client.chat(ChatRequest { local, ..question(random, most) }).await.map(|_| true)
        }
        8 => {
            let mut request = question(random, most);
            request.options.logprobs = Some(random.u32(0..5));
            client.chat(request).await.map(|_| true)
        }
        _ => {
            let inputs = (0..random.usize(1..8)).map(|_| words(random)).collect::<Vec<_>>();
            client.embed(EmbedRequest::new(inputs)).await.map(|_| true)
        }
    }
}

fn question(random: &mut Rng, most: u32) -> ChatRequest {
    let options = TextOptions { max_tokens: Some(most), ..TextOptions::default() };
    ChatRequest { options, ..ChatRequest::new([Message::user(words(random))]) }
}

/// A prompt whose answer never ends by itself.
fn endless(random: &mut Rng) -> QueryRequest {
    let sampling = Sampling { ignore_eos: Some(true), ..Sampling::default() };
    QueryRequest {
        options: TextOptions { max_tokens: Some(1_000_000), ..TextOptions::default() },
        local: Some(LocalOptions { sampling: Some(sampling), ..LocalOptions::default() }),
        ..QueryRequest::new(words(random))
    }
}

/// A few words, often with a beginning that others have too.
fn words(random: &mut Rng) -> String {
    const WORDS: [&str; 8] = ["one", "lemon", "is", "the", "Count", "to", "spell", "lamp"];
    let start = if random.bool() { "You answer in one short sentence. You are polite. " } else { "" };
    let count = random.usize(1..24);
    let rest: Vec<_> = (0..count).filter_map(|_| random.choice(WORDS)).collect();
    format!("{start}{}", rest.join(" "))
}

/// Waits until no engine has anything to do, and checks that nothing failed there.
async fn idle(client: &SippClient) -> Result<()> {
    let begun = Instant::now();
    loop {
        let engines = client.engines();
        if engines.iter().all(|engine| engine.counters.running + engine.counters.queued == 0) {
            // A bad grammar is the one failure; those are `text`'s.
            let vectors = engines.iter().find(|engine| engine.id == "vectors").context("an engine is gone")?;
            ensure!(vectors.counters.failed == 0, "an embedding failed: {:?}", vectors.counters);
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "the engines do not become idle: {engines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
