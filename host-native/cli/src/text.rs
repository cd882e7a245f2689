//! `sipp query`, and what it shares with `sipp chat`: one answer, shown as it is made.

use std::pin::pin;

use clap::Args;
use sipp::{CancelReason, Error, FinishReason, TextResponse, TextRun};
use tokio::signal::ctrl_c;

use crate::args::{ModelArgs, OutputArgs, TextArgs};
use crate::endpoint::Endpoint;
use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::Output;
use crate::remote::RemoteArgs;

const USAGE: &str = "\
sipp query [OPTIONS] <FILE> [PROMPT]
       sipp query [OPTIONS] --provider <NAME> --model <NAME> [PROMPT]
       sipp query [OPTIONS] --gateway <URL> --target <NAME> [PROMPT]";

/// Continues a raw prompt.
///
/// The model sees PROMPT as it is, without a chat template: it continues the text.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several. None with --provider or --gateway.
    #[arg(value_name = "FILE")]
    model: Option<String>,
    /// The prompt; `-`, or none, reads it from standard input.
    ///
    /// One line break at the end of standard input is left out.
    prompt: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    load: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Runs `sipp query`.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { model, remote, load, prompt, text, output } = arguments;
    let (model, prompt) = remote.split(model, prompt.into_iter().collect())?;
    let prompt = input::only(prompt).and_then(input::prompt)?.ok_or_else(input::missing)?;
    let endpoint = Endpoint::open(model, &load, remote, text, output.quiet).await?;
    let limit = endpoint.limit();
    let response = stream(endpoint.query(prompt), &mut Output::new(output), limit).await?;
    Ok(exit(&response))
}

/// Shows an answer as it comes. Ctrl-C stops it; what was written until then stays.
///
/// `limit` is what to say of a limit that was met and that the request did not set itself.
pub(crate) async fn stream(
    mut run: TextRun,
    output: &mut Output,
    limit: Option<&str>,
) -> Result<TextResponse, Failure> {
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
        Ok(response) => response,
        Err(error) => {
            output.break_off()?;
            let stopped = interrupted && matches!(error, Error::Cancelled(_));
            return Err(if stopped { Failure::Interrupted } else { error.into() });
        }
    };
    output.response(&response)?;
    if response.cancelled == Some(CancelReason::DeadlineExceeded) {
        output.note("error: the deadline passed, so the answer is not complete");
    } else if let Some(why) = surprise(response.finish_reason, limit) {
        output.note(&format!("note: the answer ends because {why}"));
    }
    Ok(response)
}

/// Why an answer ended, where its text does not show it.
fn surprise(reason: FinishReason, limit: Option<&str>) -> Option<&str> {
    match reason {
        FinishReason::Length => limit,
        FinishReason::ContentFilter => Some("the provider withheld the rest"),
        FinishReason::ToolCalls => Some("the model wants a tool called; --json shows which"),
        FinishReason::Stop | FinishReason::Cancelled => None,
    }
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
