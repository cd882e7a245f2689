//! Runs the real program on the demo model, as a person and as a script would.
//!
//! Answers are greedy, and among those that the demo model is trained to give. Snapshots hold what the program itself
//! says.

mod answers;
mod errors;
mod inspect;
mod sipp;
#[cfg(unix)]
mod terminal;
