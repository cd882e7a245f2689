//! llama.cpp's own server, as a Python package carries it, in a process beside this one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sipp_tests::companion::Companion;
use sipp_tests::memory::anonymous;

use crate::streams::{Asked, CONTEXT, SLOTS, Seen, Way};

/// Starts the server.
const LAUNCHER: &str = include_str!("peer.py");

pub(crate) struct Peer {
    server: Companion,
    /// Memory of its process before there was a model.
    before: u64,
}

impl Peer {
    pub(crate) fn start(python: &Path, model: &Path, threads: u32) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-c", LAUNCHER]).arg(model).args([threads, SLOTS, CONTEXT].map(|number| number.to_string()));
        let server = Companion::start(&mut command)
            .with_context(|| format!("llama.cpp's server does not start with {}", python.display()))?;
        let before = server.told().context("it does not tell its memory")?.parse()?;
        Ok(Self { server, before })
    }

    /// Where it listens, without a scheme.
    fn address(&self) -> &str {
        self.server.url().trim_start_matches("http://").trim_end_matches('/')
    }
}

impl Way for Peer {
    fn answer(&self, asked: &Asked) -> Result<Seen> {
        let body = json!({
            "prompt": asked.prompt, "n_predict": asked.tokens, "temperature": 0, "ignore_eos": true, "stream": true,
            "cache_prompt": true,
        })
        .to_string();
        let sent = Instant::now();
        let mut connection = TcpStream::connect(self.address())?;
        connection.set_nodelay(true)?;
        write!(
            connection,
            "POST /completion HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address(),
            body.len()
        )?;
        let (mut tokens, mut end) = (Vec::new(), Value::Null);
        // Each event is a chunk of its own, so its line is whole.
        for line in BufReader::new(connection).lines() {
            let line = line?;
            let Some(event) = line.strip_prefix("data: ").and_then(|text| serde_json::from_str::<Value>(text).ok())
            else {
                continue;
            };
            if event.get("content").and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
                tokens.push(Instant::now());
            }
            if event.get("stop") == Some(&Value::Bool(true)) {
                end = event;
            }
        }
        let number = |name: &str| end.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        ensure!(number("tokens_predicted") == Some(asked.tokens), "it wrote {end}");
        Ok(Seen { read: number("tokens_evaluated").context("it does not say what it read")?, sent, tokens })
    }

    fn memory(&self) -> Option<u64> {
        Some(anonymous(&self.server.id().to_string())?.saturating_sub(self.before))
    }
}
