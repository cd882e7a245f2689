//! Node.js 24, which builds the browser's package and runs it: the first that has JavaScript's promise integration.
//!
//! A distribution's own is often older. npm has the program as a package, so it is installed like any other, into the
//! cache, and nothing of the machine's changes.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Part, Way, native};
use crate::process;
use crate::repository::cache;

/// The oldest that will do.
const OLDEST: u32 = 24;

/// Debian's packages for an npm.
const PACKAGES: [&str; 2] = ["nodejs", "npm"];

/// With the machine's npm.
pub(super) const NPM: Way = Way { name: "npm install node", obtain: |_| install() };

/// With Debian's npm.
pub(super) const APT: Way = Way {
    name: "apt-get install nodejs npm",
    obtain: |_| {
        native::apt_install(&PACKAGES)?;
        install()
    },
};

/// What to install here by hand.
pub(crate) const ADVICE: &str = "install Node.js 24 or newer with npm";

/// The program, looked up now.
pub(super) fn part() -> Part {
    let state = node().map(|path| path.display().to_string());
    Part { name: "node 24", state: state.ok_or_else(|| "from npm's package `node`, into the cache".to_owned()) }
}

/// Where Node.js is, if it is new enough: on the search path or in the cache.
pub(crate) fn node() -> Option<PathBuf> {
    let cached = folder().ok().map(|folder| program_in(&folder));
    process::find_program("node").into_iter().chain(cached).find(|path| path.is_file() && is_new_enough(path))
}

/// A command of npm's in a folder, with our Node.js first on its search path.
///
/// # Errors
/// When one of them is missing.
pub(crate) fn npm(folder: &Path) -> Result<Command> {
    let mut command = Command::new(process::find_program("npm").context("npm is missing; install Node.js with npm")?);
    // npm's messages about its own updates would be asked of the network.
    command.current_dir(folder).env("PATH", path()?).env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
    Ok(command)
}

/// The search path with our Node.js first.
fn path() -> Result<std::ffi::OsString> {
    let node = node().context(ADVICE)?;
    let first = node.parent().map(Path::to_owned);
    let others = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(first.into_iter().chain(env::split_paths(&others)))?)
}

fn folder() -> Result<PathBuf> {
    Ok(cache()?.join(format!("node-{OLDEST}")))
}

fn program_in(folder: &Path) -> PathBuf {
    folder.join("node_modules/node/bin").join(format!("node{}", env::consts::EXE_SUFFIX))
}

fn is_new_enough(program: &Path) -> bool {
    let version = process::read(Command::new(program).arg("--version")).unwrap_or_default();
    major(&version).is_some_and(|major| major >= OLDEST)
}

fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn install() -> Result<()> {
    let Some(npm) = process::find_program("npm") else { bail!("there is no npm here") };
    let folder = folder()?;
    std::fs::create_dir_all(&folder)?;
    let mut command = Command::new(npm);
    command.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&folder);
    process::attempt(command.arg(format!("node@{OLDEST}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_major_number() {
        assert_eq!(major("v24.9.0"), Some(24));
        assert_eq!(major("24.9.0"), None);
        assert_eq!(major(""), None);
    }
}
