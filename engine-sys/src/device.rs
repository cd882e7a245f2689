//! Backends that are compiled in, and the devices of this machine that they compute on.

use std::ffi::c_char;
#[cfg(target_os = "linux")]
use std::fs;

use crate::error::Error;
use crate::log;
use crate::sys;

/// A device that computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// ggml's name, by which a configuration names it, such as `CUDA0`.
    pub name: String,
    /// What the driver calls it.
    pub description: String,
    /// The backend that it belongs to: one of [`backends`].
    pub backend: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Bytes of its memory that can still be had, or none if it does not tell. The CPU's are what Linux calls available,
    /// within the process's own limit; other systems but Windows do not tell, and all counts as free.
    pub memory_free: Option<u64>,
    /// Bytes of its memory, or none if it does not tell.
    pub memory_total: Option<u64>,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor, with the system's memory.
    Cpu,
    /// A GPU with memory of its own.
    Gpu,
    /// A GPU that uses the system's memory.
    IntegratedGpu,
    /// Something that computes beside the CPU in its memory, such as a matrix library.
    Accelerator,
}

/// Every device, in ggml's order.
#[must_use]
pub fn devices() -> Vec<Device> {
    all().filter_map(|raw| raw.read().ok()).map(|(device, _)| device).collect()
}

/// The names of the backends that are compiled in, whether they have a device here or not.
#[must_use]
pub fn backends() -> Vec<String> {
    log::start();
    // SAFETY: the list is complete, the indices are below its length, and names live as long as the process.
    unsafe {
        let all = (0..sys::ggml_backend_reg_count()).map(|index| sys::ggml_backend_reg_get(index));
        all.map(|backend| text(sys::ggml_backend_reg_name(backend))).collect()
    }
}

/// A device of ggml's, which lives as long as the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawDevice(pub(crate) sys::ggml_backend_dev_t);

/// Every device, in ggml's order.
pub(crate) fn all() -> impl Iterator<Item = RawDevice> {
    log::start();
    // SAFETY: the list is complete, and the indices are below its length.
    unsafe { (0..sys::ggml_backend_dev_count()).map(|index| RawDevice(sys::ggml_backend_dev_get(index))) }
}

impl RawDevice {
    /// The processor.
    #[cfg(not(target_os = "emscripten"))]
    pub(crate) fn cpu() -> Option<Self> {
        all().find(|raw| raw.kind() == DeviceKind::Cpu)
    }

    /// What it is.
    pub(crate) fn kind(self) -> DeviceKind {
        // SAFETY: the device lives as long as the process.
        kind(unsafe { sys::ggml_backend_dev_type(self.0) })
    }

    /// Whether layers can be put on it.
    pub(crate) fn is_gpu(self) -> bool {
        matches!(self.kind(), DeviceKind::Gpu | DeviceKind::IntegratedGpu)
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        // SAFETY: the device lives as long as the process, and so does its name.
        unsafe { text(sys::ggml_backend_dev_name(self.0)) }
    }

    /// The name of its backend.
    pub(crate) fn backend(self) -> String {
        // SAFETY: see `name`.
        unsafe { text(sys::ggml_backend_reg_name(sys::ggml_backend_dev_backend_reg(self.0))) }
    }

    /// Asks its driver, which also tells where the device sits in the machine, the same for every backend.
    pub(crate) fn read(self) -> Result<(Device, Option<String>), Error> {
        let mut read = sys::Device::default();
        sys::call(|error| {
            // SAFETY: the device lives as long as the process, and `read` during the call.
            unsafe { sys::sipp_device_read(self.0, &mut read, error) }
        })
        .map_err(|failure| {
            Error::Internal(format!("the device {} does not tell what it is: {}", self.name(), failure.message))
        })?;
        let kind = kind(read.kind.try_into().unwrap_or_default());
        let told = |bytes: u64| (read.memory_total > 0).then_some(bytes);
        let free = if kind == DeviceKind::Cpu { available().unwrap_or(read.memory_free) } else { read.memory_free };
        // SAFETY: the texts live as long as the device.
        let (name, description, backend, id) =
            unsafe { (text(read.name), text(read.description), text(read.backend), text(read.id)) };
        let device = Device {
            name,
            description,
            backend,
            kind,
            memory_free: told(free.min(read.memory_total)),
            memory_total: told(read.memory_total),
        };
        Ok((device, (!id.is_empty()).then_some(id)))
    }
}

fn kind(number: sys::ggml_backend_dev_type) -> DeviceKind {
    match number {
        sys::GGML_BACKEND_DEVICE_TYPE_GPU => DeviceKind::Gpu,
        sys::GGML_BACKEND_DEVICE_TYPE_IGPU => DeviceKind::IntegratedGpu,
        sys::GGML_BACKEND_DEVICE_TYPE_CPU => DeviceKind::Cpu,
        _ => DeviceKind::Accelerator,
    }
}

/// Memory that a process can still get without swapping. ggml takes all there is for free.
#[cfg(target_os = "linux")]
fn available() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?.checked_mul(1024)?;
    Some(machine.min(limit().unwrap_or(u64::MAX)))
}

#[cfg(not(target_os = "linux"))]
fn available() -> Option<u64> {
    None
}

/// What is left of the limit of this process's control group (version 2). Pages of files count as free: they go when
/// memory is needed.
#[cfg(target_os = "linux")]
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{own}/{name}")).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // Without a limit it says `max`.
    let (most, used) = (number("memory.max")?, number("memory.current")?);
    let stat = read("memory.stat").unwrap_or_default();
    let of_files: u64 = ["inactive_file", "active_file"].iter().filter_map(|name| field(&stat, name)).sum();
    Some(most.saturating_sub(used.saturating_sub(of_files)))
}

/// The number after a name at the beginning of a line.
#[cfg(target_os = "linux")]
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| words.next().filter(|word| *word == name).and_then(|_| words.next()))?.parse().ok()
}

/// # Safety
/// As of [`sys::text`].
unsafe fn text(raw: *const c_char) -> String {
    // SAFETY: by this function's contract.
    unsafe { sys::text(raw) }.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn numbers_are_found_by_the_whole_name() {
        let text = "MemFree: 5 kB\nMemAvailable:   7 kB\ninactive_file 9\nactive_file 11\n";
        assert_eq!(field(text, "MemAvailable:"), Some(7));
        assert_eq!(field(text, "active_file"), Some(11));
        assert_eq!(field(text, "file"), None);
    }
}
