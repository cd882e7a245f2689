//! Where a prompt comes from: the command line, or standard input.

use std::io::{self, IsTerminal};

use crate::exit::Failure;

/// The prompt: the argument; or standard input, if the argument is `-`, or is missing and standard input is not a
/// terminal. None if a person sits there and gave no prompt.
///
/// One line break at the end of standard input is left out, because `echo` and editors put one there.
pub(crate) fn prompt(argument: Option<String>) -> Result<Option<String>, Failure> {
    match argument.as_deref() {
        None if io::stdin().is_terminal() => Ok(None),
        None | Some("-") => {
            let mut text = read()?;
            text.truncate(without_break(&text).len());
            if text.is_empty() {
                return Err(Failure::Usage("standard input is empty; give a prompt".to_owned()));
            }
            Ok(Some(text))
        }
        Some(_) => Ok(argument),
    }
}

/// The only word where there is one prompt.
pub(crate) fn only(mut words: Vec<String>) -> Result<Option<String>, Failure> {
    if words.len() > 1 {
        return Err(Failure::Usage(
            "there is more than one prompt; quote it, and name no file beside --provider or --gateway".to_owned(),
        ));
    }
    Ok(words.pop())
}

/// What is said where a prompt is needed and there is none.
pub(crate) fn missing() -> Failure {
    Failure::Usage("there is no prompt; give one, or pipe one in".to_owned())
}

/// The texts to embed: the arguments; or the lines of standard input, if there are none or the only one is `-`.
pub(crate) fn texts(arguments: Vec<String>) -> Result<Vec<String>, Failure> {
    match arguments.as_slice() {
        [] if io::stdin().is_terminal() => {
            Err(Failure::Usage("there is nothing to embed; give texts, or pipe them in, one on each line".to_owned()))
        }
        [] => lines(),
        [only] if only == "-" => lines(),
        _ => Ok(arguments),
    }
}

fn lines() -> Result<Vec<String>, Failure> {
    let lines: Vec<_> = read()?.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::Usage("standard input is empty; give texts, one on each line".to_owned()));
    }
    Ok(lines)
}

fn read() -> Result<String, Failure> {
    io::read_to_string(io::stdin()).map_err(Failure::Input)
}

fn without_break(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_left_out() {
        assert_eq!(without_break("a\n"), "a");
        assert_eq!(without_break("a\r\n"), "a");
        assert_eq!(without_break("a\n\n"), "a\n");
        assert_eq!(without_break(" a "), " a ");
    }
}
