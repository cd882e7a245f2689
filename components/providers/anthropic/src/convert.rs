//! The contract's words in the Messages API's, and back.
//!
//! Pure functions: whatever this adapter knows about the API's meaning stands here, and is tested without a network.
//!
//! Reasoning that the API shows encrypted only (`redacted_thinking`) is [reasoning](provider::Reasoning) without a text,
//! whose signature is `redacted:` and the encrypted text. The API's own signatures are Base64, which has no colon.

mod reply;
mod request;

pub(crate) use reply::{Progress, refused, whole};
pub(crate) use request::{body, is_streamed};

/// What stands before encrypted reasoning in a signature.
const REDACTED: &str = "redacted:";
