//! What the files of the tree look like from outside: no paths of one machine, nothing huge, no dead links.
//!
//! A file counts when git tracks it or would: what git ignores is nobody's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::repository::Repository;

/// Beginnings of paths that exist on one machine only. In pieces, so that this file does not contain them.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Largest file, in bytes: above the demo model, below what makes every clone slow.
const LARGEST: u64 = 7_000_000;

/// Every finding, as a line that names the file.
///
/// # Errors
/// When git cannot list the files or one cannot be read.
pub(super) fn check(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files(repository.root())? {
        let name = repository.shown(&file).to_string();
        let size = file.metadata()?.len();
        if size > LARGEST {
            findings.push(format!("{name}: {:.1} MB; at most {} MB", size as f64 / 1e6, LARGEST / 1_000_000));
        }
        // What is not text cannot be searched like text.
        let Ok(text) = String::from_utf8(fs::read(&file)?) else { continue };
        findings
            .extend(machine_paths(&text).into_iter().map(|(line, path)| format!("{name}:{line}: machine path {path}")));
        if name.ends_with(".md") {
            let folder = file.parent().unwrap_or(repository.root());
            let dead = links(&text).into_iter().filter(|(_, link)| !folder.join(link).exists());
            findings.extend(dead.map(|(line, link)| format!("{name}:{line}: {link} does not exist")));
        }
    }
    Ok(findings)
}

/// The files of the tree that exist.
///
/// # Errors
/// When git cannot list them.
pub(super) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = process::read(&mut git)?;
    Ok(listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root.join(name))
        .filter(|path| path.is_file())
        .collect())
}

/// Lines with a path of one machine. It counts where a path can begin: `target/work/` is no machine's.
fn machine_paths(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let begins = |at: usize| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-/})]>*".contains(before))
            };
            if line.match_indices(path).any(|(at, _)| begins(at)) {
                found.push((number + 1, path));
            }
        }
    }
    found
}

/// The relative links of a Markdown text, without their anchors, outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for (index, rest) in line.split("](").enumerate().skip(1) {
            let before = line.split("](").take(index).map(|piece| piece.matches('`').count()).sum::<usize>();
            let Some((link, _)) = rest.split_once(')') else { continue };
            let link = link.split_whitespace().next().unwrap_or_default();
            let path = link.split('#').next().unwrap_or_default();
            if before % 2 == 0 && !path.is_empty() && !path.contains(':') {
                found.push((number + 1, path));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_where_paths_begin() {
        let [first, second, ..] = MACHINE_PATHS;
        let text = format!("cd {first}x\nfine\npath = \"{second}.cargo\"\n");
        assert_eq!(machine_paths(&text), [(1, first), (3, second)]);
        assert_eq!(machine_paths(&format!("target{first}x and https://a.test{second}")), []);
    }

    #[test]
    fn relative_links_are_found() {
        let text =
            "[a](b.md) and [c](d/e.md#part) `[not](this)`\n```\n[nor](this)\n```\n[web](https://a.test/x) [here](#x)\n";
        assert_eq!(links(text), [(1, "b.md"), (1, "d/e.md")]);
    }

    #[test]
    fn ignored_files_do_not_count() {
        let root = Repository::here().unwrap().root().to_owned();
        let files = files(&root).unwrap();
        assert!(files.contains(&root.join("Cargo.toml")));
        assert!(!files.iter().any(|file| file.starts_with(root.join("target"))));
    }
}
