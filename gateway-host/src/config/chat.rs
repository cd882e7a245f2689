//! `[chat]`: the chat page, and the models that it offers to run in the browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::check_file;

/// The chat page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTable {
    /// Where it is served.
    #[serde(default = "default_path")]
    pub path: String,
    /// Folder of the built browser package, relative to the configuration file's folder.
    pub assets: PathBuf,
    /// GGUF files that the page may load, relative to the configuration file's folder.
    #[serde(default)]
    pub models: Vec<PathBuf>,
}

/// The file that the page begins with.
pub(crate) const PAGE: &str = "index.html";

fn default_path() -> String {
    "/chat".to_owned()
}

impl ChatTable {
    /// What the types of the keys cannot express. `report` takes a key and a message.
    pub(super) fn check(&self, folder: &Path, report: &mut impl FnMut(String, String)) {
        if let Some(message) = wrong_path(&self.path) {
            report("path".into(), message);
        }
        let assets = folder.join(&self.assets);
        if !assets.join(PAGE).is_file() {
            let message = format!(
                "no chat page in {}: there is no {PAGE}; build it with `cargo x build browser`, or leave [chat] out",
                assets.display()
            );
            report("assets".into(), message);
        }
        let mut names = BTreeSet::new();
        for (index, model) in self.models.iter().enumerate() {
            let key = format!("models[{index}]");
            if let Err(message) = check_file(&folder.join(model), b"GGUF", "a GGUF file") {
                report(key, message);
            } else if let Some(name) = model.file_name()
                && !names.insert(name)
            {
                report(key, format!("two models are named {}; rename one of the files", name.display()));
            }
        }
    }
}

/// Why the page cannot be served at `path`, if so.
fn wrong_path(path: &str) -> Option<String> {
    let named = |segment: &str| {
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_.~".contains(character);
        !segment.trim_matches('.').is_empty() && segment.chars().all(plain)
    };
    let Some(segments) = path.strip_prefix('/').filter(|segments| segments.split('/').all(named)) else {
        return Some(format!(
            "`{path}` is no path for a page; write `/` and words of letters, digits, `-`, `_`, `.` and `~`, as in `/chat`"
        ));
    };
    segments
        .split('/')
        .next()
        .filter(|&first| first == "v1")
        .map(|_| "`/v1` belongs to requests; choose another path".into())
}
