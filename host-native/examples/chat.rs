//! Asks a local model one question: `cargo run --release -p sipp --example chat -- models/demo.gguf "What is 3 plus 4?"`.

use std::error::Error;
use std::io::{self, Write};

use sipp::{ChatRequest, Delta, LocalDescriptor, Message, SippClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("usage: chat MODEL QUESTION".into());
    };

    let client = SippClient::new()?;
    client.add("model", LocalDescriptor::new(model)).await?;

    let mut run = client.chat(ChatRequest::new([Message::user(question)]));
    while let Some(batch) = run.next().await {
        if let Delta::Text(text) = batch.delta {
            print!("{text}");
            io::stdout().flush()?;
        }
    }
    let response = run.await?;
    println!("\n{:?} {:?}", response.finish_reason, response.usage);
    Ok(())
}
