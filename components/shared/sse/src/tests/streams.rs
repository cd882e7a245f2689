//! Streams to try, made so that the rare becomes common.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Lines of fields, comments and nothing, the last of them perhaps cut off.
pub(super) fn lines() -> impl Strategy<Value = Vec<u8>> {
    let mark = prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2)].prop_map(|count| "\u{FEFF}".repeat(count));
    (mark, vec(line(), 0..12), line(), 0..12_usize).prop_map(|(mark, lines, mut last, length)| {
        last.truncate(length);
        [mark.into_bytes(), lines.concat(), last].concat()
    })
}

/// Bytes without order, of which many mean something.
pub(super) fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = one_of(&["data", "event", "id", "retry", ":", ": ", "\r", "\n", "\r\n", "\n\n", "\0", "\u{FEFF}", "7"]);
    vec(prop_oneof![3 => word, 1 => vec(any::<u8>(), 1..4)], 0..40).prop_map(|words| words.concat())
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        6 => one_of(&["data"]),
        3 => one_of(&["event", "id", "retry"]),
        1 => one_of(&["", "other", "Data", " data", "data\u{FEFF}"]),
    ];
    let contents = (field, one_of(&[":", ": ", ":  ", ""]), value());
    let contents = contents.prop_map(|(field, colon, value)| [field, colon, value].concat());
    (prop_oneof![3 => contents, 2 => Just(Vec::new())], one_of(&["\n", "\r", "\r\n"]))
        .prop_map(|(contents, end)| [contents, end].concat())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => one_of(&["a", "é", "€", "😀", " ", ":", "\0", "\u{FEFF}"]),
        2 => any::<u16>().prop_map(|number| number.to_string().into_bytes()),
        1 => vec(0x80_u8.., 1..3),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    select(words).prop_map(|word| word.as_bytes().to_vec())
}
