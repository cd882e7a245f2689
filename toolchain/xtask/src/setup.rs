//! `cargo x setup`: obtains what is missing.
//!
//! Each thing is obtained by the first way that works, and a machine that has everything is left alone in a moment, so
//! that every verb can ask for what it needs before it starts.

pub(crate) mod chromium;
pub(crate) mod debian;
pub(crate) mod emscripten;
pub(crate) mod javascript;
pub(crate) mod native;
pub(crate) mod node;
pub(crate) mod python;
pub(crate) mod rust;
mod sources;
pub(crate) mod vulkan;
pub(crate) mod wasm;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};

use crate::repository::Repository;

/// What to obtain.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these things.
    things: Vec<Thing>,
}

/// Something that verbs need.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Thing {
    /// A C++ compiler, CMake, make and libclang, for llama.cpp and its bindings.
    Native,
    /// Rust's standard library for WebAssembly, for the components.
    Wasm,
    /// rustfmt and clippy.
    Lints,
    /// cargo-deny.
    Deny,
    /// Python with the packages of the tests and benchmarks.
    Python,
    /// What makes components of JavaScript, for a test.
    Javascript,
    /// Node.js 24, for the browser's package.
    Node,
    /// Chromium, for the tests of the browser's package.
    Chromium,
    /// Emscripten and the source of Rust's standard library, for the browser's engine.
    Emscripten,
    /// What compiles and runs the Vulkan backend; only when named.
    Vulkan,
}

/// One program or library of a thing, and whether it is there.
pub(crate) struct Part {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Its version or place; or, when it is missing, how it is obtained.
    pub(crate) state: Result<String, String>,
}

/// A way to obtain a thing.
pub(crate) struct Way {
    /// What it is called in messages and in `SIPP_SETUP_WAYS`.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) obtain: fn(&Repository) -> Result<()>,
}

impl Thing {
    /// Every thing that the usual verbs need, in the order in which they are obtained.
    pub(crate) const ALL: [Self; 9] = [
        Self::Native,
        Self::Wasm,
        Self::Lints,
        Self::Deny,
        Self::Python,
        Self::Javascript,
        Self::Node,
        Self::Chromium,
        Self::Emscripten,
    ];

    /// What it consists of, looked up now.
    pub(crate) fn parts(self, repository: &Repository) -> Vec<Part> {
        match self {
            Self::Native => native::parts(),
            Self::Wasm => vec![wasm::part(repository)],
            Self::Lints => rust::lints(),
            Self::Deny => vec![rust::deny()],
            Self::Python => vec![python::part(repository)],
            Self::Javascript => vec![javascript::part()],
            Self::Node => vec![node::part()],
            Self::Chromium => vec![chromium::part()],
            Self::Emscripten => emscripten::parts(repository),
            Self::Vulkan => vulkan::parts(),
        }
    }

    /// The ways to obtain it, the ordinary one first.
    fn ways(self) -> Vec<Way> {
        match self {
            Self::Native => vec![native::APT],
            Self::Wasm => wasm::WAYS.into_iter().filter(|way| wasm::allowed(way.name)).collect(),
            Self::Lints => vec![rust::LINTS],
            Self::Deny => vec![rust::DENY],
            Self::Python => vec![python::VENV, python::APT],
            Self::Javascript => vec![javascript::INSTALL],
            Self::Node => vec![node::NPM, node::APT],
            Self::Chromium => vec![chromium::APT],
            Self::Emscripten => emscripten::WAYS.into_iter().filter(|way| wasm::allowed(way.name)).collect(),
            Self::Vulkan => vulkan::WAYS.into(),
        }
    }

    /// What a person can do when no way works.
    fn advice(self) -> String {
        match self {
            Self::Native => native::advice(),
            Self::Wasm => wasm::ADVICE.to_owned(),
            Self::Lints => "run `rustup component add rustfmt clippy`, or install them with Rust itself".to_owned(),
            Self::Deny => "run `cargo install cargo-deny --locked`".to_owned(),
            Self::Python => python::ADVICE.to_owned(),
            Self::Javascript => javascript::ADVICE.to_owned(),
            Self::Node => node::ADVICE.to_owned(),
            Self::Chromium => chromium::ADVICE.to_owned(),
            Self::Emscripten => emscripten::ADVICE.to_owned(),
            Self::Vulkan => vulkan::ADVICE.to_owned(),
        }
    }

    fn missing(self, repository: &Repository) -> Vec<&'static str> {
        self.parts(repository).into_iter().filter(|part| part.state.is_err()).map(|part| part.name).collect()
    }
}

/// Obtains what is asked for and says what is there.
///
/// # Errors
/// When something cannot be obtained.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<()> {
    let things = if arguments.things.is_empty() { Thing::ALL.to_vec() } else { arguments.things.clone() };
    ensure(repository, &things)?;
    for part in things.iter().flat_map(|thing| thing.parts(repository)) {
        println!("{:<14} {}", part.name, part.state.unwrap_or_else(|how| format!("missing: {how}")));
    }
    Ok(())
}

/// Obtains those of the things that are missing.
///
/// # Errors
/// When one cannot be obtained: which, the ways that were tried with their errors, and what to do.
pub(crate) fn ensure(repository: &Repository, things: &[Thing]) -> Result<()> {
    for thing in things {
        let missing = thing.missing(repository);
        if missing.is_empty() {
            continue;
        }
        eprintln!("setup: {} missing", missing.join(", "));
        obtain(*thing, repository)?;
    }
    Ok(())
}

fn obtain(thing: Thing, repository: &Repository) -> Result<()> {
    let mut tried = Vec::new();
    for way in thing.ways() {
        eprintln!("setup: trying {}", way.name);
        let failure = match (way.obtain)(repository) {
            Ok(()) => match thing.missing(repository) {
                missing if missing.is_empty() => return Ok(()),
                missing => format!("it ran, but {} is still missing", missing.join(", ")),
            },
            Err(error) => format!("{error:#}"),
        };
        tried.push(format!("\n  tried {}: {failure}", way.name));
    }
    if tried.is_empty() {
        tried.push("\n  no way was tried, because SIPP_SETUP_WAYS allows none".to_owned());
    }
    let missing = thing.missing(repository).join(", ");
    Err(anyhow!("{missing}: missing and not obtained{}\n  what to do: {}", tried.concat(), thing.advice()))
}
