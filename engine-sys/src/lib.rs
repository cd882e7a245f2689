//! The local engine: llama.cpp behind a thread, with batching over slots, cancel, and nothing unsafe outside.
//!
//! [`Engine::load`] reads a GGUF file and starts the thread that owns it; [`Engine::generate`] and [`Engine::embed`]
//! queue requests and answer through callbacks on that thread. Everything that a host needs to know about a model is
//! in [`ModelInfo`]. This is the only crate of the project that calls C; its types stay private.

mod backend;
#[cfg(feature = "bare")]
mod bare;
mod chat;
mod config;
mod context;
mod conversation;
mod counters;
mod cutter;
mod device;
mod embed;
mod engine;
mod error;
mod exit;
mod eyes;
mod gguf;
mod info;
mod log;
mod model;
mod pixels;
mod placement;
mod plan;
mod prefix;
mod projector;
mod prompt;
mod reader;
mod reply;
mod request;
#[cfg(not(target_os = "emscripten"))]
mod residency;
mod rope;
mod sampler;
mod sampling;
mod scheduler;
mod slot;
mod snapshots;
mod sys;
mod template;
mod vision;
mod vocab;
#[cfg(target_os = "emscripten")]
mod web;
mod worker;

#[cfg(feature = "bare")]
pub use bare::Bare;
pub use config::{
    Backend, CacheConfig, CacheMode, CacheType, ContextConfig, FlashAttention, GpuLayers, LogitBias, ModelConfig,
    MultimodalConfig, Placement, Policy, Pooling, Residency, RopeScaling, SamplerStage, Sampling, SchedulerConfig,
    SplitMode,
};
pub use counters::{Counters, Histogram};
pub use device::{Device, DeviceKind, backends, devices};
pub use engine::{Cancel, Engine, inspect};
pub use error::{Error, ModelFault};
pub use info::{Capabilities, EmbeddingInfo, ModelClass, ModelInfo};
pub use request::{
    CacheSource, ChatMessage, Delta, EmbedRequest, Embedding, Finish, Input, InterToken, Listener, MEDIA_MARKER, Media,
    Outcome, Part, ResponseFormat, Role, Stats, TextRequest, TokenBatch, TokenLogprob, Tool, ToolCall, ToolChoice,
    ToolResult,
};
#[cfg(not(target_os = "emscripten"))]
pub use residency::{MemoryUse, estimate};
