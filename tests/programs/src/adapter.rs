//! What the guests of the world `sipp:inference/provider` share: an adapter of which a guest writes only its request.

use std::future::Future;

use provider::{
    Adapter, CredentialHeader, Description, EmbedRequest, Embedding, Error, FinishReason, Generation, Inference, Input,
    Metadata, Operation, Outcome, Piece, Request, answer,
};

/// An adapter that answers a prompt with one text.
pub trait Guest: 'static {
    /// The address that it describes, if it has one of its own.
    const BASE_URL: Option<&'static str> = None;

    /// The text, or the reason why there is none.
    fn query(prompt: String) -> impl Future<Output = Result<String, Error>>;
}

/// Makes an adapter of a guest.
pub struct Whole<G>(std::marker::PhantomData<G>);

impl<G: Guest> Adapter for Whole<G> {
    fn describe() -> Vec<Description> {
        let credential = CredentialHeader { name: "x-key".to_owned(), prefix: String::new() };
        vec![Description {
            provider: "guest".to_owned(),
            base_url: G::BASE_URL.map(str::to_owned),
            credential: Some(credential),
            operations: vec![Operation::Query],
        }]
    }
}

impl<G: Guest> Inference for Whole<G> {
    async fn generate(request: Request) -> Result<Generation, Error> {
        let prompt = match request.input {
            Input::Prompt(prompt) => prompt,
            Input::Messages(_) => return Err(provider::invalid("this guest takes prompts alone")),
        };
        let text = G::query(prompt).await?;
        Ok(answer(|mut pieces| async move {
            pieces.push([Piece::text(text)]).await;
            let metadata =
                Metadata { request_id: None, upstream_request_id: None, upstream_response_id: None, retries: 0 };
            Ok(Outcome { finish: FinishReason::Stop, usage: None, stats: None, metadata })
        }))
    }

    async fn embed(_request: EmbedRequest) -> Result<Embedding, Error> {
        Err(provider::unsupported(Operation::Embed, "this guest has no vectors"))
    }
}
