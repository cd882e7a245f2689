//! What makes components of JavaScript: `componentize-qjs`, compiled from crates.io once, into the cache.
//!
//! Its packages in npm are older and cannot import an asynchronous function, which `wasi:http/client` is. It needs a newer
//! Rust than the project's own, which is obtained for it alone.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{Part, Way};
use crate::process;
use crate::repository::{Repository, cache};

const VERSION: &str = "0.5.0";
const TOOLCHAIN: &str = "1.97.0";

/// With rustup's newer Rust.
pub(super) const INSTALL: Way = Way { name: "rustup toolchain install, cargo install", obtain: install };

/// What to do by hand.
pub(super) const ADVICE: &str = "run `cargo install componentize-qjs-cli@0.5.0 --locked` with Rust 1.97 or newer";

/// The program, looked up now.
pub(super) fn part() -> Part {
    let state = program().map(|path| path.display().to_string());
    Part { name: "componentize-qjs", state: state.ok_or_else(|| "compiled from crates.io, about 8 minutes".to_owned()) }
}

/// Where the program is: on the search path or in the cache.
pub(crate) fn program() -> Option<PathBuf> {
    let file = format!("componentize-qjs{}", env::consts::EXE_SUFFIX);
    let cached = folder().ok().map(|folder| folder.join("bin").join(file));
    process::find_program("componentize-qjs").or_else(|| cached.filter(|path| path.is_file()))
}

fn folder() -> Result<PathBuf> {
    Ok(cache()?.join(format!("componentize-qjs-{VERSION}")))
}

/// Compiles it with little optimisation: it runs for seconds.
fn install(repository: &Repository) -> Result<()> {
    process::attempt(Command::new("rustup").args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]))?;
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", TOOLCHAIN, "cargo", "install"])
        .arg(format!("componentize-qjs-cli@{VERSION}"))
        .args(["--locked", "--debug", "--root"])
        .arg(folder()?)
        .current_dir(repository.root().join("toolchain"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    process::attempt(&mut cargo)
}
