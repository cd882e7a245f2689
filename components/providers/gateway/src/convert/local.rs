//! Options of local models, which the gateway hands to a local target.
//!
//! Whether the target is one is the gateway's to know: it refuses them for every other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider::{Error, LocalOptions, parse_json};

use crate::wire::{LocalFields, Sampling};

/// Their fields in a body.
///
/// # Errors
///
/// [`Error::InvalidRequest`] for a schema that is no JSON.
pub(super) fn fields(options: LocalOptions) -> Result<LocalFields, Error> {
    let LocalOptions { context_key, grammar, json_schema, sampling, media } = options;
    Ok(LocalFields {
        context_key,
        grammar,
        json_schema: json_schema.map(|text| parse_json("json_schema", &text)).transpose()?,
        sampling: sampling.map(Sampling),
        media: media.into_iter().map(|image| STANDARD.encode(image)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use provider::{LogitBias, SamplerStage};
    use serde_json::json;

    use super::*;

    fn none() -> LocalOptions {
        LocalOptions { context_key: None, grammar: None, json_schema: None, sampling: None, media: vec![] }
    }

    fn unset() -> provider::Sampling {
        provider::Sampling {
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

    fn body(options: LocalOptions) -> serde_json::Value {
        serde_json::to_value(fields(options).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        assert_eq!(body(none()), json!({}));
        assert_eq!(body(LocalOptions { sampling: Some(unset()), ..none() }), json!({"sampling": {}}));
    }

    #[test]
    fn every_option_is_sent() {
        let sent = body(LocalOptions {
            context_key: Some("k".into()),
            grammar: Some("root ::= \"a\"".into()),
            json_schema: Some(r#"{"const":1}"#.into()),
            sampling: Some(provider::Sampling { seed: Some(7), ..unset() }),
            media: vec![vec![1, 2], vec![]],
        });
        let expected = json!({
            "context_key": "k", "grammar": "root ::= \"a\"", "json_schema": {"const": 1}, "sampling": {"seed": 7},
            "media": ["AQI=", ""],
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn sampling_has_the_names_of_the_gateway() {
        let sampling = provider::Sampling {
            samplers: Some(vec![SamplerStage::TopNSigma, SamplerStage::Xtc]),
            top_k: Some(0),
            min_p: Some(0.5),
            dry_sequence_breakers: Some(vec![]),
            logit_bias: vec![LogitBias { token: 3, bias: f32::NEG_INFINITY }, LogitBias { token: 4, bias: -1.5 }],
            ignore_eos: Some(false),
            ..unset()
        };
        let expected = json!({
            "samplers": ["top_n_sigma", "xtc"], "top_k": 0, "min_p": 0.5, "dry_sequence_breakers": [],
            "logit_bias": [{"token": 3, "bias": null}, {"token": 4, "bias": -1.5}], "ignore_eos": false,
        });
        assert_eq!(body(LocalOptions { sampling: Some(sampling), ..none() })["sampling"], expected);
    }

    #[test]
    fn a_schema_is_json() {
        let refused = fields(LocalOptions { json_schema: Some("{".into()), ..none() });
        assert!(
            matches!(&refused, Err(Error::InvalidRequest(text)) if text.starts_with("json_schema is not valid")),
            "{refused:?}"
        );
    }
}
