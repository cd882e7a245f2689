//! Computes for ever, and never gives the host its turn.

use std::hint::black_box;

use programs::{Error, Program, QueryRequest, TextAnswer};

#[derive(Default)]
struct Spin;

impl Program for Spin {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}

programs::export!(Spin);
