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

/// What `--stats` shows: a line for each step that was counted or timed, with its tokens, its time and its speed in
/// columns. Nobody times the steps of an answer from elsewhere.
pub(crate) fn block(stats: Option<&Stats>, usage: Option<&Usage>) -> String {
    let speed = stats.map(|stats| Speed::new(stats, usage));
    let counted = |count: fn(&Usage) -> Option<u32>| usage.and_then(count);
    let read = counted(|usage| usage.input_tokens);
    let written = counted(|usage| usage.output_tokens);
    // Vectors have no tokens that could be the first or the last.
    let writing = stats.filter(|_| written.is_some());
    let prefill = speed.and_then(|speed| speed.prefill);
    let rows = [
        row("prompt", read, stats.map(|stats| stats.prefill_time), prefill),
        row("  cached", counted(|usage| usage.cached_tokens), None, None),
        row("  to cache", counted(|usage| usage.cache_write_tokens), None, None),
        row("first token", None, writing.and_then(|stats| stats.time_to_first_token), None),
        row("answer", written, writing.map(|stats| stats.decode_time), speed.and_then(|speed| speed.decode)),
        row("  reasoning", counted(|usage| usage.reasoning_tokens), None, None),
    ];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    if rows.is_empty() { "nothing was counted".to_owned() } else { rows.join("\n") }
}

/// A line, if it has anything to say.
fn row(name: &str, tokens: Option<u32>, milliseconds: Option<f64>, speed: Option<f64>) -> Option<String> {
    if tokens.is_none() && milliseconds.is_none() {
        return None;
    }
    let tokens = tokens.map_or_else(String::new, |tokens| format!("{tokens} tokens"));
    let time = milliseconds.map_or_else(String::new, |milliseconds| format!("{milliseconds:.1} ms"));
    let speed = speed.map_or_else(String::new, |speed| format!("{speed:.1} tokens/s"));
    Some(format!("{name:<12}{tokens:>14}{time:>14}{speed:>20}").trim_end().to_owned())
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
            inter_token_p50: Some(9.0),
            inter_token_p99: Some(21.0),
            prefill_tokens: 40,
            cache_source: CacheSource::None,
        }
    }

    fn usage(output_tokens: u32) -> Usage {
        Usage {
            input_tokens: Some(40),
            output_tokens: Some(output_tokens),
            cached_tokens: None,
            cache_write_tokens: None,
            reasoning_tokens: None,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let expected = "\
prompt           40 tokens       20.0 ms     2000.0 tokens/s
first token                      21.0 ms
answer          101 tokens     1000.0 ms      100.0 tokens/s";
        assert_eq!(block(Some(&stats()), Some(&usage(101))), expected);
    }

    #[test]
    fn one_token_has_no_speed() {
        assert_eq!(Speed::new(&stats(), Some(&usage(1))).decode, None);
    }

    #[test]
    fn an_answer_from_elsewhere_has_counts_only() {
        let usage = Usage { cached_tokens: Some(32), reasoning_tokens: Some(64), ..usage(101) };
        let expected = "\
prompt           40 tokens
  cached         32 tokens
answer          101 tokens
  reasoning      64 tokens";
        assert_eq!(block(None, Some(&usage)), expected);
        assert_eq!(block(None, None), "nothing was counted");
    }
}
