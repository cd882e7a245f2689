//! `[targets.runtime]`: how a local model is run, in the words of `wit/host/endpoints.wit`.
//!
//! The tables below only give the generated types a TOML spelling (serde's `remote` derive, checked by the compiler).
//! Ranges are not repeated here: the client component refuses what is out of range, for every host alike.

use serde::{Deserialize, Deserializer};
use sipp::{
    Backend, CacheMode, CacheOptions, CacheType, ContextOptions, FlashAttention, GpuLayers, LogitBias,
    MultimodalOptions, Placement, Pooling, ResidencyOptions, RopeScaling, SamplerStage, Sampling, SchedulerOptions,
    SchedulerPolicy, SplitMode,
};

/// How a local model is run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Runtime {
    /// Where and how weights are held.
    #[serde(with = "PlacementTable")]
    pub placement: Placement,
    /// The context.
    #[serde(with = "ContextTable")]
    pub context: ContextOptions,
    /// How requests share the model.
    #[serde(with = "SchedulerTable")]
    pub scheduler: SchedulerOptions,
    /// What is kept of prompts.
    #[serde(with = "CacheTable")]
    pub cache: CacheOptions,
    /// Images.
    #[serde(with = "MultimodalTable")]
    pub multimodal: MultimodalOptions,
    /// Sampling of requests that do not say otherwise.
    #[serde(with = "SamplingTable")]
    pub sampling: Sampling,
    /// How models share GPUs.
    #[serde(with = "ResidencyTable")]
    pub residency: ResidencyOptions,
}

#[derive(Deserialize)]
#[serde(remote = "Placement", deny_unknown_fields, expecting = "a table")]
struct PlacementTable {
    #[serde(default, deserialize_with = "backend")]
    backend: Option<Backend>,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default, deserialize_with = "gpu_layers")]
    gpu_layers: Option<GpuLayers>,
    #[serde(default, deserialize_with = "split_mode")]
    split_mode: Option<SplitMode>,
    main_gpu: Option<u32>,
    #[serde(default)]
    tensor_split: Vec<f32>,
    use_mmap: Option<bool>,
    use_mlock: Option<bool>,
    check_tensors: Option<bool>,
    no_extra_bufts: Option<bool>,
    no_host: Option<bool>,
}

#[derive(Deserialize)]
#[serde(remote = "ResidencyOptions", deny_unknown_fields, expecting = "a table")]
struct ResidencyTable {
    max_gpu_models_per_device: Option<u32>,
    require_gpu_lease: Option<bool>,
    gpu_memory_safety_margin_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(remote = "ContextOptions", deny_unknown_fields, expecting = "a table")]
struct ContextTable {
    n_ctx: Option<u32>,
    n_batch: Option<u32>,
    n_ubatch: Option<u32>,
    n_parallel: Option<u32>,
    n_threads: Option<u32>,
    n_threads_batch: Option<u32>,
    #[serde(default, deserialize_with = "flash_attention")]
    flash_attention: Option<FlashAttention>,
    #[serde(default, deserialize_with = "cache_type")]
    cache_type_k: Option<CacheType>,
    #[serde(default, deserialize_with = "cache_type")]
    cache_type_v: Option<CacheType>,
    warmup: Option<bool>,
    embeddings: Option<bool>,
    #[serde(default, deserialize_with = "pooling")]
    pooling: Option<Pooling>,
    offload_kqv: Option<bool>,
    op_offload: Option<bool>,
    swa_full: Option<bool>,
    kv_unified: Option<bool>,
    #[serde(default, deserialize_with = "rope_scaling")]
    rope_scaling: Option<RopeScaling>,
    rope_freq_base: Option<f32>,
    rope_freq_scale: Option<f32>,
    yarn_orig_ctx: Option<u32>,
    yarn_ext_factor: Option<f32>,
    yarn_attn_factor: Option<f32>,
    yarn_beta_fast: Option<f32>,
    yarn_beta_slow: Option<f32>,
}

#[derive(Deserialize)]
#[serde(remote = "SchedulerOptions", deny_unknown_fields, expecting = "a table")]
struct SchedulerTable {
    #[serde(default, deserialize_with = "policy")]
    policy: Option<SchedulerPolicy>,
    prefill_chunk_size: Option<u32>,
    max_running_requests: Option<u32>,
    max_queued_requests: Option<u32>,
}

#[derive(Deserialize)]
#[serde(remote = "CacheOptions", deny_unknown_fields, expecting = "a table")]
struct CacheTable {
    #[serde(default, deserialize_with = "cache_mode")]
    mode: Option<CacheMode>,
    context_shift: Option<bool>,
    retained_prefix_tokens: Option<u32>,
    max_snapshot_entries: Option<u32>,
    max_snapshot_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(remote = "MultimodalOptions", deny_unknown_fields, expecting = "a table")]
struct MultimodalTable {
    projector: Option<String>,
    use_gpu: Option<bool>,
    image_min_tokens: Option<u32>,
    image_max_tokens: Option<u32>,
}

/// Serde's view of [`Sampling`], for configurations and for bodies of requests.
#[derive(Deserialize)]
#[serde(remote = "Sampling", deny_unknown_fields, expecting = "sampling options by name")]
pub struct SamplingTable {
    #[serde(default, deserialize_with = "samplers")]
    samplers: Option<Vec<SamplerStage>>,
    seed: Option<u32>,
    temperature: Option<f32>,
    dynatemp_range: Option<f32>,
    dynatemp_exponent: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    typical_p: Option<f32>,
    top_n_sigma: Option<f32>,
    xtc_probability: Option<f32>,
    xtc_threshold: Option<f32>,
    min_keep: Option<u32>,
    repeat_last_n: Option<u32>,
    repeat_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    dry_multiplier: Option<f32>,
    dry_base: Option<f32>,
    dry_allowed_length: Option<u32>,
    dry_penalty_last_n: Option<u32>,
    dry_sequence_breakers: Option<Vec<String>>,
    mirostat: Option<u32>,
    mirostat_tau: Option<f32>,
    mirostat_eta: Option<f32>,
    #[serde(default, deserialize_with = "logit_bias")]
    logit_bias: Vec<LogitBias>,
    ignore_eos: Option<bool>,
}

#[derive(Deserialize)]
#[serde(remote = "Backend", rename_all = "snake_case")]
enum BackendValue {
    Auto,
    Cpu,
    Cuda,
    Metal,
    Vulkan,
}

#[derive(Deserialize)]
#[serde(remote = "SplitMode", rename_all = "snake_case")]
enum SplitModeValue {
    None,
    Layer,
    Row,
    Tensor,
}

#[derive(Deserialize)]
#[serde(remote = "RopeScaling", rename_all = "snake_case")]
enum RopeScalingValue {
    None,
    Linear,
    Yarn,
}

#[derive(Deserialize)]
#[serde(remote = "GpuLayers", rename_all = "snake_case")]
enum GpuLayersValue {
    Auto,
    All,
    Count(u32),
}

#[derive(Deserialize)]
#[serde(remote = "FlashAttention", rename_all = "snake_case")]
enum FlashAttentionValue {
    Auto,
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(remote = "CacheType", rename_all = "snake_case")]
enum CacheTypeValue {
    F32,
    F16,
    #[serde(rename = "q8_0")]
    Q80,
    #[serde(rename = "q4_0")]
    Q40,
    #[serde(rename = "q4_1")]
    Q41,
    Iq4Nl,
    #[serde(rename = "q5_0")]
    Q50,
    #[serde(rename = "q5_1")]
    Q51,
}

#[derive(Deserialize)]
#[serde(remote = "SchedulerPolicy", rename_all = "snake_case")]
enum SchedulerPolicyValue {
    LatencyFirst,
    Balanced,
    ThroughputFirst,
}

#[derive(Deserialize)]
#[serde(remote = "CacheMode", rename_all = "snake_case")]
enum CacheModeValue {
    Disabled,
    LiveSlotPrefix,
    StateSnapshot,
    LiveSlotAndSnapshot,
}

#[derive(Deserialize)]
#[serde(remote = "Pooling", rename_all = "snake_case")]
enum PoolingValue {
    None,
    Mean,
    Cls,
    Last,
    Rank,
}

#[derive(Deserialize)]
#[serde(remote = "SamplerStage", rename_all = "snake_case")]
enum SamplerStageValue {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    TypicalP,
    TopP,
    MinP,
    Xtc,
    Temperature,
}

#[derive(Deserialize)]
#[serde(remote = "LogitBias", deny_unknown_fields, expecting = "a token and its bias")]
struct LogitBiasTable {
    token: u32,
    #[serde(deserialize_with = "bias")]
    bias: f32,
}

fn backend<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Backend>, D::Error> {
    BackendValue::deserialize(value).map(Some)
}

fn split_mode<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SplitMode>, D::Error> {
    SplitModeValue::deserialize(value).map(Some)
}

fn rope_scaling<'de, D: Deserializer<'de>>(value: D) -> Result<Option<RopeScaling>, D::Error> {
    RopeScalingValue::deserialize(value).map(Some)
}

fn gpu_layers<'de, D: Deserializer<'de>>(value: D) -> Result<Option<GpuLayers>, D::Error> {
    GpuLayersValue::deserialize(value).map(Some)
}

fn flash_attention<'de, D: Deserializer<'de>>(value: D) -> Result<Option<FlashAttention>, D::Error> {
    FlashAttentionValue::deserialize(value).map(Some)
}

fn cache_type<'de, D: Deserializer<'de>>(value: D) -> Result<Option<CacheType>, D::Error> {
    CacheTypeValue::deserialize(value).map(Some)
}

fn policy<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SchedulerPolicy>, D::Error> {
    SchedulerPolicyValue::deserialize(value).map(Some)
}

fn cache_mode<'de, D: Deserializer<'de>>(value: D) -> Result<Option<CacheMode>, D::Error> {
    CacheModeValue::deserialize(value).map(Some)
}

fn pooling<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Pooling>, D::Error> {
    PoolingValue::deserialize(value).map(Some)
}

fn samplers<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<SamplerStage>>, D::Error> {
    #[derive(Deserialize)]
    struct Stage(#[serde(with = "SamplerStageValue")] SamplerStage);
    let stages = Option::<Vec<Stage>>::deserialize(value)?;
    Ok(stages.map(|stages| stages.into_iter().map(|Stage(stage)| stage).collect()))
}

/// JSON has no infinity: null is the negative one there, which bans the token.
fn bias<'de, D: Deserializer<'de>>(value: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f32::NEG_INFINITY))
}

fn logit_bias<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<LogitBias>, D::Error> {
    #[derive(Deserialize)]
    struct Entry(#[serde(with = "LogitBiasTable")] LogitBias);
    let entries = Vec::<Entry>::deserialize(value)?;
    Ok(entries.into_iter().map(|Entry(entry)| entry).collect())
}
