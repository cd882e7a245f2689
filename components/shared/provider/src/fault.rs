//! What went wrong at an upstream, in the contract's words.

use crate::bindings::wasi::http::types::ErrorCode;
use crate::{Error, Operation, ReplyHead, UnsupportedPayload, UpstreamFault, UpstreamPayload};

/// Longest text of an upstream's that is handed on, in characters.
const LONGEST: usize = 2000;

/// What an upstream says in the body of a refusal, or in an event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reported {
    /// Its own code.
    pub code: Option<String>,
    /// Its own text.
    pub message: Option<String>,
    /// What the code means, where the adapter knows it. Else the status decides.
    pub fault: Option<UpstreamFault>,
}

/// The error for a reply whose status is not 2xx.
#[must_use]
pub fn refusal(provider: &str, head: &ReplyHead, reported: Reported) -> Error {
    let Reported { code, message, fault } = reported;
    let message = message.filter(|message| !message.trim().is_empty()).unwrap_or_else(|| of_status(head.status));
    Error::Upstream(UpstreamPayload {
        fault: fault.unwrap_or_else(|| by_status(head.status)),
        provider: provider.to_owned(),
        status: Some(head.status),
        code,
        message: shortened(message),
        retry_after: head.retry_after(),
        request_id: head.request_id(),
    })
}

/// The error for what an upstream reports within a reply that began well.
#[must_use]
pub fn reported(provider: &str, head: &ReplyHead, reported: Reported) -> Error {
    let Reported { code, message, fault } = reported;
    Error::Upstream(UpstreamPayload {
        fault: fault.unwrap_or(UpstreamFault::Provider),
        provider: provider.to_owned(),
        status: None,
        code,
        message: shortened(message.unwrap_or_else(|| "the upstream reported an error without a text".to_owned())),
        retry_after: None,
        request_id: head.request_id(),
    })
}

/// The error for a reply that breaks the provider's protocol.
#[must_use]
pub fn broken(provider: &str, head: &ReplyHead, message: impl Into<String>) -> Error {
    Error::Upstream(UpstreamPayload {
        fault: UpstreamFault::Protocol,
        provider: provider.to_owned(),
        status: Some(head.status),
        code: None,
        message: shortened(message.into()),
        retry_after: None,
        request_id: head.request_id(),
    })
}

/// The error for what the provider cannot do at all.
#[must_use]
pub fn unsupported(operation: Operation, reason: impl Into<String>) -> Error {
    Error::Unsupported(UnsupportedPayload { operation, endpoint: None, reason: reason.into() })
}

/// The error for an exchange that the host could not carry out.
pub(crate) fn failed(provider: &str, head: Option<&ReplyHead>, code: &ErrorCode) -> Error {
    let (fault, message) = of_code(code);
    Error::Upstream(UpstreamPayload {
        fault,
        provider: provider.to_owned(),
        status: head.map(|head| head.status),
        code: None,
        message,
        retry_after: None,
        request_id: head.and_then(ReplyHead::request_id),
    })
}

fn by_status(status: u16) -> UpstreamFault {
    match status {
        401 => UpstreamFault::Authentication,
        402 => UpstreamFault::QuotaExceeded,
        403 => UpstreamFault::Authorization,
        404 => UpstreamFault::ModelNotFound,
        408 => UpstreamFault::Timeout,
        429 => UpstreamFault::RateLimited,
        501 => UpstreamFault::UnsupportedFeature,
        500..=599 => UpstreamFault::Overloaded,
        400..=499 => UpstreamFault::InvalidRequest,
        _ => UpstreamFault::Protocol,
    }
}

fn of_status(status: u16) -> String {
    match status {
        300..=399 => format!("status {status}: it redirects, which is not followed; correct base_url"),
        404 => format!("status {status}: no such model, or no such path; check model and base_url"),
        _ => format!("status {status}"),
    }
}

fn of_code(code: &ErrorCode) -> (UpstreamFault, String) {
    let (fault, message) = match code {
        ErrorCode::ConnectionTimeout | ErrorCode::DnsTimeout => (UpstreamFault::Timeout, "connecting took too long"),
        ErrorCode::HttpResponseTimeout => (UpstreamFault::Timeout, "the reply took too long"),
        ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionWriteTimeout => {
            (UpstreamFault::Timeout, "the upstream fell silent for too long")
        }
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            (UpstreamFault::Transport, "the upstream's name cannot be resolved")
        }
        ErrorCode::ConnectionRefused | ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => {
            (UpstreamFault::Transport, "the upstream does not accept connections")
        }
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => {
            (UpstreamFault::Transport, "the upstream closed the connection before its reply was complete")
        }
        ErrorCode::TlsCertificateError => (UpstreamFault::Transport, "the upstream's certificate is not valid"),
        ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => {
            (UpstreamFault::Transport, "there is no secure connection to the upstream")
        }
        ErrorCode::HttpResponseHeaderSectionSize(_) | ErrorCode::HttpResponseHeaderSize(_) => {
            (UpstreamFault::Protocol, "the reply's headers are too large")
        }
        ErrorCode::HttpProtocolError => (UpstreamFault::Protocol, "the reply is not HTTP"),
        ErrorCode::InternalError(Some(text)) => return (UpstreamFault::Transport, shortened(text.clone())),
        ErrorCode::DestinationIpProhibited | ErrorCode::HttpRequestDenied => {
            (UpstreamFault::Transport, "the host does not allow the request")
        }
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_) => (UpstreamFault::Protocol, "the reply is too long"),
        ErrorCode::HttpResponseTransferCoding(_) | ErrorCode::HttpResponseContentCoding(_) => {
            (UpstreamFault::Protocol, "the reply's coding is not known")
        }
        ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestTrailerSectionSize(_)
        | ErrorCode::HttpRequestTrailerSize(_)
        | ErrorCode::HttpUpgradeFailed
        | ErrorCode::LoopDetected
        | ErrorCode::ConfigurationError
        | ErrorCode::InternalError(None) => {
            return (UpstreamFault::Transport, format!("the request cannot be sent: {code:?}"));
        }
    };
    (fault, message.to_owned())
}

/// An upstream's text, cut to a length that is fit for a log.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(error: Error) -> UpstreamPayload {
        let Error::Upstream(payload) = error else { panic!("expected an upstream's error, got {error:?}") };
        payload
    }

    #[test]
    fn statuses_have_a_meaning() {
        for (status, fault) in [
            (400, UpstreamFault::InvalidRequest),
            (401, UpstreamFault::Authentication),
            (402, UpstreamFault::QuotaExceeded),
            (403, UpstreamFault::Authorization),
            (404, UpstreamFault::ModelNotFound),
            (408, UpstreamFault::Timeout),
            (413, UpstreamFault::InvalidRequest),
            (422, UpstreamFault::InvalidRequest),
            (429, UpstreamFault::RateLimited),
            (500, UpstreamFault::Overloaded),
            (501, UpstreamFault::UnsupportedFeature),
            (503, UpstreamFault::Overloaded),
            (529, UpstreamFault::Overloaded),
            (302, UpstreamFault::Protocol),
        ] {
            let head = ReplyHead { status, headers: Vec::new() };
            let payload = payload(refusal("some", &head, Reported::default()));
            assert_eq!((payload.fault, payload.status), (fault, Some(status)));
            assert!(payload.message.starts_with(&format!("status {status}")), "{}", payload.message);
        }
    }

    #[test]
    fn a_refusal_carries_what_the_upstream_said() {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let head = ReplyHead { status: 429, headers: vec![header("retry-after", "3"), header("x-request-id", "r-1")] };
        let reported = Reported {
            code: Some("insufficient_quota".to_owned()),
            message: Some("x".repeat(5000)),
            fault: Some(UpstreamFault::QuotaExceeded),
        };
        let payload = payload(refusal("openai", &head, reported));
        assert_eq!(payload.fault, UpstreamFault::QuotaExceeded);
        assert_eq!((payload.retry_after, payload.request_id.as_deref()), (Some(3000), Some("r-1")));
        assert_eq!(payload.message.chars().count(), LONGEST + 1);
    }

    #[test]
    fn failures_of_the_exchange_are_told_apart() {
        let fault = |code: ErrorCode| payload(failed("some", None, &code)).fault;
        assert_eq!(fault(ErrorCode::ConnectionTimeout), UpstreamFault::Timeout);
        assert_eq!(fault(ErrorCode::ConnectionReadTimeout), UpstreamFault::Timeout);
        assert_eq!(fault(ErrorCode::ConnectionRefused), UpstreamFault::Transport);
        assert_eq!(fault(ErrorCode::TlsCertificateError), UpstreamFault::Transport);
        assert_eq!(fault(ErrorCode::HttpResponseHeaderSectionSize(None)), UpstreamFault::Protocol);
        assert_eq!(fault(ErrorCode::LoopDetected), UpstreamFault::Transport);
    }
}
