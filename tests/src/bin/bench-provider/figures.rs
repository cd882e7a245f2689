//! What was measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use sipp_tests::machine::{Machine, rank};

use crate::ways::Sample;

/// What may be added to an answer, and to the first token of a stream, in milliseconds: the median.
const AIM_MS: f64 = 0.4;

/// What may be added to a whole stream, in milliseconds: the median.
const AIM_TOTAL_MS: f64 = 1.0;

/// What all slow streams together may take, in bytes.
const AIM_BYTES: u64 = 1_000_000_000;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    /// Tokens of an answer.
    pub(crate) tokens: u32,
    pub(crate) at_once: Vec<Concurrency>,
    pub(crate) throughput: Throughput,
    pub(crate) slow: Slow,
}

/// Times of answers that ran so many at once.
#[derive(Debug, Serialize)]
pub(crate) struct Concurrency {
    callers: usize,
    finite: Row,
    first_token: Row,
    stream_total: Row,
}

/// What the bare client needs, and what the others add.
#[derive(Debug, Serialize)]
struct Row {
    samples: usize,
    bare: Quantiles,
    added: Quantiles,
    /// By the peer, if it was there.
    added_by_peer: Option<Quantiles>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Quantiles {
    p50_ms: f64,
    p99_ms: f64,
}

/// Answers in one piece a second, of callers that nothing paces.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    bare: f64,
    ours: f64,
    peer: Option<f64>,
}

/// Slow streams, and the memory of this process with them.
#[derive(Debug, Serialize)]
pub(crate) struct Slow {
    pub(crate) streams: usize,
    /// Streams that were seen between their first token and their end at one time.
    pub(crate) at_once: usize,
    /// Tokens of each, one a second.
    pub(crate) tokens: u32,
    pub(crate) before_bytes: u64,
    /// The most that was seen.
    pub(crate) during_bytes: u64,
    pub(crate) after_bytes: u64,
}

impl Concurrency {
    /// Of the samples of each way: bare, ours and, if it was there, the peer.
    pub(crate) fn of(callers: usize, finite: &[Vec<Sample>], streamed: &[Vec<Sample>]) -> Result<Self> {
        Ok(Self {
            callers,
            finite: Row::of(finite, |sample| sample.total)?,
            first_token: Row::of(streamed, |sample| sample.first)?,
            stream_total: Row::of(streamed, |sample| sample.total)?,
        })
    }
}

impl Row {
    fn of(ways: &[Vec<Sample>], time: impl Fn(&Sample) -> Duration) -> Result<Self> {
        let [bare, ours, peer @ ..] = ways else { bail!("a way was not measured") };
        let quantiles = |samples: &Vec<Sample>| Quantiles::of(samples.iter().map(&time).collect());
        let base = quantiles(bare);
        Ok(Self {
            samples: bare.len(),
            bare: base,
            added: quantiles(ours).minus(base),
            added_by_peer: peer.first().map(|peer| quantiles(peer).minus(base)),
        })
    }
}

impl Quantiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let milliseconds = |share| rank(&times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        Self { p50_ms: milliseconds(0.5), p99_ms: milliseconds(0.99) }
    }

    fn minus(self, other: Self) -> Self {
        Self { p50_ms: self.p50_ms - other.p50_ms, p99_ms: self.p99_ms - other.p99_ms }
    }
}

impl Throughput {
    /// Of each way: bare, ours and, if it was there, the peer.
    pub(crate) fn of(ways: &[f64]) -> Result<Self> {
        let [bare, ours, peer @ ..] = ways else { bail!("a way was not measured") };
        Ok(Self { bare: *bare, ours: *ours, peer: peer.first().copied() })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, tokens, at_once, throughput, slow } = self;
        writeln!(f, "machine           {machine}")?;
        if throughput.peer.is_none() {
            writeln!(f, "TensorZero        left out; --tensorzero PYTHON names an environment that has it")?;
        }
        writeln!(f, "answers           {tokens} tokens\n")?;
        writeln!(f, "                  {:>18}{:>18}{:>18}", "bare, ms", "added", "by TensorZero")?;
        writeln!(f, "                  {0:>9}{1:>9}{0:>9}{1:>9}{0:>9}{1:>9}", "p50", "p99")?;
        for concurrency in at_once {
            concurrency.fmt(f)?;
        }
        writeln!(f, "\nfinite answers    {throughput}")?;
        slow.fmt(f)
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callers, finite, first_token, stream_total } = self;
        writeln!(f, "{callers} at once")?;
        writeln!(f, "  finite          {finite}  (aim: p50 at most {AIM_MS}{})", finite.or_peer())?;
        writeln!(f, "  first token     {first_token}  (aim: p50 at most {AIM_MS}{})", first_token.or_peer())?;
        writeln!(f, "  whole stream    {stream_total}  (aim: p50 at most {AIM_TOTAL_MS})")
    }
}

impl Row {
    /// What else the aim demands when there is a peer.
    fn or_peer(&self) -> &'static str {
        if self.added_by_peer.is_some() { " and TensorZero's" } else { "" }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bare, added, added_by_peer, samples: _ } = self;
        write!(f, "{:>9.2}{:>9.2}{:>+9.2}{:>+9.2}", bare.p50_ms, bare.p99_ms, added.p50_ms, added.p99_ms)?;
        match added_by_peer {
            Some(peer) => write!(f, "{:>+9.2}{:>+9.2}", peer.p50_ms, peer.p99_ms),
            None => write!(f, "{:>9}{:>9}", "-", "-"),
        }
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bare, ours, peer } = self;
        write!(f, "{ours:.0} a second at most, bare {bare:.0}")?;
        match peer {
            Some(peer) => write!(f, ", TensorZero {peer:.0}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { streams, at_once, tokens, before_bytes, during_bytes, after_bytes } = self;
        let mega = |bytes: &u64| *bytes as f64 / 1e6;
        writeln!(f, "slow streams      {streams} of {tokens} s, {at_once} of them seen open at once")?;
        let (before, during, after) = (mega(before_bytes), mega(during_bytes), mega(after_bytes));
        write!(f, "  memory          {during:.0} MB, before {before:.0} MB, after {after:.0} MB ")?;
        writeln!(f, "(aim: below {:.0} MB with 4000)", mega(&AIM_BYTES))
    }
}
