//! `cargo x bench client`: what the client component costs, measured in one run.
//!
//! The engine is measured with and without the client around it, in turns, so that a busy machine slows both; the
//! client alone is measured over an endpoint that answers at once.

mod calls;
mod decode;
mod figures;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use sipp_tests::machine::Machine;
use sipp_tests::tree;

use figures::Figures;

/// Measures the client component.
#[derive(Parser)]
struct Arguments {
    /// Writes the figures to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The model to decode with.
    #[arg(long, value_name = "FILE", default_value_os_t = tree::demo_model())]
    model: PathBuf,
    /// Rounds of decoding of which the median counts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Before everything else: the first client of a process pays for what later ones share.
    let start = calls::start()?;
    let figures = Figures {
        machine: Machine::this(),
        start,
        call: calls::alone()?,
        call_at_64: calls::concurrent(64)?,
        decode: decode::measure(&arguments.model, arguments.rounds)?,
        component_bytes: std::fs::metadata(tree::components().join("client.wasm"))?.len(),
    };
    print!("{figures}");
    if let Some(file) = arguments.json {
        std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(&figures)?))?;
    }
    Ok(())
}
