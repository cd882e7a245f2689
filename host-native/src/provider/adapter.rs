//! Adapters: the host's own, compiled with it, and those that somebody else made, loaded from a file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::session::{self, Session};
use crate::Error;
use crate::bindings::adapter::{Description, Provider as World, ProviderPre};
use crate::sandbox::{self, Builtin};
use crate::switchboard::lock;

/// What an adapter may import: the world `sipp:inference/provider`, and the types that its words are made of.
const IMPORTS: [&str; 6] = [
    "sipp:inference/endpoint",
    "sipp:inference/log",
    "sipp:inference/types",
    "wasi:clocks/types",
    "wasi:http/client",
    "wasi:http/types",
];

/// What an adapter must export.
const EXPORTS: [&str; 2] = ["sipp:inference/adapter", "sipp:inference/inference"];

/// A component that speaks to providers, ready to be instantiated.
pub(super) struct Adapter {
    /// What to call it in errors.
    pub(super) name: String,
    pub(super) component: ProviderPre<Session>,
    descriptions: Vec<Description>,
}

impl Adapter {
    /// The adapter for a provider, or for gateways, that this host has of its own.
    pub(super) fn own(provider: &str) -> Result<Arc<Self>, Error> {
        let builtin = match provider {
            "openai" | "openai_compatible" => Builtin::OpenAi,
            "anthropic" => Builtin::Anthropic,
            "gateway" => Builtin::Gateway,
            other => return Err(Error::InvalidRequest(format!("provider `{other}` is not known; name a component"))),
        };
        loaded(Source::Own(builtin), || Self::new(builtin.name().to_owned(), sandbox::builtin(builtin)?))
    }

    /// An adapter of somebody else's. Compiling one takes seconds, so it is done once for a file, and the result kept on
    /// disk for the next process.
    pub(super) fn of_file(path: &Path) -> Result<Arc<Self>, Error> {
        let shown = path.display();
        let unreadable = |error| Error::InvalidRequest(format!("component {shown} cannot be read: {error}"));
        let path = path.canonicalize().map_err(unreadable)?;
        let facts = fs::metadata(&path).map_err(unreadable)?;
        let source = Source::File { path: path.clone(), written: facts.modified().ok(), length: facts.len() };
        loaded(source, || {
            let bytes = fs::read(&path).map_err(unreadable)?;
            let component = Component::new(sandbox::engine()?, bytes).map_err(|error| {
                // What follows the first line are bytes.
                let why = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                Error::InvalidRequest(format!("component {shown} is no component that can run here: {why}"))
            })?;
            Self::new(shown.to_string(), &component)
        })
    }

    fn new(name: String, component: &Component) -> Result<Self, Error> {
        check(&name, component)?;
        let misfit = |error: wasmtime::Error| {
            Error::InvalidRequest(format!("component {name} does not fit the world sipp:inference/provider: {error:#}"))
        };
        let mut linker = Linker::new(component.engine());
        session::link(&mut linker).map_err(misfit)?;
        let component = linker.instantiate_pre(component).and_then(ProviderPre::new).map_err(misfit)?;
        let descriptions = super::runtime()?
            .block_on(describe(&component))
            .map_err(|error| Error::InvalidRequest(format!("component {name} cannot describe itself: {error:#}")))?;
        if descriptions.is_empty() {
            return Err(Error::InvalidRequest(format!("component {name} describes no provider")));
        }
        Ok(Self { name, component, descriptions })
    }

    /// What the adapter says of a provider.
    pub(super) fn description(&self, provider: &str) -> Result<&Description, Error> {
        self.descriptions.iter().find(|description| description.provider == provider).ok_or_else(|| {
            let known: Vec<_> = self.descriptions.iter().map(|description| description.provider.as_str()).collect();
            let name = &self.name;
            Error::InvalidRequest(format!("component {name} speaks to {}, not to `{provider}`", known.join(", ")))
        })
    }
}

/// Names what is missing, or may not be, before the linker would in its own words.
fn check(name: &str, component: &Component) -> Result<(), Error> {
    let engine = component.engine();
    let kind = component.component_type();
    let interface = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
    let foreign: Vec<_> = kind
        .imports(engine)
        .map(|(import, _)| import.to_owned())
        .filter(|import| !IMPORTS.contains(&interface(import).as_str()))
        .collect();
    if !foreign.is_empty() {
        return Err(Error::InvalidRequest(format!(
            "component {name} imports {}, which an adapter may not; it may import {}",
            foreign.join(", "),
            IMPORTS.join(", ")
        )));
    }
    let exports: Vec<_> = kind.exports(engine).map(|(export, _)| interface(export)).collect();
    let missing: Vec<_> = EXPORTS.into_iter().filter(|export| !exports.iter().any(|own| own == export)).collect();
    if !missing.is_empty() {
        return Err(Error::InvalidRequest(format!("component {name} does not export {}", missing.join(", "))));
    }
    Ok(())
}

async fn describe(component: &ProviderPre<Session>) -> wasmtime::Result<Vec<Description>> {
    let mut store = Store::new(component.engine(), Session::describing());
    let meter = sandbox::confine(&mut store, Session::limits);
    let drive = async {
        let adapter: World = component.instantiate_async(&mut store).await?;
        store.run_concurrent(async |accessor| adapter.sipp_inference_adapter().call_describe(accessor).await).await?
    };
    meter.measure(drive).await
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    Own(Builtin),
    File { path: PathBuf, written: Option<SystemTime>, length: u64 },
}

/// What was loaded already in this process.
fn loaded(source: Source, load: impl FnOnce() -> Result<Adapter, Error>) -> Result<Arc<Adapter>, Error> {
    static LOADED: Mutex<Option<HashMap<Source, Arc<Adapter>>>> = Mutex::new(None);
    if let Some(adapter) = lock(&LOADED).get_or_insert_default().get(&source) {
        return Ok(adapter.clone());
    }
    // Not under the lock: it may take seconds. Who comes meanwhile does it too, and one result stays.
    let adapter = Arc::new(load()?);
    Ok(lock(&LOADED).get_or_insert_default().entry(source).or_insert(adapter).clone())
}
