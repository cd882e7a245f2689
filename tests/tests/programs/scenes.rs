//! What each guest does, and what its caller must see.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sipp::{
    CancelReason, Context, Delta, Error, FinishReason, LocalDescriptor, LocalOptions, QueryRequest, Sampling,
    TextOptions, TextResponse,
};
use sipp_tests::memory::{check_growth, resident};
use sipp_tests::tree;

use super::guest::{Scene, Stage, is_failure};

/// A guest's linear memory may grow to 256 MiB; beside it a scene needs next to nothing.
const GUEST_MEMORY: u64 = 272 << 20;

/// What reading nothing may cost: unread text, and what the guest prepared.
const BACKLOG: u64 = 8 << 20;

/// Every guest, by the name of its file.
pub(crate) const SCENES: [(&str, Scene); 10] = [
    ("early-drop", early_drop),
    ("flood", flood),
    ("hoard", hoard),
    ("mute", mute),
    ("recurse", recurse),
    ("silent", silent),
    ("spin", spin),
    ("stillborn", fails_at_once),
    ("trap", fails_at_once),
    ("trap-late", trap_late),
];

/// The first call fails, and so does every later one.
fn fails_at_once(stage: &Stage) -> Result<()> {
    is_failure(stage.run(stage.guest.query("hi"))?)?;
    stage.check_lost()
}

/// What came before the trap stays readable; the answer ends with the failure.
fn trap_late(stage: &Stage) -> Result<()> {
    let mut run = stage.guest.query("hi");
    let first = stage.run(run.next())?;
    let text = first.map(|batch| batch.delta);
    ensure!(matches!(&text, Some(Delta::Text(text)) if text == "one"), "the first batch is {text:?}");
    is_failure(stage.run(run)?)?;
    stage.check_lost()
}

/// A guest that never gives the host its turn is stopped, and holds nobody up until then.
fn spin(stage: &Stage) -> Result<()> {
    let begun = Instant::now();
    let spinning = async {
        let result = stage.guest.query("hi").await;
        (result, begun.elapsed())
    };
    let healthy = async {
        let answer = stage.check_health().await;
        (answer, begun.elapsed())
    };
    let ((result, stopped), (answer, answered)) = stage.run(async { tokio::join!(spinning, healthy) })?;
    answer?;
    is_failure(result)?;
    ensure!(answered < stopped, "the healthy client waited {answered:?}, until the other was stopped");
    ensure!(stopped > Duration::from_secs(1), "it was stopped after {stopped:?}, which an honest guest may need");
    stage.check_lost()
}

/// Deep recursion is the guest's end, not the process's.
fn recurse(stage: &Stage) -> Result<()> {
    fails_at_once(stage)
}

/// Memory is bounded, and given back.
fn hoard(stage: &Stage) -> Result<()> {
    let before = resident();
    is_failure(stage.run(stage.guest.query("hi"))?)?;
    check_growth(before, GUEST_MEMORY)?;
    stage.check_lost()
}

/// A guest that writes without end waits for its reader; an answer without end is cut off.
fn flood(stage: &Stage) -> Result<()> {
    let mut run = stage.guest.query("hi");
    ensure!(stage.run(run.next())?.is_some(), "no token came");
    let before = resident();
    std::thread::sleep(Duration::from_secs(1));
    check_growth(before, BACKLOG)?;
    let written = stage.run(run.next())?.map_or(0, |batch| u64::from(batch.sequence + batch.tokens));
    ensure!(written > 1, "the guest wrote nothing meanwhile");
    ensure!(written * 4096 < BACKLOG, "{written} tokens of 4 KiB were written with nobody reading");
    drop(run);
    match stage.run(stage.guest.query("hi"))? {
        Err(Error::Internal(text)) if text.starts_with("the answer is longer than") => {}
        other => bail!("expected that the answer is too long, got {:?}", other.map(|answer| answer.text.len())),
    }
    // The guest itself did nothing that would cost it its life.
    ensure!(stage.run(stage.guest.list())?.is_ok(), "the client of the flood is lost");
    Ok(())
}

/// An answer that never says how it ended ends when its caller stops waiting.
fn mute(stage: &Stage) -> Result<()> {
    gives_up(stage)
}

/// An answer to which no token comes ends when its caller stops waiting.
fn silent(stage: &Stage) -> Result<()> {
    gives_up(stage)
}

/// A deadline, a cancel and a drop each end an answer that would not end by itself.
fn gives_up(stage: &Stage) -> Result<()> {
    let context = Context { deadline: Some(300), ..Context::default() };
    let late = stage.guest.query(QueryRequest { context, ..QueryRequest::new("hi") });
    is_cancelled(stage.run(late)?, CancelReason::DeadlineExceeded)?;
    let cancelled = async {
        let mut run = stage.guest.query("hi");
        run.started().await?;
        run.cancel(CancelReason::CallerCancelled);
        run.await
    };
    is_cancelled(stage.run(cancelled)?, CancelReason::CallerCancelled)?;
    let mut dropped = stage.guest.query("hi");
    stage.run(dropped.started())??;
    drop(dropped);
    ensure!(stage.run(stage.guest.list())?.is_ok(), "the client is lost");
    Ok(())
}

/// Both forms are right: with an outcome, or with none when there was none.
fn is_cancelled(result: Result<TextResponse, Error>, expected: CancelReason) -> Result<()> {
    let reason = match result {
        Ok(response) if response.finish_reason == FinishReason::Cancelled => response.cancelled,
        Err(Error::Cancelled(reason)) => Some(reason),
        other => bail!("expected a cancelled answer, got {other:?}"),
    };
    ensure!(reason == Some(expected), "it was cancelled for {reason:?}");
    Ok(())
}

/// A guest that drops a stream stops the engine behind it.
fn early_drop(stage: &Stage) -> Result<()> {
    const TOKENS: u32 = 400;
    stage.run(stage.guest.add("demo", LocalDescriptor::new(tree::demo_model())))??;
    let sampling = Sampling { ignore_eos: Some(true), ..Sampling::default() };
    let request = QueryRequest {
        options: TextOptions { max_tokens: Some(TOKENS), ..TextOptions::default() },
        local: Some(LocalOptions { sampling: Some(sampling), ..LocalOptions::default() }),
        ..QueryRequest::new("1 2 3")
    };
    let answer = stage.run(stage.guest.query(request))??;
    ensure!(answer.text == "one batch, then FinishReason::Cancelled", "the guest reports: {}", answer.text);
    let counters = stage.guest.engines().pop().map(|engine| engine.counters).unwrap_or_default();
    ensure!(counters.cancelled == 1 && counters.running == 0, "{counters:?}");
    ensure!(counters.output_tokens < u64::from(TOKENS), "the engine went on: {counters:?}");
    Ok(())
}
