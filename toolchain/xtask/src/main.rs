//! `cargo x`: the one developer command.
//!
//! Continuous integration and people run the same verbs, and every verb first obtains what it needs, so that a clean
//! clone works with nothing but a Rust toolchain. One file holds one verb.

mod bench;
mod build;
mod cargo;
mod check;
mod doctor;
mod process;
mod repository;
mod serve;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use repository::Repository;

/// Builds, checks, tests and runs Sipp.
#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows what is needed, what is there and how the rest is obtained. Changes nothing.
    Doctor,
    /// Obtains what is missing. Every other verb does that for what it needs.
    Setup(setup::Arguments),
    /// Checks formatting, lints, licences, import rules, contracts and documents.
    Check(check::Arguments),
    /// Builds the components, the test programs and the native programs.
    Build(build::Arguments),
    /// Builds everything and runs the tests.
    Test(test::Arguments),
    /// Runs the gateway with the demo model on loopback.
    Serve(serve::Arguments),
    /// Measures.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<ExitCode> {
    let repository = Repository::here()?;
    let done = match verb {
        Verb::Doctor => return Ok(doctor::run(&repository)),
        Verb::Setup(arguments) => setup::run(&repository, arguments),
        Verb::Check(arguments) => check::run(&repository, arguments),
        Verb::Build(arguments) => build::run(&repository, arguments),
        Verb::Test(arguments) => test::run(&repository, arguments),
        Verb::Serve(arguments) => return serve::run(&repository, arguments),
        Verb::Bench(arguments) => bench::run(&repository, arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}
