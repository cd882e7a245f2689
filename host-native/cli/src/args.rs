//! Flags that several commands share, and the requests that they become.
//!
//! Flags only carry values: ranges are the library's rules, and its refusals are shown as they are.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use sipp::{
    CacheType, Context, ContextOptions, FlashAttention, GpuLayers, JsonSchemaFormat, LocalDescriptor, LocalOptions,
    MultimodalOptions, Placement, ResponseFormat, Sampling, TextOptions,
};

use crate::choice::{self, CACHE_TYPES, FLASH_ATTENTION};
use crate::device::DeviceArgs;
use crate::exit::Failure;
use crate::rope::RopeArgs;
use crate::sampling::SamplingArgs;

/// How the model is loaded. clap makes no group of a struct that has others in it, so every flag is in one of the others.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    rope: RopeArgs,
}

/// What most models are loaded with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct LoadArgs {
    /// Tokens of prompt and answer together (n_ctx); 0 takes all that the model can hold [default: the model's, at most 4096].
    #[arg(long, value_name = "N")]
    ctx_size: Option<u32>,
    /// Threads that compute one token [default: physical cores, but 1 for models below 16 MiB].
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Threads that compute a prompt [default: as --threads].
    #[arg(long, value_name = "N")]
    threads_batch: Option<u32>,
    /// Layers on the GPU: auto, all or a number [default: auto].
    #[arg(long, value_name = "LAYERS", value_parser = choice::gpu_layers)]
    gpu_layers: Option<GpuLayers>,
    /// When flash attention is used [default: auto].
    #[arg(long, value_name = "WHEN", hide_short_help = true, value_parser = choice::word(FLASH_ATTENTION))]
    flash_attention: Option<FlashAttention>,
    /// How cached keys are stored [default: f16].
    #[arg(long, value_name = "TYPE", hide_short_help = true, value_parser = choice::word(CACHE_TYPES))]
    cache_type_k: Option<CacheType>,
    /// How cached values are stored [default: f16].
    #[arg(long, value_name = "TYPE", hide_short_help = true, value_parser = choice::word(CACHE_TYPES))]
    cache_type_v: Option<CacheType>,
    /// Read the file into memory instead of mapping it.
    #[arg(long, hide_short_help = true)]
    no_mmap: bool,
    /// Lock the weights in memory, so that they are never swapped out.
    #[arg(long, hide_short_help = true)]
    mlock: bool,
}

impl ModelArgs {
    /// What the client is asked to open.
    pub(crate) fn descriptor(&self, path: &Path) -> LocalDescriptor {
        LocalDescriptor {
            placement: Placement {
                gpu_layers: self.load.gpu_layers,
                use_mmap: self.load.no_mmap.then_some(false),
                use_mlock: self.load.mlock.then_some(true),
                ..self.device.placement()
            },
            residency: self.device.residency(),
            context: ContextOptions {
                n_ctx: self.load.ctx_size,
                n_threads: self.load.threads,
                n_threads_batch: self.load.threads_batch,
                flash_attention: self.load.flash_attention,
                cache_type_k: self.load.cache_type_k,
                cache_type_v: self.load.cache_type_v,
                offload_kqv: self.device.offload_kqv(),
                op_offload: self.device.op_offload(),
                ..self.rope.context()
            },
            ..LocalDescriptor::new(path)
        }
    }
}

/// What is written, and when it ends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct TextArgs {
    /// Most tokens to write [default: up to the end of the context, or the provider's].
    #[arg(short = 'n', long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Text that ends the answer and is not part of it; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Image for the model: PNG, JPEG, WebP or GIF; may be given several times.
    ///
    /// In a chat they come before the first message. In a query each stands where the prompt has `<__media__>`, or before
    /// the prompt.
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    #[command(flatten)]
    local: LocalTextArgs,
    /// File with a JSON schema that the answer must match.
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Longest time for an answer, such as 500ms, 90s or 2m; loading the model does not count.
    #[arg(long, value_name = "DURATION", value_parser = choice::milliseconds)]
    deadline: Option<u32>,
    /// Randomness; 0 always takes the likeliest token [default: 0.7, or the provider's].
    #[arg(long, value_name = "T", help_heading = "Sampling", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keep the likeliest tokens whose probabilities add up to P [default: 0.8, or the provider's].
    #[arg(long, value_name = "P", help_heading = "Sampling", allow_negative_numbers = true)]
    top_p: Option<f32>,
    #[command(flatten)]
    sampling: Option<SamplingArgs>,
}

/// What else a model of this machine understands. A gateway hands the grammar to one of its own.
#[derive(Debug, Args)]
pub(crate) struct LocalTextArgs {
    /// File with a GBNF grammar that the answer must match.
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
    /// Projector of the model, a GGUF file, with which it reads images.
    #[arg(long, value_name = "FILE", help_heading = "Model", display_order = 1000)]
    projector: Option<PathBuf>,
    /// Most tokens in one call of the model (n_batch) [default: 2048].
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = "Model", display_order = 1000)]
    batch_size: Option<u32>,
    /// Most tokens computed at once (n_ubatch) [default: 512].
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = "Model", display_order = 1000)]
    ubatch_size: Option<u32>,
}

/// The parts of a request for text that flags set.
#[derive(Debug, Clone)]
pub(crate) struct TextSettings {
    pub(crate) options: TextOptions,
    pub(crate) local: Option<LocalOptions>,
    /// Encoded images.
    pub(crate) images: Vec<Vec<u8>>,
    pub(crate) context: Context,
}

impl TextArgs {
    /// Adds to the model's descriptor what concerns writing.
    ///
    /// Sampling goes into the descriptor and not into the request, so that a value out of range is refused before a
    /// large model is loaded for nothing.
    pub(crate) fn describe(&self, descriptor: LocalDescriptor) -> LocalDescriptor {
        let LocalTextArgs { batch_size, ubatch_size, ref projector, .. } = self.local;
        let projector = projector.as_ref().map(|path| path.display().to_string());
        let multimodal = MultimodalOptions { projector, ..descriptor.multimodal };
        let context = ContextOptions { n_batch: batch_size, n_ubatch: ubatch_size, ..descriptor.context };
        let sampling = self.sampling.as_ref().map(SamplingArgs::sampling).unwrap_or_default();
        let sampling = Sampling { temperature: self.temperature, top_p: self.top_p, ..sampling };
        LocalDescriptor { context, multimodal, sampling, ..descriptor }
    }

    /// What is asked of an endpoint elsewhere, with the files that flags name. Flags that it does not take were refused
    /// before.
    pub(crate) fn remote_settings(self) -> Result<TextSettings, Failure> {
        let images = self.images()?;
        let schema = self.json_schema.as_deref().map(read).transpose()?;
        let grammar = self.local.grammar.as_deref().map(read).transpose()?;
        let sampling = self.sampling.as_ref().map(SamplingArgs::sampling);
        // None of them, not even an empty one, unless a flag asks for it: a gateway's target may be a provider's model.
        let is_local = grammar.is_some() || sampling.is_some();
        let format = |schema| {
            ResponseFormat::JsonSchema(JsonSchemaFormat {
                name: "answer".to_owned(),
                description: None,
                schema,
                strict: Some(true),
            })
        };
        Ok(TextSettings {
            options: TextOptions {
                max_tokens: self.max_tokens,
                temperature: self.temperature,
                top_p: self.top_p,
                stop: self.stop,
                response_format: schema.map(format),
                ..TextOptions::default()
            },
            local: is_local.then(|| LocalOptions { grammar, sampling, ..LocalOptions::default() }),
            images,
            context: Context { deadline: self.deadline, ..Context::default() },
        })
    }

    /// What is asked of a model of this machine, with the files that flags name.
    pub(crate) fn settings(self) -> Result<TextSettings, Failure> {
        let images = self.images()?;
        let local = LocalOptions {
            grammar: self.local.grammar.as_deref().map(read).transpose()?,
            json_schema: self.json_schema.as_deref().map(read).transpose()?,
            ..LocalOptions::default()
        };
        Ok(TextSettings {
            options: TextOptions { max_tokens: self.max_tokens, stop: self.stop, ..TextOptions::default() },
            local: Some(local),
            images,
            context: Context { deadline: self.deadline, ..Context::default() },
        })
    }
}

impl TextArgs {
    fn images(&self) -> Result<Vec<Vec<u8>>, Failure> {
        self.image.iter().map(|path| fs::read(path).map_err(Failure::file(path))).collect()
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::file(path))
}

/// What is shown besides the answer.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write one JSON object per line; the last one is of type `response` or `error`.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show tokens, times and speeds after each answer.
    #[arg(long)]
    pub(crate) stats: bool,
    /// Show no progress while the model loads.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
