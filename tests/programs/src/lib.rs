//! What the guests of the host's tests share: the bindings of the world `sipp:client/app`, and a client of which a
//! guest writes only what it does wrong. Adapters, of the world `sipp:inference/provider`, have a module of their own.

pub mod adapter;

#[allow(
    missing_docs,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated from wit/, which is documented"
)]
mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../wit/wasi-clocks", "../../wit/wasi-http", "../../wit/inference", "../../wit/host", "../../wit/client",
        ],
        world: "sipp:client/app",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "programs",
    });
}

use std::future::Future;

pub use bindings::exports::sipp::client::client::{EndpointRef, Kind, QueryRequest, TextAnswer};
pub use bindings::sipp::host::endpoints::{Descriptor, Endpoint};
pub use bindings::sipp::inference::types::{
    Context, Delta, Error, FinishReason, Generation, Input, Metadata, Outcome, Request, TextOptions, TokenBatch,
};
pub use bindings::{export, exports, sipp, wit_future, wit_stream};
pub use wit_bindgen::{FutureReader, StreamReader, spawn_local};

use bindings::exports::sipp::client::client::{
    ChatRequest, EmbedAnswer, EmbedRequest, EndpointEntry, Guest, GuestClient,
};

/// A client that misbehaves in `query`; a guest exports one.
pub trait Program: Default + 'static {
    /// Opens an endpoint. Most guests need none.
    fn add(&self, _id: String, _descriptor: Descriptor) -> impl Future<Output = Result<EndpointRef, Error>> {
        std::future::ready(Err(missing()))
    }

    /// Does what the guest is for.
    fn query(&self, request: QueryRequest) -> impl Future<Output = Result<TextAnswer, Error>>;
}

impl<P: Program> Guest for P {
    type Client = Client<P>;
}

/// The resource that the host holds.
pub struct Client<P>(P);

impl<P: Program> GuestClient for Client<P> {
    fn new() -> Self {
        Self(P::default())
    }

    async fn add(&self, id: String, descriptor: Descriptor) -> Result<EndpointRef, Error> {
        self.0.add(id, descriptor).await
    }

    fn remove(&self, _endpoint: EndpointRef) -> Result<(), Error> {
        Err(missing())
    }

    fn list(&self) -> Vec<EndpointEntry> {
        Vec::new()
    }

    async fn query(&self, mut request: Vec<QueryRequest>) -> Result<TextAnswer, Error> {
        let request = request.pop().ok_or_else(missing)?;
        self.0.query(request).await
    }

    async fn chat(&self, _request: Vec<ChatRequest>) -> Result<TextAnswer, Error> {
        Err(missing())
    }

    async fn embed(&self, _request: Vec<EmbedRequest>) -> Result<EmbedAnswer, Error> {
        Err(missing())
    }

    fn close(&self) {}
}

fn missing() -> Error {
    Error::Internal("this guest has only query".to_owned())
}

/// The name under which guests answer.
#[must_use]
pub fn endpoint() -> EndpointRef {
    EndpointRef { kind: Kind::Local, id: "guest".to_owned() }
}

/// An answer by the guest itself.
#[must_use]
pub fn answer(tokens: StreamReader<TokenBatch>, outcome: FutureReader<Result<Outcome, Error>>) -> TextAnswer {
    TextAnswer { endpoint: endpoint(), generation: Generation { tokens, outcome } }
}

/// One token of text.
#[must_use]
pub fn batch(sequence: u32, text: String) -> TokenBatch {
    TokenBatch { delta: Delta::Text(text), sequence, tokens: 1, logprobs: Vec::new() }
}

/// How an answer ends that nothing else ends.
///
/// # Errors
/// Never; it has the type of an outcome.
pub fn ended() -> Result<Outcome, Error> {
    let metadata = Metadata { request_id: None, upstream_request_id: None, upstream_response_id: None, retries: 0 };
    Ok(Outcome { finish: FinishReason::Stop, usage: None, stats: None, metadata })
}
