//! The targets that requests can name, each an endpoint of the client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use sipp::{
    Authentication, Credential, Descriptor, EndpointRef, Extension, GatewayDescriptor, Header, HeaderCredential,
    LocalDescriptor, ModelFault, MultimodalOptions, ProviderDescriptor, Routes, Secret, SippClient, Timeouts,
};

use crate::config::{Config, Problem, Proof, RoutesTable, Target, TargetKind, TimeoutsTable};
use crate::environment;
use crate::error::Error;
use crate::http_error::HttpError;

/// Endpoints by target name.
#[derive(Debug)]
pub struct Targets(HashMap<String, EndpointRef>);

/// Has the client component check every target's settings. It loads no model and reads no secret.
///
/// # Errors
/// The client does not start, or it refuses a setting.
pub async fn check(config: &Config) -> Result<(), Error> {
    // The component opens an endpoint only after its settings passed every rule: to be asked for it is to have passed.
    let nothing: sipp::parts::Open = Arc::new(|_, _| Err(sipp::Error::Closed));
    let client = SippClient::with_parts(None, Some(nothing)).map_err(Error::Client)?;
    for (index, target) in config.settings.targets.iter().enumerate() {
        // Nothing is opened, so the number never names a secret.
        let descriptor = descriptor(config, target, |_| Credential::default());
        if let Err(sipp::Error::InvalidRequest(message)) = client.add(&target.name, descriptor).await {
            let key = key_in(&message, index, config);
            return Err(Error::Setting(config.source.problem(&key, message)));
        }
    }
    Ok(())
}

/// Checks that the targets' secrets are there.
///
/// # Errors
/// A variable is not set, or its value can be no secret.
pub fn check_secrets(config: &Config) -> Result<(), Problem> {
    for (index, target) in config.settings.targets.iter().enumerate() {
        let (key, variable) = match target.proof() {
            Proof::None => continue,
            Proof::ApiKey(variable) => ("api_key_env", variable),
            Proof::Bearer(variable) => ("token_env", variable),
            Proof::Header(_, variable) => ("auth_header_env", variable),
        };
        environment::secret(variable)
            .map_err(|message| config.source.problem(&format!("targets[{index}].{key}"), message))?;
    }
    Ok(())
}

/// The key that a refusal is about. The client and the engine begin a refusal with the name of the option.
fn key_in(refusal: &str, target: usize, config: &Config) -> String {
    let name = refusal.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').next();
    let places = ["", "runtime.placement.", "runtime.context.", "runtime.sampling."];
    let mut keys = places.into_iter().filter_map(|place| {
        let key = format!("targets[{target}].{place}{}", name?);
        config.source.names(&key).then_some(key)
    });
    keys.next().unwrap_or_else(|| format!("targets[{target}]"))
}

impl Targets {
    /// Opens every target in the order of the file: loads its model, or makes ready to ask for it elsewhere.
    ///
    /// # Errors
    /// A target cannot be opened.
    pub async fn open(client: &SippClient, config: &Config) -> Result<Self, Error> {
        let mut endpoints = HashMap::new();
        for (index, target) in config.settings.targets.iter().enumerate() {
            let started = Instant::now();
            let descriptor = descriptor(config, target, |variable| client.credential(Secret::env(variable)));
            let endpoint = client.add(&target.name, descriptor).await.map_err(|error| {
                let refusal = error.to_string();
                // A file that is no good is named by its path, which may be any word.
                let is_file = matches!(&error, sipp::Error::Model(model) if model.fault != ModelFault::Configuration);
                let key = if is_file { format!("targets[{index}].model") } else { key_in(&refusal, index, config) };
                Error::Setting(config.source.problem(&key, format!("cannot open the target: {refusal}")))
            })?;
            tracing::info!(target = target.name, seconds = started.elapsed().as_secs_f64(), "target is open");
            endpoints.insert(target.name.clone(), endpoint);
        }
        Ok(Self(endpoints))
    }

    /// The endpoint of a target.
    ///
    /// # Errors
    /// `resolution`, where no target has this name.
    pub fn resolve(&self, name: &str) -> Result<&EndpointRef, HttpError> {
        self.0.get(name).ok_or_else(|| HttpError::unknown_target(name))
    }
}

/// What the client opens for a target. `credential` names the secret of an environment variable.
fn descriptor(config: &Config, target: &Target, credential: impl Fn(&str) -> Credential) -> Descriptor {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let of_provider = |provider: &str| provider_descriptor(config, target, provider, &credential);
    match target.kind {
        TargetKind::Local => {
            let runtime = target.runtime.clone().unwrap_or_default();
            let path = |name: String| config.source.folder().join(name).display().to_string();
            Descriptor::Local(LocalDescriptor {
                model: path(text(&target.model)),
                multimodal: MultimodalOptions {
                    projector: runtime.multimodal.projector.map(path),
                    ..runtime.multimodal
                },
                placement: runtime.placement,
                context: runtime.context,
                scheduler: runtime.scheduler,
                cache: runtime.cache,
                sampling: runtime.sampling,
                residency: runtime.residency,
            })
        }
        TargetKind::Gateway => Descriptor::Gateway(GatewayDescriptor {
            routes: target.routes.as_ref().map(routes).unwrap_or_default(),
            authentication: authentication(target, &credential),
            headers: headers(target),
            timeouts: timeouts(target.timeouts),
            protocol_options: extensions(target.protocol_options.as_ref()),
            retries: target.retries,
            ..GatewayDescriptor::new(text(&target.target), text(&target.base_url))
        }),
        TargetKind::Openai | TargetKind::OpenaiCompatible | TargetKind::Anthropic => of_provider(target.kind.word()),
        TargetKind::Provider => of_provider(&text(&target.provider)),
    }
}

fn provider_descriptor(
    config: &Config,
    target: &Target,
    provider: &str,
    credential: &impl Fn(&str) -> Credential,
) -> Descriptor {
    let component = target.component.as_ref().map(|path| config.source.folder().join(path).display().to_string());
    Descriptor::Provider(ProviderDescriptor {
        component,
        base_url: target.base_url.clone(),
        authentication: authentication(target, credential),
        version: target.version.clone(),
        correlation_header: target.correlation_header.clone(),
        headers: headers(target),
        timeouts: timeouts(target.timeouts),
        options: extensions(target.options.as_ref()),
        retries: target.retries,
        ..ProviderDescriptor::new(provider, target.model.clone().unwrap_or_default())
    })
}

fn authentication(target: &Target, credential: &impl Fn(&str) -> Credential) -> Authentication {
    match target.proof() {
        Proof::None => Authentication::None,
        Proof::ApiKey(variable) => Authentication::ApiKey(credential(variable)),
        Proof::Bearer(variable) => Authentication::Bearer(credential(variable)),
        Proof::Header(name, variable) => {
            Authentication::Header(HeaderCredential { name: name.to_owned(), value: credential(variable) })
        }
    }
}

fn headers(target: &Target) -> Vec<Header> {
    let headers = target.headers.iter().flatten();
    headers.map(|(name, value)| Header { name: name.clone(), value: value.clone() }).collect()
}

fn timeouts(table: Option<TimeoutsTable>) -> Timeouts {
    let TimeoutsTable { connect_ms, request_ms, idle_ms } = table.unwrap_or_default();
    Timeouts { connect: connect_ms, request: request_ms, idle: idle_ms }
}

fn routes(table: &RoutesTable) -> Routes {
    let RoutesTable { query, chat, embed } = table.clone();
    Routes { query, chat, embed }
}

fn extensions(fields: Option<&Map<String, Value>>) -> Vec<Extension> {
    let fields = fields.into_iter().flatten();
    fields.map(|(name, value)| Extension { name: name.clone(), value: value.to_string() }).collect()
}
