//! What was measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sipp_tests::machine::{Machine, rank};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) start: Start,
    pub(crate) call: Latency,
    pub(crate) call_at_64: Latency,
    pub(crate) decode: Decode,
    pub(crate) component_bytes: u64,
}

/// How long it takes to make a client that answers.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// The first of the process, in milliseconds.
    pub(crate) first_ms: f64,
    /// Later ones, in milliseconds: the median.
    pub(crate) later_ms: f64,
}

/// How long a call takes that the endpoint answers at once.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) calls: usize,
    /// In microseconds.
    pub(crate) p50_us: f64,
    /// In microseconds.
    pub(crate) p99_us: f64,
}

/// Tokens per second, with the client and without.
#[derive(Debug, Serialize)]
pub(crate) struct Decode {
    pub(crate) model: String,
    pub(crate) tokens: u32,
    pub(crate) rounds: u32,
    /// Of the engine alone, whose tokens stay on its thread: the median.
    pub(crate) engine: f64,
    /// Of the engine alone, whose tokens another thread reads: the median.
    pub(crate) engine_streamed: f64,
    /// Of the same engine behind a client, whose tokens another thread reads: the median.
    pub(crate) client: f64,
    /// `client` over `engine`: the median over rounds.
    pub(crate) ratio: f64,
    /// `client` over `engine_streamed`: the median over rounds.
    pub(crate) ratio_streamed: f64,
}

impl Latency {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let micros = |share: f64| rank(&times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
        Self { calls: times.len(), p50_us: micros(0.5), p99_us: micros(0.99) }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, start, call, call_at_64, decode, component_bytes } = self;
        writeln!(f, "machine           {machine}")?;
        writeln!(f, "model             {}, {} tokens, {} rounds\n", decode.model, decode.tokens, decode.rounds)?;
        writeln!(f, "decode            {:.0} tokens/s through the client", decode.client)?;
        writeln!(
            f,
            "  engine, read    {:.0} tokens/s, ratio {:.3} (aim: at least 0.98)",
            decode.engine_streamed, decode.ratio_streamed
        )?;
        writeln!(f, "  engine, unread  {:.0} tokens/s, ratio {:.3}", decode.engine, decode.ratio)?;
        writeln!(f, "call              p50 {:.0} µs, p99 {:.0} µs", call.p50_us, call.p99_us)?;
        writeln!(f, "  64 at a time    p50 {:.0} µs, p99 {:.0} µs", call_at_64.p50_us, call_at_64.p99_us)?;
        writeln!(f, "make a client     {:.2} ms, the first {:.1} ms", start.later_ms, start.first_ms)?;
        writeln!(f, "component         {:.1} KB (aim: below 150)", *component_bytes as f64 / 1e3)
    }
}
