//! The C interfaces: llama.cpp's own, and the bridge in `bridge/` for what would throw.

pub(crate) use llama_cpp_sys_2::*;

use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// A status of the bridge: `enum sipp_status` in `bridge/guard.h`.
pub(crate) type Status = c_int;
pub(crate) const OK: Status = 0;
pub(crate) const NO_CANDIDATE: Status = 3;
pub(crate) const UNSUPPORTED: Status = 4;

/// Where a bridge function leaves its message: `struct sipp_error` in `bridge/guard.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ErrorBuffer {
    text: *mut c_char,
    size: usize,
}

/// `struct sipp_device` in `bridge/device.h`.
#[repr(C)]
pub(crate) struct Device {
    pub(crate) name: *const c_char,
    pub(crate) description: *const c_char,
    pub(crate) backend: *const c_char,
    pub(crate) id: *const c_char,
    pub(crate) kind: i32,
    pub(crate) memory_free: u64,
    pub(crate) memory_total: u64,
}

impl Default for Device {
    fn default() -> Self {
        let none = std::ptr::null();
        Self { name: none, description: none, backend: none, id: none, kind: 0, memory_free: 0, memory_total: 0 }
    }
}

/// `struct sipp_memory` in `bridge/device.h`.
#[cfg(not(target_os = "emscripten"))]
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) device: ggml_backend_dev_t,
    pub(crate) is_host: bool,
    pub(crate) weights: u64,
    pub(crate) context: u64,
    pub(crate) compute: u64,
}

/// `struct sipp_message` in `bridge/template.h`.
#[repr(C)]
pub(crate) struct Message {
    pub(crate) role: *const c_char,
    pub(crate) content: *const c_char,
    pub(crate) content_size: usize,
}

/// `struct sipp_part` in `bridge/template.h`.
#[repr(C)]
pub(crate) struct Part {
    pub(crate) text: *const c_char,
    pub(crate) size: usize,
    pub(crate) is_input: bool,
}

/// The bridge's sampler chain; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Sampler {
    _private: [u8; 0],
}

/// The bridge's chat template; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Template {
    _private: [u8; 0],
}

/// The bridge's rendered conversation; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Rendering {
    _private: [u8; 0],
}

/// The bridge's prepared conversation; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Chat {
    _private: [u8; 0],
}

/// The bridge's projector; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Projector {
    _private: [u8; 0],
}

/// The bridge's image, cut to pieces; only ever behind a pointer.
#[repr(C)]
pub(crate) struct Image {
    _private: [u8; 0],
}

/// `struct sipp_projector_options` in `bridge/vision.h`.
#[repr(C)]
pub(crate) struct ProjectorOptions {
    pub(crate) use_gpu: bool,
    pub(crate) flash_attention: llama_flash_attn_type,
    pub(crate) threads: i32,
    pub(crate) fewest: i32,
    pub(crate) most: i32,
    pub(crate) goes_on: unsafe extern "C" fn(*mut c_void) -> bool,
    pub(crate) data: *mut c_void,
}

/// `struct sipp_piece` in `bridge/vision.h`.
#[repr(C)]
pub(crate) struct Piece {
    pub(crate) tokens: *const llama_token,
    pub(crate) count: usize,
    pub(crate) positions: usize,
    pub(crate) is_mutual: bool,
}

/// What computes a batch: `sipp_compute` or `sipp_probe`.
pub(crate) type Compute =
    unsafe extern "C" fn(*mut llama_context, *const llama_batch, bool, *mut i32, ErrorBuffer) -> Status;

unsafe extern "C" {
    pub(crate) fn sipp_model_load(
        path: *const c_char,
        params: *const llama_model_params,
        model: *mut *mut llama_model,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_context_new(
        model: *mut llama_model,
        params: *const llama_context_params,
        context: *mut *mut llama_context,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_tokenize(
        vocab: *const llama_vocab,
        text: *const c_char,
        size: i32,
        add_special: bool,
        parse_special: bool,
        tokens: *mut llama_token,
        capacity: i32,
        count: *mut i32,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_compute(
        context: *mut llama_context,
        batch: *const llama_batch,
        has_memory: bool,
        code: *mut i32,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_probe(
        context: *mut llama_context,
        batch: *const llama_batch,
        has_memory: bool,
        code: *mut i32,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_schema_to_grammar(
        schema: *const c_char,
        size: usize,
        grammar: *mut *mut c_char,
        error: ErrorBuffer,
    ) -> Status;
    fn sipp_text_free(text: *mut c_char);
    pub(crate) fn sipp_grammar_new(
        vocab: *const llama_vocab,
        grammar: *const c_char,
        sampler: *mut *mut llama_sampler,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_sampler_new(
        constraints: *mut llama_sampler,
        choice: *mut llama_sampler,
        vocabulary: i32,
        sampler: *mut *mut Sampler,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_sampler_free(sampler: *mut Sampler);
    pub(crate) fn sipp_sampler_observe(sampler: *mut Sampler, token: llama_token, error: ErrorBuffer) -> Status;
    pub(crate) fn sipp_sampler_sample(
        sampler: *mut Sampler,
        context: *mut llama_context,
        index: i32,
        token: *mut llama_token,
        error: ErrorBuffer,
    ) -> Status;
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn sipp_physical_cores() -> i32;
    pub(crate) fn sipp_start();

    pub(crate) fn sipp_device_read(device: ggml_backend_dev_t, read: *mut Device, error: ErrorBuffer) -> Status;
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn sipp_memory_read(
        context: *const llama_context,
        entries: *mut Memory,
        capacity: usize,
        count: *mut usize,
        error: ErrorBuffer,
    ) -> Status;

    pub(crate) fn sipp_template_new(model: *const llama_model, out: *mut *mut Template, error: ErrorBuffer) -> Status;
    pub(crate) fn sipp_template_free(template: *mut Template);
    pub(crate) fn sipp_template_renders_tools(template: *const Template) -> bool;
    pub(crate) fn sipp_template_renders_calls(template: *const Template) -> bool;
    pub(crate) fn sipp_template_render(
        template: *const Template,
        messages: *const Message,
        count: usize,
        out: *mut *mut Rendering,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_rendering_size(rendering: *const Rendering) -> usize;
    pub(crate) fn sipp_rendering_part(rendering: *const Rendering, index: usize) -> Part;
    pub(crate) fn sipp_rendering_free(rendering: *mut Rendering);

    pub(crate) fn sipp_template_is_plain(template: *const Template) -> bool;
    pub(crate) fn sipp_chat_new(
        template: *const Template,
        vocab: *const llama_vocab,
        request: *const c_char,
        size: usize,
        out: *mut *mut Chat,
        facts: *mut *mut c_char,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_chat_free(chat: *mut Chat);
    pub(crate) fn sipp_chat_grammar(
        chat: *const Chat,
        vocab: *const llama_vocab,
        sampler: *mut *mut llama_sampler,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_chat_read(
        chat: *const Chat,
        text: *const c_char,
        size: usize,
        is_partial: bool,
        reading: *mut *mut c_char,
        error: ErrorBuffer,
    ) -> Status;

    pub(crate) fn sipp_projector_new(
        path: *const c_char,
        model: *const llama_model,
        options: *const ProjectorOptions,
        projector: *mut *mut Projector,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_projector_free(projector: *mut Projector);
    pub(crate) fn sipp_projector_sees(projector: *const Projector) -> bool;
    pub(crate) fn sipp_projector_has_grid(projector: *const Projector) -> bool;
    pub(crate) fn sipp_image_new(
        projector: *const Projector,
        width: u32,
        height: u32,
        pixels: *const u8,
        image: *mut *mut Image,
        error: ErrorBuffer,
    ) -> Status;
    pub(crate) fn sipp_image_free(image: *mut Image);
    pub(crate) fn sipp_image_pieces(image: *const Image) -> usize;
    pub(crate) fn sipp_image_piece(projector: *const Projector, image: *const Image, index: usize) -> Piece;
    pub(crate) fn sipp_image_position(image: *const Image, index: usize, vector: usize, start: i32, position: *mut i32);
    pub(crate) fn sipp_image_encode(
        projector: *mut Projector,
        image: *const Image,
        index: usize,
        vectors: *mut f32,
        size: usize,
        ended: *mut bool,
        error: ErrorBuffer,
    ) -> Status;
}

/// A text that stays where it is; none for a null pointer.
///
/// # Safety
/// `raw` must be null or a zero-terminated string.
pub(crate) unsafe fn text(raw: *const c_char) -> Option<String> {
    // SAFETY: by this function's contract.
    (!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned())
}

/// Takes a text that the bridge gave away.
///
/// # Safety
/// `raw` must be a text of the bridge that nobody frees.
pub(crate) unsafe fn take_text(raw: *mut c_char) -> CString {
    // SAFETY: by this function's contract; such texts end with a zero byte.
    let text = unsafe { CStr::from_ptr(raw) }.to_owned();
    // SAFETY: by this function's contract; it is not used any more.
    unsafe { sipp_text_free(raw) };
    text
}

/// A failed call: its status, and what llama.cpp said.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
}

/// Runs one bridge function with room for its message.
pub(crate) fn call(function: impl FnOnce(ErrorBuffer) -> Status) -> Result<(), Failure> {
    let mut text = [0u8; 2048];
    let status = function(ErrorBuffer { text: text.as_mut_ptr().cast(), size: text.len() });
    if status == OK {
        return Ok(());
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let message = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).trim().to_owned();
    Err(Failure { status, message })
}
