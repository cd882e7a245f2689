//! One request in one store: an adapter's instance, what it may use, and the way out.
//!
//! The store is dropped with its request. That is the cleanup: whatever the adapter did, it leaves nothing behind.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::outbound::Outbound;
use crate::bindings::adapter::endpoint::{self, Settings};
use crate::bindings::adapter::log::{self, Level};
use crate::bindings::types;
use crate::sandbox::Limits;

/// Longest line of a log that is kept, in characters.
const LONGEST_LINE: usize = 1000;

/// What the store of a request holds.
pub(super) struct Session {
    limits: Limits,
    table: ResourceTable,
    http: WasiHttpCtx,
    outbound: Outbound,
    settings: Arc<Settings>,
}

impl Session {
    pub(super) fn new(settings: Arc<Settings>, outbound: Outbound) -> Self {
        Self { limits: Limits::new(), table: ResourceTable::new(), http: WasiHttpCtx::new(), outbound, settings }
    }

    /// For an adapter that is only asked what it is.
    pub(super) fn describing() -> Self {
        let settings = Settings {
            provider: String::new(),
            model: String::new(),
            base_url: String::new(),
            version: None,
            correlation_header: None,
            options: Vec::new(),
        };
        Self::new(Arc::new(settings), Outbound::closed())
    }

    pub(super) fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }
}

impl WasiHttpView for Session {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}

impl types::Host for Session {}

impl endpoint::Host for Session {
    fn get(&mut self) -> wasmtime::Result<Settings> {
        Ok(Settings::clone(&self.settings))
    }
}

impl log::Host for Session {
    fn write(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        let text = self.outbound.redacted(text.chars().filter(|character| !character.is_control()).collect());
        let text: String = text.chars().take(LONGEST_LINE).collect();
        let provider = self.settings.provider.as_str();
        match level {
            Level::Debug => tracing::debug!(target: "sipp::adapter", provider, "{text}"),
            Level::Info => tracing::info!(target: "sipp::adapter", provider, "{text}"),
            Level::Warn => tracing::warn!(target: "sipp::adapter", provider, "{text}"),
            Level::Error => tracing::error!(target: "sipp::adapter", provider, "{text}"),
        }
        Ok(())
    }
}

/// Gives adapters what their world imports.
pub(super) fn link(linker: &mut Linker<Session>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    types::add_to_linker::<_, HasSelf<Session>>(linker, |session| session)?;
    endpoint::add_to_linker::<_, HasSelf<Session>>(linker, |session| session)?;
    log::add_to_linker::<_, HasSelf<Session>>(linker, |session| session)
}
