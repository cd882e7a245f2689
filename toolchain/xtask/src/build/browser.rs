//! Builds the browser's package: the engine for WebAssembly, the components through jco, and the TypeScript around them.

use std::fs;

use anyhow::Result;

use crate::process;
use crate::repository::Repository;
use crate::setup::{self, Thing, node};

/// File beside npm's packages: the lock file that they were installed from.
const INSTALLED: &str = "node_modules/.sipp-installed.json";

/// Builds all of it, to `host-browser/dist`.
///
/// # Errors
/// When a tool cannot be obtained or something does not compile.
pub(crate) fn build(repository: &Repository) -> Result<()> {
    super::components(repository)?;
    super::engine::build(repository)?;
    packages(repository)?;
    process::run(node::npm(&repository.browser())?.args(["run", "--silent", "build"]))
}

/// Builds the programs that the package's tests start, of what [`build`] built.
///
/// # Errors
/// When something does not compile.
pub(crate) fn tests(repository: &Repository) -> Result<()> {
    super::engine::tests(repository)
}

/// Installs npm's packages, if the lock file is another than the last time.
///
/// # Errors
/// When Node.js cannot be obtained, or npm fails.
pub(crate) fn packages(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Node])?;
    let folder = repository.browser();
    let (wanted, installed) = (fs::read(folder.join("package-lock.json"))?, folder.join(INSTALLED));
    if fs::read(&installed).is_ok_and(|lock| lock == wanted) {
        return Ok(());
    }
    process::run(node::npm(&folder)?.args(["ci", "--no-audit", "--no-fund"]))?;
    fs::write(installed, wanted)?;
    Ok(())
}
