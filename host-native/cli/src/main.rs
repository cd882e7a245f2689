//! The program `sipp`: language models in the terminal, of this machine or elsewhere.

mod args;
mod chat;
mod choice;
mod device;
mod embed;
mod endpoint;
mod exit;
mod input;
mod inspect;
mod json;
mod load;
mod output;
mod remote;
mod rope;
mod sampling;
mod screen;
mod stats;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::exit::{EXIT_CODES, Exit, Failure};

/// Runs language models of this machine, and asks those of gateways and providers.
///
/// Answers go to standard output, everything else to standard error. Models of this machine are files in the GGUF format.
#[derive(Debug, Parser)]
#[command(name = "sipp", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Chat(chat::Arguments),
    Query(text::Arguments),
    Embed(embed::Arguments),
    Inspect(inspect::Arguments),
}

impl Command {
    fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Chat(arguments) => runtime()?.block_on(chat::run(arguments)),
            Self::Query(arguments) => runtime()?.block_on(text::run(arguments)),
            Self::Embed(arguments) => runtime()?.block_on(embed::run(arguments)),
            Self::Inspect(arguments) => inspect::run(&arguments),
        }
    }

    fn speaks_json(&self) -> bool {
        match self {
            Self::Chat(arguments) => arguments.output.json,
            Self::Query(arguments) => arguments.output.json,
            Self::Embed(arguments) => arguments.output.json,
            Self::Inspect(arguments) => arguments.json,
        }
    }
}

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let Arguments { command } = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let json = command.speaks_json();
    let exit = remote::check(&matches).and_then(|()| command.run()).unwrap_or_else(|failure| {
        output::report(&failure, json);
        failure.exit()
    });
    exit.into()
}

/// One thread is enough: models and their client have threads of their own.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::System)
}
