//! Parsers for values that are one of a few words, and for the two values that are pairs.
//!
//! The words are the contracts' own, so that the command line, a configuration file and a request over HTTP say the
//! same thing in the same way.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sipp::{
    Backend, CacheType, Extension, FlashAttention, GpuLayers, LogitBias, Pooling, RopeScaling, SamplerStage, SplitMode,
};

/// Words and what they mean.
type Table<T> = &'static [(&'static str, T)];

pub(crate) const SAMPLER_STAGES: Table<SamplerStage> = &[
    ("penalties", SamplerStage::Penalties),
    ("dry", SamplerStage::Dry),
    ("top_n_sigma", SamplerStage::TopNSigma),
    ("top_k", SamplerStage::TopK),
    ("typical_p", SamplerStage::TypicalP),
    ("top_p", SamplerStage::TopP),
    ("min_p", SamplerStage::MinP),
    ("xtc", SamplerStage::Xtc),
    ("temperature", SamplerStage::Temperature),
];

pub(crate) const CACHE_TYPES: Table<CacheType> = &[
    ("f32", CacheType::F32),
    ("f16", CacheType::F16),
    ("q8_0", CacheType::Q80),
    ("q5_1", CacheType::Q51),
    ("q5_0", CacheType::Q50),
    ("q4_1", CacheType::Q41),
    ("q4_0", CacheType::Q40),
    ("iq4_nl", CacheType::Iq4Nl),
];

pub(crate) const BACKENDS: Table<Backend> = &[
    ("auto", Backend::Auto),
    ("cpu", Backend::Cpu),
    ("cuda", Backend::Cuda),
    ("metal", Backend::Metal),
    ("vulkan", Backend::Vulkan),
];

pub(crate) const SPLIT_MODES: Table<SplitMode> =
    &[("none", SplitMode::None), ("layer", SplitMode::Layer), ("row", SplitMode::Row), ("tensor", SplitMode::Tensor)];

pub(crate) const ROPE_SCALINGS: Table<RopeScaling> =
    &[("none", RopeScaling::None), ("linear", RopeScaling::Linear), ("yarn", RopeScaling::Yarn)];

pub(crate) const FLASH_ATTENTION: Table<FlashAttention> =
    &[("auto", FlashAttention::Auto), ("enabled", FlashAttention::Enabled), ("disabled", FlashAttention::Disabled)];

/// Without `none`, which leaves nothing that could be printed as one vector a text.
pub(crate) const POOLING: Table<Pooling> =
    &[("mean", Pooling::Mean), ("cls", Pooling::Cls), ("last", Pooling::Last), ("rank", Pooling::Rank)];

/// A parser for the words of a table.
pub(crate) fn word<T: Copy + Send + Sync + 'static>(table: Table<T>) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(word, _)| *word)).try_map(move |given| {
        let found = table.iter().find(|(word, _)| *word == given);
        found.map(|(_, meaning)| *meaning).ok_or("the word is not in the table")
    })
}

/// Reads `auto`, `all` or a number of layers.
pub(crate) fn gpu_layers(text: &str) -> Result<GpuLayers, String> {
    match text {
        "auto" => Ok(GpuLayers::Auto),
        "all" => Ok(GpuLayers::All),
        count => count.parse().map(GpuLayers::Count).map_err(|_| "use auto, all or a number of layers".to_owned()),
    }
}

/// Reads `TOKEN=BIAS`.
pub(crate) fn logit_bias(text: &str) -> Result<LogitBias, String> {
    let pair = text.split_once('=').and_then(|(token, bias)| Some((token.parse().ok()?, bias.parse().ok()?)));
    let (token, bias) = pair.ok_or("use TOKEN=BIAS, such as 13=-1.5, or 13=-inf to ban token 13")?;
    Ok(LogitBias { token, bias })
}

/// Reads `NAME=VALUE`, where the value is JSON, or else a text.
pub(crate) fn extension(text: &str) -> Result<Extension, String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("use NAME=VALUE, such as seed=7 or service_tier=flex")?;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    let value = if is_json { value.to_owned() } else { serde_json::Value::from(value).to_string() };
    Ok(Extension { name: name.to_owned(), value })
}

/// Reads a duration such as `90s` as the milliseconds of the contract.
pub(crate) fn milliseconds(text: &str) -> Result<u32, String> {
    let duration: Duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; use a duration such as 500ms, 90s or 2m"))?;
    u32::try_from(duration.as_millis()).map_err(|_| "it must be at most 49 days".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_json_or_text() {
        for (text, value) in
            [("seed=7", "7"), ("tier=flex", "\"flex\""), ("a={\"b\":1}", "{\"b\":1}"), ("a==", "\"=\"")]
        {
            assert_eq!(extension(text).unwrap().value, value, "{text}");
        }
        assert!(extension("seed").is_err() && extension("=7").is_err());
    }

    #[test]
    fn durations_become_milliseconds() {
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("1m 30s"), Ok(90_000));
        assert!(milliseconds("ninety").unwrap_err().contains("90s"));
        assert!(milliseconds("1year").unwrap_err().contains("49 days"));
    }

    #[test]
    fn a_bias_is_a_pair() {
        let bias = logit_bias("13=-inf").unwrap();
        assert_eq!((bias.token, bias.bias), (13, f32::NEG_INFINITY));
        for bad in ["13", "x=1", "13=x", "-1=1"] {
            assert!(logit_bias(bad).unwrap_err().starts_with("use TOKEN=BIAS"), "{bad}");
        }
    }

    #[test]
    fn layers_are_words_or_numbers() {
        assert!(matches!(gpu_layers("auto"), Ok(GpuLayers::Auto)));
        assert!(matches!(gpu_layers("all"), Ok(GpuLayers::All)));
        assert!(matches!(gpu_layers("12"), Ok(GpuLayers::Count(12))));
        assert!(gpu_layers("-1").is_err());
    }
}
