//! Which sampling a request gets: its own fields over the model's over the defaults, every one checked.

use crate::config::{LogitBias, SamplerStage, Sampling};
use crate::error::Error;
use crate::request::TextRequest;

/// Every stage, in the default order.
const STAGES: [SamplerStage; 9] = [
    SamplerStage::Penalties,
    SamplerStage::Dry,
    SamplerStage::TopNSigma,
    SamplerStage::TopK,
    SamplerStage::TypicalP,
    SamplerStage::TopP,
    SamplerStage::MinP,
    SamplerStage::Xtc,
    SamplerStage::Temperature,
];

/// Sampling with every field filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) stages: Vec<SamplerStage>,
    /// None: a new one each time.
    pub(crate) seed: Option<u32>,
    pub(crate) temperature: f32,
    pub(crate) dynatemp_range: f32,
    pub(crate) dynatemp_exponent: f32,
    pub(crate) top_k: i32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
    pub(crate) typical_p: f32,
    pub(crate) top_n_sigma: f32,
    pub(crate) xtc_probability: f32,
    pub(crate) xtc_threshold: f32,
    pub(crate) min_keep: usize,
    pub(crate) repeat_last_n: i32,
    pub(crate) repeat_penalty: f32,
    pub(crate) frequency_penalty: f32,
    pub(crate) presence_penalty: f32,
    pub(crate) dry_multiplier: f32,
    pub(crate) dry_base: f32,
    pub(crate) dry_allowed_length: i32,
    /// 0: the whole context.
    pub(crate) dry_penalty_last_n: i32,
    pub(crate) dry_sequence_breakers: Vec<String>,
    pub(crate) mirostat: u32,
    pub(crate) mirostat_tau: f32,
    pub(crate) mirostat_eta: f32,
    pub(crate) logit_bias: Vec<LogitBias>,
    pub(crate) ignore_eos: bool,
}

/// A model's sampling configuration, checked when it is loaded.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ModelSampling(Sampling);

impl ModelSampling {
    /// Checks the configuration of a model with this many tokens.
    pub(crate) fn new(sampling: Sampling, vocabulary: u32) -> Result<Self, Error> {
        let checked = check_ranges(&sampling, vocabulary).and_then(|()| check_effects(&sampling, &sampling));
        checked.map_err(|what| Error::configuration(format!("sampling: {what}")))?;
        Ok(Self(sampling))
    }

    /// The sampling of one request.
    pub(crate) fn resolve(&self, request: &TextRequest, vocabulary: u32) -> Result<Resolved, Error> {
        let own = with_shortcuts(request)?;
        let merged = merge(&own, &self.0);
        check_ranges(&own, vocabulary).and_then(|()| check_effects(&own, &merged)).map_err(Error::InvalidRequest)?;
        Ok(fill(merged))
    }
}

/// The request's sampling with its `temperature` and `top_p` put in.
fn with_shortcuts(request: &TextRequest) -> Result<Sampling, Error> {
    let mut own = request.sampling.clone();
    own.temperature = agree("temperature", request.temperature, own.temperature)?;
    own.top_p = agree("top_p", request.top_p, own.top_p)?;
    Ok(own)
}

fn agree(name: &str, option: Option<f32>, sampling: Option<f32>) -> Result<Option<f32>, Error> {
    match (option, sampling) {
        (Some(a), Some(b)) if a != b => {
            Err(Error::InvalidRequest(format!("{name} is {a} in the options and {b} in sampling; give it once")))
        }
        (option, sampling) => Ok(option.or(sampling)),
    }
}

fn merge(own: &Sampling, model: &Sampling) -> Sampling {
    let bias = if own.logit_bias.is_empty() { &model.logit_bias } else { &own.logit_bias };
    Sampling {
        samplers: own.samplers.clone().or_else(|| model.samplers.clone()),
        seed: own.seed.or(model.seed),
        temperature: own.temperature.or(model.temperature),
        dynatemp_range: own.dynatemp_range.or(model.dynatemp_range),
        dynatemp_exponent: own.dynatemp_exponent.or(model.dynatemp_exponent),
        top_k: own.top_k.or(model.top_k),
        top_p: own.top_p.or(model.top_p),
        min_p: own.min_p.or(model.min_p),
        typical_p: own.typical_p.or(model.typical_p),
        top_n_sigma: own.top_n_sigma.or(model.top_n_sigma),
        xtc_probability: own.xtc_probability.or(model.xtc_probability),
        xtc_threshold: own.xtc_threshold.or(model.xtc_threshold),
        min_keep: own.min_keep.or(model.min_keep),
        repeat_last_n: own.repeat_last_n.or(model.repeat_last_n),
        repeat_penalty: own.repeat_penalty.or(model.repeat_penalty),
        frequency_penalty: own.frequency_penalty.or(model.frequency_penalty),
        presence_penalty: own.presence_penalty.or(model.presence_penalty),
        dry_multiplier: own.dry_multiplier.or(model.dry_multiplier),
        dry_base: own.dry_base.or(model.dry_base),
        dry_allowed_length: own.dry_allowed_length.or(model.dry_allowed_length),
        dry_penalty_last_n: own.dry_penalty_last_n.or(model.dry_penalty_last_n),
        dry_sequence_breakers: own.dry_sequence_breakers.clone().or_else(|| model.dry_sequence_breakers.clone()),
        mirostat: own.mirostat.or(model.mirostat),
        mirostat_tau: own.mirostat_tau.or(model.mirostat_tau),
        mirostat_eta: own.mirostat_eta.or(model.mirostat_eta),
        logit_bias: bias.clone(),
        ignore_eos: own.ignore_eos.or(model.ignore_eos),
    }
}

fn fill(merged: Sampling) -> Resolved {
    Resolved {
        stages: merged.samplers.unwrap_or_else(|| STAGES.to_vec()),
        seed: merged.seed,
        temperature: merged.temperature.unwrap_or(0.7),
        dynatemp_range: merged.dynatemp_range.unwrap_or(0.0),
        dynatemp_exponent: merged.dynatemp_exponent.unwrap_or(1.0),
        top_k: signed(merged.top_k.unwrap_or(40)),
        top_p: merged.top_p.unwrap_or(0.8),
        min_p: merged.min_p.unwrap_or(0.0),
        typical_p: merged.typical_p.unwrap_or(1.0),
        top_n_sigma: merged.top_n_sigma.unwrap_or(0.0),
        xtc_probability: merged.xtc_probability.unwrap_or(0.0),
        xtc_threshold: merged.xtc_threshold.unwrap_or(0.1),
        min_keep: merged.min_keep.unwrap_or(0) as usize,
        repeat_last_n: signed(merged.repeat_last_n.unwrap_or(64)),
        repeat_penalty: merged.repeat_penalty.unwrap_or(1.0),
        frequency_penalty: merged.frequency_penalty.unwrap_or(0.0),
        presence_penalty: merged.presence_penalty.unwrap_or(0.0),
        dry_multiplier: merged.dry_multiplier.unwrap_or(0.0),
        dry_base: merged.dry_base.unwrap_or(1.75),
        dry_allowed_length: signed(merged.dry_allowed_length.unwrap_or(2)),
        dry_penalty_last_n: signed(merged.dry_penalty_last_n.unwrap_or(0)),
        dry_sequence_breakers: merged
            .dry_sequence_breakers
            .unwrap_or_else(|| ["\n", ":", "\"", "*"].map(str::to_owned).to_vec()),
        mirostat: merged.mirostat.unwrap_or(0),
        mirostat_tau: merged.mirostat_tau.unwrap_or(5.0),
        mirostat_eta: merged.mirostat_eta.unwrap_or(0.1),
        logit_bias: merged.logit_bias,
        ignore_eos: merged.ignore_eos.unwrap_or(false),
    }
}

/// llama.cpp counts in `i32`; `check_ranges` refused what does not fit.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The ranges of `record sampling` in `wit/inference/types.wit`.
fn check_ranges(sampling: &Sampling, vocabulary: u32) -> Result<(), String> {
    let s = sampling;
    let at_least_0 = |value: f32| value >= 0.0;
    let above_0 = |value: f32| value > 0.0;
    let share = |value: f32| (0.0..=1.0).contains(&value);
    let penalty = |value: f32| (-2.0..=2.0).contains(&value);
    number("temperature", s.temperature, at_least_0, "at least 0")?;
    number("dynatemp_range", s.dynatemp_range, at_least_0, "at least 0")?;
    number("dynatemp_exponent", s.dynatemp_exponent, above_0, "above 0")?;
    number("top_p", s.top_p, share, "from 0 to 1")?;
    number("min_p", s.min_p, share, "from 0 to 1")?;
    number("typical_p", s.typical_p, |value| value > 0.0 && value <= 1.0, "above 0 and at most 1")?;
    number("top_n_sigma", s.top_n_sigma, at_least_0, "at least 0")?;
    number("xtc_probability", s.xtc_probability, share, "from 0 to 1")?;
    number("xtc_threshold", s.xtc_threshold, share, "from 0 to 1")?;
    number("repeat_penalty", s.repeat_penalty, above_0, "above 0")?;
    number("frequency_penalty", s.frequency_penalty, penalty, "from -2 to 2")?;
    number("presence_penalty", s.presence_penalty, penalty, "from -2 to 2")?;
    number("dry_multiplier", s.dry_multiplier, at_least_0, "at least 0")?;
    number("dry_base", s.dry_base, |value| value >= 1.0, "at least 1")?;
    number("mirostat_tau", s.mirostat_tau, above_0, "above 0")?;
    number("mirostat_eta", s.mirostat_eta, above_0, "above 0")?;
    count("top_k", s.top_k)?;
    count("min_keep", s.min_keep)?;
    count("repeat_last_n", s.repeat_last_n)?;
    count("dry_allowed_length", s.dry_allowed_length)?;
    count("dry_penalty_last_n", s.dry_penalty_last_n)?;
    if let Some(version) = s.mirostat.filter(|version| *version > 2) {
        return Err(format!("mirostat is {version}; it must be 0, 1 or 2"));
    }
    check_breakers(s.dry_sequence_breakers.as_deref().unwrap_or_default())?;
    check_bias(&s.logit_bias, vocabulary)?;
    check_stages(s.samplers.as_deref().unwrap_or_default())
}

fn number(name: &str, value: Option<f32>, allowed: impl Fn(f32) -> bool, range: &str) -> Result<(), String> {
    match value {
        Some(value) if !value.is_finite() || !allowed(value) => {
            Err(format!("{name} is {value}; it must be a finite number {range}"))
        }
        _ => Ok(()),
    }
}

/// Largest count that is taken: llama.cpp allocates memory for some of them.
const MAX_COUNT: u32 = 1 << 24;

fn count(name: &str, value: Option<u32>) -> Result<(), String> {
    match value {
        Some(value) if value > MAX_COUNT => Err(format!("{name} is {value}; it must be at most {MAX_COUNT}")),
        _ => Ok(()),
    }
}

/// llama.cpp skips empty breakers and cuts long ones to 40 bytes, without a word.
fn check_breakers(breakers: &[String]) -> Result<(), String> {
    match breakers.iter().find(|breaker| breaker.is_empty() || breaker.len() > 40 || breaker.contains('\0')) {
        Some(breaker) => {
            Err(format!("dry_sequence_breakers contains {breaker:?}; each must have 1 to 40 bytes and no zero byte"))
        }
        None => Ok(()),
    }
}

fn check_bias(biases: &[LogitBias], vocabulary: u32) -> Result<(), String> {
    for LogitBias { token, bias } in biases {
        if *token >= vocabulary {
            return Err(format!(
                "logit_bias names token {token}; the model's tokens are 0 to {}",
                vocabulary.saturating_sub(1)
            ));
        }
        if bias.is_nan() || *bias == f32::INFINITY {
            return Err(format!(
                "logit_bias adds {bias} to token {token}; it must be a finite number or negative infinity"
            ));
        }
    }
    Ok(())
}

fn check_stages(stages: &[SamplerStage]) -> Result<(), String> {
    for (index, stage) in stages.iter().enumerate() {
        if stages.iter().take(index).any(|earlier| earlier == stage) {
            return Err(format!("samplers lists {} twice", stage_name(*stage)));
        }
    }
    Ok(())
}

/// Refuses fields of `own` that have no effect in `merged`, the whole that they are part of.
fn check_effects(own: &Sampling, merged: &Sampling) -> Result<(), String> {
    let mirostat = merged.mirostat.unwrap_or(0) != 0;
    for (field, stage) in fields(own) {
        if merged.samplers.as_ref().is_some_and(|stages| !stages.contains(&stage)) {
            let name = stage_name(stage);
            return Err(format!(
                "{field} has no effect, because samplers does not list {name}; add it or leave {field} out"
            ));
        }
        if mirostat && replaced_by_mirostat(stage) {
            return Err(format!("{field} has no effect, because mirostat replaces that stage; leave one of them out"));
        }
    }
    let tuned = own.mirostat_tau.map(|_| "mirostat_tau").or(own.mirostat_eta.map(|_| "mirostat_eta"));
    match tuned {
        Some(field) if !mirostat => Err(format!("{field} has no effect without mirostat; set mirostat to 1 or 2")),
        _ => Ok(()),
    }
}

/// Whether mirostat takes the place of this stage.
pub(crate) fn replaced_by_mirostat(stage: SamplerStage) -> bool {
    !matches!(stage, SamplerStage::Penalties | SamplerStage::Dry | SamplerStage::Temperature)
}

/// The fields that are set, with the stage that each belongs to.
fn fields(s: &Sampling) -> impl Iterator<Item = (&'static str, SamplerStage)> {
    [
        ("temperature", s.temperature.is_some(), SamplerStage::Temperature),
        ("dynatemp_range", s.dynatemp_range.is_some(), SamplerStage::Temperature),
        ("dynatemp_exponent", s.dynatemp_exponent.is_some(), SamplerStage::Temperature),
        ("top_k", s.top_k.is_some(), SamplerStage::TopK),
        ("top_p", s.top_p.is_some(), SamplerStage::TopP),
        ("min_p", s.min_p.is_some(), SamplerStage::MinP),
        ("typical_p", s.typical_p.is_some(), SamplerStage::TypicalP),
        ("top_n_sigma", s.top_n_sigma.is_some(), SamplerStage::TopNSigma),
        ("xtc_probability", s.xtc_probability.is_some(), SamplerStage::Xtc),
        ("xtc_threshold", s.xtc_threshold.is_some(), SamplerStage::Xtc),
        ("repeat_last_n", s.repeat_last_n.is_some(), SamplerStage::Penalties),
        ("repeat_penalty", s.repeat_penalty.is_some(), SamplerStage::Penalties),
        ("frequency_penalty", s.frequency_penalty.is_some(), SamplerStage::Penalties),
        ("presence_penalty", s.presence_penalty.is_some(), SamplerStage::Penalties),
        ("dry_multiplier", s.dry_multiplier.is_some(), SamplerStage::Dry),
        ("dry_base", s.dry_base.is_some(), SamplerStage::Dry),
        ("dry_allowed_length", s.dry_allowed_length.is_some(), SamplerStage::Dry),
        ("dry_penalty_last_n", s.dry_penalty_last_n.is_some(), SamplerStage::Dry),
        ("dry_sequence_breakers", s.dry_sequence_breakers.is_some(), SamplerStage::Dry),
    ]
    .into_iter()
    .filter_map(|(name, set, stage)| set.then_some((name, stage)))
}

fn stage_name(stage: SamplerStage) -> &'static str {
    match stage {
        SamplerStage::Penalties => "penalties",
        SamplerStage::Dry => "dry",
        SamplerStage::TopNSigma => "top_n_sigma",
        SamplerStage::TopK => "top_k",
        SamplerStage::TypicalP => "typical_p",
        SamplerStage::TopP => "top_p",
        SamplerStage::MinP => "min_p",
        SamplerStage::Xtc => "xtc",
        SamplerStage::Temperature => "temperature",
    }
}
