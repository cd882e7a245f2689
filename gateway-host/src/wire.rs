//! The first-party HTTP profile: request bodies, response bodies and event data, as serde types.
//!
//! Bodies are read strictly. A field that nothing acts on is refused by name, because a misspelled option that is
//! ignored gives a wrong answer instead of an error.

use serde::de::DeserializeOwned;

use crate::http_error::HttpError;

pub mod answer;
pub mod message;
pub mod models;
pub mod request;

pub use answer::{
    DoneEvent, EmbedAnswer, MetadataBody, ReasoningBody, ReasoningEvent, TextAnswer, TokenEvent, TokenLogprobBody,
    ToolCallBody, ToolCallEvent, UsageCounts, Vectors, finish_reason,
};
pub use models::ModelList;
pub use request::{ChatBody, EmbedBody, QueryBody};

/// A request body.
pub trait Body: DeserializeOwned {
    /// The target that it names.
    fn model(&self) -> &str;

    /// The path of its first unknown field.
    fn unknown(&self) -> Option<String>;

    /// The name of a required field that it lacks.
    fn missing(&self) -> Option<&'static str>;

    /// The name of a required field that is empty.
    fn empty(&self) -> Option<&'static str>;
}

/// Reads a body and checks what its type cannot express.
///
/// # Errors
/// `invalid_json` where it is not JSON of the route's shape, `invalidrequest` where a required field is empty or a
/// field is not known.
pub fn read<B: Body>(json: &[u8]) -> Result<B, HttpError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let body: B = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let cause = error.into_inner();
        // A path that does not lead into the body adds nothing to serde's text.
        HttpError::invalid_json(if field == "." || field == "?" {
            cause.to_string()
        } else {
            format!("{field}: {cause}")
        })
    })?;
    deserializer.end().map_err(|error| HttpError::invalid_json(error.to_string()))?;
    if let Some(field) = body.unknown() {
        return Err(HttpError::invalid_request(format!("unknown field `{field}`; this route takes no such option")));
    }
    if let Some(field) = body.missing() {
        return Err(HttpError::invalid_json(format!("missing field `{field}`")));
    }
    let model = body.model().trim().is_empty().then_some("model");
    match model.or_else(|| body.empty()) {
        Some(field) => Err(HttpError::invalid_request(format!("`{field}` must not be empty"))),
        None => Ok(body),
    }
}

#[cfg(test)]
mod tests;
