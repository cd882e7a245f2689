//! The configuration file: its keys, their defaults, and every check that needs no model.
//!
//! A gateway that starts with a key it does not understand runs with settings that nobody chose. So each key is known,
//! each problem names its key and line, and nothing listens before the whole file is right.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sipp::IpNet;

mod chat;
mod problem;
mod runtime;
mod target;

pub use chat::ChatTable;
pub use problem::{Problem, Source};
pub use runtime::{Runtime, SamplingTable};
pub use target::{Proof, RoutesTable, Target, TargetKind, TimeoutsTable};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something wrong, in at least one place.
    #[error("{}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// What is wrong, in the order of the checks.
        problems: Vec<Problem>,
    },
}

/// A configuration whose every key was checked.
#[derive(Debug)]
pub struct Config {
    /// What the file says.
    pub settings: Settings,
    /// The file itself, to name keys and lines of problems that only show later.
    pub source: Source,
}

/// The keys of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Settings {
    /// Address of the inference routes.
    #[serde(default = "default_public_bind")]
    pub public_bind: SocketAddr,
    /// Address of health, readiness and metrics.
    #[serde(default = "default_management_bind")]
    pub management_bind: SocketAddr,
    /// Bytes that a request body may have.
    #[serde(default = "default_max_request_bytes")]
    pub max_request_bytes: NonZeroUsize,
    /// Requests that run at the same time; more are refused. Without it there is no limit.
    pub max_concurrent_requests: Option<NonZeroUsize>,
    /// Seconds that running requests get to finish after a stop signal.
    #[serde(default = "default_drain_seconds")]
    pub drain_seconds: u32,
    /// Where targets on other machines may be.
    #[serde(default)]
    pub network: NetworkTable,
    /// The chat page. Without it, none is served.
    pub chat: Option<ChatTable>,
    /// What answers requests.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Who may ask. Without any, everybody who can reach the gateway, which then must be on loopback.
    #[serde(default)]
    pub tokens: Vec<Token>,
}

/// Where targets on other machines may be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct NetworkTable {
    /// Private addresses that may be reached. Without it, only those of this machine.
    pub allow_private: Option<Vec<IpNet>>,
}

/// A bearer token and who holds it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Token {
    /// Environment variable that holds the token.
    pub env: String,
    /// The holder's name in logs and at the models.
    pub caller: String,
    /// Targets that the holder may use; all, if it is empty.
    #[serde(default)]
    pub targets: Vec<String>,
}

fn default_public_bind() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8080).into()
}

fn default_management_bind() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9090).into()
}

const fn default_max_request_bytes() -> NonZeroUsize {
    match NonZeroUsize::new(1024 * 1024) {
        Some(bytes) => bytes,
        None => NonZeroUsize::MIN,
    }
}

const fn default_drain_seconds() -> u32 {
    30
}

impl Settings {
    /// How long running requests get to finish after a stop signal.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// Checks `text`, the content of the file at `path`.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        let source = Source::new(path, text);
        let settings = source.read().map_err(|problem| ConfigError::Invalid { problems: vec![problem] })?;
        let config = Self { settings, source };
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { problems }) }
    }

    /// What the types of the keys cannot express.
    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut report = |key: String, message: String| found.push(self.source.problem(&key, message));
        self.check_addresses(&mut report);
        if let Some(chat) = &self.settings.chat {
            chat.check(self.source.folder(), &mut |key, message| report(format!("chat.{key}"), message));
        }
        self.check_targets(&mut report);
        self.check_tokens(&mut report);
        found
    }

    fn check_addresses(&self, report: &mut impl FnMut(String, String)) {
        let Settings { public_bind, management_bind, tokens, .. } = &self.settings;
        if public_bind == management_bind && public_bind.port() != 0 {
            let key = if self.source.names("management_bind") { "management_bind" } else { "public_bind" };
            report(key.into(), format!("both listeners are at {public_bind}; give one of them another port"));
        }
        if tokens.is_empty() && !public_bind.ip().is_loopback() {
            let message = format!(
                "{public_bind} can be reached from other machines and no [[tokens]] are configured; \
                 add a token, or bind to 127.0.0.1"
            );
            report("public_bind".into(), message);
        }
    }

    fn check_targets(&self, report: &mut impl FnMut(String, String)) {
        let targets = &self.settings.targets;
        if targets.is_empty() {
            report("targets".into(), "at least one target is required; add a [[targets]] table".into());
        }
        for (index, target) in targets.iter().enumerate() {
            let name = target.name.as_str();
            if name.trim().is_empty() || name.trim() != name {
                report(format!("targets[{index}].name"), "must not be empty or surrounded by whitespace".into());
            }
            if targets.iter().take(index).any(|earlier| earlier.name == name) {
                report(format!("targets[{index}].name"), format!("duplicate target `{name}`; rename one of them"));
            }
            target.check(self.source.folder(), &mut |key, message| {
                let place = format!("targets[{index}].{key}");
                report(place.trim_end_matches('.').to_owned(), message);
            });
        }
    }

    fn check_tokens(&self, report: &mut impl FnMut(String, String)) {
        let Settings { targets, tokens, .. } = &self.settings;
        for (index, token) in tokens.iter().enumerate() {
            if !is_variable_name(&token.env) {
                let message = format!("`{}` is not the name of an environment variable", token.env);
                report(format!("tokens[{index}].env"), message);
            }
            if token.caller.trim().is_empty() {
                report(format!("tokens[{index}].caller"), "must not be empty".into());
            }
            if tokens.iter().take(index).any(|earlier| earlier.caller == token.caller) {
                let message = format!("duplicate caller `{}`; rename one of them", token.caller);
                report(format!("tokens[{index}].caller"), message);
            }
            for (place, name) in token.targets.iter().enumerate() {
                if !targets.iter().any(|target| target.name == *name) {
                    let message = format!("no target is named `{name}`");
                    report(format!("tokens[{index}].targets[{place}]"), message);
                }
            }
        }
    }
}

/// Whether `name` can name an environment variable in every shell.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Opens a file as far as the mark that its kind begins with, so that a wrong path is found before anything is loaded.
fn check_file(path: &Path, mark: &[u8; 4], kind: &str) -> Result<(), String> {
    let shown = path.display();
    if path.is_dir() {
        return Err(format!("{shown} is a folder; name {kind} in it"));
    }
    let mut beginning = Vec::new();
    match File::open(path).and_then(|file| file.take(4).read_to_end(&mut beginning)) {
        Ok(_) if beginning == mark => Ok(()),
        Ok(_) => Err(format!("{shown} is not {kind}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("no such file: {shown}; the path is relative to the configuration file's folder"))
        }
        Err(error) => Err(format!("cannot read {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests;
