//! Whether a model may be loaded: the memory that it takes on each device, and leases of GPUs.
//!
//! The memory is not guessed. llama.cpp opens the file and makes the context without allocating anything, and tells what
//! each device would have to hold. Weights that the CPU reads from a mapped file are not counted against free memory: they
//! are pages of the file, which the system drops and reads again as it likes.

use std::env;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::{ModelConfig, Residency};
use crate::context::Context;
use crate::device::{DeviceKind, RawDevice};
use crate::engine;
use crate::error::{Error, ModelFault};
use crate::model::Model;
use crate::placement::Place;
use crate::plan::{Plan, Purpose};

const DEFAULT_MODELS: u32 = 1;
const MAX_MODELS: u32 = 64;
const DEFAULT_MARGIN: u64 = 512 << 20;

/// Memory that a model takes on one device, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryUse {
    /// The device's name.
    pub device: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Weights.
    pub weights: u64,
    /// Of these, what stays in the file until it is read, and needs no memory of its own.
    pub mapped: u64,
    /// The KV cache, or what the model remembers instead.
    pub context: u64,
    /// What computing needs.
    pub compute: u64,
    /// What is free on the device, or none if it does not tell.
    pub free: Option<u64>,
}

impl MemoryUse {
    /// Bytes that must be free.
    #[must_use]
    pub fn needed(&self) -> u64 {
        (self.weights - self.mapped).saturating_add(self.context).saturating_add(self.compute)
    }
}

/// The memory that a model would take on each device, without loading it.
///
/// Empty for a model that only tells what it is, and where tensors are split, whose memory llama.cpp does not tell.
///
/// # Errors
/// As [`crate::Engine::load`], except that memory and leases are not asked for.
pub fn estimate(config: &ModelConfig) -> Result<Vec<MemoryUse>, Error> {
    engine::aside(|| Ok(measure(config, &Place::new(config)?)?.into_iter().map(|(_, used)| used).collect()))
}

/// Checks that a model may be loaded, and takes its leases.
pub(crate) fn admit(config: &ModelConfig, place: &Place) -> Result<Vec<Lease>, Error> {
    let most = most_models(&config.residency)?;
    let used = measure(config, place)?;
    let gpus: Vec<_> = if place.splits_tensors() {
        place.gpus().to_vec()
    } else {
        used.iter().filter(|(raw, used)| raw.is_gpu() && used.needed() > 0).map(|(raw, _)| *raw).collect()
    };
    let leases = match most {
        Some(most) => gpus.iter().map(|gpu| Lease::take(*gpu, most)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let margin = config.residency.gpu_memory_safety_margin_bytes.unwrap_or(DEFAULT_MARGIN);
    // Who waited for a lease may have freed memory before.
    used.iter().try_for_each(|(_, used)| check(&config.path, used, margin))?;
    Ok(leases)
}

/// Models that may be on one GPU; none where no leases are taken.
fn most_models(residency: &Residency) -> Result<Option<u32>, Error> {
    let given = residency.max_gpu_models_per_device;
    if residency.require_gpu_lease == Some(false) {
        return match given {
            Some(_) => Err(Error::configuration(
                "max_gpu_models_per_device has no effect without leases; set require_gpu_lease to true or leave it out",
            )),
            None => Ok(None),
        };
    }
    match given.unwrap_or(DEFAULT_MODELS) {
        most @ 1..=MAX_MODELS => Ok(Some(most)),
        most => {
            Err(Error::configuration(format!("max_gpu_models_per_device is {most}; it must be from 1 to {MAX_MODELS}")))
        }
    }
}

/// What a model takes on each device.
fn measure(config: &ModelConfig, place: &Place) -> Result<Vec<(RawDevice, MemoryUse)>, Error> {
    let model = Rc::new(Model::read_metadata(&config.path, place)?);
    let plan = Plan::new(config, &model)?;
    if plan.purpose == Purpose::Nothing || place.splits_tensors() {
        return Ok(Vec::new());
    }
    Context::new(model, &plan)?.memory(place.maps_weights())
}

/// Refuses a model that needs more than a device has.
fn check(path: &Path, used: &MemoryUse, margin: u64) -> Result<(), Error> {
    let Some(free) = used.free else { return Ok(()) };
    let is_gpu = matches!(used.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
    let margin = if is_gpu { margin } else { 0 };
    if (is_gpu && margin == 0) || used.needed().saturating_add(margin) <= free {
        return Ok(());
    }
    let advice = if is_gpu {
        "lower n_ctx, n_parallel, gpu_layers or gpu_memory_safety_margin_bytes"
    } else {
        "lower n_ctx or n_parallel"
    };
    let kept = if margin > 0 { format!(", {} must stay free", mebibytes(margin)) } else { String::new() };
    let message = format!(
        "{} does not fit into memory: {} needs {} (weights {}, context {}, computing {}){kept}, and {} are free; {advice}",
        path.display(),
        used.device,
        mebibytes(used.needed()),
        mebibytes(used.weights - used.mapped),
        mebibytes(used.context),
        mebibytes(used.compute),
        mebibytes(free),
    );
    Err(Error::model(ModelFault::OutOfMemory, message))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The right to have a model on a GPU, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lease {
    _locked: File,
}

impl Lease {
    /// Takes one of `most` leases of a GPU.
    fn take(gpu: RawDevice, most: u32) -> Result<Self, Error> {
        let (device, id) = gpu.read()?;
        // The same GPU has the same id for every backend and every program, whichever of its GPUs that sees.
        Self::take_in(&env::temp_dir(), &id.unwrap_or_else(|| device.name.clone()), most)
            .map_err(|error| {
                let name = &device.name;
                Error::configuration(format!(
                    "the lease of {name} cannot be taken: {error}; make the folder for temporary files writable, or set \
                     require_gpu_lease to false"
                ))
            })?
            .ok_or_else(|| {
                let name = &device.name;
                let message = format!(
                    "{name} holds as many models as it may, {most}; unload one, here or in another program, or raise \
                     max_gpu_models_per_device"
                );
                Error::model(ModelFault::OutOfMemory, message)
            })
    }

    /// Locks one of the files of a GPU, if fewer than `most` are locked.
    ///
    /// Programs may differ in what they allow, so all files count, and one more file, locked meanwhile, keeps two programs
    /// from counting at the same time. Files stay behind, and are found again.
    fn take_in(folder: &Path, gpu: &str, most: u32) -> io::Result<Option<Self>> {
        let gpu: String = gpu.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let gate = open(&folder.join(format!("sipp-gpu-{gpu}.lock")))?;
        gate.lock()?;
        let slot = |number: u32| folder.join(format!("sipp-gpu-{gpu}-{number}.lock"));
        let (mut held, mut lease) = (0, None);
        for path in (0..MAX_MODELS).map(slot).take_while(|path| path.exists()) {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) if lease.is_none() => lease = Some(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => held += 1,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        if held >= most {
            return Ok(None);
        }
        if lease.is_none() {
            let file = open(&slot(held))?;
            file.lock()?;
            lease = Some(file);
        }
        Ok(lease.map(|_locked| Self { _locked }))
    }
}

/// Opens a file to lock it. One of another user's can be read, and may not be written.
fn open(path: &PathBuf) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::options().read(true).append(true).create(true).open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what fails by failing")]

    use super::*;

    #[test]
    fn leases_are_counted_whoever_holds_them() {
        let folder = env::temp_dir().join(format!("sipp-lease-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let take = |gpu, most| Lease::take_in(&folder, gpu, most).unwrap();
        let first = take("0000:c1:00.0", 1).unwrap();
        assert!(take("0000:c1:00.0", 1).is_none());
        assert!(take("0000:c2:00.0", 1).is_some());
        let second = take("0000:c1:00.0", 2).unwrap();
        drop(first);
        assert!(take("0000:c1:00.0", 1).is_none(), "one is held, though not the first file");
        drop(second);
        let many: Vec<_> = (0..MAX_MODELS).map(|_| take("0000:c1:00.0", MAX_MODELS).unwrap()).collect();
        assert!(take("0000:c1:00.0", MAX_MODELS).is_none());
        drop(many);
        assert!(take("0000:c1:00.0", 1).is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused_with_figures() {
        let used = MemoryUse {
            device: "CUDA0".to_owned(),
            kind: DeviceKind::Gpu,
            weights: 3 << 30,
            mapped: 0,
            context: 1 << 30,
            compute: 100 << 20,
            free: Some(4 << 30),
        };
        let path = Path::new("big.gguf");
        assert_eq!(
            check(path, &used, 512 << 20).unwrap_err().to_string(),
            "big.gguf does not fit into memory: CUDA0 needs 4196 MiB (weights 3072 MiB, context 1024 MiB, computing 100 \
             MiB), 512 MiB must stay free, and 4096 MiB are free; lower n_ctx, n_parallel, gpu_layers or \
             gpu_memory_safety_margin_bytes"
        );
        assert!(check(path, &used, 0).is_ok(), "a margin of 0 turns the check off");
        assert!(check(path, &MemoryUse { free: Some(6 << 30), ..used.clone() }, 512 << 20).is_ok());
        let cpu = MemoryUse { device: "CPU".to_owned(), kind: DeviceKind::Cpu, ..used };
        assert!(check(path, &cpu, 512 << 20).unwrap_err().to_string().ends_with("lower n_ctx or n_parallel"));
        assert!(check(path, &MemoryUse { mapped: 3 << 30, ..cpu }, 512 << 20).is_ok());
    }

    #[test]
    fn a_number_of_models_needs_leases() {
        let residency = |most, leases| Residency {
            max_gpu_models_per_device: most,
            require_gpu_lease: leases,
            gpu_memory_safety_margin_bytes: None,
        };
        assert_eq!(most_models(&residency(None, None)), Ok(Some(1)));
        assert_eq!(most_models(&residency(Some(64), Some(true))), Ok(Some(64)));
        assert_eq!(most_models(&residency(None, Some(false))), Ok(None));
        for refused in [residency(Some(0), None), residency(Some(65), None), residency(Some(2), Some(false))] {
            assert!(most_models(&refused).unwrap_err().to_string().starts_with("max_gpu_models_per_device"));
        }
    }
}
