//! Compares a transcript with the one that is expected, or rewrites that.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// How far numbers with a fraction may be apart: processors add in different orders.
const TOLERANCE: f64 = 2e-3;

/// Whether expected files are rewritten with what came out: `SIPP_BLESS=1`.
#[must_use]
pub fn blessing() -> bool {
    std::env::var_os("SIPP_BLESS").is_some_and(|value| value != "0")
}

/// Compares a transcript with a file of one value a line. With [`blessing`], a different file is rewritten instead.
///
/// # Errors
/// When they differ, with every line that does; when the file cannot be read or written.
pub fn check(file: &Path, got: &[Value], bless: bool) -> Result<()> {
    let expected = read(file);
    if bless && expected.as_ref().map_or(true, |expected| differences(expected, got).is_some()) {
        let lines: String = got.iter().map(|line| format!("{line}\n")).collect();
        return fs::write(file, lines).with_context(|| format!("{}", file.display()));
    }
    let differences = differences(&expected?, got);
    ensure!(
        differences.is_none(),
        "not as expected (-), but (+); SIPP_BLESS=1 rewrites {}\n{}",
        file.display(),
        differences.unwrap_or_default()
    );
    Ok(())
}

/// Reads a file of one value a line.
///
/// # Errors
/// When it cannot be read, or a line is no JSON.
pub fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), number + 1)))
        .collect()
}

/// Every line that differs, with the place where it begins to.
fn differences(expected: &[Value], got: &[Value]) -> Option<String> {
    let mut text = String::new();
    for number in 0..expected.len().max(got.len()) {
        let (expected, got) = (expected.get(number), got.get(number));
        let place = match (expected, got) {
            (Some(expected), Some(got)) => match difference(expected, got, "") {
                Some(place) => place,
                None => continue,
            },
            _ => "the whole line".to_owned(),
        };
        let line = |value: Option<&Value>| value.map_or("(no line)".to_owned(), Value::to_string);
        // Writing to a text does not fail.
        let _ = write!(text, "line {}, at {place}\n- {}\n+ {}\n", number + 1, line(expected), line(got));
    }
    (!text.is_empty()).then_some(text)
}

/// Where two values differ first.
fn difference(expected: &Value, got: &Value, place: &str) -> Option<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let names = expected.keys().chain(got.keys().filter(|name| !expected.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                match (expected.get(name), got.get(name)) {
                    (Some(expected), Some(got)) => difference(expected, got, &place),
                    _ => Some(place),
                }
            })
        }
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => expected
            .iter()
            .zip(got)
            .enumerate()
            .find_map(|(index, (expected, got))| difference(expected, got, &format!("{place}[{index}]"))),
        (Value::Number(expected), Value::Number(got)) if expected.is_f64() && got.is_f64() => {
            let (expected, got) = (expected.as_f64()?, got.as_f64()?);
            ((expected - got).abs() > TOLERANCE * expected.abs().max(1.0)).then(|| place.to_owned())
        }
        _ => (expected != got).then(|| place.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(expected: Value, got: Value) -> Option<String> {
        difference(&expected, &got, "")
    }

    #[test]
    fn every_kind_of_difference_is_found_and_named() {
        let expected = json!({"chat": {"text": "4", "norms": [1.0, 2.5], "tokens": 3}});
        assert_eq!(place(expected.clone(), expected.clone()), None);
        for (got, at) in [
            (json!({"chat": {"text": "5", "norms": [1.0, 2.5], "tokens": 3}}), "chat.text"),
            (json!({"chat": {"text": "4", "norms": [1.0, 2.6], "tokens": 3}}), "chat.norms[1]"),
            (json!({"chat": {"text": "4", "norms": [1.0], "tokens": 3}}), "chat.norms"),
            (json!({"chat": {"text": "4", "norms": [1.0, 2.5], "tokens": 4}}), "chat.tokens"),
            (json!({"chat": {"text": "4", "norms": [1.0, 2.5]}}), "chat.tokens"),
            (json!({"chat": {"text": "4", "norms": [1.0, 2.5], "tokens": 3, "more": 1}}), "chat.more"),
            (json!({"query": {}}), "chat"),
        ] {
            assert_eq!(place(expected.clone(), got).as_deref(), Some(at));
        }
    }

    #[test]
    fn fractions_may_differ_a_little() {
        assert_eq!(place(json!([0.101]), json!([0.102])), None);
        assert_eq!(place(json!([12.01]), json!([12.02])), None);
        assert!(place(json!([0.101]), json!([0.104])).is_some());
    }

    #[test]
    fn a_missing_line_is_a_difference() {
        assert!(differences(&[json!({"list": []})], &[]).is_some_and(|text| text.contains("+ (no line)")));
        assert!(differences(&[], &[json!({"list": []})]).is_some_and(|text| text.contains("- (no line)")));
    }

    #[test]
    fn blessing_writes_and_checking_then_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("expected.jsonl");
        let got = [json!({"close": {}}), json!({"list": []})];
        assert!(check(&file, &got, false).is_err());
        check(&file, &got, true).unwrap();
        check(&file, &got, false).unwrap();
        assert!(check(&file, &got[..1], false).is_err());
    }
}
