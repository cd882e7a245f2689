//! What cargo-deny finds in the dependencies of the three workspaces.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::repository::Repository;
use crate::setup::rust::deny_program;
use crate::setup::{self, Thing};

/// Checks bans, licences and sources; and advisories, if their database can be reached.
///
/// # Errors
/// When cargo-deny cannot be obtained or finds something.
pub(super) fn check(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Deny])?;
    let program = deny_program().context("cargo-deny is missing; run `cargo x setup`")?;
    let advisories = match process::read(Command::new(&program).current_dir(repository.root()).args(["fetch", "db"])) {
        Ok(_) => Some("advisories"),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            eprintln!("check: advisories SKIPPED, their database cannot be fetched: {reason}");
            None
        }
    };
    super::every(super::workspaces(repository).map(|workspace| {
        let mut command = Command::new(&program);
        command.current_dir(workspace).arg("--config").arg(repository.root().join("deny.toml"));
        command.args(["check", "--allow", "unused-wrapper", "bans", "licenses", "sources"]).args(advisories);
        command
    }))
}
