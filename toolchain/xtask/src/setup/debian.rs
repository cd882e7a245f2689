//! Tools out of a newer Debian's packages, for machines that reach a Debian mirror and not the tools' own servers; first of
//! them Rust for WebAssembly.
//!
//! Debian's own rustc, the standard library for the target and LLVM's linker are unpacked into the cache, without root
//! and without touching the machine's packages. They are built for a newer Debian, so two small scripts start them
//! with the C library that came along. apt itself resolves, fetches and verifies the packages, with a configuration of
//! its own that knows one suite.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use toml::Table;

use super::sources::{Mirror, debian_mirror};
use crate::process;
use crate::repository::{Repository, cache};

/// The first suite whose Rust has the target in a recent version. Its name stays when it becomes stable.
const SUITE: &str = "forky";

/// What is unpacked with all that it depends on.
const PACKAGES: [&str; 3] = ["libstd-rust-dev", "libstd-rust-dev-wasm32", "lld"];

/// What is unpacked alone: the compiler depends on gcc, and the machine has a linker of its own.
const COMPILER: &str = "rustc";

/// The unpacked toolchain.
pub(crate) struct Debian {
    folder: PathBuf,
    version: String,
}

impl Debian {
    /// The toolchain in the cache, if it was installed. Its version is the last file that [`Self::install`] writes.
    pub(super) fn find() -> Option<Self> {
        let folder = installed_at().ok()?;
        let version = fs::read_to_string(folder.join("version")).ok()?;
        Some(Self { folder, version })
    }

    /// Fetches, verifies and unpacks it.
    ///
    /// # Errors
    /// When this is not a Debian, when the mirror does not answer, or when its Rust is too old.
    pub(super) fn install(repository: &Repository) -> Result<()> {
        let mirror = debian_mirror().context("this machine's apt configuration names no Debian mirror")?;
        let folder = installed_at()?;
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        let result = unpack(&partial, &mirror, &PACKAGES, Some(COMPILER)).and_then(|()| {
            let version = complete(&partial, repository)?;
            fs::write(partial.join("version"), version)?;
            let _ = fs::remove_dir_all(&folder);
            // Another process may have been faster; then its toolchain is as good as ours.
            fs::rename(&partial, &folder).or_else(|error| if folder.exists() { Ok(()) } else { Err(error) })?;
            Ok(())
        });
        let _ = fs::remove_dir_all(&partial);
        result
    }

    /// The script that starts rustc.
    pub(super) fn rustc(&self) -> PathBuf {
        self.folder.join("rustc")
    }

    /// The script that starts the linker.
    pub(super) fn linker(&self) -> PathBuf {
        self.folder.join("wasm-ld")
    }
}

impl fmt::Display for Debian {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Debian's {}, {}", self.version.trim(), self.folder.display())
    }
}

fn installed_at() -> Result<PathBuf> {
    Ok(cache()?.join("debian-rust"))
}

/// Lets apt fetch packages with all that they depend on, and one without, and unpacks them into `partial/root`.
pub(super) fn unpack(partial: &Path, mirror: &Mirror, packages: &[&str], alone: Option<&str>) -> Result<()> {
    let apt = Apt::new(partial, mirror)?;
    process::attempt(&mut apt.get(&["update", "--quiet"]))?;
    let download = ["install", "--quiet", "--yes", "--download-only", "--no-install-recommends"];
    process::attempt(apt.get(&download).args(packages))?;
    if let Some(package) = alone {
        process::attempt(apt.get(&["download", "--quiet", package]).current_dir(apt.archives()))?;
    }
    let root = partial.join("root");
    for archive in fs::read_dir(apt.archives())?.flatten().map(|entry| entry.path()) {
        if archive.extension().is_some_and(|extension| extension == "deb") {
            process::read(Command::new("dpkg").arg("--extract").arg(&archive).arg(&root))?;
        }
    }
    fs::remove_dir_all(&apt.folder).context("apt's files cannot be removed")
}

/// Writes the scripts and checks that the compiler runs and is new enough. Returns its version.
fn complete(partial: &Path, repository: &Repository) -> Result<String> {
    let root = partial.join("root");
    let loader = find(&root, &["usr/lib64", "lib64", "usr/lib"], "ld-linux")?;
    let libraries = folders(&root, "usr/lib", |name| name.contains("-linux-gnu"))?;
    let llvm = folders(&root, "usr/lib", |name| name.starts_with("llvm-"))?;
    let linkers: Vec<_> = llvm.iter().map(|folder| format!("{folder}/bin/wasm-ld")).collect();
    let linker = linkers.iter().find(|path| root.join(path).exists()).context("the packages hold no wasm-ld")?;
    let libraries = libraries.into_iter().chain(llvm.iter().map(|folder| format!("{folder}/lib")));
    let path: Vec<_> = libraries.map(|folder| format!("$root/{folder}")).collect();
    let loader = format!("\"$root/{loader}\" --library-path \"{}\"", path.join(":"));
    write_script(&partial.join("wasm-ld"), "root", &format!("{loader} \"$root/{linker}\""))?;
    // Its own place would be the loader's, so rustc cannot find its libraries by itself.
    write_script(&partial.join("rustc"), "root", &format!("{loader} \"$root/usr/bin/rustc\" --sysroot \"$root/usr\""))?;

    let version = process::read(Command::new(partial.join("rustc")).arg("--version"))?;
    let (needed, found) = (needed_version(repository)?, numbers(version.split_whitespace().nth(1).unwrap_or_default()));
    ensure!(found >= numbers(&needed), "Debian's {version} is older than {needed}, which Sipp needs");
    Ok(version)
}

/// A script that runs `command`, in which `$root` is the unpacked system: at `root` from the script, wherever that lies.
pub(super) fn write_script(file: &Path, root: &str, command: &str) -> Result<()> {
    fs::write(file, format!("#!/bin/sh\nroot=\"$(dirname \"$0\")/{root}\"\nexec {command} \"$@\"\n"))?;
    process::read(Command::new("chmod").arg("755").arg(file))?;
    Ok(())
}

/// The first entry of the places whose name begins so, from the root on.
pub(super) fn find(root: &Path, places: &[&str], prefix: &str) -> Result<String> {
    for place in places {
        for entry in root.join(place).read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                return Ok(format!("{place}/{name}"));
            }
        }
    }
    bail!("the packages hold no {prefix}")
}

/// The wanted entries of a place, from the root on, sorted.
pub(super) fn folders(root: &Path, place: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let names = root.join(place).read_dir()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<_> = names.filter(|name| wanted(name)).map(|name| format!("{place}/{name}")).collect();
    found.sort();
    Ok(found)
}

/// The oldest Rust that compiles Sipp, as the workspace says.
fn needed_version(repository: &Repository) -> Result<String> {
    let manifest: Table = fs::read_to_string(repository.root().join("Cargo.toml"))?.parse()?;
    let package = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
    let version = package.and_then(|package| package.get("rust-version")).and_then(toml::Value::as_str);
    Ok(version.context("the workspace names no `rust-version`")?.to_owned())
}

/// The numbers that a version begins with.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

/// apt with a configuration of its own: one mirror, one suite, no installed packages.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(partial: &Path, mirror: &Mirror) -> Result<Self> {
        let apt = Self { folder: partial.join("apt") };
        for place in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.folder.join(place))?;
        }
        let signed_by = mirror.signed_by.as_ref().map(|keys| format!("[signed-by={keys}] ")).unwrap_or_default();
        fs::write(apt.folder.join("sources.list"), format!("deb {signed_by}{} {SUITE} main\n", mirror.uri))?;
        fs::write(apt.folder.join("status"), "")?;
        fs::write(apt.folder.join("apt.conf"), apt.configuration())?;
        Ok(apt)
    }

    /// What differs from the machine's own configuration, whose proxies and credentials stay.
    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            "Dir::Etc::SourceList \"{folder}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"/dev/null\";\n\
             Dir::Etc::PreferencesParts \"/dev/null\";\n\
             Dir::State \"{folder}/state\";\n\
             Dir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}/cache\";\n\
             Acquire::Languages \"none\";\n\
             // A mirror that does not answer is an error and not a warning.\n\
             APT::Update::Error-Mode \"any\";\n\
             // As root, apt would fetch as a user of its own, who may not read the cache.\n\
             APT::Sandbox::User \"root\";\n"
        )
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    fn get(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf")).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("1.100.0") > numbers("1.95"));
        assert!(numbers("1.95.0") >= numbers("1.95"));
        assert!(numbers("1.94.9") < numbers("1.95"));
        assert_eq!(numbers("1.97.1+dfsg"), [1, 97]);
    }

    #[test]
    fn the_workspace_names_a_version() {
        assert!(!numbers(&needed_version(&Repository::here().unwrap()).unwrap()).is_empty());
    }
}
