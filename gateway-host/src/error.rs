//! Why the gateway did not start.
//!
//! All of it happens before a request is taken; what goes wrong with a request is in [`crate::http_error`].

use crate::config::{ConfigError, Problem};

/// Why the gateway did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration is well formed, but what it asks for does not exist or was refused.
    #[error("{0}")]
    Setting(Problem),
    /// The client component did not start.
    #[error("cannot start the client: {0}")]
    Client(#[source] sipp::Error),
    /// The system gave no signals, no sockets or no threads.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics contradict each other.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Error {
    /// Whether the configuration file is at fault, and changing it helps.
    pub fn is_in_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Setting(_) => true,
            Self::Client(_) | Self::System { .. } | Self::Metrics(_) => false,
        }
    }
}
