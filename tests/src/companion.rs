//! Processes beside a measurement: upstreams and peers, whose time and memory must not count as ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A server that runs for as long as it is held.
pub struct Companion {
    child: Child,
    /// What it wrote as its first line.
    line: String,
}

impl Companion {
    /// Starts a program that writes its server's URL as its first line, perhaps with more behind a space, and ends with
    /// its input.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or writes no URL.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut companion = Self { child, line: String::new() };
        let output = companion.child.stdout.take().context("it has no output")?;
        BufReader::new(output).read_line(&mut companion.line)?;
        ensure!(companion.line.starts_with("http://"), "it ended, or wrote no URL");
        Ok(companion)
    }

    /// Where it serves.
    #[must_use]
    pub fn url(&self) -> &str {
        self.line.split_whitespace().next().unwrap_or_default()
    }

    /// What it wrote behind the URL.
    #[must_use]
    pub fn told(&self) -> Option<&str> {
        self.line.split_whitespace().nth(1)
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
