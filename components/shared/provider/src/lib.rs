//! What an adapter of a provider is made of: the world's bindings, one exchange over HTTP, the errors of an upstream,
//! and an answer that grows.
//!
//! Adapters differ in their provider's words and in nothing else. So what is the same for all of them stands here, and
//! an adapter is its wire types, two conversions, and a few lines that tie them together. An adapter of somebody else's
//! may be built on this crate, or on the contracts in `wit/` alone.
//!
//! ```ignore
//! struct Component;
//! provider::export!(Component with_types_in provider::bindings);
//! ```

mod answer;
mod exchange;
mod fault;
mod fields;
mod retry_after;
mod transcript;

/// Rust types of the world `sipp:inference/provider`.
#[allow(
    missing_docs,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, which is documented"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/wasi-clocks", "../../../wit/wasi-http", "../../../wit/inference"],
        world: "sipp:inference/provider",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "provider::bindings",
        additional_derives: [PartialEq],
        additional_derives_ignore: ["generation"],
    });
}

pub use answer::{Piece, Pieces, answer};
pub use bindings::export;
pub use bindings::exports::sipp::inference::adapter::{CredentialHeader, Description, Guest as Adapter};
pub use bindings::exports::sipp::inference::inference::Guest as Inference;
pub use bindings::sipp::inference::endpoint::{Settings, get as settings};
pub use bindings::sipp::inference::log::{Level, write as log};
pub use bindings::sipp::inference::types::{
    Alternative, Context, Delta, EmbedRequest, Embedding, Error, Extension, FinishReason, Generation, Input,
    JsonSchemaFormat, LocalOptions, LogitBias, Media, MediaSource, Message, Metadata, Operation, Outcome, Part,
    Reasoning, Request, ResponseFormat, Role, SamplerStage, Sampling, TextOptions, TokenBatch, TokenLogprob, Tool,
    ToolCall, ToolChoice, ToolResult, UnsupportedPayload, UpstreamFault, UpstreamPayload, Usage,
};
pub use exchange::{Body, Post, Reply, ReplyHead};
pub use fault::{Reported, broken, refusal, reported, unsupported};
pub use fields::{invalid, merge, merge_from, option, parse_json};
pub use sse::Event;
pub use transcript::{Ending, Fault, Origin, Transcript, accepted, foreign};
