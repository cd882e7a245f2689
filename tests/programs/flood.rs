//! Writes tokens without end, as fast as they are taken.

use programs::{Error, Program, QueryRequest, TextAnswer, answer, batch, ended, spawn_local, wit_future, wit_stream};

/// Bytes of one token.
const SIZE: usize = 4096;

#[derive(Default)]
struct Flood;

impl Program for Flood {
    async fn query(&self, _request: QueryRequest) -> Result<TextAnswer, Error> {
        let (mut writer, tokens) = wit_stream::new();
        let (ending, outcome) = wit_future::new(ended);
        spawn_local(async move {
            for sequence in 0.. {
                let rest = writer.write_all(vec![batch(sequence, "x".repeat(SIZE))]).await;
                if !rest.is_empty() {
                    break;
                }
            }
            drop(writer);
            // Nobody may want to know any more.
            let _ = ending.write(ended()).await;
        });
        Ok(answer(tokens, outcome))
    }
}

programs::export!(Flood);
