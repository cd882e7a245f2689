//! The adapter for Anthropic: the contract's requests in the words of its
//! [Messages API](https://platform.claude.com/docs/en/api/messages), and its replies in the contract's words.
//!
//! | Request | Messages API |
//! |---|---|
//! | a prompt | one message of the user; the API has no raw prompts |
//! | `system` and `developer` messages, wherever they stand | `system`, joined in order with a blank line between |
//! | `tool` messages that follow each other | one message of the user that holds all results, as the API wants it |
//! | `max_tokens` left out | the endpoint's option `max_tokens`, or else 16384: the API has no default |
//! | reasoning with a signature | a `thinking` block, or a `redacted_thinking` block: see `convert` |
//! | reasoning without a signature | left out: the API takes only its own, and knows it by the signature |
//! | a JSON schema for the answer | `output_config.format`; its name is left out, the API has no field for it |
//! | empty texts, and messages with nothing else | left out: they say nothing, and the API refuses them |
//!
//! JSON without a schema, log probabilities, sounds and vectors are not in the API, and are refused by name.

mod convert;
mod wire;

use convert::Progress;
use provider::{
    Adapter, CredentialHeader, Description, EmbedRequest, Embedding, Error, Generation, Inference, Operation, Origin,
    Post, Request, accepted, foreign,
};

/// The API's version when the endpoint names none.
const VERSION: &str = "2023-06-01";

struct Component;

provider::export!(Component with_types_in provider::bindings);

impl Adapter for Component {
    fn describe() -> Vec<Description> {
        vec![Description {
            provider: "anthropic".to_owned(),
            base_url: Some("https://api.anthropic.com/v1".to_owned()),
            credential: Some(CredentialHeader { name: "x-api-key".to_owned(), prefix: String::new() }),
            operations: vec![Operation::Query, Operation::Chat],
        }]
    }
}

impl Inference for Component {
    async fn generate(request: Request) -> Result<Generation, Error> {
        let settings = provider::settings();
        let body = convert::body(&settings, &request)?;
        let version = settings.version.as_deref().unwrap_or(VERSION);
        let post = Post::new(&settings, "/messages", body).header("anthropic-version", version);
        let post = post.accept(convert::is_streamed(&request.options)).correlate(&request.context, None);
        let reply = accepted(&settings, post.send().await?, convert::refused).await?;
        let origin = Origin::new(&settings, &reply, &request.context);
        if reply.head.is("text/event-stream") {
            Ok(origin.streamed(reply.body, Progress::default()))
        } else if reply.head.is("application/json") {
            let (said, ending) = convert::whole(reply.json().await?).map_err(|fault| origin.error(fault))?;
            Ok(origin.whole(said, ending))
        } else {
            Err(foreign(&reply, "neither JSON nor events"))
        }
    }

    async fn embed(_: EmbedRequest) -> Result<Embedding, Error> {
        Err(provider::unsupported(Operation::Embed, "anthropic has no vectors; use another endpoint for them"))
    }
}
