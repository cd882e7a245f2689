//! Every failure of a request as HTTP: one status and one code each, always `{"error":{"code","message",…}}`.
//!
//! The tables stand in one place so that a caller can rely on them, and so that a new case of `sipp::Error` has to be
//! decided here and nowhere else.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sipp::{CancelReason, PromptTooLongPayload, UpstreamFault, UpstreamPayload};

/// A failure that a caller sees.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    /// A header that the status asks for.
    header: Option<(HeaderName, &'static str)>,
    /// How long to wait before another attempt.
    wait: Option<Duration>,
    details: Option<Box<Details>>,
}

/// The `code` of an error body. It also stands in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub &'static str);

/// What some errors have besides a code and a message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Details {
    PromptTooLong { prompt_tokens: u32, context_tokens: u32 },
    Upstream { upstream: UpstreamDetails },
}

/// Who failed behind the gateway, in its own words.
#[derive(Debug, Serialize)]
struct UpstreamDetails {
    provider: String,
    status: Option<u16>,
    code: Option<String>,
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(flatten)]
    details: Option<&'a Details>,
}

/// How long a caller should wait before it repeats a request that met a full gateway.
const PATIENCE: Duration = Duration::from_secs(1);

impl HttpError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: ErrorCode(code), message: message.into(), header: None, wait: None, details: None }
    }

    fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The code, for logs and for `error` events.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The body, as it also stands in an `error` event.
    pub fn body(&self) -> impl Serialize + '_ {
        let retry_after_ms = self.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let details = self.details.as_deref();
        Body { error: Fault { code: self.code.0, message: &self.message, retry_after_ms, details } }
    }

    /// The body is not JSON, or not of the route's shape.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// The request is well formed and asks for something that cannot be.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalidrequest", message)
    }

    /// The request carries no bearer token, or an unknown one.
    pub fn authentication(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication", message).with_header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// The caller may not use the target.
    pub fn authorization() -> Self {
        Self::new(StatusCode::FORBIDDEN, "authorization", "caller is not allowed to use the target")
    }

    /// No target has this name.
    pub fn unknown_target(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "resolution", format!("target `{name}` is not configured"))
    }

    /// No route has this path.
    pub fn unknown_route(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no route `{path}`"))
    }

    /// The route exists, but not for this method.
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let message = format!("this route only takes {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).with_header(header::ALLOW, allowed)
    }

    /// The body did not arrive in time.
    pub fn body_timeout(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The body is larger than the gateway takes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes, the most that this gateway takes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The body is of a type or coding other than plain JSON.
    pub fn unsupported_media_type(found: &str) -> Self {
        let message = format!("the body is `{found}`; send application/json without content coding");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// As many requests run as the gateway takes at once.
    pub fn admission() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "admission", "application concurrency limit exceeded")
            .retry_after(PATIENCE)
    }

    /// The gateway is shutting down.
    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is shutting down; ask another one")
            .retry_after(PATIENCE)
    }

    /// The request was cancelled before it was answered.
    pub fn cancelled(reason: CancelReason) -> Self {
        let why = match reason {
            CancelReason::CallerCancelled => "the caller cancelled the request",
            CancelReason::ClientDisconnected => "the caller went away",
            CancelReason::ServerShutdown => "the gateway shut down before the answer was complete",
            CancelReason::DeadlineExceeded => "the request's deadline passed before the answer was complete",
        };
        Self::new(StatusCode::REQUEST_TIMEOUT, "cancelled", why)
    }

    /// The gateway broke. The details are in its log, under the request's id.
    pub fn internal() -> Self {
        let message = "the gateway failed; its log has the cause under this request's x-request-id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<sipp::Error> for HttpError {
    fn from(error: sipp::Error) -> Self {
        use sipp::Error;
        let message = error.to_string();
        match error {
            Error::InvalidRequest(_) | Error::Unsupported(_) => Self::invalid_request(message),
            Error::PromptTooLong(PromptTooLongPayload { prompt_tokens, context_tokens }) => {
                Self::new(StatusCode::BAD_REQUEST, "prompt_too_long", message)
                    .with(Details::PromptTooLong { prompt_tokens, context_tokens })
            }
            Error::EndpointNotFound(id) => Self::unknown_target(&id),
            Error::Overloaded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(PATIENCE)
            }
            Error::Upstream(upstream) => Self::upstream(upstream),
            Error::Cancelled(reason) => Self::cancelled(reason),
            Error::Closed => Self::draining(),
            Error::Model(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "execution", message),
            // The gateway always names the endpoint, so that the second and third are its own mistake. The enum may
            // grow: what is not known here is nobody's fault but ours.
            Error::Internal(_) | Error::AmbiguousEndpoint(_) | Error::NoSupportedEndpoint(_) | _ => {
                tracing::error!(error = message, "a request failed inside the gateway");
                Self::internal()
            }
        }
    }
}

impl HttpError {
    /// An upstream's failure.
    ///
    /// The status says what the caller can do about it. That the upstream does not know the gateway, or does not let it
    /// in, is nothing that the caller's own 401 or 403 may stand for. The code tells every fault apart.
    ///
    /// The upstream's own text reaches the caller only where it speaks about the caller's request: other texts may name
    /// the gateway's account.
    fn upstream(upstream: UpstreamPayload) -> Self {
        let UpstreamPayload { provider, message, .. } = &upstream;
        let error = match upstream.fault {
            UpstreamFault::InvalidRequest => {
                let message = format!("{provider}: {message}");
                Self::new(StatusCode::BAD_REQUEST, "upstream_invalid_request", message)
            }
            UpstreamFault::UnsupportedFeature => {
                let message = format!("{provider}: {message}");
                Self::new(StatusCode::BAD_REQUEST, "upstream_unsupported_feature", message)
            }
            UpstreamFault::RateLimited => {
                let message = format!("{provider} takes no more requests for now");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "upstream_rate_limited", message).retry_after(PATIENCE)
            }
            UpstreamFault::Overloaded => {
                let message = format!("{provider} is overloaded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_overloaded", message).retry_after(PATIENCE)
            }
            UpstreamFault::Timeout => {
                let message = format!("{provider} did not answer in time");
                Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
            }
            UpstreamFault::QuotaExceeded => {
                let message = format!("the account of this gateway at {provider} is used up");
                Self::new(StatusCode::PAYMENT_REQUIRED, "upstream_quota_exceeded", message)
            }
            UpstreamFault::Authentication => Self::bad_gateway("upstream_authentication", &upstream),
            UpstreamFault::Authorization => Self::bad_gateway("upstream_authorization", &upstream),
            UpstreamFault::ModelNotFound => Self::bad_gateway("upstream_model_not_found", &upstream),
            UpstreamFault::Transport => Self::bad_gateway("upstream_transport", &upstream),
            UpstreamFault::Protocol => Self::bad_gateway("upstream_protocol", &upstream),
            UpstreamFault::Provider => Self::bad_gateway("upstream_provider", &upstream),
        };
        let error = match upstream.retry_after {
            Some(wait) => error.retry_after(Duration::from_millis(wait.into())),
            None => error,
        };
        let UpstreamPayload { provider, status, code, request_id, .. } = upstream;
        error.with(Details::Upstream { upstream: UpstreamDetails { provider, status, code, request_id } })
    }

    /// A failure that only the gateway's operator can do something about, or nobody.
    fn bad_gateway(code: &'static str, upstream: &UpstreamPayload) -> Self {
        tracing::error!(?upstream, "an upstream failed");
        let message = format!("{} could not answer for this gateway; its log has the cause", upstream.provider);
        Self::new(StatusCode::BAD_GATEWAY, code, message)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(wait) = self.wait {
            // Whole seconds, rounded up, so that nobody comes back too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;
    use sipp::{ModelFault, ModelPayload, Operation, UnsupportedPayload};

    use super::*;

    fn upstream(fault: UpstreamFault) -> sipp::Error {
        sipp::Error::Upstream(UpstreamPayload {
            fault,
            provider: "openai".into(),
            status: Some(401),
            code: None,
            message: "account acct-1 of example.com".into(),
            retry_after: Some(2500),
            request_id: None,
        })
    }

    #[test]
    fn every_error_has_its_status_code_and_headers() {
        use sipp::Error;
        let unsupported = UnsupportedPayload { operation: Operation::Embed, endpoint: None, reason: "no".into() };
        let too_long = PromptTooLongPayload { prompt_tokens: 9, context_tokens: 8 };
        let model = ModelPayload { fault: ModelFault::OutOfMemory, message: "too big".into() };
        let table = [
            (Error::InvalidRequest("no".into()), 400, "invalidrequest", None),
            (Error::Unsupported(unsupported), 400, "invalidrequest", None),
            (Error::PromptTooLong(too_long), 400, "prompt_too_long", None),
            (Error::EndpointNotFound("x".into()), 404, "resolution", None),
            (Error::Cancelled(CancelReason::DeadlineExceeded), 408, "cancelled", None),
            (Error::Model(model), 500, "execution", None),
            (Error::Internal("no".into()), 500, "internal", None),
            (Error::AmbiguousEndpoint(Operation::Query), 500, "internal", None),
            (Error::NoSupportedEndpoint(Operation::Query), 500, "internal", None),
            (Error::Overloaded("full".into()), 503, "overloaded", Some("1")),
            (Error::Closed, 503, "draining", Some("1")),
            (upstream(UpstreamFault::InvalidRequest), 400, "upstream_invalid_request", Some("3")),
            (upstream(UpstreamFault::UnsupportedFeature), 400, "upstream_unsupported_feature", Some("3")),
            (upstream(UpstreamFault::RateLimited), 429, "upstream_rate_limited", Some("3")),
            (upstream(UpstreamFault::Overloaded), 503, "upstream_overloaded", Some("3")),
            (upstream(UpstreamFault::Timeout), 504, "upstream_timeout", Some("3")),
            (upstream(UpstreamFault::QuotaExceeded), 402, "upstream_quota_exceeded", Some("3")),
            (upstream(UpstreamFault::Authentication), 502, "upstream_authentication", Some("3")),
            (upstream(UpstreamFault::Authorization), 502, "upstream_authorization", Some("3")),
            (upstream(UpstreamFault::ModelNotFound), 502, "upstream_model_not_found", Some("3")),
            (upstream(UpstreamFault::Transport), 502, "upstream_transport", Some("3")),
            (upstream(UpstreamFault::Protocol), 502, "upstream_protocol", Some("3")),
            (upstream(UpstreamFault::Provider), 502, "upstream_provider", Some("3")),
        ];
        for (error, status, code, retry_after) in table {
            let response = HttpError::from(error.clone()).into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            assert_eq!(response.extensions().get(), Some(&ErrorCode(code)), "{error:?}");
            let header = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{error:?}");
        }
    }

    #[test]
    fn an_upstreams_account_is_not_told_to_callers() {
        let told = HttpError::from(upstream(UpstreamFault::Authentication));
        assert!(!told.message.contains("acct-1"), "{}", told.message);
        assert!(HttpError::from(upstream(UpstreamFault::InvalidRequest)).message.contains("acct-1"));
    }

    #[tokio::test]
    async fn the_body_is_the_profiles() {
        let response = HttpError::authorization().into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            to_bytes(response.into_body(), 1000).await.unwrap(),
            r#"{"error":{"code":"authorization","message":"caller is not allowed to use the target"}}"#
        );
    }

    #[test]
    fn upstreams_and_prompts_say_more() {
        let error = |error: sipp::Error| serde_json::to_value(HttpError::from(error).body()).unwrap();
        assert_eq!(
            error(upstream(UpstreamFault::RateLimited)),
            json!({"error": {
                "code": "upstream_rate_limited", "message": "openai takes no more requests for now",
                "retry_after_ms": 2500,
                "upstream": {"provider": "openai", "status": 401, "code": null, "request_id": null},
            }})
        );
        let too_long = error(sipp::Error::PromptTooLong(PromptTooLongPayload { prompt_tokens: 9, context_tokens: 8 }));
        assert_eq!([&too_long["error"]["prompt_tokens"], &too_long["error"]["context_tokens"]], [9, 8]);
    }

    #[test]
    fn a_wait_is_rounded_up_to_seconds() {
        for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let error = HttpError::admission().retry_after(Duration::from_millis(milliseconds));
            assert_eq!(error.into_response().headers()[header::RETRY_AFTER], seconds);
        }
    }
}
