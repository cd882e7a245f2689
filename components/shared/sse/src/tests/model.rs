//! The standard's algorithm word by word, on the whole stream at once, to hold the decoder against.
//!
//! Slow and unbounded on purpose: it shares no idea with the decoder but the text that both follow. The fuzz target
//! includes this file too.

use std::time::Duration;

use super::{Decoder, Event};

/// All that a decoder says of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) events: Vec<Event>,
    pub(super) retry: Option<Duration>,
    pub(super) is_inside_event: bool,
    pub(super) is_too_long: bool,
}

/// What the decoder says of a stream in chunks.
pub(super) fn decode<'c>(chunks: impl IntoIterator<Item = &'c [u8]>, limit: usize) -> Outcome {
    let mut decoder = Decoder::with_limit(limit);
    let mut events = Vec::new();
    let mut is_too_long = false;
    for chunk in chunks {
        let pushed = decoder.push(chunk);
        assert!(!is_too_long || pushed.is_err(), "it works again after it failed");
        is_too_long = pushed.is_err();
        events.extend(&mut decoder);
    }
    Outcome { events, retry: decoder.retry(), is_inside_event: decoder.is_inside_event(), is_too_long }
}

/// What the standard says of a stream, and of its beginning up to the first event longer than the limit.
pub(super) fn model(stream: &[u8], limit: usize) -> Outcome {
    let end = allowed(stream, limit);
    let is_too_long = end < stream.len();
    // "Streams must be decoded using the UTF-8 decode algorithm", which "strips one leading U+FEFF".
    let text = String::from_utf8_lossy(&stream[..end]);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let (ended, unfinished) = text.rsplit_once('\n').unwrap_or(("", &text));
    let lines: Vec<_> = if text.contains('\n') { ended.split('\n').collect() } else { Vec::new() };
    let (events, retry) = interpret(&lines);
    let since_empty = lines.iter().rev().take_while(|line| !line.is_empty()).chain([&unfinished]);
    let is_inside_event = is_too_long || since_empty.into_iter().any(|line| !line.is_empty() && !line.starts_with(':'));
    Outcome { events, retry, is_inside_event, is_too_long }
}

/// "The lines must be processed, in the order they are received, as follows."
fn interpret(lines: &[&str]) -> (Vec<Event>, Option<Duration>) {
    let (mut data, mut event_type, mut last_event_id) = (String::new(), String::new(), String::new());
    let (mut events, mut retry) = (Vec::new(), None);
    for line in lines {
        if line.is_empty() {
            if data.is_empty() {
                event_type.clear();
                continue;
            }
            assert_eq!(data.pop(), Some('\n'));
            let name = if event_type.is_empty() { "message".to_owned() } else { event_type.clone() };
            events.push(Event { name, data: data.clone(), id: last_event_id.as_str().into() });
            data.clear();
            event_type.clear();
        } else if line.starts_with(':') {
            continue;
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            if field == "event" {
                event_type = value.to_owned();
            } else if field == "data" {
                data += value;
                data += "\n";
            } else if field == "id" && !value.contains('\0') {
                last_event_id = value.to_owned();
            } else if field == "retry" && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
                retry = Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)));
            }
        }
    }
    (events, retry)
}

/// How many bytes of the stream come before the first that makes an event longer than the limit.
fn allowed(stream: &[u8], limit: usize) -> usize {
    let mark = if stream.starts_with("\u{FEFF}".as_bytes()) { 3 } else { 0 };
    let (mut size, mut is_line_empty) = (0, true);
    for (place, byte) in stream.iter().enumerate() {
        if stream[..=place].ends_with(b"\r\n") {
            continue;
        }
        let is_end = matches!(byte, b'\r' | b'\n');
        size = if is_end && is_line_empty { 0 } else { size + usize::from(!is_end) };
        is_line_empty = is_end || place < mark;
        if size > limit {
            return place;
        }
    }
    stream.len()
}
