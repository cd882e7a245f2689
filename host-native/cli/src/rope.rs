//! Flags that say how positions and windows are treated.

use clap::Args;
use sipp::{ContextOptions, RopeScaling};

use crate::choice::{self, ROPE_SCALINGS};

/// How positions are rotated into vectors, and what of a sliding window stays.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct RopeArgs {
    /// Forget tokens that a sliding window has left, which saves memory.
    #[arg(long, hide_short_help = true)]
    no_swa_full: bool,
    /// How positions beyond the trained length are mapped into it [default: the model's own].
    #[arg(long, value_name = "SCALING", hide_short_help = true, value_parser = choice::word(ROPE_SCALINGS))]
    rope_scaling: Option<RopeScaling>,
    /// Base of the rotary frequencies [default: the model's own].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    rope_freq_base: Option<f32>,
    /// Factor of the rotary frequencies; 0.5 makes room for twice the trained length [default: the model's own].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    rope_freq_scale: Option<f32>,
    /// Tokens that the model was trained to hold before YaRN scaled it [default: the model's own].
    #[arg(long, value_name = "N", hide_short_help = true)]
    yarn_orig_ctx: Option<u32>,
    /// Share of extrapolation in YaRN's mix, from 0 to 1 [default: the model's own, else 1].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    yarn_ext_factor: Option<f32>,
    /// Factor of attention's magnitude, if --yarn-ext-factor is 0 [default: the model's own, else 1].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    yarn_attn_factor: Option<f32>,
    /// Rotations above which YaRN extrapolates [default: the model's own, else 32].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    yarn_beta_fast: Option<f32>,
    /// Rotations below which YaRN interpolates [default: the model's own, else 1].
    #[arg(long, value_name = "X", hide_short_help = true, allow_negative_numbers = true)]
    yarn_beta_slow: Option<f32>,
}

impl RopeArgs {
    /// What of a context these flags say.
    pub(crate) fn context(&self) -> ContextOptions {
        ContextOptions {
            swa_full: self.no_swa_full.then_some(false),
            rope_scaling: self.rope_scaling,
            rope_freq_base: self.rope_freq_base,
            rope_freq_scale: self.rope_freq_scale,
            yarn_orig_ctx: self.yarn_orig_ctx,
            yarn_ext_factor: self.yarn_ext_factor,
            yarn_attn_factor: self.yarn_attn_factor,
            yarn_beta_fast: self.yarn_beta_fast,
            yarn_beta_slow: self.yarn_beta_slow,
            ..ContextOptions::default()
        }
    }
}
