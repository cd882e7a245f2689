//! The program under test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output of a run that had nothing to complain about.
    pub(crate) fn answer(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        &self.stdout
    }

    /// Standard output as one JSON value for each line.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("a signal ended the program"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo.gguf").canonicalize().unwrap()
}

/// The program with these arguments. `DEMO` stands for the demo model.
pub(crate) fn sipp(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipp"));
    for argument in arguments {
        if *argument == "DEMO" {
            command.arg(demo())
        } else {
            command.arg(argument)
        };
    }
    command
}

/// Runs the program with an empty standard input.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    sipp(arguments).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs the program and writes to its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let piped = Stdio::piped;
    let mut child = sipp(arguments).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

/// A run as a person would see it: the command, and what the program said.
pub(crate) fn said(arguments: &[&str], ended: &Ended) -> String {
    format!("$ sipp {}\n{}{}exit {}\n\n", arguments.join(" "), ended.stdout, ended.stderr, ended.code)
}

/// Text without what differs from run to run: every number becomes `N`, and columns get one space between them.
pub(crate) fn redact(text: &str) -> String {
    let mut redacted = String::new();
    for line in text.lines() {
        let words = line.split_whitespace().map(|word| {
            let digits = word.trim_end_matches(',');
            let is_number = digits.chars().all(|character| character.is_ascii_digit() || ".,".contains(character));
            if is_number && !digits.is_empty() { word.replace(digits, "N") } else { word.to_owned() }
        });
        redacted += &(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    redacted
}
