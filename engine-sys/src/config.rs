//! How a model is placed, run and sampled.
//!
//! Every field is optional: `None` means the default that its documentation names. A value that is out of range or
//! has no effect is refused when the model is loaded, never clamped.

use std::path::PathBuf;

/// What to load, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelConfig {
    /// The GGUF file; of a model in several files, the first.
    pub path: PathBuf,
    /// Where the weights go.
    pub placement: Placement,
    /// The context that requests run in.
    pub context: ContextConfig,
    /// How requests share the model.
    pub scheduler: SchedulerConfig,
    /// What is kept of prompts that were computed.
    pub cache: CacheConfig,
    /// Images.
    pub multimodal: MultimodalConfig,
    /// Sampling of every request that does not override it.
    pub sampling: Sampling,
    /// How models share GPUs.
    pub residency: Residency,
}

/// Where the weights go.
///
/// What concerns GPUs is refused where the model uses none: without a GPU, on the backend `Cpu`, or with 0 layers on it.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct Placement {
    /// What computes. Default `Auto`.
    pub backend: Option<Backend>,
    /// GPUs by the names of [`crate::devices`], in the order in which layers go to them. Empty: those of the backend;
    /// integrated ones only if it has no others.
    pub devices: Vec<String>,
    /// Layers on the GPU. Default `Auto`. `All` and a count above 0 are refused where there is no GPU.
    pub gpu_layers: Option<GpuLayers>,
    /// How the model is split among GPUs. Default `Layer`. Refused where it uses fewer than two.
    pub split_mode: Option<SplitMode>,
    /// Which of the GPUs holds the whole model, counted from 0. Default 0. Refused unless `split_mode` is `None`.
    pub main_gpu: Option<u32>,
    /// Each GPU's share of the model, as proportions: one number for each, finite, at least 0, not all of them 0. Empty:
    /// by their free memory. Refused where the model uses fewer than two GPUs, or one of them by `split_mode`.
    pub tensor_split: Vec<f32>,
    /// Maps the file into memory instead of reading it. Default true.
    pub use_mmap: Option<bool>,
    /// Locks the weights in memory. Default false.
    pub use_mlock: Option<bool>,
    /// Checks every tensor for invalid numbers while loading. Default false: it reads the whole file.
    pub check_tensors: Option<bool>,
    /// Keeps weights on the CPU as they are in the file, instead of repacking those that compute faster otherwise.
    /// Default false.
    pub no_extra_bufts: Option<bool>,
    /// Keeps weights on the CPU out of the memory that a GPU reads directly. Default false. Refused where no GPU is used.
    pub no_host: Option<bool>,
}

/// What computes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Backend {
    /// The first of CUDA, Metal and Vulkan that is compiled in and has a device here, else the CPU.
    Auto,
    /// The CPU alone.
    Cpu,
    /// NVIDIA's GPUs.
    Cuda,
    /// Apple's GPUs.
    Metal,
    /// GPUs with a Vulkan driver.
    Vulkan,
}

/// How a model is split among GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SplitMode {
    /// Not at all: one GPU holds it.
    None,
    /// By layers, with their part of the KV cache.
    Layer,
    /// The rows of each matrix, where the backend can.
    Row,
    /// Every tensor, computed on all of them at once, where the architecture can. Needs flash attention.
    Tensor,
}

/// How many layers go to the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    target_os = "emscripten",
    derive(serde::Deserialize),
    serde(tag = "tag", content = "val", rename_all = "kebab-case")
)]
pub enum GpuLayers {
    /// All, where there is a GPU.
    Auto,
    /// All.
    All,
    /// This many; 0 keeps the model on the CPU.
    Count(u32),
}

/// The context that requests run in.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct ContextConfig {
    /// Tokens of prompt and answer together, for each slot. 0 is the model's own length. Default: the model's own, at
    /// most 4096.
    pub n_ctx: Option<u32>,
    /// Most tokens in one call of `llama_decode`, from `n_parallel` to 2^20. Default 2048. Refused for embeddings,
    /// whose batches are as long as `n_ctx` because an encoder must see a text at once.
    pub n_batch: Option<u32>,
    /// Most tokens computed at once, and most prompt tokens between two tokens of running requests; from 1 to
    /// `n_batch`. Default 512, at most `n_batch`. Refused for embeddings.
    pub n_ubatch: Option<u32>,
    /// Slots: requests for text that run at the same time, from 1 to 64. Default 1. Inputs of an embedding request
    /// share batches whatever it is.
    pub n_parallel: Option<u32>,
    /// Threads that compute one token, from 1 to 512. Default: the physical cores, or 1 for a model below 16 MiB.
    pub n_threads: Option<u32>,
    /// Threads that compute a prompt, from 1 to 512. Default: as `n_threads`.
    pub n_threads_batch: Option<u32>,
    /// Flash attention. Default `Auto`: where the backend has it and it is not slower.
    pub flash_attention: Option<FlashAttention>,
    /// How keys are stored. Default `F16`.
    pub cache_type_k: Option<CacheType>,
    /// How values are stored. Default `F16`.
    pub cache_type_v: Option<CacheType>,
    /// Computes one token after loading, so that the first request finds everything in place. Default true.
    pub warmup: Option<bool>,
    /// Loads the model for embeddings. Default: true for encoder-only models, false for others; a decoder loaded with
    /// true embeds only.
    pub embeddings: Option<bool>,
    /// How one vector comes from a text's token vectors. Default: the model's own, else the mean.
    pub pooling: Option<Pooling>,
    /// Keeps the KV cache of layers on the GPU there too. Default true. Refused where no GPU is used.
    pub offload_kqv: Option<bool>,
    /// Computes large batches of layers on the CPU on the GPU. Default true. Refused where no GPU is used.
    pub op_offload: Option<bool>,
    /// Keeps every token of layers with a sliding window, so that a prompt can go on from any earlier place; false saves
    /// their memory. Default true. Refused for a model without a sliding window.
    pub swa_full: Option<bool>,
    /// One KV cache for all slots instead of one for each. Copies of a beginning then take no memory, and attention reads
    /// the tokens of all slots, which is slower. Default false. Refused with one slot, with `context_shift`, for
    /// embeddings, and for models that remember a state instead of tokens.
    pub kv_unified: Option<bool>,
    /// How positions beyond the trained length are mapped into it. Default: the model's own. Refused where it changes
    /// nothing: `Linear` and `Yarn` at a frequency scale of 1, `None` for a model that scales nothing.
    pub rope_scaling: Option<RopeScaling>,
    /// Base of the rotary frequencies, above 0. Default: the model's own.
    pub rope_freq_base: Option<f32>,
    /// Factor of the rotary frequencies, above 0, at most 1: 0.5 makes room for twice the trained length, up to which
    /// `n_ctx` may then go. Default: the model's own. Refused if the scaling is `None`.
    pub rope_freq_scale: Option<f32>,
    /// Tokens that the model was trained to hold before it was scaled, at least 1. Default: the model's own. As all that
    /// follows, refused unless the scaling is YaRN; this and both betas also if `yarn_ext_factor` is 0.
    pub yarn_orig_ctx: Option<u32>,
    /// Share of extrapolation in YaRN's mix, from 0 to 1. Default: the model's own, else 1.
    pub yarn_ext_factor: Option<f32>,
    /// Factor of attention's magnitude, above 0. Default: the model's own, else 1. Refused unless `yarn_ext_factor` is
    /// 0, since llama.cpp computes it otherwise.
    pub yarn_attn_factor: Option<f32>,
    /// Rotations in the trained length above which YaRN extrapolates, above 0. Default: the model's own, else 32.
    pub yarn_beta_fast: Option<f32>,
    /// Rotations in the trained length below which YaRN interpolates, above 0, below `yarn_beta_fast`. Default: the
    /// model's own, else 1.
    pub yarn_beta_slow: Option<f32>,
}

/// How positions beyond the trained length are mapped into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies by the same factor.
    Linear,
    /// YaRN: low frequencies by the factor, high ones not.
    Yarn,
}

/// How models share GPUs. Refused where the model uses none.
///
/// A lease is a locked file in the folder for temporary files, one for each model on each GPU that holds a part of it,
/// so that programs know of each other, and one that crashes leaves nothing behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct Residency {
    /// Models on one GPU, of all programs that take leases, from 1 to 64. Default 1. Refused without leases.
    pub max_gpu_models_per_device: Option<u32>,
    /// Takes a lease of each GPU that holds a part of the model; without one to be had, the load fails. Default true.
    pub require_gpu_lease: Option<bool>,
    /// Bytes of each GPU that stay free beside what the model needs; 0 turns the check of GPU memory off. Default
    /// 512 MiB.
    pub gpu_memory_safety_margin_bytes: Option<u64>,
}

/// How requests share the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct SchedulerConfig {
    /// Whether prompts wait for writing or writing for prompts. Default `Balanced`.
    pub policy: Option<Policy>,
    /// Most prompt tokens in one computation, from 1 to `n_batch`. Default: as the policy says.
    pub prefill_chunk_size: Option<u32>,
    /// Requests for text that run at the same time, from 1 to `n_parallel`. Default: `n_parallel`.
    pub max_running_requests: Option<u32>,
    /// Requests that wait, from 0 to 65536; more are refused with [`crate::Error::Overloaded`]. Default 1024.
    pub max_queued_requests: Option<u32>,
}

/// What comes first when some requests write and others read their prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Policy {
    /// Writing: a quarter of `n_ubatch` tokens of prompts are computed between two tokens, and `n_ubatch` while nobody
    /// writes.
    LatencyFirst,
    /// Neither: `n_ubatch` tokens of prompts between two tokens, and `n_batch` while nobody writes.
    #[default]
    Balanced,
    /// Prompts: `n_batch` tokens of them at a time.
    ThroughputFirst,
}

/// What is kept of prompts that were computed.
///
/// A prompt that begins as an earlier one did, token for token, is computed from where they part. Whoever can send
/// prompts can tell from the time which beginnings were computed before; nobody reads another's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct CacheConfig {
    /// What is kept. Default `LiveSlotPrefix`.
    pub mode: Option<CacheMode>,
    /// When the context is full, drops the older half of what is not retained and goes on, instead of ending. Default
    /// false. An answer without `max_tokens` then ends after as many tokens as the context holds.
    pub context_shift: Option<bool>,
    /// Tokens at the start that a shift keeps, below `n_ctx` by at least 2. Default 100, or a quarter of `n_ctx` if that
    /// is less. Refused without `context_shift`.
    pub retained_prefix_tokens: Option<u32>,
    /// Most snapshots, from 1 to 4096. Default 32. Refused where the mode keeps none.
    pub max_snapshot_entries: Option<u32>,
    /// Most bytes of all snapshots. Default 256 MiB. Refused where the mode keeps none.
    pub max_snapshot_bytes: Option<u64>,
}

/// What is kept of prompts that were computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum CacheMode {
    /// Nothing.
    Disabled,
    /// What a slot computed last stays in it, until the slot is needed for something else.
    #[default]
    LiveSlotPrefix,
    /// Each request's state is saved outside the context when it ends.
    StateSnapshot,
    /// Slots keep it, and it is saved when the slot is needed for something else.
    LiveSlotAndSnapshot,
}

/// What turns images into what a model reads. Only models that write text, and no encoder-decoder, take one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultimodalConfig {
    /// The projector's GGUF file, made for this model. Default: none, and images are refused.
    pub projector: Option<PathBuf>,
    /// Whether a GPU computes it, where there is one. Default true. Refused without a projector.
    pub use_gpu: Option<bool>,
    /// Fewest vectors that stand for an image, at least 1. Default: as the projector says. Refused without a projector;
    /// has an effect where images keep their size.
    pub image_min_tokens: Option<u32>,
    /// Most vectors that stand for an image, at least `image_min_tokens`. Default: as the projector says. Refused
    /// without a projector; has an effect where images keep their size.
    pub image_max_tokens: Option<u32>,
}

/// How one vector comes from a text's token vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Pooling {
    /// Not at all. A model configured so cannot embed.
    None,
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The scores of a classification head instead of a vector.
    Rank,
}

/// Whether attention is computed in one fused step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FlashAttention {
    /// Where the backend has it.
    Auto,
    /// Always.
    Enabled,
    /// Never.
    Disabled,
}

/// How the KV cache stores numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ggml's own types")]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum CacheType {
    F32,
    F16,
    #[cfg_attr(target_os = "emscripten", serde(rename = "q8-0"))]
    Q8_0,
    #[cfg_attr(target_os = "emscripten", serde(rename = "q4-0"))]
    Q4_0,
    #[cfg_attr(target_os = "emscripten", serde(rename = "q4-1"))]
    Q4_1,
    #[cfg_attr(target_os = "emscripten", serde(rename = "iq4-nl"))]
    Iq4Nl,
    #[cfg_attr(target_os = "emscripten", serde(rename = "q5-0"))]
    Q5_0,
    #[cfg_attr(target_os = "emscripten", serde(rename = "q5-1"))]
    Q5_1,
}

/// How the next token is chosen.
///
/// A request's values override the model's, field by field. The ranges are those of `record sampling` in
/// `wit/inference/types.wit`.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "camelCase", default))]
pub struct Sampling {
    /// The chain, in order. Default: every stage, in the order of [`SamplerStage`]. A field whose stage is not listed
    /// is refused.
    pub samplers: Option<Vec<SamplerStage>>,
    /// Seed of the random numbers. Default: a new one for each request.
    pub seed: Option<u32>,
    /// Randomness; 0 always takes the likeliest token. Finite, at least 0. Default 0.7.
    pub temperature: Option<f32>,
    /// Range around the temperature that entropy moves it in. At least 0. Default 0, off.
    pub dynatemp_range: Option<f32>,
    /// Exponent that maps entropy to temperature. Above 0. Default 1.
    pub dynatemp_exponent: Option<f32>,
    /// Number of likeliest tokens kept; 0 keeps all. Default 40.
    pub top_k: Option<u32>,
    /// Smallest set of likeliest tokens whose probabilities reach this sum, from 0 to 1. Default 0.8.
    pub top_p: Option<f32>,
    /// Share of the best probability below which tokens are dropped, from 0 to 1. Default 0, off.
    pub min_p: Option<f32>,
    /// Typical sampling mass, above 0, at most 1. Default 1, off.
    pub typical_p: Option<f32>,
    /// Standard deviations kept, at least 0. Default 0, off.
    pub top_n_sigma: Option<f32>,
    /// Chance that XTC removes tokens, from 0 to 1. Default 0, off.
    pub xtc_probability: Option<f32>,
    /// Probability above which XTC removes tokens, from 0 to 1. Default 0.1.
    pub xtc_threshold: Option<f32>,
    /// Fewest tokens that a truncating stage keeps. Default 0.
    pub min_keep: Option<u32>,
    /// Tokens that penalties look back on; 0 turns them off. Default 64.
    pub repeat_last_n: Option<u32>,
    /// Divides the logits of repeated tokens, above 0. Default 1, off: it breaks counting, JSON and copying.
    pub repeat_penalty: Option<f32>,
    /// Subtracted for each occurrence, from -2 to 2. Default 0.
    pub frequency_penalty: Option<f32>,
    /// Subtracted once for a token that occurred, from -2 to 2. Default 0.
    pub presence_penalty: Option<f32>,
    /// Strength of DRY, at least 0. Default 0, off.
    pub dry_multiplier: Option<f32>,
    /// Base of DRY's exponential penalty, at least 1. Default 1.75.
    pub dry_base: Option<f32>,
    /// Longest repetition that DRY leaves alone, in tokens. Default 2.
    pub dry_allowed_length: Option<u32>,
    /// Tokens that DRY looks back on; 0 looks at the whole context. Default 0.
    pub dry_penalty_last_n: Option<u32>,
    /// Texts across which DRY does not match. Default: line break, colon, double quote, asterisk.
    pub dry_sequence_breakers: Option<Vec<String>>,
    /// Mirostat version: 0 (off), 1 or 2. It replaces every stage but penalties, DRY and temperature. Default 0.
    pub mirostat: Option<u32>,
    /// Mirostat's target entropy, above 0. Default 5.
    pub mirostat_tau: Option<f32>,
    /// Mirostat's learning rate, above 0. Default 0.1.
    pub mirostat_eta: Option<f32>,
    /// Added to single tokens' logits. A request's list replaces the model's, unless it is empty.
    pub logit_bias: Vec<LogitBias>,
    /// Never samples an end-of-generation token. Default false.
    pub ignore_eos: Option<bool>,
}

/// One stage of the sampler chain, in the default order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SamplerStage {
    /// Repetition, frequency and presence penalties.
    Penalties,
    /// "Don't repeat yourself" penalty on repeated sequences.
    Dry,
    /// Keeps tokens within n standard deviations of the best logit.
    TopNSigma,
    /// Keeps the k likeliest tokens.
    TopK,
    /// Keeps tokens of typical information content.
    TypicalP,
    /// Keeps the smallest set of likeliest tokens that reaches a probability.
    TopP,
    /// Drops tokens below a share of the best token's probability.
    MinP,
    /// Drops the very likeliest tokens at random.
    Xtc,
    /// Divides logits by the temperature.
    Temperature,
}

/// Added to one token's logit before sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(target_os = "emscripten", derive(serde::Deserialize))]
pub struct LogitBias {
    /// The token's id.
    pub token: u32,
    /// What is added; negative infinity bans the token.
    #[cfg_attr(target_os = "emscripten", serde(deserialize_with = "number_or_ban"))]
    pub bias: f32,
}

/// JSON has no infinity; what is written in its place is null.
#[cfg(target_os = "emscripten")]
fn number_or_ban<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let number: Option<f32> = serde::Deserialize::deserialize(deserializer)?;
    Ok(number.unwrap_or(f32::NEG_INFINITY))
}
