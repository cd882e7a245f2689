//! `sipp embed`: vectors for texts.

use std::path::PathBuf;

use clap::Args;
use sipp::{ContextOptions, EmbedRequest, LocalDescriptor, LocalEmbedOptions, Pooling};
use tokio::signal::ctrl_c;

use crate::args::{ModelArgs, OutputArgs};
use crate::choice::{self, POOLING};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::{input, load};

/// Turns texts into vectors.
///
/// Writes one line for each text: the numbers of its vector, with spaces between them. With --json, an object of type
/// `embedding` for each text, then one of type `response`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several.
    model: PathBuf,
    /// The texts; only `-`, or none, reads the lines of standard input.
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// How the vectors of a text's tokens become one [default: as the model says, else mean].
    #[arg(long, value_name = "HOW", help_heading = "Vectors", value_parser = choice::word(POOLING))]
    pooling: Option<Pooling>,
    /// Do not scale vectors to length 1.
    #[arg(long, help_heading = "Vectors")]
    no_normalize: bool,
    #[command(flatten)]
    load: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Runs `sipp embed`.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { model, load, texts, pooling, no_normalize, output } = arguments;
    let inputs = input::texts(texts)?;
    let descriptor = load.descriptor(&model);
    // A decoder must be told; an encoder knows no other way.
    let context = ContextOptions { embeddings: Some(true), pooling, ..descriptor.context };
    let client = load::model(LocalDescriptor { context, ..descriptor }, output.quiet).await?;
    let local = no_normalize.then(|| LocalEmbedOptions { normalize: Some(false), ..LocalEmbedOptions::default() });
    let run = client.embed(EmbedRequest { local, ..EmbedRequest::new(inputs) });
    let response = tokio::select! {
        response = run => response?,
        pressed = ctrl_c() => return Err(pressed.map_or_else(Failure::System, |()| Failure::Interrupted)),
    };
    Output::new(output).vectors(&response)?;
    Ok(Exit::Success)
}
