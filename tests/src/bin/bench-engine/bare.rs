//! The limit: llama.cpp's own calls with nothing around them.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, bail};
use engine_sys::Bare as Loop;

use crate::streams::{Asked, CONTEXT, Seen, Way};

pub(crate) struct Bare(Mutex<Loop>);

impl Bare {
    pub(crate) fn load(model: &Path, threads: u32) -> Result<Self> {
        Ok(Self(Mutex::new(Loop::load(model, CONTEXT, threads)?)))
    }
}

impl Way for Bare {
    fn answer(&self, asked: &Asked) -> Result<Seen> {
        let Ok(mut bare) = self.0.lock() else { bail!("a thread failed") };
        let sent = Instant::now();
        let mut tokens = Vec::new();
        let read = bare.answer(&asked.prompt, asked.tokens, || tokens.push(Instant::now()))?;
        Ok(Seen { read, sent, tokens })
    }

    fn memory(&self) -> Option<u64> {
        None
    }
}
