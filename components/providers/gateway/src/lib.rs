//! The adapter for `gateway` endpoints: a client of the profile that `sipp-gateway` speaks.
//!
//! A gateway is a provider like any other, so that the same host code holds its token, bounds its time and asks it again.
//! Its profile carries everything that the contracts have, so nothing is lost on the way through one, or through several.

mod convert;
mod wire;

use convert::{Refusal, Step, Transcript};
use provider::{
    Adapter, Body, CredentialHeader, Description, EmbedRequest, Embedding, Error, FinishReason, Generation, Inference,
    Metadata, Operation, Outcome, Piece, Pieces, Post, Reply, ReplyHead, Request, Settings, answer, broken, settings,
};

struct Component;

provider::export!(Component with_types_in provider::bindings);

/// Header in which a gateway wants the request's id, and says its own.
const REQUEST_ID: &str = "x-request-id";

impl Adapter for Component {
    fn describe() -> Vec<Description> {
        vec![Description {
            provider: "gateway".to_owned(),
            base_url: None,
            credential: Some(CredentialHeader { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() }),
            operations: vec![Operation::Query, Operation::Chat, Operation::Embed],
        }]
    }
}

impl Inference for Component {
    async fn generate(request: Request) -> Result<Generation, Error> {
        let settings = settings();
        let context = request.context.clone();
        let stream = request.options.stream.unwrap_or(true);
        let (route, body) = convert::text_body(&settings, request)?;
        let post = Post::new(&settings, &route, body).accept(stream).correlate(&context, Some(REQUEST_ID));
        let reply = accepted(&settings, post.send().await?).await?;
        let ids = Ids { request: context.request_id, upstream: reply.head.request_id() };
        if stream { streamed(&settings, reply, ids) } else { finite(reply, ids).await }
    }

    async fn embed(request: EmbedRequest) -> Result<Embedding, Error> {
        let settings = settings();
        let (context, count) = (request.context.clone(), request.inputs.len());
        let (route, body) = convert::embed_body(&settings, request)?;
        let post = Post::new(&settings, &route, body).accept(false).correlate(&context, Some(REQUEST_ID));
        let reply = accepted(&settings, post.send().await?).await?;
        let ids = Ids { request: context.request_id, upstream: reply.head.request_id() };
        let head = reply.head.clone();
        let (vectors, answer) = convert::embedding(reply.json().await?, count)
            .map_err(|problem| broken(&settings.provider, &head, problem))?;
        let metadata = ids.join(answer.metadata);
        Ok(Embedding {
            vectors,
            pooling: answer.pooling,
            normalized: answer.normalized,
            usage: answer.usage,
            stats: None,
            metadata,
        })
    }
}

/// The names of the exchange.
struct Ids {
    /// What the host calls it.
    request: Option<String>,
    /// What the gateway calls it.
    upstream: Option<String>,
}

impl Ids {
    /// Adds them to what the gateway says itself. Where a provider stands behind it, that one's name is the further one,
    /// and stays.
    fn join(self, told: Metadata) -> Metadata {
        Metadata { request_id: self.request, upstream_request_id: told.upstream_request_id.or(self.upstream), ..told }
    }
}

/// The reply, if it is no refusal.
async fn accepted(settings: &Settings, mut reply: Reply) -> Result<Reply, Error> {
    if reply.is_success() {
        return Ok(reply);
    }
    let refusal: Option<Refusal> = reply.refusal().await;
    Err(convert::refused(&settings.provider, &reply.head, refusal))
}

async fn finite(reply: Reply, ids: Ids) -> Result<Generation, Error> {
    let (said, mut outcome) = convert::answer(reply.json().await?);
    outcome.metadata = ids.join(outcome.metadata);
    Ok(answer(|mut pieces| async move {
        if !pieces.push(said).await {
            outcome.finish = FinishReason::Cancelled;
        }
        Ok(outcome)
    }))
}

fn streamed(settings: &Settings, reply: Reply, ids: Ids) -> Result<Generation, Error> {
    let Reply { head, body, .. } = reply;
    if !head.is("text/event-stream") {
        return Err(broken(&settings.provider, &head, "the reply is no event stream; check base_url and routes"));
    }
    let provider = settings.provider.clone();
    Ok(answer(|pieces| async move {
        let mut outcome = follow(&provider, &head, body, pieces).await?;
        outcome.metadata = ids.join(outcome.metadata);
        Ok(outcome)
    }))
}

/// Hands the events of a stream on until one ends it, or until nobody reads any more.
async fn follow(provider: &str, head: &ReplyHead, mut body: Body, mut pieces: Pieces) -> Result<Outcome, Error> {
    let mut transcript = Transcript::default();
    loop {
        let events = match body.events().await {
            Ok(Some(events)) => events,
            Ok(None) => return Err(body.broken("the reply ended without a done event")),
            // A reader that goes away takes the exchange with it, which looks like a failure of the upstream.
            Err(_) if !pieces.is_read().await => return Ok(transcript.cancelled()),
            Err(error) => return Err(error),
        };
        let mut said: Vec<Piece> = Vec::new();
        let mut ended = None;
        for event in events {
            match transcript.read(&event) {
                Ok(Step::Said(piece)) => said.push(piece),
                Ok(Step::Nothing) => {}
                Ok(Step::Done(outcome)) => ended = Some(Ok(outcome)),
                Ok(Step::Failed(refusal)) => ended = Some(Err(convert::failed(provider, head, refusal))),
                Err(problem) => ended = Some(Err(body.broken(problem))),
            }
            if ended.is_some() {
                break;
            }
        }
        if !pieces.push(said).await {
            return Ok(transcript.cancelled());
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}
