//! The records, enums and variants of `wit/` that a case can hold.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sipp::{
    Authentication, Backend, CacheMode, CacheOptions, CacheType, CancelReason, ChatRequest, Context, ContextOptions,
    Descriptor, EmbedRequest, EndpointRef, Extension, FinishReason, FlashAttention, GatewayDescriptor, GpuLayers,
    Header, HeaderCredential, JsonSchemaFormat, Kind, LocalDescriptor, LocalEmbedOptions, LocalOptions, LogitBias,
    Media, MediaSource, Message, ModelFault, MultimodalOptions, Operation, Part, Placement, Pooling,
    ProviderDescriptor, QueryRequest, Reasoning, ResidencyOptions, ResponseFormat, Role, RopeScaling, Routes,
    SamplerStage, Sampling, SchedulerOptions, SchedulerPolicy, SplitMode, Support, TextOptions, Timeouts, Tool,
    ToolCall, ToolChoice, ToolResult, UpstreamFault,
};

use crate::read::{Fields, Read, names, record};

record!(QueryRequest { endpoint, prompt, options, local, endpoint_options, provider_options, context });
record!(ChatRequest { endpoint, messages, options, local, endpoint_options, provider_options, context });
record!(EmbedRequest { endpoint, inputs, local, endpoint_options, provider_options, context });
record!(EndpointRef { kind, id });
record!(TextOptions { max_tokens, temperature, top_p, stop, stream, tools, tool_choice, response_format, logprobs });
record!(LocalOptions { context_key, grammar, json_schema, sampling, media });
record!(LocalEmbedOptions { context_key, normalize, query });
record!(Context { request_id, principal, deadline, call });
record!(Sampling {
    samplers,
    seed,
    temperature,
    dynatemp_range,
    dynatemp_exponent,
    top_k,
    top_p,
    min_p,
    typical_p,
    top_n_sigma,
    xtc_probability,
    xtc_threshold,
    min_keep,
    repeat_last_n,
    repeat_penalty,
    frequency_penalty,
    presence_penalty,
    dry_multiplier,
    dry_base,
    dry_allowed_length,
    dry_penalty_last_n,
    dry_sequence_breakers,
    mirostat,
    mirostat_tau,
    mirostat_eta,
    logit_bias,
    ignore_eos,
});
record!(LogitBias { token, bias });
record!(Media { mime_type, source });
record!(ToolCall { id, name, arguments });
record!(ToolResult { id, content, is_error });
record!(Reasoning { text, signature });

record!(LocalDescriptor { model, multimodal, placement, context, scheduler, cache, sampling, residency });
record!(Placement {
    backend,
    devices,
    gpu_layers,
    split_mode,
    main_gpu,
    tensor_split,
    use_mmap,
    use_mlock,
    check_tensors,
    no_extra_bufts,
    no_host,
});
record!(ResidencyOptions { max_gpu_models_per_device, require_gpu_lease, gpu_memory_safety_margin_bytes });
record!(MultimodalOptions { projector, use_gpu, image_min_tokens, image_max_tokens });
record!(ContextOptions {
    n_ctx,
    n_batch,
    n_ubatch,
    n_parallel,
    n_threads,
    n_threads_batch,
    flash_attention,
    cache_type_k,
    cache_type_v,
    warmup,
    embeddings,
    pooling,
    offload_kqv,
    op_offload,
    swa_full,
    kv_unified,
    rope_scaling,
    rope_freq_base,
    rope_freq_scale,
    yarn_orig_ctx,
    yarn_ext_factor,
    yarn_attn_factor,
    yarn_beta_fast,
    yarn_beta_slow,
});
record!(SchedulerOptions { policy, prefill_chunk_size, max_running_requests, max_queued_requests });
record!(CacheOptions { mode, context_shift, retained_prefix_tokens, max_snapshot_entries, max_snapshot_bytes });
record!(GatewayDescriptor { target, base_url, routes, authentication, headers, timeouts, protocol_options, retries });
record!(ProviderDescriptor {
    provider,
    component,
    model,
    base_url,
    authentication,
    version,
    correlation_header,
    headers,
    timeouts,
    options,
    retries,
});
record!(Routes { query, chat, embed });
record!(Timeouts { connect, request, idle });
record!(Header { name, value });
record!(HeaderCredential { name, value });

names!(Kind { local: Local, gateway: Gateway, provider: Provider });
names!(Role { system: System, developer: Developer, user: User, assistant: Assistant, tool: Tool });
names!(Support { supported: Supported, unsupported: Unsupported, unknown: Unknown });
names!(Operation { query: Query, chat: Chat, embed: Embed });
names!(Pooling { none: None, mean: Mean, cls: Cls, last: Last, rank: Rank });
names!(Backend { auto: Auto, cpu: Cpu, cuda: Cuda, metal: Metal, vulkan: Vulkan });
names!(SplitMode { none: None, layer: Layer, row: Row, tensor: Tensor });
names!(RopeScaling { none: None, linear: Linear, yarn: Yarn });
names!(FlashAttention { auto: Auto, enabled: Enabled, disabled: Disabled });
names!(CacheType { f32: F32, f16: F16, q8_0: Q80, q4_0: Q40, q4_1: Q41, iq4_nl: Iq4Nl, q5_0: Q50, q5_1: Q51 });
names!(SchedulerPolicy { latency_first: LatencyFirst, balanced: Balanced, throughput_first: ThroughputFirst });
names!(CacheMode {
    disabled: Disabled,
    live_slot_prefix: LiveSlotPrefix,
    state_snapshot: StateSnapshot,
    live_slot_and_snapshot: LiveSlotAndSnapshot,
});
names!(SamplerStage {
    penalties: Penalties,
    dry: Dry,
    top_n_sigma: TopNSigma,
    top_k: TopK,
    typical_p: TypicalP,
    top_p: TopP,
    min_p: MinP,
    xtc: Xtc,
    temperature: Temperature,
});
names!(FinishReason {
    stop: Stop,
    length: Length,
    tool_calls: ToolCalls,
    content_filter: ContentFilter,
    cancelled: Cancelled,
});
names!(CancelReason {
    caller_cancelled: CallerCancelled,
    client_disconnected: ClientDisconnected,
    server_shutdown: ServerShutdown,
    deadline_exceeded: DeadlineExceeded,
});
names!(ModelFault {
    not_found: NotFound,
    not_gguf: NotGguf,
    corrupt: Corrupt,
    unsupported_architecture: UnsupportedArchitecture,
    out_of_memory: OutOfMemory,
    configuration: Configuration,
});
names!(UpstreamFault {
    authentication: Authentication,
    authorization: Authorization,
    rate_limited: RateLimited,
    quota_exceeded: QuotaExceeded,
    invalid_request: InvalidRequest,
    unsupported_feature: UnsupportedFeature,
    model_not_found: ModelNotFound,
    timeout: Timeout,
    overloaded: Overloaded,
    transport: Transport,
    protocol: Protocol,
    provider: Provider,
});

/// `{"name": …, "value": any JSON}`.
impl Read for Extension {
    fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        let name = fields.take("name")?;
        let Json(value) = fields.take("value")?;
        fields.end()?;
        Ok(Self { name, value: value.to_string() })
    }
}

/// `parameters` is any JSON.
impl Read for Tool {
    fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        let (name, description, strict) = (fields.take("name")?, fields.take("description")?, fields.take("strict")?);
        let parameters: Option<Json> = fields.take("parameters")?;
        fields.end()?;
        Ok(Self { name, description, parameters: parameters.map(|Json(value)| value.to_string()), strict })
    }
}

/// `schema` is any JSON.
impl Read for JsonSchemaFormat {
    fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        let (name, description, strict) = (fields.take("name")?, fields.take("description")?, fields.take("strict")?);
        let Json(schema) = fields.take("schema")?;
        fields.end()?;
        Ok(Self { name, description, schema: schema.to_string(), strict })
    }
}

/// A value as it stands.
struct Json(Value);

impl Read for Json {
    fn read(value: Value) -> Result<Self> {
        Ok(Self(value))
    }
}

/// `content` may be a text, for a list of one text part.
impl Read for Message {
    fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        let role = fields.take("role")?;
        let Json(content) = fields.take("content")?;
        fields.end()?;
        let content = match content.as_str() {
            Some(text) => vec![Part::Text(text.to_owned())],
            None if content.is_null() => bail!("field `content`: it is missing"),
            None => Vec::read(content).context("field `content`")?,
        };
        Ok(Self { role, content })
    }
}

// A variant is an object of one field, the case's name, or a text for a case without a payload.

impl Read for Part {
    fn read(value: Value) -> Result<Self> {
        let (case, payload) = Fields::of(value)?.take_only()?;
        match case.as_str() {
            "text" => Read::read(payload).map(Self::Text),
            "media" => Read::read(payload).map(Self::Media),
            "tool_call" => Read::read(payload).map(Self::ToolCall),
            "tool_result" => Read::read(payload).map(Self::ToolResult),
            "reasoning" => Read::read(payload).map(Self::Reasoning),
            other => bail!("`{other}` is no kind of part"),
        }
    }
}

impl Read for MediaSource {
    fn read(value: Value) -> Result<Self> {
        let (case, payload) = Fields::of(value)?.take_only()?;
        match case.as_str() {
            "bytes" => Read::read(payload).map(Self::Bytes),
            "url" => Read::read(payload).map(Self::Url),
            other => bail!("`{other}` is no source of media"),
        }
    }
}

impl Read for ToolChoice {
    fn read(value: Value) -> Result<Self> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("none") => Ok(Self::None),
            Some("required") => Ok(Self::Required),
            _ => match Fields::of(value)?.take_only()? {
                (case, name) if case == "tool" => Read::read(name).map(Self::Tool),
                (other, _) => bail!("`{other}` is no choice of tools"),
            },
        }
    }
}

impl Read for ResponseFormat {
    fn read(value: Value) -> Result<Self> {
        match value.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json_object") => Ok(Self::JsonObject),
            _ => match Fields::of(value)?.take_only()? {
                (case, format) if case == "json_schema" => Read::read(format).map(Self::JsonSchema),
                (other, _) => bail!("`{other}` is no form of an answer"),
            },
        }
    }
}

impl Read for GpuLayers {
    fn read(value: Value) -> Result<Self> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("all") => Ok(Self::All),
            _ => match Fields::of(value)?.take_only()? {
                (case, count) if case == "count" => Read::read(count).map(Self::Count),
                (other, _) => bail!("`{other}` is no number of layers"),
            },
        }
    }
}

impl Read for Authentication {
    fn read(value: Value) -> Result<Self> {
        if value.is_null() || value == "none" {
            return Ok(Self::None);
        }
        let (case, payload) = Fields::of(value)?.take_only()?;
        match case.as_str() {
            "api_key" => Read::read(payload).map(Self::ApiKey),
            "bearer" => Read::read(payload).map(Self::Bearer),
            "header" => Read::read(payload).map(Self::Header),
            other => bail!("`{other}` is no authentication"),
        }
    }
}

/// A descriptor has its case in a field `kind`, beside its own fields.
impl Read for Descriptor {
    fn read(mut value: Value) -> Result<Self> {
        let kind = value.as_object_mut().and_then(|fields| fields.shift_remove("kind")).unwrap_or_default();
        match Kind::read(kind).context("field `kind`")? {
            Kind::Local => Read::read(value).map(Self::Local),
            Kind::Gateway => Read::read(value).map(Self::Gateway),
            Kind::Provider => Read::read(value).map(Self::Provider),
        }
    }
}
