//! When to ask an upstream again, and after how long.

use std::time::Duration;

use crate::{Error, UpstreamFault};

/// The wait before the first retry; it doubles with each.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait that nobody asked for.
const LONGEST: Duration = Duration::from_secs(8);

/// The longest wait that an upstream may ask for. Who is asked to wait longer is told so.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// How long to wait before asking again, if that makes sense. `retries` is how often it was done already; `may_pass`
/// tells that there was no response, for a reason that can pass.
pub(super) fn wait(error: &Error, retries: u32, may_pass: bool) -> Option<Duration> {
    let Error::Upstream(payload) = error else { return None };
    let passing = match (payload.status, payload.fault) {
        // Another attempt costs the same money that is not there.
        (_, UpstreamFault::QuotaExceeded) => false,
        (Some(status), _) => matches!(status, 408 | 429 | 500 | 502..=599),
        // Reported within a response, before the first token.
        (None, UpstreamFault::Overloaded | UpstreamFault::RateLimited) => true,
        (None, _) => may_pass,
    };
    if !passing {
        return None;
    }
    match payload.retry_after.map(|milliseconds| Duration::from_millis(milliseconds.into())) {
        Some(asked) => (asked <= LONGEST_ASKED).then_some(asked),
        None => Some(backoff(retries).mul_f64(0.5 + fastrand::f64() / 2.0)),
    }
}

fn backoff(retries: u32) -> Duration {
    FIRST.saturating_mul(1 << retries.min(10)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UpstreamPayload;

    fn error(fault: UpstreamFault, status: Option<u16>, retry_after: Option<u32>) -> Error {
        Error::Upstream(UpstreamPayload {
            fault,
            provider: "some".to_owned(),
            status,
            code: None,
            message: String::new(),
            retry_after,
            request_id: None,
        })
    }

    #[test]
    fn only_what_can_pass_is_asked_again() {
        for (status, again) in [
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (408, true),
            (413, false),
            (429, true),
            (500, true),
            (501, false),
            (502, true),
            (503, true),
            (529, true),
            (302, false),
        ] {
            let error = error(UpstreamFault::Provider, Some(status), None);
            assert_eq!(wait(&error, 0, false).is_some(), again, "{status}");
        }
        assert!(wait(&error(UpstreamFault::QuotaExceeded, Some(429), None), 0, false).is_none());
        assert!(wait(&error(UpstreamFault::Overloaded, None, None), 0, false).is_some());
        assert!(wait(&error(UpstreamFault::Protocol, None, None), 0, false).is_none());
        assert!(wait(&error(UpstreamFault::Transport, None, None), 0, true).is_some());
        assert!(wait(&Error::Internal(String::new()), 0, true).is_none());
    }

    #[test]
    fn an_upstream_is_given_the_time_that_it_asks_for() {
        let asked = |milliseconds| error(UpstreamFault::RateLimited, Some(429), Some(milliseconds));
        assert_eq!(wait(&asked(1500), 3, false), Some(Duration::from_millis(1500)));
        assert_eq!(wait(&asked(0), 3, false), Some(Duration::ZERO));
        assert_eq!(wait(&asked(60_001), 0, false), None);
    }

    #[test]
    fn waits_grow_and_are_spread() {
        let passing = error(UpstreamFault::Overloaded, Some(503), None);
        for (retries, longest) in [(0, 500), (1, 1000), (2, 2000), (4, 8000), (30, 8000)] {
            let longest = Duration::from_millis(longest);
            let waited = wait(&passing, retries, false).unwrap();
            assert!((longest / 2..=longest).contains(&waited), "{retries}: {waited:?}");
        }
    }
}
