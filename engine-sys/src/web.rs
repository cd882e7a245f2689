//! The engine for a browser's worker: one model, driven step by step from JavaScript.
//!
//! A page cannot block and has no channels between threads, so nothing here has a thread of its own: the worker that
//! instantiates the module calls every function, asks for a step while there is work, and takes the events that came of
//! it. Only ggml computes on more threads. Texts go in and out as JSON in the shape that jco gives to the contracts'
//! types, so that the host hands its own objects through.

mod threads;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::counters::Tally;
use crate::engine::{Cancel, embed_job, text_job};
use crate::error::Error;
use crate::info::ModelInfo;
use crate::request::{Listener, Outcome, TokenBatch};
use crate::sampling::ModelSampling;
use crate::worker::{Command, Worker};

pub(crate) use threads::{Pool, most as most_threads};
use wire::{EmbedRequest, Event, Failure, Load, Operation, Request, Requested};

thread_local! {
    /// The one model of this module's instance.
    static HOST: RefCell<Host> = RefCell::default();
}

#[derive(Default)]
struct Host {
    model: Option<Model>,
    events: Events,
    /// What a function returned last; JavaScript reads it before its next call.
    returned: Vec<u8>,
}

struct Model {
    worker: Worker,
    info: ModelInfo,
    sampling: ModelSampling,
    tally: Arc<Tally>,
    running: HashMap<u32, Cancel>,
}

/// What happened since JavaScript asked last.
type Events = Rc<RefCell<Vec<Event>>>;

unsafe extern "C" {
    /// Tells the worker how much of a load is done, from 0 to 1. Returns 0 to end it. In `web/library.js`.
    safe fn sipp_web_progress(done: f32) -> i32;
}

/// Memory for a text of `size` bytes that JavaScript writes. Free it with [`sipp_web_free`].
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sipp_web_alloc(size: usize) -> *mut u8 {
    Box::into_raw(vec![0u8; size].into_boxed_slice()).cast()
}

/// Frees memory of [`sipp_web_alloc`].
///
/// # Safety
/// `text` and `size` must be those of one call of [`sipp_web_alloc`], not freed before.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sipp_web_free(text: *mut u8, size: usize) {
    // SAFETY: by this function's contract.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(text, size)) });
}

/// Loads the model that the JSON at `text` names. Blocks. The event that follows says what came of it; returns whether
/// the model is there.
///
/// # Safety
/// `text` must point to `size` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sipp_web_load(text: *const u8, size: usize) -> bool {
    // SAFETY: by this function's contract.
    let loaded = unsafe { read::<Load>(text, size) }.and_then(Model::load);
    HOST.with_borrow_mut(|host| {
        let (model, event) = match loaded {
            Ok(model) => {
                let event = Event::loaded(&model.info);
                (Some(model), event)
            }
            Err(error) => (None, Event::Failed { error: Failure::new(error, Operation::Query) }),
        };
        host.model = model;
        host.events.borrow_mut().push(event);
        host.model.is_some()
    })
}

/// Queues a request for text under the name `call`.
///
/// # Safety
/// `text` must point to `size` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sipp_web_generate(call: u32, text: *const u8, size: usize) {
    // SAFETY: by this function's contract.
    let request = unsafe { read::<Request>(text, size) };
    HOST.with_borrow_mut(|host| {
        let operation = request.as_ref().map_or(Operation::Query, Request::operation);
        let request = request.map(Request::engine_request).map_err(|error| Failure::new(error, operation));
        if let Err(failure) = request.and_then(|request| host.generate(call, operation, request)) {
            host.events.borrow_mut().push(Event::done(call, Err(failure)));
        }
    });
}

/// Queues a request for vectors under the name `call`.
///
/// # Safety
/// `text` must point to `size` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sipp_web_embed(call: u32, text: *const u8, size: usize) {
    // SAFETY: by this function's contract.
    let request = unsafe { read::<EmbedRequest>(text, size) };
    HOST.with_borrow_mut(|host| {
        let request = request.map_err(|error| Failure::new(error, Operation::Embed));
        if let Err(failure) = request.and_then(|request| host.embed(call, request)) {
            host.events.borrow_mut().push(Event::embedded(call, Err(failure)));
        }
    });
}

/// Cancels a call, at the latest before its next token. Nothing happens if it has ended.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sipp_web_cancel(call: u32) {
    HOST.with_borrow(|host| {
        if let Some(cancel) = host.model.as_ref().and_then(|model| model.running.get(&call)) {
            cancel.cancel();
        }
    });
}

/// Does a bounded piece of work. Returns whether there is more.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sipp_web_step() -> bool {
    HOST.with_borrow_mut(|host| host.model.as_mut().is_some_and(|model| model.worker.step()))
}

/// Takes the events since the last time, as a JSON array. It lies at the returned address until the next call, and `size`
/// becomes its length; 0 when there are none.
///
/// # Safety
/// `size` must be writable.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sipp_web_events(size: *mut usize) -> *const u8 {
    HOST.with_borrow_mut(|host| {
        let events = std::mem::take(&mut *host.events.borrow_mut());
        if let Some(model) = &mut host.model {
            for call in events.iter().filter_map(Event::ended) {
                model.running.remove(&call);
            }
        }
        let text = if events.is_empty() { Vec::new() } else { json(&events) };
        // SAFETY: by this function's contract.
        unsafe { host.returns(text, size) }
    })
}

/// Ends everything that runs and gives the model's memory back to the module.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sipp_web_close() {
    // Replies are heard while the model ends, and they write events.
    let model = HOST.with_borrow_mut(|host| host.model.take());
    if let Some(mut model) = model {
        model.worker.close();
    }
}

impl Host {
    fn generate(&mut self, call: u32, operation: Operation, requested: Requested) -> Result<(), Failure> {
        let events = Rc::clone(&self.events);
        let model = self.model.as_mut().ok_or_else(not_loaded)?;
        let listener = Relay { call, operation, request_id: requested.request_id, events: Local(events) };
        let (job, cancel) = text_job(&model.info, &model.sampling, &model.tally, requested.request, Box::new(listener))
            .map_err(|error| Failure::new(error, operation))?;
        model.submit(call, cancel, Command::Generate(Box::new(job)));
        Ok(())
    }

    fn embed(&mut self, call: u32, request: EmbedRequest) -> Result<(), Failure> {
        let events = Local(Rc::clone(&self.events));
        let model = self.model.as_mut().ok_or_else(not_loaded)?;
        let (request, request_id) = request.engine_request();
        let done = move |result| {
            let result = wire::embedding(result, request_id);
            events.get().borrow_mut().push(Event::embedded(call, result));
        };
        let (job, cancel) = embed_job(&model.info, &model.tally, request, Box::new(done))
            .map_err(|error| Failure::new(error, Operation::Embed))?;
        model.submit(call, cancel, Command::Embed(job));
        Ok(())
    }

    /// Keeps a text for JavaScript to read.
    ///
    /// # Safety
    /// `size` must be writable.
    unsafe fn returns(&mut self, text: Vec<u8>, size: *mut usize) -> *const u8 {
        self.returned = text;
        // SAFETY: by this function's contract.
        unsafe { size.write(self.returned.len()) };
        self.returned.as_ptr()
    }
}

impl Model {
    fn load(load: Load) -> Result<Self, Error> {
        threads::allow(load.threads);
        let mut progress =
            |done| if sipp_web_progress(done) == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let tally = Arc::new(Tally::default());
        let (worker, info, sampling) = Worker::load(&load.config(), &mut progress, Arc::clone(&tally))?;
        Ok(Self { worker, info, sampling, tally, running: HashMap::new() })
    }

    fn submit(&mut self, call: u32, cancel: Cancel, command: Command) {
        self.running.insert(call, cancel);
        // Only `Command::Stop` breaks.
        let _ = self.worker.submit(command);
    }
}

/// Events in a listener, which must be `Send` for hosts that have threads.
struct Local(Events);

// SAFETY: every function of this module runs on the worker's one thread; see the module's documentation.
unsafe impl Send for Local {}

impl Local {
    /// The events. A method, so that a closure takes the whole of `self` and not the part that is not `Send`.
    fn get(&self) -> &Events {
        &self.0
    }
}

/// Carries what the engine says into the events.
struct Relay {
    call: u32,
    operation: Operation,
    request_id: Option<String>,
    events: Local,
}

impl Listener for Relay {
    fn tokens(&mut self, batch: TokenBatch) -> ControlFlow<()> {
        wire::push(&mut self.events.get().borrow_mut(), self.call, batch);
        ControlFlow::Continue(())
    }

    fn done(self: Box<Self>, result: Result<Outcome, Error>) {
        let Self { call, operation, request_id, events } = *self;
        let result = wire::outcome(result, operation, request_id);
        events.get().borrow_mut().push(Event::done(call, result));
    }
}

fn not_loaded() -> Failure {
    Failure::new(Error::Internal("there is no model; load one first".to_owned()), Operation::Query)
}

/// Reads JSON that this package's own worker wrote.
///
/// # Safety
/// `text` must point to `size` bytes.
unsafe fn read<T: DeserializeOwned>(text: *const u8, size: usize) -> Result<T, Error> {
    // SAFETY: by this function's contract.
    let text = unsafe { std::slice::from_raw_parts(text, size) };
    serde_json::from_slice(text).map_err(|error| Error::Internal(format!("the worker's text cannot be read: {error}")))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Nothing that is written here has keys that are no texts, the one thing that JSON cannot hold.
    serde_json::to_vec(value).unwrap_or_default()
}
