//! The id that ties a request to its log lines, here and behind the gateway.

use axum::http::{HeaderMap, HeaderName};
use uuid::Uuid;

/// Carries the id in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a caller, in bytes.
const LONGEST: usize = 128;

/// The caller's id, or a new one where the caller sent none that can stand in a log line: only visible ASCII, at most
/// 128 characters.
pub fn of(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_usable(id));
    sent.map_or_else(|| format!("req_{}", Uuid::new_v4().simple()), str::to_owned)
}

fn is_usable(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of_value(value: &[u8]) -> String {
        of(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(value).unwrap())]))
    }

    #[test]
    fn takes_the_callers_id() {
        assert_eq!(of_value(b"r-1"), "r-1");
        assert_eq!(of_value(&[b'x'; 128]).len(), 128);
    }

    #[test]
    fn replaces_what_cannot_stand_in_a_log_line() {
        for id in [b"".as_slice(), b"two words", "zwölf".as_bytes(), &[b'x'; 129]] {
            let generated = of_value(id);
            assert!(generated.starts_with("req_") && generated.len() == 36, "{generated}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
