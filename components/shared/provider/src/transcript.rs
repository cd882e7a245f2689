//! An answer as its upstream tells it, whole or in events, and what becomes of it.

use crate::fault::{broken, refusal, reported};
use crate::{
    Body, Context, Error, FinishReason, Generation, Metadata, Outcome, Piece, Pieces, Reply, ReplyHead, Reported,
    Settings, Usage, answer,
};
use serde::de::DeserializeOwned;

/// What an adapter has understood of an answer so far.
pub trait Transcript: 'static {
    /// Takes in an event, and adds what it says to `pieces`. Events of kinds that are not known say nothing.
    ///
    /// # Errors
    ///
    /// [`Fault`] when the event is an error, or breaks the protocol.
    fn read(&mut self, name: &str, data: &str, pieces: &mut Vec<Piece>) -> Result<(), Fault>;

    /// Whether the answer has ended. What comes after is not read.
    fn is_over(&self) -> bool;

    /// What is left to say, and how the answer ended, once there is no more of it.
    ///
    /// # Errors
    ///
    /// [`Fault::Broken`] when it is not complete.
    fn end(self) -> Result<(Vec<Piece>, Ending), Fault>;

    /// How it ended when nobody waited for the rest.
    fn cancelled(self) -> Ending;
}

/// How an answer ended.
#[derive(Debug, PartialEq)]
pub struct Ending {
    /// The upstream's id of the answer.
    pub id: Option<String>,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it cost.
    pub usage: Option<Usage>,
}

impl Ending {
    /// The same, but nobody waited for it.
    #[must_use]
    pub fn cancelled(self) -> Self {
        Self { finish: FinishReason::Cancelled, ..self }
    }
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq)]
pub enum Fault {
    /// It breaks the protocol, in these words.
    Broken(String),
    /// It is an error that the upstream reports.
    Reported(Reported),
}

/// Whose answer it is, and to what.
pub struct Origin {
    provider: String,
    head: ReplyHead,
    /// The request's own id.
    request_id: Option<String>,
}

impl Origin {
    /// Of a reply to a request.
    #[must_use]
    pub fn new(settings: &Settings, reply: &Reply, context: &Context) -> Self {
        Self { provider: settings.provider.clone(), head: reply.head.clone(), request_id: context.request_id.clone() }
    }

    /// The names of the exchange.
    #[must_use]
    pub fn metadata(self, response_id: Option<String>) -> Metadata {
        Metadata {
            request_id: self.request_id,
            upstream_request_id: self.head.request_id(),
            upstream_response_id: response_id,
            retries: 0,
        }
    }

    /// The error for what is wrong with the answer.
    #[must_use]
    pub fn error(&self, fault: Fault) -> Error {
        match fault {
            Fault::Broken(message) => broken(&self.provider, &self.head, message),
            Fault::Reported(said) => reported(&self.provider, &self.head, said),
        }
    }

    /// An answer that came in one piece.
    #[must_use]
    pub fn whole(self, said: Vec<Piece>, ending: Ending) -> Generation {
        answer(async move |mut pieces: Pieces| {
            let is_read = pieces.push(said).await;
            Ok(self.outcome(if is_read { ending } else { ending.cancelled() }))
        })
    }

    /// An answer that comes in events. They are handed on as they come.
    #[must_use]
    pub fn streamed(self, body: Body, transcript: impl Transcript) -> Generation {
        answer(move |pieces| self.follow(body, transcript, pieces))
    }

    async fn follow(
        self,
        mut body: Body,
        mut transcript: impl Transcript,
        mut pieces: Pieces,
    ) -> Result<Outcome, Error> {
        while !transcript.is_over() {
            let events = match body.events().await {
                Ok(Some(events)) => events,
                Ok(None) => break,
                // A reader that goes away takes the exchange with it, which looks like a failure of the upstream.
                Err(_) if !pieces.is_read().await => return Ok(self.outcome(transcript.cancelled())),
                Err(error) => return Err(error),
            };
            let mut said = Vec::new();
            let read = events.iter().try_for_each(|event| transcript.read(&event.name, &event.data, &mut said));
            if !pieces.push(said).await {
                return Ok(self.outcome(transcript.cancelled()));
            }
            read.map_err(|fault| self.error(fault))?;
        }
        let (rest, ending) = transcript.end().map_err(|fault| self.error(fault))?;
        let is_read = pieces.push(rest).await;
        Ok(self.outcome(if is_read { ending } else { ending.cancelled() }))
    }

    fn outcome(self, ending: Ending) -> Outcome {
        let Ending { id, finish, usage } = ending;
        Outcome { finish, usage, stats: None, metadata: self.metadata(id) }
    }
}

/// The reply, if it is no refusal. `said` reads the body of one.
///
/// # Errors
///
/// [`Error::Upstream`] for a status other than 2xx.
pub async fn accepted<R: DeserializeOwned>(
    settings: &Settings,
    mut reply: Reply,
    said: impl FnOnce(Option<R>) -> Reported,
) -> Result<Reply, Error> {
    if reply.is_success() {
        return Ok(reply);
    }
    let said = said(reply.refusal().await);
    Err(refusal(&settings.provider, &reply.head, said))
}

/// The error for a reply of a content type that the provider has not. It is somebody else's, such as a proxy's page.
#[must_use]
pub fn foreign(reply: &Reply, what: &str) -> Error {
    let kind = reply.head.header("content-type").unwrap_or("none");
    reply.body.broken(format!("the reply's content type is {what}: {kind}; check base_url"))
}
