//! Why something failed: one error for the whole crate, and the one place where others become it.

use std::fmt;

use crate::bindings::types::{
    self, CancelReason, ModelPayload, Operation, PromptTooLongPayload, UnsupportedPayload, UpstreamPayload,
};

/// Why a request, or an endpoint, failed.
///
/// It has a case where a caller acts differently on it; texts are for people.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is malformed; sending it again cannot help.
    #[error("{0}")]
    InvalidRequest(String),
    /// No endpoint has this id and kind.
    #[error("endpoint `{0}` was not found; add it first")]
    EndpointNotFound(String),
    /// No endpoint was named, and more than one local endpoint could answer.
    #[error("more than one local endpoint can {0}; name one")]
    AmbiguousEndpoint(Operation),
    /// No endpoint was named, and no local endpoint could answer.
    #[error("no local endpoint can {0}; add one, or name an endpoint")]
    NoSupportedEndpoint(Operation),
    /// The endpoint cannot do this.
    #[error("{}", unsupported(.0))]
    Unsupported(UnsupportedPayload),
    /// The prompt is longer than the context.
    #[error(
        "the prompt has {} tokens, and the context holds {}; shorten it or raise n_ctx",
        .0.prompt_tokens, .0.context_tokens
    )]
    PromptTooLong(PromptTooLongPayload),
    /// The model could not be loaded.
    #[error("{}", .0.message)]
    Model(ModelPayload),
    /// Too many requests wait already; another attempt may succeed.
    #[error("{0}")]
    Overloaded(String),
    /// An upstream failed.
    #[error("{}: {}", .0.provider, .0.message)]
    Upstream(UpstreamPayload),
    /// The request was cancelled before there was an outcome.
    #[error("the request was cancelled: {}", reason(*.0))]
    Cancelled(CancelReason),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// Anything else. The text is for people, never for matching.
    #[error("{0}")]
    Internal(String),
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::InvalidRequest(text) => Self::InvalidRequest(text),
            types::Error::EndpointNotFound(id) => Self::EndpointNotFound(id),
            types::Error::AmbiguousEndpoint(operation) => Self::AmbiguousEndpoint(operation),
            types::Error::NoSupportedEndpoint(operation) => Self::NoSupportedEndpoint(operation),
            types::Error::Unsupported(payload) => Self::Unsupported(payload),
            types::Error::PromptTooLong(payload) => Self::PromptTooLong(payload),
            types::Error::Model(payload) => Self::Model(payload),
            types::Error::Overloaded(text) => Self::Overloaded(text),
            types::Error::Upstream(payload) => Self::Upstream(payload),
            types::Error::Cancelled(reason) => Self::Cancelled(reason),
            types::Error::Closed => Self::Closed,
            types::Error::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidRequest(text) => Self::InvalidRequest(text),
            Error::EndpointNotFound(id) => Self::EndpointNotFound(id),
            Error::AmbiguousEndpoint(operation) => Self::AmbiguousEndpoint(operation),
            Error::NoSupportedEndpoint(operation) => Self::NoSupportedEndpoint(operation),
            Error::Unsupported(payload) => Self::Unsupported(payload),
            Error::PromptTooLong(payload) => Self::PromptTooLong(payload),
            Error::Model(payload) => Self::Model(payload),
            Error::Overloaded(text) => Self::Overloaded(text),
            Error::Upstream(payload) => Self::Upstream(payload),
            Error::Cancelled(reason) => Self::Cancelled(reason),
            Error::Closed => Self::Closed,
            Error::Internal(text) => Self::Internal(text),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Query => "query",
            Self::Chat => "chat",
            Self::Embed => "embed",
        })
    }
}

fn unsupported(payload: &UnsupportedPayload) -> String {
    let UnsupportedPayload { operation, endpoint, reason } = payload;
    match endpoint {
        Some(id) => format!("endpoint `{id}` cannot {operation}: {reason}"),
        None => format!("cannot {operation}: {reason}"),
    }
}

fn reason(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::CallerCancelled => "the caller cancelled",
        CancelReason::ClientDisconnected => "the caller went away",
        CancelReason::ServerShutdown => "the process is shutting down",
        CancelReason::DeadlineExceeded => "its deadline passed",
    }
}
