//! Rounds in which all ways are measured in turns.
//!
//! All callers together ask at a rate that the machine can serve, however many they are: the upstream takes longer for
//! each when there are more. Otherwise many callers would tell how long the queue for the processors is, and not what
//! is added to a request. What the machine can serve at most is told apart.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::upstream::Script;
use crate::ways::{Sample, Way};

/// Callers of which the machine's limit is told.
const CROWD: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds that count.
    pub(crate) rounds: u32,
    /// Requests of each way in a round, of all callers together.
    pub(crate) requests: usize,
}

/// What is asked, and by how many at once.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    callers: usize,
    script: Script,
    /// Between the first requests of two callers, which would otherwise ask all at the same time for ever.
    apart: Duration,
}

impl Load {
    /// So many answers in one piece a second.
    pub(crate) fn finite(callers: usize, tokens: u32, rate: u32) -> Self {
        let apart = Duration::from_secs(1) / rate;
        let pause_us = apart.as_micros() as u64 * callers as u64;
        Self { callers, script: Script { stream: false, tokens, pause_us }, apart }
    }

    /// So many streams a second.
    pub(crate) fn streamed(callers: usize, tokens: u32, rate: u32) -> Self {
        let apart = Duration::from_secs(1) / rate;
        let pause_us = apart.as_micros() as u64 * callers as u64 / u64::from(tokens);
        Self { callers, script: Script { stream: true, tokens, pause_us }, apart }
    }

    /// As many answers in one piece as the machine can.
    fn unbounded(callers: usize) -> Self {
        Self { callers, script: Script { stream: false, tokens: 16, pause_us: 0 }, apart: Duration::ZERO }
    }
}

/// Measures each way; the samples are in the ways' order.
pub(crate) async fn measure(ways: &[Way], load: Load, plan: Plan) -> Result<Vec<Vec<Sample>>> {
    let mut lanes: Vec<_> = ways.iter().map(|way| (way, Vec::new())).collect();
    for round in 0..=plan.rounds {
        for (way, samples) in &mut lanes {
            let asked = ask(way, load, plan.requests).await?;
            // The first round finds connections and caches cold, and does not count.
            if round > 0 {
                samples.extend(asked);
            }
        }
        // Who comes later may find the machine warmer, so everyone begins in turn.
        lanes.rotate_left(1);
    }
    let turned = (plan.rounds as usize + 1) % ways.len();
    lanes.rotate_right(turned);
    Ok(lanes.into_iter().map(|(_, samples)| samples).collect())
}

/// Finite answers a second when nothing paces the callers, for each way: the best round.
pub(crate) async fn throughput(ways: &[Way], plan: Plan) -> Result<Vec<f64>> {
    let mut best = vec![0.0_f64; ways.len()];
    let requests = plan.requests * 16;
    for _ in 0..=plan.rounds {
        for (way, best) in ways.iter().zip(&mut best) {
            let begun = Instant::now();
            let answered = ask(way, Load::unbounded(CROWD), requests).await?.len();
            *best = best.max(answered as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

async fn ask(way: &Way, load: Load, requests: usize) -> Result<Vec<Sample>> {
    let callers = (0..load.callers).map(|caller| {
        let way = way.clone();
        tokio::spawn(async move {
            tokio::time::sleep(load.apart * caller as u32).await;
            let mut samples = Vec::with_capacity(requests / load.callers);
            for _ in 0..requests / load.callers {
                samples.push(way.ask(load.script).await?);
            }
            anyhow::Ok(samples)
        })
    });
    let samples = try_join_all(callers).await?.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(samples.into_iter().flatten().collect())
}
