//! From a request for vectors to a body, and from its reply to the vectors.

use provider::{EmbedRequest, Error, Fault, Settings, Usage, invalid, merge};
use serde_json::Map;

use super::OPENAI;
use super::fault::reported;
use super::reply::usage;
use super::request::check_settings;
use crate::wire::{EmbedBody, Embeddings};

/// Fields for which a request has options, or of which this adapter reads one form only.
const TYPED: &[&str] = &["model", "input", "encoding_format"];

/// The body for a request.
///
/// # Errors
///
/// [`Error::InvalidRequest`] for what the API has no words for.
pub(crate) fn embed_body(settings: &Settings, request: &EmbedRequest) -> Result<Vec<u8>, Error> {
    let EmbedRequest { inputs, normalize, context_key, query, extensions, context: _ } = request;
    check_settings(settings)?;
    let provider = &settings.provider;
    if context_key.is_some() {
        return Err(invalid(format!("context_key has no effect at {provider}; leave it out")));
    }
    if query.is_some() {
        return Err(invalid(format!("query has no effect at {provider}; leave it out")));
    }
    // What has length 1 already is as it was asked for.
    if normalize.is_some() && *normalize != is_normalized(settings) {
        return Err(invalid(format!("normalize has no effect at {provider}; leave it out")));
    }
    let mut fields = Map::new();
    merge(&mut fields, extensions, TYPED)?;
    let body = EmbedBody { model: &settings.model, input: inputs, encoding_format: "float", fields };
    serde_json::to_vec(&body).map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))
}

/// Whether vectors have length 1. OpenAI [says so](https://platform.openai.com/docs/guides/embeddings) of its own.
pub(crate) fn is_normalized(settings: &Settings) -> Option<bool> {
    (settings.provider == OPENAI).then_some(true)
}

/// The vectors of a reply, in the order of the inputs, and what they cost.
///
/// # Errors
///
/// [`Fault`] when the reply is an error, or has not one vector of the same length for each of `count` inputs.
pub(crate) fn vectors(reply: Embeddings, count: usize) -> Result<(Vec<Vec<f32>>, Option<Usage>), Fault> {
    if let Some(error) = reply.error {
        return Err(Fault::Reported(reported(error)));
    }
    let data = reply.data.ok_or_else(|| Fault::Broken("the reply lacks `data`".to_owned()))?;
    if data.len() != count {
        return Err(Fault::Broken(format!("the reply has {} vectors for {count} inputs", data.len())));
    }
    let mut placed: Vec<(usize, Vec<f32>)> =
        data.into_iter().enumerate().map(|(place, vector)| (vector.index.unwrap_or(place), vector.embedding)).collect();
    placed.sort_by_key(|(index, _)| *index);
    if placed.iter().enumerate().any(|(place, (index, _))| place != *index) {
        return Err(Fault::Broken("the reply has not one vector for each input".to_owned()));
    }
    let vectors: Vec<_> = placed.into_iter().map(|(_, vector)| vector).collect();
    let length = vectors.first().map_or(0, Vec::len);
    if vectors.iter().any(|vector| vector.is_empty() || vector.len() != length) {
        return Err(Fault::Broken("the reply's vectors are empty, or have not all the same length".to_owned()));
    }
    Ok((vectors, reply.usage.and_then(usage)))
}

#[cfg(test)]
mod tests;
