//! Any bytes, in chunks of any length and under any limit, give what the standard says.

#![no_main]

#[path = "../../src/tests/model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use sse::{Decoder, Event};

// Two bytes steer, the rest is the stream: so a corpus can be read and written by hand.
fuzz_target!(|input: &[u8]| {
    let [length, limit, stream @ ..] = input else { return };
    let limit = if *limit == u8::MAX { Decoder::DEFAULT_LIMIT } else { usize::from(*limit) };
    let expected = model::model(stream, limit);
    assert_eq!(model::decode(stream.chunks(usize::from(*length).max(1)), limit), expected);
    assert_eq!(model::decode([stream], limit), expected);
});
