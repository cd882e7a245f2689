//! The program `sipp-gateway`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sipp_gateway::config::Config;
use sipp_gateway::error::Error;
use sipp_gateway::gateway::{self, Ended};
use sipp_gateway::targets;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// Serves language models over HTTP.
///
/// The models, addresses and callers stand in one TOML file; every key is described in gateway-host/README.md. Logs are
/// JSON lines on standard error; the environment variable RUST_LOG sets what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "sipp-gateway", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0    done: the configuration is valid, or a signal ended the gateway and running requests had finished
  1    the gateway failed
  2    the command line is wrong
  3    the configuration is wrong; the message names key and line
  130  a second Ctrl-C (SIGINT) ended the gateway at once
  143  a second SIGTERM ended the gateway at once";

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads the models and answers requests until SIGINT or SIGTERM.
    ///
    /// The management address answers at once (/readyz says `starting`), the public address when all models are loaded.
    /// After a signal, running requests get the configured `drain_seconds` to finish.
    Serve(ConfigFile),
    /// Checks a configuration file and the model files it names, and starts nothing.
    Check(ConfigFile),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration, a TOML file.
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(ConfigFile { path }) => check(&path),
        Command::Serve(ConfigFile { path }) => serve(&path),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        if error.is_in_configuration() { ExitCode::from(3) } else { ExitCode::FAILURE }
    })
}

fn check(path: &Path) -> Result<ExitCode, Error> {
    let config = Config::load(path)?;
    runtime()?.block_on(targets::check(&config))?;
    println!("configuration is valid: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn serve(path: &Path) -> Result<ExitCode, Error> {
    let config = Config::load(path)?;
    let levels = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_env_filter(levels)
        .with_writer(io::stderr)
        .init();
    let runtime = runtime()?;
    let ended = runtime.block_on(gateway::serve(&config));
    // What still runs has been told to end; the process does not wait for it.
    runtime.shutdown_background();
    Ok(match ended? {
        Ended::InOrder => ExitCode::SUCCESS,
        Ended::AtOnce(signal) => ExitCode::from(signal.exit_code()),
    })
}

fn runtime() -> Result<Runtime, Error> {
    Runtime::new().map_err(|source| Error::System { action: "start threads", source })
}
