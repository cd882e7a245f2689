//! Ranges of sampling options.

use crate::bindings::sipp::inference::types::{Error, Sampling};
use crate::request::invalid;

/// Checks every field that is set. The ranges are those that the WIT documents.
pub(crate) fn check(sampling: &Sampling) -> Result<(), Error> {
    not_negative("temperature", sampling.temperature)?;
    not_negative("dynatemp_range", sampling.dynatemp_range)?;
    positive("dynatemp_exponent", sampling.dynatemp_exponent)?;
    share("top_p", sampling.top_p)?;
    share("min_p", sampling.min_p)?;
    range("typical_p", sampling.typical_p, |value| value > 0.0 && value <= 1.0, "a number above 0, at most 1")?;
    not_negative("top_n_sigma", sampling.top_n_sigma)?;
    share("xtc_probability", sampling.xtc_probability)?;
    share("xtc_threshold", sampling.xtc_threshold)?;
    positive("repeat_penalty", sampling.repeat_penalty)?;
    range(
        "frequency_penalty",
        sampling.frequency_penalty,
        |value| (-2.0..=2.0).contains(&value),
        "a number from -2 to 2",
    )?;
    range(
        "presence_penalty",
        sampling.presence_penalty,
        |value| (-2.0..=2.0).contains(&value),
        "a number from -2 to 2",
    )?;
    not_negative("dry_multiplier", sampling.dry_multiplier)?;
    range("dry_base", sampling.dry_base, |value| value.is_finite() && value >= 1.0, "a finite number, at least 1")?;
    positive("mirostat_tau", sampling.mirostat_tau)?;
    positive("mirostat_eta", sampling.mirostat_eta)?;
    for (name, value) in [
        ("top_k", sampling.top_k),
        ("min_keep", sampling.min_keep),
        ("repeat_last_n", sampling.repeat_last_n),
        ("dry_allowed_length", sampling.dry_allowed_length),
        ("dry_penalty_last_n", sampling.dry_penalty_last_n),
    ] {
        if value.is_some_and(|value| i32::try_from(value).is_err()) {
            return Err(invalid(format!("{name} must be at most {}", i32::MAX)));
        }
    }
    if sampling.mirostat.is_some_and(|version| version > 2) {
        return Err(invalid("mirostat must be 0, 1 or 2"));
    }
    if sampling.samplers.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("samplers must not be empty"));
    }
    // Negative infinity bans a token; positive infinity and NaN leave nothing to compare.
    if let Some(bias) = sampling.logit_bias.iter().find(|bias| bias.bias.is_nan() || bias.bias == f32::INFINITY) {
        return Err(invalid(format!("logit_bias of token {} must be a number below infinity", bias.token)));
    }
    Ok(())
}

/// Checks that a number is finite and not negative.
pub(crate) fn not_negative(name: &str, value: Option<f32>) -> Result<(), Error> {
    range(name, value, |value| value.is_finite() && value >= 0.0, "a finite number, at least 0")
}

/// Checks that a number is a share: from 0 to 1.
pub(crate) fn share(name: &str, value: Option<f32>) -> Result<(), Error> {
    range(name, value, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

fn positive(name: &str, value: Option<f32>) -> Result<(), Error> {
    range(name, value, |value| value.is_finite() && value > 0.0, "a finite number above 0")
}

/// Ranges are words, not numbers: formatting floats would make the component a tenth larger.
fn range(name: &str, value: Option<f32>, good: impl Fn(f32) -> bool, words: &str) -> Result<(), Error> {
    match value {
        Some(value) if !good(value) => Err(invalid(format!("{name} must be {words}"))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bindings::sipp::inference::types::LogitBias;

    pub(crate) fn unset() -> Sampling {
        Sampling {
            samplers: None,
            seed: None,
            temperature: None,
            dynatemp_range: None,
            dynatemp_exponent: None,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
            top_n_sigma: None,
            xtc_probability: None,
            xtc_threshold: None,
            min_keep: None,
            repeat_last_n: None,
            repeat_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
            dry_multiplier: None,
            dry_base: None,
            dry_allowed_length: None,
            dry_penalty_last_n: None,
            dry_sequence_breakers: None,
            mirostat: None,
            mirostat_tau: None,
            mirostat_eta: None,
            logit_bias: vec![],
            ignore_eos: None,
        }
    }

    #[test]
    fn unset_and_usual_values_pass() {
        assert!(check(&unset()).is_ok());
        let usual = Sampling {
            temperature: Some(0.7),
            top_k: Some(40),
            top_p: Some(0.95),
            min_p: Some(0.05),
            repeat_penalty: Some(1.1),
            frequency_penalty: Some(-0.5),
            logit_bias: vec![LogitBias { token: 3, bias: f32::NEG_INFINITY }],
            ..unset()
        };
        assert!(check(&usual).is_ok());
    }

    #[test]
    fn every_range_is_enforced() {
        let bad = [
            Sampling { temperature: Some(f32::INFINITY), ..unset() },
            Sampling { dynatemp_range: Some(-1.0), ..unset() },
            Sampling { dynatemp_exponent: Some(0.0), ..unset() },
            Sampling { top_k: Some(u32::MAX), ..unset() },
            Sampling { top_p: Some(-0.1), ..unset() },
            Sampling { min_p: Some(1.1), ..unset() },
            Sampling { typical_p: Some(0.0), ..unset() },
            Sampling { typical_p: Some(1.5), ..unset() },
            Sampling { top_n_sigma: Some(f32::NAN), ..unset() },
            Sampling { xtc_probability: Some(2.0), ..unset() },
            Sampling { xtc_threshold: Some(-1.0), ..unset() },
            Sampling { min_keep: Some(u32::MAX), ..unset() },
            Sampling { repeat_last_n: Some(u32::MAX), ..unset() },
            Sampling { repeat_penalty: Some(0.0), ..unset() },
            Sampling { frequency_penalty: Some(2.1), ..unset() },
            Sampling { presence_penalty: Some(-2.1), ..unset() },
            Sampling { dry_multiplier: Some(-1.0), ..unset() },
            Sampling { dry_base: Some(0.5), ..unset() },
            Sampling { dry_allowed_length: Some(u32::MAX), ..unset() },
            Sampling { dry_penalty_last_n: Some(u32::MAX), ..unset() },
            Sampling { mirostat: Some(3), ..unset() },
            Sampling { mirostat_tau: Some(0.0), ..unset() },
            Sampling { mirostat_eta: Some(-0.1), ..unset() },
            Sampling { samplers: Some(vec![]), ..unset() },
            Sampling { logit_bias: vec![LogitBias { token: 1, bias: f32::NAN }], ..unset() },
        ];
        for sampling in bad {
            assert!(matches!(check(&sampling), Err(Error::InvalidRequest(_))), "{sampling:?} passed");
        }
    }
}
