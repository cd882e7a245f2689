//! Begins an answer, and traps once its first token was taken.

use programs::{Error, Program, QueryRequest, TextAnswer, answer, batch, ended, spawn_local, wit_future, wit_stream};

#[derive(Default)]
struct TrapLate;

impl Program for TrapLate {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let (mut writer, tokens) = wit_stream::new();
        let (ending, outcome) = wit_future::new(ended);
        spawn_local(async move {
            // Held, so that it does not resolve before the trap.
            let _ending = ending;
            writer.write_all(vec![batch(0, "one".to_owned())]).await;
            std::process::abort();
        });
        Ok(answer(tokens, outcome))
    }
}

programs::export!(TrapLate);
