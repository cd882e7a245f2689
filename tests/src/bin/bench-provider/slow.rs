//! Many slow streams at once through our client, and the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::figures::Slow;
use crate::upstream::Script;
use crate::ways::Ours;

/// Between two tokens of a stream, in microseconds.
const PAUSE_US: u64 = 1_000_000;

/// Open files beside the streams' connections.
const OTHER_FILES: u64 = 500;

/// Holds so many streams at once until each has ended as it should.
pub(crate) async fn hold(ours: &Ours, streams: usize, tokens: u32, files: u64) -> Result<Slow> {
    ensure!(
        files >= streams as u64 + OTHER_FILES,
        "{streams} streams need more than the {files} open files that this system allows; raise `ulimit -Hn`, or hold \
         fewer with --slow-streams"
    );
    let before = resident()?;
    let open = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..streams {
        running.spawn(follow(ours.clone(), Script { stream: true, tokens, pause_us: PAUSE_US }, open.clone()));
    }
    let (mut during, mut at_once) = (before, 0);
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = clock.tick() => {
                at_once = at_once.max(open.load(Relaxed));
                during = during.max(resident()?);
            }
            ended = running.join_next() => match ended {
                Some(ended) => ended??,
                None => break,
            },
        }
    }
    Ok(Slow { streams, at_once, tokens, before_bytes: before, during_bytes: during, after_bytes: resident()? })
}

async fn follow(ours: Ours, script: Script, open: Arc<AtomicUsize>) -> Result<()> {
    let mut run = ours.run(script);
    run.next().await.context("there was no token")?;
    open.fetch_add(1, Relaxed);
    let response = run.await;
    open.fetch_sub(1, Relaxed);
    ensure!(response?.text == script.text(), "a slow stream gave another answer");
    Ok(())
}

/// Memory of this process that is in use, in bytes.
fn resident() -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("this system does not tell a process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).context("VmRSS is missing")?;
    Ok(kilobytes << 10)
}
