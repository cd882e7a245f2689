//! A decoder for server-sent events, the format in which providers stream their answers.
//!
//! It follows the [HTML Standard](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)
//! to the letter, once for all adapters, and adds what a standard for browsers leaves out: a bound on what an upstream
//! can make us hold, and the question whether a stream ended inside an event. Bytes come in chunks as the network cut
//! them; where they are cut never changes what comes out.
//!
//! ```
//! let mut decoder = sse::Decoder::new();
//! decoder.push(b"event: greeting\ndata: hel")?;
//! assert!(decoder.next().is_none() && decoder.is_inside_event());
//! decoder.push(b"lo\n\n")?;
//! let event = decoder.next().unwrap();
//! assert_eq!((event.name.as_str(), event.data.as_str()), ("greeting", "hello"));
//! # Ok::<(), sse::TooLong>(())
//! ```
//!
//! `PROPTEST_CASES=1000000 cargo test --release -p sipp-sse --lib` runs the property tests for longer, and
//! `cargo +nightly fuzz run decode` in this folder lets libFuzzer look for what they miss, without end.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

// The generators of its properties do not run on wasm.
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

/// A stream may begin with one, which means nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind of event it is: `message` when the stream does not say.
    pub name: String,
    /// Its contents, the lines joined with a line feed. Bytes that are not UTF-8 are replaced with U+FFFD.
    pub data: String,
    /// The last ID that the stream gave, with this event or before it; empty when it gave none.
    ///
    /// Shared, because it stays: a long one must not be copied for every short event that follows.
    pub id: Arc<str>,
}

/// That an event is longer than the decoder allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// How many bytes are allowed.
    pub limit: usize,
}

impl Display for TooLong {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "an event of the stream is longer than the {} bytes allowed", self.limit)
    }
}

impl Error for TooLong {}

/// Makes events of a stream's bytes: [`push`](Self::push) takes them, and the iterator gives the events.
///
/// The iterator has an end whenever all events so far were taken, and goes on after the next push. What an unfinished
/// event holds at the end of the stream is no event: the standard discards it.
///
/// It holds in memory at most a small multiple of the limit, and the events of the chunks pushed that were not taken.
#[derive(Debug)]
pub struct Decoder {
    /// How many bytes the lines of an event may have.
    limit: usize,
    /// How many bytes the lines since the last empty one have.
    size: usize,
    has_failed: bool,
    /// Whether bytes were replaced because they are not UTF-8.
    is_lossy: bool,
    /// Whether the first line is still to come, before which there may be a byte order mark.
    is_first_line: bool,
    /// Whether the last byte was a carriage return: a line feed that follows belongs to it.
    is_after_return: bool,
    /// Whether a field came since the last empty line.
    has_fields: bool,
    /// The beginning of a line whose end has not come. Of a comment, the first part is enough.
    line: Vec<u8>,
    /// The event's name, empty when it was not given.
    name: Vec<u8>,
    /// The event's contents, none as long as it has none. Bytes, because a line may hold part of a character only.
    data: Option<Vec<u8>>,
    id: Arc<str>,
    retry: Option<Duration>,
    /// Events that were not taken yet.
    events: VecDeque<Event>,
}

impl Decoder {
    /// How many bytes an event may have unless [`with_limit`](Self::with_limit) says otherwise: 1 MiB.
    pub const DEFAULT_LIMIT: usize = 1 << 20;

    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(Self::DEFAULT_LIMIT)
    }

    /// A decoder of events of at most `limit` bytes: all lines of an event together, comments and fields of no meaning
    /// included, line ends not.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            size: 0,
            has_failed: false,
            is_lossy: false,
            is_first_line: true,
            is_after_return: false,
            has_fields: false,
            line: Vec::new(),
            name: Vec::new(),
            data: None,
            id: Arc::default(),
            retry: None,
            events: VecDeque::new(),
        }
    }

    /// Decodes the next bytes of the stream, which may begin and end anywhere.
    ///
    /// # Errors
    ///
    /// When an event is longer than the limit, now or in an earlier call. Events before it can still be taken.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        let mut rest = chunk;
        while let Some((&first, after)) = rest.split_first() {
            if std::mem::take(&mut self.is_after_return) && first == b'\n' {
                rest = after;
                continue;
            }
            let end = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r');
            let (part, tail) = rest.split_at(end.unwrap_or(rest.len()));
            self.measure(part)?;
            match tail.split_first() {
                Some((&end, tail)) => {
                    self.end_line(part);
                    self.is_after_return = end == b'\r';
                    rest = tail;
                }
                None => {
                    self.begin_line(part);
                    break;
                }
            }
        }
        self.measure(&[])
    }

    /// How long the stream asks its readers to wait before they connect again, if it does.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the bytes so far end inside an event: a stream that stops here was cut off.
    ///
    /// A comment is no part of an event. After an error it is true.
    #[must_use]
    pub fn is_inside_event(&self) -> bool {
        let line = self.without_mark(&self.line);
        self.has_failed || self.has_fields || !(line.is_empty() || is_comment(line))
    }

    /// Whether an event so far held bytes that are not UTF-8. The standard has them replaced, each by `U+FFFD`.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// Counts bytes of an event before anything keeps them.
    fn measure(&mut self, part: &[u8]) -> Result<(), TooLong> {
        self.size = self.size.saturating_add(part.len());
        self.has_failed |= self.size > self.limit;
        if self.has_failed { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }

    /// Keeps a part of a line whose end has not come.
    fn begin_line(&mut self, part: &[u8]) {
        if !is_comment(&self.line) {
            self.line.extend_from_slice(part);
        }
    }

    /// Reads a line, of which `part` is the last part.
    fn end_line(&mut self, part: &[u8]) {
        if self.line.is_empty() {
            return self.read_line(part);
        }
        self.begin_line(part);
        let mut line = std::mem::take(&mut self.line);
        self.read_line(&line);
        // The memory serves the next line that is cut.
        line.clear();
        self.line = line;
    }

    fn read_line(&mut self, line: &[u8]) {
        let line = self.without_mark(line);
        self.is_first_line = false;
        if line.is_empty() {
            return self.dispatch();
        }
        if is_comment(line) {
            return;
        }
        self.has_fields = true;
        let mut halves = line.splitn(2, |&byte| byte == b':');
        let (field, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        self.read_field(field, value.strip_prefix(b" ").unwrap_or(value));
    }

    fn read_field(&mut self, field: &[u8], value: &[u8]) {
        match field {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => self.id = String::from_utf8_lossy(value).into(),
            b"retry" => self.retry = milliseconds(value).or(self.retry),
            _ => {}
        }
    }

    /// Ends an event at an empty line.
    fn dispatch(&mut self) {
        self.size = 0;
        self.has_fields = false;
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            let name = if name.is_empty() { "message".to_owned() } else { self.text(name) };
            let data = self.text(data);
            self.events.push_back(Event { name, data, id: Arc::clone(&self.id) });
        }
    }

    /// Decodes as the whole stream would: lines end in ASCII, which never stands inside a character.
    fn text(&mut self, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            self.is_lossy = true;
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }

    fn without_mark<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        if self.is_first_line { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Decoder {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

fn is_comment(line: &[u8]) -> bool {
    line.starts_with(b":")
}

/// What digits mean, and nothing else: no sign, no space.
fn milliseconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(u64::from(digit)))
    });
    number.map(Duration::from_millis)
}
