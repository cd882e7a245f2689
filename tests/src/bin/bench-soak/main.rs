//! `cargo x bench soak`: many callers with every kind of request for minutes, and what memory did meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use sipp_tests::soak;

/// By how many bytes memory may grow: what allocators and caches move by.
const MOST_GROWTH: f64 = 32.0 * MIB;

const MIB: f64 = (1 << 20) as f64;

/// Asks local models for minutes, with random cancels, deadlines, grammars and embeddings.
#[derive(Parser)]
struct Arguments {
    /// For how long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// What the requests are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the report to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { minutes, seed, json } = Arguments::parse();
    let report = soak::run(Duration::from_secs(minutes * 60), seed).await?;
    println!(
        "{} answered, {} cancelled, {} overloaded, {} refused",
        report.answered, report.cancelled, report.overloaded, report.refused
    );
    let memory: Vec<_> = report.memory.iter().map(|bytes| format!("{:.0}", bytes / MIB)).collect();
    println!("anonymous memory by tenth of the time, MiB: {}", memory.join(" "));
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    ensure!(report.growth() <= MOST_GROWTH, "memory grew by {:.1} MiB", report.growth() / MIB);
    Ok(())
}
