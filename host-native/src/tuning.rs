//! How components are compiled and run.
//!
//! The build script includes this file too: a component that is compiled at build time runs only under the very same
//! settings.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Linear memory that one instance may use, in bytes.
pub(crate) const MEMORY_LIMIT: usize = 256 << 20;

/// Instances that may exist at once, of all components. Each takes only address space until it is used.
const INSTANCES: u32 = 5000;

/// Core instances that one component may be made of. Those of other languages consist of many.
const CORE_INSTANCES: u32 = 64;

/// Elements of one table.
const TABLE_ELEMENTS: usize = 60_000;

/// The settings of every store on this host.
#[must_use]
pub(crate) fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.max_memory_size(MEMORY_LIMIT)
        .total_component_instances(INSTANCES)
        .total_core_instances(4 * INSTANCES)
        .total_memories(INSTANCES)
        .total_tables(4 * INSTANCES)
        .total_stacks(INSTANCES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_component(CORE_INSTANCES)
        .table_elements(TABLE_ELEMENTS)
        // A slot that was used stays in memory for its next user: to give it back and take it again would cost a request
        // more than its own work. The stack of a component in Rust ends at 1 MiB, and its heap begins there.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        // So that only pages which were written need to be cleared, where the kernel can tell them.
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        // A guest that does not come back is stopped by the epoch, see `sandbox`.
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
