//! What an adapter may send: requests to its endpoint's own origin, with the credential that it never sees.
//!
//! It stands behind `wasi:http/client`. The adapter writes the request; here it is judged, completed, sent and watched.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as HttpError, ForbiddenHeaderFilter, RequestOptions, WasiHttpHooks,
};
use zeroize::Zeroizing;

use super::connection::{Pool, Prohibited, TooSlow, cause};
use super::guarded::Guarded;
use crate::secret::Secret;
use crate::switchboard::lock;
use crate::{Error, ModelPayload, UnsupportedPayload, UpstreamPayload};

/// Largest body of a request, in bytes: a conversation with many images.
const LARGEST_REQUEST: usize = 128 << 20;

/// How requests name their sender.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("sipp/", env!("CARGO_PKG_VERSION")));

/// Where a credential goes.
pub(super) struct Placement {
    pub(super) header: HeaderName,
    /// What stands before the secret.
    pub(super) prefix: String,
    pub(super) secret: Arc<Secret>,
}

/// Where one endpoint's requests go, and what is added to them.
pub(super) struct Route {
    /// Scheme, authority and base path.
    pub(super) base_url: Uri,
    pub(super) pool: Pool,
    pub(super) credential: Option<Placement>,
    pub(super) headers: HeaderMap,
    /// Until a response begins, or is complete when it comes in one piece.
    pub(super) request: Duration,
    /// Between two pieces of a response.
    pub(super) idle: Duration,
}

/// What is known about one attempt to get an answer besides what the adapter says.
#[derive(Default)]
pub(super) struct Facts {
    /// Secrets that were sent: they must not come back in a text.
    secrets: Vec<Zeroizing<String>>,
    /// Why the host itself refused to send.
    refusal: Option<Error>,
    /// What went wrong with the connection, with its address.
    explanation: Option<String>,
    /// It failed before there was a response, in a way that can pass.
    passing: bool,
}

impl Facts {
    fn redacted(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "[redacted]"))
    }
}

/// One attempt's way out.
#[derive(Clone)]
pub(super) struct Outbound {
    /// None for an adapter that only describes itself.
    route: Option<Arc<Route>>,
    /// Whether the answer is wanted in one piece.
    whole: bool,
    cancelled: CancellationToken,
    facts: Arc<Mutex<Facts>>,
}

impl Outbound {
    pub(super) fn new(route: Arc<Route>, whole: bool, cancelled: CancellationToken) -> Self {
        Self { route: Some(route), whole, cancelled, facts: Arc::default() }
    }

    /// For an adapter that is only asked what it is.
    pub(super) fn closed() -> Self {
        Self { route: None, whole: true, cancelled: CancellationToken::new(), facts: Arc::default() }
    }

    /// Whether the attempt failed before there was a response, in a way that can pass.
    pub(super) fn may_pass(&self) -> bool {
        lock(&self.facts).passing
    }

    /// An adapter's error as it may be shown: the host's own reason where it refused, and no secret in any text.
    pub(super) fn judged(&self, error: Error) -> Error {
        let facts = lock(&self.facts);
        if let (Some(refusal), Error::Upstream(_)) = (&facts.refusal, &error) {
            return refusal.clone();
        }
        let explained = |text: String| facts.explanation.clone().unwrap_or(text);
        let redacted = |text| facts.redacted(text);
        match error {
            Error::Upstream(payload) => Error::Upstream(UpstreamPayload {
                message: redacted(explained(payload.message)),
                code: payload.code.map(redacted),
                request_id: payload.request_id.map(redacted),
                ..payload
            }),
            Error::InvalidRequest(text) => Error::InvalidRequest(redacted(text)),
            Error::Internal(text) => Error::Internal(redacted(text)),
            Error::Overloaded(text) => Error::Overloaded(redacted(text)),
            Error::EndpointNotFound(text) => Error::EndpointNotFound(redacted(text)),
            Error::Unsupported(payload) => {
                Error::Unsupported(UnsupportedPayload { reason: redacted(payload.reason), ..payload })
            }
            Error::Model(payload) => Error::Model(ModelPayload { message: redacted(payload.message), ..payload }),
            Error::AmbiguousEndpoint(_)
            | Error::NoSupportedEndpoint(_)
            | Error::PromptTooLong(_)
            | Error::Cancelled(_)
            | Error::Closed => error,
        }
    }

    /// A text of an adapter's without the secret, which an upstream may have repeated to it.
    pub(super) fn redacted(&self, text: String) -> String {
        lock(&self.facts).redacted(text)
    }

    async fn send(self, request: Request<UnsyncBoxBody<Bytes, HttpError>>) -> Result<Response<Guarded>, HttpError> {
        let Some(route) = self.route.clone() else { return Err(HttpError::HttpRequestDenied) };
        let due = Instant::now() + route.request;
        let sending = async {
            let request = self.complete(&route, request).await?;
            let response = route.pool.request(request).await;
            response.map_err(|error| self.failed(&route.base_url, &error))
        };
        let response = tokio::select! {
            sent = tokio::time::timeout_at(due, sending) => sent.map_err(|_| HttpError::HttpResponseTimeout)??,
            () = self.cancelled.cancelled() => return Err(HttpError::ConnectionTerminated),
        };
        let due = (self.whole || is_whole(&response)).then_some(due);
        Ok(response.map(|body| Guarded::new(body, due, route.idle, self.cancelled)))
    }

    /// Judges a request of the adapter's, and adds what only the host has.
    async fn complete(
        &self,
        route: &Route,
        request: Request<UnsyncBoxBody<Bytes, HttpError>>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let (mut parts, body) = request.into_parts();
        if !is_own(&route.base_url, &parts.uri) {
            let origin = parts.uri.authority().map_or("no host", http::uri::Authority::as_str);
            let text = format!("the adapter asked for `{origin}`, which is not its endpoint's origin; it was refused");
            return Err(self.refused(Error::Internal(text)));
        }
        let body = whole(body, &parts.headers).await?;
        replace(&mut parts.headers, &route.headers);
        parts.headers.entry(USER_AGENT).or_insert(AGENT);
        if let Some(placement) = &route.credential {
            let secret = placement.secret.resolve().await.map_err(|error| self.refused(error))?;
            let value = Zeroizing::new(format!("{}{}", placement.prefix, secret.as_str()).into_bytes());
            lock(&self.facts).secrets.push(secret);
            let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value))
                .map_err(|_| self.refused(Error::InvalidRequest("the credential fits no header".to_owned())))?;
            value.set_sensitive(true);
            parts.headers.insert(placement.header.clone(), value);
        }
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    fn refused(&self, error: Error) -> HttpError {
        lock(&self.facts).refusal = Some(error);
        HttpError::HttpRequestDenied
    }

    /// What a failure before the response is, in the words of `wasi:http`.
    fn failed(&self, base_url: &Uri, error: &hyper_util::client::legacy::Error) -> HttpError {
        let explain = |what: &str| {
            let origin = base_url.authority().map_or("the upstream", http::uri::Authority::as_str);
            lock(&self.facts).explanation = Some(format!("{origin}: {what}"));
        };
        if let Some(prohibited) = cause::<Prohibited>(error) {
            lock(&self.facts).explanation = Some(prohibited.to_string());
            return HttpError::DestinationIpProhibited;
        }
        if let Some(error) = cause::<rustls::Error>(error) {
            if matches!(error, rustls::Error::InvalidCertificate(_)) {
                explain(&format!("its certificate is not valid: {error}"));
                return HttpError::TlsCertificateError;
            }
            explain(&format!("there is no secure connection: {error}"));
            return HttpError::TlsProtocolError;
        }
        if let Some(error) = cause::<hyper::Error>(error).filter(|error| error.is_parse()) {
            return if error.is_parse_too_large() {
                HttpError::HttpResponseHeaderSectionSize(None)
            } else {
                HttpError::HttpProtocolError
            };
        }
        // From here on, another attempt may succeed.
        lock(&self.facts).passing = true;
        if cause::<TooSlow>(error).is_some() {
            explain("connecting took too long");
            return HttpError::ConnectionTimeout;
        }
        if !error.is_connect() {
            return HttpError::ConnectionTerminated;
        }
        match cause::<std::io::Error>(error).map(std::io::Error::kind) {
            Some(std::io::ErrorKind::ConnectionRefused) => {
                explain("it does not accept connections");
                HttpError::ConnectionRefused
            }
            _ => {
                explain(&format!("there is no connection: {}", root(error)));
                HttpError::DestinationUnavailable
            }
        }
    }
}

/// Puts an endpoint's own headers in place of an adapter's of the same names. A name may be there more than once.
fn replace(headers: &mut HeaderMap, own: &HeaderMap) {
    for name in own.keys() {
        headers.remove(name);
    }
    for (name, value) in own {
        headers.append(name, value.clone());
    }
}

/// An adapter's body, in one piece: a connection that was closed meanwhile is replaced, and the request sent again.
async fn whole(mut body: UnsyncBoxBody<Bytes, HttpError>, headers: &HeaderMap) -> Result<Bytes, HttpError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut whole = BytesMut::new();
    // What an adapter writes comes through its store, so to wait for the end of what is complete would take time.
    while announced != Some(whole.len())
        && let Some(frame) = body.frame().await
    {
        let Ok(chunk) = frame?.into_data() else { continue };
        if whole.len() + chunk.len() > LARGEST_REQUEST {
            return Err(HttpError::HttpRequestBodySize(None));
        }
        if whole.is_empty() && announced == Some(chunk.len()) {
            return Ok(chunk);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// The text of an error's first cause.
fn root(error: &hyper_util::client::legacy::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Whether a response comes in one piece, though a stream was asked for: a refusal, or JSON. Its adapter waits for all
/// of it, so an upstream that writes a byte now and then would hold the request for ever.
fn is_whole<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    !response.status().is_success() || kind.eq_ignore_ascii_case("application/json")
}

/// Whether a request goes to the origin of its endpoint.
fn is_own(base_url: &Uri, uri: &Uri) -> bool {
    let same = |one: Option<&str>, other: Option<&str>| match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (Some(_), None) | (None, _) => false,
    };
    same(base_url.scheme_str(), uri.scheme_str())
        && same(
            base_url.authority().map(http::uri::Authority::as_str),
            uri.authority().map(http::uri::Authority::as_str),
        )
}

impl WasiHttpHooks for Outbound {
    /// Headers that only the host writes.
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let own = self.route.as_ref().and_then(|route| route.credential.as_ref()).map(|own| own.header.clone());
        Arc::new(move |name| {
            DEFAULT_FORBIDDEN_HEADERS.contains(name)
                || *name == AUTHORIZATION
                || *name == COOKIE
                || own.as_ref().is_some_and(|own| own == name)
        })
    }

    /// hyper writes it, where the protocol's version has one.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<UnsyncBoxBody<Bytes, HttpError>>,
        _options: Option<RequestOptions>,
        _read: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let outbound = self.clone();
        Box::new(async move {
            let response = outbound.send(request).await?;
            // The pool drives its connections itself.
            let driven: Box<dyn Future<Output = Result<(), HttpError>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response.map(BodyExt::boxed_unsync), driven))
        })
    }
}

type Sent = Result<
    (Response<UnsyncBoxBody<Bytes, HttpError>>, Box<dyn Future<Output = Result<(), HttpError>> + Send>),
    HttpError,
>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    #[test]
    fn an_origin_is_scheme_and_authority() {
        let base: Uri = "https://api.example:8443/v1".parse().unwrap();
        for (url, own) in [
            ("https://api.example:8443/v1/chat", true),
            ("https://API.example:8443/", true),
            ("https://api.example/v1/chat", false),
            ("http://api.example:8443/v1", false),
            ("https://api.example.evil:8443/v1", false),
            ("https://evil/api.example:8443", false),
        ] {
            assert_eq!(is_own(&base, &url.parse().unwrap()), own, "{url}");
        }
    }

    #[test]
    fn an_endpoints_headers_replace_an_adapters_and_keep_each_other() {
        let map = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(*name, HeaderValue::from_static(value));
            }
            map
        };
        let mut headers = map(&[("x-team", "guest"), ("x-team", "guest too"), ("x-other", "kept")]);
        replace(&mut headers, &map(&[("x-team", "a"), ("x-team", "b")]));
        assert_eq!(headers, map(&[("x-other", "kept"), ("x-team", "a"), ("x-team", "b")]));
    }

    #[test]
    fn no_text_of_an_adapters_holds_the_secret() {
        let outbound = Outbound::closed();
        lock(&outbound.facts).secrets.push(Zeroizing::new("s3cret".to_owned()));
        let text = || "it said s3cret".to_owned();
        let unsupported = UnsupportedPayload { operation: Operation::Chat, endpoint: None, reason: text() };
        for error in [
            Error::InvalidRequest(text()),
            Error::Internal(text()),
            Error::Overloaded(text()),
            Error::EndpointNotFound(text()),
            Error::Unsupported(unsupported),
        ] {
            let shown = format!("{:?}", outbound.judged(error));
            assert!(shown.contains("it said [redacted]") && !shown.contains("s3cret"), "{shown}");
        }
        assert_eq!(outbound.redacted(text()), "it said [redacted]");
    }
}
