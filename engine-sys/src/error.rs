//! What can go wrong, by cause.
//!
//! Callers act on the variant; the text is for people and names what to do.

/// Why a model, a generation or an embedding failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be loaded.
    #[error("{message}")]
    Model {
        /// What is wrong.
        fault: ModelFault,
        /// The same in words, with the file's name.
        message: String,
    },
    /// The request is malformed; sending it again cannot help.
    #[error("{0}")]
    InvalidRequest(String),
    /// The model cannot do this; the text says what to do instead.
    #[error("{0}")]
    Unsupported(String),
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt_tokens} tokens, and the context holds {context_tokens}; shorten it or raise n_ctx")]
    PromptTooLong {
        /// Tokens of the prompt; for a text that is longer by far, the fewest that it can have.
        prompt_tokens: u32,
        /// Tokens that the context holds.
        context_tokens: u32,
    },
    /// As many requests wait as may; another attempt may succeed.
    #[error("{0}")]
    Overloaded(String),
    /// It was cancelled before there was an outcome: a load that its progress callback ended, or an embedding.
    #[error("cancelled")]
    Cancelled,
    /// llama.cpp failed; the text holds its own words.
    #[error("{0}")]
    Internal(String),
}

/// What is wrong with a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFault {
    /// There is no such file, or it cannot be read.
    NotFound,
    /// It is not a GGUF file.
    NotGguf,
    /// It is a GGUF file with parts missing or broken.
    Corrupt,
    /// Its architecture is not known.
    UnsupportedArchitecture,
    /// It does not fit into memory.
    OutOfMemory,
    /// Its configuration does not fit it.
    Configuration,
}

impl Error {
    pub(crate) fn model(fault: ModelFault, message: impl Into<String>) -> Self {
        Self::Model { fault, message: message.into() }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::model(ModelFault::Configuration, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidRequest(message.into())
    }
}
