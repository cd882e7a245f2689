//! How long an upstream asks to wait.

use std::time::Duration;

/// Milliseconds to wait, from the headers of a refusal.
///
/// `retry-after-ms` is what some providers send besides `retry-after`, which is seconds or an HTTP date (RFC 9110,
/// section 10.2.3). A component has no clock, so a date counts from the response's own `date`.
pub(crate) fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<u32> {
    let milliseconds = header("retry-after-ms").and_then(|text| scaled(text, 1.0));
    milliseconds.or_else(|| {
        let text = header("retry-after")?;
        scaled(text, 1000.0).or_else(|| {
            let then = httpdate::parse_http_date(text.trim()).ok()?;
            let now = httpdate::parse_http_date(header("date")?.trim()).ok()?;
            let wait = then.duration_since(now).unwrap_or(Duration::ZERO);
            Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX))
        })
    })
}

/// A number of some unit, which providers also write with a fraction, in milliseconds.
fn scaled(text: &str, unit: f64) -> Option<u32> {
    let number: f64 = text.trim().parse().ok()?;
    let milliseconds = (number * unit).ceil();
    // Casts saturate, and what is longer than a month is as good as never.
    (milliseconds >= 0.0).then_some(milliseconds as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &'static str)]) -> Option<u32> {
        retry_after(|name| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value))
    }

    #[test]
    fn seconds_milliseconds_and_dates() {
        let date = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");
        for (headers, expected) in [
            (&[("retry-after", "2")][..], Some(2000)),
            (&[("retry-after", " 0.25 ")], Some(250)),
            (&[("retry-after-ms", "125")], Some(125)),
            (&[("retry-after", "2"), ("retry-after-ms", "1500")], Some(1500)),
            (&[("retry-after", "2"), ("retry-after-ms", "soon")], Some(2000)),
            (&[("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT"), date], Some(7000)),
            (&[("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), date], Some(0)),
            (&[("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT")], None),
            (&[("retry-after", "1e300")], Some(u32::MAX)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "tomorrow"), date], None),
            (&[], None),
        ] {
            assert_eq!(wait(headers), expected, "{headers:?}");
        }
    }
}
