//! Processes beside this one: the upstream and the peer, whose time and memory must not count as ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::upstream;

/// A server that runs for as long as it is held.
pub(crate) struct Companion {
    child: Child,
    url: String,
}

impl Companion {
    /// The upstream: this program in another role.
    pub(crate) fn upstream() -> Result<Self> {
        let program = std::env::current_exe()?;
        Self::start(Command::new(program).arg(upstream::ROLE)).context("the upstream does not start")
    }

    /// A program that writes its server's URL as its first line, and ends with its input.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut companion = Self { child, url: String::new() };
        let output = companion.child.stdout.take().context("it has no output")?;
        BufReader::new(output).read_line(&mut companion.url)?;
        companion.url.truncate(companion.url.trim_end().len());
        ensure!(companion.url.starts_with("http://"), "it ended, or wrote no URL");
        Ok(companion)
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
