//! `cargo x bench engine`: the engine beside the limit, a bare loop over the same llama.cpp, and beside llama.cpp's own
//! server, in one run and in turns.

mod bare;
mod figures;
mod ours;
mod peer;
mod rounds;
mod streams;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures the engine.
#[derive(Parser)]
struct Arguments {
    /// Writes the figures to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The models to compute with.
    #[arg(long, value_name = "FILE", required = true)]
    model: Vec<PathBuf>,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Threads that compute, of everyone.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// A Python that has xllamacpp, llama.cpp's own server; without it, there is no peer.
    #[arg(long, value_name = "PYTHON")]
    xllamacpp: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut all = Vec::new();
    for model in &arguments.model {
        let figures = rounds::measure(model, &arguments)?;
        print!("{figures}");
        all.push(figures);
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    }
    Ok(())
}
