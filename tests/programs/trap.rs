//! Traps as soon as it is asked.

use programs::{Error, Program, QueryRequest, TextAnswer};

#[derive(Default)]
struct Trap;

impl Program for Trap {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        std::process::abort()
    }
}

programs::export!(Trap);
