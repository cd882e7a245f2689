//! Local models: an engine of this process as an answerer, and its words in the contract's.

use std::future::ready;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use engine_sys as engine;
use tokio::sync::oneshot;

use crate::Error;
use crate::bindings::endpoints::{self, Capabilities, LocalDescriptor, Support};
use crate::bindings::types::{
    self, CacheSource, CancelReason, Context, Delta, EmbedRequest, Embedding, FinishReason, Input, MediaSource,
    Message, Metadata, ModelFault, ModelPayload, Operation, Outcome, Part, PromptTooLongPayload, Reasoning, Request,
    ResponseFormat, Role, Stats, TokenBatch, ToolChoice, UnsupportedPayload, Usage,
};
use crate::channel::Feeder;
use crate::switchboard::{Answer, Answerer, Answering, Progress};

/// A loaded model.
pub(crate) struct Local {
    engine: engine::Engine,
}

impl Local {
    pub(crate) fn load(descriptor: LocalDescriptor, progress: Progress) -> Result<Self, Error> {
        let config = engine::ModelConfig {
            path: descriptor.model.into(),
            placement: placement(descriptor.placement),
            context: context(&descriptor.context),
            scheduler: scheduler(&descriptor.scheduler),
            cache: cache(&descriptor.cache),
            multimodal: multimodal(descriptor.multimodal),
            sampling: sampling(descriptor.sampling),
            residency: residency(&descriptor.residency),
        };
        let engine = engine::Engine::load(config, progress).map_err(|error| convert(error, Operation::Query))?;
        Ok(Self { engine })
    }
}

impl Answerer for Local {
    fn capabilities(&self) -> Capabilities {
        let can = |yes: bool| if yes { Support::Supported } else { Support::Unsupported };
        let model = &self.engine.model().capabilities;
        Capabilities {
            query: can(model.generates_text),
            chat: can(model.generates_text && model.has_chat_template),
            embed: can(model.embeds),
        }
    }

    fn generate(self: Arc<Self>, request: Request) -> Answering<Answer> {
        Box::pin(ready(self.begin(request)))
    }

    fn embed(self: Arc<Self>, request: EmbedRequest) -> Answering<Embedding> {
        let (done, embedded) = oneshot::channel();
        let begun = self.begin_embed(request, done);
        Box::pin(async move {
            let _cancelled_with_this = CancelOnDrop(begun?);
            embedded.await.unwrap_or_else(|_| Err(Error::Internal("the endpoint went away".to_owned())))
        })
    }

    fn engine(&self) -> Option<&engine::Engine> {
        Some(&self.engine)
    }
}

/// Cancels what nobody waits for any more.
struct CancelOnDrop(engine::Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Local {
    fn begin(&self, request: Request) -> Result<Answer, Error> {
        let (feeder, answer) = Answer::new();
        let Request { input, options, local, extensions: _, context } = request;
        let operation = match &input {
            Input::Prompt(_) => Operation::Query,
            Input::Messages(_) => Operation::Chat,
        };
        let local = local.unwrap_or_default();
        let request = engine::TextRequest {
            input: engine_input(input),
            max_tokens: options.max_tokens,
            temperature: options.temperature,
            top_p: options.top_p,
            stop: options.stop,
            sampling: local.sampling.map(sampling).unwrap_or_default(),
            grammar: local.grammar,
            json_schema: local.json_schema,
            response_format: match options.response_format {
                None | Some(ResponseFormat::Text) => engine::ResponseFormat::Text,
                Some(ResponseFormat::JsonObject) => engine::ResponseFormat::JsonObject,
                Some(ResponseFormat::JsonSchema(format)) => engine::ResponseFormat::JsonSchema(format.schema),
            },
            tools: options.tools.into_iter().map(tool).collect(),
            tool_choice: match options.tool_choice {
                None | Some(ToolChoice::Auto) => engine::ToolChoice::Auto,
                Some(ToolChoice::None) => engine::ToolChoice::None,
                Some(ToolChoice::Required) => engine::ToolChoice::Required,
                Some(ToolChoice::Tool(name)) => engine::ToolChoice::Tool(name),
            },
            logprobs: options.logprobs,
            media: local.media,
            context_key: local.context_key,
        };
        let canceller = feeder.canceller();
        let listener = Box::new(Relay { feeder, operation, context, _engine: self.engine.clone() });
        let cancel = self.engine.generate(request, listener).map_err(|error| convert(error, operation))?;
        canceller.on_cancel(move || cancel.cancel());
        Ok(answer)
    }

    fn begin_embed(
        &self,
        request: EmbedRequest,
        done: oneshot::Sender<Result<Embedding, Error>>,
    ) -> Result<engine::Cancel, Error> {
        let EmbedRequest { inputs, normalize, query, context, .. } = request;
        let engine = self.engine.clone();
        let answer = move |result: Result<engine::Embedding, engine::Error>| {
            // As in `Relay`.
            let _engine = engine;
            let result = result.map(|embedding| from_embedding(embedding, context));
            // Who asked may be gone.
            let _ = done.send(result.map_err(|error| convert(error, Operation::Embed)));
        };
        self.engine
            .embed(engine::EmbedRequest { inputs, normalize, query }, Box::new(answer))
            .map_err(|error| convert(error, Operation::Embed))
    }
}

/// Carries what the engine says to the answer's reader.
struct Relay {
    feeder: Feeder,
    operation: Operation,
    context: Context,
    /// A request keeps its engine when the endpoint is removed meanwhile.
    _engine: engine::Engine,
}

impl engine::Listener for Relay {
    fn tokens(&mut self, batch: engine::TokenBatch) -> ControlFlow<()> {
        let engine::TokenBatch { delta, sequence, tokens, logprobs } = batch;
        let logprobs = logprobs.into_iter().map(token_logprob).collect();
        let wanted = self.feeder.push(TokenBatch { delta: from_delta(delta), sequence, tokens, logprobs });
        if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn done(self: Box<Self>, result: Result<engine::Outcome, engine::Error>) {
        let Self { feeder, operation, context, _engine } = *self;
        let ending = result.map(|outcome| from_outcome(outcome, context));
        feeder.finish(ending.map_err(|error| convert(error, operation)));
    }
}

fn from_delta(delta: engine::Delta) -> Delta {
    match delta {
        engine::Delta::Text(text) => Delta::Text(text),
        engine::Delta::Reasoning(text) => Delta::Reasoning(Reasoning { text, signature: None }),
        engine::Delta::ToolCall(engine::ToolCall { id, name, arguments }) => {
            Delta::ToolCall(types::ToolCall { id, name, arguments })
        }
    }
}

fn token_logprob(logprob: engine::TokenLogprob) -> types::TokenLogprob {
    let engine::TokenLogprob { token, logprob, top } = logprob;
    let top = top.into_iter().map(|(token, logprob)| types::Alternative { token, logprob }).collect();
    types::TokenLogprob { token, logprob, top }
}

fn from_outcome(outcome: engine::Outcome, context: Context) -> Outcome {
    Outcome {
        finish: match outcome.finish {
            engine::Finish::Stop => FinishReason::Stop,
            engine::Finish::Length => FinishReason::Length,
            engine::Finish::ToolCalls => FinishReason::ToolCalls,
            engine::Finish::Cancelled => FinishReason::Cancelled,
        },
        usage: Some(Usage {
            input_tokens: Some(outcome.input_tokens),
            output_tokens: Some(outcome.output_tokens),
            cached_tokens: Some(outcome.stats.cached_tokens),
            cache_write_tokens: None,
            reasoning_tokens: None,
        }),
        stats: Some(stats(outcome.stats)),
        metadata: metadata(context),
    }
}

fn from_embedding(embedding: engine::Embedding, context: Context) -> Embedding {
    Embedding {
        vectors: embedding.vectors,
        pooling: Some(match embedding.pooling {
            engine::Pooling::None => types::Pooling::None,
            engine::Pooling::Mean => types::Pooling::Mean,
            engine::Pooling::Cls => types::Pooling::Cls,
            engine::Pooling::Last => types::Pooling::Last,
            engine::Pooling::Rank => types::Pooling::Rank,
        }),
        normalized: Some(embedding.normalized),
        usage: Some(Usage {
            input_tokens: Some(embedding.input_tokens),
            output_tokens: None,
            cached_tokens: None,
            cache_write_tokens: None,
            reasoning_tokens: None,
        }),
        stats: Some(stats(embedding.stats)),
        metadata: metadata(context),
    }
}

fn stats(stats: engine::Stats) -> Stats {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Stats {
        queue_time: milliseconds(stats.queue),
        time_to_first_token: stats.time_to_first_token.map(milliseconds),
        prefill_time: milliseconds(stats.prefill),
        decode_time: milliseconds(stats.decode),
        inter_token_p50: stats.inter_token.map(|times| milliseconds(times.p50)),
        inter_token_p99: stats.inter_token.map(|times| milliseconds(times.p99)),
        prefill_tokens: stats.prefill_tokens,
        cache_source: match stats.cache_source {
            engine::CacheSource::None => CacheSource::None,
            engine::CacheSource::Live => CacheSource::Live,
            engine::CacheSource::Snapshot => CacheSource::Snapshot,
        },
    }
}

fn metadata(context: Context) -> Metadata {
    Metadata { request_id: context.request_id, upstream_request_id: None, upstream_response_id: None, retries: 0 }
}

/// The one place where an engine's error becomes the client's.
fn convert(error: engine::Error, operation: Operation) -> Error {
    match error {
        engine::Error::Model { fault, message } => Error::Model(ModelPayload { fault: model_fault(fault), message }),
        engine::Error::InvalidRequest(text) => Error::InvalidRequest(text),
        engine::Error::Unsupported(reason) => {
            Error::Unsupported(UnsupportedPayload { operation, endpoint: None, reason })
        }
        engine::Error::PromptTooLong { prompt_tokens, context_tokens } => {
            Error::PromptTooLong(PromptTooLongPayload { prompt_tokens, context_tokens })
        }
        engine::Error::Overloaded(text) => Error::Overloaded(text),
        engine::Error::Cancelled => Error::Cancelled(CancelReason::CallerCancelled),
        engine::Error::Internal(text) => Error::Internal(text),
        other => Error::Internal(other.to_string()),
    }
}

fn model_fault(fault: engine::ModelFault) -> ModelFault {
    match fault {
        engine::ModelFault::NotFound => ModelFault::NotFound,
        engine::ModelFault::NotGguf => ModelFault::NotGguf,
        engine::ModelFault::Corrupt => ModelFault::Corrupt,
        engine::ModelFault::UnsupportedArchitecture => ModelFault::UnsupportedArchitecture,
        engine::ModelFault::OutOfMemory => ModelFault::OutOfMemory,
        engine::ModelFault::Configuration => ModelFault::Configuration,
    }
}

fn engine_input(input: Input) -> engine::Input {
    match input {
        Input::Prompt(prompt) => engine::Input::Prompt(prompt),
        Input::Messages(messages) => engine::Input::Chat(messages.into_iter().map(message).collect()),
    }
}

fn message(message: Message) -> engine::ChatMessage {
    let role = match message.role {
        Role::System => engine::Role::System,
        Role::Developer => engine::Role::Developer,
        Role::User => engine::Role::User,
        Role::Assistant => engine::Role::Assistant,
        Role::Tool => engine::Role::Tool,
    };
    engine::ChatMessage { role, content: message.content.into_iter().map(part).collect() }
}

fn part(part: Part) -> engine::Part {
    match part {
        Part::Text(text) => engine::Part::Text(text),
        Part::Media(types::Media { mime_type: _, source: MediaSource::Bytes(bytes) }) => {
            engine::Part::Media(engine::Media::Bytes(bytes))
        }
        Part::Media(types::Media { mime_type: _, source: MediaSource::Url(url) }) => {
            engine::Part::Media(engine::Media::Url(url))
        }
        Part::ToolCall(types::ToolCall { id, name, arguments }) => {
            engine::Part::ToolCall(engine::ToolCall { id, name, arguments })
        }
        Part::ToolResult(types::ToolResult { id, content, is_error: _ }) => {
            engine::Part::ToolResult(engine::ToolResult { id, content })
        }
        Part::Reasoning(Reasoning { text, signature: _ }) => engine::Part::Reasoning(text),
    }
}

fn tool(tool: types::Tool) -> engine::Tool {
    // What a tool is asked with always matches its schema: `strict` adds nothing.
    let types::Tool { name, description, parameters, strict: _ } = tool;
    engine::Tool { name, description, parameters }
}

fn placement(placement: endpoints::Placement) -> engine::Placement {
    engine::Placement {
        backend: placement.backend.map(|backend| match backend {
            endpoints::Backend::Auto => engine::Backend::Auto,
            endpoints::Backend::Cpu => engine::Backend::Cpu,
            endpoints::Backend::Cuda => engine::Backend::Cuda,
            endpoints::Backend::Metal => engine::Backend::Metal,
            endpoints::Backend::Vulkan => engine::Backend::Vulkan,
        }),
        devices: placement.devices,
        gpu_layers: placement.gpu_layers.map(|layers| match layers {
            endpoints::GpuLayers::Auto => engine::GpuLayers::Auto,
            endpoints::GpuLayers::All => engine::GpuLayers::All,
            endpoints::GpuLayers::Count(count) => engine::GpuLayers::Count(count),
        }),
        split_mode: placement.split_mode.map(|mode| match mode {
            endpoints::SplitMode::None => engine::SplitMode::None,
            endpoints::SplitMode::Layer => engine::SplitMode::Layer,
            endpoints::SplitMode::Row => engine::SplitMode::Row,
            endpoints::SplitMode::Tensor => engine::SplitMode::Tensor,
        }),
        main_gpu: placement.main_gpu,
        tensor_split: placement.tensor_split,
        use_mmap: placement.use_mmap,
        use_mlock: placement.use_mlock,
        check_tensors: placement.check_tensors,
        no_extra_bufts: placement.no_extra_bufts,
        no_host: placement.no_host,
    }
}

fn residency(residency: &endpoints::ResidencyOptions) -> engine::Residency {
    engine::Residency {
        max_gpu_models_per_device: residency.max_gpu_models_per_device,
        require_gpu_lease: residency.require_gpu_lease,
        gpu_memory_safety_margin_bytes: residency.gpu_memory_safety_margin_bytes,
    }
}

fn context(context: &endpoints::ContextOptions) -> engine::ContextConfig {
    engine::ContextConfig {
        n_ctx: context.n_ctx,
        n_batch: context.n_batch,
        n_ubatch: context.n_ubatch,
        n_parallel: context.n_parallel,
        n_threads: context.n_threads,
        n_threads_batch: context.n_threads_batch,
        flash_attention: context.flash_attention.map(|mode| match mode {
            endpoints::FlashAttention::Auto => engine::FlashAttention::Auto,
            endpoints::FlashAttention::Enabled => engine::FlashAttention::Enabled,
            endpoints::FlashAttention::Disabled => engine::FlashAttention::Disabled,
        }),
        cache_type_k: context.cache_type_k.map(cache_type),
        cache_type_v: context.cache_type_v.map(cache_type),
        warmup: context.warmup,
        embeddings: context.embeddings,
        pooling: context.pooling.map(|pooling| match pooling {
            types::Pooling::None => engine::Pooling::None,
            types::Pooling::Mean => engine::Pooling::Mean,
            types::Pooling::Cls => engine::Pooling::Cls,
            types::Pooling::Last => engine::Pooling::Last,
            types::Pooling::Rank => engine::Pooling::Rank,
        }),
        offload_kqv: context.offload_kqv,
        op_offload: context.op_offload,
        swa_full: context.swa_full,
        kv_unified: context.kv_unified,
        rope_scaling: context.rope_scaling.map(|scaling| match scaling {
            endpoints::RopeScaling::None => engine::RopeScaling::None,
            endpoints::RopeScaling::Linear => engine::RopeScaling::Linear,
            endpoints::RopeScaling::Yarn => engine::RopeScaling::Yarn,
        }),
        rope_freq_base: context.rope_freq_base,
        rope_freq_scale: context.rope_freq_scale,
        yarn_orig_ctx: context.yarn_orig_ctx,
        yarn_ext_factor: context.yarn_ext_factor,
        yarn_attn_factor: context.yarn_attn_factor,
        yarn_beta_fast: context.yarn_beta_fast,
        yarn_beta_slow: context.yarn_beta_slow,
    }
}

fn scheduler(scheduler: &endpoints::SchedulerOptions) -> engine::SchedulerConfig {
    engine::SchedulerConfig {
        policy: scheduler.policy.map(|policy| match policy {
            endpoints::SchedulerPolicy::LatencyFirst => engine::Policy::LatencyFirst,
            endpoints::SchedulerPolicy::Balanced => engine::Policy::Balanced,
            endpoints::SchedulerPolicy::ThroughputFirst => engine::Policy::ThroughputFirst,
        }),
        prefill_chunk_size: scheduler.prefill_chunk_size,
        max_running_requests: scheduler.max_running_requests,
        max_queued_requests: scheduler.max_queued_requests,
    }
}

fn cache(cache: &endpoints::CacheOptions) -> engine::CacheConfig {
    engine::CacheConfig {
        mode: cache.mode.map(|mode| match mode {
            endpoints::CacheMode::Disabled => engine::CacheMode::Disabled,
            endpoints::CacheMode::LiveSlotPrefix => engine::CacheMode::LiveSlotPrefix,
            endpoints::CacheMode::StateSnapshot => engine::CacheMode::StateSnapshot,
            endpoints::CacheMode::LiveSlotAndSnapshot => engine::CacheMode::LiveSlotAndSnapshot,
        }),
        context_shift: cache.context_shift,
        retained_prefix_tokens: cache.retained_prefix_tokens,
        max_snapshot_entries: cache.max_snapshot_entries,
        max_snapshot_bytes: cache.max_snapshot_bytes,
    }
}

fn multimodal(multimodal: endpoints::MultimodalOptions) -> engine::MultimodalConfig {
    engine::MultimodalConfig {
        projector: multimodal.projector.map(Into::into),
        use_gpu: multimodal.use_gpu,
        image_min_tokens: multimodal.image_min_tokens,
        image_max_tokens: multimodal.image_max_tokens,
    }
}

fn cache_type(kind: endpoints::CacheType) -> engine::CacheType {
    match kind {
        endpoints::CacheType::F32 => engine::CacheType::F32,
        endpoints::CacheType::F16 => engine::CacheType::F16,
        endpoints::CacheType::Q80 => engine::CacheType::Q8_0,
        endpoints::CacheType::Q40 => engine::CacheType::Q4_0,
        endpoints::CacheType::Q41 => engine::CacheType::Q4_1,
        endpoints::CacheType::Iq4Nl => engine::CacheType::Iq4Nl,
        endpoints::CacheType::Q50 => engine::CacheType::Q5_0,
        endpoints::CacheType::Q51 => engine::CacheType::Q5_1,
    }
}

fn sampling(sampling: types::Sampling) -> engine::Sampling {
    engine::Sampling {
        samplers: sampling.samplers.map(|stages| stages.into_iter().map(stage).collect()),
        seed: sampling.seed,
        temperature: sampling.temperature,
        dynatemp_range: sampling.dynatemp_range,
        dynatemp_exponent: sampling.dynatemp_exponent,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        typical_p: sampling.typical_p,
        top_n_sigma: sampling.top_n_sigma,
        xtc_probability: sampling.xtc_probability,
        xtc_threshold: sampling.xtc_threshold,
        min_keep: sampling.min_keep,
        repeat_last_n: sampling.repeat_last_n,
        repeat_penalty: sampling.repeat_penalty,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        dry_multiplier: sampling.dry_multiplier,
        dry_base: sampling.dry_base,
        dry_allowed_length: sampling.dry_allowed_length,
        dry_penalty_last_n: sampling.dry_penalty_last_n,
        dry_sequence_breakers: sampling.dry_sequence_breakers,
        mirostat: sampling.mirostat,
        mirostat_tau: sampling.mirostat_tau,
        mirostat_eta: sampling.mirostat_eta,
        logit_bias: sampling
            .logit_bias
            .into_iter()
            .map(|bias| engine::LogitBias { token: bias.token, bias: bias.bias })
            .collect(),
        ignore_eos: sampling.ignore_eos,
    }
}

fn stage(stage: types::SamplerStage) -> engine::SamplerStage {
    match stage {
        types::SamplerStage::Penalties => engine::SamplerStage::Penalties,
        types::SamplerStage::Dry => engine::SamplerStage::Dry,
        types::SamplerStage::TopNSigma => engine::SamplerStage::TopNSigma,
        types::SamplerStage::TopK => engine::SamplerStage::TopK,
        types::SamplerStage::TypicalP => engine::SamplerStage::TypicalP,
        types::SamplerStage::TopP => engine::SamplerStage::TopP,
        types::SamplerStage::MinP => engine::SamplerStage::MinP,
        types::SamplerStage::Xtc => engine::SamplerStage::Xtc,
        types::SamplerStage::Temperature => engine::SamplerStage::Temperature,
    }
}
