//! Emscripten, and the source of Rust's standard library: what the engine for browsers is compiled with.
//!
//! The library is compiled along, because the one that rustup has for the target knows no shared memory. Emscripten comes
//! from its own kit where somebody installed that, and else out of a newer Debian's packages, unpacked into the cache.
//! Those programs want a newer C library than the machine's, so each is told where its own lies; no root, no chroot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

use anyhow::{Context, Result, bail, ensure};

use super::debian::{self, numbers};
use super::sources::debian_mirror;
use super::{Part, Thing, Way, native, node, wasm};
use crate::process;
use crate::repository::{Repository, cache};

/// The oldest whose compiler makes as fast code as measured.
const OLDEST: &str = "4.0.20";

/// What is unpacked with all that it depends on.
const PACKAGES: [&str; 1] = ["emscripten"];

/// The programs that Emscripten starts, besides Binaryen's.
const PROGRAMS: [&str; 10] = [
    "clang",
    "clang++",
    "llvm-ar",
    "llvm-dwarfdump",
    "llvm-nm",
    "llvm-objcopy",
    "llvm-objdump",
    "llvm-ranlib",
    "llvm-strip",
    "wasm-ld",
];

/// Libraries that look for others beside a folder that is not there.
const LIBRARIES: [&str; 2] = ["libLLVM.so", "libclang-cpp.so"];

/// The ways to obtain it.
pub(super) const WAYS: [Way; 2] = [
    // Only the library's source: the kit is a download of its own, which a person decides on.
    Way { name: "rustup", obtain: |_| rust_source() },
    Way {
        name: "debian",
        obtain: |repository| {
            if source(repository).is_none() {
                rust_source()?;
            }
            install(repository)
        },
    },
];

/// What a person can do.
pub(super) const ADVICE: &str = "install Emscripten's SDK, activate it, and run `rustup component add rust-src`; or use a \
     Debian whose mirror has its newer suites";

/// An Emscripten.
pub(crate) struct Emscripten {
    /// Where `emcc` lies.
    folder: PathBuf,
    /// The configuration, for one that was unpacked by us.
    config: Option<PathBuf>,
    version: String,
}

impl Emscripten {
    /// The one that is there, if one is new enough.
    pub(crate) fn find() -> Option<Self> {
        let kit = env::var_os("EMSDK").map(|kit| PathBuf::from(kit).join("upstream/emscripten"));
        let on_path = process::find_program("emcc").and_then(|program| program.parent().map(Path::to_owned));
        let present = kit.into_iter().chain(on_path).find_map(|folder| Self::new(folder, None));
        let unpacked = || {
            let home = home().ok()?;
            home.join("complete").is_file().then(|| Self::new(tools(&home), Some(home.join("config"))))?
        };
        let present = present.filter(|_| wasm::allowed("present"));
        present.or_else(|| wasm::allowed("debian").then(unpacked).flatten())
    }

    fn new(folder: PathBuf, config: Option<PathBuf>) -> Option<Self> {
        let mut emscripten = Self { folder, config, version: String::new() };
        let mut emcc = Command::new(emscripten.folder.join("emcc"));
        emscripten.apply(emcc.arg("--version"));
        let text = process::read(&mut emcc).ok()?;
        // "emcc (Emscripten gcc/clang-like replacement + linker emulating GNU ld) 6.0.5 (...)"
        let words = text.lines().next().unwrap_or_default().split([' ', '(', ')']);
        let version = words.into_iter().find(|word| numbers(word).len() == 3)?;
        emscripten.version = version.trim_end_matches("-git").to_owned();
        (numbers(&emscripten.version) >= numbers(OLDEST)).then_some(emscripten)
    }

    /// Makes a command, and all that it starts, use it.
    pub(crate) fn apply(&self, command: &mut Command) {
        let others = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([self.folder.clone()].into_iter().chain(env::split_paths(&others)));
        command.envs(path.map(|path| ("PATH", path)));
        if let Some(config) = &self.config {
            command.env("EM_CONFIG", config).env_remove("EMSDK");
        }
    }
}

impl fmt::Display for Emscripten {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}", self.version, self.folder.display())
    }
}

/// The parts, looked up now.
pub(super) fn parts(repository: &Repository) -> Vec<Part> {
    let emscripten = Emscripten::find().map(|found| found.to_string());
    let source = source(repository).map(|path| path.display().to_string());
    vec![
        Part {
            name: "emscripten",
            state: emscripten.ok_or_else(|| "from its SDK, else from Debian's packages (about 170 MB)".to_owned()),
        },
        Part { name: "rust-src", state: source.ok_or_else(|| "by `rustup component add rust-src`".to_owned()) },
    ]
}

/// Where the source of the standard library lies.
fn source(repository: &Repository) -> Option<PathBuf> {
    let mut rustc = Command::new("rustc");
    let sysroot = process::read(rustc.current_dir(repository.root()).args(["--print", "sysroot"])).ok()?;
    let folder = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    folder.join("std/Cargo.toml").is_file().then_some(folder)
}

fn rust_source() -> Result<()> {
    process::attempt(Command::new("rustup").args(["component", "add", "rust-src"]))
}

fn home() -> Result<PathBuf> {
    Ok(cache()?.join("debian-emscripten"))
}

fn tools(home: &Path) -> PathBuf {
    home.join("root/usr/share/emscripten")
}

/// Unpacks it and tells its programs where they lie. What was not finished is begun anew.
fn install(repository: &Repository) -> Result<()> {
    if Emscripten::find().is_some() {
        return Ok(());
    }
    super::ensure(repository, &[Thing::Node])?;
    if process::find_program("patchelf").is_none() {
        native::apt_install(&["patchelf"]).context("patchelf is missing")?;
    }
    let mirror = debian_mirror().context("this machine's apt configuration names no Debian mirror")?;
    let home = home()?;
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home)?;
    debian::unpack(&home, &mirror, &PACKAGES, None)?;
    let llvm = relocate(&home.join("root"))?;
    configure(&home, &llvm)?;
    let found = Emscripten::new(tools(&home), Some(home.join("config")));
    ensure!(found.is_some(), "Debian's emscripten does not run here, or is older than {OLDEST}");
    fs::write(home.join("complete"), "")?;
    Ok(())
}

/// Makes the programs use the C library that came along. Returns the folder of LLVM's.
fn relocate(root: &Path) -> Result<PathBuf> {
    let loader = root.join(debian::find(root, &["usr/lib64", "lib64", "usr/lib"], "ld-linux")?);
    let libraries = debian::folders(root, "usr/lib", |name| name.contains("-linux-gnu"))?;
    let Some(libraries) = libraries.first().map(|folder| root.join(folder)) else {
        bail!("the packages hold no libraries");
    };
    let llvm = debian::folders(root, "usr/lib", |name| name.starts_with("llvm-"))?;
    let llvm = llvm.iter().map(|folder| root.join(folder).join("bin")).find(|folder| folder.join("wasm-ld").exists());
    let llvm = llvm.context("the packages hold no wasm-ld")?;
    let binaryen = debian::folders(root, "usr/bin", |name| name.starts_with("wasm-"))?;
    let programs = PROGRAMS.iter().map(|name| llvm.join(name)).chain(binaryen.iter().map(|name| root.join(name)));
    // Names of one file are changed once.
    let programs: BTreeSet<_> = programs.filter_map(|program| program.canonicalize().ok()).collect();
    for program in programs {
        let mut patchelf = Command::new("patchelf");
        patchelf.arg("--set-interpreter").arg(&loader).args(["--force-rpath", "--set-rpath"]).arg(&libraries);
        process::read(patchelf.arg(program))?;
    }
    for name in LIBRARIES {
        let found = debian::folders(&libraries, "", |entry| entry.starts_with(name))?;
        let file = found.last().with_context(|| format!("the packages hold no {name}"))?;
        let file = libraries.join(file.trim_start_matches('/')).canonicalize()?;
        process::read(Command::new("patchelf").args(["--force-rpath", "--set-rpath", "$ORIGIN"]).arg(file))?;
    }
    Ok(llvm)
}

/// Writes where Emscripten's parts lie. What it compiles of its own, such as its C library, is kept beside it.
fn configure(home: &Path, llvm: &Path) -> Result<()> {
    let node = node::node().context(node::ADVICE)?;
    let (tools, binaryen, cache) = (tools(home), home.join("root/usr"), home.join("cache"));
    let text = format!(
        "LLVM_ROOT = '{}'\nBINARYEN_ROOT = '{}'\nNODE_JS = '{}'\nCACHE = '{}'\nEMSCRIPTEN_ROOT = '{}'\n",
        llvm.display(),
        binaryen.display(),
        node.display(),
        cache.display(),
        tools.display(),
    );
    fs::write(home.join("config"), text).context("Emscripten's configuration cannot be written")
}
