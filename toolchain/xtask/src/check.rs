//! `cargo x check`: everything about the tree that can be judged without running it.
//!
//! All checks run, the cheap ones first, and the failed ones are named at the end: a person repairs them in one round.

mod deny;
mod imports;
mod tree;
mod wit;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

use crate::build;
use crate::process;
use crate::repository::Repository;
use crate::setup::wasm::{TARGET, Toolchain};
use crate::setup::{self, Thing, node};

/// What to check.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these checks.
    checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// rustfmt.
    Format,
    /// Paths, sizes and links of the files in the tree.
    Tree,
    /// Who may depend on whom.
    Imports,
    /// The contracts under `wit/`.
    Wit,
    /// Licences, sources, bans and advisories of dependencies.
    Deny,
    /// clippy, with warnings as errors.
    Clippy,
    /// rustdoc, with warnings as errors.
    Docs,
    /// The types of the browser's package, its page, tests and measurements.
    Typescript,
}

impl Check {
    const ALL: [Self; 8] =
        [Self::Format, Self::Tree, Self::Imports, Self::Wit, Self::Deny, Self::Clippy, Self::Docs, Self::Typescript];

    fn run(self, repository: &Repository) -> Result<()> {
        match self {
            Self::Format => format(repository),
            Self::Tree => report(tree::check(repository)?),
            Self::Imports => report(imports::check(repository)?),
            Self::Wit => report(wit::check(repository)?),
            Self::Deny => deny::check(repository),
            Self::Clippy => clippy(repository),
            Self::Docs => docs(repository),
            Self::Typescript => typescript(repository),
        }
    }
}

/// Runs the checks.
///
/// # Errors
/// When one fails; its findings were printed before.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<()> {
    let checks = if arguments.checks.is_empty() { Check::ALL.to_vec() } else { arguments.checks.clone() };
    let mut failed = Vec::new();
    for check in checks {
        let name = check.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("check: {name}");
        if let Err(error) = check.run(repository) {
            eprintln!("check: {name} failed: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        println!("all checks passed");
        return Ok(());
    }
    bail!("{} failed", failed.join(", "))
}

/// The workspaces of the tree.
fn workspaces(repository: &Repository) -> [PathBuf; 4] {
    [repository.root().to_owned(), repository.components(), repository.test_programs(), repository.rust_example()]
}

/// Runs all commands, and fails if one did: so that one run shows everything.
fn every(commands: impl IntoIterator<Item = Command>) -> Result<()> {
    let failed: Vec<_> = commands.into_iter().filter_map(|mut command| process::run(&mut command).err()).collect();
    match failed.into_iter().reduce(|all, error| anyhow!("{all}; {error}")) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Prints findings, and fails if there are any.
fn report(findings: Vec<String>) -> Result<()> {
    for finding in &findings {
        eprintln!("  {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}

fn format(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Lints])?;
    every(workspaces(repository).map(|workspace| {
        let mut cargo = repository.cargo(&workspace);
        cargo.args(["fmt", "--all", "--check"]);
        cargo
    }))
}

/// In release, so that build scripts, which compile llama.cpp and the components, run once for all verbs.
fn clippy(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Lints, Thing::Native])?;
    build::components(repository)?;
    let own = matches!(Toolchain::find(repository), Some(Toolchain::Own));
    if !own {
        // clippy belongs to one compiler and cannot read another one's standard library.
        eprintln!("check: clippy has no {TARGET} of its own here, so it sees guests as native code");
    }
    every(workspaces(repository).map(|workspace| {
        let mut cargo = repository.cargo(&workspace);
        cargo.args(["clippy", "--release", "--workspace", "--all-targets"]);
        if workspace != repository.root() {
            cargo.env("CARGO_TARGET_DIR", repository.guest_target());
            cargo.args(own.then_some(["--target", TARGET]).into_iter().flatten());
        }
        cargo.args(["--", "-D", "warnings"]);
        cargo
    }))
}

/// Of libraries alone: programs have no interface in Rust, and `sipp` is the name of a library and of a program.
fn docs(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Native])?;
    build::components(repository)?;
    let mut cargo = repository.cargo(repository.root());
    cargo.args(["doc", "--release", "--no-deps", "--workspace", "--lib"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut cargo)
}

/// Against the types that jco makes of the components.
fn typescript(repository: &Repository) -> Result<()> {
    build::components(repository)?;
    build::browser::packages(repository)?;
    process::run(node::npm(&repository.browser())?.args(["run", "--silent", "check"]))
}
