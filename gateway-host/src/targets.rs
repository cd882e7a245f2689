//! The targets that requests can name, each an endpoint of the client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sipp::{Descriptor, EndpointRef, LocalDescriptor, SippClient};

use crate::config::{Config, Target, TargetKind};
use crate::error::Error;
use crate::http_error::HttpError;

/// Endpoints by target name.
#[derive(Debug)]
pub struct Targets(HashMap<String, EndpointRef>);

/// Has the client component check every target's settings, and loads no model.
///
/// # Errors
/// The client does not start, or it refuses a setting.
pub async fn check(config: &Config) -> Result<(), Error> {
    // The component opens an endpoint only after its settings passed every rule: to be asked for it is to have passed.
    let nothing: sipp::parts::Open = Arc::new(|_, _| Err(sipp::Error::Closed));
    let client = SippClient::with_parts(None, Some(nothing)).map_err(Error::Client)?;
    for (index, target) in config.settings.targets.iter().enumerate() {
        if let Err(sipp::Error::InvalidRequest(message)) = client.add(&target.name, descriptor(config, target)).await {
            let key = key_in(&message, index, config);
            return Err(Error::Setting(config.source.problem(&key, message)));
        }
    }
    Ok(())
}

/// The key that a refusal is about. The client and the engine begin a refusal with the name of the option.
fn key_in(refusal: &str, target: usize, config: &Config) -> String {
    let name = refusal.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').next();
    let mut keys = ["placement", "context", "sampling"].into_iter().filter_map(|group| {
        let key = format!("targets[{target}].runtime.{group}.{}", name?);
        config.source.names(&key).then_some(key)
    });
    keys.next().unwrap_or_else(|| format!("targets[{target}]"))
}

impl Targets {
    /// Opens every target in the order of the file: loads its model.
    ///
    /// # Errors
    /// A model cannot be loaded.
    pub async fn open(client: &SippClient, config: &Config) -> Result<Self, Error> {
        let mut endpoints = HashMap::new();
        for (index, target) in config.settings.targets.iter().enumerate() {
            let started = Instant::now();
            let endpoint = client.add(&target.name, descriptor(config, target)).await.map_err(|error| {
                let refusal = error.to_string();
                let key = key_in(&refusal, index, config);
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

fn descriptor(config: &Config, target: &Target) -> Descriptor {
    match target.kind {
        TargetKind::Local => Descriptor::Local(LocalDescriptor {
            model: config.model_path(target).display().to_string(),
            placement: target.runtime.placement,
            context: target.runtime.context,
            sampling: target.runtime.sampling.clone(),
        }),
    }
}
