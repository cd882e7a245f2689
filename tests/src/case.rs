//! A case: one folder of `cases/`, or of `cassettes/`, whose cases have exchanges with an upstream besides; read and
//! checked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use sipp::{ChatRequest, Descriptor, EmbedRequest, EndpointRef, QueryRequest};

use crate::read::{Fields, Read};
use crate::tree;
use crate::upstream::Exchange;

/// What the first word of a case's name may be.
const AREAS: [&str; 5] = ["chat", "client", "embed", "errors", "generation"];

/// The providers that cassettes are of.
const PROVIDERS: [&str; 4] = ["anthropic", "gateway", "openai", "openai_compatible"];

/// The files of a case.
const FILES: [&str; 3] = ["case.toml", "expected.jsonl", "request.json"];

/// What a cassette has besides.
const EXCHANGES: &str = "exchange.http";

/// What is done, and what must come out.
#[derive(Debug)]
pub struct Case {
    /// Name of its folder: `<area>-<what>`, or `<provider>/<what>` for a cassette.
    pub name: String,
    /// What it is for.
    pub about: About,
    /// What is done.
    pub steps: Vec<Step>,
    /// A cassette's exchanges. None: no upstream is needed.
    pub exchanges: Vec<Exchange>,
    folder: PathBuf,
}

/// `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What must hold, in one line.
    pub title: String,
    /// What would be broken for whom if it did not.
    pub why: String,
    /// Who answers.
    #[serde(default)]
    pub host: Host,
    /// Whether a cassette is replayed once for every place where its reply can be cut in two.
    #[serde(default)]
    pub cut_everywhere: bool,
    /// Runners that cannot run it, and why.
    #[serde(default)]
    pub skip: BTreeMap<Runner, String>,
}

/// Who answers behind the endpoints of a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// The host, with real models.
    #[default]
    Real,
    /// An endpoint that repeats what reached it, for rules that need no model. See `stand_in`.
    StandIn,
}

/// Who runs cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// `host-native`, in this process.
    Native,
    /// `host-browser`.
    Browser,
    /// `gateway-host`, over HTTP.
    Gateway,
    /// The provider's own client, against a cassette. Cassettes of gateways, which have none, need not say so.
    Sdk,
}

/// One step of a case.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// A name for its result, for later steps that compare.
    pub keep: Option<String>,
    /// Cancels the run once this many tokens were read; 0: before it started.
    pub cancel_after: Option<u32>,
    /// Fields of the result that differ between machines, and so are left out.
    pub hide: Vec<String>,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// `client.add`.
    Add(Box<(String, Descriptor)>),
    /// `client.remove`.
    Remove(EndpointRef),
    /// `client.list`.
    List,
    /// `client.query`.
    Query(Box<QueryRequest>),
    /// `client.chat`.
    Chat(Box<ChatRequest>),
    /// `client.embed`.
    Embed(Box<EmbedRequest>),
    /// `client.close`.
    Close,
    /// Steps at the same time.
    All(Vec<Step>),
    /// Whether kept texts are all the same.
    Same(Vec<String>),
    /// Which other vector of a kept embedding is the most similar to one.
    Nearest {
        /// The embedding's name.
        of: String,
        /// The vector's position.
        to: u32,
    },
}

impl Case {
    /// Every case of the tree, by name.
    ///
    /// # Errors
    /// When one is not as the README of `cases/` says.
    pub fn all() -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for folder in folders(&tree::root().join("tests/cases"))? {
            let name = file_name(&folder);
            let area = name.split_once('-').map(|(area, _)| area).unwrap_or_default();
            ensure!(AREAS.contains(&area), "{name}: a case is called <area>-<what>; areas are {}", AREAS.join(", "));
            cases.push(Self::read(name, folder)?);
        }
        cases.extend(Self::cassettes()?);
        Ok(cases)
    }

    /// Every cassette of the tree, by name.
    ///
    /// # Errors
    /// When one is not as the README of `cassettes/` says.
    pub fn cassettes() -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for provider in folders(&tree::root().join("tests/cassettes"))? {
            let name = file_name(&provider);
            ensure!(PROVIDERS.contains(&name.as_str()), "{name}: no provider; they are {}", PROVIDERS.join(", "));
            for folder in folders(&provider)? {
                cases.push(Self::read(format!("{name}/{}", file_name(&folder)), folder)?);
            }
        }
        Ok(cases)
    }

    fn read(name: String, folder: PathBuf) -> Result<Self> {
        let shown = folder.display().to_string();
        Self::read_files(name, folder).with_context(|| shown)
    }

    fn read_files(name: String, folder: PathBuf) -> Result<Self> {
        let is_cassette = name.contains('/');
        for entry in fs::read_dir(&folder)? {
            let file = entry?.file_name();
            let known = FILES.iter().any(|known| file == *known) || (is_cassette && file == EXCHANGES);
            ensure!(known, "unknown file {}", file.display());
        }
        let text = |file: &str| fs::read_to_string(folder.join(file)).with_context(|| file.to_owned());
        let about: About = toml::from_str(&text("case.toml")?).context("case.toml")?;
        ensure!(!about.title.is_empty() && !about.why.is_empty(), "case.toml: title and why must say something");
        let request = serde_json::from_str(&text("request.json")?);
        let steps = Read::read(request.context("request.json")?).context("request.json")?;
        let exchanges =
            if is_cassette { Exchange::read_all(&text(EXCHANGES)?).context(EXCHANGES)? } else { Vec::new() };
        Ok(Self { name, about, steps, exchanges, folder })
    }

    /// The transcript that must come out, a value a line.
    #[must_use]
    pub fn expected_file(&self) -> PathBuf {
        self.folder.join("expected.jsonl")
    }
}

/// The folders in a folder, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Read for Step {
    fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        let (keep, hide) = (fields.take("keep")?, fields.take("hide")?);
        let cancel_after: Option<u32> = fields.take("cancel_after")?;
        let (verb, value) = fields.take_only()?;
        let action = action(&verb, value).with_context(|| format!("step `{verb}`"))?;
        let generates = matches!(action, Action::Query(_) | Action::Chat(_));
        ensure!(generates || cancel_after.is_none(), "step `{verb}`: only query and chat can be cancelled");
        Ok(Self { action, keep, cancel_after, hide })
    }
}

fn action(verb: &str, value: Value) -> Result<Action> {
    Ok(match verb {
        "add" => {
            let mut fields = Fields::of(value)?;
            let added = (fields.take("id")?, fields.take("descriptor")?);
            fields.end()?;
            Action::Add(Box::new(added))
        }
        "remove" => Action::Remove(Read::read(value)?),
        "list" => Fields::of(value)?.end().map(|()| Action::List)?,
        "query" => Action::Query(Box::new(Read::read(value)?)),
        "chat" => Action::Chat(Box::new(Read::read(value)?)),
        "embed" => Action::Embed(Box::new(Read::read(value)?)),
        "close" => Fields::of(value)?.end().map(|()| Action::Close)?,
        "all" => Action::All(Read::read(value)?),
        "same" => Action::Same(Read::read(value)?),
        "nearest" => {
            let mut fields = Fields::of(value)?;
            let (of, to) = (fields.take("of")?, fields.take("to")?);
            fields.end()?;
            Action::Nearest { of, to }
        }
        other => bail!("`{other}` is no verb"),
    })
}
