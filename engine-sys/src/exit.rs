//! Ends engines before the process does.
//!
//! When a process exits, C++ takes llama.cpp's global objects down. A thread that computes meanwhile would crash the
//! process, whose exit code would then be lost. So the exit first stops every engine, which takes a token's time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How long an exit waits for engines. Longer than a token of a big model, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// Engines whose threads may be running.
static ENGINES: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

struct Watched {
    thread: ThreadId,
    stop: Box<dyn Fn() + Send>,
    ended: Receiver<()>,
}

impl Watched {
    fn is_running(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Empty))
    }
}

/// Held by an engine's thread for as long as it runs.
pub(crate) struct Running(Sender<()>);

/// What tells that a thread has ended.
pub(crate) struct Ended(Receiver<()>);

/// The two ends of a thread's life.
pub(crate) fn life() -> (Running, Ended) {
    let (running, ended) = channel();
    (Running(running), Ended(ended))
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody listens, unless the process is about to end.
        let _ = self.0.send(());
    }
}

/// Has the exit of the process wait for a thread. `stop` tells the thread to end.
///
/// It must be called when the model is loaded: exit takes down in reverse order what was set up, and llama.cpp sets its
/// global objects up while it loads.
pub(crate) fn wait_for(thread: ThreadId, ended: Ended, stop: impl Fn() + Send + 'static) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: `end_all` is a function without arguments that does not unwind. A failure leaves exits as they were.
        let _ = unsafe { atexit(end_all) };
    });
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(Watched::is_running);
    engines.push(Watched { thread, stop: Box::new(stop), ended: ended.0 });
}

unsafe extern "C" {
    fn atexit(callback: extern "C" fn()) -> std::ffi::c_int;
}

extern "C" fn end_all() {
    let engines = std::mem::take(&mut *ENGINES.lock().unwrap_or_else(PoisonError::into_inner));
    for engine in &engines {
        (engine.stop)();
    }
    let until = Instant::now() + PATIENCE;
    for engine in &engines {
        // A listener may end the process; its own thread cannot wait for itself.
        if engine.thread == thread::current().id() {
            continue;
        }
        let rest = until.saturating_duration_since(Instant::now());
        if let Err(RecvTimeoutError::Timeout) = engine.ended.recv_timeout(rest) {
            return;
        }
    }
}
