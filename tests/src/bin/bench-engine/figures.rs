//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use sipp_tests::machine::{Machine, median};

use crate::rounds::POLICIES;

/// One round: of each measurement, the number of each way.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Compared(BTreeMap<String, BTreeMap<String, f64>>);

impl Compared {
    pub(crate) fn note(&mut self, what: &str, way: &str, number: f64) {
        self.0.entry(what.to_owned()).or_default().insert(way.to_owned(), number);
    }

    fn get(&self, what: &str, way: &str) -> Option<f64> {
        self.0.get(what)?.get(way).copied()
    }
}

/// Everything that was measured with one model.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    machine: Machine,
    model: String,
    model_bytes: u64,
    threads: u32,
    pub(crate) rounds: Vec<Compared>,
    /// Bytes of memory that hold no file: ours and the peer's.
    pub(crate) memory: [Option<u64>; 2],
}

/// A measurement: its name and title, its unit, who of ours is compared with whom, and what is aimed at.
const MEASUREMENTS: [(&str, &str, &str, &str, &str, &str); 7] = [
    ("prefill", "prefill, one slot", "tokens/s", "alone", "bare", "at least 0.97"),
    ("decode", "decode, one slot", "tokens/s", "alone", "bare", "at least 0.98"),
    ("prefill", "prefill, 8 slots", "tokens/s", "ours", "peer", "none"),
    ("decode", "decode, 8 slots", "tokens/s", "ours", "peer", "none"),
    ("eight", "8 streams", "tokens/s", "ours", "peer", "at least 1.1"),
    ("late", "p99 gap beside a long prompt", "ms", "ours", "peer", "at most 0.7"),
    ("shared", "16 callers, one beginning", "ms", "ours", "peer", "at most 0.5"),
];

impl Figures {
    pub(crate) fn new(machine: Machine, model: &Path, threads: u32, rounds: u32) -> Self {
        Self {
            machine,
            model: model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            model_bytes: std::fs::metadata(model).map_or(0, |file| file.len()),
            threads,
            rounds: Vec::with_capacity(rounds as usize),
            memory: [None; 2],
        }
    }

    /// The median over rounds.
    fn median(&self, number: impl Fn(&Compared) -> Option<f64>) -> Option<f64> {
        Some(median(self.rounds.iter().filter_map(number).collect())).filter(|median| !median.is_nan())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine  {}", self.machine)?;
        writeln!(f, "model    {}, {} threads, {} rounds, medians", self.model, self.threads, self.rounds.len())?;
        for (what, title, unit, way, other, aim) in MEASUREMENTS {
            let Some(ours) = self.median(|round| round.get(what, way)) else { continue };
            write!(f, "{title:<30} {ours:>9.1} {unit}")?;
            let ratio = self.median(|round| Some(round.get(what, way)? / round.get(what, other)?));
            if let (Some(theirs), Some(ratio)) = (self.median(|round| round.get(what, other)), ratio) {
                write!(f, ", {other} {theirs:.1}, ratio {ratio:.3} (aim: {aim})")?;
            }
            writeln!(f)?;
        }
        if let [Some(ours), Some(peer)] = self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "{:<30} {:>9.1} MiB, peer {:.1} (aim: not above)",
                "memory besides the file",
                mib(ours),
                mib(peer)
            )?;
        }
        for (policy, _) in POLICIES {
            let median = |what| self.median(|round| round.get(what, policy));
            if let (Some(gap), Some(first)) = (median("policy-gap"), median("policy-first")) {
                writeln!(f, "{policy:<30} {gap:>9.1} ms p99 gap, {first:.1} ms to the long prompt's first token")?;
            }
        }
        writeln!(f)
    }
}
