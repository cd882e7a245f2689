//! `sipp embed`: vectors for texts.

use std::path::Path;

use clap::Args;
use sipp::{ContextOptions, EmbedRequest, LocalDescriptor, LocalEmbedOptions, Pooling};
use tokio::signal::ctrl_c;

use crate::args::{ModelArgs, OutputArgs};
use crate::choice::{self, POOLING};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::remote::{Foreign, RemoteArgs};
use crate::{input, load};

const USAGE: &str = "\
sipp embed [OPTIONS] <FILE> [TEXT]...
       sipp embed [OPTIONS] --provider <NAME> --model <NAME> [TEXT]...
       sipp embed [OPTIONS] --gateway <URL> --target <NAME> [TEXT]...";

/// Turns texts into vectors.
///
/// Writes one line for each text: the numbers of its vector, with spaces between them. With --json, an object of type
/// `embedding` for each text, then one of type `response`.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several. None with --provider or --gateway.
    #[arg(value_name = "FILE")]
    model: Option<String>,
    /// The texts; only `-`, or none, reads the lines of standard input.
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    #[command(flatten)]
    vectors: VectorArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    load: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How a local model makes vectors. A gateway hands all on but the first, with which a model is loaded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Vectors")]
struct VectorArgs {
    /// How the vectors of a text's tokens become one [default: as the model says, else mean].
    #[arg(long, value_name = "HOW", value_parser = choice::word(POOLING))]
    pooling: Option<Pooling>,
    /// Do not scale vectors to length 1.
    #[arg(long)]
    no_normalize: bool,
    /// Score each text against this one; for models with a classification head (--pooling rank).
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
}

/// Runs `sipp embed`.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { model, remote, load, texts, vectors, output } = arguments;
    let VectorArgs { pooling, no_normalize, query } = vectors;
    let (model, texts) = remote.split(model, texts)?;
    let inputs = input::texts(texts)?;
    let is_local = no_normalize || query.is_some();
    let normalize = no_normalize.then_some(false);
    let local = is_local.then(|| LocalEmbedOptions { normalize, query, ..LocalEmbedOptions::default() });
    let request = EmbedRequest { local, ..EmbedRequest::new(inputs) };
    let run = match model {
        Some(model) => {
            let descriptor = load.descriptor(Path::new(&model));
            // A decoder must be told; an encoder knows no other way.
            let context = ContextOptions { embeddings: Some(true), pooling, ..descriptor.context };
            let (client, endpoint) = load::model(LocalDescriptor { context, ..descriptor }, output.quiet).await?;
            client.embed(EmbedRequest { endpoint: Some(endpoint), ..request })
        }
        None => {
            let (client, endpoint, Foreign { endpoint_options, provider_options }) = remote.open().await?;
            client.embed(EmbedRequest { endpoint: Some(endpoint), endpoint_options, provider_options, ..request })
        }
    };
    let response = tokio::select! {
        response = run => response?,
        pressed = ctrl_c() => return Err(pressed.map_or_else(Failure::System, |()| Failure::Interrupted)),
    };
    Output::new(output).vectors(&response)?;
    Ok(Exit::Success)
}
