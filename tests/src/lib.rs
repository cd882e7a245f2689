//! What the native tests and measurements share: cases as data, the models that they name, and how a result is
//! written down.
//!
//! Cases lie in `cases/`, with a README about their format; runners for other hosts read the same files.

pub mod case;
mod contract;
pub mod expected;
pub mod models;
mod read;
pub mod stand_in;
pub mod steps;
mod transcript;
pub mod tree;
