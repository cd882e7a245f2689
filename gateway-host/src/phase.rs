//! Where the gateway stands between its start and its end.

use tokio::sync::watch;

/// What the readiness route reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Models are loading; the public listener is closed.
    Starting,
    /// Requests are answered.
    Ready,
    /// Running requests finish; no request is taken any more.
    Draining,
}

impl Phase {
    /// The word that the readiness route answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    /// A gateway that starts: who changes the phase, and who looks at it.
    pub fn begin() -> (watch::Sender<Self>, watch::Receiver<Self>) {
        watch::channel(Self::Starting)
    }
}
