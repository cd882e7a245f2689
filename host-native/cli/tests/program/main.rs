//! Runs the real program, on the demo model and against endpoints elsewhere, as a person and as a script would.
//!
//! Answers are greedy, and among those that the demo model is trained to give. Snapshots hold what the program itself
//! says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod answers;
mod errors;
mod gateway;
mod inspect;
mod remote;
mod sipp;
#[cfg(unix)]
mod terminal;
mod upstream;
