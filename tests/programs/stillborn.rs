//! Traps before there is a client.

use programs::{Error, Program, QueryRequest, TextAnswer};

struct Stillborn;

impl Default for Stillborn {
    fn default() -> Self {
        std::process::abort()
    }
}

impl Program for Stillborn {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        Err(Error::Closed)
    }
}

programs::export!(Stillborn);
