//! The rules one by one, as tables; then all of them at once, against a [model] and for every cut.

mod model;
mod streams;

use std::iter;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use model::{decode, model};

const ENOUGH: usize = Decoder::DEFAULT_LIMIT;

/// A stream, and the name, the data and the ID of each event in it.
type Row<'r> = (&'r [u8], &'r [(&'r str, &'r str, &'r str)]);

#[track_caller]
fn check(rows: &[Row<'_>]) {
    for (stream, expected) in rows {
        let shown = stream.escape_ascii();
        let outcome = decode([*stream], ENOUGH);
        let events: Vec<_> = outcome.events.iter().map(|event| (&*event.name, &*event.data, &*event.id)).collect();
        assert_eq!(events, *expected, "{shown}");
        check_cuts(stream, ENOUGH);
    }
}

/// Compares with the model the stream as a whole, cut in two at every place, and byte by byte.
#[track_caller]
fn check_cuts(stream: &[u8], limit: usize) {
    let expected = model(stream, limit);
    for place in 0..=stream.len() {
        let (left, right) = stream.split_at(place);
        assert_eq!(decode([left, right], limit), expected, "{} | {}", left.escape_ascii(), right.escape_ascii());
    }
    assert_eq!(decode(stream.chunks(1), limit), expected, "{}, byte by byte", stream.escape_ascii());
}

#[test]
fn line_ends() {
    check(&[
        (b"data: a\n\n", &[("message", "a", "")]),
        (b"data: a\r\r", &[("message", "a", "")]),
        (b"data: a\r\n\r\n", &[("message", "a", "")]),
        (b"data: a\r\n\n", &[("message", "a", "")]),
        (b"data: a\n\r", &[("message", "a", "")]),
        (b"data: a\n\r\n", &[("message", "a", "")]),
        (b"data: a\r\ndata: b\rdata: c\n\r\n", &[("message", "a\nb\nc", "")]),
        (b"data: a\r\n\r\n\r\ndata: b\r\n\r\n", &[("message", "a", ""), ("message", "b", "")]),
        (b"\n\r\n\r\r\n", &[]),
        ("data: a\u{2028}b\u{85}c\x0B\x0C\n\n".as_bytes(), &[("message", "a\u{2028}b\u{85}c\x0B\x0C", "")]),
    ]);
}

#[test]
fn data() {
    check(&[
        (b"data:a\n\n", &[("message", "a", "")]),
        (b"data:  a \n\n", &[("message", " a ", "")]),
        (b"data:\ta\n\n", &[("message", "\ta", "")]),
        (b"data: a: b\n\n", &[("message", "a: b", "")]),
        (b"data: a\ndata: b\n\n", &[("message", "a\nb", "")]),
        (b"data: a\ndata\ndata:\ndata: \n\n", &[("message", "a\n\n\n", "")]),
        (b"data\n\n", &[("message", "", "")]),
        (b"data\ndata\n\n", &[("message", "\n", "")]),
        (b"data: a\0b\n\n", &[("message", "a\0b", "")]),
        (b"data: a\n\ndata: b\n\n", &[("message", "a", ""), ("message", "b", "")]),
    ]);
}

#[test]
fn names() {
    check(&[
        (b"event: ping\ndata: a\n\n", &[("ping", "a", "")]),
        (b"data: a\nevent:ping\n\n", &[("ping", "a", "")]),
        (b"event: one\nevent: two\ndata: a\n\n", &[("two", "a", "")]),
        (b"event: one\nevent\ndata: a\n\n", &[("message", "a", "")]),
        // Without data it is no event, and its name is forgotten.
        (b"event: ping\n\ndata: a\n\n", &[("message", "a", "")]),
        (b"event: ping\ndata: a\n\ndata: b\n\n", &[("ping", "a", ""), ("message", "b", "")]),
    ]);
}

#[test]
fn ids() {
    check(&[
        (b"id: 1\ndata: a\n\ndata: b\n\n", &[("message", "a", "1"), ("message", "b", "1")]),
        (b"id: 1\n\ndata: a\n\n", &[("message", "a", "1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", &[("message", "a", "1"), ("message", "b", "")]),
        (b"id: 1\nid: 2\0\ndata: a\n\n", &[("message", "a", "1")]),
        (b"id: 1\xFF\ndata: a\n\n", &[("message", "a", "1\u{FFFD}")]),
    ]);
}

#[test]
fn comments_and_unknown_fields() {
    check(&[
        (b": a\ndata: a\n:\n::data: b\n\n", &[("message", "a", "")]),
        (b": keep-alive\n\n: keep-alive\n\n", &[]),
        (b"Data: a\n data: a\ndata : a\ndat: a\ndatas: a\nDATA\n\n", &[]),
        (b"data\xFF: a\nx\ny: z\n \n\n", &[]),
    ]);
}

#[test]
fn byte_order_marks() {
    check(&[
        (b"\xEF\xBB\xBFdata: a\n\n", &[("message", "a", "")]),
        (b"\xEF\xBB\xBF: comment\ndata: a\n\n", &[("message", "a", "")]),
        (b"\xEF\xBB\xBF\ndata: a\n\n", &[("message", "a", "")]),
        (b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\n", &[]),
        (b"\n\xEF\xBB\xBFdata: a\n\n", &[]),
        (b"\xEF\xBBdata: a\n\n", &[]),
        (b"data: \xEF\xBB\xBFa\n\n", &[("message", "\u{FEFF}a", "")]),
    ]);
}

#[test]
fn invalid_text_is_replaced() {
    check(&[
        ("data: é€😀\nevent: ü\n\n".as_bytes(), &[("ü", "é€😀", "")]),
        (b"data: \xFFa\n\n", &[("message", "\u{FFFD}a", "")]),
        (b"data: \xF0\x9F\x98\n\n", &[("message", "\u{FFFD}", "")]),
        (b"data: \xF0\x9F\ndata: \x98\x80\n\n", &[("message", "\u{FFFD}\n\u{FFFD}\u{FFFD}", "")]),
        (b"data: \xED\xA0\x80\xC0\xAF\n\n", &[("message", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}", "")]),
    ]);
}

#[test]
fn retry_takes_digits() {
    for (stream, milliseconds) in [
        (&b"retry: 3000\n"[..], Some(3000)),
        (b"retry:0\n", Some(0)),
        (b"retry: 1\nretry: 2\n", Some(2)),
        (b"retry: 1\nretry: \nretry\nretry: 2s\n", Some(1)),
        (b"retry: 99999999999999999999\n", Some(u64::MAX)),
        (b"retry: 5", None),
        (b"retry: +5\nretry: -5\nretry:  5\nretry: 5 \nretry: 0x5\nretry: 1.5\n", None),
        ("retry: ٣\n".as_bytes(), None),
    ] {
        let expected = milliseconds.map(Duration::from_millis);
        assert_eq!(decode([stream], ENOUGH).retry, expected, "{}", stream.escape_ascii());
        check_cuts(stream, ENOUGH);
    }
}

#[test]
fn an_unfinished_event_is_none_and_shows() {
    for (stream, is_inside) in [
        (&b""[..], false),
        (b"data: a\n\n", false),
        (b"data: a\r\r", false),
        (b"data: a\n\n: bye", false),
        (b"data: a\n\n: bye\n", false),
        (b"\xEF\xBB\xBF", false),
        (b"\xEF\xBB\xBF: hello", false),
        (b"\xEF\xBB", true),
        (b"d", true),
        (b"data: a", true),
        (b"data: a\n", true),
        (b"data: a\r\n: comment\r\n", true),
        (b"event: ping\n", true),
        (b"id: 1\n", true),
    ] {
        assert_eq!(decode([stream], ENOUGH).is_inside_event, is_inside, "{}", stream.escape_ascii());
        check_cuts(stream, ENOUGH);
    }
}

#[test]
fn the_limit_counts_an_event_and_not_the_stream() {
    for (stream, limit) in [
        (&b"data: 4\n\n"[..], 7),
        (b"data: 4\r\n:45678\r\nx\r\n\r\n", 14),
        (b"data: 4\n\ndata: 4\n\n:234567\n\n", 7),
        (b"\xEF\xBB\xBFdata\n\n", 7),
    ] {
        assert!(!decode([stream], limit).is_too_long, "{}", stream.escape_ascii());
        assert!(decode([stream], limit - 1).is_too_long, "{}", stream.escape_ascii());
        check_cuts(stream, limit - 1);
    }
}

#[test]
fn events_before_one_too_long_are_kept() {
    let mut decoder = Decoder::with_limit(7);
    assert_eq!(decoder.push(b"data: 1\n\ndata: 22\n\ndata: 3\n\n"), Err(TooLong { limit: 7 }));
    assert_eq!(decoder.by_ref().map(|event| event.data).collect::<Vec<_>>(), ["1"]);
    assert_eq!(decoder.push(b""), Err(TooLong { limit: 7 }));
    assert_eq!(decoder.push(b"\n\ndata: 4\n\n"), Err(TooLong { limit: 7 }));
    assert_eq!(decoder.next(), None);
    assert!(decoder.is_inside_event());
    assert_eq!(TooLong { limit: 7 }.to_string(), "an event of the stream is longer than the 7 bytes allowed");
}

/// How many bytes a decoder has allocated, apart from events to be taken.
fn held(decoder: &Decoder) -> usize {
    let data = decoder.data.as_ref().map_or(0, Vec::capacity);
    decoder.line.capacity() + decoder.name.capacity() + data + decoder.id.len()
}

/// Pushes a piece again and again until the decoder fails, and returns how many bytes it took and held at most.
fn flood(start: &[u8], piece: &[u8]) -> (usize, usize) {
    let mut decoder = Decoder::new();
    decoder.push(start).unwrap();
    let (mut taken, mut most) = (0, 0);
    while decoder.push(piece).is_ok() {
        taken += piece.len();
        most = most.max(held(&decoder));
        assert!(taken < 10 * ENOUGH, "a flood without end is taken");
    }
    (taken, most)
}

#[test]
fn floods_end_at_the_limit() {
    for (start, piece) in [
        (&b""[..], &b"x"[..]),
        (b"data: ", &[b'x'; 8192]),
        (b"", b"data: x\n"),
        (b"event: ", &[b'x'; 8192]),
        (b"id: ", &[0xFF; 8192]),
        (b"", b"unknown: x\r\n"),
    ] {
        let (taken, most) = flood(start, piece);
        assert!(taken <= 2 * ENOUGH, "{taken} bytes of {}", piece.escape_ascii());
        assert!(most <= 4 * ENOUGH, "{most} bytes held of {}", piece.escape_ascii());
    }
    for (start, piece) in [(&b":"[..], &[b'x'; 8192][..]), (b"", b": x\n"), (b"", b": x\r\n: ")] {
        let (taken, most) = flood(start, piece);
        assert!(taken <= 2 * ENOUGH && most <= 16, "{most} bytes held of {taken} bytes of comments");
    }
}

#[test]
fn a_long_id_is_not_copied_for_each_event() {
    let mut decoder = Decoder::new();
    decoder.push(&[b"id: ", &[b'x'; 1 << 19][..], b"\n\n"].concat()).unwrap();
    decoder.push(&b"data\n\n".repeat(1000)).unwrap();
    let events: Vec<_> = decoder.by_ref().collect();
    assert_eq!(events.len(), 1000);
    assert!(events.iter().all(|event| Arc::ptr_eq(&event.id, &decoder.id)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_cut_gives_what_the_standard_says(stream in streams::lines()) {
        check_cuts(&stream, ENOUGH);
    }

    #[test]
    fn every_cut_gives_the_same_under_a_limit(stream in streams::lines(), limit in 0..40_usize) {
        check_cuts(&stream, limit);
    }

    #[test]
    fn any_bytes_in_any_chunks_give_what_the_standard_says(
        stream in streams::noise(),
        lengths in vec(0..9_usize, 1..20),
        limit in prop_oneof![Just(ENOUGH), 0..60_usize],
    ) {
        let mut rest = &stream[..];
        let mut lengths = lengths.into_iter().chain(iter::repeat(7));
        let chunks = iter::from_fn(|| {
            let (chunk, tail) = rest.split_at(lengths.next()?.min(rest.len()));
            let is_end = rest.is_empty();
            rest = tail;
            (!is_end).then_some(chunk)
        });
        prop_assert_eq!(decode(chunks, limit), model(&stream, limit));
    }
}

#[test]
fn bytes_that_are_no_text_are_noticed() {
    for (bytes, is_lossy) in [
        (&b"data: caf\xc3\xa9\n\n"[..], false),
        (b"data: caf\xc3\n\n", true),
        (b"event: \xff\ndata: a\n\n", true),
        (b"data: \xef\xbf\xbd\n\n", false),
        (b": \xff\n\n", false),
    ] {
        let mut decoder = Decoder::new();
        decoder.push(bytes).unwrap();
        assert_eq!(decoder.is_lossy(), is_lossy, "{bytes:?}");
    }
}
