//! How the program ends: failures, what is said about them, and exit codes.
//!
//! Scripts act on the code, people on the text, and both stand here so that they agree.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustyline::error::ReadlineError;
use sipp::{CancelReason, Error, ModelFault, UpstreamFault, engine};

/// What the help says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done; also when the reader of the answer went away, as `head` does
  1    there is no answer, or its deadline passed and it is not complete
  2    the command line is wrong, or its options do not fit the model
  3    the model is missing, broken or not a model
  130  Ctrl-C ended a single answer, or the loading of the model";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    Model = 3,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The library refused or failed.
    #[error(transparent)]
    Client(#[from] Error),
    /// The file could not be inspected.
    #[error(transparent)]
    Inspect(#[from] engine::Error),
    /// The command line makes no sense, in a way that only the program can tell.
    #[error("{0}")]
    Usage(String),
    /// A file that the command line names cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[source] io::Error),
    /// The line editor failed.
    #[error("cannot read from the terminal: {0}")]
    Terminal(#[from] ReadlineError),
    /// The system gave no threads, or no signals.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
    /// Ctrl-C, before there was anything to show.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// A failure to read this file, of whatever the system says.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }

    /// The exit code that says it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(Error::Model(model)) if model.fault == ModelFault::Configuration => Exit::Usage,
            Self::Client(Error::Model(_)) | Self::Inspect(engine::Error::Model { .. }) => Exit::Model,
            Self::Client(Error::InvalidRequest(_)) | Self::Usage(_) | Self::File { .. } => Exit::Usage,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Interrupted => Exit::Interrupted,
            Self::Client(_)
            | Self::Inspect(_)
            | Self::Input(_)
            | Self::Output(_)
            | Self::Terminal(_)
            | Self::System(_) => Exit::Failure,
        }
    }

    /// Whether there is anything to say: a reader that went away knows, and so does who pressed Ctrl-C.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.exit(), Exit::Success | Exit::Interrupted)
    }

    /// One word for programs that read `--json`: the contract's name of the case where it has one.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Client(error) => client_code(error),
            Self::Inspect(engine::Error::Model { .. }) => "model",
            Self::Usage(_) | Self::File { .. } => "invalid_request",
            Self::Interrupted => "cancelled",
            Self::Inspect(_) | Self::Input(_) | Self::Output(_) | Self::Terminal(_) | Self::System(_) => "internal",
        }
    }

    /// What a person may do about it, where the text does not say so in the words of the command line.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let Self::Client(error) = self else { return None };
        match error {
            Error::PromptTooLong(_) => {
                Some("--ctx-size sets n_ctx of a model of this machine; 0 takes all that it can hold")
            }
            Error::InvalidRequest(_) => Some("--help explains every option"),
            Error::Model(model) => match model.fault {
                ModelFault::Configuration => Some("--help explains every option"),
                ModelFault::NotGguf => Some("sipp runs models in the GGUF format"),
                ModelFault::OutOfMemory => Some("a smaller --ctx-size, or a --cache-type-k such as q8_0, needs less"),
                ModelFault::NotFound | ModelFault::Corrupt | ModelFault::UnsupportedArchitecture => None,
            },
            Error::Upstream(upstream) if upstream.fault == UpstreamFault::Authentication => {
                Some("--api-key-env and --token-env name the variable that holds the credential")
            }
            Error::EndpointNotFound(_)
            | Error::AmbiguousEndpoint(_)
            | Error::NoSupportedEndpoint(_)
            | Error::Unsupported(_)
            | Error::Overloaded(_)
            | Error::Upstream(_)
            | Error::Cancelled(_)
            | Error::Closed
            | Error::Internal(_)
            | _ => None,
        }
    }
}

fn client_code(error: &Error) -> &'static str {
    match error {
        Error::InvalidRequest(_) => "invalid_request",
        Error::EndpointNotFound(_) => "endpoint_not_found",
        Error::AmbiguousEndpoint(_) => "ambiguous_endpoint",
        Error::NoSupportedEndpoint(_) => "no_supported_endpoint",
        Error::Unsupported(_) => "unsupported",
        Error::PromptTooLong(_) => "prompt_too_long",
        Error::Model(_) => "model",
        Error::Overloaded(_) => "overloaded",
        Error::Upstream(_) => "upstream",
        Error::Cancelled(_) => "cancelled",
        Error::Closed => "closed",
        // The enum may grow; until this table does, a case is one that only its text tells.
        Error::Internal(_) | _ => "internal",
    }
}

/// The contract's word for why an answer was cancelled, as `--json` says it.
pub(crate) fn cancel_reason(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::CallerCancelled => "caller_cancelled",
        CancelReason::ClientDisconnected => "client_disconnected",
        CancelReason::ServerShutdown => "server_shutdown",
        CancelReason::DeadlineExceeded => "deadline_exceeded",
    }
}
