//! The adapter for OpenAI and for whoever speaks its API: the contract's requests in the words of
//! [chat completions](https://platform.openai.com/docs/api-reference/chat), completions and embeddings, and their replies
//! in the contract's words.
//!
//! | Request | API |
//! |---|---|
//! | a prompt | `/completions`; tools and forms of answers are refused, it has none |
//! | messages | `/chat/completions` |
//! | `max_tokens` of a chat | as the option `max_tokens_field` says; else `max_completion_tokens` at `openai`, whose models of today refuse `max_tokens`, and `max_tokens` at `openai_compatible`, which every server knows |
//! | `developer` messages | `developer` at `openai`, `system` at `openai_compatible` |
//! | a `tool` message with several results | one message for each; the API has no word for a result that is an error |
//! | reasoning of earlier turns | left out: the API takes none back, so that a conversation can go on with what it was given |
//! | messages without a part | left out: they say nothing |
//!
//! Replies are read as they come, not as they were asked for: a server that answers in one piece where events were
//! wanted, or the other way round, is understood.

mod convert;
mod wire;

use convert::{COMPATIBLE, OPENAI, Progress};
use provider::{
    Adapter, CredentialHeader, Description, EmbedRequest, Embedding, Error, Generation, Inference, Operation, Origin,
    Post, Request, accepted, foreign,
};

struct Component;

provider::export!(Component with_types_in provider::bindings);

impl Adapter for Component {
    fn describe() -> Vec<Description> {
        let description = |provider: &str, base_url: Option<&str>| Description {
            provider: provider.to_owned(),
            base_url: base_url.map(str::to_owned),
            credential: Some(CredentialHeader { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() }),
            operations: vec![Operation::Query, Operation::Chat, Operation::Embed],
        };
        vec![description(OPENAI, Some("https://api.openai.com/v1")), description(COMPATIBLE, None)]
    }
}

impl Inference for Component {
    async fn generate(request: Request) -> Result<Generation, Error> {
        let settings = provider::settings();
        let (path, body) = convert::body(&settings, &request)?;
        let post = Post::new(&settings, path, body).accept(convert::is_streamed(&request.options));
        let post = post.correlate(&request.context, convert::correlation_header(&settings));
        let reply = accepted(&settings, post.send().await?, convert::refused).await?;
        let origin = Origin::new(&settings, &reply, &request.context);
        let progress = Progress::new(request.options.logprobs);
        if reply.head.is("text/event-stream") {
            Ok(origin.streamed(reply.body, progress))
        } else if reply.head.is("application/json") {
            let (said, ending) = progress.whole(reply.json().await?).map_err(|fault| origin.error(fault))?;
            Ok(origin.whole(said, ending))
        } else {
            Err(foreign(&reply, "neither JSON nor events"))
        }
    }

    async fn embed(request: EmbedRequest) -> Result<Embedding, Error> {
        let settings = provider::settings();
        let body = convert::embed_body(&settings, &request)?;
        let post = Post::new(&settings, "/embeddings", body).accept(false);
        let post = post.correlate(&request.context, convert::correlation_header(&settings));
        let reply = accepted(&settings, post.send().await?, convert::refused).await?;
        if !reply.head.is("application/json") {
            return Err(foreign(&reply, "not JSON"));
        }
        let normalized = convert::is_normalized(&settings);
        let origin = Origin::new(&settings, &reply, &request.context);
        let (vectors, usage) =
            convert::vectors(reply.json().await?, request.inputs.len()).map_err(|fault| origin.error(fault))?;
        Ok(Embedding { vectors, pooling: None, normalized, usage, stats: None, metadata: origin.metadata(None) })
    }
}
