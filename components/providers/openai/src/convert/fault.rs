//! What a refusal or an error within a reply means.
//!
//! OpenAI says `{"error": {"message", "type", "code", "param"}}`. Servers that are compatible with it say less, or say it
//! elsewhere, and whoever runs one wants to read it all the same.

use provider::{Reported, UpstreamFault};
use serde_json::Value;

/// What the body of a refusal says, if it is JSON.
pub(crate) fn refused(body: Option<Value>) -> Reported {
    body.map(reported).unwrap_or_default()
}

/// What an error says: an object with the error in `error`, the error itself, or a text.
pub(super) fn reported(mut body: Value) -> Reported {
    // Some wrap it in a list of one.
    if let Some(first) = body.get_mut(0) {
        body = first.take();
    }
    if let Some(error) = body.get_mut("error").filter(|error| !error.is_null()) {
        body = error.take();
    }
    let words = |name: &str| body.get(name).and_then(words);
    let (code, kind) = (words("code"), words("type"));
    let fault = [&code, &kind].into_iter().flatten().find_map(|code| fault(code));
    let message = body.as_str().map(str::to_owned).or_else(|| words("message")).or_else(|| words("detail"));
    Reported { code: code.or(kind), message, fault }
}

/// A value as text, if there is one.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// What an [error's code or type](https://platform.openai.com/docs/guides/error-codes) means. Servers also give the status
/// as a code, which is all there is when they fail within a reply. `invalid_request_error` means whatever the status
/// means: OpenAI says it of a missing key, too.
fn fault(code: &str) -> Option<UpstreamFault> {
    Some(match code {
        "invalid_api_key" | "authentication_error" | "401" => UpstreamFault::Authentication,
        "permission_error" | "permission_denied" | "unsupported_country_region_territory" | "403" => {
            UpstreamFault::Authorization
        }
        "rate_limit_exceeded" | "rate_limit_error" | "429" => UpstreamFault::RateLimited,
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "402" => {
            UpstreamFault::QuotaExceeded
        }
        "context_length_exceeded" | "invalid_value" | "400" | "422" => UpstreamFault::InvalidRequest,
        "model_not_found" | "404" => UpstreamFault::ModelNotFound,
        "timeout" | "408" | "504" => UpstreamFault::Timeout,
        "server_error" | "overloaded_error" | "engine_overloaded" | "500" | "502" | "503" | "529" => {
            UpstreamFault::Overloaded
        }
        _ if code.starts_with("unsupported_") => UpstreamFault::UnsupportedFeature,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_come_before_types_and_types_before_nothing() {
        for (code, kind, fault) in [
            (json!("insufficient_quota"), json!("insufficient_quota"), Some(UpstreamFault::QuotaExceeded)),
            (json!(null), json!("insufficient_quota"), Some(UpstreamFault::QuotaExceeded)),
            (json!("rate_limit_exceeded"), json!("tokens"), Some(UpstreamFault::RateLimited)),
            (json!("invalid_api_key"), json!("invalid_request_error"), Some(UpstreamFault::Authentication)),
            (json!("model_not_found"), json!("invalid_request_error"), Some(UpstreamFault::ModelNotFound)),
            (json!("context_length_exceeded"), json!("invalid_request_error"), Some(UpstreamFault::InvalidRequest)),
            (json!("unsupported_parameter"), json!("invalid_request_error"), Some(UpstreamFault::UnsupportedFeature)),
            (
                json!("unsupported_country_region_territory"),
                json!("request_forbidden"),
                Some(UpstreamFault::Authorization),
            ),
            (json!(null), json!("server_error"), Some(UpstreamFault::Overloaded)),
            (json!(503), json!(null), Some(UpstreamFault::Overloaded)),
            (json!(null), json!("invalid_request_error"), None),
            (json!("of_a_later_version"), json!(null), None),
        ] {
            let said = reported(json!({"error": {"message": "no", "type": kind, "param": null, "code": code}}));
            assert_eq!((said.fault, said.message.as_deref()), (fault, Some("no")), "{code} {kind}");
        }
    }

    #[test]
    fn whatever_form_it_has_it_is_read() {
        for (body, code, message) in [
            (json!({"error": {"message": "m", "type": "t", "code": null}}), Some("t"), Some("m")),
            (json!({"error": {"message": "m", "type": "t", "code": 418}}), Some("418"), Some("m")),
            (json!([{"error": {"message": "m", "code": 400, "status": "INVALID_ARGUMENT"}}]), Some("400"), Some("m")),
            (json!({"object": "error", "message": "m", "type": "t"}), Some("t"), Some("m")),
            (json!({"error": "m"}), None, Some("m")),
            (json!({"error": null, "message": "m"}), None, Some("m")),
            (json!({"detail": "m"}), None, Some("m")),
            (json!({"detail": [{"loc": ["body"], "msg": "m"}]}), None, Some(r#"[{"loc":["body"],"msg":"m"}]"#)),
            (json!("m"), None, Some("m")),
            (json!({}), None, None),
            (json!([]), None, None),
            (json!(7), None, None),
        ] {
            let said = reported(body.clone());
            assert_eq!((said.code.as_deref(), said.message.as_deref()), (code, message), "{body}");
        }
        assert_eq!(refused(None), Reported::default());
    }
}
