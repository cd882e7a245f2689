//! Rotary positions: which frequencies attention uses, and how long a context they reach.
//!
//! llama.cpp silently ignores most of what is given here in the wrong combination, so the combinations are checked.

use crate::config::{ContextConfig, RopeScaling};
use crate::error::Error;
use crate::model::Model;
use crate::sys;

/// Rotary positions, checked against the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    scaling: Option<RopeScaling>,
    freq_base: Option<f32>,
    freq_scale: Option<f32>,
    orig_ctx: Option<u32>,
    ext_factor: Option<f32>,
    attn_factor: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    /// Tokens that a context may have.
    pub(crate) longest: u32,
}

/// How a model was trained.
struct Trained {
    /// None for ways that are not ours to name.
    scaling: Option<RopeScaling>,
    freq_scale: f32,
    orig_ctx: u32,
    ext_factor: f32,
}

impl Trained {
    fn of(model: &Model) -> Self {
        let key = |name: &str| model.metadata(&format!("{}.rope.scaling.{name}", model.architecture()));
        Self {
            scaling: match key("type").as_deref() {
                None | Some("linear") => Some(RopeScaling::Linear),
                Some("none") => Some(RopeScaling::None),
                Some("yarn") => Some(RopeScaling::Yarn),
                Some(_) => None,
            },
            freq_scale: model.rope_freq_scale(),
            orig_ctx: key("original_context_length")
                .and_then(|length| length.parse().ok())
                .unwrap_or_else(|| model.context_length()),
            ext_factor: key("yarn_ext_factor").and_then(|factor| factor.parse().ok()).unwrap_or(1.0),
        }
    }
}

impl Rope {
    /// Checks what `config` says of rotary positions against the model.
    pub(crate) fn new(config: &ContextConfig, model: &Model) -> Result<Self, Error> {
        let rope = Self {
            scaling: config.rope_scaling,
            freq_base: config.rope_freq_base,
            freq_scale: config.rope_freq_scale,
            orig_ctx: config.yarn_orig_ctx,
            ext_factor: config.yarn_ext_factor,
            attn_factor: config.yarn_attn_factor,
            beta_fast: config.yarn_beta_fast,
            beta_slow: config.yarn_beta_slow,
            longest: model.context_length(),
        };
        if let Some(name) = rope.given().first()
            && !model.has_rope()
        {
            return Err(Error::configuration(format!("{name} has no effect on a model without rotary positions")));
        }
        rope.check_ranges()?;
        let trained = Trained::of(model);
        let scaling = rope.scaling.or(trained.scaling);
        let scale = rope.freq_scale.unwrap_or(trained.freq_scale);
        rope.check_scaling(&trained, scaling, scale)?;
        if scaling == Some(RopeScaling::Yarn) {
            rope.check_yarn(&trained)?;
        } else if let Some(name) = rope.given().iter().find(|name| name.starts_with("yarn_")) {
            return Err(Error::configuration(format!(
                "{name} has an effect with rope_scaling yarn only; leave it out"
            )));
        }
        let longest = rope.reach(&trained, scaling, scale);
        Ok(Self { longest, ..rope })
    }

    /// Sets llama.cpp's own form, where something is given.
    pub(crate) fn apply(&self, params: &mut sys::llama_context_params) {
        if let Some(scaling) = self.scaling {
            params.rope_scaling_type = match scaling {
                RopeScaling::None => sys::LLAMA_ROPE_SCALING_TYPE_NONE,
                RopeScaling::Linear => sys::LLAMA_ROPE_SCALING_TYPE_LINEAR,
                RopeScaling::Yarn => sys::LLAMA_ROPE_SCALING_TYPE_YARN,
            };
        }
        let set = |target: &mut f32, given: Option<f32>| *target = given.unwrap_or(*target);
        set(&mut params.rope_freq_base, self.freq_base);
        set(&mut params.rope_freq_scale, self.freq_scale);
        set(&mut params.yarn_ext_factor, self.ext_factor);
        set(&mut params.yarn_attn_factor, self.attn_factor);
        set(&mut params.yarn_beta_fast, self.beta_fast);
        set(&mut params.yarn_beta_slow, self.beta_slow);
        params.yarn_orig_ctx = self.orig_ctx.unwrap_or(params.yarn_orig_ctx);
    }

    /// The names of the fields that are given.
    fn given(&self) -> Vec<&'static str> {
        [
            ("rope_scaling", self.scaling.is_some()),
            ("rope_freq_base", self.freq_base.is_some()),
            ("rope_freq_scale", self.freq_scale.is_some()),
            ("yarn_orig_ctx", self.orig_ctx.is_some()),
            ("yarn_ext_factor", self.ext_factor.is_some()),
            ("yarn_attn_factor", self.attn_factor.is_some()),
            ("yarn_beta_fast", self.beta_fast.is_some()),
            ("yarn_beta_slow", self.beta_slow.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect()
    }

    fn check_ranges(&self) -> Result<(), Error> {
        let positive = [
            ("rope_freq_base", self.freq_base),
            ("yarn_attn_factor", self.attn_factor),
            ("yarn_beta_fast", self.beta_fast),
            ("yarn_beta_slow", self.beta_slow),
        ];
        for (name, value) in positive {
            if let Some(value) = value
                && !(value.is_finite() && value > 0.0)
            {
                return Err(Error::configuration(format!("{name} is {value}; it must be finite and above 0")));
            }
        }
        if let Some(scale) = self.freq_scale
            && !(scale > 0.0 && scale <= 1.0)
        {
            return Err(Error::configuration(format!("rope_freq_scale is {scale}; it must be above 0 and at most 1")));
        }
        if let Some(factor) = self.ext_factor
            && !(0.0..=1.0).contains(&factor)
        {
            return Err(Error::configuration(format!("yarn_ext_factor is {factor}; it must be from 0 to 1")));
        }
        if let Some(length) = self.orig_ctx
            && (length == 0 || i32::try_from(length).is_err())
        {
            return Err(Error::configuration(format!("yarn_orig_ctx is {length}; it must be from 1 to {}", i32::MAX)));
        }
        if let (Some(fast), Some(slow)) = (self.beta_fast, self.beta_slow)
            && slow >= fast
        {
            return Err(Error::configuration(format!(
                "yarn_beta_slow is {slow}; it must be below yarn_beta_fast, {fast}"
            )));
        }
        Ok(())
    }

    /// Refuses a scaling, or a scale, that changes nothing.
    fn check_scaling(&self, trained: &Trained, scaling: Option<RopeScaling>, scale: f32) -> Result<(), Error> {
        if scaling == Some(RopeScaling::None) {
            if self.freq_scale.is_some() {
                return Err(Error::configuration(
                    "rope_freq_scale has no effect with rope_scaling none; use linear or yarn, or leave it out",
                ));
            }
            let scales =
                trained.freq_scale != 1.0 || !matches!(trained.scaling, Some(RopeScaling::None | RopeScaling::Linear));
            if self.scaling.is_some() && !scales {
                return Err(Error::configuration(
                    "rope_scaling none has no effect on a model that scales nothing; leave it out",
                ));
            }
        }
        if matches!(self.scaling, Some(RopeScaling::Linear | RopeScaling::Yarn)) && scale == 1.0 {
            return Err(Error::configuration(
                "rope_scaling linear and yarn have no effect at a rope_freq_scale of 1; set that below 1",
            ));
        }
        Ok(())
    }

    /// Refuses what llama.cpp does not look at.
    fn check_yarn(&self, trained: &Trained) -> Result<(), Error> {
        let extrapolates = self.ext_factor.unwrap_or(trained.ext_factor) != 0.0;
        if extrapolates && self.attn_factor.is_some() {
            return Err(Error::configuration(
                "yarn_attn_factor has an effect with a yarn_ext_factor of 0 only; otherwise it is computed",
            ));
        }
        let unseen = [
            ("yarn_orig_ctx", self.orig_ctx.is_some()),
            ("yarn_beta_fast", self.beta_fast.is_some()),
            ("yarn_beta_slow", self.beta_slow.is_some()),
        ];
        match unseen.iter().find(|(_, is_given)| *is_given && !extrapolates) {
            Some((name, _)) => {
                Err(Error::configuration(format!("{name} has no effect with a yarn_ext_factor of 0; leave it out")))
            }
            None => Ok(()),
        }
    }

    /// Tokens that a context may have: what was trained, stretched by what is given.
    fn reach(&self, trained: &Trained, scaling: Option<RopeScaling>, scale: f32) -> u32 {
        let length = match scaling {
            Some(RopeScaling::Linear) => f64::from(self.longest) * f64::from(trained.freq_scale),
            Some(RopeScaling::Yarn) => f64::from(self.orig_ctx.unwrap_or(trained.orig_ctx)),
            Some(RopeScaling::None) | None => return self.longest,
        };
        let stretched = (length / f64::from(scale)).min(f64::from(i32::MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the range")]
        let stretched = stretched as u32;
        stretched.max(self.longest)
    }
}
