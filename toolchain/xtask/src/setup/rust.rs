//! Rust's own tools: rustfmt, clippy and cargo-deny.
//!
//! The first two come with most toolchains and from rustup. cargo-deny is compiled from crates.io once, into the
//! cache, where it is found again by every clone.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{Part, Way};
use crate::process;
use crate::repository::{Repository, cache};

/// rustfmt and clippy through rustup.
pub(super) const LINTS: Way = Way {
    name: "rustup component add",
    obtain: |_| process::attempt(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"])),
};

/// cargo-deny from crates.io.
pub(super) const DENY: Way = Way { name: "cargo install", obtain: install_deny };

/// rustfmt and clippy, looked up now.
pub(super) fn lints() -> Vec<Part> {
    let part = |name, program| {
        let version = process::read(Command::new(program).arg("--version"));
        Part { name, state: version.map_err(|_| "by `rustup component add rustfmt clippy`".to_owned()) }
    };
    vec![part("rustfmt", "rustfmt"), part("clippy", "clippy-driver")]
}

/// cargo-deny, looked up now.
pub(super) fn deny() -> Part {
    let state = deny_program().map(|path| path.display().to_string());
    Part { name: "cargo-deny", state: state.ok_or_else(|| "compiled from crates.io, about 2 minutes".to_owned()) }
}

/// Where cargo-deny is: on the search path or in the cache.
pub(crate) fn deny_program() -> Option<PathBuf> {
    let file = format!("cargo-deny{}", std::env::consts::EXE_SUFFIX);
    let cached = cache().ok().map(|cache| cache.join("cargo-deny/bin").join(file));
    process::find_program("cargo-deny").or_else(|| cached.filter(|path| path.is_file()))
}

/// Compiles it without optimisation: that takes half the time, and a check of a few hundred crates does not notice.
fn install_deny(repository: &Repository) -> Result<()> {
    let mut cargo = repository.cargo(repository.root());
    cargo
        .args(["install", "cargo-deny", "--locked", "--debug", "--root"])
        .arg(cache()?.join("cargo-deny"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // Its build is no part of ours: without this its files would stay in our target folder.
        .env_remove("CARGO_TARGET_DIR");
    process::attempt(&mut cargo)
}
