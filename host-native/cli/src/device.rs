//! Flags that say which devices a model goes to, and how models share them.

use clap::Args;
use sipp::{Backend, Placement, ResidencyOptions, SplitMode};

use crate::choice::{self, BACKENDS, SPLIT_MODES};

/// Where the model goes. Flags about GPUs are refused where it uses none.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct DeviceArgs {
    /// What computes [default: auto, the first of CUDA, Metal and Vulkan that is there, else the CPU].
    #[arg(long, value_name = "BACKEND", value_parser = choice::word(BACKENDS))]
    backend: Option<Backend>,
    /// A GPU by its name, which `sipp inspect --devices` shows; may be given several times [default: the backend's].
    #[arg(long, value_name = "NAME")]
    device: Vec<String>,
    /// How the model is split among several GPUs [default: layer].
    #[arg(long, value_name = "MODE", hide_short_help = true, value_parser = choice::word(SPLIT_MODES))]
    split_mode: Option<SplitMode>,
    /// Which of the GPUs holds the whole model, counted from 0, if --split-mode is none [default: 0].
    #[arg(long, value_name = "N", hide_short_help = true)]
    main_gpu: Option<u32>,
    /// Each GPU's share of the model, such as 3,1 [default: by their free memory].
    #[arg(long, value_name = "SHARES", hide_short_help = true, value_delimiter = ',')]
    tensor_split: Vec<f32>,
    /// Keep weights on the CPU as they are in the file, instead of repacking some to compute faster.
    #[arg(long, hide_short_help = true)]
    no_extra_bufts: bool,
    /// Keep weights on the CPU out of the memory that a GPU reads directly.
    #[arg(long, hide_short_help = true)]
    no_host: bool,
    /// Keep the KV cache on the CPU.
    #[arg(long, hide_short_help = true)]
    no_offload_kqv: bool,
    /// Compute layers on the CPU there, large batches too.
    #[arg(long, hide_short_help = true)]
    no_op_offload: bool,
    /// Models on one GPU, of all programs [default: 1].
    #[arg(long, value_name = "N", hide_short_help = true)]
    max_gpu_models_per_device: Option<u32>,
    /// Load the model whoever else has one on the GPU.
    #[arg(long, hide_short_help = true)]
    no_gpu_lease: bool,
    /// Bytes of each GPU that stay free; 0 turns the check of its memory off [default: 536870912].
    #[arg(long, value_name = "BYTES", hide_short_help = true)]
    gpu_memory_safety_margin_bytes: Option<u64>,
}

impl DeviceArgs {
    /// What of a placement these flags say.
    pub(crate) fn placement(&self) -> Placement {
        Placement {
            backend: self.backend,
            devices: self.device.clone(),
            split_mode: self.split_mode,
            main_gpu: self.main_gpu,
            tensor_split: self.tensor_split.clone(),
            no_extra_bufts: self.no_extra_bufts.then_some(true),
            no_host: self.no_host.then_some(true),
            ..Placement::default()
        }
    }

    /// How the model shares GPUs.
    pub(crate) fn residency(&self) -> ResidencyOptions {
        ResidencyOptions {
            max_gpu_models_per_device: self.max_gpu_models_per_device,
            require_gpu_lease: self.no_gpu_lease.then_some(false),
            gpu_memory_safety_margin_bytes: self.gpu_memory_safety_margin_bytes,
        }
    }

    /// Whether the KV cache goes to the GPU.
    pub(crate) fn offload_kqv(&self) -> Option<bool> {
        self.no_offload_kqv.then_some(false)
    }

    /// Whether large batches go to the GPU.
    pub(crate) fn op_offload(&self) -> Option<bool> {
        self.no_op_offload.then_some(false)
    }
}
