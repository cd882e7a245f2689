//! What cargo says about packages and builds, as far as the verbs read it.
//!
//! The formats are cargo's own: `cargo metadata --format-version 1` and `--message-format=json`.

use std::path::PathBuf;

use serde::Deserialize;

/// What `cargo metadata` prints.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// The packages of the workspace, and what they depend on if that was asked.
    pub(crate) packages: Vec<Package>,
}

/// A package of a workspace, or one that it depends on.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on, for whatever purpose.
    pub(crate) dependencies: Vec<Dependency>,
    /// What can be built from it.
    pub(crate) targets: Vec<Target>,
}

/// Something that a package depends on.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Its folder, if it is in the tree.
    pub(crate) path: Option<PathBuf>,
}

/// Something that can be built from a package.
#[derive(Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// What it is: `bin`, `example`, or the types of a library.
    pub(crate) kind: Vec<String>,
}

impl Target {
    /// Whether it is of a kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

/// One line that a build prints.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub(crate) enum Message {
    /// Something was built, or was there already.
    CompilerArtifact(Artifact),
    /// Anything else.
    #[serde(other)]
    Other,
}

/// What was built.
#[derive(Deserialize)]
pub(crate) struct Artifact {
    /// The package's `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What was built of it.
    pub(crate) target: Target,
    /// The files.
    pub(crate) filenames: Vec<PathBuf>,
}
