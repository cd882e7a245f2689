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
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use crate::Error;
use crate::tuning;

/// How long one epoch lasts.
const EPOCH: Duration = Duration::from_millis(50);

/// Epochs that a guest may compute without giving the host its turn: 2 seconds.
const PATIENCE: u64 = 40;

static CLIENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/client.cwasm"));

/// The engine of this process. It is made at first use, and lives as long as the process.
pub(crate) fn engine() -> Result<&'static Engine, Error> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let engine = Engine::new(&tuning::config()).map_err(|error| format!("cannot run components: {error:#}"))?;
        count_epochs(&engine).map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(engine)
    });
    engine.as_ref().map_err(|message| Error::Internal(message.clone()))
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

/// The client component, compiled when this library was.
pub(crate) fn client() -> Result<&'static Component, Error> {
    static COMPONENT: OnceLock<Result<Component, String>> = OnceLock::new();
    let engine = engine()?;
    let component = COMPONENT.get_or_init(|| precompiled(engine).map_err(|error| format!("{error:#}")));
    component.as_ref().map_err(|message| Error::Internal(format!("cannot load the client component: {message}")))
}

#[expect(
    unsafe_code,
    reason = "loading compiled code cannot be checked; this code comes from this crate's build script"
)]
fn precompiled(engine: &Engine) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `precompile_component` returned in build.rs, and are constant in this program.
    unsafe { Component::deserialize(engine, CLIENT) }
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
