//! Small models for tests, as GGUF files: of many shapes, with weights by chance, right or wrong in one known way.
//!
//! Nothing here is published, and a mistake in it is a panic.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "it serves tests, which say what fails by failing"
)]

pub mod cases;
pub mod gguf;
pub mod models;
pub mod random;

use std::path::{Path, PathBuf};

/// The demo model.
#[must_use]
pub fn demo_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo.gguf")
}
