//! The list of targets, in the shape that programs know from OpenAI's `GET /v1/models`.

use serde::Serialize;
use sipp::{Capabilities, EndpointEntry, Operation, Support};

/// The answer to `GET /v1/models`.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelEntry<'a>>,
}

/// A target.
#[derive(Debug, Serialize)]
struct ModelEntry<'a> {
    id: &'a str,
    object: &'static str,
    /// What it can do, as far as anybody knows without trying.
    operations: Vec<String>,
}

impl<'a> ModelList<'a> {
    /// The list of these endpoints.
    pub fn of(entries: impl Iterator<Item = &'a EndpointEntry>) -> Self {
        let entry = |EndpointEntry { endpoint, capabilities }: &'a EndpointEntry| {
            let Capabilities { query, chat, embed } = *capabilities;
            let all = [(Operation::Query, query), (Operation::Chat, chat), (Operation::Embed, embed)];
            let able = all.into_iter().filter(|(_, support)| *support != Support::Unsupported);
            let operations = able.map(|(operation, _)| operation.to_string()).collect();
            ModelEntry { id: &endpoint.id, object: "model", operations }
        };
        Self { object: "list", data: entries.map(entry).collect() }
    }
}
