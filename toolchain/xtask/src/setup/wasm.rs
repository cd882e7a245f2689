//! The toolchain that compiles components: Rust for `wasm32-unknown-unknown`.
//!
//! The target is not listed in a `rust-toolchain.toml`: a machine that cannot download it would then run no cargo
//! command at all. Instead it is looked for, asked of rustup, or taken from Debian's packages, in this order.

use std::env;
use std::path::Path;
use std::process::Command;

use super::debian::Debian;
use super::{Part, Way};
use crate::process;
use crate::repository::Repository;

/// The target that components are compiled for: no WASI, so a component imports nothing but our own contracts.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Comma-separated names of the ways that may be taken, to try one out: `present`, `rustup`, `debian`.
const WAYS_VARIABLE: &str = "SIPP_SETUP_WAYS";

/// The ways to obtain it.
pub(super) const WAYS: [Way; 2] = [
    Way { name: "rustup", obtain: |_| process::attempt(Command::new("rustup").args(["target", "add", TARGET])) },
    Way { name: "debian", obtain: Debian::install },
];

/// What a person can do.
pub(super) const ADVICE: &str = "run `rustup target add wasm32-unknown-unknown` on a connection that reaches rustup's \
     server, or install a Rust that has this target";

/// Whose Rust compiles components.
pub(crate) enum Toolchain {
    /// The one that everything else is compiled with.
    Own,
    /// Debian's, unpacked into the cache.
    Debian(Debian),
}

impl Toolchain {
    /// The toolchain that is there, if one is.
    pub(crate) fn find(repository: &Repository) -> Option<Self> {
        if allowed("present") && own_target_is_there(repository) {
            return Some(Self::Own);
        }
        let debian = allowed("debian").then(Debian::find).flatten();
        debian.map(Self::Debian)
    }

    /// Makes a cargo command use it.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        if let Self::Debian(debian) = self {
            cargo.env("RUSTC", debian.rustc()).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", debian.linker());
        }
    }
}

/// Whether a way may be taken. `rustup` leaves the target where `present` finds it, so it allows that too.
pub(super) fn allowed(way: &str) -> bool {
    allowed_by(env::var(WAYS_VARIABLE).ok().as_deref(), way)
}

/// The target, looked up now.
pub(super) fn part(repository: &Repository) -> Part {
    let state = match Toolchain::find(repository) {
        Some(Toolchain::Own) => Ok("of the installed Rust".to_owned()),
        Some(Toolchain::Debian(debian)) => Ok(debian.to_string()),
        None => Err("by `rustup target add`, else from Debian's packages (about 220 MB)".to_owned()),
    };
    Part { name: TARGET, state }
}

fn allowed_by(ways: Option<&str>, way: &str) -> bool {
    ways.is_none_or(|ways| ways.split(',').any(|allowed| allowed == way || (way == "present" && allowed == "rustup")))
}

/// A sysroot names a folder for every target that rustc knows; only one with a standard library is of use.
fn own_target_is_there(repository: &Repository) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(repository.root()).args(["--print", "target-libdir", "--target", TARGET]);
    process::read(&mut rustc).is_ok_and(|folder| has_standard_library(Path::new(&folder)))
}

fn has_standard_library(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ["libcore-", "libstd-"]
        .iter()
        .all(|library| names.iter().any(|name| name.starts_with(library) && name.ends_with(".rlib")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_can_be_restricted() {
        assert!(allowed_by(None, "debian"));
        assert!(allowed_by(Some("rustup,debian"), "debian"));
        assert!(allowed_by(Some("rustup"), "present"));
        assert!(!allowed_by(Some("debian"), "present"));
        assert!(!allowed_by(Some("debian"), "rustup"));
    }

    #[test]
    fn a_folder_without_a_standard_library_does_not_count() {
        assert!(!has_standard_library(&env::temp_dir().join("xtask-no-such-folder")));
        let folder = env::temp_dir().join(format!("xtask-wasm-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("libcore-1.rlib"), "").unwrap();
        assert!(!has_standard_library(&folder));
        std::fs::write(folder.join("libstd-1.rlib"), "").unwrap();
        assert!(has_standard_library(&folder));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
