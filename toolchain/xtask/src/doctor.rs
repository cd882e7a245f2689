//! `cargo x doctor`: what is needed, what is there, and how the rest is obtained.
//!
//! It changes nothing, so that a person can look before anything is installed.

use std::process::{Command, ExitCode};

use crate::process;
use crate::repository::Repository;
use crate::setup::{Part, Thing};

/// Prints the table; fails when something is missing that a verb needs.
pub(crate) fn run(repository: &Repository) -> ExitCode {
    let mut missing = 0;
    for (part, needed_by) in table(repository) {
        let (mark, text) = match part.state {
            Ok(found) => ("ok", found),
            Err(how) => {
                missing += 1;
                ("MISSING", how)
            }
        };
        println!("{:<23} {mark:<8} {text}  ({needed_by})", part.name);
    }
    match process::find_program("ccache") {
        Some(path) => println!("{:<23} {:<8} {}  (optional)", "ccache", "ok", path.display()),
        None => println!("{:<23} {:<8} compiles llama.cpp again faster  (optional)", "ccache", "-"),
    }
    if missing == 0 {
        println!("nothing is missing");
        return ExitCode::SUCCESS;
    }
    println!("{missing} missing; `cargo x setup` obtains what it can");
    ExitCode::FAILURE
}

/// Every needed part, and the verbs that need it.
fn table(repository: &Repository) -> Vec<(Part, &'static str)> {
    let mut rows = vec![(rust(), "everything"), (demo_model(repository), "test, serve")];
    for thing in Thing::ALL {
        let needed_by = match thing {
            Thing::Native => "check, build, test, serve, bench: llama.cpp",
            Thing::Wasm => "check, build, test, serve, bench: components",
            Thing::Lints | Thing::Deny => "check",
            Thing::Python => "test, bench browser",
            Thing::Javascript => "test",
            Thing::Node => "check, test, serve, bench: the browser's package",
            Thing::Chromium => "test, bench: the browser's package",
            Thing::Emscripten => "test, serve, bench: the browser's engine",
            Thing::Vulkan => "test vulkan",
        };
        rows.extend(thing.parts(repository).into_iter().map(|part| (part, needed_by)));
    }
    rows
}

/// cargo refuses a Rust that is too old before we run, so its version is only shown.
fn rust() -> Part {
    let version = process::read(Command::new("rustc").arg("--version"));
    Part { name: "rust", state: version.map_err(|_| "from rustup or the system's packages".to_owned()) }
}

fn demo_model(repository: &Repository) -> Part {
    let path = repository.demo_model();
    let state = match path.metadata() {
        Ok(file) => Ok(format!("{}, {:.1} MB", repository.shown(&path), file.len() as f64 / 1e6)),
        Err(_) => Err(format!("it is part of the tree: run `git checkout {}`", repository.shown(&path))),
    };
    Part { name: "demo model", state }
}
