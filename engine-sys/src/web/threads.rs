//! The threads that ggml computes on in a worker.
//!
//! A worker cannot start a thread and wait for it: the thread begins only when the worker returns to its event loop. So
//! the module is instantiated with all the threads that it may use, and ggml gets a pool of them that stays, instead of
//! threads of its own for every computation.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// Threads of this instance, the worker's own among them.
static MOST: AtomicU32 = AtomicU32::new(1);

/// Says how many threads the module was instantiated with.
pub(super) fn allow(threads: u32) {
    MOST.store(threads.max(1), Ordering::Relaxed);
}

/// Most threads that can compute.
pub(crate) fn most() -> u32 {
    MOST.load(Ordering::Relaxed)
}

/// Threads that wait between computations.
pub(crate) struct Pool(NonNull<sys::ggml_threadpool>);

impl Pool {
    /// A pool of so many threads, the caller's among them; none where one is enough.
    pub(crate) fn new(threads: i32) -> Option<Self> {
        if threads < 2 {
            return None;
        }
        // SAFETY: functions that fill a struct and read it.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(threads);
            sys::ggml_threadpool_new(&raw mut params)
        };
        NonNull::new(pool).map(Self)
    }

    pub(crate) fn raw(&self) -> *mut sys::ggml_threadpool {
        self.0.as_ptr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and freed after the context that it was attached to.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) }
    }
}
