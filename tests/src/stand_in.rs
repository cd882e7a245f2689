//! A host without models: its endpoints answer with what reached them.
//!
//! The client's rules about gateways and providers are tested with it, and what the client hands on. The README of
//! `cases/` describes it for those who write another runner.

use std::sync::Arc;

use sipp::parts::{Answer, Answerer, Answering, EmbedRequest, Input, Open, Outcome, Progress, Request};
use sipp::{
    Capabilities, Delta, Descriptor, Embedding, Error, Extension, FinishReason, Metadata, ModelFault, ModelPayload,
    Part, Reasoning, Support, TokenBatch,
};

/// Opens every descriptor but those whose model or target is called `broken`.
#[must_use]
pub fn opener() -> Open {
    Arc::new(open)
}

fn open(descriptor: Descriptor, _progress: Progress) -> Result<Arc<dyn Answerer>, Error> {
    let unknown = Capabilities { query: Support::Unknown, chat: Support::Unknown, embed: Support::Unknown };
    let (name, capabilities) = match descriptor {
        Descriptor::Local(local) => (local.model, local_capabilities(local.context.embeddings == Some(true))),
        Descriptor::Gateway(gateway) => (gateway.target, unknown),
        Descriptor::Provider(provider) => (provider.model, unknown),
    };
    if name == "broken" {
        let message = "there is no file broken".to_owned();
        return Err(Error::Model(ModelPayload { fault: ModelFault::NotFound, message }));
    }
    Ok(Arc::new(StandIn { name, capabilities }))
}

fn local_capabilities(embeddings: bool) -> Capabilities {
    let can = |yes| if yes { Support::Supported } else { Support::Unsupported };
    Capabilities { query: can(!embeddings), chat: can(!embeddings), embed: can(embeddings) }
}

struct StandIn {
    name: String,
    capabilities: Capabilities,
}

impl Answerer for StandIn {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Answers with `NAME: PROMPT`, or the messages' texts in place of the prompt, and the extensions.
    fn generate(self: Arc<Self>, request: Request) -> Answering<Answer> {
        let input = match request.input {
            Input::Prompt(prompt) => prompt,
            Input::Messages(messages) => {
                let parts = messages.into_iter().flat_map(|message| message.content);
                parts.map(text).collect::<Vec<_>>().join(" | ")
            }
        };
        let extensions = request.extensions.into_iter().map(|Extension { name, value }| format!(" [{name}={value}]"));
        let text = format!("{}: {input}{}", self.name, extensions.collect::<String>());
        let (feeder, answer) = Answer::new();
        feeder.push(TokenBatch { delta: Delta::Text(text), sequence: 0, tokens: 1, logprobs: Vec::new() });
        let metadata = metadata(request.context.request_id);
        feeder.finish(Ok(Outcome { finish: FinishReason::Stop, usage: None, stats: None, metadata }));
        Box::pin(std::future::ready(Ok(answer)))
    }

    /// Answers with the inputs' lengths, in bytes.
    fn embed(self: Arc<Self>, request: EmbedRequest) -> Answering<Embedding> {
        let vectors = request.inputs.iter().map(|input| vec![input.len() as f32]).collect();
        let metadata = metadata(request.context.request_id);
        let embedding =
            Embedding { vectors, pooling: None, normalized: request.normalize, usage: None, stats: None, metadata };
        Box::pin(std::future::ready(Ok(embedding)))
    }
}

fn text(part: Part) -> String {
    match part {
        Part::Text(text) | Part::Reasoning(Reasoning { text, .. }) => text,
        Part::Media(media) => media.mime_type,
        Part::ToolCall(call) => call.name,
        Part::ToolResult(result) => result.content,
    }
}

fn metadata(request_id: Option<String>) -> Metadata {
    Metadata { request_id, upstream_request_id: None, upstream_response_id: None, retries: 0 }
}
