//! Builds the engine for browsers: `engine-sys` and llama.cpp, compiled for WebAssembly and linked by Emscripten.
//!
//! There are three flavours of the same source: one computes on several threads and needs a page that may share memory, one
//! runs everywhere, and one is as the first and holds models that 32-bit memory cannot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process;
use crate::repository::Repository;
use crate::setup::emscripten::Emscripten;
use crate::setup::{self, Thing};

const TARGET: &str = "wasm32-unknown-emscripten";

/// The target of 64-bit memory, which Rust does not know. See [`wide_target`].
const WIDE_TARGET: &str = "wasm64-unknown-emscripten";

/// Of every file. Exceptions are WebAssembly's own: llama.cpp throws, and emulating that is slow.
const COMPILE: &str = "-O3 -fwasm-exceptions";

/// What the worker calls: `engine-sys/src/web.rs`.
const EXPORTS: &str = "-sEXPORTED_FUNCTIONS=_sipp_web_alloc,_sipp_web_free,_sipp_web_load,_sipp_web_generate,\
     _sipp_web_embed,_sipp_web_cancel,_sipp_web_step,_sipp_web_events,_sipp_web_close";

/// Which of their arguments and results are addresses or sizes: numbers for JavaScript, whatever memory it is.
const ADDRESSES: &str = "-sSIGNATURE_CONVERSIONS=sipp_web_alloc:pp,sipp_web_free:_pp,sipp_web_load:_pp,\
     sipp_web_generate:__pp,sipp_web_embed:__pp,sipp_web_events:pp";

/// ggml asks `engine-sys/bridge/wasm` first.
const WRAP: &str = "-Wl,--wrap=ggml_cpu_extra_compute_forward,--wrap=ggml_cpu_extra_work_size";

/// How the module is made: a factory for workers and Node.js, with a file system that the host mounts files into.
const LINK: [&str; 15] = [
    "-O3",
    "-fwasm-exceptions",
    WRAP,
    "--no-entry",
    "-sMODULARIZE",
    "-sEXPORT_ES6",
    "-sEXPORT_NAME=createEngine",
    "-sENVIRONMENT=worker,node",
    "-sALLOW_MEMORY_GROWTH",
    "-sINITIAL_MEMORY=64MB",
    "-sSTACK_SIZE=8MB",
    "-sFORCE_FILESYSTEM",
    "-sEXPORTED_RUNTIME_METHODS=FS,HEAPU8,HEAPU32",
    EXPORTS,
    ADDRESSES,
];

/// A worker cannot wait for a thread to begin, so all are there before the engine is asked.
const LINK_THREADS: [&str; 3] =
    ["-pthread", "-sPTHREAD_POOL_SIZE=Module.sippThreads-1", "-sPTHREAD_POOL_SIZE_STRICT=2"];

/// `i32x4.dot_i16x8_s`, which ggml's kernels for WebAssembly are made of and its generic ones are not. Sipp's own, which are
/// not counted, are made of it too.
const DOT_PRODUCT: [u8; 3] = [0xfd, 0xba, 0x01];

/// Fewer than the kernels have, more than chance makes in so many bytes.
const FEWEST_DOT_PRODUCTS: usize = 10;

/// One of the builds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Single,
    Threads,
    /// Threads, with 64-bit memory. Without threads it would need pthread's locks, whose sizes the `libc` crate knows for
    /// 32-bit memory alone.
    Memory64,
}

const FLAVOURS: [Flavour; 3] = [Flavour::Single, Flavour::Threads, Flavour::Memory64];

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Threads => "threads",
            Self::Memory64 => "memory64",
        }
    }

    fn has_threads(self) -> bool {
        self != Self::Single
    }

    fn target(self) -> &'static str {
        if self == Self::Memory64 { WIDE_TARGET } else { TARGET }
    }

    /// How much memory there is at most: what addresses can reach, or what browsers allow. 32-bit memory is the faster kind.
    fn memory(self) -> &'static [&'static str] {
        match self {
            Self::Single | Self::Threads => &["-sMAXIMUM_MEMORY=4GB"],
            Self::Memory64 => &["-m64", "-sMAXIMUM_MEMORY=16GB"],
        }
    }
}

/// Builds all flavours, to `target/browser/engine`.
///
/// # Errors
/// When a tool cannot be obtained, when something does not compile, or when ggml was compiled without its kernels.
pub(super) fn build(repository: &Repository) -> Result<()> {
    setup::ensure(repository, &[Thing::Native, Thing::Emscripten])?;
    let emscripten = Emscripten::find().context("Emscripten is missing; run `cargo x setup emscripten`")?;
    for flavour in FLAVOURS {
        compile(repository, &emscripten, flavour)?;
        link(repository, &emscripten, flavour)?;
    }
    Ok(())
}

/// Builds the program that tests products of matrices, of each flavour, to `target/browser/tests`.
///
/// # Errors
/// When it does not compile.
pub(super) fn tests(repository: &Repository) -> Result<()> {
    let emscripten = Emscripten::find().context("Emscripten is missing; run `cargo x setup emscripten`")?;
    let built = repository.target().join("browser");
    let source = repository.root().join("engine-sys/tests/wasm/products.cpp");
    let llama = repository.dependency("llama-cpp-sys-2")?;
    let headers = llama.join("llama.cpp/ggml/include");
    for flavour in FLAVOURS {
        let library = library(repository, flavour);
        let folder = built.join("tests").join(flavour.name());
        let program = folder.join("products.js");
        let newest = [&source, &library].map(|file| modified(file)).into_iter().max().flatten();
        if modified(&program) >= newest {
            continue;
        }
        fs::create_dir_all(&folder)?;
        let mut compiler = Command::new("em++");
        emscripten.apply(&mut compiler);
        compiler.arg(&source).arg(&library).args(["-std=c++17", "-O1", "-fwasm-exceptions", "-msimd128", WRAP]);
        compiler.args(["-sENVIRONMENT=node", "-sEXIT_RUNTIME", "-sALLOW_MEMORY_GROWTH", "-sSTACK_SIZE=1MB"]);
        compiler.arg("-I").arg(&headers).args(flavour.memory());
        if flavour.has_threads() {
            compiler.args(["-pthread", "-Wno-pthreads-mem-growth", "-sPTHREAD_POOL_SIZE=2"]);
        }
        process::run(compiler.arg("-o").arg(&program))?;
    }
    Ok(())
}

fn compile(repository: &Repository, emscripten: &Emscripten, flavour: Flavour) -> Result<()> {
    let (mut flags, mut features) = (COMPILE.to_owned(), "+simd128".to_owned());
    if flavour.has_threads() {
        flags.push_str(" -pthread");
        features.push_str(",+atomics,+bulk-memory,+mutable-globals");
    }
    let mut cargo = repository.cargo(repository.root());
    emscripten.apply(&mut cargo);
    cargo
        .args(["rustc", "--release", "--package", "sipp-engine-sys", "--lib", "--crate-type", "staticlib"])
        .arg("-Zbuild-std=std,panic_abort");
    if flavour == Flavour::Memory64 {
        flags.push_str(" -m64");
        cargo.arg("-Zjson-target-spec").arg("--target").arg(wide_target(repository)?);
    } else {
        cargo.args(["--target", TARGET]);
    }
    let target = flavour.target().replace('-', "_");
    cargo
        .env("CARGO_TARGET_DIR", repository.target().join("browser").join(flavour.name()))
        // The standard library is compiled along, which only an unstable option does.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(format!("CFLAGS_{target}"), &flags)
        .env(format!("CXXFLAGS_{target}"), &flags)
        .env(
            format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase()),
            format!("-Cpanic=abort -Ctarget-feature={features}"),
        );
    process::run(&mut cargo)?;
    let (archive, library) = (archive(repository, flavour), library(repository, flavour));
    if modified(&library) < modified(&archive) {
        without_builtins(emscripten, &archive, &library)?;
    }
    Ok(())
}

/// Writes the target of 64-bit memory: that of 32-bit memory with wider pointers. Its architecture stays `wasm32`, because
/// that is the one for which the standard library knows Emscripten. Returns where it lies.
fn wide_target(repository: &Repository) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(repository.root()).env("RUSTC_BOOTSTRAP", "1");
    rustc.args(["-Zunstable-options", "--print", "target-spec-json", "--target", TARGET]);
    let mut target: Value = serde_json::from_str(&process::read(&mut rustc)?)?;
    let layout = target.get("data-layout").and_then(Value::as_str).context("the target has no data layout")?;
    let layout = json!(layout.replace("p:32:32", "p:64:64"));
    let fields = target.as_object_mut().context("the target is no object")?;
    fields.remove("metadata");
    fields.insert("data-layout".to_owned(), layout);
    fields.insert("llvm-target".to_owned(), json!(WIDE_TARGET));
    fields.insert("target-pointer-width".to_owned(), json!(64));
    let path = repository.target().join("browser").join(format!("{WIDE_TARGET}.json"));
    let text = serde_json::to_string_pretty(&target)?;
    // Cargo builds all anew when it changes.
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        fs::create_dir_all(repository.target().join("browser"))?;
        fs::write(&path, text)?;
    }
    Ok(path)
}

/// What cargo makes of a flavour.
fn archive(repository: &Repository, flavour: Flavour) -> PathBuf {
    let folder = repository.target().join("browser").join(flavour.name());
    folder.join(flavour.target()).join("release/libengine_sys.a")
}

/// What a flavour is linked from.
fn library(repository: &Repository, flavour: Flavour) -> PathBuf {
    let archive = archive(repository, flavour);
    if flavour == Flavour::Memory64 { archive.with_file_name("libengine_sys-linked.a") } else { archive }
}

/// Links what was compiled, if it changed since the last time.
fn link(repository: &Repository, emscripten: &Emscripten, flavour: Flavour) -> Result<()> {
    let built = repository.target().join("browser");
    let library = library(repository, flavour);
    let imports = repository.root().join("engine-sys/src/web/library.js");
    let folder = built.join("engine").join(flavour.name());
    let (module, wasm) = (folder.join("sipp-engine.mjs"), folder.join("sipp-engine.wasm"));
    let newest = [&library, &imports].map(|file| modified(file)).into_iter().max().flatten();
    if modified(&module).is_none_or(|linked| Some(linked) < newest) {
        fs::create_dir_all(&folder)?;
        let mut linker = Command::new("em++");
        emscripten.apply(&mut linker);
        linker.arg(&library).args(LINK).args(flavour.memory()).arg("--js-library").arg(&imports);
        if flavour.has_threads() {
            linker.args(LINK_THREADS);
        }
        let kernels = kernels(emscripten, &library)?;
        ensure!(
            kernels >= FEWEST_DOT_PRODUCTS,
            "{} has {kernels} integer dot products: ggml was compiled without its kernels for WebAssembly",
            repository.shown(&library)
        );
        process::run(linker.arg("-o").arg(&module))?;
    }
    eprintln!("  {} {:.1} MB", repository.shown(&wasm), wasm.metadata()?.len() as f64 / 1e6);
    Ok(())
}

/// How many dot products ggml's kernels have: those of the whole archive but for the ones of `bridge/wasm/matmul.cpp`.
fn kernels(emscripten: &Emscripten, library: &Path) -> Result<usize> {
    let count = |bytes: &[u8]| bytes.windows(3).filter(|bytes| *bytes == DOT_PRODUCT).count();
    let members = process::read(archiver(emscripten).arg("t").arg(library))?;
    let own = members.lines().find(|name| name.ends_with("-matmul.o")).context("bridge/wasm was not compiled")?;
    let own = archiver(emscripten).arg("p").arg(library).arg(own).output()?;
    ensure!(own.status.success(), "emar failed: {}", String::from_utf8_lossy(&own.stderr).trim());
    Ok(count(&fs::read(library)?) - count(&own.stdout))
}

fn archiver(emscripten: &Emscripten) -> Command {
    let mut archiver = Command::new("emar");
    emscripten.apply(&mut archiver);
    archiver
}

/// Copies an archive without Rust's compiler built-ins, in whose place the linker takes Emscripten's. Rust's compare numbers
/// of 128 bits as C does for 32-bit memory alone; calling them otherwise would trap.
fn without_builtins(emscripten: &Emscripten, archive: &Path, copy: &Path) -> Result<()> {
    // Under another name until it is done, so that half of it is never taken for the whole.
    let partial = copy.with_extension("partial");
    fs::copy(archive, &partial)?;
    let members = process::read(archiver(emscripten).arg("t").arg(&partial))?;
    let builtins = members.lines().filter(|name| name.starts_with("compiler_builtins-"));
    process::read(archiver(emscripten).arg("d").arg(&partial).args(builtins))?;
    fs::rename(partial, copy)?;
    Ok(())
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
