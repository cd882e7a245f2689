//! `sipp inspect`: what a model file says about itself.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use sipp::engine::{self, ModelClass, ModelInfo};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::screen::Screen;

/// Lines of a chat template that are shown unless all are asked for.
const TEMPLATE_LINES: usize = 4;

/// Characters of each of them.
const TEMPLATE_COLUMNS: usize = 100;

/// Describes a model without loading it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several.
    #[arg(value_name = "FILE")]
    model: PathBuf,
    /// Write the chat template, and nothing else.
    #[arg(long, conflicts_with = "json")]
    template: bool,
    /// Write one JSON object, with the whole chat template.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs `sipp inspect`.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let info = engine::inspect(&arguments.model)?;
    let mut screen = Screen::new();
    if arguments.template {
        let Some(template) = &info.chat_template else {
            return Err(engine::Error::Unsupported("the model has no chat template".to_owned()).into());
        };
        screen.write(template)?;
        if !template.ends_with('\n') {
            screen.write("\n")?;
        }
        return Ok(Exit::Success);
    }
    let file_size = fs::metadata(&arguments.model).map(|file| file.len()).map_err(Failure::file(&arguments.model))?;
    let report = Report::new(&info, file_size);
    screen.write(&if arguments.json { output::line(&report)? } else { table(&report) })?;
    Ok(Exit::Success)
}

/// What is known about a model, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: String,
    file_bytes: u64,
    name: Option<&'a str>,
    architecture: &'a str,
    description: &'a str,
    parameters: u64,
    quantization: &'a str,
    weight_bytes: u64,
    context_length: u32,
    embedding_length: u32,
    layers: u32,
    vocabulary: u32,
    capabilities: Capabilities,
    chat_template: Option<&'a str>,
}

/// The commands that the model answers.
#[derive(Debug, Serialize)]
struct Capabilities {
    class: &'static str,
    query: bool,
    chat: bool,
    embed: bool,
}

impl<'a> Report<'a> {
    fn new(info: &'a ModelInfo, file_bytes: u64) -> Self {
        let class = info.capabilities.class;
        Self {
            file: info.path.display().to_string(),
            file_bytes,
            name: info.name.as_deref(),
            architecture: &info.architecture,
            description: &info.description,
            parameters: info.parameters,
            quantization: &info.quantization,
            weight_bytes: info.size_bytes,
            context_length: info.context_length,
            embedding_length: info.embedding_length,
            layers: info.layers,
            vocabulary: info.vocabulary,
            capabilities: Capabilities {
                class: match class {
                    ModelClass::DecoderOnly => "decoder_only",
                    ModelClass::EncoderDecoder => "encoder_decoder",
                    ModelClass::EncoderOnly => "encoder_only",
                },
                query: info.capabilities.generates_text,
                chat: info.capabilities.generates_text && info.capabilities.has_chat_template,
                // A decoder embeds if it is loaded for that, as `sipp embed` does.
                embed: info.capabilities.embeds || class == ModelClass::DecoderOnly,
            },
            chat_template: info.chat_template.as_deref(),
        }
    }
}

/// The same for people: names on the left, values on the right.
fn table(report: &Report<'_>) -> String {
    let rows = [
        ("file", format!("{}, {}", report.file, HumanBytes(report.file_bytes))),
        ("name", report.name.unwrap_or("none").to_owned()),
        ("architecture", format!("{} ({})", report.architecture, report.capabilities.class.replace('_', "-"))),
        ("parameters", HumanCount(report.parameters).to_string()),
        ("quantisation", report.quantization.to_owned()),
        ("weights", HumanBytes(report.weight_bytes).to_string()),
        ("context", format!("{} tokens", HumanCount(report.context_length.into()))),
        ("embedding", format!("{} numbers", HumanCount(report.embedding_length.into()))),
        ("layers", report.layers.to_string()),
        ("vocabulary", format!("{} tokens", HumanCount(report.vocabulary.into()))),
        ("capabilities", capabilities(&report.capabilities)),
        ("chat template", report.chat_template.map_or_else(|| "none".to_owned(), beginning)),
    ];
    let indent = format!("\n{:16}", "");
    rows.iter().map(|(name, value)| format!("{name:16}{}\n", value.replace('\n', &indent))).collect()
}

fn capabilities(capabilities: &Capabilities) -> String {
    let Capabilities { class: _, query, chat, embed } = *capabilities;
    let words: Vec<_> = [("query", query), ("chat", chat), ("embed", embed)]
        .iter()
        .filter(|(_, can)| *can)
        .map(|(word, _)| *word)
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// The beginning of a chat template.
fn beginning(template: &str) -> String {
    let mut rest = template.trim_end().lines();
    let cut = |line: &str| line.chars().take(TEMPLATE_COLUMNS).collect::<String>();
    let mut shown: Vec<_> = rest.by_ref().take(TEMPLATE_LINES).map(cut).collect();
    if shown.iter().any(|line| line.chars().count() == TEMPLATE_COLUMNS) || rest.next().is_some() {
        shown.push("… (--template shows all of it)".to_owned());
    }
    shown.join("\n")
}
