//! Fields of the caller's own, which come as a name and JSON text.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Extension};

/// A refusal of the request.
#[must_use]
pub fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidRequest(message.into())
}

/// Reads JSON text of the caller's. `what` is its place in the request, such as `tools[0].parameters`.
///
/// # Errors
///
/// [`Error::InvalidRequest`] when it is not JSON of that shape.
pub fn parse_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    // As bytes, like replies: a second reader of JSON would make every adapter larger.
    serde_json::from_slice(text.as_bytes()).map_err(|error| invalid(format!("{what} is not valid: {error}")))
}

/// Adds the caller's own fields for a provider to a body. `typed` names the fields of the body that the request has
/// options for, whether this body holds them or not: a field of the caller's must not stand for one of them.
///
/// # Errors
///
/// [`Error::InvalidRequest`] when a field stands for a typed option, or is not JSON.
pub fn merge(body: &mut Map<String, Value>, fields: &[Extension], typed: &[&str]) -> Result<(), Error> {
    merge_from("provider_options", body, fields, typed)
}

/// As [`merge`], for fields that the caller knows by the name of `what`.
///
/// # Errors
///
/// As `merge`.
pub fn merge_from(
    what: &str,
    body: &mut Map<String, Value>,
    fields: &[Extension],
    typed: &[&str],
) -> Result<(), Error> {
    for Extension { name, value } in fields {
        if typed.contains(&name.as_str()) {
            return Err(invalid(format!("{what} must not contain `{name}`; it has a typed option")));
        }
        body.insert(name.clone(), parse_json(&format!("{what}.{name}"), value)?);
    }
    Ok(())
}

/// A setting of the adapter's own, by name.
///
/// # Errors
///
/// [`Error::InvalidRequest`] when it is there and has another shape.
pub fn option<T: DeserializeOwned>(options: &[Extension], name: &str) -> Result<Option<T>, Error> {
    let found = options.iter().find(|option| option.name == name);
    found.map(|option| parse_json(&format!("options.{name}"), &option.value)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Extension {
        Extension { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn fields_join_a_body_but_never_replace_a_typed_one() {
        let mut body = Map::from_iter([("model".to_owned(), Value::from("m"))]);
        merge(&mut body, &[field("seed", "7"), field("metadata", r#"{"a":[1]}"#)], &["model", "stop"]).unwrap();
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"model":"m","seed":7,"metadata":{"a":[1]}}"#);
        for (refused, words) in [(field("stop", "[]"), "`stop`"), (field("seed", "{"), "provider_options.seed")] {
            let error = merge(&mut Map::new(), &[refused], &["model", "stop"]);
            assert!(matches!(&error, Err(Error::InvalidRequest(text)) if text.contains(words)), "{error:?}");
        }
    }

    #[test]
    fn options_have_a_shape() {
        let options = [field("max_tokens_field", "\"max_tokens\"")];
        assert_eq!(option(&options, "max_tokens_field"), Ok(Some("max_tokens".to_owned())));
        assert_eq!(option::<String>(&options, "other"), Ok(None));
        assert!(matches!(option::<u32>(&options, "max_tokens_field"), Err(Error::InvalidRequest(_))));
    }
}
