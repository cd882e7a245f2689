//! Who may depend on whom.
//!
//! Left to right only: `gateway-host → host-native → engine-sys`. Components never depend on a host, and hosts never on a
//! component, only on its bytes. A library that decides an architecture has one owner. `unsafe` has one crate. The
//! rules stand in two tables here; cargo-deny sees a part of them again in the resolved graph.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use toml::Table;

use crate::cargo;
use crate::repository::Repository;

/// A folder of the design, and the folders whose packages its own may use. The first that fits a path counts.
const FOLDERS: [(&str, &[&str]); 9] = [
    // For its tests.
    ("engine-sys", &["tests/models"]),
    ("host-native", &["engine-sys", "host-native"]),
    ("gateway-host", &["host-native"]),
    ("components", &["components"]),
    ("toolchain", &[]),
    ("tests/programs", &["components"]),
    ("tests/third-party", &["components"]),
    ("tests/models", &[]),
    ("tests", &["tests/models", "engine-sys", "host-native", "gateway-host"]),
];

/// Libraries by the beginning of their name, and the one folder that may use them.
const OWNERS: [(&str, &str); 3] = [("axum", "gateway-host"), ("wasmtime", "host-native"), ("llama-cpp-", "engine-sys")];

/// The one folder whose packages may contain unsafe code.
const UNSAFE_FOLDER: &str = "engine-sys";

/// The files besides that may expect it once: to load precompiled machine code is unsafe in wasmtime, and so it is for
/// a test's guest to look for secrets in all of its memory.
const UNSAFE_FILES: [&str; 2] = ["host-native/src/sandbox.rs", "tests/programs/adapters/search.rs"];

/// A package as these rules see it.
#[derive(Debug, Default)]
struct Package {
    /// Its manifest, from the top folder on.
    manifest: String,
    /// Each dependency's name and, if it is ours, its folder from the top folder on.
    dependencies: Vec<(String, Option<String>)>,
}

/// Every broken rule, as a line that names the file.
///
/// # Errors
/// When a manifest or a source file cannot be read.
pub(super) fn check(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for workspace in super::workspaces(repository) {
        for package in repository.packages(&workspace)? {
            let package = Package::new(package, repository.root());
            findings.extend(package.broken_imports());
            let manifest: Table = fs::read_to_string(repository.root().join(&package.manifest))?.parse()?;
            findings.extend(package.missing_lints(&manifest));
        }
    }
    for file in rust_files(repository.root())? {
        let name = file.strip_prefix(repository.root()).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        findings.extend(unsafe_exceptions(&name, &fs::read_to_string(&file)?));
    }
    Ok(findings)
}

impl Package {
    fn new(package: cargo::Package, root: &Path) -> Self {
        let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let dependencies = package.dependencies.into_iter();
        Self {
            manifest: relative(&package.manifest_path),
            dependencies: dependencies.map(|one| (one.name, one.path.as_deref().map(relative))).collect(),
        }
    }

    fn folder(&self) -> Option<&'static (&'static str, &'static [&'static str])> {
        folder_of(&self.manifest)
    }

    fn broken_imports(&self) -> Vec<String> {
        let manifest = &self.manifest;
        let Some((own, allowed)) = self.folder() else {
            return vec![format!("{manifest}: lies in no folder of the design; name the folder in imports.rs")];
        };
        let mut findings = Vec::new();
        for (name, path) in &self.dependencies {
            if let Some(path) = path {
                let folder = folder_of(path).map_or(path.as_str(), |(folder, _)| folder);
                if !allowed.contains(&folder) {
                    let allowed = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                    findings.push(format!("{manifest}: depends on `{name}` of {folder}; {own} may use {allowed}"));
                }
            }
            let owner = OWNERS.iter().find(|(library, _)| path.is_none() && name.starts_with(library));
            if let Some((_, owner)) = owner.filter(|(_, owner)| owner != own) {
                findings.push(format!("{manifest}: depends on `{name}`; only {owner} may use it"));
            }
        }
        findings
    }

    /// The lints are what finds unsafe code, so every package takes them from its workspace.
    fn missing_lints(&self, manifest: &Table) -> Option<String> {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        let exempt = self.folder().is_some_and(|(folder, _)| *folder == UNSAFE_FOLDER);
        let missing = inherits != Some(true) && !exempt;
        missing.then(|| format!("{}: takes no lints from its workspace; add `lints.workspace = true`", self.manifest))
    }
}

fn folder_of(path: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    FOLDERS
        .iter()
        .find(|(folder, _)| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Where a file turns the lint against unsafe code off, though it may not.
fn unsafe_exceptions(file: &str, source: &str) -> Vec<String> {
    if file.starts_with(UNSAFE_FOLDER) {
        return Vec::new();
    }
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let exceptions: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(number, line)| line_names_lint(line) && !is_generated(&lines, *number))
        .map(|(number, _)| number + 1)
        .collect();
    let allowed = usize::from(UNSAFE_FILES.contains(&file));
    let beyond = exceptions.iter().skip(allowed);
    beyond.map(|line| format!("{file}:{line}: allows unsafe code; it belongs into {UNSAFE_FOLDER}")).collect()
}

/// Whether a line is, or belongs to, an attribute that names the lint.
fn line_names_lint(line: &str) -> bool {
    let attribute = line.starts_with("#[") || line.starts_with("#!");
    (attribute && line.contains("unsafe_code")) || line.starts_with("unsafe_code")
}

/// Whether an attribute stands on a module of bindings that wit-bindgen writes.
fn is_generated(lines: &[&str], number: usize) -> bool {
    let item = lines.iter().skip(number).find(|line| line.starts_with("mod ") || line.starts_with("pub"));
    let next = lines.iter().skip(number).skip_while(|line| !line.ends_with('{')).nth(1);
    item.is_some_and(|line| matches!(*line, "mod bindings {" | "pub mod bindings {"))
        && next.is_some_and(|line| line.starts_with("wit_bindgen::"))
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let files = super::tree::files(root)?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(manifest: &str, name: &str, path: Option<&str>) -> Vec<String> {
        let dependencies = vec![(name.to_owned(), path.map(str::to_owned))];
        Package { manifest: manifest.to_owned(), dependencies }.broken_imports()
    }

    #[test]
    fn left_to_right_is_allowed() {
        for (manifest, path) in [
            ("gateway-host/Cargo.toml", "host-native"),
            ("host-native/Cargo.toml", "engine-sys"),
            ("host-native/cli/Cargo.toml", "host-native"),
            ("components/client/Cargo.toml", "components/shared/wire"),
            ("tests/Cargo.toml", "gateway-host"),
            ("tests/programs/Cargo.toml", "components/shared/wire"),
        ] {
            assert_eq!(findings(manifest, "sipp", Some(path)), Vec::<String>::new());
        }
    }

    #[test]
    fn every_other_direction_is_refused_with_file_and_dependency() {
        for (manifest, path) in [
            ("engine-sys/Cargo.toml", "host-native"),
            ("host-native/Cargo.toml", "gateway-host"),
            ("host-native/Cargo.toml", "components/client"),
            ("gateway-host/Cargo.toml", "engine-sys"),
            ("gateway-host/Cargo.toml", "components/policies/auth"),
            ("components/client/Cargo.toml", "host-native"),
            ("tests/programs/Cargo.toml", "host-native"),
            ("toolchain/xtask/Cargo.toml", "engine-sys"),
            ("tests/Cargo.toml", "components/client"),
            ("tests/Cargo.toml", "elsewhere"),
        ] {
            let found = findings(manifest, "the-crate", Some(path));
            assert_eq!(found.len(), 1, "{manifest} → {path}: {found:?}");
            assert!(found[0].contains(manifest) && found[0].contains("the-crate"), "{found:?}");
        }
    }

    #[test]
    fn libraries_have_one_owner() {
        assert!(findings("gateway-host/Cargo.toml", "axum", None).is_empty());
        assert!(findings("host-native/Cargo.toml", "wasmtime-wasi-http", None).is_empty());
        assert!(findings("engine-sys/Cargo.toml", "llama-cpp-sys-2", None).is_empty());
        assert_eq!(findings("host-native/Cargo.toml", "axum", None).len(), 1);
        assert_eq!(findings("tests/Cargo.toml", "wasmtime", None).len(), 1);
        assert_eq!(findings("host-native/cli/Cargo.toml", "llama-cpp-2", None).len(), 1);
    }

    #[test]
    fn a_folder_that_the_design_lacks_is_refused() {
        assert_eq!(findings("extras/Cargo.toml", "serde", None).len(), 1);
        assert_eq!(findings("tests-more/Cargo.toml", "serde", None).len(), 1);
    }

    #[test]
    fn packages_take_the_lints() {
        let package = |manifest: &str| Package { manifest: manifest.to_owned(), ..Package::default() };
        let with: Table = "[lints]\nworkspace = true".parse().unwrap();
        let own: Table = "[lints.rust]\nunsafe_code = 'allow'".parse().unwrap();
        assert_eq!(package("host-native/Cargo.toml").missing_lints(&with), None);
        assert!(package("host-native/Cargo.toml").missing_lints(&own).is_some());
        assert!(package("tests/Cargo.toml").missing_lints(&Table::new()).is_some());
        assert_eq!(package("engine-sys/Cargo.toml").missing_lints(&own), None);
    }

    #[test]
    fn unsafe_code_has_its_places() {
        let expect = ["#[expect(", "unsafe_code, reason = \"x\")]\nfn load() {}\n"].concat();
        assert!(unsafe_exceptions("engine-sys/src/lib.rs", &expect).is_empty());
        assert!(unsafe_exceptions(UNSAFE_FILES[0], &expect).is_empty());
        assert_eq!(unsafe_exceptions(UNSAFE_FILES[0], &expect.repeat(2)).len(), 1);
        let found = unsafe_exceptions("host-native/src/client.rs", &expect);
        assert!(found[0].starts_with("host-native/src/client.rs:1:"), "{found:?}");
        assert_eq!(unsafe_exceptions("tests/src/lib.rs", "#![allow(\n    unsafe_code,\n)]").len(), 1);
        assert!(unsafe_exceptions("tests/src/lib.rs", "// about unsafe_code\nfn f() {}").is_empty());
    }

    #[test]
    fn generated_bindings_may_be_unsafe() {
        let module =
            "#[allow(\n    unsafe_code,\n    reason = \"x\"\n)]\nmod bindings {\n    wit_bindgen::generate!({});\n}";
        assert!(unsafe_exceptions("components/client/src/lib.rs", module).is_empty());
        let other = module.replace("bindings", "other");
        assert_eq!(unsafe_exceptions("components/client/src/lib.rs", &other).len(), 1);
        let own = module.replace("wit_bindgen::generate!({});", "fn f() {}");
        assert_eq!(unsafe_exceptions("components/client/src/lib.rs", &own).len(), 1);
    }
}
