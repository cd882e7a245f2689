//! `sipp query`, and what it shares with `sipp chat`: one answer, shown as it is made.

use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use sipp::{CancelReason, Error, FinishReason, QueryRequest, TextResponse, TextRun};
use tokio::signal::ctrl_c;

use crate::args::{ModelArgs, OutputArgs, TextArgs};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::{input, load};

/// Continues a raw prompt.
///
/// The model sees PROMPT as it is, without a chat template: it continues the text.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several.
    model: PathBuf,
    /// The prompt; `-`, or none, reads it from standard input.
    ///
    /// One line break at the end of standard input is left out.
    prompt: Option<String>,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    load: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Runs `sipp query`.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { model, load, prompt, text, output } = arguments;
    let prompt = input::prompt(prompt)?.ok_or_else(input::missing)?;
    let descriptor = text.describe(load.descriptor(&model));
    let settings = text.settings()?;
    let unlimited = settings.options.max_tokens.is_none();
    let client = load::model(descriptor, output.quiet).await?;
    let request = QueryRequest {
        prompt,
        options: settings.options,
        local: Some(settings.local),
        context: settings.context,
        ..QueryRequest::default()
    };
    let response = stream(client.query(request), &mut Output::new(output), unlimited).await?;
    Ok(exit(&response))
}

/// Shows an answer as it comes. Ctrl-C stops it; what was written until then stays.
///
/// `unlimited` says that the request has no limit of its own, so that one that was met is worth a word.
pub(crate) async fn stream(mut run: TextRun, output: &mut Output, unlimited: bool) -> Result<TextResponse, Failure> {
    let mut interrupt = pin!(ctrl_c());
    let mut interrupted = false;
    loop {
        tokio::select! {
            // In this order: the signal is heard from before the first token on, however fast they come.
            biased;
            pressed = &mut interrupt, if !interrupted => {
                pressed.map_err(Failure::System)?;
                interrupted = true;
                run.cancel(CancelReason::CallerCancelled);
            }
            batch = run.next() => match batch {
                Some(batch) => output.batch(&batch)?,
                None => break,
            },
        }
    }
    let response = match run.await {
        Err(Error::Cancelled(_)) if interrupted => return Err(Failure::Interrupted),
        ended => ended?,
    };
    output.response(&response)?;
    if response.cancelled == Some(CancelReason::DeadlineExceeded) {
        output.note("error: the deadline passed, so the answer is not complete");
    } else if response.finish_reason == FinishReason::Length && unlimited {
        output.note("note: the answer ends because the context is full; raise --ctx-size for a longer one");
    }
    Ok(response)
}

/// How an answer ended, as an exit code.
pub(crate) fn exit(response: &TextResponse) -> Exit {
    match response.cancelled {
        None => Exit::Success,
        Some(CancelReason::CallerCancelled) => Exit::Interrupted,
        Some(CancelReason::DeadlineExceeded | CancelReason::ClientDisconnected | CancelReason::ServerShutdown) => {
            Exit::Failure
        }
    }
}
