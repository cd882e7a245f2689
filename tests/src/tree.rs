//! Where things lie in the working tree.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The top folder.
#[must_use]
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The model that the tree carries.
#[must_use]
pub fn demo_model() -> PathBuf {
    root().join("models/demo.gguf")
}

/// Where `cargo x build` puts components: as the host's build script looks for them.
#[must_use]
pub fn components() -> PathBuf {
    std::env::var_os("SIPP_COMPONENTS").map_or_else(|| root().join("target/components"), PathBuf::from)
}

/// The interpreter of Python that has the packages of the tests.
///
/// # Errors
/// When none is named.
pub fn python() -> Result<PathBuf> {
    let python = std::env::var_os("SIPP_PYTHON").map(PathBuf::from);
    python.context("SIPP_PYTHON names no Python with the packages of the tests; run `cargo x test`")
}
