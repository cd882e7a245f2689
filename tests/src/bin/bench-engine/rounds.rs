//! What is measured, round by round.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use engine_sys::Policy;
use sipp_tests::machine::{Machine, rank};

use crate::Arguments;
use crate::bare::Bare;
use crate::figures::{Compared, Figures};
use crate::ours::Ours;
use crate::peer::Peer;
use crate::streams::{Asked, SLOTS, Seen, Way, together};

/// Tokens that a stream writes.
const WRITTEN: u32 = 128;

/// Tokens of the prompts, about: the short ones, the long one that arrives late, the shared beginning, and what differs
/// after that.
const SHORT: usize = 32;
const LONG: usize = 1500;
const SHARED: usize = 1000;
const REST: usize = 24;

/// Callers with the shared beginning.
const CALLERS: usize = 16;

/// The scheduler's policies.
pub(crate) const POLICIES: [(&str, Policy); 3] = [
    ("latency_first", Policy::LatencyFirst),
    ("balanced", Policy::Balanced),
    ("throughput_first", Policy::ThroughputFirst),
];

/// Words that no two calls have alike.
struct Words(fastrand::Rng);

impl Words {
    fn text(&mut self, tokens: usize) -> String {
        // A syllable with its space is one token of the random models.
        let letter = |random: &mut fastrand::Rng, from: &[u8]| random.choice(from).copied().map_or(' ', char::from);
        let syllable = |random: &mut fastrand::Rng| {
            [letter(random, b"bcdfghlmnprstvwz"), letter(random, b"aeiouy")].iter().collect::<String>()
        };
        (0..tokens).map(|_| syllable(&mut self.0)).collect::<Vec<_>>().join(" ")
    }

    fn ask(&mut self, read: usize, tokens: u32) -> Asked {
        Asked { prompt: self.text(read), tokens, after: Duration::ZERO }
    }
}

pub(crate) fn measure(model: &Path, arguments: &Arguments) -> Result<Figures> {
    let machine = Machine::this();
    let ours = Ours::load(model, arguments.threads, SLOTS, Policy::Balanced)?;
    let peer =
        arguments.xllamacpp.as_deref().map(|python| Peer::start(python, model, arguments.threads)).transpose()?;
    // A context of several slots costs llama.cpp itself some speed, and the loop has one.
    let alone = Ours::load(model, arguments.threads, 1, Policy::Balanced)?;
    let bare = Bare::load(model, arguments.threads)?;
    let mut figures = Figures::new(machine, model, arguments.threads, arguments.rounds);
    let mut words = Words(fastrand::Rng::with_seed(1));
    for round in 0..=arguments.rounds {
        let mut ways: Vec<(&str, &dyn Way)> = vec![("alone", &alone), ("bare", &bare), ("ours", &ours)];
        ways.extend(peer.as_ref().map(|peer| ("peer", peer as &dyn Way)));
        // Who comes later may find the machine warmer, so everyone begins in turn.
        let shift = round as usize % ways.len();
        ways.rotate_left(shift);
        let mut measured = Compared::default();
        for (name, way) in ways {
            // The same prompts for everyone, and other ones in every round.
            words.0 = fastrand::Rng::with_seed(u64::from(round));
            let one = way.answer(&words.ask(LONG, WRITTEN))?;
            measured.note("prefill", name, f64::from(one.read) / one.first());
            measured.note("decode", name, one.decode());
            if name == "alone" || name == "bare" {
                continue;
            }
            measured.note("eight", name, eight(way, &mut words)?);
            measured.note("late", name, late(way, &mut words)?.gap);
            measured.note("shared", name, shared(way, &mut words)?);
        }
        // The first round finds caches and clocks cold, and does not count.
        if round > 0 {
            figures.rounds.push(measured);
        }
    }
    figures.memory = [ours.memory(), peer.as_ref().and_then(Way::memory)];
    drop((ours, alone, bare, peer));
    policies(model, arguments, &mut figures)?;
    Ok(figures)
}

/// What the scheduler's policies do when a long prompt arrives beside running streams.
fn policies(model: &Path, arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let mut ways = Vec::new();
    for (name, policy) in POLICIES {
        ways.push((name, Ours::load(model, arguments.threads, SLOTS, policy)?));
    }
    for (round, measured) in (1..).zip(&mut figures.rounds) {
        ways.rotate_left(1);
        for (name, way) in &ways {
            let Late { gap, first } = late(way, &mut Words(fastrand::Rng::with_seed(round)))?;
            measured.note("policy-gap", name, gap);
            measured.note("policy-first", name, first);
        }
    }
    Ok(())
}

/// Tokens per second of as many streams as there are slots.
fn eight(way: &dyn Way, words: &mut Words) -> Result<f64> {
    let asked: Vec<_> = (0..SLOTS).map(|_| words.ask(SHORT, WRITTEN)).collect();
    let seen = together(way, &asked)?;
    let begun = seen.iter().map(|seen| seen.sent).min().context("there are streams")?;
    let ended = seen.iter().filter_map(|seen| seen.tokens.last()).max().context("there are tokens")?;
    Ok(f64::from(SLOTS * WRITTEN) / (*ended - begun).as_secs_f64())
}

/// What happens when a long prompt arrives beside running streams, in milliseconds.
struct Late {
    /// The time between tokens of the running streams that 99 % do not exceed while it is read.
    gap: f64,
    /// From its arrival to its first token.
    first: f64,
}

fn late(way: &dyn Way, words: &mut Words) -> Result<Late> {
    let mut asked: Vec<_> = (1..SLOTS).map(|_| words.ask(SHORT, 4 * WRITTEN)).collect();
    asked.push(Asked { after: Duration::from_millis(300), ..words.ask(LONG, 1) });
    let mut seen = together(way, &asked)?;
    let long = seen.pop().context("there is a long one")?;
    let until = *long.tokens.first().context("it has a token")?;
    let mut gaps: Vec<f64> = seen.iter().flat_map(|seen| gaps(seen, &long, until)).collect();
    gaps.sort_by(f64::total_cmp);
    Ok(Late { gap: rank(&gaps, 0.99).copied().unwrap_or(f64::NAN) * 1e3, first: long.first() * 1e3 })
}

fn gaps(seen: &Seen, long: &Seen, until: std::time::Instant) -> Vec<f64> {
    let pairs = seen.tokens.iter().zip(seen.tokens.iter().skip(1));
    pairs
        .filter(|(from, to)| **to > long.sent && **from < until)
        .map(|(from, to)| (*to - *from).as_secs_f64())
        .collect()
}

/// Until the last of the callers with a shared beginning has its first token, in milliseconds.
fn shared(way: &dyn Way, words: &mut Words) -> Result<f64> {
    let beginning = words.text(SHARED);
    let asked: Vec<_> = (0..CALLERS)
        .map(|_| Asked { prompt: format!("{beginning} {}", words.text(REST)), tokens: 8, after: Duration::ZERO })
        .collect();
    let seen = together(way, &asked)?;
    let begun = seen.iter().map(|seen| seen.sent).min().context("there are callers")?;
    let last = seen.iter().filter_map(|seen| seen.tokens.first()).max().context("there are tokens")?;
    Ok((*last - begun).as_secs_f64() * 1e3)
}
