//! Takes memory until it gets no more, and writes to all of it.

use programs::{Error, Program, QueryRequest, TextAnswer};

#[derive(Default)]
struct Hoard;

impl Program for Hoard {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![hoard.len() as u8 | 1; 1 << 20]);
        }
    }
}

programs::export!(Hoard);
