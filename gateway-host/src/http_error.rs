//! Every failure of a request as HTTP: one status and one code each, always `{"error":{"code","message"}}`.
//!
//! The tables stand in one place so that a caller can rely on them, and so that a new case of `sipp::Error` has to be
//! decided here and nowhere else.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sipp::{CancelReason, UpstreamFault, UpstreamPayload};

/// A failure that a caller sees.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    /// Headers that the status asks for.
    header: Option<(HeaderName, HeaderValue)>,
}

/// The `code` of an error body. It also stands in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub &'static str);

#[derive(Serialize)]
struct Body<'a> {
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
}

/// How long a caller should wait before it repeats a request that met a full gateway.
const PATIENCE: Duration = Duration::from_secs(1);

impl HttpError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: ErrorCode(code), message: message.into(), header: None }
    }

    fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn retry_after(self, wait: Duration) -> Self {
        // Whole seconds, rounded up, so that nobody comes back too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, seconds.max(1))
    }

    /// The code, for logs and for `error` events.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The body, as it also stands in an `error` event.
    pub fn body(&self) -> impl Serialize + '_ {
        Body { error: Fault { code: self.code.0, message: &self.message } }
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
        Self::new(StatusCode::UNAUTHORIZED, "authentication", message)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
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
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .with_header(header::ALLOW, HeaderValue::from_static(allowed))
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
            Error::PromptTooLong(_) => Self::new(StatusCode::BAD_REQUEST, "prompt_too_long", message),
            Error::EndpointNotFound(id) => Self::unknown_target(&id),
            Error::Overloaded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(PATIENCE)
            }
            Error::Upstream(upstream) => Self::upstream(&upstream),
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
    /// An upstream's failure. Its own text reaches the caller only where it speaks about the caller's request: other
    /// texts may name the gateway's account.
    fn upstream(upstream: &UpstreamPayload) -> Self {
        let UpstreamPayload { provider, message, .. } = upstream;
        let wait = upstream.retry_after.map_or(PATIENCE, |wait| Duration::from_millis(wait.into()));
        match upstream.fault {
            UpstreamFault::InvalidRequest | UpstreamFault::UnsupportedFeature => {
                Self::invalid_request(format!("{provider}: {message}"))
            }
            UpstreamFault::RateLimited => {
                let message = format!("{provider} takes no more requests for now");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(wait)
            }
            UpstreamFault::Overloaded => {
                let message = format!("{provider} is overloaded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(wait)
            }
            UpstreamFault::Timeout => {
                let message = format!("{provider} did not answer in time");
                Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
            }
            UpstreamFault::Authentication
            | UpstreamFault::Authorization
            | UpstreamFault::QuotaExceeded
            | UpstreamFault::ModelNotFound
            | UpstreamFault::Transport
            | UpstreamFault::Protocol
            | UpstreamFault::Provider => {
                tracing::error!(?upstream, "an upstream failed");
                let message = format!("{provider} could not answer for this gateway; its log has the cause");
                Self::new(StatusCode::BAD_GATEWAY, "upstream", message)
            }
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use sipp::{ModelFault, ModelPayload, Operation, PromptTooLongPayload, UnsupportedPayload};

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
            (upstream(UpstreamFault::InvalidRequest), 400, "invalidrequest", None),
            (upstream(UpstreamFault::UnsupportedFeature), 400, "invalidrequest", None),
            (upstream(UpstreamFault::RateLimited), 429, "rate_limited", Some("3")),
            (upstream(UpstreamFault::Overloaded), 503, "overloaded", Some("3")),
            (upstream(UpstreamFault::Timeout), 504, "upstream_timeout", None),
            (upstream(UpstreamFault::Authentication), 502, "upstream", None),
            (upstream(UpstreamFault::Authorization), 502, "upstream", None),
            (upstream(UpstreamFault::QuotaExceeded), 502, "upstream", None),
            (upstream(UpstreamFault::ModelNotFound), 502, "upstream", None),
            (upstream(UpstreamFault::Transport), 502, "upstream", None),
            (upstream(UpstreamFault::Protocol), 502, "upstream", None),
            (upstream(UpstreamFault::Provider), 502, "upstream", None),
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
    fn a_wait_is_rounded_up_to_seconds() {
        for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let error = HttpError::admission().retry_after(Duration::from_millis(milliseconds));
            assert_eq!(error.header.unwrap().1, seconds);
        }
    }
}
