//! `cargo x test`: builds what the tests run, runs them, and adds the results up.
//!
//! Rust's tests come from cargo, the browser's from Node.js; one line sums them all.

mod summary;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::build;
use crate::process;
use crate::repository::Repository;
use crate::setup::{self, Thing, chromium, node, python, vulkan};
use summary::Summary;

/// The word that means the tests of the browser's package.
const BROWSER: &str = "browser";

/// The word that means the tests of the engine on Vulkan.
const VULKAN: &str = "vulkan";

/// Which tests to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains one of these. A first word `browser` means the browser's package alone, and
    /// `vulkan` the engine on that backend, which nothing else tests.
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
    if let [first, filters @ ..] = arguments.filters.as_slice()
        && first == VULKAN
    {
        return test_vulkan(repository, filters, &arguments.rest);
    }
    let (browser_alone, filters) = match arguments.filters.as_slice() {
        [first, filters @ ..] if first == BROWSER => (true, filters),
        filters => (false, filters),
    };
    build(repository, browser_alone)?;

    let mut summary = Summary::default();
    let mut failed = Vec::new();
    // A test program takes one filter, so more of them are more runs.
    let filters: Vec<_> = match filters {
        [] => vec![None],
        filters => filters.iter().map(Some).collect(),
    };
    for filter in filters {
        let mut suites = Vec::new();
        if !browser_alone {
            for (name, mut cargo) in suites_of_cargo(repository) {
                cargo.arg("--").args(filter).args(&arguments.rest);
                suites.push((name, cargo));
            }
        }
        suites.push(("the browser's package", browser(repository, filter)?));
        for (name, mut command) in suites {
            if arguments.bless {
                command.env("SIPP_BLESS", "1");
            }
            if !stream(&mut command, &mut summary)? {
                failed.push(name);
            }
        }
    }
    println!("{summary}");
    ensure!(failed.is_empty(), "tests failed in: {}", failed.join(", "));
    ensure!(summary.count() > 0, "no test has such a name");
    Ok(())
}

/// Builds the engine with its Vulkan backend, tests it, and shows the devices that it finds.
///
/// In a folder of its own, because llama.cpp is another with the backend; its shaders alone compile for minutes. The
/// first device is there twice, so that splits among GPUs are tested, and the driver may be Mesa's for processors, which
/// ggml takes only when it is named.
fn test_vulkan(repository: &Repository, filters: &[String], rest: &[String]) -> Result<()> {
    setup::ensure(repository, &[Thing::Native, Thing::Vulkan])?;
    let cargo = |arguments: &[&str]| {
        let mut cargo = repository.cargo(repository.root());
        cargo.args(arguments).args(["--release", "--package", "sipp-engine-sys", "--features", "vulkan"]);
        cargo.env("CARGO_TARGET_DIR", repository.target().join(VULKAN));
        cargo.env("GGML_VK_VISIBLE_DEVICES", "0,0").env("REQUIRE", VULKAN);
        vulkan::apply(&mut cargo);
        cargo
    };
    process::run(cargo(&["run"]).args(["--example", "devices"]))?;
    let mut summary = Summary::default();
    let mut tests = cargo(&["test"]);
    // A test program takes one filter.
    tests.args(["--no-fail-fast", "--lib", "--test", VULKAN, "--"]).args(filters.first()).args(rest);
    let passed = stream(&mut tests, &mut summary)?;
    println!("{summary}");
    ensure!(passed, "tests failed on Vulkan");
    ensure!(summary.count() > 0, "no test has such a name");
    Ok(())
}

/// Builds everything that the tests run.
fn build(repository: &Repository, browser_alone: bool) -> Result<()> {
    build::components(repository)?;
    if !browser_alone {
        build::programs(repository)?;
        build::third_parties(repository)?;
    }
    build::native(repository, &["--bins"])?;
    build::browser::build(repository)?;
    build::browser::tests(repository)
}

/// The tests of the browser's package, in Node.js and in Chromium, against the gateway that was built.
fn browser(repository: &Repository, filter: Option<&String>) -> Result<Command> {
    setup::ensure(repository, &[Thing::Chromium])?;
    let mut npm = node::npm(&repository.browser())?;
    npm.args(["run", "--silent", "test"]).env("SIPP_GATEWAY", repository.program("sipp-gateway"));
    npm.envs(chromium::program().map(|chromium| ("SIPP_CHROMIUM", chromium)));
    npm.envs(filter.map(|filter| ("SIPP_TEST_FILTER", filter)));
    Ok(npm)
}

/// The tests in Rust, the longest output last. Each goes on after a failure, so that one run shows all of them.
fn suites_of_cargo(repository: &Repository) -> [(&'static str, Command); 3] {
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
    // The providers' official clients are Python's, and so is what writes an embedding model.
    workspace.envs(python::python(repository).map(|python| ("SIPP_PYTHON", python)));
    [("xtask", xtask), ("components", components), ("the workspace", workspace)]
}

/// Runs tests, shows their output as it comes and counts them. Returns whether they succeeded.
fn stream(command: &mut Command, summary: &mut Summary) -> Result<bool> {
    let text = process::text(command);
    eprintln!("$ {text}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("`{text}` cannot be started"))?;
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
