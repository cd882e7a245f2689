//! `cargo x test`: builds what the tests run, runs them, and adds the results up.

mod summary;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::build;
use crate::process;
use crate::repository::Repository;
use crate::setup::python;
use summary::Summary;

/// Which tests to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains one of these.
    filters: Vec<String>,
    /// Rewrites the expected files with what the tests got.
    #[arg(long)]
    bless: bool,
    /// Passed on to the test programs, such as `--nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds, tests, and prints one line of sums.
///
/// # Errors
/// When something does not build, when a test fails, or when the filters leave no test.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<()> {
    build::components(repository)?;
    build::programs(repository)?;
    build::third_parties(repository)?;
    build::native(repository, &["--bins"])?;

    let mut summary = Summary::default();
    let mut failed = Vec::new();
    // A test program takes one filter, so more of them are more runs.
    let filters: Vec<_> = match arguments.filters.as_slice() {
        [] => vec![None],
        filters => filters.iter().map(Some).collect(),
    };
    for filter in filters {
        for (name, mut cargo) in suites(repository) {
            cargo.arg("--").args(filter).args(&arguments.rest);
            if arguments.bless {
                cargo.env("SIPP_BLESS", "1");
            }
            if !stream(&mut cargo, &mut summary)? {
                failed.push(name);
            }
        }
    }
    println!("{summary}");
    ensure!(failed.is_empty(), "tests failed in: {}", failed.join(", "));
    ensure!(summary.count() > 0, "no test has such a name");
    Ok(())
}

/// The test commands, the longest output last. Each goes on after a failure, so that one run shows all of them.
fn suites(repository: &Repository) -> [(&'static str, Command); 3] {
    // In the profile of `cargo x` itself, whose dependencies are compiled already.
    let mut xtask = repository.cargo(repository.root());
    xtask.args(["test", "--package", "xtask", "--no-fail-fast"]);
    // Components are plain Rust below their bindings; that part is tested natively, by the machine's own Rust.
    let mut components = repository.cargo(&repository.components());
    components.env("CARGO_TARGET_DIR", repository.guest_target());
    // Only libraries: natively, a shared library cannot export the names of a component.
    components.args(["test", "--release", "--workspace", "--lib", "--no-fail-fast"]);
    let mut workspace = repository.cargo(repository.root());
    workspace.args(["test", "--release", "--no-fail-fast"]).args(build::PACKAGES);
    // The providers' official clients are Python's.
    workspace.envs(python::python(repository).map(|python| ("SIPP_PYTHON", python)));
    [("xtask", xtask), ("components", components), ("the workspace", workspace)]
}

/// Runs tests, shows their output as it comes and counts them. Returns whether they succeeded.
fn stream(cargo: &mut Command, summary: &mut Summary) -> Result<bool> {
    let text = process::text(cargo);
    eprintln!("$ {text}");
    let mut child = cargo.stdout(Stdio::piped()).spawn().with_context(|| format!("`{text}` cannot be started"))?;
    let Some(output) = child.stdout.take() else { bail!("`{text}` has no output") };
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        summary.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(child.wait()?.success())
}
