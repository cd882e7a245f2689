//! Reads one batch of the host's answer, drops the rest, and answers with how that answer ended.

use std::cell::OnceCell;

use programs::{
    Descriptor, Endpoint, EndpointRef, Error, Generation, Input, Program, QueryRequest, Request, TextAnswer, answer,
    batch, ended, endpoint, spawn_local, wit_future, wit_stream,
};

#[derive(Default)]
struct EarlyDrop {
    endpoint: OnceCell<Endpoint>,
}

impl Program for EarlyDrop {
    async fn add(&self, id: String, descriptor: Descriptor) -> Result<EndpointRef, Error> {
        let opened = Endpoint::open(id, descriptor).await?;
        self.endpoint.set(opened).map_err(|_| Error::Internal("there is an endpoint already".to_owned()))?;
        Ok(endpoint())
    }

    async fn query(&self, request: QueryRequest) -> Result<TextAnswer, Error> {
        let QueryRequest { prompt, options, local, context, .. } = request;
        let endpoint = self.endpoint.get().ok_or(Error::Closed)?;
        let request = Request { input: Input::Prompt(prompt), options, local, extensions: Vec::new(), context };
        let Generation { mut tokens, outcome: end } = endpoint.generate(request).await?;
        let first = tokens.next().await;
        drop(tokens);
        let report = match (first, end.await) {
            (Some(_), Ok(outcome)) => format!("one batch, then {:?}", outcome.finish),
            (first, end) => format!("{first:?}, then {end:?}"),
        };
        let (mut writer, tokens) = wit_stream::new();
        let (ending, outcome) = wit_future::new(ended);
        spawn_local(async move {
            writer.write_all(vec![batch(0, report)]).await;
            drop(writer);
            // Nobody may want to know any more.
            let _ = ending.write(ended()).await;
        });
        Ok(answer(tokens, outcome))
    }
}

programs::export!(EarlyDrop);
