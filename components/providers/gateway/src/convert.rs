//! Between the contracts' words and the gateway's profile: pure functions, one file for each direction.

mod answer;
mod fault;
mod local;
mod request;

pub(crate) use crate::wire::Refusal;
pub(crate) use answer::{Step, Transcript, answer, embedding};
pub(crate) use fault::{failed, refused};
pub(crate) use request::{embed_body, text_body};
