//! Where something was measured, and what many measurements say together.

use std::fmt;
use std::thread::available_parallelism;

use serde::Serialize;

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Logical processors that this process may use.
    cores: usize,
    processor: Option<String>,
    /// Processes that wanted to run, on average over the last minute.
    load: Option<f64>,
}

impl Machine {
    /// The machine at hand.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cores: available_parallelism().map_or(1, std::num::NonZero::get),
            processor: model.map(|(_, name)| name.to_owned()),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, load } = self;
        let processor = processor.as_deref().unwrap_or("processor unknown");
        let load = load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
        write!(formatter, "{cores} cores, {processor}, load {load}")
    }
}

/// The one of sorted values below which this share lies.
#[must_use]
pub fn rank<T>(sorted: &[T], share: f64) -> Option<&T> {
    let position = (sorted.len() as f64 * share) as usize;
    sorted.get(position.min(sorted.len().checked_sub(1)?))
}

/// The median, or NaN of nothing.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    rank(&numbers, 0.5).copied().unwrap_or(f64::NAN)
}
