//! A model's context: what llama.cpp computes in.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Pooling;
#[cfg(not(target_os = "emscripten"))]
use crate::device::RawDevice;
use crate::error::{Error, ModelFault};
use crate::info::ModelClass;
use crate::log;
use crate::model::Model;
use crate::plan::Plan;
#[cfg(not(target_os = "emscripten"))]
use crate::residency::MemoryUse;
use crate::slot::Sight;
use crate::sys;
use crate::vocab::Token;

/// More kinds of memory than any machine's devices have together.
#[cfg(not(target_os = "emscripten"))]
const MEMORY_KINDS: usize = 64;

/// Tokens for one call of [`Context::compute`].
#[derive(Debug, Default)]
pub(crate) struct Batch {
    tokens: Vec<Token>,
    positions: Vec<i32>,
    /// One sequence for each token. Boxed storage of llama.cpp's shape is built from it for each call.
    sequences: Vec<i32>,
    outputs: Vec<i8>,
}

impl Batch {
    /// Adds a token and returns its index, by which its output is found.
    pub(crate) fn push(&mut self, token: Token, position: usize, sequence: usize, output: bool) -> usize {
        self.tokens.push(token);
        self.positions.push(signed(position));
        self.sequences.push(signed(sequence));
        self.outputs.push(i8::from(output));
        self.tokens.len() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens: each with its position, its sequence, and whether there is an output after it.
    #[cfg(test)]
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (Token, i32, i32, bool)> {
        let places = self.positions.iter().zip(&self.sequences).zip(&self.outputs);
        self.tokens
            .iter()
            .zip(places)
            .map(|(token, ((position, sequence), output))| (*token, *position, *sequence, *output != 0))
    }

    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }
}

/// How a computation ended that did not succeed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Everyone who waited for it cancelled.
    Cancelled,
    /// llama.cpp failed, in its own words.
    Broken(String),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Cancelled => Self::Cancelled,
            Failed::Broken(reason) => Self::Internal(format!("the computation failed: {reason}")),
        }
    }
}

/// The context of a model. Belongs to one thread.
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    /// Whose cancelling ends the running computation: all of them. llama.cpp's threads read it through a pointer, so it
    /// keeps its place, and it changes only between computations.
    waiting: NonNull<Vec<Arc<AtomicBool>>>,
    batch_size: usize,
    /// Whether it holds sequences: then tokens are decoded after them, else a batch is all that there is.
    has_memory: bool,
    /// Whether an encoder reads first.
    has_encoder: bool,
    /// What came of the first computation.
    proof: Option<Result<(), String>>,
    /// Freed after the context, and so is the model.
    #[cfg(target_os = "emscripten")]
    _pool: Option<crate::web::Pool>,
    model: Rc<Model>,
}

unsafe extern "C" fn all_cancelled(data: *mut c_void) -> bool {
    // SAFETY: `data` is the `waiting` of a living context, which nobody changes while this can be called.
    let waiting = unsafe { &*data.cast::<Vec<Arc<AtomicBool>>>() };
    !waiting.is_empty() && waiting.iter().all(|cancelled| cancelled.load(Ordering::Relaxed))
}

impl Context {
    pub(crate) fn new(model: Rc<Model>, plan: &Plan) -> Result<Self, Error> {
        let waiting = NonNull::from(Box::leak(Box::new(Vec::new())));
        let mut params = plan.params();
        params.abort_callback = Some(all_cancelled);
        params.abort_callback_data = waiting.as_ptr().cast();
        let mut raw = std::ptr::null_mut();
        log::clear();
        let made = sys::call(|error| {
            // SAFETY: the model is loaded, the params live during the call, and `waiting` until after the context.
            unsafe { sys::sipp_context_new(model.raw(), &params, &mut raw, error) }
        });
        let message = made.err().map(|failure| failure.message).unwrap_or_default();
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: it was leaked above, and no context uses it.
            drop(unsafe { Box::from_raw(waiting.as_ptr()) });
            return Err(context_error(&log::explain(&message)));
        };
        // SAFETY: the context was just made.
        let (batch_size, has_memory) =
            unsafe { (sys::llama_n_batch(raw.as_ptr()) as usize, !sys::llama_get_memory(raw.as_ptr()).is_null()) };
        #[cfg(target_os = "emscripten")]
        let _pool = crate::web::Pool::new(params.n_threads.max(params.n_threads_batch)).inspect(|pool| {
            // SAFETY: the context was just made, and is freed before the pool.
            unsafe { sys::llama_attach_threadpool(raw.as_ptr(), pool.raw(), std::ptr::null_mut()) }
        });
        Ok(Self {
            raw,
            waiting,
            batch_size,
            has_memory,
            has_encoder: model.class() == ModelClass::EncoderDecoder,
            proof: None,
            #[cfg(target_os = "emscripten")]
            _pool,
            model,
        })
    }

    /// Most tokens in one batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// How vectors are pooled.
    pub(crate) fn pooling(&self) -> Pooling {
        // SAFETY: the context is valid for as long as `self`, here and below.
        pooling_from(unsafe { sys::llama_pooling_type(self.raw.as_ptr()) }).unwrap_or(Pooling::None)
    }

    /// The logits at output `index` of the last batch, one for each token of the vocabulary.
    pub(crate) fn logits(&mut self, index: usize) -> Result<&[f32], Error> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        // SAFETY: the context is valid; without such an output there are no logits.
        let logits = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), index) };
        if logits.is_null() {
            return Err(Error::Internal("there are no logits".to_owned()));
        }
        // SAFETY: there is one number for each token, valid until the next computation, for which `self` is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.model.vocab().size() as usize) })
    }

    /// What the context and its model take on each device; of a model without memory, what they would take. `maps` says
    /// whether weights that the CPU reads stay in their file.
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn memory(&self, maps: bool) -> Result<Vec<(RawDevice, MemoryUse)>, Error> {
        let nothing = sys::Memory { device: std::ptr::null_mut(), is_host: false, weights: 0, context: 0, compute: 0 };
        let mut entries = [nothing; MEMORY_KINDS];
        let mut count = 0;
        sys::call(|error| {
            // SAFETY: the context is valid, and there is room for as many entries as are told.
            unsafe { sys::sipp_memory_read(self.raw.as_ptr(), entries.as_mut_ptr(), entries.len(), &mut count, error) }
        })
        .map_err(|failure| Error::Internal(format!("llama.cpp does not tell its memory: {}", failure.message)))?;
        let mut used: Vec<(RawDevice, MemoryUse)> = Vec::new();
        for entry in entries.get(..count).ok_or_else(|| Error::Internal(format!("{count} kinds of memory are used")))? {
            // What is beside the CPU is in its memory.
            let raw = Some(RawDevice(entry.device)).filter(|raw| !raw.0.is_null() && raw.is_gpu());
            let Some(raw) = raw.or_else(RawDevice::cpu) else { continue };
            if !used.iter().any(|(other, _)| *other == raw) {
                let (device, _) = raw.read()?;
                let (device, kind, free) = (device.name, device.kind, device.memory_free);
                used.push((raw, MemoryUse { device, kind, weights: 0, mapped: 0, context: 0, compute: 0, free }));
            }
            if let Some((_, used)) = used.iter_mut().find(|(other, _)| *other == raw) {
                used.weights += entry.weights;
                used.mapped += if maps && entry.is_host { entry.weights } else { 0 };
                used.context += entry.context;
                used.compute += entry.compute;
            }
        }
        Ok(used)
    }

    pub(crate) fn raw(&mut self) -> *mut sys::llama_context {
        self.raw.as_ptr()
    }

    /// Computes a first token, once, on this thread alone, where a failed assertion is an error. A context that fails
    /// it is never computed in again.
    pub(crate) fn prove(&mut self) -> Result<(), Failed> {
        if let Some(proof) = &self.proof {
            return proof.clone().map_err(Failed::Broken);
        }
        let mut batch = Batch::default();
        batch.push(0, 0, 0, true);
        let mut proof = Ok(());
        if self.has_encoder {
            proof = self.compute_with(sys::sipp_probe, &mut batch, None, false);
        }
        if proof.is_ok() {
            proof = self.compute_with(sys::sipp_probe, &mut batch, None, self.has_memory);
        }
        self.proof = Some(match &proof {
            Err(Failed::Broken(reason)) => Err(reason.clone()),
            Ok(()) | Err(Failed::Cancelled) => {
                self.clear();
                Ok(())
            }
        });
        proof
    }

    /// Computes a batch. It ends early when every one of `waiting` is cancelled.
    pub(crate) fn compute(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        self.run(batch, waiting, self.has_memory)
    }

    /// Has the encoder read a batch. What is computed next looks at all of it.
    pub(crate) fn encode(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        self.run(batch, waiting, false)
    }

    /// Computes a part of an image, whose vectors have `length` numbers each. Its output, if there is one, is the last.
    pub(crate) fn look(&mut self, sight: &Sight, length: usize, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        let Sight { vectors, from, count, .. } = sight;
        let values = vectors.values.get(from * length..(from + count) * length).filter(|_| *count <= self.batch_size);
        let values = values.ok_or_else(|| Failed::Broken(format!("{count} vectors were planned")))?;
        self.begin(waiting)?;
        let mut batch = Batch {
            tokens: Vec::new(),
            positions: vectors.positions_of(*from, *count, sight.start),
            sequences: vec![signed(sight.sequence); *count],
            outputs: vec![0; *count],
        };
        if let Some(last) = batch.outputs.last_mut() {
            *last = i8::from(sight.chooses);
        }
        // SAFETY: the context is valid, here and below.
        let set_mutual = |is_mutual: bool| unsafe { sys::llama_set_causal_attn(self.raw.as_ptr(), !is_mutual) };
        if vectors.is_mutual {
            set_mutual(true);
        }
        let done = self.compute_with(sys::sipp_compute, &mut batch, Some(values), true);
        if vectors.is_mutual {
            set_mutual(false);
        }
        done
    }

    /// Takes note of who waits for the computation that comes next.
    fn begin(&mut self, waiting: Vec<Arc<AtomicBool>>) -> Result<(), Failed> {
        self.prove()?;
        // SAFETY: no computation runs, so nobody reads `waiting` now.
        unsafe { *self.waiting.as_mut() = waiting };
        Ok(())
    }

    fn run(&mut self, batch: &mut Batch, waiting: Vec<Arc<AtomicBool>>, decodes: bool) -> Result<(), Failed> {
        if batch.is_empty() || batch.len() > self.batch_size {
            return Err(Failed::Broken(format!("a batch of {} tokens was planned", batch.len())));
        }
        self.begin(waiting)?;
        self.compute_with(sys::sipp_compute, batch, None, decodes)
    }

    /// Computes a batch; with `vectors`, all of them in the place of its tokens, of which it has none then.
    fn compute_with(
        &self,
        compute: sys::Compute,
        batch: &mut Batch,
        vectors: Option<&[f32]>,
        decodes: bool,
    ) -> Result<(), Failed> {
        let mut counts = vec![1i32; batch.sequences.len()];
        let mut sequences: Vec<*mut i32> = batch.sequences.iter_mut().map(std::ptr::from_mut).collect();
        let raw = sys::llama_batch {
            n_tokens: i32::try_from(counts.len()).unwrap_or(0),
            token: if vectors.is_some() { std::ptr::null_mut() } else { batch.tokens.as_mut_ptr() },
            // llama.cpp only reads them.
            embd: vectors.map_or(std::ptr::null_mut(), |vectors| vectors.as_ptr().cast_mut()),
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: batch.outputs.as_mut_ptr(),
        };
        let mut code = 0;
        log::clear();
        sys::call(|error| {
            // SAFETY: the context is valid. Every array has `n_tokens` elements, or four positions for each vector in a
            // grid, and lives during the call.
            unsafe { compute(self.raw.as_ptr(), &raw, decodes, &mut code, error) }
        })
        .map_err(|failure| Failed::Broken(log::explain(&failure.message)))?;
        match code {
            0 => Ok(()),
            2 => Err(Failed::Cancelled),
            1 => Err(Failed::Broken(log::explain("the KV cache has no room for the batch"))),
            code => Err(Failed::Broken(log::explain(&format!("llama.cpp returned {code}")))),
        }
    }

    /// Cuts a sequence to its first `kept` tokens. If that cannot be, it is forgotten whole, and false comes back.
    pub(crate) fn cut_sequence(&mut self, sequence: usize, kept: usize) -> bool {
        let (sequence, kept) = (signed(sequence), signed(kept));
        // SAFETY: the memory is the context's; removing a whole sequence cannot fail.
        self.has_memory
            && unsafe {
                let memory = sys::llama_get_memory(self.raw.as_ptr());
                sys::llama_memory_seq_rm(memory, sequence, kept, -1) || {
                    sys::llama_memory_seq_rm(memory, sequence, -1, -1);
                    false
                }
            }
    }

    /// Whether a sequence holds its tokens from the first on; models with a sliding window drop those behind it.
    pub(crate) fn remembers_from_start(&self, sequence: usize) -> bool {
        // SAFETY: the memory is the context's.
        self.has_memory
            && unsafe { sys::llama_memory_seq_pos_min(sys::llama_get_memory(self.raw.as_ptr()), signed(sequence)) <= 0 }
    }

    /// Makes a sequence a copy of another.
    pub(crate) fn copy_sequence(&mut self, from: usize, to: usize) {
        if self.has_memory {
            // SAFETY: the memory is the context's, and both are sequences of it. What it held goes first.
            unsafe {
                let memory = sys::llama_get_memory(self.raw.as_ptr());
                sys::llama_memory_seq_rm(memory, signed(to), -1, -1);
                sys::llama_memory_seq_cp(memory, signed(from), signed(to), -1, -1);
            }
        }
    }

    /// Removes `count` tokens of a sequence after the first `kept`, and moves those up to `held` in their place.
    pub(crate) fn shift_sequence(&mut self, sequence: usize, kept: usize, count: usize, held: usize) {
        let (sequence, from, to) = (signed(sequence), signed(kept), signed(kept + count));
        // SAFETY: the memory is the context's, and `can_shift` was asked when it was made.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            sys::llama_memory_seq_rm(memory, sequence, from, to);
            sys::llama_memory_seq_add(memory, sequence, to, signed(held), from - to);
        }
    }

    /// Whether tokens can be moved to other positions.
    pub(crate) fn can_shift(&self) -> bool {
        // SAFETY: the memory is the context's.
        self.has_memory && unsafe { sys::llama_memory_can_shift(sys::llama_get_memory(self.raw.as_ptr())) }
    }

    /// The state of a sequence.
    pub(crate) fn save_sequence(&mut self, sequence: usize) -> Option<Vec<u8>> {
        let sequence = signed(sequence);
        // SAFETY: the buffer has the size that llama.cpp asks for.
        let (size, written, state) = unsafe {
            let size = sys::llama_state_seq_get_size(self.raw.as_ptr(), sequence);
            let mut state = vec![0u8; size];
            (size, sys::llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size, sequence), state)
        };
        (written > 0 && written == size).then_some(state)
    }

    /// Gives a sequence a state of [`Self::save_sequence`]. If that fails, it is empty, and false comes back.
    pub(crate) fn restore_sequence(&mut self, sequence: usize, state: &[u8]) -> bool {
        // SAFETY: the buffer has the size that is passed, and it was written by this context.
        let read =
            unsafe { sys::llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), signed(sequence)) };
        if read == 0 {
            self.cut_sequence(sequence, 0);
        }
        read > 0
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if self.has_memory {
            // SAFETY: the memory is the context's.
            unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.raw.as_ptr()), true) };
        }
    }

    /// The pooled vector of a sequence of the last batch.
    pub(crate) fn vector(&self, sequence: usize, length: usize) -> Option<Vec<f32>> {
        let sequence = i32::try_from(sequence).ok()?;
        // SAFETY: pooled vectors have the model's output length, or as many numbers as it has scores; the caller passes
        // that length. The pointer is null if there is no such sequence.
        unsafe {
            let vector = sys::llama_get_embeddings_seq(self.raw.as_ptr(), sequence);
            (!vector.is_null()).then(|| std::slice::from_raw_parts(vector, length).to_vec())
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and `waiting` was leaked for it alone.
        unsafe {
            sys::llama_free(self.raw.as_ptr());
            drop(Box::from_raw(self.waiting.as_ptr()));
        }
    }
}

/// llama.cpp's number for a pooling.
pub(crate) fn pooling_number(pooling: Pooling) -> sys::llama_pooling_type {
    match pooling {
        Pooling::None => sys::LLAMA_POOLING_TYPE_NONE,
        Pooling::Mean => sys::LLAMA_POOLING_TYPE_MEAN,
        Pooling::Cls => sys::LLAMA_POOLING_TYPE_CLS,
        Pooling::Last => sys::LLAMA_POOLING_TYPE_LAST,
        Pooling::Rank => sys::LLAMA_POOLING_TYPE_RANK,
    }
}

/// The pooling of llama.cpp's number, or none for "unspecified".
pub(crate) fn pooling_from(number: sys::llama_pooling_type) -> Option<Pooling> {
    match number {
        sys::LLAMA_POOLING_TYPE_NONE => Some(Pooling::None),
        sys::LLAMA_POOLING_TYPE_MEAN => Some(Pooling::Mean),
        sys::LLAMA_POOLING_TYPE_CLS => Some(Pooling::Cls),
        sys::LLAMA_POOLING_TYPE_LAST => Some(Pooling::Last),
        sys::LLAMA_POOLING_TYPE_RANK => Some(Pooling::Rank),
        _ => None,
    }
}

fn signed(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn context_error(reason: &str) -> Error {
    let out_of_memory = ["allocate", "reserve", "bad_alloc"];
    if out_of_memory.iter().any(|word| reason.contains(word)) {
        let message = format!("the context does not fit into memory; lower n_ctx or n_parallel: {reason}");
        return Error::model(ModelFault::OutOfMemory, message);
    }
    Error::configuration(format!("the context cannot be made: {reason}"))
}
