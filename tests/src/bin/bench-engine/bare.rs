//! The limit: one sequence, the library's own calls, and nothing around them.

#![allow(unsafe_code, reason = "it calls the library that the engine calls")]

use std::ffi::CString;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, ensure};
use llama_cpp_sys_2 as sys;

use crate::streams::{Asked, CONTEXT, Seen, Way};

/// Tokens in one call, as the engine's default.
const BATCH: usize = 2048;

pub(crate) struct Bare(Mutex<Raw>);

struct Raw {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    sampler: *mut sys::llama_sampler,
}

// SAFETY: the library's objects may move between threads; the lock has one thread use them at a time.
unsafe impl Send for Raw {}

impl Bare {
    pub(crate) fn load(model: &Path, threads: u32) -> Result<Self> {
        let path = CString::new(model.to_string_lossy().as_bytes())?;
        let threads = i32::try_from(threads)?;
        // SAFETY: the parameters live during the calls, and what was made is checked before it is used.
        unsafe {
            let model = sys::llama_model_load_from_file(path.as_ptr(), sys::llama_model_default_params());
            ensure!(!model.is_null(), "the model does not load");
            let mut params = sys::llama_context_default_params();
            params.n_ctx = CONTEXT;
            params.n_batch = u32::try_from(BATCH)?;
            params.n_threads = threads;
            params.n_threads_batch = threads;
            params.no_perf = true;
            let context = sys::llama_init_from_model(model, params);
            ensure!(!context.is_null(), "the context cannot be made");
            Ok(Self(Mutex::new(Raw { model, context, sampler: sys::llama_sampler_init_greedy() })))
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: all three are ours, and nothing uses them afterwards.
        unsafe {
            sys::llama_sampler_free(self.sampler);
            sys::llama_free(self.context);
            sys::llama_model_free(self.model);
        }
    }
}

impl Raw {
    fn tokenize(&self, text: &str) -> Result<Vec<sys::llama_token>> {
        let mut tokens = vec![0; text.len() + 2];
        let (size, capacity) = (i32::try_from(text.len())?, i32::try_from(tokens.len())?);
        // SAFETY: the text has `size` bytes, and there is room for `capacity` tokens.
        let count = unsafe {
            let vocab = sys::llama_model_get_vocab(self.model);
            sys::llama_tokenize(vocab, text.as_ptr().cast(), size, tokens.as_mut_ptr(), capacity, true, false)
        };
        tokens.truncate(usize::try_from(count)?);
        Ok(tokens)
    }

    fn decode(&self, tokens: &mut [sys::llama_token]) -> Result<()> {
        // SAFETY: the tokens live during the call.
        let code = unsafe {
            let batch = sys::llama_batch_get_one(tokens.as_mut_ptr(), i32::try_from(tokens.len())?);
            sys::llama_decode(self.context, batch)
        };
        ensure!(code == 0, "llama_decode returned {code}");
        Ok(())
    }
}

impl Way for Bare {
    fn answer(&self, asked: &Asked) -> Result<Seen> {
        let Ok(raw) = self.0.lock() else { anyhow::bail!("a thread failed") };
        let sent = Instant::now();
        // SAFETY: the context is ours.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(raw.context), false) };
        let mut prompt = raw.tokenize(&asked.prompt)?;
        let read = u32::try_from(prompt.len())?;
        for chunk in prompt.chunks_mut(BATCH) {
            raw.decode(chunk)?;
        }
        let mut tokens = Vec::new();
        loop {
            // SAFETY: the last computation left an output.
            let mut token = unsafe { sys::llama_sampler_sample(raw.sampler, raw.context, -1) };
            tokens.push(Instant::now());
            if tokens.len() == asked.tokens as usize {
                return Ok(Seen { read, sent, tokens });
            }
            raw.decode(std::slice::from_mut(&mut token))?;
        }
    }

    fn memory(&self) -> Option<u64> {
        None
    }
}
