//! One client for language models, wherever they run.
//!
//! [`SippClient::add`] opens an endpoint and names it; `query`, `chat` and `embed` use it. The rules about endpoints and
//! options are a WebAssembly component, the same on every host; this crate runs it, and the models.
//!
//! ```no_run
//! use sipp::{ChatRequest, LocalDescriptor, Message, SippClient};
//!
//! # async fn example() -> Result<(), sipp::Error> {
//! let client = SippClient::new()?;
//! client.add("demo", LocalDescriptor::new("models/demo.gguf")).await?;
//!
//! let mut run = client.chat(ChatRequest::new([Message::user("What is 3 plus 4?")]));
//! while let Some(batch) = run.next().await {
//!     println!("{batch:?}");
//! }
//! let response = run.await?;
//! println!("{} ({:?})", response.text, response.finish_reason);
//! # Ok(())
//! # }
//! ```

#![allow(
    clippy::module_name_repetitions,
    reason = "names come from the contracts, where they stand without their module"
)]

mod bindings;
mod channel;
mod client;
mod error;
mod local;
mod network;
mod pipe;
mod provider;
mod request;
mod run;
mod sandbox;
mod secret;
mod switchboard;
mod tuning;
mod worker;

pub use bindings::client::{
    ChatRequest, EmbedRequest, EndpointEntry, EndpointRef, Kind, LocalEmbedOptions, QueryRequest,
};
pub use bindings::endpoints::{
    Authentication, Backend, CacheMode, CacheOptions, CacheType, Capabilities, ContextOptions, Credential, Descriptor,
    FlashAttention, GatewayDescriptor, GpuLayers, Header, HeaderCredential, LocalDescriptor, MultimodalOptions,
    Placement, ProviderDescriptor, ResidencyOptions, RopeScaling, Routes, SchedulerOptions, SchedulerPolicy, SplitMode,
    Support, Timeouts,
};
pub use bindings::types::{
    Alternative, CacheSource, CancelReason, Context, Delta, Embedding, Extension, FinishReason, JsonSchemaFormat,
    LocalOptions, LogitBias, Media, MediaSource, Message, Metadata, ModelFault, ModelPayload, Operation, Part, Pooling,
    PromptTooLongPayload, Reasoning, ResponseFormat, Role, SamplerStage, Sampling, Stats, TextOptions, TokenBatch,
    TokenLogprob, Tool, ToolCall, ToolChoice, ToolResult, UnsupportedPayload, UpstreamFault, UpstreamPayload, Usage,
};
pub use client::{Builder, EngineEntry, SippClient};
pub use error::Error;
pub use network::{IpNet, Network};
pub use run::{EmbedResponse, EmbedRun, TextResponse, TextRun, TokenStream};
pub use secret::Secret;

/// The engine's own account of a model, for programs that show it.
pub mod engine {
    pub use engine_sys::{
        Capabilities as ModelCapabilities, Counters, Device, DeviceKind, EmbeddingInfo, Error, Histogram, MemoryUse,
        ModelClass, ModelConfig, ModelInfo, backends, devices, estimate, inspect,
    };
}

/// What measurements and tests of the host stand in for: who answers behind an endpoint.
#[doc(hidden)]
pub mod parts {
    pub use crate::bindings::types::{EmbedRequest, Input, Outcome, Request};
    pub use crate::channel::Feeder;
    pub use crate::switchboard::{Answer, Answerer, Answering, Open, Progress};
}
