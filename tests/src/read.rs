//! Reads the contracts' types out of JSON.
//!
//! The names are those of `wit/` in snake_case, and the types are the generated ones: there is no second definition of
//! a record that could differ. What is left out is none, empty or a record of such; a field that nobody knows is an
//! error, so that a misspelt case does not pass.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// A type that can be read.
pub(crate) trait Read: Sized {
    /// Reads it; null stands for what was left out.
    fn read(value: Value) -> Result<Self>;
}

impl<T: Read> Read for Option<T> {
    fn read(value: Value) -> Result<Self> {
        if value.is_null() { Ok(None) } else { T::read(value).map(Some) }
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Value) -> Result<Self> {
        if value.is_null() {
            return Ok(Self::new());
        }
        let Value::Array(items) = value else { bail!("expected a list, found {value}") };
        items.into_iter().map(T::read).collect()
    }
}

impl Read for String {
    fn read(value: Value) -> Result<Self> {
        let Value::String(text) = value else { bail!("expected a text, found {value}") };
        Ok(text)
    }
}

/// What is left out is false.
impl Read for bool {
    fn read(value: Value) -> Result<Self> {
        if value.is_null() {
            return Ok(false);
        }
        value.as_bool().with_context(|| format!("expected true or false, found {value}"))
    }
}

impl Read for u32 {
    fn read(value: Value) -> Result<Self> {
        let number = value.as_u64().and_then(|number| Self::try_from(number).ok());
        number.with_context(|| format!("expected a whole number, found {value}"))
    }
}

impl Read for u64 {
    fn read(value: Value) -> Result<Self> {
        value.as_u64().with_context(|| format!("expected a whole number, found {value}"))
    }
}

impl Read for u8 {
    fn read(value: Value) -> Result<Self> {
        Ok(Self::try_from(u32::read(value)?)?)
    }
}

/// JSON has no word for NaN and the infinities; they are texts.
impl Read for f32 {
    fn read(value: Value) -> Result<Self> {
        let number = match value.as_str() {
            Some(text) => text.parse().ok(),
            None => value.as_f64().map(|number| number as Self),
        };
        number.with_context(|| format!("expected a number, found {value}"))
    }
}

/// The fields of a JSON object, taken out one by one.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn of(value: Value) -> Result<Self> {
        if value.is_null() {
            return Ok(Self(Map::new()));
        }
        let Value::Object(fields) = value else { bail!("expected an object, found {value}") };
        Ok(Self(fields))
    }

    /// Takes a field out.
    pub(crate) fn take<T: Read>(&mut self, name: &str) -> Result<T> {
        T::read(self.0.shift_remove(name).unwrap_or_default()).with_context(|| format!("field `{name}`"))
    }

    /// Takes the only field that is left, with its name.
    pub(crate) fn take_only(mut self) -> Result<(String, Value)> {
        let name = self.0.keys().next().cloned().context("expected one more field")?;
        let value = self.0.shift_remove(&name).unwrap_or_default();
        self.end()?;
        Ok((name, value))
    }

    /// Fails for fields that nobody took.
    pub(crate) fn end(self) -> Result<()> {
        let left: Vec<_> = self.0.keys().map(String::as_str).collect();
        ensure!(left.is_empty(), "unknown field `{}`", left.join("`, `"));
        Ok(())
    }
}

/// Reads a record, field by field.
macro_rules! record {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::read::Read for $type {
            fn read(value: serde_json::Value) -> anyhow::Result<Self> {
                let mut fields = $crate::read::Fields::of(value)?;
                let record = Self { $($field: fields.take(stringify!($field))?),* };
                fields.end()?;
                Ok(record)
            }
        }
    };
}

/// Names the cases of an enum, for reading and for writing.
macro_rules! names {
    ($type:ident { $($name:ident: $case:ident),* $(,)? }) => {
        impl $crate::read::Read for $type {
            fn read(value: serde_json::Value) -> anyhow::Result<Self> {
                match value.as_str() {
                    $(Some(stringify!($name)) => Ok(Self::$case),)*
                    _ => anyhow::bail!("expected one of {}, found {value}", [$(stringify!($name)),*].join(", ")),
                }
            }
        }

        impl $crate::read::Named for $type {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$case => stringify!($name),)*
                }
            }
        }
    };
}

/// An enum whose cases have names.
pub(crate) trait Named {
    /// The name that `wit/` gives it, in snake_case.
    fn name(self) -> &'static str;
}

pub(crate) use {names, record};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sipp::{ChatRequest, Sampling};

    #[test]
    fn what_is_left_out_is_none_or_empty() {
        let request = ChatRequest::read(json!({"messages": [{"role": "user", "content": "hi"}]})).unwrap();
        assert!(request.options.max_tokens.is_none() && request.options.stop.is_empty() && request.local.is_none());
    }

    #[test]
    fn numbers_that_json_lacks_are_texts() {
        let sampling = Sampling::read(json!({"temperature": "NaN", "top_p": "-inf", "min_p": 0.5})).unwrap();
        assert!(sampling.temperature.unwrap().is_nan());
        assert_eq!((sampling.top_p, sampling.min_p), (Some(f32::NEG_INFINITY), Some(0.5)));
    }

    #[test]
    fn misspelt_names_and_wrong_types_are_errors_that_say_where() {
        let error = |value| format!("{:#}", ChatRequest::read(value).unwrap_err());
        assert_eq!(error(json!({"options": {"max_token": 1}})), "field `options`: unknown field `max_token`");
        assert!(error(json!({"messages": [{"role": "robot"}]})).contains("expected one of system, developer"));
        assert!(error(json!({"messages": [{"role": "user"}]})).contains("field `content`"));
        assert!(error(json!({"options": {"max_tokens": -1}})).contains("expected a whole number, found -1"));
    }
}
