//! Compiles the client component for this target, so that a program that starts need not.

#[path = "src/tuning.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the library, which documents and uses it whole")]
mod tuning;

use std::path::PathBuf;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let component = component()?;
    println!("cargo::rerun-if-changed={}", component.display());
    let bytes = fs::read(&component)
        .map_err(|error| format!("{}: {error}; run `cargo x build components`, which makes it", component.display()))?;
    let mut config = tuning::config();
    // Without a target, the compiler would use every feature of the machine that builds.
    config.target(&env::var("TARGET")?)?;
    let compiled = wasmtime::Engine::new(&config)?.precompile_component(&bytes)?;
    fs::write(out.join("client.cwasm"), compiled)?;
    Ok(())
}

/// Where the component lies: where `SIPP_COMPONENTS` says, beside a packaged crate's sources, or in the workspace.
fn component() -> Result<PathBuf> {
    println!("cargo::rerun-if-env-changed=SIPP_COMPONENTS");
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let folders = env::var_os("SIPP_COMPONENTS").map(PathBuf::from).into_iter();
    let folders = folders.chain([manifest.join("components"), manifest.join("../target/components")]);
    let mut candidates = folders.map(|folder| folder.join("client.wasm"));
    let found = candidates.find(|candidate| candidate.exists());
    Ok(found.unwrap_or_else(|| manifest.join("../target/components/client.wasm")))
}
