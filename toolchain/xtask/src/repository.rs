//! Where things are: the working tree, what is built from it, and the user's cache.
//!
//! Every path of the tree that a verb names stands here, and every cargo call starts here, so that all of them share
//! one target folder and one environment.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{Metadata, Package};
use crate::process;

/// Variables that `cargo run` sets for us and that must not reach another cargo: build scripts that watch them would
/// run again, and a plain `cargo build` would not share their results.
const INHERITED: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// Variables that name a compiler cache to CMake.
const COMPILER_LAUNCHERS: [&str; 2] = ["CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER"];

/// The working tree.
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The tree that this program was built from.
    ///
    /// # Errors
    /// When the tree is no longer there.
    pub(crate) fn here() -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.ancestors().nth(2).context("xtask must lie at toolchain/xtask in the tree")?;
        Ok(Self { root: root.to_owned() })
    }

    /// The top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where everything is built.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Where guests are compiled: two workspaces share it, and neither waits for a native build.
    pub(crate) fn guest_target(&self) -> PathBuf {
        self.target().join("wasm")
    }

    /// A native program that was built.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target().join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// The workspace of the components that Sipp consists of.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    /// The workspace of the guests that tests run.
    pub(crate) fn test_programs(&self) -> PathBuf {
        self.root.join("tests/programs")
    }

    /// The workspace of the adapter in Rust that others begin with.
    pub(crate) fn rust_example(&self) -> PathBuf {
        self.third_parties().join("rust")
    }

    /// Where adapters of others' making lie, one folder for each language.
    pub(crate) fn third_parties(&self) -> PathBuf {
        self.root.join("tests/third-party")
    }

    /// The browser's package.
    pub(crate) fn browser(&self) -> PathBuf {
        self.root.join("host-browser")
    }

    /// The model that the tree carries.
    pub(crate) fn demo_model(&self) -> PathBuf {
        self.root.join("models/demo.gguf")
    }

    /// A cargo command in a folder of the tree.
    pub(crate) fn cargo(&self, folder: &Path) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(folder).env("CARGO_TARGET_DIR", self.target());
        for (name, _) in env::vars_os() {
            if INHERITED.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        if process::find_program("ccache").is_some() {
            command.envs(COMPILER_LAUNCHERS.map(|name| (name, "ccache")));
        }
        command
    }

    /// The packages of a workspace, as `cargo metadata` describes them.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub(crate) fn packages(&self, workspace: &Path) -> Result<Vec<Package>> {
        let mut cargo = self.cargo(workspace);
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: Metadata = serde_json::from_str(&process::read(&mut cargo)?)?;
        Ok(metadata.packages)
    }

    /// The folder of a package that the workspace depends on.
    ///
    /// # Errors
    /// When it depends on none of this name.
    pub(crate) fn dependency(&self, name: &str) -> Result<PathBuf> {
        let mut cargo = self.cargo(&self.root);
        cargo.args(["metadata", "--format-version", "1"]);
        let metadata: Metadata = serde_json::from_str(&process::read(&mut cargo)?)?;
        let package = metadata.packages.into_iter().find(|package| package.name == name);
        let mut path = package.with_context(|| format!("nothing depends on {name}"))?.manifest_path;
        path.pop();
        Ok(path)
    }

    /// A path as it is shown: from the top folder on.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Where tools are kept that the machine lacks: outside the tree, so that every clone shares them.
///
/// # Errors
/// When neither `SIPP_CACHE` nor a home folder is set.
pub(crate) fn cache() -> Result<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("SIPP_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("sipp")))
        .or_else(|| variable("HOME").map(|path| path.join(".cache/sipp")))
        .or_else(|| variable("LOCALAPPDATA").map(|path| path.join("sipp")))
        .context("there is no folder for tools; set SIPP_CACHE to one")?;
    Ok(cache.join("toolchain"))
}
