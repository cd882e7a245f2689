//! Builds the engine for browsers: `engine-sys` and llama.cpp, compiled for WebAssembly and linked by Emscripten.
//!
//! There are two flavours of the same source: one computes on several threads and needs a page that may share memory, the
//! other runs everywhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::repository::Repository;
use crate::setup::emscripten::Emscripten;
use crate::setup::{self, Thing};

const TARGET: &str = "wasm32-unknown-emscripten";

/// Of every file. Exceptions are WebAssembly's own: llama.cpp throws, and emulating that is slow.
const COMPILE: &str = "-O3 -fwasm-exceptions";

/// What the worker calls: `engine-sys/src/web.rs`.
const EXPORTS: &str = "-sEXPORTED_FUNCTIONS=_sipp_web_alloc,_sipp_web_free,_sipp_web_load,_sipp_web_generate,\
     _sipp_web_embed,_sipp_web_cancel,_sipp_web_step,_sipp_web_events,_sipp_web_close";

/// How the module is made: a factory for workers and Node.js, with a file system that the host mounts files into. 32-bit
/// memory is the faster kind and holds 4 GiB.
const LINK: [&str; 14] = [
    "-O3",
    "-fwasm-exceptions",
    "--no-entry",
    "-sMODULARIZE",
    "-sEXPORT_ES6",
    "-sEXPORT_NAME=createEngine",
    "-sENVIRONMENT=worker,node",
    "-sALLOW_MEMORY_GROWTH",
    "-sINITIAL_MEMORY=64MB",
    "-sMAXIMUM_MEMORY=4GB",
    "-sSTACK_SIZE=8MB",
    "-sFORCE_FILESYSTEM",
    "-sEXPORTED_RUNTIME_METHODS=FS,HEAPU8,HEAPU32",
    EXPORTS,
];

/// A worker cannot wait for a thread to begin, so all are there before the engine is asked.
const LINK_THREADS: [&str; 3] =
    ["-pthread", "-sPTHREAD_POOL_SIZE=Module.sippThreads-1", "-sPTHREAD_POOL_SIZE_STRICT=2"];

/// `i32x4.dot_i16x8_s`, which ggml's kernels for WebAssembly are made of and its generic ones are not.
const DOT_PRODUCT: [u8; 3] = [0xfd, 0xba, 0x01];

/// Fewer than the kernels have, more than chance makes in so many bytes.
const FEWEST_DOT_PRODUCTS: usize = 10;

/// One of the two builds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Single,
    Threads,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Threads => "threads",
        }
    }
}

/// Builds both flavours, to `target/browser/engine`.
///
/// # Errors
/// When a tool cannot be obtained, when something does not compile, or when ggml was compiled without its kernels.
pub(super) fn build(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Native, Thing::Emscripten])?;
    let emscripten = Emscripten::find().context("Emscripten is missing; run `cargo x setup emscripten`")?;
    for flavour in [Flavour::Single, Flavour::Threads] {
        compile(repository, &emscripten, flavour)?;
        link(repository, &emscripten, flavour)?;
    }
    Ok(())
}

fn compile(repository: &Repository, emscripten: &Emscripten, flavour: Flavour) -> Result<()> {
    let (mut flags, mut features) = (COMPILE.to_owned(), "+simd128".to_owned());
    if flavour == Flavour::Threads {
        flags.push_str(" -pthread");
        features.push_str(",+atomics,+bulk-memory,+mutable-globals");
    }
    let mut cargo = repository.cargo(repository.root());
    emscripten.apply(&mut cargo);
    cargo
        .args(["rustc", "--release", "--package", "sipp-engine-sys", "--lib", "--crate-type", "staticlib"])
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET])
        .env("CARGO_TARGET_DIR", repository.target().join("browser").join(flavour.name()))
        // The standard library is compiled along, which only an unstable option does.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CFLAGS_wasm32_unknown_emscripten", &flags)
        .env("CXXFLAGS_wasm32_unknown_emscripten", &flags)
        .env("CARGO_TARGET_WASM32_UNKNOWN_EMSCRIPTEN_RUSTFLAGS", format!("-Cpanic=abort -Ctarget-feature={features}"));
    process::run(&mut cargo)
}

/// Links what was compiled, if it changed since the last time.
fn link(repository: &Repository, emscripten: &Emscripten, flavour: Flavour) -> Result<()> {
    let built = repository.target().join("browser");
    let library = built.join(flavour.name()).join(TARGET).join("release/libengine_sys.a");
    let imports = repository.root().join("engine-sys/src/web/library.js");
    let folder = built.join("engine").join(flavour.name());
    let (module, wasm) = (folder.join("sipp-engine.mjs"), folder.join("sipp-engine.wasm"));
    let newest = [&library, &imports].map(|file| modified(file)).into_iter().max().flatten();
    if modified(&module).is_none_or(|linked| Some(linked) < newest) {
        fs::create_dir_all(&folder)?;
        let mut linker = Command::new("em++");
        emscripten.apply(&mut linker);
        linker.arg(&library).args(LINK).arg("--js-library").arg(&imports);
        if flavour == Flavour::Threads {
            linker.args(LINK_THREADS);
        }
        process::run(linker.arg("-o").arg(&module))?;
        let kernels = fs::read(&wasm)?.windows(3).filter(|bytes| *bytes == DOT_PRODUCT).count();
        ensure!(
            kernels >= FEWEST_DOT_PRODUCTS,
            "{} has {kernels} integer dot products: ggml was compiled without its kernels for WebAssembly",
            repository.shown(&wasm)
        );
    }
    eprintln!("  {} {:.1} MB", repository.shown(&wasm), wasm.metadata()?.len() as f64 / 1e6);
    Ok(())
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
