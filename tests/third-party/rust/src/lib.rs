//! An adapter of somebody else's, for a provider that answers in lines of plain text: an example to begin with.
//!
//! `sipp-provider` brings the world's types, the HTTP exchange and the growing answer. What is left is the provider's
//! own protocol: `POST /generate` with a model and a prompt, answered by a line for each word.

use provider::{
    Adapter, CredentialHeader, Description, EmbedRequest, Embedding, Error, FinishReason, Generation, Inference, Input,
    Metadata, Operation, Outcome, Part, Piece, Post, Reported, Request, answer, refusal, unsupported,
};
use serde_json::json;

struct Lines;

provider::export!(Lines with_types_in provider::bindings);

impl Adapter for Lines {
    fn describe() -> Vec<Description> {
        let credential = CredentialHeader { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
        vec![Description {
            provider: "lines".to_owned(),
            base_url: None,
            credential: Some(credential),
            operations: vec![Operation::Query, Operation::Chat],
        }]
    }
}

impl Inference for Lines {
    async fn generate(request: Request) -> Result<Generation, Error> {
        let settings = provider::settings();
        let body = json!({ "model": settings.model, "prompt": prompt(request.input) }).to_string();
        let mut reply = Post::new(&settings, "/generate", body.into_bytes()).send().await?;
        if !reply.is_success() {
            return Err(refusal(&settings.provider, &reply.head, Reported::default()));
        }
        let upstream_request_id = reply.head.request_id();
        let request_id = request.context.request_id;
        let metadata = Metadata { request_id, upstream_request_id, upstream_response_id: None, retries: 0 };
        Ok(answer(|mut pieces| async move {
            let mut rest = Vec::new();
            let mut finish = FinishReason::Stop;
            while let Some(chunk) = reply.body.chunk().await? {
                rest.extend(chunk);
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines: Vec<u8> = rest.drain(..whole).collect();
                let words = String::from_utf8_lossy(&lines)
                    .lines()
                    .map(|line| Piece::text(format!("{line} ")))
                    .collect::<Vec<_>>();
                if !pieces.push(words).await {
                    // Nobody reads on; to drop the body ends the exchange.
                    finish = FinishReason::Cancelled;
                    break;
                }
            }
            Ok(Outcome { finish, usage: None, stats: None, metadata })
        }))
    }

    async fn embed(_request: EmbedRequest) -> Result<Embedding, Error> {
        Err(unsupported(Operation::Embed, "this provider has no vectors"))
    }
}

/// The prompt, or the last text of a conversation.
fn prompt(input: Input) -> String {
    let messages = match input {
        Input::Prompt(prompt) => return prompt,
        Input::Messages(messages) => messages,
    };
    let parts = messages.into_iter().flat_map(|message| message.content);
    parts.filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).next_back().unwrap_or_default()
}
