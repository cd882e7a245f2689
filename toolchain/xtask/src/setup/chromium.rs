//! Chromium, in which the browser's package is tested and measured.

use std::env;
use std::path::PathBuf;

use super::{Part, Way, native};
use crate::process;

/// Names under which it, or its twin Chrome, is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The variable that names another one.
const VARIABLE: &str = "SIPP_CHROMIUM";

/// With Debian's package.
pub(super) const APT: Way = Way { name: "apt-get install chromium", obtain: |_| native::apt_install(&["chromium"]) };

/// What to install here by hand.
pub(super) const ADVICE: &str = "install Chromium or Chrome 137 or newer, or name one in SIPP_CHROMIUM";

/// The program, looked up now.
pub(super) fn part() -> Part {
    let state = program().map(|path| path.display().to_string());
    Part { name: "chromium", state: state.ok_or_else(|| "from the system's packages".to_owned()) }
}

/// Where it is.
pub(crate) fn program() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).map(PathBuf::from).filter(|path| path.is_file());
    named.or_else(|| NAMES.iter().find_map(|name| process::find_program(name)))
}
