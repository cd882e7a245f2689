//! The model's vocabulary: text to tokens and back.

use std::ffi::CStr;
use std::ptr::NonNull;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::error::Error;
use crate::sys;

/// A token's id.
pub(crate) type Token = sys::llama_token;

/// The tokens around a text in a pair of two; of each, one or none.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) first: Vec<Token>,
    pub(crate) last: Vec<Token>,
    pub(crate) between: Vec<Token>,
}

/// The vocabulary of a loaded model. Lives inside [`crate::model::Model`], which keeps `raw` alive.
pub(crate) struct Vocab {
    raw: NonNull<sys::llama_vocab>,
    size: u32,
    /// Every text that the tokeniser may read as a control token, and what finds them.
    control_texts: Vec<Vec<u8>>,
    control: AhoCorasick,
    /// Most bytes that one token can stand for, where that is known.
    longest_piece: Option<usize>,
}

impl Vocab {
    /// # Safety
    /// `raw` must be the vocabulary of a model that outlives the result.
    pub(crate) unsafe fn new(raw: NonNull<sys::llama_vocab>) -> Result<Self, String> {
        // SAFETY: `raw` is a valid vocabulary, by this function's contract.
        let (size, kind) = unsafe { (sys::llama_vocab_n_tokens(raw.as_ptr()), sys::llama_vocab_type(raw.as_ptr())) };
        let size = u32::try_from(size).unwrap_or(0);
        let mut vocab = Self {
            raw,
            size,
            control_texts: Vec::new(),
            control: AhoCorasick::new([""; 0]).map_err(|e| e.to_string())?,
            longest_piece: None,
        };
        if kind == sys::LLAMA_VOCAB_TYPE_NONE || size == 0 {
            return Ok(vocab);
        }
        vocab.check_added_tokens()?;
        vocab.control_texts = vocab.find_control_texts();
        // Of its automatons, the one that is built in linear time: a bad file has control tokens of any length.
        let automaton = Some(AhoCorasickKind::ContiguousNFA);
        vocab.control =
            AhoCorasick::builder().kind(automaton).build(&vocab.control_texts).map_err(|e| e.to_string())?;
        // Other kinds of tokenisers drop white space or have one token for any unknown word.
        if matches!(kind, sys::LLAMA_VOCAB_TYPE_BPE | sys::LLAMA_VOCAB_TYPE_SPM) {
            vocab.longest_piece = vocab.tokens().map(|token| vocab.piece(token, false).len()).max();
        }
        Ok(vocab)
    }

    /// The tokeniser asserts that the tokens it adds exist, and an assertion ends the process.
    fn check_added_tokens(&self) -> Result<(), String> {
        let raw = self.raw.as_ptr();
        // SAFETY: `raw` is valid for as long as `self`.
        let (bos, eos) = unsafe {
            (
                (sys::llama_vocab_get_add_bos(raw), sys::llama_vocab_bos(raw)),
                (sys::llama_vocab_get_add_eos(raw), sys::llama_vocab_eos(raw)),
            )
        };
        for (name, (added, token)) in [("beginning", bos), ("end", eos)] {
            if added && !self.contains(token) {
                return Err(format!("its tokeniser adds a {name}-of-sequence token that the vocabulary does not have"));
            }
        }
        Ok(())
    }

    fn find_control_texts(&self) -> Vec<Vec<u8>> {
        self.tokens()
            .filter(|token| {
                // SAFETY: `token` is in the vocabulary, and `raw` is valid for as long as `self`.
                let attributes = unsafe { sys::llama_vocab_get_attr(self.raw.as_ptr(), *token) };
                attributes & (sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN) != 0
            })
            .map(|token| {
                // SAFETY: as above; the text is zero-terminated and lives as long as the vocabulary.
                unsafe { CStr::from_ptr(sys::llama_vocab_get_text(self.raw.as_ptr(), token)) }.to_bytes().to_vec()
            })
            .filter(|text| !text.is_empty())
            .collect()
    }

    fn tokens(&self) -> impl Iterator<Item = Token> + use<> {
        0..Token::try_from(self.size).unwrap_or(Token::MAX)
    }

    pub(crate) fn contains(&self, token: Token) -> bool {
        u32::try_from(token).is_ok_and(|token| token < self.size)
    }

    /// The tokens around a text in a pair of two.
    pub(crate) fn ends(&self) -> Ends {
        let raw = self.raw.as_ptr();
        // SAFETY: `raw` is valid for as long as `self`.
        let (first, last, between) = unsafe {
            let end = sys::llama_vocab_eos(raw);
            let separator = sys::llama_vocab_sep(raw);
            (
                sys::llama_vocab_get_add_bos(raw).then(|| sys::llama_vocab_bos(raw)),
                sys::llama_vocab_get_add_eos(raw).then_some(if self.contains(end) { end } else { separator }),
                sys::llama_vocab_get_add_sep(raw).then_some(separator),
            )
        };
        let known = |token: Option<Token>| token.filter(|token| self.contains(*token)).into_iter().collect();
        Ends { first: known(first), last: known(last), between: known(between) }
    }

    /// The token that texts begin with.
    pub(crate) fn beginning(&self) -> Option<Token> {
        // SAFETY: `raw` is valid for as long as `self`.
        Some(unsafe { sys::llama_vocab_bos(self.raw.as_ptr()) }).filter(|token| self.contains(*token))
    }

    pub(crate) fn raw(&self) -> *const sys::llama_vocab {
        self.raw.as_ptr()
    }

    /// Number of tokens.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Finds the texts of control tokens.
    pub(crate) fn control(&self) -> &AhoCorasick {
        &self.control
    }

    /// The texts of control tokens.
    pub(crate) fn control_texts(&self) -> &[Vec<u8>] {
        &self.control_texts
    }

    /// Fewest tokens that a text of this many bytes can have.
    pub(crate) fn fewest_tokens(&self, bytes: usize) -> usize {
        self.longest_piece.map_or(0, |longest| bytes / longest.max(1))
    }

    /// The tokens that end a generation.
    pub(crate) fn end_tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.tokens().filter(|token| self.is_end(*token))
    }

    /// Whether the token ends a generation.
    pub(crate) fn is_end(&self, token: Token) -> bool {
        // SAFETY: `raw` is valid for as long as `self`; any number is allowed as a token.
        unsafe { sys::llama_vocab_is_eog(self.raw.as_ptr(), token) }
    }

    /// The bytes that a token stands for; none for a control token, unless `special`.
    pub(crate) fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        let mut size = self.write_piece(token, special, &mut bytes);
        if size < 0 {
            bytes.resize(size.unsigned_abs() as usize, 0);
            size = self.write_piece(token, special, &mut bytes);
        }
        bytes.truncate(usize::try_from(size).unwrap_or(0));
        bytes
    }

    fn write_piece(&self, token: Token, special: bool, bytes: &mut [u8]) -> i32 {
        let room = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        // SAFETY: the buffer has `room` bytes, and `raw` is valid for as long as `self`.
        unsafe { sys::llama_token_to_piece(self.raw.as_ptr(), token, bytes.as_mut_ptr().cast(), room, 0, special) }
    }

    /// Turns a text into tokens. `add_special` adds what the model wants around a prompt; `parse_special` reads the
    /// texts of control tokens as these tokens.
    pub(crate) fn tokenize(&self, text: &[u8], add_special: bool, parse_special: bool) -> Result<Vec<Token>, Error> {
        let size = i32::try_from(text.len()).map_err(|_| Error::invalid("the prompt is too long"))?;
        let mut tokens = vec![0; text.len() / 2 + 16];
        let mut count = self.write_tokens(text, size, add_special, parse_special, &mut tokens)?;
        if count < 0 {
            tokens.resize(count.unsigned_abs() as usize, 0);
            count = self.write_tokens(text, size, add_special, parse_special, &mut tokens)?;
        }
        let count =
            usize::try_from(count).map_err(|_| Error::Internal("the tokeniser disagrees with itself".to_owned()))?;
        tokens.truncate(count);
        Ok(tokens)
    }

    fn write_tokens(&self, text: &[u8], size: i32, add: bool, parse: bool, tokens: &mut [Token]) -> Result<i32, Error> {
        let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
        let mut count = 0;
        sys::call(|error| {
            // SAFETY: text and tokens have the sizes that are passed, and `raw` is valid for as long as `self`.
            unsafe {
                sys::sipp_tokenize(
                    self.raw.as_ptr(),
                    text.as_ptr().cast(),
                    size,
                    add,
                    parse,
                    tokens.as_mut_ptr(),
                    room,
                    &mut count,
                    error,
                )
            }
        })
        .map_err(|failure| Error::Internal(format!("the prompt could not be tokenised: {}", failure.message)))?;
        Ok(count)
    }
}
