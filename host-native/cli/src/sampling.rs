//! Flags that say how the next token is chosen.

use clap::Args;
use sipp::{LogitBias, SamplerStage, Sampling};

use crate::choice::{self, SAMPLER_STAGES};

/// How the next token is chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling", allow_negative_numbers = true)]
pub(crate) struct SamplingArgs {
    /// Keep the K likeliest tokens; 0 keeps all [default: 40].
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Drop tokens below this share of the best token's probability [default: 0, off].
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divide the logits of repeated tokens [default: 1, off].
    #[arg(long, value_name = "X")]
    repeat_penalty: Option<f32>,
    /// Seed of the random numbers; the same seed gives the same answer [default: a new one each time].
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Tokens that penalties look back on; 0 turns them off [default: 64].
    #[arg(long, value_name = "N", hide_short_help = true)]
    repeat_last_n: Option<u32>,
    /// Subtract from a token's logit for each occurrence [default: 0].
    #[arg(long, value_name = "X", hide_short_help = true)]
    frequency_penalty: Option<f32>,
    /// Subtract from a token's logit once it occurred [default: 0].
    #[arg(long, value_name = "X", hide_short_help = true)]
    presence_penalty: Option<f32>,
    /// Keep tokens of typical information content, up to this mass [default: 1, off].
    #[arg(long, value_name = "P", hide_short_help = true)]
    typical_p: Option<f32>,
    /// Keep tokens within N standard deviations of the best logit [default: 0, off].
    #[arg(long, value_name = "N", hide_short_help = true)]
    top_n_sigma: Option<f32>,
    /// Fewest tokens that a truncating stage keeps [default: 0].
    #[arg(long, value_name = "N", hide_short_help = true)]
    min_keep: Option<u32>,
    /// Chance that XTC drops the very likeliest tokens [default: 0, off].
    #[arg(long, value_name = "P", hide_short_help = true)]
    xtc_probability: Option<f32>,
    /// Probability above which XTC drops tokens [default: 0.1].
    #[arg(long, value_name = "P", hide_short_help = true)]
    xtc_threshold: Option<f32>,
    /// Range around the temperature that entropy moves it in [default: 0, off].
    #[arg(long, value_name = "X", hide_short_help = true)]
    dynatemp_range: Option<f32>,
    /// Exponent that maps entropy to temperature [default: 1].
    #[arg(long, value_name = "X", hide_short_help = true)]
    dynatemp_exponent: Option<f32>,
    /// Strength of DRY, the penalty on repeated sequences [default: 0, off].
    #[arg(long, value_name = "X", hide_short_help = true)]
    dry_multiplier: Option<f32>,
    /// Base of DRY's exponential penalty [default: 1.75].
    #[arg(long, value_name = "X", hide_short_help = true)]
    dry_base: Option<f32>,
    /// Longest repetition that DRY leaves alone, in tokens [default: 2].
    #[arg(long, value_name = "N", hide_short_help = true)]
    dry_allowed_length: Option<u32>,
    /// Tokens that DRY looks back on; 0 looks at all [default: 0].
    #[arg(long, value_name = "N", hide_short_help = true)]
    dry_penalty_last_n: Option<u32>,
    /// Text across which DRY does not match; may be given several times [default: line break, colon, quote, asterisk].
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    dry_sequence_breaker: Vec<String>,
    /// Mirostat version, 1 or 2; it replaces every stage but penalties, DRY and temperature [default: 0, off].
    #[arg(long, value_name = "VERSION", hide_short_help = true)]
    mirostat: Option<u32>,
    /// Mirostat's target entropy [default: 5].
    #[arg(long, value_name = "X", hide_short_help = true)]
    mirostat_tau: Option<f32>,
    /// Mirostat's learning rate [default: 0.1].
    #[arg(long, value_name = "X", hide_short_help = true)]
    mirostat_eta: Option<f32>,
    /// Stages of sampling in their order, with commas between them [default: all, in the order below].
    #[arg(
        long, value_name = "STAGE", hide_short_help = true, value_delimiter = ',',
        value_parser = choice::word(SAMPLER_STAGES),
    )]
    samplers: Option<Vec<SamplerStage>>,
    /// Add BIAS to a token's logit, -inf bans the token; may be given several times.
    #[arg(long, value_name = "TOKEN=BIAS", hide_short_help = true, value_parser = choice::logit_bias)]
    logit_bias: Vec<LogitBias>,
    /// Never let the model end the answer by itself.
    #[arg(long, hide_short_help = true)]
    ignore_eos: bool,
}

impl SamplingArgs {
    /// The flags, as a model's configuration or as an option of a request.
    pub(crate) fn sampling(&self) -> Sampling {
        Sampling {
            samplers: self.samplers.clone(),
            seed: self.seed,
            dynatemp_range: self.dynatemp_range,
            dynatemp_exponent: self.dynatemp_exponent,
            top_k: self.top_k,
            min_p: self.min_p,
            typical_p: self.typical_p,
            top_n_sigma: self.top_n_sigma,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            min_keep: self.min_keep,
            repeat_last_n: self.repeat_last_n,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            dry_penalty_last_n: self.dry_penalty_last_n,
            dry_sequence_breakers: (!self.dry_sequence_breaker.is_empty()).then(|| self.dry_sequence_breaker.clone()),
            mirostat: self.mirostat,
            mirostat_tau: self.mirostat_tau,
            mirostat_eta: self.mirostat_eta,
            logit_bias: self.logit_bias.clone(),
            ignore_eos: self.ignore_eos.then_some(true),
            ..Sampling::default()
        }
    }
}
