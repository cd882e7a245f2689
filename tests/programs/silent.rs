//! Begins an answer to which no token ever comes.

use programs::{Error, Program, QueryRequest, TextAnswer, answer, ended, wit_future, wit_stream};

#[derive(Default)]
struct Silent;

impl Program for Silent {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let (writer, tokens) = wit_stream::new();
        let (ending, outcome) = wit_future::new(ended);
        // To drop them would be to end the answer.
        std::mem::forget(writer);
        std::mem::forget(ending);
        Ok(answer(tokens, outcome))
    }
}

programs::export!(Silent);
