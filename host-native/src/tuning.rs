//! How components are compiled and run.
//!
//! The build script includes this file too: a component that is compiled at build time runs only under the very same
//! settings.

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Linear memory that one instance may use, in bytes.
pub(crate) const MEMORY_LIMIT: usize = 64 << 20;

/// The settings of every store on this host.
#[must_use]
pub(crate) fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.max_memory_size(MEMORY_LIMIT);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        // A guest that does not come back is stopped by the epoch, see `sandbox`.
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
