//! `sipp inspect`: what a model file says about itself, and what computes on this machine.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use sipp::engine::{self, DeviceKind, MemoryUse, ModelClass, ModelConfig, ModelInfo};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::screen::Screen;

/// Lines of a chat template that are shown unless all are asked for.
const TEMPLATE_LINES: usize = 4;

/// Characters of each of them.
const TEMPLATE_COLUMNS: usize = 100;

/// Describes a model without loading it, or the devices of this machine.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The model: a GGUF file, or the first file of a model in several.
    #[arg(value_name = "FILE", required_unless_present = "devices")]
    model: Option<PathBuf>,
    /// Describe what computes on this machine instead of a model.
    #[arg(long, conflicts_with_all = ["model", "template"])]
    devices: bool,
    /// Write the chat template, and nothing else.
    #[arg(long, conflicts_with = "json")]
    template: bool,
    /// Write one JSON object, with the whole chat template.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs `sipp inspect`.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut screen = Screen::new();
    let Some(model) = &arguments.model else {
        let machine = Machine::new();
        screen.write(&if arguments.json { output::line(&machine)? } else { machine.table() })?;
        return Ok(Exit::Success);
    };
    let info = engine::inspect(model)?;
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
    let file_size = fs::metadata(model).map(|file| file.len()).map_err(Failure::file(model))?;
    let mut report = Report::new(&info, file_size);
    if arguments.json {
        let config = ModelConfig { path: model.clone(), ..ModelConfig::default() };
        report.memory = engine::estimate(&config).ok().map(|used| used.iter().map(Memory::from).collect());
    }
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
    /// What the model takes on each device where nothing is configured, or none if that cannot be told.
    memory: Option<Vec<Memory>>,
    chat_template: Option<&'a str>,
}

/// What a model takes on one device, in bytes.
#[derive(Debug, Serialize)]
struct Memory {
    device: String,
    #[serde(rename = "type")]
    kind: &'static str,
    weight_bytes: u64,
    mapped_bytes: u64,
    context_bytes: u64,
    compute_bytes: u64,
    needed_bytes: u64,
    free_bytes: Option<u64>,
}

impl From<&MemoryUse> for Memory {
    fn from(used: &MemoryUse) -> Self {
        Self {
            device: used.device.clone(),
            kind: word(used.kind),
            weight_bytes: used.weights,
            mapped_bytes: used.mapped,
            context_bytes: used.context,
            compute_bytes: used.compute,
            needed_bytes: used.needed(),
            free_bytes: used.free,
        }
    }
}

/// What computes on this machine, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Machine {
    backends: Vec<String>,
    devices: Vec<Device>,
}

/// One device.
#[derive(Debug, Serialize)]
struct Device {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    backend: String,
    description: String,
    memory_free_bytes: Option<u64>,
    memory_total_bytes: Option<u64>,
}

impl Machine {
    fn new() -> Self {
        let devices = engine::devices().into_iter().map(|device| Device {
            kind: word(device.kind),
            name: device.name,
            backend: device.backend,
            description: device.description,
            memory_free_bytes: device.memory_free,
            memory_total_bytes: device.memory_total,
        });
        Self { backends: engine::backends(), devices: devices.collect() }
    }

    /// The same for people: what is compiled in, then a line for each device.
    fn table(&self) -> String {
        let memory = |device: &Device| match (device.memory_free_bytes, device.memory_total_bytes) {
            (Some(free), Some(total)) => format!("{} free of {}", HumanBytes(free), HumanBytes(total)),
            _ => "memory not told".to_owned(),
        };
        let mut text = format!("{:16}{}\n", "backends", self.backends.join(", "));
        for device in &self.devices {
            let Device { name, kind, backend, description, .. } = device;
            text += &format!("{name:16}{kind}, {backend}, {description}, {}\n", memory(device));
        }
        text
    }
}

fn word(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "cpu",
        DeviceKind::Gpu => "gpu",
        DeviceKind::IntegratedGpu => "igpu",
        DeviceKind::Accelerator => "accel",
    }
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
            memory: None,
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
