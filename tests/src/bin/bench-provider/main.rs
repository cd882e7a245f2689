//! `cargo x bench provider`: what a request to a provider costs through the client, measured in one run.
//!
//! A bare HTTP client, our client and, where there is one, TensorZero's gateway ask the same upstream on loopback, a
//! process of its own. They do it in turns, so that a busy machine slows all of them, and what counts is the time that
//! ours and theirs add to the bare client's.

mod figures;
mod peer;
mod rounds;
mod slow;
mod upstream;
mod ways;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use sipp_tests::machine::Machine;

use figures::{Concurrency, Figures, Throughput};
use rounds::{Load, Plan};
use ways::{Ours, Way};

/// How many requests run at once.
const CONCURRENCIES: [usize; 3] = [1, 16, 64];

/// Tokens of a slow stream, one a second.
const SLOW_TOKENS: u32 = 10;

/// Measures the path to a provider.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Writes the figures to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fewer rounds and fewer slow streams: to see that it works.
    #[arg(long)]
    quick: bool,
    /// The Python of an environment that has the package `tensorzero`, whose gateway is measured too.
    #[arg(long, value_name = "PYTHON")]
    tensorzero: Option<PathBuf>,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tokens: u32,
    /// Finite answers a second, of all callers together: an upstream takes as long for each as that needs.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    finite_rate: u32,
    /// Streams a second, of all callers together: an upstream pauses as long between tokens as that needs.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    stream_rate: u32,
    /// Slow streams that are held at once.
    #[arg(long, default_value_t = 4000)]
    slow_streams: usize,
}

/// What this process is, when it is not the one that measures.
#[derive(Subcommand)]
enum Role {
    /// The upstream. It ends with its input.
    #[command(hide = true)]
    Upstream,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let files = rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    match arguments.role {
        Some(Role::Upstream) => upstream::serve(),
        None => measure(&arguments, files),
    }
}

fn measure(arguments: &Arguments, files: u64) -> Result<()> {
    let machine = Machine::this();
    let upstream = upstream::start()?;
    let peer = arguments.tensorzero.as_deref().map(|python| peer::start(python, upstream.url())).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        let ours = Ours::new(upstream.url()).await?;
        let mut ways = vec![Way::bare(upstream.url(), ways::MODEL), Way::Ours(ours.clone())];
        ways.extend(peer.as_ref().map(|peer| Way::bare(peer.url(), peer::MODEL)));
        let mut at_once = Vec::new();
        for callers in CONCURRENCIES {
            at_once.push(concurrency(&ways, arguments, callers).await?);
        }
        let throughput = Throughput::of(&rounds::throughput(&ways, arguments.plan()).await?)?;
        let (streams, tokens) = arguments.slow();
        let slow = slow::hold(&ours, streams, tokens, files).await?;
        anyhow::Ok(Figures { machine, tokens: arguments.tokens, at_once, throughput, slow })
    })?;
    print!("{figures}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(&figures)?))?;
    }
    Ok(())
}

/// Everything at one concurrency.
async fn concurrency(ways: &[Way], arguments: &Arguments, callers: usize) -> Result<Concurrency> {
    let plan = arguments.plan();
    let finite = Load::finite(callers, arguments.tokens, arguments.finite_rate);
    let streamed = Load::streamed(callers, arguments.tokens, arguments.stream_rate);
    let finite = rounds::measure(ways, finite, plan).await?;
    let streamed = rounds::measure(ways, streamed, plan).await?;
    Concurrency::of(callers, &finite, &streamed)
}

impl Arguments {
    /// How many slow streams, and how many tokens each.
    fn slow(&self) -> (usize, u32) {
        if self.quick { (self.slow_streams.min(500), 3) } else { (self.slow_streams, SLOW_TOKENS) }
    }

    fn plan(&self) -> Plan {
        Plan { rounds: if self.quick { 1 } else { 4 }, requests: 128 }
    }
}
