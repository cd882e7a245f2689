//! The Sipp gateway: models over HTTP, of this machine and of providers, in the first-party profile.
//!
//! It is the same graph as an application that uses the `sipp` crate, with an HTTP edge in its place. What a request may
//! say and what it means is the client component's to decide; the gateway adds who may ask, how much at once, and how
//! all of it looks over HTTP.
//!
//! A request passes, in this order: [`listener`] (a connection), [`edge`] (a route and its checks, with [`callers`],
//! [`body`], [`wire`] and [`targets`]), the client, and [`answer`] (JSON or events); [`exchange`] notes how it went.

pub mod answer;
pub mod body;
pub mod callers;
pub mod chat;
pub mod config;
pub mod edge;
pub mod environment;
pub mod error;
pub mod exchange;
pub mod gateway;
pub mod http_error;
pub mod listener;
pub mod management;
pub mod metrics;
pub mod phase;
pub mod request_id;
pub mod signals;
pub mod targets;
pub mod wire;
