//! TensorZero's gateway, which does for its callers what our host does: measured in the same run, over the same
//! upstream.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use sipp_tests::companion::Companion;

/// What its callers name the upstream's model.
pub(crate) const MODEL: &str = "tensorzero::model_name::m";

/// Starts the gateway that the Python package carries.
const LAUNCHER: &str = include_str!("tensorzero.py");

/// Its configuration, but for the upstream's address.
const CONFIGURATION: &str = include_str!("tensorzero.toml");

/// Starts it before an upstream.
pub(crate) fn start(python: &Path, upstream: &str) -> Result<Companion> {
    // It reads its configuration before it says where it serves; the folder is not needed after that.
    let folder = tempfile::tempdir()?;
    let configuration = folder.path().join("tensorzero.toml");
    std::fs::write(&configuration, CONFIGURATION.replace("{upstream}", upstream))?;
    let mut command = Command::new(python);
    Companion::start(command.args(["-c", LAUNCHER]).arg(&configuration))
        .with_context(|| format!("TensorZero's gateway does not start with {}", python.display()))
}
