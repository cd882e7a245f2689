//! What llama.cpp is compiled with: a C++ compiler, CMake, make, and libclang for the bindings.
//!
//! They come from the system's own package tool, never from us: a compiler belongs to the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{Part, Way};
use crate::process;

/// Debian's and Ubuntu's packages. `make` drives the build files that CMake writes.
const PACKAGES: [&str; 4] = ["g++", "make", "cmake", "libclang-dev"];

/// The way through apt.
pub(super) const APT: Way = Way { name: "apt-get install", obtain: |_| apt_install(&PACKAGES) };

/// Folders in which bindgen looks for libclang too. `*` stands for a version.
const LIBCLANG_FOLDERS: [&str; 12] = [
    "/usr/lib/llvm-*/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib64/llvm*/lib64",
    "/opt/homebrew/opt/llvm/lib",
    "/usr/local/opt/llvm/lib",
    "/Library/Developer/CommandLineTools/usr/lib",
    "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
    "C:/Program Files/LLVM/bin",
];

/// The parts, looked up now.
pub(super) fn parts() -> Vec<Part> {
    let program = |names: &[&str]| {
        let path = names.iter().find_map(|name| process::find_program(name));
        path.map(|path| path.display().to_string()).ok_or_else(advice)
    };
    let mut parts = vec![
        Part { name: "C++ compiler", state: program(&["c++", "g++", "clang++", "cl"]) },
        Part { name: "cmake", state: program(&["cmake"]) },
        Part { name: "libclang", state: libclang().map(|path| path.display().to_string()).ok_or_else(advice) },
    ];
    if cfg!(unix) {
        parts.push(Part { name: "make", state: program(&["make", "gmake"]) });
    }
    parts
}

/// What to install here by hand.
pub(super) fn advice() -> String {
    let packages = PACKAGES.join(" ");
    match env::consts::OS {
        "macos" => "run `xcode-select --install` and `brew install cmake llvm`".to_owned(),
        "windows" => {
            "install Visual Studio's C++ build tools, then `winget install Kitware.CMake LLVM.LLVM`".to_owned()
        }
        _ if process::find_program("apt-get").is_some() => format!("run `apt-get install {packages}` as root"),
        _ => "install a C++ compiler, make, cmake and libclang with the system's package tool".to_owned(),
    }
}

/// Installs packages of Debian's or Ubuntu's.
pub(super) fn apt_install(packages: &[&str]) -> Result<()> {
    if process::find_program("apt-get").is_none() {
        bail!("there is no apt-get here");
    }
    if process::read(Command::new("id").arg("-u"))? != "0" {
        bail!("only root may install packages");
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::attempt(&mut apt(&["update", "--quiet"]))?;
    process::attempt(apt(&["install", "--quiet", "--yes", "--no-install-recommends"]).args(packages))
}

/// The library that bindgen loads: first where `LIBCLANG_PATH` says, then where distributions put it.
fn libclang() -> Option<PathBuf> {
    let named = env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    if let Some(file) = named.as_ref().filter(|path| path.is_file()) {
        return Some(file.clone());
    }
    let usual = LIBCLANG_FOLDERS.iter().flat_map(|pattern| folders(pattern));
    named.into_iter().chain(usual).find_map(|folder| libclang_in(&folder))
}

fn libclang_in(folder: &Path) -> Option<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let library = name.contains(".so") || name.ends_with(".dylib") || name.ends_with(".dll");
        library && (name.starts_with("libclang.") || name.starts_with("libclang-")) && !name.contains("-cpp")
    })
}

/// The folders that a pattern with at most one `*` in one of its names means, the highest version first.
fn folders(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect();
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_folders_that_exist() {
        let top = env::temp_dir().join(format!("xtask-native-{}", std::process::id()));
        for version in ["llvm-14", "llvm-19", "other"] {
            fs::create_dir_all(top.join(version).join("lib")).unwrap();
        }
        fs::write(top.join("llvm-14/lib/libclang-14.so.1"), "").unwrap();
        fs::write(top.join("llvm-14/lib/libclang-cpp.so.14"), "").unwrap();
        let found = folders(&format!("{}/llvm-*/lib", top.display()));
        assert_eq!(found, [top.join("llvm-19/lib"), top.join("llvm-14/lib")]);
        assert_eq!(libclang_in(&found[1]), Some(top.join("llvm-14/lib/libclang-14.so.1")));
        assert_eq!(libclang_in(&found[0]), None);
        fs::remove_dir_all(top).unwrap();
    }
}
