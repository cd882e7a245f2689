//! Runs other programs: shows what runs, and says what failed.
//!
//! A verb is mostly a sequence of programs; a person who reads its output must be able to repeat each step by hand.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's own words that an error repeats.
const KEPT_LINES: usize = 4;

/// The command as a person would type it here, without its environment.
pub(crate) fn text(command: &Command) -> String {
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy().into_owned();
        if word.is_empty() || word.contains([' ', '"', '\'', '$', '*']) { format!("'{word}'") } else { word }
    };
    let program = PathBuf::from(command.get_program());
    let name = program.file_stem().map_or_else(|| quoted(command.get_program()), quoted);
    let mut words = vec![name];
    words.extend(command.get_args().map(quoted));
    let text = words.join(" ");
    match command.get_current_dir().and_then(below_here) {
        Some(folder) => format!("(cd {} && {text})", folder.display()),
        None => text,
    }
}

/// A folder below the one that we are in, from here on.
fn below_here(folder: &Path) -> Option<PathBuf> {
    let relative = folder.strip_prefix(env::current_dir().ok()?).ok()?;
    (!relative.as_os_str().is_empty()).then(|| relative.to_owned())
}

/// Shows the command and runs it; its output goes where ours goes.
///
/// # Errors
/// When it cannot be started or reports a failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = text(command);
    eprintln!("$ {text}");
    let status = command.status().with_context(|| format!("`{text}` cannot be started"))?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(())
}

/// As [`run`], but an error repeats the program's last words. For programs that are one of several ways.
///
/// # Errors
/// When it cannot be started or reports a failure.
pub(crate) fn attempt(command: &mut Command) -> Result<()> {
    let text = text(command);
    eprintln!("$ {text}");
    let mut child = command
        // rustup's last words would be a backtrace.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{text}` cannot be started"))?;
    let mut last = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("  {line}");
            last.push_back(line);
            if last.len() > KEPT_LINES {
                last.pop_front();
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{text}` failed ({status}): {}", Vec::from(last).join(" / "));
    }
    Ok(())
}

/// What the command writes, without showing anything.
///
/// # Errors
/// When it cannot be started or reports a failure; its own words are in the error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let text = text(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{text}` cannot be started"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`{text}` failed ({}): {}", output.status, words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Where a program is on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(&file)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--", "a name"]).env("HIDDEN", "1");
        assert_eq!(text(&command), "cargo test -- 'a name'");
        command.current_dir(env::current_dir().unwrap().join("below/it"));
        assert_eq!(text(&command), "(cd below/it && cargo test -- 'a name')");
    }

    #[cfg(unix)]
    #[test]
    fn a_failed_way_repeats_its_last_words() {
        let error = attempt(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no luck"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = read(&mut Command::new("sipp-no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "`sipp-no-such-program` cannot be started");
    }
}
