//! The contract's words in the API's, and back.
//!
//! Pure functions: whatever this adapter knows about the API's meaning stands here, and is tested without a network.

mod calls;
mod embed;
mod fault;
mod likelihood;
mod reply;
mod request;

pub(crate) use embed::{embed_body, is_normalized, vectors};
pub(crate) use fault::refused;
pub(crate) use reply::Progress;
pub(crate) use request::{body, correlation_header, is_streamed};

/// OpenAI's own API.
pub(crate) const OPENAI: &str = "openai";

/// Any other server that speaks it.
pub(crate) const COMPATIBLE: &str = "openai_compatible";
