//! `cargo x bench`: builds a measuring program and runs it.
//!
//! Most are programs of the tests, in Rust. The browser's is one of its package: it drives Chromium.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build;
use crate::process;
use crate::repository::Repository;
use crate::setup::{self, Thing, chromium, node, python};

/// How the measuring programs are called.
const PREFIX: &str = "bench-";

/// What measures the engine, beside a peer.
const ENGINE: &str = "engine";

/// What measures the browser's package.
const BROWSER: &str = "browser";

/// The models of random weights that both compute with.
const MODELS: [&str; 6] = ["26m-q4_0", "26m-q8_0", "26m-f16", "100m-q4_0", "100m-q8_0", "100m-f16"];

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
    if name == BROWSER {
        return browser(repository, &arguments.rest);
    }
    if name == ENGINE {
        return engine(repository, &arguments.rest);
    }
    process::run(program(repository, name)?.args(&arguments.rest))
}

/// Builds a measuring program.
fn program(repository: &Repository, name: &str) -> Result<Command> {
    build::components(repository)?;
    let program = format!("{PREFIX}{name}");
    build::native(repository, &["--bin", &program])?;
    Ok(Command::new(repository.program(&program)))
}

/// What can be measured: every program of the workspace whose name starts with the prefix.
fn names(repository: &Repository) -> Result<Vec<String>> {
    let packages = repository.packages(repository.root())?;
    let programs = packages.iter().flat_map(|package| &package.targets).filter(|target| target.is("bin"));
    let mut names: Vec<_> =
        programs.filter_map(|program| program.name.strip_prefix(PREFIX)).map(str::to_owned).collect();
    names.push(BROWSER.to_owned());
    names.sort();
    Ok(names)
}

/// Measures the engine beside llama.cpp's own server, with the models of random weights unless one is named.
fn engine(repository: &Repository, arguments: &[String]) -> Result<()> {
    let mut bench = program(repository, ENGINE)?;
    let folder = models(repository)?;
    bench.args(
        python::python(repository).into_iter().flat_map(|python| ["--xllamacpp".into(), python.into_os_string()]),
    );
    if !arguments.iter().any(|argument| argument == "--model" || argument.starts_with("--model=")) {
        bench.args(
            MODELS.iter().flat_map(|name| ["--model".into(), folder.join(format!("{name}.gguf")).into_os_string()]),
        );
    }
    process::run(bench.args(arguments))
}

/// Measures the browser's package in Chromium, beside its peer, in Node.js, and beside the native program.
fn browser(repository: &Repository, arguments: &[String]) -> Result<()> {
    build::browser::build(repository)?;
    build::native(repository, &["--bin", "sipp"])?;
    setup::ensure(repository, &[Thing::Chromium])?;
    let models = models(repository)?;
    let mut npm = node::npm(&repository.browser())?;
    npm.args(["run", "--silent", "bench", "--"]).args(arguments);
    npm.env("SIPP_BENCH_MODELS", models).env("SIPP_PROGRAM", repository.program("sipp"));
    npm.envs(chromium::program().map(|chromium| ("SIPP_CHROMIUM", chromium)));
    process::run(&mut npm)
}

/// Writes the models, those that are not there yet, and returns their folder.
fn models(repository: &Repository) -> Result<PathBuf> {
    setup::ensure(repository, &[Thing::Python])?;
    let folder = repository.target().join("bench-models");
    let python = python::python(repository).context("the environment of Python's packages is missing")?;
    let script = repository.root().join("toolchain/bench-models/random_model.py");
    process::run(Command::new(python).arg(script).arg(&folder).args(MODELS))?;
    Ok(folder)
}
