//! Compiles the components for this target, so that a program that starts need not.

#[path = "src/tuning.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the library, which documents and uses it whole")]
mod tuning;

use std::path::PathBuf;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The components that the library carries.
const COMPONENTS: [&str; 4] = ["client", "openai", "anthropic", "gateway"];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut config = tuning::config();
    // Without a target, the compiler would use every feature of the machine that builds.
    config.target(&env::var("TARGET")?)?;
    let engine = wasmtime::Engine::new(&config)?;
    println!("cargo::rerun-if-env-changed=SIPP_COMPONENTS");
    for name in COMPONENTS {
        let component = component(name)?;
        println!("cargo::rerun-if-changed={}", component.display());
        let bytes = fs::read(&component).map_err(|error| {
            format!("{}: {error}; run `cargo x build components`, which makes it", component.display())
        })?;
        fs::write(out.join(format!("{name}.cwasm")), engine.precompile_component(&bytes)?)?;
    }
    Ok(())
}

/// Where a component lies: where `SIPP_COMPONENTS` says, beside a packaged crate's sources, or in the workspace.
fn component(name: &str) -> Result<PathBuf> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let own = manifest.join("../target/components");
    let folders = env::var_os("SIPP_COMPONENTS").map(PathBuf::from).into_iter();
    let folders = folders.chain([manifest.join("components"), own.clone()]);
    let file = format!("{name}.wasm");
    let mut candidates = folders.map(|folder| folder.join(&file));
    let found = candidates.find(|candidate| candidate.exists());
    Ok(found.unwrap_or_else(|| own.join(&file)))
}
