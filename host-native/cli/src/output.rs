//! Answers and failures, in the two forms that the program writes: for people, and as JSON for programs.

use sipp::{Delta, EmbedResponse, TextResponse, TokenBatch};

use crate::args::OutputArgs;
use crate::exit::Failure;
use crate::json::Event;
use crate::screen::{Screen, tell};
use crate::stats;

/// Where answers go, and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    screen: Screen,
    args: OutputArgs,
    line: Line,
}

/// Where the text of an answer that was written so far ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing was written.
    Empty,
    Open,
    Ended,
}

impl Output {
    pub(crate) fn new(args: OutputArgs) -> Self {
        Self { screen: Screen::new(), args, line: Line::Empty }
    }

    /// Shows tokens as they come.
    pub(crate) fn batch(&mut self, batch: &TokenBatch) -> Result<(), Failure> {
        if self.args.json {
            return self.line(&Event::from(batch));
        }
        match &batch.delta {
            Delta::Text(text) => self.text(text),
            // Not part of the answer. A note at its end tells of tools.
            Delta::Reasoning(_) | Delta::ToolCall(_) => Ok(()),
        }
    }

    /// Ends an answer whose tokens were shown.
    pub(crate) fn response(&mut self, response: &TextResponse) -> Result<(), Failure> {
        if self.args.json {
            self.line(&Event::from(response))?;
        } else {
            self.end_line()?;
        }
        if self.args.stats {
            tell(&stats::block(response.stats.as_ref(), response.usage.as_ref()));
        }
        Ok(())
    }

    /// Tells a person what the answer does not show. `--json` says it in the answer.
    pub(crate) fn note(&self, text: &str) {
        if !self.args.json {
            tell(text);
        }
    }

    /// Shows vectors: for people one line each, as numbers with spaces between them.
    pub(crate) fn vectors(&mut self, response: &EmbedResponse) -> Result<(), Failure> {
        let embedding = &response.embedding;
        for (index, vector) in embedding.vectors.iter().enumerate() {
            if self.args.json {
                self.line(&Event::Embedding { index, embedding: vector })?;
            } else {
                let numbers: Vec<_> = vector.iter().map(f32::to_string).collect();
                self.screen.write(&format!("{}\n", numbers.join(" ")))?;
            }
        }
        if self.args.json {
            self.line(&Event::from(response))?;
        }
        if self.args.stats {
            tell(&stats::block(embedding.stats.as_ref(), embedding.usage.as_ref()));
        }
        Ok(())
    }

    /// Ends the line of an answer that failed in the middle, so that what is said of it has a line of its own.
    pub(crate) fn break_off(&mut self) -> Result<(), Failure> {
        if self.line == Line::Open { self.end_line() } else { Ok(()) }
    }

    /// Ends the line that an answer left open. An answer has at least one line.
    fn end_line(&mut self) -> Result<(), Failure> {
        if self.line != Line::Ended {
            self.screen.write("\n")?;
        }
        self.line = Line::Empty;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.line = if text.ends_with('\n') { Line::Ended } else { Line::Open };
        self.screen.write(text)
    }

    fn line(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        self.screen.write(&line(event)?)
    }
}

/// Says why something failed: as the last line of `--json`, or else on standard error.
pub(crate) fn report(failure: &Failure, json: bool) {
    let written = || line(&Event::from(failure)).and_then(|line| Screen::new().write(&line)).is_ok();
    if (json && written()) || failure.is_silent() {
        return;
    }
    tell(&format!("error: {failure}"));
    if let Some(hint) = failure.hint() {
        tell(&format!("hint: {hint}"));
    }
}

/// One line of JSON.
pub(crate) fn line(value: &impl serde::Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
    Ok(json + "\n")
}
