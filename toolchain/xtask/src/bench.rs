//! `cargo x bench`: builds a measuring program of the tests and runs it.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::build;
use crate::process;
use crate::repository::Repository;

/// How the measuring programs are called.
const PREFIX: &str = "bench-";

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to measure; without it, everything that can be measured is listed.
    name: Option<String>,
    /// Passed on, such as `--json FILE` or `--model FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Measures, or lists what can be measured.
///
/// # Errors
/// When there is no such program, when it does not build, or when it fails.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<()> {
    let names = names(repository)?;
    let Some(name) = &arguments.name else {
        for name in names {
            println!("{name}");
        }
        return Ok(());
    };
    if !names.contains(name) {
        bail!("there is no bench `{name}`; there is: {}", names.join(", "));
    }
    build::components(repository)?;
    let program = format!("{PREFIX}{name}");
    build::native(repository, &["--bin", &program])?;
    process::run(Command::new(repository.program(&program)).args(&arguments.rest))
}

/// What can be measured: every program of the workspace whose name starts with the prefix.
fn names(repository: &Repository) -> Result<Vec<String>> {
    let packages = repository.packages(repository.root())?;
    let programs = packages.iter().flat_map(|package| &package.targets).filter(|target| target.is("bin"));
    let mut names: Vec<_> =
        programs.filter_map(|program| program.name.strip_prefix(PREFIX)).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}
