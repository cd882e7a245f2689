//! Compiles a workspace of guests, and turns each core module into a component.
//!
//! `wit-component` does the second step, in this process: a module for `wasm32-unknown-unknown` carries its contract in
//! a custom section, so no adapter and no further tool is needed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

use crate::cargo::Message;
use crate::process;
use crate::repository::Repository;
use crate::setup::wasm::{TARGET, Toolchain};
use crate::setup::{self, Thing};

/// A core module that cargo made.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    name: String,
    file: PathBuf,
}

/// Builds every guest of a workspace into `output`, and removes components there that no guest makes any more.
///
/// # Errors
/// When a tool cannot be obtained, when a guest does not compile, or when a module is no valid component.
pub(super) fn build(repository: &Repository, workspace: &Path, output: &Path, targets: &[&str]) -> Result<()> {
    setup::ensure(repository, &[Thing::Wasm])?;
    let toolchain =
        Toolchain::find(repository).context("the toolchain for components is missing; run `cargo x setup`")?;
    let mut cargo = repository.cargo(workspace);
    cargo.env("CARGO_TARGET_DIR", repository.guest_target());
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]).args(targets);
    toolchain.apply(&mut cargo);
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", remapped(repository));
    let modules = compile(&mut cargo)?;
    if modules.is_empty() {
        bail!("{} makes no component; a guest is a package with crate-type cdylib", repository.shown(workspace));
    }
    fs::create_dir_all(output)?;
    for module in &modules {
        let file = output.join(format!("{}.wasm", module.name));
        let written = encode(module, &file)?;
        let size = file.metadata()?.len() as f64 / 1e3;
        let note = if written { "" } else { " (unchanged)" };
        eprintln!("  {} {size:.1} KB{note}", repository.shown(&file));
    }
    remove_strangers(&modules, output)
}

/// Runs a cargo build and returns the modules that it reports.
fn compile(cargo: &mut Command) -> Result<Vec<Module>> {
    let text = process::text(cargo);
    eprintln!("$ {text}");
    let mut child = cargo.stdout(Stdio::piped()).spawn().with_context(|| format!("`{text}` cannot be started"))?;
    let output = child.stdout.take().context("cargo has no output")?;
    let modules = BufReader::new(output).lines().map_while(Result::ok).filter_map(|line| module(&line)).collect();
    let status = child.wait()?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(modules)
}

/// The module that one of cargo's messages tells of. A component is called as its package's folder, a guest of the
/// tests as its file.
fn module(message: &str) -> Option<Module> {
    let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(message) else { return None };
    let is_module = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
    let file = artifact.filenames.into_iter().find(is_module)?;
    let name = if artifact.target.is("example") || artifact.target.is("bin") {
        artifact.target.name
    } else {
        artifact.manifest_path.parent()?.file_name()?.to_string_lossy().into_owned()
    };
    Some(Module { name, file })
}

/// Compiler flags that keep this machine's folders out of the bytes.
fn remapped(repository: &Repository) -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    // The registry's folder in it is named after a hash of its address, which differs between mirrors.
    let registries = sources.iter().filter_map(|sources| fs::read_dir(sources).ok()).flatten().flatten();
    let registries = registries.map(|registry| format!("--remap-path-prefix={}=", registry.path().display()));
    let own = format!("--remap-path-prefix={}=sipp", repository.root().display());
    registries.chain([own]).collect::<Vec<_>>().join(" ")
}

/// Writes the component, unless the same bytes are there: a newer file would make cargo build what embeds it again.
fn encode(module: &Module, file: &Path) -> Result<bool> {
    let encoded = fs::read(&module.file)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| ComponentEncoder::default().validate(true).module(&bytes)?.encode());
    let bytes = encoded.with_context(|| format!("{} is no valid component", module.name))?;
    if fs::read(file).is_ok_and(|existing| existing == bytes) {
        return Ok(false);
    }
    let partial = file.with_extension("wasm.partial");
    fs::write(&partial, bytes)?;
    fs::rename(partial, file)?;
    Ok(true)
}

/// A guest that was deleted must not go on being tested.
fn remove_strangers(modules: &[Module], output: &Path) -> Result<()> {
    for path in fs::read_dir(output)?.flatten().map(|entry| entry.path()) {
        let component = path.is_file() && path.extension().is_some_and(|extension| extension == "wasm");
        let known = modules.iter().any(|module| path.file_stem().is_some_and(|stem| stem == module.name.as_str()));
        if component && !known {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_called_as_their_folder_and_guests_as_their_file() {
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/t/components/client/Cargo.toml","executable":null,
            "target":{"kind":["cdylib","rlib"],"name":"sipp_client"},"filenames":["/t/a.wasm","/t/liba.rlib"]}"#;
        assert_eq!(module(library), Some(Module { name: "client".into(), file: "/t/a.wasm".into() }));
        let guest = r#"{"reason":"compiler-artifact","manifest_path":"/t/programs/Cargo.toml","executable":null,
            "target":{"kind":["example"],"name":"traps-early"},"filenames":["/t/examples/traps_early.wasm"]}"#;
        let named = Module { name: "traps-early".into(), file: "/t/examples/traps_early.wasm".into() };
        assert_eq!(module(guest), Some(named));
    }

    #[test]
    fn other_messages_make_no_component() {
        let rlib = r#"{"reason":"compiler-artifact","manifest_path":"/t/Cargo.toml","executable":null,
            "target":{"kind":["lib"],"name":"a"},"filenames":["/t/liba.rlib"]}"#;
        assert_eq!(module(rlib), None);
        assert_eq!(module(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(module("a guest's own line"), None);
    }
}
