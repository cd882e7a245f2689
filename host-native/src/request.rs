//! Short ways to write requests and descriptors, whose types come from the contracts in `wit/`.

#![allow(clippy::derivable_impls, reason = "the types are generated, and derive only what all of them can")]

use std::path::Path;

use crate::bindings::client::{ChatRequest, EmbedRequest, EndpointRef, Kind, LocalEmbedOptions, QueryRequest};
use crate::bindings::endpoints::{
    Authentication, CacheOptions, ContextOptions, Descriptor, GatewayDescriptor, LocalDescriptor, MultimodalOptions,
    Placement, ProviderDescriptor, ResidencyOptions, Routes, SchedulerOptions, Timeouts,
};
use crate::bindings::types::{Context, LocalOptions, Message, Part, Role, Sampling, TextOptions};

impl Message {
    /// A message of one text.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Part::Text(text.into())] }
    }

    /// What the application instructs.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// What the person says.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// What the model said.
    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }
}

impl QueryRequest {
    /// A prompt with default options.
    #[must_use]
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }
}

impl ChatRequest {
    /// A conversation with default options.
    #[must_use]
    pub fn new(messages: impl Into<Vec<Message>>) -> Self {
        Self { messages: messages.into(), ..Self::default() }
    }
}

impl EmbedRequest {
    /// Texts with default options.
    #[must_use]
    pub fn new(inputs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { inputs: inputs.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl From<&str> for QueryRequest {
    fn from(prompt: &str) -> Self {
        Self::new(prompt)
    }
}

impl From<Vec<Message>> for ChatRequest {
    fn from(messages: Vec<Message>) -> Self {
        Self::new(messages)
    }
}

impl From<&str> for EmbedRequest {
    fn from(input: &str) -> Self {
        Self::new([input])
    }
}

impl LocalDescriptor {
    /// The model of a GGUF file, or of the first shard of one, with default settings.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { model: path.as_ref().to_string_lossy().into_owned(), ..Self::default() }
    }
}

impl ProviderDescriptor {
    /// A model at a provider, without a credential.
    #[must_use]
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            component: None,
            model: model.into(),
            base_url: None,
            authentication: Authentication::None,
            version: None,
            correlation_header: None,
            headers: Vec::new(),
            timeouts: Timeouts::default(),
            options: Vec::new(),
            retries: None,
        }
    }
}

impl GatewayDescriptor {
    /// A target of a gateway, without a credential.
    #[must_use]
    pub fn new(target: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            base_url: base_url.into(),
            routes: Routes::default(),
            authentication: Authentication::None,
            headers: Vec::new(),
            timeouts: Timeouts::default(),
            protocol_options: Vec::new(),
            retries: None,
        }
    }
}

impl From<ProviderDescriptor> for Descriptor {
    fn from(descriptor: ProviderDescriptor) -> Self {
        Self::Provider(descriptor)
    }
}

impl From<GatewayDescriptor> for Descriptor {
    fn from(descriptor: GatewayDescriptor) -> Self {
        Self::Gateway(descriptor)
    }
}

impl From<LocalDescriptor> for Descriptor {
    fn from(descriptor: LocalDescriptor) -> Self {
        Self::Local(descriptor)
    }
}

impl PartialEq for EndpointRef {
    fn eq(&self, other: &Self) -> bool {
        let kind = |kind: Kind| kind as u8;
        kind(self.kind) == kind(other.kind) && self.id == other.id
    }
}

impl Eq for EndpointRef {}

// What is left out of a request or a descriptor keeps its default; the contracts say which.

impl Default for QueryRequest {
    fn default() -> Self {
        Self {
            endpoint: None,
            prompt: String::new(),
            options: TextOptions::default(),
            local: None,
            endpoint_options: Vec::new(),
            provider_options: Vec::new(),
            context: Context::default(),
        }
    }
}

impl Default for ChatRequest {
    fn default() -> Self {
        Self {
            endpoint: None,
            messages: Vec::new(),
            options: TextOptions::default(),
            local: None,
            endpoint_options: Vec::new(),
            provider_options: Vec::new(),
            context: Context::default(),
        }
    }
}

impl Default for EmbedRequest {
    fn default() -> Self {
        Self {
            endpoint: None,
            inputs: Vec::new(),
            local: None,
            endpoint_options: Vec::new(),
            provider_options: Vec::new(),
            context: Context::default(),
        }
    }
}

impl Default for LocalEmbedOptions {
    fn default() -> Self {
        Self { context_key: None, normalize: None, query: None }
    }
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: None,
            top_p: None,
            stop: Vec::new(),
            stream: None,
            tools: Vec::new(),
            tool_choice: None,
            response_format: None,
            logprobs: None,
        }
    }
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { context_key: None, grammar: None, json_schema: None, sampling: None, media: Vec::new() }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self { request_id: None, principal: None, deadline: None, call: None }
    }
}

impl Default for LocalDescriptor {
    fn default() -> Self {
        Self {
            model: String::new(),
            placement: Placement::default(),
            context: ContextOptions::default(),
            scheduler: SchedulerOptions::default(),
            cache: CacheOptions::default(),
            multimodal: MultimodalOptions::default(),
            sampling: Sampling::default(),
            residency: ResidencyOptions::default(),
        }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            backend: None,
            devices: Vec::new(),
            gpu_layers: None,
            split_mode: None,
            main_gpu: None,
            tensor_split: Vec::new(),
            use_mmap: None,
            use_mlock: None,
            check_tensors: None,
            no_extra_bufts: None,
            no_host: None,
        }
    }
}

impl Default for ResidencyOptions {
    fn default() -> Self {
        Self { max_gpu_models_per_device: None, require_gpu_lease: None, gpu_memory_safety_margin_bytes: None }
    }
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            n_ctx: None,
            n_batch: None,
            n_ubatch: None,
            n_parallel: None,
            n_threads: None,
            n_threads_batch: None,
            flash_attention: None,
            cache_type_k: None,
            cache_type_v: None,
            warmup: None,
            embeddings: None,
            pooling: None,
            offload_kqv: None,
            op_offload: None,
            swa_full: None,
            kv_unified: None,
            rope_scaling: None,
            rope_freq_base: None,
            rope_freq_scale: None,
            yarn_orig_ctx: None,
            yarn_ext_factor: None,
            yarn_attn_factor: None,
            yarn_beta_fast: None,
            yarn_beta_slow: None,
        }
    }
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { policy: None, prefill_chunk_size: None, max_running_requests: None, max_queued_requests: None }
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            mode: None,
            context_shift: None,
            retained_prefix_tokens: None,
            max_snapshot_entries: None,
            max_snapshot_bytes: None,
        }
    }
}

impl Default for MultimodalOptions {
    fn default() -> Self {
        Self { projector: None, use_gpu: None, image_min_tokens: None, image_max_tokens: None }
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self { query: None, chat: None, embed: None }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: None, request: None, idle: None }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            samplers: None,
            seed: None,
            temperature: None,
            dynatemp_range: None,
            dynatemp_exponent: None,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
            top_n_sigma: None,
            xtc_probability: None,
            xtc_threshold: None,
            min_keep: None,
            repeat_last_n: None,
            repeat_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
            dry_multiplier: None,
            dry_base: None,
            dry_allowed_length: None,
            dry_penalty_last_n: None,
            dry_sequence_breakers: None,
            mirostat: None,
            mirostat_tau: None,
            mirostat_eta: None,
            logit_bias: Vec::new(),
            ignore_eos: None,
        }
    }
}
