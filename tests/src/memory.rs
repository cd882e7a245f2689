//! Memory of processes, for tests that see whether it stays bounded, and for measurements.

use anyhow::{Result, ensure};

/// Memory of this process that is in use, in bytes, where the system tells.
#[must_use]
pub fn resident() -> Option<u64> {
    status("self", "VmRSS:")
}

/// Memory of a process that is in use and holds no file, in bytes, where the system tells. `process` is its number, or
/// `self`.
#[must_use]
pub fn anonymous(process: &str) -> Option<u64> {
    status(process, "RssAnon:")
}

fn status(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Sees that memory has not grown by more than `most` bytes since `before`.
///
/// # Errors
///
/// When it has.
pub fn check_growth(before: Option<u64>, most: u64) -> Result<()> {
    if let (Some(before), Some(now)) = (before, resident()) {
        let growth = now.saturating_sub(before);
        ensure!(growth <= most, "memory grew by {} KiB; at most {} KiB were expected", growth >> 10, most >> 10);
    }
    Ok(())
}
