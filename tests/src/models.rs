//! The models that cases name: the one of the tree, and files that differ from it in one way each, most of them broken.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::tree;

/// Names of models that exist or ought to, for messages.
const NAMES: [&str; 9] =
    ["demo", "missing", "folder", "empty", "noise", "truncated", "unknown-architecture", "no-template", "tools"];

/// The key of a model's chat template.
const TEMPLATE: &str = "tokenizer.chat_template";

/// What tensors are aligned to in a GGUF file.
const ALIGNMENT: usize = 32;

/// Where the models of cases lie. Those made for them are removed with it.
#[derive(Debug)]
pub struct Models {
    folder: TempDir,
    demo: PathBuf,
}

impl Models {
    /// Makes those that differ.
    ///
    /// # Errors
    /// When the tree's model is missing, or is no longer what these were made for.
    pub fn new() -> Result<Self> {
        let demo = tree::demo_model();
        let bytes = fs::read(&demo).with_context(|| format!("{}", demo.display()))?;
        let folder = tempfile::Builder::new().prefix("sipp-cases-").tempdir()?;
        let write = |name: &str, bytes: &[u8]| fs::write(file(folder.path(), name), bytes);
        fs::create_dir(file(folder.path(), "folder"))?;
        write("empty", b"")?;
        write("noise", &noise(1 << 16))?;
        write("truncated", bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        write("unknown-architecture", &replaced(&bytes, "general.architecture", "llama", "lemur")?)?;
        write("no-template", &replaced(&bytes, "", TEMPLATE, "tokenizer.that_template")?)?;
        let template = fs::read_to_string(tree::root().join("tests/cases/tools.jinja"))?;
        write("tools", &with_template(&bytes, template.trim_end())?)?;
        Ok(Self { folder, demo })
    }

    /// The path of a model.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn path(&self, name: &str) -> Result<String> {
        let path = match name {
            "demo" => self.demo.clone(),
            name if NAMES.contains(&name) => file(self.folder.path(), name),
            other => bail!("there is no model `{other}`; there is {}", NAMES.join(", ")),
        };
        path.into_os_string().into_string().ok().context("the temporary folder's name is no text")
    }

    /// Puts `<name>` in place of the paths in a result.
    #[must_use]
    pub fn without_paths(&self, value: Value) -> Value {
        match value {
            Value::String(mut text) => {
                for name in NAMES {
                    if let Ok(path) = self.path(name) {
                        text = text.replace(&path, &format!("<{name}>"));
                    }
                }
                Value::String(text)
            }
            Value::Object(fields) => {
                fields.into_iter().map(|(name, field)| (name, self.without_paths(field))).collect()
            }
            Value::Array(items) => items.into_iter().map(|item| self.without_paths(item)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.gguf"))
}

/// Bytes without meaning, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        // xorshift32: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Gives the model another chat template, which is filled up so that the tensors stay aligned.
fn with_template(bytes: &[u8], template: &str) -> Result<Vec<u8>> {
    let found = bytes.windows(TEMPLATE.len()).position(|window| window == TEMPLATE.as_bytes());
    // After the key: the value's type, its length, and itself.
    let length_at = found.context("the demo model has no chat template")? + TEMPLATE.len() + 4;
    let (head, rest) = bytes.split_at(length_at);
    let (length, rest) = rest.split_first_chunk::<8>().context("the demo model ends in its template")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    // A comment of at least four characters.
    let missing = 4 + (length + 2 * ALIGNMENT - 4 - template.len() % ALIGNMENT) % ALIGNMENT;
    let template = format!("{template}{{#{}#}}", " ".repeat(missing - 4));
    let mut changed = head.to_vec();
    changed.extend((template.len() as u64).to_le_bytes());
    changed.extend(template.bytes());
    changed.extend(rest.get(length..).context("the demo model ends in its template")?);
    Ok(changed)
}

/// Replaces the first `word` behind `place` by another of the same length.
fn replaced(bytes: &[u8], place: &str, word: &str, other: &str) -> Result<Vec<u8>> {
    ensure!(word.len() == other.len(), "`{other}` is not as long as `{word}`");
    let find = |from: usize, text: &str| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.windows(text.len().max(1)).position(|window| window.starts_with(text.as_bytes())).map(|at| from + at)
    };
    let found = find(0, place).and_then(|at| find(at, word));
    let start = found.with_context(|| format!("the demo model has no `{word}` behind `{place}`"))?;
    let mut changed = bytes.to_vec();
    changed.splice(start..start + word.len(), other.bytes());
    Ok(changed)
}
