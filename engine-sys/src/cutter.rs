//! Turns the bytes of tokens into text that can be shown at once and never has to be taken back.
//!
//! Two things make a token's text unready: it may end inside a UTF-8 character, and it may begin a stop text. The
//! cutter holds exactly that much and releases it when the matter is decided. The result does not depend on how the
//! text was split into tokens: it is the whole text, decoded as `String::from_utf8_lossy` does, up to where the first
//! stop text in it begins.

use std::collections::VecDeque;

/// Text that became ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// The text; whole characters.
    pub(crate) text: String,
    /// Number of tokens whose last byte is in `text`, or was cut off after it.
    pub(crate) tokens: u32,
    /// Whether a stop text was met. Nothing may be pushed after it.
    pub(crate) stopped: bool,
}

/// Holds what is not yet ready.
#[derive(Debug)]
pub(crate) struct Cutter {
    stops: Vec<String>,
    /// The start of a character whose end has not come.
    tail: Vec<u8>,
    /// Decoded text that may belong to a stop text.
    held: String,
    /// Bytes pushed so far.
    pushed: usize,
    /// Bytes of text released so far.
    released: usize,
    /// For each token whose last byte is still in `tail`: `pushed` after it.
    undecoded: VecDeque<usize>,
    /// For each token whose last byte is in `held`: where it ends, counted as `released` is.
    ends: VecDeque<usize>,
}

impl Cutter {
    /// A cutter for these stop texts, none of which is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            tail: Vec::new(),
            held: String::new(),
            pushed: 0,
            released: 0,
            undecoded: VecDeque::new(),
            ends: VecDeque::new(),
        }
    }

    /// Takes the bytes of one token.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Cut {
        self.pushed += piece.len();
        self.undecoded.push_back(self.pushed);
        self.tail.extend_from_slice(piece);
        self.decode();
        let partial = self.partial_stop();
        match self.stop() {
            Some(start) if partial.is_none_or(|partial| start < partial) => self.end(start),
            found => {
                // A stop text is complete, but one that began before it may be completed too.
                let ready = partial.unwrap_or(self.held.len()).min(found.unwrap_or(usize::MAX));
                self.release(ready)
            }
        }
    }

    /// Ends the text and releases what is held, up to a stop text.
    pub(crate) fn finish(&mut self) -> Cut {
        let tail = std::mem::take(&mut self.tail);
        self.held.push_str(&String::from_utf8_lossy(&tail));
        match self.stop() {
            Some(start) => self.end(start),
            None => self.end(self.held.len()).unstopped(),
        }
    }

    /// Moves every whole character from `tail` to `held`. Bytes that cannot become one turn into U+FFFD.
    fn decode(&mut self) {
        let mut decoded = 0;
        while let Some(rest) = self.tail.get(decoded..) {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    decoded = self.tail.len();
                    break;
                }
                Err(error) => {
                    let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    decoded += valid.len();
                    let Some(invalid) = error.error_len() else { break };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    decoded += invalid;
                }
            }
        }
        self.tail.drain(..decoded);
        let decoded = self.pushed - self.tail.len();
        let end = self.released + self.held.len();
        while self.undecoded.front().is_some_and(|pushed| *pushed <= decoded) {
            self.undecoded.pop_front();
            self.ends.push_back(end);
        }
    }

    /// Where in `held` the first whole stop text begins.
    fn stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Where in `held` the longest end begins that may become a stop text.
    fn partial_stop(&self) -> Option<usize> {
        let held = self.held.as_bytes();
        let longest = self.stops.iter().map(String::len).max()?.saturating_sub(1).min(held.len());
        (held.len() - longest..held.len()).find(|start| {
            let end = held.get(*start..).unwrap_or_default();
            self.stops.iter().any(|stop| stop.len() > end.len() && stop.as_bytes().starts_with(end))
        })
    }

    fn release(&mut self, size: usize) -> Cut {
        let text: String = self.held.drain(..size).collect();
        self.released += size;
        let mut tokens = 0;
        while self.ends.front().is_some_and(|end| *end <= self.released) {
            self.ends.pop_front();
            tokens += 1;
        }
        Cut { text, tokens, stopped: false }
    }

    /// Releases `size` bytes, drops the rest and counts every token.
    fn end(&mut self, size: usize) -> Cut {
        let mut cut = self.release(size);
        cut.tokens += u32::try_from(self.ends.len() + self.undecoded.len()).unwrap_or(u32::MAX);
        cut.stopped = true;
        self.held.clear();
        self.tail.clear();
        self.ends.clear();
        self.undecoded.clear();
        cut
    }
}

impl Cut {
    fn unstopped(self) -> Self {
        Self { stopped: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cutter(stops: &[&str]) -> Cutter {
        Cutter::new(stops.iter().map(|stop| (*stop).to_owned()).collect())
    }

    fn cut(text: &str, tokens: u32, stopped: bool) -> Cut {
        Cut { text: text.to_owned(), tokens, stopped }
    }

    #[test]
    fn holds_the_start_of_a_stop_text_and_releases_it() {
        let mut cutter = cutter(&["<end>"]);
        assert_eq!(cutter.push(b"a<"), cut("a", 0, false));
        assert_eq!(cutter.push(b"e"), cut("", 0, false));
        assert_eq!(cutter.push(b"x"), cut("<ex", 3, false));
        assert_eq!(cutter.push(b"<end>b"), cut("", 1, true));
    }

    #[test]
    fn holds_the_start_of_a_character() {
        let mut cutter = cutter(&[]);
        assert_eq!(cutter.push(b"\xE2"), cut("", 0, false));
        assert_eq!(cutter.push(b"\x82\xAC\xE2"), cut("€", 1, false));
        assert_eq!(cutter.push(b"\xFF"), cut("\u{FFFD}\u{FFFD}", 2, false));
        assert_eq!(cutter.push(b"\xF0\x9F"), cut("", 0, false));
        assert_eq!(cutter.finish(), cut("\u{FFFD}", 1, false));
    }

    #[test]
    fn the_stop_text_that_begins_first_wins_even_if_it_ends_last() {
        let mut longer = cutter(&["abcd", "bc"]);
        assert_eq!(longer.push(b"xabc"), cut("x", 0, false));
        assert_eq!(longer.push(b"d"), cut("", 2, true));
        let mut shorter = cutter(&["abcd", "bc"]);
        assert_eq!(shorter.push(b"xabc"), cut("x", 0, false));
        assert_eq!(shorter.push(b"e"), cut("a", 2, true));
        let mut ended = cutter(&["abcd", "bc"]);
        assert_eq!(ended.push(b"xabc"), cut("x", 0, false));
        assert_eq!(ended.finish(), cut("a", 1, true));
    }

    #[test]
    fn tokens_without_bytes_count() {
        let mut cutter = cutter(&["."]);
        assert_eq!(cutter.push(b""), cut("", 1, false));
        assert_eq!(cutter.push(b"a"), cut("a", 1, false));
        assert_eq!(cutter.finish(), cut("", 0, false));
    }

    /// Pushes all pieces, and checks that nothing comes after a stop.
    fn stream(stops: &[String], pieces: &[Vec<u8>]) -> (Vec<Cut>, usize) {
        let mut cutter = Cutter::new(stops.to_vec());
        let mut cuts = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            cuts.push(cutter.push(piece));
            if cuts.last().is_some_and(|cut| cut.stopped) {
                return (cuts, index + 1);
            }
        }
        cuts.push(cutter.finish());
        (cuts, pieces.len())
    }

    fn pieces(bytes: &[u8], splits: &[usize]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        for split in splits {
            let (piece, after) = rest.split_at((*split).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        pieces
    }

    /// Few letters, so that stop texts overlap with the text and with each other.
    fn letters() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof![Just('a'), Just('b'), Just('é'), Just('€'), Just('😀')], 1..6)
            .prop_map(|letters| letters.into_iter().collect())
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let letters = proptest::collection::vec(letters(), 0..12).prop_map(|texts| texts.concat().into_bytes());
        let broken =
            proptest::collection::vec(prop_oneof![Just(0xE2u8), Just(0x82), Just(0xAC), Just(b'a'), Just(0xFF)], 0..40);
        prop_oneof![3 => letters, 1 => broken]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_split_gives_the_text_up_to_its_first_stop(
            bytes in bytes(),
            splits in proptest::collection::vec(0usize..5, 0..40),
            stops in proptest::collection::vec(letters(), 0..4),
        ) {
            let pieces = pieces(&bytes, &splits);
            let (cuts, used) = stream(&stops, &pieces);
            let text: String = cuts.iter().map(|cut| cut.text.as_str()).collect();

            let whole = String::from_utf8_lossy(&bytes).into_owned();
            let end = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            prop_assert_eq!(&text, &whole[..end.unwrap_or(whole.len())]);
            prop_assert_eq!(cuts.last().is_some_and(|cut| cut.stopped), end.is_some());

            // Every token that was pushed is counted once.
            let counted: u32 = cuts.iter().map(|cut| cut.tokens).sum();
            prop_assert_eq!(counted as usize, used);
        }

        #[test]
        fn nothing_is_held_longer_than_needed(
            text in letters(),
            stops in proptest::collection::vec(letters(), 0..4),
        ) {
            let mut cutter = Cutter::new(stops.clone());
            let cut = cutter.push(text.as_bytes());
            let held = text.len() - cut.text.len();
            let longest = stops.iter().map(String::len).max().unwrap_or(0);
            prop_assert!(cut.stopped || held <= longest.saturating_sub(1) || stops.iter().any(|stop| text.contains(stop.as_str())));
        }
    }
}
