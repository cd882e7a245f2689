//! Calls itself until the stack is used up.

use std::hint::black_box;

use programs::{Error, Program, QueryRequest, TextAnswer};

#[derive(Default)]
struct Recurse;

impl Program for Recurse {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        Err(Error::Internal(deeper(0).to_string()))
    }
}

/// Ends only in theory; what follows the call keeps it from becoming a loop.
fn deeper(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { depth } else { deeper(depth + 1) ^ black_box(depth) }
}

programs::export!(Recurse);
