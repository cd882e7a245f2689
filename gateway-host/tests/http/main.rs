//! The program over real sockets, with the demo model.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

mod callers;
mod chain;
mod chat;
mod check;
mod events;
mod profile;
mod program;
mod refusals;
mod running;
mod shutdown;
mod upstream;
mod upstreams;
