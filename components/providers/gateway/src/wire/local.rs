//! Options of local models, as bodies hold them.
//!
//! Serde's `remote` derive writes the generated types under the gateway's names. The compiler compares the fields, so that
//! an option that the contracts gain cannot be forgotten on its way to a gateway.

use provider::{LogitBias, SamplerStage};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What a local target takes besides the options of every target.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LocalFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grammar: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sampling: Option<Sampling>,
    /// Base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) media: Vec<String>,
}

/// Writes what is set of [`provider::Sampling`].
#[derive(Debug, Serialize)]
pub(crate) struct Sampling(#[serde(with = "SamplingFields")] pub(crate) provider::Sampling);

#[derive(Serialize)]
#[serde(remote = "provider::Sampling")]
struct SamplingFields {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stages")]
    samplers: Option<Vec<SamplerStage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynatemp_range: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynatemp_exponent: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typical_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_n_sigma: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xtc_probability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xtc_threshold: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_keep: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_last_n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_multiplier: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_base: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_allowed_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_penalty_last_n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_sequence_breakers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirostat: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirostat_tau: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirostat_eta: Option<f32>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "biases")]
    logit_bias: Vec<LogitBias>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
}

#[derive(Serialize)]
#[serde(remote = "SamplerStage", rename_all = "snake_case")]
enum Stage {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    TypicalP,
    TopP,
    MinP,
    Xtc,
    Temperature,
}

#[derive(Serialize)]
#[serde(remote = "LogitBias")]
struct Bias {
    token: u32,
    /// JSON has no infinity: serde writes null, which bans the token.
    bias: f32,
}

fn stages<S: Serializer>(stages: &Option<Vec<SamplerStage>>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Word(#[serde(with = "Stage")] SamplerStage);
    serializer.collect_seq(stages.iter().flatten().map(|stage| Word(*stage)))
}

fn biases<S: Serializer>(biases: &[LogitBias], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry(#[serde(with = "Bias")] LogitBias);
    serializer.collect_seq(biases.iter().map(|bias| Entry(*bias)))
}
