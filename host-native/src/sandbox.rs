//! Where components run: one engine for the process, and the limits of each store.
//!
//! A guest may trap, never come back, or ask for memory without end. None of it may harm another guest or the host: a
//! trap ends one store, a guest that computes for too long at a stretch is made to trap, and memory is bounded.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Engine, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use crate::Error;
use crate::tuning;

/// How long one epoch lasts.
const EPOCH: Duration = Duration::from_millis(50);

/// Epochs that a guest may compute without giving the host its turn: 2 seconds.
const PATIENCE: u64 = 40;

/// The components that this library carries, compiled when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Builtin {
    Client,
    OpenAi,
    Anthropic,
    Gateway,
}

impl Builtin {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gateway => "gateway",
        }
    }

    const fn compiled(self) -> &'static [u8] {
        match self {
            Self::Client => include_bytes!(concat!(env!("OUT_DIR"), "/client.cwasm")),
            Self::OpenAi => include_bytes!(concat!(env!("OUT_DIR"), "/openai.cwasm")),
            Self::Anthropic => include_bytes!(concat!(env!("OUT_DIR"), "/anthropic.cwasm")),
            Self::Gateway => include_bytes!(concat!(env!("OUT_DIR"), "/gateway.cwasm")),
        }
    }
}

/// The engine of this process. It is made at first use, and lives as long as the process.
pub(crate) fn engine() -> Result<&'static Engine, Error> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let mut config = tuning::config();
        config.cache(cache());
        let engine = Engine::new(&config).map_err(|error| format!("cannot run components: {error:#}"))?;
        count_epochs(&engine).map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(engine)
    });
    engine.as_ref().map_err(|message| Error::Internal(message.clone()))
}

/// Where compiled components of others are kept for the next process: the user's cache folder. A machine may have none
/// that can be written; components are compiled anew for each process there.
fn cache() -> Option<Cache> {
    Cache::new(CacheConfig::new())
        .inspect_err(|error| tracing::warn!("compiled components cannot be kept: {error:#}"))
        .ok()
}

fn count_epochs(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let clock = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(EPOCH);
        }
    };
    thread::Builder::new().name("sipp-epochs".to_owned()).spawn(clock).map(drop)
}

/// A component of this library, loaded at its first use.
pub(crate) fn builtin(builtin: Builtin) -> Result<&'static Component, Error> {
    static LOADED: [OnceLock<Result<Component, String>>; 4] = [const { OnceLock::new() }; 4];
    let engine = engine()?;
    let loaded = LOADED.get(builtin as usize).ok_or_else(|| Error::Internal("a component is not known".to_owned()))?;
    let component = loaded.get_or_init(|| precompiled(engine, builtin).map_err(|error| format!("{error:#}")));
    let name = builtin.name();
    component.as_ref().map_err(|message| Error::Internal(format!("cannot load the component {name}: {message}")))
}

#[expect(
    unsafe_code,
    reason = "loading compiled code cannot be checked; this code comes from this crate's build script"
)]
fn precompiled(engine: &Engine, builtin: Builtin) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `precompile_component` returned in build.rs, and are constant in this program.
    unsafe { Component::deserialize(engine, builtin.compiled()) }
}

/// Limits of one store.
pub(crate) struct Limits {
    memory: StoreLimits,
    /// Counts how often the host had its turn.
    turns: Arc<AtomicU64>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let memory = StoreLimitsBuilder::new().memory_size(tuning::MEMORY_LIMIT).build();
        Self { memory, turns: Arc::default() }
    }
}

/// Puts a store under its limits. What drives the store must be wrapped in the returned meter.
pub(crate) fn confine<T: Send + 'static>(store: &mut Store<T>, limits: fn(&mut T) -> &mut Limits) -> Meter {
    store.limiter(move |state| &mut limits(state).memory);
    let turns = limits(store.data_mut()).turns.clone();
    let meter = Meter { turns: turns.clone() };
    // Epochs that passed in the current turn. Only a guest that runs notices an epoch, so idle time does not count.
    let (mut turn, mut epochs) = (0, 0_u64);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        let now = turns.load(Relaxed);
        epochs = if now == turn { epochs + 1 } else { 0 };
        turn = now;
        if epochs > PATIENCE {
            return Err(wasmtime::format_err!("the component computed for too long without a pause"));
        }
        Ok(UpdateDeadline::Continue(1))
    });
    meter
}

/// Tells a store's limits when the host has its turn.
pub(crate) struct Meter {
    turns: Arc<AtomicU64>,
}

impl Meter {
    /// Counts each poll of what drives the store: between two polls every guest in it has given up its turn.
    pub(crate) fn measure<F: Future>(self, future: F) -> Metered<F> {
        Metered { turns: self.turns, future: Box::pin(future) }
    }
}

/// A future whose polls are counted.
pub(crate) struct Metered<F> {
    turns: Arc<AtomicU64>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.turns.fetch_add(1, Relaxed);
        self.future.as_mut().poll(context)
    }
}
