//! `cargo x build`: components first, then the native programs that embed them.

pub(crate) mod browser;
mod component;
mod engine;
mod third_party;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::process;
use crate::repository::Repository;
use crate::setup::{self, Thing};

/// What to build.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these parts.
    parts: Vec<Part>,
}

/// A part of the build.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The components, to `target/components/<name>.wasm`.
    Components,
    /// The guests of the tests, to `target/components/programs/<name>.wasm`.
    Programs,
    /// The adapters in other languages, to `target/components/third-party/`; only when named.
    ThirdParty,
    /// `sipp` and `sipp-gateway`, to `target/release/`.
    Native,
    /// The browser's package, to `host-browser/dist/`; only when named.
    Browser,
}

/// Builds the parts, in the order in which they need each other.
///
/// # Errors
/// When a tool cannot be obtained or something does not compile.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<()> {
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    // Native programs embed components, so those are part of them.
    if wanted(Part::Components) || wanted(Part::Native) {
        components(repository)?;
    }
    if wanted(Part::Programs) {
        programs(repository)?;
    }
    // Their tools are tests' alone, so that they must be asked for.
    if arguments.parts.contains(&Part::ThirdParty) {
        third_parties(repository)?;
    }
    if wanted(Part::Native) {
        native(repository, &["--bins"])?;
    }
    // Its tools are large, and natively nobody needs them.
    if arguments.parts.contains(&Part::Browser) {
        browser::build(repository)?;
    }
    Ok(())
}

/// Builds the components.
///
/// # Errors
/// As [`run`].
pub(crate) fn components(repository: &Repository) -> Result<()> {
    component::build(repository, &repository.components(), &repository.target().join("components"), &["--workspace"])
}

/// Builds the guests that tests run.
///
/// # Errors
/// As [`run`].
pub(crate) fn programs(repository: &Repository) -> Result<()> {
    let output = repository.target().join("components/programs");
    component::build(repository, &repository.test_programs(), &output, &["--workspace", "--bins", "--examples"])
}

/// Builds the adapters that others could have made.
///
/// # Errors
/// As [`run`].
pub(crate) fn third_parties(repository: &Repository) -> Result<()> {
    third_party::build(repository)
}

/// Builds native programs. `targets` chooses them; the packages stay the same for every verb, because cargo compiles a
/// dependency again for another choice of packages.
///
/// # Errors
/// As [`run`].
pub(crate) fn native(repository: &Repository, targets: &[&str]) -> Result<()> {
    setup::ensure(repository, &[Thing::Native])?;
    let mut cargo = repository.cargo(repository.root());
    process::run(cargo.args(["build", "--release"]).args(PACKAGES).args(targets))
}

/// The packages of the product and its tests. xtask is left out: it is there already, in the profile of `cargo x`.
pub(crate) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "xtask"];
