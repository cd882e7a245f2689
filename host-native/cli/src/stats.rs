//! How fast an answer was: speeds from the times that the library counts, and `--stats`.

use sipp::{Stats, Usage};

/// Tokens per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    /// Of the prompt; none if nothing of it was computed.
    pub(crate) prefill: Option<f64>,
    /// Of the answer, from its first token to its last; none if it has fewer than two.
    pub(crate) decode: Option<f64>,
}

impl Speed {
    pub(crate) fn new(stats: &Stats, usage: Option<&Usage>) -> Self {
        let written = usage.and_then(|usage| usage.output_tokens);
        Self {
            prefill: per_second(stats.prefill_tokens, stats.prefill_time),
            decode: written.and_then(|tokens| per_second(tokens.saturating_sub(1), stats.decode_time)),
        }
    }
}

fn per_second(tokens: u32, milliseconds: f64) -> Option<f64> {
    (tokens > 0 && milliseconds > 0.0).then(|| f64::from(tokens) / milliseconds * 1e3)
}

/// What `--stats` shows: a line for each step, with its tokens, its time and its speed in columns.
pub(crate) fn block(stats: Option<&Stats>, usage: Option<&Usage>) -> String {
    let speed = stats.map(|stats| Speed::new(stats, usage));
    let mut rows = Vec::new();
    let read = usage.and_then(|usage| usage.input_tokens);
    rows.push(row("prompt", read, stats.map(|stats| stats.prefill_time), speed.and_then(|speed| speed.prefill)));
    if let Some(cached) = usage.and_then(|usage| usage.cached_tokens) {
        rows.push(row("  cached", Some(cached), None, None));
    }
    // Vectors have no tokens to be the first.
    if let Some(written) = usage.and_then(|usage| usage.output_tokens) {
        let first = stats.and_then(|stats| stats.time_to_first_token);
        rows.push(row("first token", None, first, None));
        let time = stats.map(|stats| stats.decode_time);
        rows.push(row("answer", Some(written), time, speed.and_then(|speed| speed.decode)));
    }
    rows.join("\n")
}

fn row(name: &str, tokens: Option<u32>, milliseconds: Option<f64>, speed: Option<f64>) -> String {
    let tokens = tokens.map_or_else(String::new, |tokens| format!("{tokens} tokens"));
    let time = milliseconds.map_or_else(String::new, |milliseconds| format!("{milliseconds:.1} ms"));
    let speed = speed.map_or_else(String::new, |speed| format!("{speed:.1} tokens/s"));
    format!("{name:<12}{tokens:>14}{time:>14}{speed:>20}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use sipp::CacheSource;

    use super::*;

    fn stats() -> Stats {
        Stats {
            queue_time: 0.25,
            time_to_first_token: Some(21.0),
            prefill_time: 20.0,
            decode_time: 1000.0,
            prefill_tokens: 40,
            cache_source: CacheSource::None,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let usage = Usage { input_tokens: Some(40), output_tokens: Some(101), cached_tokens: None };
        let expected = "\
prompt           40 tokens       20.0 ms     2000.0 tokens/s
first token                      21.0 ms
answer          101 tokens     1000.0 ms      100.0 tokens/s";
        assert_eq!(block(Some(&stats()), Some(&usage)), expected);
    }

    #[test]
    fn one_token_has_no_speed() {
        let usage = Usage { input_tokens: Some(40), output_tokens: Some(1), cached_tokens: None };
        assert_eq!(Speed::new(&stats(), Some(&usage)).decode, None);
    }
}
