//! Runs: what a request gives its caller.
//!
//! A run is a future of the whole response and, before that, a stream of its token batches; both can be used on one
//! run, in this order. To drop it is to cancel it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::oneshot;

use crate::Error;
use crate::bindings::client::{EmbedAnswer, EmbedRequest, EndpointRef};
use crate::bindings::types::{
    CancelReason, Delta, Embedding, FinishReason, Message, Metadata, Outcome, Part, Reasoning, Role, Stats, TokenBatch,
    TokenLogprob, ToolCall, Usage,
};
use crate::channel::{Canceller, Ending, Tokens};
use crate::client::Inner;
use crate::worker::{Asked, Command, Started};

/// Largest answer that a run collects, in bytes. Models end long before; a guest that writes without end does not.
const LARGEST: usize = 64 << 20;

/// A whole answer to `query` or `chat`.
#[derive(Debug, Clone)]
pub struct TextResponse {
    /// Who answered.
    pub endpoint: EndpointRef,
    /// The text: every text batch of the run, in order.
    pub text: String,
    /// Reasoning that is not part of the text; mostly empty.
    pub reasoning: String,
    /// Tools that the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// All of these in their order: the message of the assistant, to go on with the conversation.
    pub message: Message,
    /// How likely each token of the text was, when `logprobs` was asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Why it was cancelled, if it was; `text` is what had been produced.
    pub cancelled: Option<CancelReason>,
    /// Tokens, where they were counted.
    pub usage: Option<Usage>,
    /// Times, when a local model answered.
    pub stats: Option<Stats>,
    /// Identifiers.
    pub metadata: Metadata,
}

/// A running `query` or `chat`.
pub struct TextRun {
    client: Arc<Inner>,
    state: State,
    answer: Answer,
}

enum State {
    Starting(oneshot::Receiver<Result<Started, Error>>),
    Running { endpoint: EndpointRef, tokens: Tokens, canceller: Canceller, ending: Ending },
    Failed(Error),
}

#[derive(Default)]
struct Answer {
    content: Vec<Part>,
    logprobs: Vec<TokenLogprob>,
    /// Bytes of `content`, about.
    size: usize,
}

impl TextRun {
    pub(crate) fn start(
        client: Arc<Inner>,
        command: impl FnOnce(Asked, oneshot::Sender<Result<Started, Error>>) -> Command,
    ) -> Self {
        let (reply, started) = oneshot::channel();
        client.send(command(Asked::now(), reply));
        Self { client, state: State::Starting(started), answer: Answer::default() }
    }

    /// Waits until the request was accepted. Awaiting the run itself does this too.
    ///
    /// # Errors
    ///
    /// Why it was refused. Awaiting the run gives the same error again.
    pub async fn started(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|context| self.poll_started(context)).await
    }

    /// The next batch of tokens; none when there are no more, or when the run failed.
    pub async fn next(&mut self) -> Option<TokenBatch> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// The batches that are still to come, as a stream.
    pub fn tokens(&mut self) -> TokenStream<'_> {
        TokenStream { run: self }
    }

    /// Stops the run. What was produced so far stays readable, and the response says that it was cancelled. A run
    /// whose endpoint does not end it within a second fails with [`Error::Cancelled`].
    pub fn cancel(&mut self, reason: CancelReason) {
        match &self.state {
            State::Starting(_) => self.state = State::Failed(Error::Cancelled(reason)),
            State::Running { canceller, .. } => {
                canceller.cancel(reason);
                self.client.send(Command::Abandon { canceller: canceller.downgrade() });
            }
            State::Failed(_) => {}
        }
    }

    fn poll_started(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let State::Starting(started) = &mut self.state else {
            return Poll::Ready(match &self.state {
                State::Failed(error) => Err(error.clone()),
                State::Starting(_) | State::Running { .. } => Ok(()),
            });
        };
        let started = ready!(Pin::new(started).poll(context));
        match started.unwrap_or_else(|_| Err(self.client.fate())) {
            Ok(Started { endpoint, tokens, ending }) => {
                let canceller = tokens.canceller();
                self.client.remember(canceller.downgrade());
                self.state = State::Running { endpoint, tokens, canceller, ending };
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                Poll::Ready(Err(error))
            }
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<TokenBatch>> {
        if ready!(self.poll_started(context)).is_err() {
            return Poll::Ready(None);
        }
        let State::Running { tokens, .. } = &mut self.state else { return Poll::Ready(None) };
        let batch = ready!(Pin::new(tokens).poll_next(context));
        if let Some(batch) = &batch
            && let Err(error) = self.answer.add(batch)
        {
            self.state = State::Failed(error);
            return Poll::Ready(None);
        }
        Poll::Ready(batch)
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<TextResponse, Error>> {
        while ready!(self.poll_batch(context)).is_some() {}
        let (endpoint, canceller, ending) = match &mut self.state {
            State::Running { endpoint, canceller, ending, .. } => (endpoint, canceller, ending),
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
            State::Starting(_) => return Poll::Pending,
        };
        let outcome = match Pin::new(ending).poll(context) {
            Poll::Ready(outcome) => outcome.unwrap_or_else(|_| Err(self.client.fate())),
            Poll::Pending => Err(Error::Cancelled(ready!(canceller.poll_abandoned(context)))),
        };
        let response = outcome.map(|outcome| {
            let reason = canceller.reason().filter(|_| outcome.finish == FinishReason::Cancelled);
            std::mem::take(&mut self.answer).complete(endpoint.clone(), outcome, reason)
        });
        // A future that was awaited is not polled again; a run that ended and is only dropped then cancels nothing.
        self.state = State::Failed(Error::Internal("the run was awaited already".to_owned()));
        Poll::Ready(response)
    }
}

impl Answer {
    fn add(&mut self, batch: &TokenBatch) -> Result<(), Error> {
        self.size += size_of::<Part>();
        match (&batch.delta, self.content.last_mut()) {
            (Delta::Text(text), Some(Part::Text(last))) => {
                self.size += text.len();
                last.push_str(text);
            }
            (Delta::Text(text), _) => {
                self.size += text.len();
                self.content.push(Part::Text(text.clone()));
            }
            (Delta::Reasoning(more), Some(Part::Reasoning(last))) if last.signature.is_none() => {
                self.size += more.text.len();
                last.text.push_str(&more.text);
                last.signature.clone_from(&more.signature);
            }
            (Delta::Reasoning(reasoning), _) => {
                self.size += reasoning.text.len();
                self.content.push(Part::Reasoning(reasoning.clone()));
            }
            (Delta::ToolCall(call), _) => {
                self.size += call.arguments.len();
                self.content.push(Part::ToolCall(call.clone()));
            }
        }
        self.logprobs.extend_from_slice(&batch.logprobs);
        if self.size > LARGEST {
            return Err(Error::Internal(format!("the answer is longer than {} MiB", LARGEST >> 20)));
        }
        Ok(())
    }

    fn complete(self, endpoint: EndpointRef, outcome: Outcome, cancelled: Option<CancelReason>) -> TextResponse {
        let Self { mut content, logprobs, size: _ } = self;
        content.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        let (mut text, mut reasoning, mut tool_calls) = (String::new(), String::new(), Vec::new());
        for part in &content {
            match part {
                Part::Text(more) => text.push_str(more),
                Part::Reasoning(Reasoning { text: more, .. }) => reasoning.push_str(more),
                Part::ToolCall(call) => tool_calls.push(call.clone()),
                // No answer holds these.
                Part::Media(_) | Part::ToolResult(_) => {}
            }
        }
        let message = Message { role: Role::Assistant, content };
        let Outcome { finish: finish_reason, usage, stats, metadata } = outcome;
        TextResponse {
            endpoint,
            text,
            reasoning,
            tool_calls,
            message,
            logprobs,
            finish_reason,
            cancelled,
            usage,
            stats,
            metadata,
        }
    }
}

impl Future for TextRun {
    type Output = Result<TextResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_response(context)
    }
}

impl std::fmt::Debug for TextRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TextRun").field("content", &self.answer.content).finish_non_exhaustive()
    }
}

/// The batches of a run that are still to come.
#[derive(Debug)]
pub struct TokenStream<'a> {
    run: &'a mut TextRun,
}

impl Stream for TokenStream<'_> {
    type Item = TokenBatch;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TokenBatch>> {
        self.run.poll_batch(context)
    }
}

/// A whole answer to `embed`.
#[derive(Debug, Clone)]
pub struct EmbedResponse {
    /// Who answered.
    pub endpoint: EndpointRef,
    /// The vectors, one for each input, and how they were made.
    pub embedding: Embedding,
}

/// A running `embed`: a future of its response.
pub struct EmbedRun {
    client: Arc<Inner>,
    answer: oneshot::Receiver<Result<EmbedAnswer, Error>>,
}

impl EmbedRun {
    pub(crate) fn start(client: Arc<Inner>, request: EmbedRequest) -> Self {
        let (reply, answer) = oneshot::channel();
        client.send(Command::Embed { request, asked: Asked::now(), reply });
        Self { client, answer }
    }
}

impl Future for EmbedRun {
    type Output = Result<EmbedResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context)).unwrap_or_else(|_| Err(self.client.fate()));
        Poll::Ready(answer.map(|EmbedAnswer { endpoint, embedding }| EmbedResponse { endpoint, embedding }))
    }
}

impl std::fmt::Debug for EmbedRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EmbedRun").finish_non_exhaustive()
    }
}
