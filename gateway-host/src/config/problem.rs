//! Says where in the file a problem is.
//!
//! A message that only quotes a value sends people searching; this one names file, line and key, and shows the line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a configuration file, and where it came from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
}

/// Something wrong in a configuration file.
#[derive(Debug)]
pub struct Problem {
    path: PathBuf,
    /// Path of the key, such as `targets[0].model`; empty where the text is no TOML.
    key: String,
    message: String,
    /// Where it is, if the file has a place for it: a key that is missing has none.
    place: Option<Place>,
}

/// A part of one line.
#[derive(Debug)]
struct Place {
    /// Counted from 1.
    line: usize,
    content: String,
    /// Characters before the part.
    indent: usize,
    /// Characters of the part, at least 1.
    width: usize,
}

impl Source {
    /// The file at `path`, which holds `text`.
    pub fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder from which relative paths in the file are found.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A problem with the key at `key`, such as `targets[0].model`, which the file may leave out.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        let span = DeTable::parse(&self.text).ok().and_then(|document| find(&document, key));
        self.located(span, key.to_owned(), message)
    }

    /// Whether the file has the key.
    pub fn names(&self, key: &str) -> bool {
        DeTable::parse(&self.text).is_ok_and(|document| find(&document, key).is_some())
    }

    /// Reads the whole text.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let unreadable =
            |error: toml::de::Error, key| self.located(error.span(), key, error.message().trim_end().to_owned());
        let document = toml::Deserializer::parse(&self.text).map_err(|error| unreadable(error, String::new()))?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path();
            let key = if path.iter().len() == 0 { String::new() } else { path.to_string() };
            unreadable(error.into_inner(), key)
        })
    }

    fn located(&self, span: Option<Range<usize>>, key: String, message: String) -> Problem {
        let place = span.and_then(|span| Place::new(&self.text, span));
        Problem { path: self.path.clone(), key, message, place }
    }
}

/// Where the value of `key` is.
fn find(document: &Spanned<DeTable<'_>>, key: &str) -> Option<Range<usize>> {
    let mut steps = key.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let first = document.get_ref().get(steps.next()?)?;
    let value = steps.try_fold(first, |value, step| match (value.get_ref(), step.parse::<usize>()) {
        (DeValue::Array(array), Ok(index)) => array.get(index),
        (DeValue::Table(table), _) => table.get(step),
        _ => None,
    })?;
    Some(value.span())
}

impl Place {
    fn new(text: &str, span: Range<usize>) -> Option<Self> {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |newline| newline + 1);
        let content = text.get(start..)?.lines().next().unwrap_or_default().to_owned();
        let indent = text.get(start..span.start)?.chars().count();
        let marked = text.get(span)?.lines().next().unwrap_or_default().chars().count();
        Some(Self { line: text.get(..start)?.matches('\n').count() + 1, content, indent, width: marked.max(1) })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.path.display())?;
        if let Some(place) = &self.place {
            write!(out, "{}:", place.line)?;
        }
        if !self.key.is_empty() {
            write!(out, " {}:", self.key)?;
        }
        write!(out, " {}", self.message)?;
        let Some(Place { line, content, indent, width }) = &self.place else { return Ok(()) };
        let gutter = line.to_string().len();
        write!(out, "\n{:gutter$} |\n{line} | {content}\n{:gutter$} | {:indent$}{}", "", "", "", "^".repeat(*width))
    }
}
