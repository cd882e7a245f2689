//! Upstreams that send more than anybody asked for: each is cut off early, and memory stays bounded.
//!
//! What they send has no end: a generator writes until its client closes the connection. Memory is that of the whole
//! process, so one test runs at a time.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use sipp::{ChatRequest, Context, Error, UpstreamFault, UpstreamPayload};
use sipp_tests::memory::{check_growth, resident};
use sipp_tests::stage::{EVENTS, JSON, PATIENCE, PIECE, Stage, check, question};
use sipp_tests::upstream::Connection;
use tokio::sync::{Mutex, MutexGuard};

const MIB: u64 = 1 << 20;

/// What lies in the buffers of sockets, and on its way through the host.
const UNDER_WAY: u64 = 24 * MIB;

/// A flood, and the memory before it.
struct Flood {
    stage: Stage,
    before: Option<u64>,
    _alone: MutexGuard<'static, ()>,
}

impl Flood {
    /// An upstream that answers with `head`, and then with `piece` without end.
    async fn new(head: impl Into<Vec<u8>>, piece: impl Into<Vec<u8>>) -> Result<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let (head, piece) = (head.into(), piece.into());
        let stage = Stage::new(move |mut connection: Connection| {
            let (head, piece) = (head.clone(), piece.clone());
            async move {
                connection.request().await?;
                connection.write(&head).await?;
                loop {
                    connection.write(&piece).await?;
                }
            }
        })
        .await?;
        Ok(Self { stage, before: resident(), _alone: alone })
    }

    /// Sees how much was sent until the connection was closed, and how much memory that took.
    async fn check(&self, most_sent: u64, most_memory: u64) -> Result<()> {
        let log = self.stage.hostile.log();
        log.wait("the connection is closed", PATIENCE, |log| !log.closings().is_empty()).await?;
        let sent = log.written();
        ensure!(sent <= most_sent + UNDER_WAY, "{} MiB were sent; {} MiB are enough", sent / MIB, most_sent / MIB);
        check_growth(self.before, most_memory)
    }
}

/// A piece of a streamed answer, of about so many bytes of text.
fn long_piece(bytes: usize) -> String {
    PIECE.replace("Hello", &"x".repeat(bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_end() -> Result<()> {
    let flood = Flood::new(format!("{EVENTS}data: "), "x".repeat(64 << 10)).await?;
    check(&flood.stage.stream_failure().await?, UpstreamFault::Protocol, "longer than")?;
    flood.check(MIB, 64 * MIB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_lines_without_end() -> Result<()> {
    let flood = Flood::new(EVENTS, "data: x\n".repeat(1 << 10)).await?;
    check(&flood.stage.stream_failure().await?, UpstreamFault::Protocol, "longer than")?;
    flood.check(4 * MIB, 64 * MIB).await
}

/// A run keeps an answer of 64 MiB, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end() -> Result<()> {
    let flood = Flood::new(EVENTS, long_piece(16 << 10)).await?;
    match flood.stage.watch(flood.stage.client.chat(question(true))).await? {
        Err(Error::Internal(text)) => ensure!(text.contains("longer than 64 MiB"), "{text}"),
        other => bail!("expected that the answer is cut off, got {other:?}"),
    }
    flood.check(80 * MIB, 224 * MIB).await
}

/// A component, which parses it, takes 64 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_one_piece_without_end() -> Result<()> {
    let flood = Flood::new(format!("{JSON}{{\"id\":\""), "x".repeat(64 << 10)).await?;
    let failures: [UpstreamPayload; 2] = [flood.stage.finite_failure().await?, flood.stage.embed_failure().await?];
    for failure in failures {
        check(&failure, UpstreamFault::Protocol, "longer than")?;
    }
    flood.check(2 * 64 * MIB, 128 * MIB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_end() -> Result<()> {
    let head = JSON.replace("200 OK", "500 Internal Server Error");
    let flood = Flood::new(format!("{head}{{\"error\":{{\"message\":\""), "x".repeat(64 << 10)).await?;
    check(&flood.stage.stream_failure().await?, UpstreamFault::Overloaded, "status 500")?;
    flood.check(2 * MIB, 64 * MIB).await
}

/// Comments show that a stream lives. They are no answer, so the caller's deadline ends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_without_end() -> Result<()> {
    let flood = Flood::new(EVENTS, ": still here\n\n".repeat(100)).await?;
    let context = Context { deadline: Some(1000), ..Context::default() };
    let asked = flood.stage.client.chat(ChatRequest { context, ..question(true) });
    match flood.stage.watch(asked).await? {
        Err(Error::Cancelled(_)) => {}
        other => bail!("expected that the deadline passed, got {other:?}"),
    }
    flood.check(u64::MAX - UNDER_WAY, 64 * MIB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_headers() -> Result<()> {
    let headers: String = (0..100_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{headers}\r\n{PIECE}");
    let flood = Flood::new(head, PIECE).await?;
    check(&flood.stage.stream_failure().await?, UpstreamFault::Protocol, "")?;
    flood.check(2 * MIB, 64 * MIB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_without_end() -> Result<()> {
    let flood = Flood::new("HTTP/1.1 200 OK\r\nx-long: ", "x".repeat(16 << 10)).await?;
    check(&flood.stage.stream_failure().await?, UpstreamFault::Protocol, "too large")?;
    flood.check(MIB, 64 * MIB).await
}

/// Nothing unpacks what nobody asked to be packed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gzip_bomb() -> Result<()> {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20])?;
    let bomb = bomb.finish()?;
    for head in [EVENTS, JSON] {
        let head = head.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n");
        let flood = Flood::new(head, bomb.clone()).await?;
        check(&flood.stage.stream_failure().await?, UpstreamFault::Protocol, "compressed")?;
        flood.check(MIB, 64 * MIB).await?;
    }
    Ok(())
}

/// An answer that nobody reads waits at the upstream, and not here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_read() -> Result<()> {
    let flood = Flood::new(EVENTS, long_piece(1 << 10)).await?;
    let mut run = flood.stage.client.chat(question(true));
    ensure!(run.next().await.is_some(), "no token came");
    let log = flood.stage.hostile.log();
    flood.stage.watch(tokio::time::sleep(Duration::from_millis(1500))).await?;
    let sent = log.written();
    ensure!(sent < UNDER_WAY, "{} MiB were sent to somebody who does not read", sent / MIB);
    ensure!(log.closings().is_empty(), "the connection was closed");
    check_growth(flood.before, 64 * MIB)?;
    ensure!(run.next().await.is_some(), "there is no more to read");
    drop(run);
    flood.check(sent + UNDER_WAY, 64 * MIB).await
}
