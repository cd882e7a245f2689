//! What is known about a model: metadata and what it can do.

use std::path::{Path, PathBuf};

use crate::config::Pooling;
use crate::model::Model;
use crate::plan::Plan;

/// What a model file holds, and what the model can do as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The file.
    pub path: PathBuf,
    /// The model's own name.
    pub name: Option<String>,
    /// Architecture, as the file names it, such as `llama`.
    pub architecture: String,
    /// llama.cpp's one-line description.
    pub description: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub size_bytes: u64,
    /// How most weights are stored, as llama.cpp names it, such as `Q8_0`.
    pub quantization: String,
    /// Tokens that the model was trained to hold.
    pub context_length: u32,
    /// Length of a token's vector.
    pub embedding_length: u32,
    /// Number of layers.
    pub layers: u32,
    /// Number of tokens in the vocabulary.
    pub vocabulary: u32,
    /// The chat template's source.
    pub chat_template: Option<String>,
    /// Tokens of prompt and answer together that one request may have, as configured.
    pub context: u32,
    /// Requests that may run or wait at the same time, as configured.
    pub most_requests: u64,
    /// What the model can do, as configured.
    pub capabilities: Capabilities,
}

impl ModelInfo {
    pub(crate) fn new(path: &Path, model: &Model, plan: &Plan) -> Self {
        Self {
            path: path.to_owned(),
            name: model.metadata("general.name"),
            architecture: model.architecture().to_owned(),
            description: model.description(),
            parameters: model.parameters(),
            size_bytes: model.size_bytes(),
            quantization: model.quantization(),
            context_length: model.context_length(),
            embedding_length: model.embedding_length(),
            layers: model.layers(),
            vocabulary: model.vocab().size(),
            chat_template: model.chat_template(),
            context: plan.context,
            most_requests: u64::from(plan.running) + u64::from(plan.queue),
            capabilities: plan.capabilities(model),
        }
    }
}

/// What a model can do, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Which parts of a transformer the model has.
    pub class: ModelClass,
    /// Whether it continues text.
    pub generates_text: bool,
    /// Whether it turns texts into vectors.
    pub embeds: bool,
    /// Whether it takes images, beside text.
    pub sees: bool,
    /// Whether the file holds a chat template.
    pub has_chat_template: bool,
    /// What its vectors are like, if it embeds.
    pub embedding: Option<EmbeddingInfo>,
}

/// Which parts of a transformer a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelClass {
    /// Writes text, token by token.
    DecoderOnly,
    /// Reads a whole text first, then writes.
    EncoderDecoder,
    /// Reads only: it embeds.
    EncoderOnly,
}

/// What a model's vectors are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingInfo {
    /// Numbers in one vector.
    pub dimensions: u32,
    /// How a text's token vectors become one.
    pub pooling: Pooling,
}
