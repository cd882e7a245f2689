//! Text that somebody else wrote, made safe for a terminal.
//!
//! A model's output, and a model file's metadata, may hold escape sequences that move the cursor, retitle the window
//! or answer questions in the reader's name. On a terminal they are shown instead of obeyed; files and pipes get every
//! byte unchanged.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stderr, Stdout, Write};

use crate::exit::Failure;

/// Control characters as escapes, such as `\u{1b}`, but for line breaks and tabs.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |character: char| {
        let escaped = is_control(character).then(|| character.escape_default());
        let plain = escaped.is_none().then_some(character);
        escaped.into_iter().flatten().chain(plain)
    };
    Cow::Owned(text.chars().flat_map(shown).collect())
}

/// C0 and C1 control characters and DEL: C1 holds one-character forms of the same sequences.
fn is_control(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
}

/// Standard output, for answers.
#[derive(Debug)]
pub(crate) struct Screen {
    stdout: Stdout,
    terminal: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { stdout, terminal }
    }

    /// Writes text at once, so that an answer is seen as it is made.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        let text = if self.terminal { escape(text) } else { Cow::Borrowed(text) };
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }
}

/// Says something to the person, on standard error.
pub(crate) fn tell(text: &str) {
    let mut stderr: Stderr = io::stderr();
    let text = if stderr.is_terminal() { escape(text) } else { Cow::Borrowed(text) };
    // Where nobody can be told, nobody can be told that either.
    let _ = writeln!(stderr, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(escape("a\tb\nc"), "a\tb\nc");
        assert_eq!(escape("\u{1b}[2J\u{7}\r"), r"\u{1b}[2J\u{7}\r");
        assert_eq!(escape("\u{9b}31m\u{7f}"), r"\u{9b}31m\u{7f}");
        assert_eq!(escape("grün 日本"), "grün 日本");
    }
}
