//! Which devices a model goes to, before its file is opened.

use crate::config::{Backend, GpuLayers, ModelConfig, Placement, Residency, SplitMode};
use crate::device::{self, DeviceKind, RawDevice};
use crate::error::Error;
use crate::sys;

/// llama.cpp's `llama_max_devices`.
const MAX_DEVICES: usize = 16;

/// In the order in which `Backend::Auto` looks for a device.
const GPU_BACKENDS: [Backend; 3] = [Backend::Cuda, Backend::Metal, Backend::Vulkan];

/// Where a model goes, checked against the devices that there are.
#[derive(Debug)]
pub(crate) struct Place {
    /// The GPUs that it is given.
    gpus: Vec<RawDevice>,
    /// The same for llama.cpp, with a null pointer at the end.
    listed: Vec<sys::ggml_backend_dev_t>,
    /// A share for each GPU, and zeros.
    shares: Vec<f32>,
    layers: GpuLayers,
    split_mode: SplitMode,
    use_mmap: bool,
    use_mlock: bool,
    check_tensors: bool,
    no_extra_bufts: bool,
    no_host: bool,
}

impl Place {
    /// Checks everything in `config` that concerns devices.
    pub(crate) fn new(config: &ModelConfig) -> Result<Self, Error> {
        let placement = &config.placement;
        let layers = placement.gpu_layers.unwrap_or(GpuLayers::Auto);
        if let GpuLayers::Count(count) = layers
            && i32::try_from(count).is_err()
        {
            return Err(Error::configuration(format!("gpu_layers is {count}, above every model's")));
        }
        if cfg!(target_os = "emscripten") && (placement.use_mmap == Some(true) || placement.use_mlock == Some(true)) {
            return Err(Error::configuration("a browser cannot map or lock files; leave use_mmap and use_mlock out"));
        }
        let mut gpus = gpus(placement)?;
        if layers == GpuLayers::Count(0) {
            if !placement.devices.is_empty() {
                return Err(Error::configuration("devices have no effect with 0 gpu_layers; leave one of them out"));
            }
            gpus.clear();
        }
        if gpus.is_empty() {
            refuse_gpu_options(config)?;
        }
        check_split(placement, gpus.len())?;
        let split_mode = placement.split_mode.unwrap_or(SplitMode::Layer);
        if split_mode == SplitMode::None {
            let chosen = placement.main_gpu.unwrap_or(0) as usize;
            gpus = gpus.into_iter().skip(chosen).take(1).collect();
        }
        let mut shares = placement.tensor_split.clone();
        shares.resize(MAX_DEVICES, 0.0);
        let listed = gpus.iter().map(|gpu| gpu.0).chain([std::ptr::null_mut()]).collect();
        Ok(Self {
            gpus,
            listed,
            shares,
            layers,
            split_mode,
            use_mmap: placement.use_mmap.unwrap_or(cfg!(not(target_os = "emscripten"))),
            use_mlock: placement.use_mlock.unwrap_or(false),
            check_tensors: placement.check_tensors.unwrap_or(false),
            no_extra_bufts: placement.no_extra_bufts.unwrap_or(false),
            no_host: placement.no_host.unwrap_or(false),
        })
    }

    /// On the CPU, to look at a file.
    pub(crate) fn to_look() -> Self {
        Self {
            gpus: Vec::new(),
            listed: vec![std::ptr::null_mut()],
            shares: vec![0.0; MAX_DEVICES],
            layers: GpuLayers::Count(0),
            split_mode: SplitMode::Layer,
            use_mmap: false,
            use_mlock: false,
            check_tensors: false,
            no_extra_bufts: false,
            no_host: false,
        }
    }

    /// The GPUs that the model is given; it may use fewer.
    pub(crate) fn gpus(&self) -> &[RawDevice] {
        &self.gpus
    }

    /// Whether weights that the CPU reads stay in the file until they are needed.
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn maps_weights(&self) -> bool {
        self.use_mmap && !self.use_mlock
    }

    /// Whether tensors are split, which llama.cpp hides behind one device of its own.
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn splits_tensors(&self) -> bool {
        self.split_mode == SplitMode::Tensor
    }

    /// llama.cpp's own form. It points into `self`.
    pub(crate) fn params(&self) -> sys::llama_model_params {
        // SAFETY: a function without arguments that fills a struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.devices = self.listed.as_ptr().cast_mut();
        params.n_gpu_layers = match self.layers {
            _ if self.gpus.is_empty() => 0,
            GpuLayers::Auto | GpuLayers::All => -1,
            GpuLayers::Count(count) => i32::try_from(count).unwrap_or(i32::MAX),
        };
        params.split_mode = match self.split_mode {
            SplitMode::None => sys::LLAMA_SPLIT_MODE_NONE,
            SplitMode::Layer => sys::LLAMA_SPLIT_MODE_LAYER,
            SplitMode::Row => sys::LLAMA_SPLIT_MODE_ROW,
            SplitMode::Tensor => sys::LLAMA_SPLIT_MODE_TENSOR,
        };
        params.tensor_split = self.shares.as_ptr();
        params.load_mode = match (self.use_mmap, self.use_mlock) {
            (true, true) => sys::LLAMA_LOAD_MODE_MMAP_MLOCK,
            (true, false) => sys::LLAMA_LOAD_MODE_MMAP,
            (false, true) => sys::LLAMA_LOAD_MODE_MLOCK,
            (false, false) => sys::LLAMA_LOAD_MODE_NONE,
        };
        params.check_tensors = self.check_tensors;
        params.use_extra_bufts = !self.no_extra_bufts;
        params.no_host = self.no_host;
        params
    }
}

/// The GPUs that a model is given, in the order in which layers go to them.
fn gpus(placement: &Placement) -> Result<Vec<RawDevice>, Error> {
    let backend = placement.backend.unwrap_or(Backend::Auto);
    if !placement.devices.is_empty() {
        return named(&placement.devices, backend);
    }
    match backend {
        Backend::Cpu => Ok(Vec::new()),
        Backend::Auto => Ok(GPU_BACKENDS.into_iter().map(gpus_of).find(|gpus| !gpus.is_empty()).unwrap_or_default()),
        Backend::Cuda | Backend::Metal | Backend::Vulkan => {
            let gpus = gpus_of(backend);
            if !gpus.is_empty() {
                return Ok(gpus);
            }
            let word = word(backend);
            Err(Error::configuration(if device::backends().iter().any(|name| name == registered(backend)) {
                format!("backend {word} has no device on this machine; use auto or cpu")
            } else {
                format!("backend {word} is not compiled in; build with the feature `{word}`, or use auto or cpu")
            }))
        }
    }
}

/// The GPUs of a backend; integrated ones only if there are no others, as llama.cpp has it.
fn gpus_of(backend: Backend) -> Vec<RawDevice> {
    let (own, integrated): (Vec<_>, Vec<_>) = device::all()
        .filter(|raw| raw.is_gpu() && raw.backend() == registered(backend))
        .partition(|raw| raw.kind() == DeviceKind::Gpu);
    if own.is_empty() { integrated } else { own }
}

/// The GPUs of these names.
fn named(names: &[String], backend: Backend) -> Result<Vec<RawDevice>, Error> {
    if backend == Backend::Cpu {
        return Err(Error::configuration("devices are GPUs, and backend cpu uses none; leave one of them out"));
    }
    if names.len() > MAX_DEVICES {
        return Err(Error::configuration(format!("devices has {} names; it may have {MAX_DEVICES}", names.len())));
    }
    let gpus: Vec<_> = device::all().filter(|raw| raw.is_gpu()).collect();
    let mut chosen = Vec::new();
    for name in names {
        let Some(gpu) = gpus.iter().find(|gpu| gpu.name() == *name) else {
            let there: Vec<_> = gpus.iter().map(|gpu| gpu.name()).collect();
            let there = if there.is_empty() { "there is none".to_owned() } else { format!("use {}", there.join(", ")) };
            return Err(Error::configuration(format!(
                "devices has `{name}`, which is no GPU of this machine; {there}"
            )));
        };
        if chosen.contains(gpu) {
            return Err(Error::configuration(format!("devices has `{name}` twice")));
        }
        if backend != Backend::Auto && gpu.backend() != registered(backend) {
            return Err(Error::configuration(format!("devices has `{name}`, which backend {} lacks", word(backend))));
        }
        chosen.push(*gpu);
    }
    Ok(chosen)
}

/// Refuses what has an effect on GPUs only.
fn refuse_gpu_options(config: &ModelConfig) -> Result<(), Error> {
    let ModelConfig { placement, context, residency, .. } = config;
    if matches!(placement.gpu_layers, Some(GpuLayers::All))
        || matches!(placement.gpu_layers, Some(GpuLayers::Count(1..)))
    {
        let why = if placement.backend == Some(Backend::Cpu) { "backend cpu uses none" } else { "there is none" };
        return Err(Error::configuration(format!("gpu_layers asks for a GPU, and {why}; leave it at auto")));
    }
    let Residency { max_gpu_models_per_device, require_gpu_lease, gpu_memory_safety_margin_bytes } = residency;
    let given = [
        ("split_mode", placement.split_mode.is_some()),
        ("main_gpu", placement.main_gpu.is_some()),
        ("tensor_split", !placement.tensor_split.is_empty()),
        ("no_host", placement.no_host.is_some()),
        ("offload_kqv", context.offload_kqv.is_some()),
        ("op_offload", context.op_offload.is_some()),
        ("max_gpu_models_per_device", max_gpu_models_per_device.is_some()),
        ("require_gpu_lease", require_gpu_lease.is_some()),
        ("gpu_memory_safety_margin_bytes", gpu_memory_safety_margin_bytes.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Error::configuration(format!(
            "{name} has an effect on GPUs only, and the model uses none; leave it out"
        ))),
        None => Ok(()),
    }
}

/// Checks how a model is split among this many GPUs.
fn check_split(placement: &Placement, gpus: usize) -> Result<(), Error> {
    let Placement { split_mode, main_gpu, tensor_split, .. } = placement;
    if gpus < 2 {
        let given = [
            ("split_mode", split_mode.is_some()),
            ("main_gpu", main_gpu.is_some()),
            ("tensor_split", !tensor_split.is_empty()),
        ];
        if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given) {
            return Err(Error::configuration(format!(
                "{name} has an effect with two GPUs or more, and the model uses {gpus}; leave it out"
            )));
        }
    }
    if let Some(chosen) = main_gpu {
        if *split_mode != Some(SplitMode::None) {
            return Err(Error::configuration("main_gpu has an effect with split_mode none only; leave it out"));
        }
        if *chosen as usize >= gpus {
            let most = gpus.saturating_sub(1);
            return Err(Error::configuration(format!("main_gpu is {chosen}; it must be from 0 to {most}")));
        }
    }
    if tensor_split.is_empty() {
        return Ok(());
    }
    if *split_mode == Some(SplitMode::None) {
        return Err(Error::configuration("tensor_split has no effect with split_mode none; leave it out"));
    }
    let is_valid = tensor_split.iter().all(|share| share.is_finite() && *share >= 0.0);
    if tensor_split.len() != gpus || !is_valid || tensor_split.iter().all(|share| *share == 0.0) {
        return Err(Error::configuration(format!(
            "tensor_split must have one number for each of the {gpus} GPUs, finite, at least 0, and not all of them 0"
        )));
    }
    Ok(())
}

/// The word of the contracts.
fn word(backend: Backend) -> &'static str {
    match backend {
        Backend::Auto => "auto",
        Backend::Cpu => "cpu",
        Backend::Cuda => "cuda",
        Backend::Metal => "metal",
        Backend::Vulkan => "vulkan",
    }
}

/// ggml's name of the backend.
fn registered(backend: Backend) -> &'static str {
    match backend {
        Backend::Auto | Backend::Cpu => "CPU",
        Backend::Cuda => "CUDA",
        Backend::Metal => "MTL",
        Backend::Vulkan => "Vulkan",
    }
}
