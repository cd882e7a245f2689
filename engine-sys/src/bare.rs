//! One sequence and llama.cpp's own calls with nothing around them: the limit that the engine is measured against.

use std::ffi::CString;
use std::path::Path;

use crate::error::Error;
use crate::sys;

/// Tokens in one call, as the engine's default.
const BATCH: u32 = 2048;

/// A model and a context of its own.
#[derive(Debug)]
pub struct Bare {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    sampler: *mut sys::llama_sampler,
}

// SAFETY: llama.cpp's objects may move between threads, and every call needs the only reference.
unsafe impl Send for Bare {}

impl Bare {
    /// Loads a model with llama.cpp's defaults, but for the tokens of its context and the threads.
    ///
    /// # Errors
    /// [`Error::Internal`] if llama.cpp does not load it.
    pub fn load(model: &Path, context: u32, threads: u32) -> Result<Self, Error> {
        let path = CString::new(model.to_string_lossy().as_bytes())
            .map_err(|_| Error::configuration("the path has a zero byte"))?;
        let threads = i32::try_from(threads).unwrap_or(1);
        // SAFETY: the parameters live during the calls, and what was made is checked before it is used.
        unsafe {
            let model = sys::llama_model_load_from_file(path.as_ptr(), sys::llama_model_default_params());
            if model.is_null() {
                return Err(Error::Internal("the model does not load".to_owned()));
            }
            let mut params = sys::llama_context_default_params();
            params.n_ctx = context;
            params.n_batch = BATCH;
            params.n_threads = threads;
            params.n_threads_batch = threads;
            params.no_perf = true;
            let context = sys::llama_init_from_model(model, params);
            if context.is_null() {
                sys::llama_model_free(model);
                return Err(Error::Internal("the context cannot be made".to_owned()));
            }
            Ok(Self { model, context, sampler: sys::llama_sampler_init_greedy() })
        }
    }

    /// Continues a prompt by `tokens` likeliest tokens, and calls `chosen` after each. Returns the tokens of the prompt.
    ///
    /// # Errors
    /// [`Error::Internal`] if llama.cpp fails, as it does when the context is full.
    pub fn answer(&mut self, prompt: &str, tokens: u32, mut chosen: impl FnMut()) -> Result<u32, Error> {
        // SAFETY: the context is ours.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context), false) };
        let mut prompt = self.tokenize(prompt)?;
        for chunk in prompt.chunks_mut(BATCH as usize) {
            self.decode(chunk)?;
        }
        for written in 1..=tokens {
            // SAFETY: the last computation left an output.
            let mut token = unsafe { sys::llama_sampler_sample(self.sampler, self.context, -1) };
            chosen();
            if written < tokens {
                self.decode(std::slice::from_mut(&mut token))?;
            }
        }
        Ok(u32::try_from(prompt.len()).unwrap_or(u32::MAX))
    }

    fn tokenize(&self, text: &str) -> Result<Vec<sys::llama_token>, Error> {
        let mut tokens = vec![0; text.len() + 2];
        let [size, capacity] = [text.len(), tokens.len()].map(|length| i32::try_from(length).unwrap_or(0));
        // SAFETY: the text has `size` bytes, and there is room for `capacity` tokens.
        let count = unsafe {
            let vocab = sys::llama_model_get_vocab(self.model);
            sys::llama_tokenize(vocab, text.as_ptr().cast(), size, tokens.as_mut_ptr(), capacity, true, false)
        };
        tokens
            .truncate(usize::try_from(count).map_err(|_| Error::Internal("the text has too many tokens".to_owned()))?);
        Ok(tokens)
    }

    fn decode(&mut self, tokens: &mut [sys::llama_token]) -> Result<(), Error> {
        // SAFETY: the tokens live during the call.
        let code = unsafe {
            let batch = sys::llama_batch_get_one(tokens.as_mut_ptr(), i32::try_from(tokens.len()).unwrap_or(0));
            sys::llama_decode(self.context, batch)
        };
        if code == 0 { Ok(()) } else { Err(Error::Internal(format!("llama_decode returned {code}"))) }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: all three are ours, and nothing uses them afterwards.
        unsafe {
            sys::llama_sampler_free(self.sampler);
            sys::llama_free(self.context);
            sys::llama_model_free(self.model);
        }
    }
}
