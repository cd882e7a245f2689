//! What the native tests and measurements share: cases as data, the models and upstreams that they name, and how a
//! result is written down.
//!
//! Cases lie in `cases/` and `cassettes/`, with a README each about their format; runners for other hosts read the same
//! files.

pub mod case;
pub mod companion;
mod contract;
pub mod expected;
pub mod machine;
pub mod memory;
pub mod models;
mod read;
pub mod soak;
pub mod stage;
pub mod stand_in;
pub mod steps;
mod transcript;
pub mod tree;
pub mod upstream;
