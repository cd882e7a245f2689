//! Answers without a token, and never says how the answer ended.

use programs::{Error, Program, QueryRequest, TextAnswer, answer, ended, wit_future, wit_stream};

#[derive(Default)]
struct Mute;

impl Program for Mute {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let (writer, tokens) = wit_stream::new();
        let (ending, outcome) = wit_future::new(ended);
        drop(writer);
        // To drop it would be to write the default.
        std::mem::forget(ending);
        Ok(answer(tokens, outcome))
    }
}

programs::export!(Mute);
