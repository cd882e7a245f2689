//! A model file in memory.

use std::ffi::{CString, c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;

use crate::error::{Error, ModelFault};
use crate::gguf;
use crate::info::ModelClass;
use crate::log;
use crate::placement::Place;
#[cfg(not(target_os = "emscripten"))]
use crate::residency::Lease;
use crate::sys;
use crate::vocab::{Token, Vocab};

/// Reports how much of a load is done, from 0 to 1, and may end it.
pub(crate) type Progress = dyn FnMut(f32) -> ControlFlow<()>;

/// Architectures that read texts and write none. llama.cpp has no function that tells them.
const ENCODERS: [&str; 10] = [
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "t5encoder",
];

/// A loaded model; its weights unless it was read for its metadata only.
pub(crate) struct Model {
    raw: NonNull<sys::llama_model>,
    vocab: Vocab,
    architecture: String,
    /// Given back after the weights are freed.
    #[cfg(not(target_os = "emscripten"))]
    _leases: Vec<Lease>,
}

struct Load<'a> {
    progress: &'a mut Progress,
    ended: bool,
}

unsafe extern "C" fn on_progress(done: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` is the `Load` that `Model::load` passed with this callback, borrowed by nobody else meanwhile.
    let load = unsafe { &mut *data.cast::<Load<'_>>() };
    // A panic must not unwind into C; it ends the load.
    let flow = catch_unwind(AssertUnwindSafe(|| (load.progress)(done))).unwrap_or(ControlFlow::Break(()));
    load.ended |= flow.is_break();
    flow.is_continue()
}

impl Model {
    /// Loads a file with its weights.
    pub(crate) fn load(path: &Path, place: &Place, progress: &mut Progress) -> Result<Self, Error> {
        log::start();
        let mut params = place.params();
        let mut load = Load { progress, ended: false };
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut load).cast();
        let model = Self::open(path, &params);
        if load.ended { Err(Error::Cancelled) } else { model }
    }

    /// Reads a file without its weights. Contexts of it take no memory either.
    pub(crate) fn read_metadata(path: &Path, place: &Place) -> Result<Self, Error> {
        log::start();
        let mut params = place.params();
        params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
        params.check_tensors = false;
        // Not `vocab_only`, which skips the lengths too.
        params.no_alloc = true;
        Self::open(path, &params)
    }

    /// Keeps leases for as long as the model lives.
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn keep(&mut self, leases: Vec<Lease>) {
        self._leases = leases;
    }

    fn open(path: &Path, params: &sys::llama_model_params) -> Result<Self, Error> {
        let header = gguf::check(path)?;
        let c_path = path
            .to_str()
            .and_then(|path| CString::new(path).ok())
            .ok_or_else(|| Error::configuration(format!("the path {} is not valid UTF-8", path.display())))?;
        log::clear();
        let mut raw = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: path and params live during the call, and so does what the params point to; llama.cpp copies what it
            // needs later.
            unsafe { sys::sipp_model_load(c_path.as_ptr(), params, &mut raw, error) }
        })
        .map_err(|failure| load_error(path, &header.architecture, &log::explain(&failure.message)))?;
        let raw = NonNull::new(raw).ok_or_else(|| load_error(path, &header.architecture, &log::explain("")))?;
        let unready = ModelGuard(raw);
        // SAFETY: the model is loaded; its vocabulary lives as long as it does, and both go into one `Model`.
        let vocab = NonNull::new(unsafe { sys::llama_model_get_vocab(raw.as_ptr()) }.cast_mut())
            .ok_or_else(|| Error::Internal("the model has no vocabulary".to_owned()))
            .and_then(|vocab| unsafe { Vocab::new(vocab) }.map_err(|what| corrupt(path, &what)))?;
        std::mem::forget(unready);
        Ok(Self {
            raw,
            vocab,
            architecture: header.architecture,
            #[cfg(not(target_os = "emscripten"))]
            _leases: Vec::new(),
        })
    }

    pub(crate) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    pub(crate) fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    pub(crate) fn architecture(&self) -> &str {
        &self.architecture
    }

    pub(crate) fn class(&self) -> ModelClass {
        // SAFETY: the model is valid for as long as `self`, here and below.
        let (encoder, decoder) =
            unsafe { (sys::llama_model_has_encoder(self.raw()), sys::llama_model_has_decoder(self.raw())) };
        if ENCODERS.contains(&self.architecture.as_str()) || !decoder {
            ModelClass::EncoderOnly
        } else if encoder {
            ModelClass::EncoderDecoder
        } else {
            ModelClass::DecoderOnly
        }
    }

    /// The token that every answer begins with; none of a model that continues its prompt.
    pub(crate) fn answer_start(&self) -> Option<Token> {
        (self.class() == ModelClass::EncoderDecoder).then(|| {
            // SAFETY: see `class`.
            let start = unsafe { sys::llama_model_decoder_start_token(self.raw()) };
            // Files without the key mean the beginning of a text, and T5's tokenisers, which have none, the padding 0.
            if self.vocab.contains(start) { start } else { self.vocab.beginning().unwrap_or(0) }
        })
    }

    /// Whether it fills a text in rather than continuing it.
    pub(crate) fn is_diffusion(&self) -> bool {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_is_diffusion(self.raw()) }
    }

    /// Whether it remembers a state instead of every token, and so cannot go back to an earlier one.
    pub(crate) fn is_recurrent(&self) -> bool {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_is_recurrent(self.raw()) || sys::llama_model_is_hybrid(self.raw()) }
    }

    /// Whether every token of a sequence stays in memory until it is removed.
    pub(crate) fn remembers_all(&self) -> bool {
        // SAFETY: see `class`.
        !self.is_recurrent() && unsafe { sys::llama_model_n_swa(self.raw()) } == 0
    }

    /// Whether tokens behind a window drop out of some layers' memory.
    pub(crate) fn has_window(&self) -> bool {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_n_swa(self.raw()) > 0 }
    }

    /// Whether positions are rotated into vectors.
    pub(crate) fn has_rope(&self) -> bool {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_rope_type(self.raw()) != sys::LLAMA_ROPE_TYPE_NONE }
    }

    /// The factor of the rotary frequencies that the model was trained with.
    pub(crate) fn rope_freq_scale(&self) -> f32 {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_rope_freq_scale_train(self.raw()) }
    }

    pub(crate) fn context_length(&self) -> u32 {
        // SAFETY: see `class`.
        positive(unsafe { sys::llama_model_n_ctx_train(self.raw()) })
    }

    pub(crate) fn embedding_length(&self) -> u32 {
        // SAFETY: see `class`.
        positive(unsafe { sys::llama_model_n_embd(self.raw()) })
    }

    /// Numbers in a vector that goes in.
    pub(crate) fn input_length(&self) -> u32 {
        // SAFETY: see `class`.
        positive(unsafe { sys::llama_model_n_embd_inp(self.raw()) })
    }

    /// Numbers in a vector that comes out, which some models project to another length.
    pub(crate) fn output_length(&self) -> u32 {
        // SAFETY: see `class`.
        positive(unsafe { sys::llama_model_n_embd_out(self.raw()) })
    }

    /// Scores of the classification head.
    pub(crate) fn scores(&self) -> u32 {
        // SAFETY: see `class`; without a classification head the number is 0 or 1.
        unsafe { sys::llama_model_n_cls_out(self.raw()) }
    }

    pub(crate) fn layers(&self) -> u32 {
        // SAFETY: see `class`.
        positive(unsafe { sys::llama_model_n_layer(self.raw()) })
    }

    pub(crate) fn parameters(&self) -> u64 {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_n_params(self.raw()) }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        // SAFETY: see `class`.
        unsafe { sys::llama_model_size(self.raw()) }
    }

    pub(crate) fn quantization(&self) -> String {
        // SAFETY: see `class`; the name is a constant of llama.cpp.
        unsafe { sys::text(sys::llama_ftype_name(sys::llama_model_ftype(self.raw()))) }.unwrap_or_default()
    }

    pub(crate) fn chat_template(&self) -> Option<String> {
        // SAFETY: see `class`; the template lives as long as the model.
        unsafe { sys::text(sys::llama_model_chat_template(self.raw(), std::ptr::null())) }
    }

    /// How a query and a text are put together for a score, with `{query}` and `{document}` in it.
    pub(crate) fn rerank_template(&self) -> Option<String> {
        // SAFETY: see `class`; the template lives as long as the model, and the name ends with a zero byte.
        unsafe { sys::text(sys::llama_model_chat_template(self.raw(), c"rerank".as_ptr())) }
    }

    pub(crate) fn description(&self) -> String {
        self.written(|buffer, size| {
            // SAFETY: see `class`; the buffer has `size` bytes.
            unsafe { sys::llama_model_desc(self.raw(), buffer, size) }
        })
        .unwrap_or_default()
    }

    /// A metadata value as text.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        self.written(|buffer, size| {
            // SAFETY: see `class`; the buffer has `size` bytes and the key ends with a zero byte.
            unsafe { sys::llama_model_meta_val_str(self.raw(), key.as_ptr(), buffer, size) }
        })
    }

    /// Runs a function of llama.cpp that writes a text and returns its length, or a negative number.
    fn written(&self, write: impl Fn(*mut c_char, usize) -> i32) -> Option<String> {
        let mut buffer = vec![0u8; 1024];
        let mut length = usize::try_from(write(buffer.as_mut_ptr().cast(), buffer.len())).ok()?;
        if length >= buffer.len() {
            buffer.resize(length + 1, 0);
            length = usize::try_from(write(buffer.as_mut_ptr().cast(), buffer.len())).ok()?;
        }
        buffer.truncate(length);
        Some(String::from_utf8_lossy(&buffer).into_owned())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        drop(ModelGuard(self.raw));
    }
}

/// Frees a model.
struct ModelGuard(NonNull<sys::llama_model>);

impl Drop for ModelGuard {
    fn drop(&mut self) {
        // SAFETY: whoever holds the guard owns the model, and nothing uses it afterwards.
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

fn load_error(path: &Path, architecture: &str, reason: &str) -> Error {
    if reason.contains("unknown model architecture") {
        let name = path.display();
        let message =
            format!("{name} has the architecture `{architecture}`, which this version of llama.cpp does not know");
        return Error::model(ModelFault::UnsupportedArchitecture, message);
    }
    let out_of_memory = ["unable to allocate", "failed to allocate", "bad_alloc", "out of memory"];
    if out_of_memory.iter().any(|words| reason.contains(words)) {
        let message = format!("{} does not fit into memory: {reason}", path.display());
        return Error::model(ModelFault::OutOfMemory, message);
    }
    corrupt(path, reason)
}

fn corrupt(path: &Path, reason: &str) -> Error {
    // llama.cpp's last line says what the caller says here.
    let reason = reason.trim_end_matches("; failed to load model");
    Error::model(ModelFault::Corrupt, format!("{} cannot be loaded: {reason}", path.display()))
}

fn positive(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
