//! The numbers that a context is made with, checked against the model.

#[cfg(not(target_os = "emscripten"))]
use std::thread::available_parallelism;

use crate::config::{
    CacheConfig, CacheMode, CacheType, ContextConfig, FlashAttention, ModelConfig, MultimodalConfig, Policy, Pooling,
    SchedulerConfig,
};
use crate::context::{pooling_from, pooling_number};
use crate::error::Error;
use crate::info::{Capabilities, EmbeddingInfo, ModelClass};
use crate::model::Model;
use crate::rope::Rope;
use crate::sys;

const DEFAULT_CONTEXT: u32 = 4096;
const DEFAULT_BATCH: u32 = 2048;
const DEFAULT_UBATCH: u32 = 512;
const MAX_SLOTS: u32 = 64;
const DEFAULT_QUEUE: u32 = 1024;
const MAX_QUEUE: u32 = 1 << 16;
const DEFAULT_SNAPSHOTS: u32 = 32;
const MAX_SNAPSHOTS: u32 = 4096;
const DEFAULT_SNAPSHOT_BYTES: u64 = 256 << 20;
const DEFAULT_RETAINED: u32 = 100;
/// ggml's `GGML_MAX_N_THREADS`.
#[cfg(not(target_os = "emscripten"))]
const MAX_THREADS: u32 = 512;
/// Models below this compute a token in less time than threads take to meet: they wait for each other by spinning, after
/// every tensor, which stalls for whole time slices as soon as another process wants a core.
const SMALL_MODEL_BYTES: u64 = 16 << 20;
/// Inputs that one embedding batch may hold.
const EMBEDDING_SEQUENCES: u32 = 64;

/// What the model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Writing text.
    Text,
    /// Making vectors, pooled this way.
    Vectors(Pooling),
    /// Neither: it only tells what it is.
    Nothing,
}

/// A configuration with every default filled in and every value checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) purpose: Purpose,
    /// Tokens that one request may have.
    pub(crate) context: u32,
    pub(crate) slots: u32,
    pub(crate) batch: u32,
    pub(crate) ubatch: u32,
    threads: u32,
    threads_batch: u32,
    flash_attention: FlashAttention,
    cache_type_k: CacheType,
    cache_type_v: CacheType,
    offload_kqv: Option<bool>,
    op_offload: Option<bool>,
    swa_full: Option<bool>,
    kv_unified: bool,
    rope: Rope,
    pub(crate) warmup: bool,
    pub(crate) policy: Policy,
    pub(crate) prefill_chunk: Option<u32>,
    /// Requests for text that run at the same time.
    pub(crate) running: u32,
    /// Requests that wait.
    pub(crate) queue: u32,
    pub(crate) cache_mode: CacheMode,
    pub(crate) snapshot_entries: u32,
    pub(crate) snapshot_bytes: u64,
    /// Tokens that a shift of a full context keeps; none where there is no shift.
    pub(crate) shift: Option<u32>,
    /// Whether there is a projector.
    sees: bool,
}

impl Plan {
    /// Checks `config` against the model and fills in the defaults.
    pub(crate) fn new(config: &ModelConfig, model: &Model) -> Result<Self, Error> {
        let ModelConfig { context: config, scheduler, cache, multimodal, .. } = config;
        let slots = ranged("n_parallel", config.n_parallel.unwrap_or(1), 1, MAX_SLOTS)?;
        let rope = Rope::new(config, model)?;
        let context = context_length(config, rope.longest)?;
        let total = context.checked_mul(slots).filter(|total| i32::try_from(*total).is_ok());
        if total.is_none() {
            return Err(Error::configuration(format!(
                "n_ctx {context} for each of {slots} slots is more than a context can hold; lower n_ctx or n_parallel"
            )));
        }
        let batch = ranged("n_batch", config.n_batch.unwrap_or(DEFAULT_BATCH), slots, 1 << 20)?;
        let ubatch = ranged("n_ubatch", config.n_ubatch.unwrap_or(DEFAULT_UBATCH.min(batch)), 1, batch)?;
        let threads = match config.n_threads {
            Some(threads) => ranged("n_threads", threads, 1, most_threads())?,
            None if model.size_bytes() < SMALL_MODEL_BYTES => 1,
            None => physical_cores(),
        };
        let threads_batch = ranged("n_threads_batch", config.n_threads_batch.unwrap_or(threads), 1, most_threads())?;
        let purpose = purpose(config, model)?;
        let encodes = model.class() == ModelClass::EncoderDecoder;
        // An encoder sees a whole text at once, and pooling needs all of its tokens in one computation.
        let is_whole = encodes || matches!(purpose, Purpose::Vectors(_));
        if is_whole && (config.n_batch.is_some() || config.n_ubatch.is_some()) {
            return Err(Error::configuration(
                "n_batch and n_ubatch have no effect on encoders and embeddings, whose batches are as long as n_ctx; \
                 leave them out",
            ));
        }
        if encodes && slots > 1 {
            return Err(Error::configuration(format!(
                "n_parallel is {slots}; an encoder-decoder model answers one request at a time"
            )));
        }
        let plan = Self {
            purpose,
            context,
            slots,
            batch,
            ubatch,
            threads,
            threads_batch,
            flash_attention: flash_attention(config),
            cache_type_k: config.cache_type_k.unwrap_or(DEFAULT_CACHE),
            cache_type_v: config.cache_type_v.unwrap_or(DEFAULT_CACHE),
            offload_kqv: config.offload_kqv,
            op_offload: config.op_offload,
            swa_full: swa_full(config, model)?,
            kv_unified: kv_unified(config, cache, purpose, model)?,
            rope,
            warmup: config.warmup.unwrap_or(true),
            policy: scheduler.policy.unwrap_or_default(),
            prefill_chunk: chunk_size(scheduler, batch)?,
            running: ranged("max_running_requests", scheduler.max_running_requests.unwrap_or(slots), 1, slots)?,
            queue: ranged("max_queued_requests", scheduler.max_queued_requests.unwrap_or(DEFAULT_QUEUE), 0, MAX_QUEUE)?,
            cache_mode: if encodes { CacheMode::Disabled } else { cache.mode.unwrap_or_default() },
            snapshot_entries: snapshot_entries(cache)?,
            snapshot_bytes: cache.max_snapshot_bytes.unwrap_or(DEFAULT_SNAPSHOT_BYTES),
            shift: shift(cache, context)?,
            sees: multimodal.projector.is_some(),
        };
        plan.check_cache()?;
        check_multimodal(multimodal, purpose == Purpose::Text && !encodes, plan.shift.is_some())?;
        if encodes || purpose != Purpose::Text {
            refuse_text_options(scheduler, cache)?;
        }
        Ok(if is_whole { Self { batch: context, ubatch: context, ..plan } } else { plan })
    }

    fn check_cache(&self) -> Result<(), Error> {
        let quantized = !matches!(self.cache_type_v, CacheType::F32 | CacheType::F16);
        if quantized && self.flash_attention == FlashAttention::Disabled {
            return Err(Error::configuration(
                "a quantized cache_type_v needs flash attention; set flash_attention to auto or enabled, or use f16",
            ));
        }
        Ok(())
    }

    /// What the model can do under this plan.
    pub(crate) fn capabilities(&self, model: &Model) -> Capabilities {
        let pooling = match self.purpose {
            Purpose::Vectors(Pooling::None) | Purpose::Text | Purpose::Nothing => None,
            Purpose::Vectors(pooling) => Some(pooling),
        };
        let embedding = pooling.map(|pooling| EmbeddingInfo { dimensions: vector_length(model, pooling), pooling });
        Capabilities {
            class: model.class(),
            generates_text: self.purpose == Purpose::Text,
            embeds: embedding.is_some(),
            sees: self.sees,
            has_chat_template: model.chat_template().is_some(),
            embedding,
        }
    }

    /// Inputs that one batch of embeddings may hold. Each has a token at least, so a short context holds fewer.
    pub(crate) fn sequences(&self) -> u32 {
        EMBEDDING_SEQUENCES.min(self.context)
    }

    /// Threads that compute a prompt.
    pub(crate) fn threads(&self) -> i32 {
        i32::try_from(self.threads_batch).unwrap_or(1)
    }

    pub(crate) fn flash_attention_type(&self) -> sys::llama_flash_attn_type {
        match self.flash_attention {
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::Enabled => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Disabled => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        }
    }

    /// llama.cpp's own form of the plan.
    pub(crate) fn params(&self) -> sys::llama_context_params {
        // SAFETY: a function without arguments that fills a struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        let vectors = matches!(self.purpose, Purpose::Vectors(_));
        params.n_batch = self.batch;
        params.n_ubatch = self.ubatch;
        params.n_threads = i32::try_from(self.threads).unwrap_or(1);
        params.n_threads_batch = self.threads();
        params.flash_attn_type = self.flash_attention_type();
        params.type_k = cache_number(self.cache_type_k);
        params.type_v = cache_number(self.cache_type_v);
        params.embeddings = vectors;
        params.no_perf = true;
        params.offload_kqv = self.offload_kqv.unwrap_or(params.offload_kqv);
        params.op_offload = self.op_offload.unwrap_or(params.op_offload);
        params.swa_full = self.swa_full.unwrap_or(params.swa_full);
        self.rope.apply(&mut params);
        if let Purpose::Vectors(pooling) = self.purpose {
            params.pooling_type = pooling_number(pooling);
            // The inputs of a batch share the one context: a batch never holds more tokens than that.
            params.n_ctx = self.context;
            params.n_seq_max = self.sequences();
            params.kv_unified = true;
        } else {
            params.n_ctx = self.context.saturating_mul(self.slots);
            params.n_seq_max = self.slots;
            params.kv_unified = self.kv_unified;
            // One token of each slot is sampled from, which keeps the output buffer small.
            params.n_outputs_max = self.slots;
        }
        params
    }
}

fn chunk_size(config: &SchedulerConfig, batch: u32) -> Result<Option<u32>, Error> {
    config.prefill_chunk_size.map(|size| ranged("prefill_chunk_size", size, 1, batch)).transpose()
}

fn snapshot_entries(config: &CacheConfig) -> Result<u32, Error> {
    let keeps = matches!(config.mode, Some(CacheMode::StateSnapshot | CacheMode::LiveSlotAndSnapshot));
    let limited = config.max_snapshot_entries.is_some() || config.max_snapshot_bytes.is_some();
    if limited && !keeps {
        return Err(Error::configuration(
            "max_snapshot_entries and max_snapshot_bytes have an effect on snapshots only; set cache.mode to \
             state_snapshot or live_slot_and_snapshot, or leave them out",
        ));
    }
    ranged("max_snapshot_entries", config.max_snapshot_entries.unwrap_or(DEFAULT_SNAPSHOTS), 1, MAX_SNAPSHOTS)
}

/// Tokens that a shift keeps.
fn shift(config: &CacheConfig, context: u32) -> Result<Option<u32>, Error> {
    if config.context_shift != Some(true) {
        if config.retained_prefix_tokens.is_some() {
            return Err(Error::configuration(
                "retained_prefix_tokens has an effect on a context shift only; set context_shift to true or leave it out",
            ));
        }
        return Ok(None);
    }
    let retained = config.retained_prefix_tokens.unwrap_or(DEFAULT_RETAINED.min(context / 4));
    ranged("retained_prefix_tokens", retained, 0, context.saturating_sub(2)).map(Some)
}

fn check_multimodal(config: &MultimodalConfig, writes: bool, shifts: bool) -> Result<(), Error> {
    let MultimodalConfig { projector, use_gpu, image_min_tokens, image_max_tokens } = config;
    if projector.is_none() {
        if use_gpu.is_some() || image_min_tokens.is_some() || image_max_tokens.is_some() {
            return Err(Error::configuration(
                "multimodal.use_gpu, image_min_tokens and image_max_tokens have an effect on a projector only; give one or leave them out",
            ));
        }
        return Ok(());
    }
    if !writes {
        return Err(Error::configuration(
            "only a decoder-only model that writes text takes images; leave projector out",
        ));
    }
    if shifts {
        return Err(Error::configuration(
            "a context with images cannot be shifted; leave context_shift or projector out",
        ));
    }
    let most = i32::MAX.unsigned_abs();
    let fewest = ranged("image_min_tokens", image_min_tokens.unwrap_or(1), 1, most)?;
    ranged("image_max_tokens", image_max_tokens.unwrap_or(most), fewest, most).map(drop)
}

/// Whether every token of layers with a sliding window is kept.
fn swa_full(config: &ContextConfig, model: &Model) -> Result<Option<bool>, Error> {
    if config.swa_full.is_some() && (!model.has_window() || model.class() == ModelClass::EncoderOnly) {
        return Err(Error::configuration("swa_full has no effect on a model without a sliding window; leave it out"));
    }
    Ok(config.swa_full)
}

/// Whether all slots share one KV cache.
///
/// Each can still hold its own `n_ctx` tokens, since the one cache has room for all of them. A shift would move tokens that
/// another slot shares.
fn kv_unified(config: &ContextConfig, cache: &CacheConfig, purpose: Purpose, model: &Model) -> Result<bool, Error> {
    let Some(unified) = config.kv_unified else { return Ok(false) };
    let refused = if config.n_parallel.unwrap_or(1) < 2 {
        "has no effect on one slot; raise n_parallel or leave it out"
    } else if purpose != Purpose::Text {
        "has an effect on writing text only; leave it out"
    } else if model.is_recurrent() {
        "has no effect on what a model remembers instead of tokens; leave it out"
    } else if unified && cache.context_shift == Some(true) {
        "and context_shift exclude each other; leave one of them out"
    } else {
        return Ok(unified);
    };
    Err(Error::configuration(format!("kv_unified {refused}")))
}

/// Encoders read their prompts at once and embeddings have no slots; nothing of theirs is kept.
fn refuse_text_options(scheduler: &SchedulerConfig, cache: &CacheConfig) -> Result<(), Error> {
    let SchedulerConfig { policy, prefill_chunk_size, max_running_requests, max_queued_requests: _ } = scheduler;
    let scheduled = policy.is_some() || prefill_chunk_size.is_some() || max_running_requests.is_some();
    if scheduled || *cache != CacheConfig::default() {
        return Err(Error::configuration(
            "policy, prefill_chunk_size, max_running_requests and the cache have an effect on decoder-only models that \
             write text; leave them out",
        ));
    }
    Ok(())
}

/// Numbers in one vector.
pub(crate) fn vector_length(model: &Model, pooling: Pooling) -> u32 {
    if pooling == Pooling::Rank { model.scores() } else { model.output_length() }
}

fn purpose(config: &ContextConfig, model: &Model) -> Result<Purpose, Error> {
    let class = model.class();
    let vectors = config.embeddings.unwrap_or(class == ModelClass::EncoderOnly);
    if !vectors && config.pooling.is_some() {
        return Err(Error::configuration(
            "pooling has an effect on embeddings only; set embeddings to true or leave it out",
        ));
    }
    match (class, vectors) {
        (ModelClass::EncoderDecoder, true) => {
            Err(Error::configuration("an encoder-decoder model has no embeddings; leave embeddings out"))
        }
        (ModelClass::EncoderOnly, false) => {
            Err(Error::configuration("an encoder-only model does nothing but embeddings; leave embeddings out"))
        }
        (ModelClass::DecoderOnly, false) if model.is_diffusion() => Ok(Purpose::Nothing),
        // Drafts of a larger model have an encoder too, for that model's vectors.
        (ModelClass::EncoderDecoder, false) if model.architecture() != "t5" => Ok(Purpose::Nothing),
        (ModelClass::DecoderOnly | ModelClass::EncoderDecoder, false) => Ok(Purpose::Text),
        (ModelClass::DecoderOnly | ModelClass::EncoderOnly, true) => pooling(config, model).map(Purpose::Vectors),
    }
}

fn pooling(config: &ContextConfig, model: &Model) -> Result<Pooling, Error> {
    let own = model
        .metadata(&format!("{}.pooling_type", model.architecture()))
        .and_then(|number| number.parse().ok())
        .and_then(pooling_from)
        .filter(|pooling| *pooling != Pooling::None);
    let pooling = config.pooling.or(own).unwrap_or(Pooling::Mean);
    if pooling == Pooling::Rank && own != Some(Pooling::Rank) {
        return Err(Error::configuration(
            "pooling rank needs a model with a classification head, and this one has none",
        ));
    }
    Ok(pooling)
}

fn context_length(config: &ContextConfig, trained: u32) -> Result<u32, Error> {
    match config.n_ctx {
        None => Ok(trained.min(DEFAULT_CONTEXT)),
        Some(0) => Ok(trained),
        Some(length) if length > trained => Err(Error::configuration(format!(
            "n_ctx is {length}, and the model was trained to hold {trained} tokens; lower it, or use 0 for the model's own"
        ))),
        Some(length) => Ok(length),
    }
    .and_then(|length| ranged("n_ctx", length, 2, i32::MAX.unsigned_abs()))
}

fn ranged(name: &str, value: u32, least: u32, most: u32) -> Result<u32, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::configuration(format!("{name} is {value}; it must be from {least} to {most}")))
}

fn cache_number(cache: CacheType) -> sys::ggml_type {
    match cache {
        CacheType::F32 => sys::GGML_TYPE_F32,
        CacheType::F16 => sys::GGML_TYPE_F16,
        CacheType::Q8_0 => sys::GGML_TYPE_Q8_0,
        CacheType::Q4_0 => sys::GGML_TYPE_Q4_0,
        CacheType::Q4_1 => sys::GGML_TYPE_Q4_1,
        CacheType::Iq4Nl => sys::GGML_TYPE_IQ4_NL,
        CacheType::Q5_0 => sys::GGML_TYPE_Q5_0,
        CacheType::Q5_1 => sys::GGML_TYPE_Q5_1,
    }
}

/// How the KV cache stores numbers where nobody says.
const DEFAULT_CACHE: CacheType = CacheType::F16;

/// Left to itself, llama.cpp takes flash attention wherever it works. In WebAssembly it works and is slow, so there it is
/// used only where a quantized cache needs it.
fn flash_attention(config: &ContextConfig) -> FlashAttention {
    let plain = matches!(config.cache_type_v, None | Some(CacheType::F32 | CacheType::F16));
    match config.flash_attention {
        None | Some(FlashAttention::Auto) if cfg!(target_os = "emscripten") && plain => FlashAttention::Disabled,
        chosen => chosen.unwrap_or(FlashAttention::Auto),
    }
}

/// Physical cores, because two computing threads on one core only disturb each other; never more than this process may
/// use.
#[cfg(not(target_os = "emscripten"))]
fn physical_cores() -> u32 {
    // SAFETY: a function without arguments that answers a question.
    let cores = unsafe { sys::sipp_physical_cores() };
    let usable = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(1).clamp(1, u32::try_from(usable).unwrap_or(MAX_THREADS).min(MAX_THREADS))
}

/// Most threads that can be asked for.
#[cfg(not(target_os = "emscripten"))]
fn most_threads() -> u32 {
    MAX_THREADS
}

/// The worker was given its threads when it began, and knows what the machine has.
#[cfg(target_os = "emscripten")]
use crate::web::{most_threads, most_threads as physical_cores};
