//! `[[targets]]`: what answers under a name.
//!
//! All types of targets share one table, so that a key that is unknown, misspelled or of another type of target is found
//! with its line. What the values may be is the client component's to say, for every host alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Runtime, is_variable_name};

/// A name under which requests reach a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Target {
    /// The value of `model` in requests.
    pub name: String,
    /// What stands behind the name.
    #[serde(rename = "type")]
    pub kind: TargetKind,
    /// The model's name at a provider; of a local target a GGUF file or its first shard, relative to the configuration
    /// file's folder.
    pub model: Option<String>,
    /// How a local model is run.
    pub runtime: Option<Runtime>,
    /// A target's name on another gateway.
    pub target: Option<String>,
    /// Which provider it is.
    pub provider: Option<String>,
    /// A component that speaks to the provider, relative to the configuration file's folder.
    pub component: Option<PathBuf>,
    /// Address of the provider or gateway.
    pub base_url: Option<String>,
    /// Environment variable that holds the API key, which goes where the provider wants it.
    pub api_key_env: Option<String>,
    /// Environment variable that holds the token for `Authorization: Bearer`.
    pub token_env: Option<String>,
    /// Header that holds a secret.
    pub auth_header_name: Option<String>,
    /// Environment variable that holds that secret.
    pub auth_header_env: Option<String>,
    /// The API's version, for providers that have one in a header.
    pub version: Option<String>,
    /// Header that carries the request id.
    pub correlation_header: Option<String>,
    /// Headers of every request. They hold no secrets.
    pub headers: Option<BTreeMap<String, String>>,
    /// Limits on time.
    pub timeouts: Option<TimeoutsTable>,
    /// How often to ask again after a failure that can pass.
    pub retries: Option<u32>,
    /// Settings of the adapter's own.
    pub options: Option<Map<String, Value>>,
    /// Paths of a gateway.
    pub routes: Option<RoutesTable>,
    /// Fields that join every body to a gateway.
    pub protocol_options: Option<Map<String, Value>>,
}

/// What stands behind a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A model file that this process runs.
    Local,
    /// A target of another gateway.
    Gateway,
    /// A model at OpenAI.
    Openai,
    /// A model at a provider that speaks as OpenAI does.
    OpenaiCompatible,
    /// A model at Anthropic.
    Anthropic,
    /// A model at a provider that a component speaks to.
    Provider,
}

/// Limits on time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TimeoutsTable {
    /// Until the connection stands.
    pub connect_ms: Option<u32>,
    /// Until a streamed answer begins, or until an answer in one piece is complete.
    pub request_ms: Option<u32>,
    /// Between two pieces of an answer.
    pub idle_ms: Option<u32>,
}

/// Paths of a gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RoutesTable {
    /// Of raw prompts.
    pub query: Option<String>,
    /// Of conversations.
    pub chat: Option<String>,
    /// Of vectors.
    pub embed: Option<String>,
}

/// How a target's requests prove who sends them: by a secret in an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof<'a> {
    /// Not at all.
    None,
    /// As the provider wants it.
    ApiKey(&'a str),
    /// As a bearer token.
    Bearer(&'a str),
    /// In a header of this name.
    Header(&'a str, &'a str),
}

impl TargetKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Gateway => "gateway",
            Self::Openai => "openai",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Anthropic => "anthropic",
            Self::Provider => "provider",
        }
    }

    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["model"],
            Self::Gateway => &["target", "base_url"],
            Self::Openai | Self::Anthropic => &["model", "api_key_env"],
            Self::OpenaiCompatible => &["model", "base_url"],
            Self::Provider => &["model", "provider", "component"],
        }
    }

    fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["runtime"],
            Self::Gateway => &[
                "token_env",
                "auth_header_name",
                "auth_header_env",
                "headers",
                "timeouts",
                "retries",
                "routes",
                "protocol_options",
            ],
            Self::Openai => &["base_url", "timeouts", "retries", "options"],
            Self::Anthropic => &["base_url", "version", "timeouts", "retries", "options"],
            Self::OpenaiCompatible => &[
                "token_env",
                "auth_header_name",
                "auth_header_env",
                "correlation_header",
                "headers",
                "timeouts",
                "retries",
                "options",
            ],
            Self::Provider => &[
                "base_url",
                "api_key_env",
                "token_env",
                "auth_header_name",
                "auth_header_env",
                "version",
                "correlation_header",
                "headers",
                "timeouts",
                "retries",
                "options",
            ],
        }
    }
}

impl Target {
    /// How its requests prove who sends them.
    pub fn proof(&self) -> Proof<'_> {
        match (&self.api_key_env, &self.token_env, &self.auth_header_name, &self.auth_header_env) {
            (Some(variable), ..) => Proof::ApiKey(variable),
            (None, Some(variable), ..) => Proof::Bearer(variable),
            (None, None, Some(name), Some(variable)) => Proof::Header(name, variable),
            (None, None, ..) => Proof::None,
        }
    }

    /// Reports what the types of the keys cannot express, by key; by none where one is missing. `folder` is the
    /// configuration file's.
    pub(super) fn check(&self, folder: &Path, report: &mut impl FnMut(&str, String)) {
        let word = self.kind.word();
        let (required, optional) = (self.kind.required(), self.kind.optional());
        for (key, is_given) in self.keys() {
            if is_given && !required.contains(&key) && !optional.contains(&key) {
                report(key, format!("is not a key of targets of type `{word}`; remove it"));
            }
            if !is_given && required.contains(&key) {
                report("", format!("`{key}` is required for targets of type `{word}`"));
            }
        }
        self.check_proof(report);
        if self.kind == TargetKind::Local
            && let Some(model) = &self.model
            && let Err(message) = super::check_file(&folder.join(model), b"GGUF", "a GGUF file")
        {
            report("model", message);
        }
        if let Some(component) = &self.component
            && let Err(message) = super::check_file(&folder.join(component), b"\0asm", "a WebAssembly component")
        {
            report("component", message);
        }
    }

    fn check_proof(&self, report: &mut impl FnMut(&str, String)) {
        let secrets = [
            ("api_key_env", &self.api_key_env),
            ("token_env", &self.token_env),
            ("auth_header_env", &self.auth_header_env),
        ];
        let given = secrets.into_iter().filter_map(|(key, variable)| Some((key, variable.as_deref()?)));
        for (place, (key, variable)) in given.enumerate() {
            if place > 0 {
                report(key, "a target has one credential; remove the other".to_owned());
            }
            if !is_variable_name(variable) {
                report(key, format!("`{variable}` is not the name of an environment variable"));
            }
        }
        match (&self.auth_header_name, &self.auth_header_env) {
            (Some(_), None) => report("auth_header_name", "needs `auth_header_env` beside it".to_owned()),
            (None, Some(_)) => report("auth_header_env", "needs `auth_header_name` beside it".to_owned()),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// The keys that only some types have, and whether the file gives them.
    pub(super) fn keys(&self) -> [(&'static str, bool); 18] {
        [
            ("model", self.model.is_some()),
            ("runtime", self.runtime.is_some()),
            ("target", self.target.is_some()),
            ("provider", self.provider.is_some()),
            ("component", self.component.is_some()),
            ("base_url", self.base_url.is_some()),
            ("api_key_env", self.api_key_env.is_some()),
            ("token_env", self.token_env.is_some()),
            ("auth_header_name", self.auth_header_name.is_some()),
            ("auth_header_env", self.auth_header_env.is_some()),
            ("version", self.version.is_some()),
            ("correlation_header", self.correlation_header.is_some()),
            ("headers", self.headers.is_some()),
            ("timeouts", self.timeouts.is_some()),
            ("retries", self.retries.is_some()),
            ("options", self.options.is_some()),
            ("routes", self.routes.is_some()),
            ("protocol_options", self.protocol_options.is_some()),
        ]
    }
}
