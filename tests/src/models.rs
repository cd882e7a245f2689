//! Where the models that cases name lie.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use test_models::cases::{self, NAMES};

/// The models of cases, in a folder that is removed with them.
#[derive(Debug)]
pub struct Models {
    folder: TempDir,
}

impl Models {
    /// Writes them.
    ///
    /// # Errors
    /// When there is no folder for them.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sipp-cases-").tempdir()?;
        cases::write(folder.path());
        Ok(Self { folder })
    }

    /// The path of a model.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn path(&self, name: &str) -> Result<String> {
        if !NAMES.contains(&name) {
            bail!("there is no model `{name}`; there is {}", NAMES.join(", "));
        }
        let path = file(self.folder.path(), name);
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
