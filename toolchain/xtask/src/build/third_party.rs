//! Builds the adapters under `tests/third-party`: what others would make, each with its language's own tools.
//!
//! The tools for Python and JavaScript put their engine's WASI imports into a component, and can leave them out only by
//! leaving out every name that begins with `wasi:`, the world's own `wasi:http` too. So they are given the contracts
//! with `host:` for `wasi:`, and the names, which are equally long, are put right in the finished file.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::component;
use crate::process;
use crate::repository::Repository;
use crate::setup::{self, Thing, javascript, python};

/// Packages of the contracts that a tool reads besides `sipp:inference`.
const DEPENDENCIES: [&str; 2] = ["wasi-clocks", "wasi-http"];

/// Builds them all.
///
/// # Errors
/// When a tool cannot be obtained, or an adapter does not build. JavaScript's tools are left out where they cannot be
/// had: a file beside the place of the component says why.
pub(super) fn build(repository: &Repository) -> Result<()> {
    let output = repository.target().join("components/third-party");
    component::build(repository, &repository.rust_example(), &output, &[])?;
    setup::ensure(repository, &[Thing::Python])?;
    build_python(repository, &output)?;
    match setup::ensure(repository, &[Thing::Javascript]) {
        Ok(()) => build_javascript(repository, &output),
        Err(error) => {
            eprintln!("build: the adapter in JavaScript is left out: {error:#}");
            let folder = output.join("javascript");
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("missing.txt"), format!("{error:#}\n"))?;
            Ok(())
        }
    }
}

fn build_python(repository: &Repository, output: &Path) -> Result<()> {
    let tool = python::program(repository, "componentize-py").context("componentize-py is missing")?;
    let source = repository.third_parties().join("python");
    let mut command = Command::new(tool);
    command
        .arg("-d")
        .arg(contracts(repository))
        .args(["-w", "provider"])
        .args(["--import-interface-name", "host:http/types@0.3.0=http"])
        .args(["--import-interface-name", "sipp:inference/types@0.1.0=sipp"])
        .args(["componentize", "--stub-wasi", "-p"])
        .arg(&source)
        .arg("lines");
    Adapter { folder: output.join("python"), source: source.join("lines.py") }.build(repository, command)
}

fn build_javascript(repository: &Repository, output: &Path) -> Result<()> {
    let tool = javascript::program().context("componentize-qjs is missing")?;
    let source = repository.third_parties().join("javascript/lines.js");
    let mut command = Command::new(tool);
    command
        .arg("--wit")
        .arg(contracts(repository))
        .args(["--world", "provider", "--js"])
        .arg(&source)
        .arg("--stub-wasi");
    Adapter { folder: output.join("javascript"), source }.build(repository, command)
}

fn contracts(repository: &Repository) -> PathBuf {
    repository.target().join("third-party/wit")
}

/// An adapter in another language.
struct Adapter {
    /// Where `lines.wasm` goes.
    folder: PathBuf,
    source: PathBuf,
}

impl Adapter {
    /// Runs its tool, unless what it was made of is what it was.
    fn build(&self, repository: &Repository, mut tool: Command) -> Result<()> {
        let (component, stamp) = (self.folder.join("lines.wasm"), self.folder.join("made-of.txt"));
        let inputs = self.inputs(repository, &tool)?;
        if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == inputs) {
            return Ok(());
        }
        write_contracts(repository)?;
        fs::create_dir_all(&self.folder)?;
        process::run(tool.arg("-o").arg(&component))?;
        let bytes = put_right(fs::read(&component)?);
        eprintln!("  {} {:.1} KB", repository.shown(&component), bytes.len() as f64 / 1e3);
        fs::write(&component, bytes)?;
        fs::write(stamp, inputs)?;
        Ok(())
    }

    /// A word for everything that the component depends on.
    fn inputs(&self, repository: &Repository, tool: &Command) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        // A tool's path names its version.
        format!("{tool:?}").hash(&mut hasher);
        fs::read(&self.source)?.hash(&mut hasher);
        for (_, text) in contract_files(repository)? {
            text.hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

/// The contracts of the world, by their path in a tool's folder, with `host:` for `wasi:`.
fn contract_files(repository: &Repository) -> Result<Vec<(PathBuf, String)>> {
    let wit = repository.root().join("wit");
    let dependencies = DEPENDENCIES.map(|name| (wit.join(name), Path::new("deps").join(name)));
    let mut found = Vec::new();
    for (from, to) in [(wit.join("inference"), PathBuf::new())].into_iter().chain(dependencies) {
        for entry in fs::read_dir(&from).with_context(|| format!("{}", from.display()))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?.replace("wasi:", "host:");
            found.push((to.join(path.file_name().unwrap_or_default()), text));
        }
    }
    found.sort();
    Ok(found)
}

fn write_contracts(repository: &Repository) -> Result<()> {
    let folder = contracts(repository);
    let _ = fs::remove_dir_all(&folder);
    for (path, text) in contract_files(repository)? {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap_or(&folder))?;
        fs::write(file, text)?;
    }
    Ok(())
}

/// Writes `wasi:` where the tool was told `host:`.
fn put_right(mut bytes: Vec<u8>) -> Vec<u8> {
    for name in ["host:http/", "host:clocks/"] {
        let mut from = 0;
        while let Some(found) = find(bytes.get(from..).unwrap_or_default(), name.as_bytes()) {
            let start = from + found;
            if let Some(prefix) = bytes.get_mut(start..start + 4) {
                prefix.copy_from_slice(b"wasi");
            }
            from = start + name.len();
        }
    }
    bytes
}

fn find(bytes: &[u8], name: &[u8]) -> Option<usize> {
    bytes.windows(name.len()).position(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_right_where_they_stand() {
        let bytes = put_right(b"\x01host:http/types host:other/x host:clocks/types ghost:http/".to_vec());
        assert_eq!(bytes, b"\x01wasi:http/types host:other/x wasi:clocks/types gwasi:http/");
    }
}
