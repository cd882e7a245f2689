//! From the gateway's refusals to errors that say whose fault it was, and what to do.
//!
//! What an upstream of the gateway reported comes through as if it had been asked directly, however many gateways stand
//! between: a caller that waits for a provider's limit must not take it for the gateway's, nor a provider that does not
//! know the gateway for a gateway that does not know the caller.

use provider::bindings::sipp::inference::types::PromptTooLongPayload;
use provider::{Error, ReplyHead, Reported, UpstreamFault, refusal, reported};

use crate::wire::{Fault, Refusal};

/// The error for a reply whose status is not 2xx, and for its body, if that was one of the profile.
pub(crate) fn refused(provider: &str, head: &ReplyHead, body: Option<Refusal>) -> Error {
    let Refusal { error } = body.unwrap_or_default();
    told(error, |said| refusal(provider, head, said))
}

/// The error for an `error` event.
pub(crate) fn failed(provider: &str, head: &ReplyHead, event: Refusal) -> Error {
    told(event.error, |said| reported(provider, head, said))
}

fn told(mut fault: Fault, plain: impl FnOnce(Reported) -> Error) -> Error {
    if let (Some("prompt_too_long"), Some(prompt_tokens), Some(context_tokens)) =
        (fault.code.as_deref(), fault.prompt_tokens, fault.context_tokens)
    {
        return Error::PromptTooLong(PromptTooLongPayload { prompt_tokens, context_tokens });
    }
    let said = Reported {
        fault: fault.code.as_deref().and_then(of_code),
        code: fault.code.take(),
        message: fault.message.take(),
    };
    let told = plain(said);
    let Error::Upstream(mut payload) = told else { return told };
    payload.retry_after = fault.retry_after_ms.or(payload.retry_after);
    if let Some(upstream) = fault.upstream {
        // The gateway names the upstream in its text, as every error does that names one.
        let named = format!("{}: ", upstream.provider);
        if let Some(message) = payload.message.strip_prefix(&named) {
            payload.message = message.to_owned();
        }
        payload.provider = upstream.provider;
        payload.status = upstream.status;
        payload.code = upstream.code;
        payload.request_id = upstream.request_id;
    }
    Error::Upstream(payload)
}

/// What a code of the profile means. Of one that is not known, the status decides.
fn of_code(code: &str) -> Option<UpstreamFault> {
    Some(match code {
        "authentication" | "upstream_authentication" => UpstreamFault::Authentication,
        "authorization" | "upstream_authorization" => UpstreamFault::Authorization,
        "admission" | "rate_limited" | "upstream_rate_limited" => UpstreamFault::RateLimited,
        "upstream_quota_exceeded" => UpstreamFault::QuotaExceeded,
        "invalid_json"
        | "invalidrequest"
        | "prompt_too_long"
        | "not_found"
        | "method_not_allowed"
        | "too_large"
        | "unsupported_media_type"
        | "upstream_invalid_request" => UpstreamFault::InvalidRequest,
        "upstream_unsupported_feature" => UpstreamFault::UnsupportedFeature,
        "resolution" | "upstream_model_not_found" => UpstreamFault::ModelNotFound,
        "request_timeout" | "cancelled" | "upstream_timeout" => UpstreamFault::Timeout,
        "overloaded" | "draining" | "upstream_overloaded" => UpstreamFault::Overloaded,
        "upstream_transport" => UpstreamFault::Transport,
        "upstream_protocol" => UpstreamFault::Protocol,
        "execution" | "internal" | "upstream_provider" => UpstreamFault::Provider,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use provider::UpstreamPayload;
    use serde_json::{Value, json};

    use super::*;

    fn head(status: u16) -> ReplyHead {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        ReplyHead { status, headers: vec![header("retry-after", "3"), header("x-request-id", "g-1")] }
    }

    fn of(status: u16, body: Option<Value>) -> Error {
        refused("gateway", &head(status), body.map(|body| serde_json::from_value(body).unwrap()))
    }

    fn payload(error: Error) -> UpstreamPayload {
        let Error::Upstream(payload) = error else { panic!("expected an upstream's error, got {error:?}") };
        payload
    }

    #[test]
    fn the_gateways_own_refusals_are_told_apart() {
        for (status, code, fault) in [
            (400, "invalid_json", UpstreamFault::InvalidRequest),
            (400, "invalidrequest", UpstreamFault::InvalidRequest),
            (401, "authentication", UpstreamFault::Authentication),
            (403, "authorization", UpstreamFault::Authorization),
            (404, "resolution", UpstreamFault::ModelNotFound),
            (404, "not_found", UpstreamFault::InvalidRequest),
            (408, "cancelled", UpstreamFault::Timeout),
            (413, "too_large", UpstreamFault::InvalidRequest),
            (429, "admission", UpstreamFault::RateLimited),
            (500, "execution", UpstreamFault::Provider),
            (503, "overloaded", UpstreamFault::Overloaded),
            (503, "draining", UpstreamFault::Overloaded),
            (503, "of_a_later_version", UpstreamFault::Overloaded),
        ] {
            let payload = payload(of(status, Some(json!({"error": {"code": code, "message": "no"}}))));
            assert_eq!((payload.fault, payload.status, payload.code.as_deref()), (fault, Some(status), Some(code)));
            assert_eq!((payload.provider.as_str(), payload.message.as_str()), ("gateway", "no"));
            assert_eq!((payload.request_id.as_deref(), payload.retry_after), (Some("g-1"), Some(3000)));
        }
    }

    #[test]
    fn an_upstreams_refusal_comes_through_as_it_was() {
        let body = json!({"error": {
            "code": "upstream_authentication", "message": "openai: wrong key", "retry_after_ms": 2500,
            "upstream": {"provider": "openai", "status": 401, "code": "invalid_api_key", "request_id": "req_9"},
        }});
        let of_status = payload(of(502, Some(body.clone())));
        assert_eq!(
            of_status,
            UpstreamPayload {
                fault: UpstreamFault::Authentication,
                provider: "openai".into(),
                status: Some(401),
                code: Some("invalid_api_key".into()),
                message: "wrong key".into(),
                retry_after: Some(2500),
                request_id: Some("req_9".into()),
            }
        );
        let of_event = payload(failed("gateway", &head(200), serde_json::from_value(body).unwrap()));
        assert_eq!(of_event, of_status);
    }

    #[test]
    fn a_page_of_a_proxy_has_only_its_status() {
        let payload = payload(of(503, None));
        assert_eq!((payload.fault, payload.code), (UpstreamFault::Overloaded, None));
    }

    #[test]
    fn a_prompt_that_is_too_long_is_that_everywhere() {
        let body = json!({"error": {
            "code": "prompt_too_long", "message": "long", "prompt_tokens": 9, "context_tokens": 8,
        }});
        let expected = Error::PromptTooLong(PromptTooLongPayload { prompt_tokens: 9, context_tokens: 8 });
        assert_eq!(of(400, Some(body)), expected);
    }
}
