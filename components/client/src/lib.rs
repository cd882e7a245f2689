//! The client component: the registry of endpoints and every rule about using them.
//!
//! It is one WebAssembly component, and the same bytes run on every host, so that a rule exists once. It imports
//! `sipp:host/endpoints`, where the host opens models and connections, and exports `sipp:client/client`, which
//! applications hold. Answers pass through untouched: a token costs nothing here.

mod descriptor;
mod registry;
mod request;
mod sampling;

#[allow(
    missing_docs,
    unreachable_pub,
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
    });

    use super::Component;
    export!(Component);
}

use std::cell::RefCell;
use std::rc::Rc;

use bindings::exports::sipp::client::client::{
    ChatRequest, EmbedAnswer, EmbedRequest, EndpointEntry, EndpointRef, Guest, GuestClient, QueryRequest, TextAnswer,
};
use bindings::sipp::host::endpoints::{Descriptor, Endpoint};
use bindings::sipp::inference::types::{Error, Operation};
use registry::Registry;

struct Component;

impl Guest for Component {
    type Client = Client;
}

/// One application's endpoints.
///
/// Endpoints are counted references: a request keeps its endpoint open when it is removed or replaced meanwhile.
struct Client {
    registry: RefCell<Registry<Rc<Endpoint>>>,
}

impl Client {
    fn resolve(
        &self,
        endpoint: Option<&EndpointRef>,
        operation: Operation,
    ) -> Result<(EndpointRef, Rc<Endpoint>), Error> {
        self.registry.borrow().resolve(endpoint, operation)
    }
}

impl GuestClient for Client {
    fn new() -> Self {
        Self { registry: RefCell::new(Registry::default()) }
    }

    async fn add(&self, id: String, descriptor: Descriptor) -> Result<EndpointRef, Error> {
        let kind = descriptor::kind(&descriptor);
        registry::check_id(kind, &id)?;
        descriptor::check(&descriptor)?;
        self.registry.borrow().check_open()?;
        let endpoint = Endpoint::open(id.clone(), descriptor).await?;
        let capabilities = endpoint.capabilities();
        self.registry.borrow_mut().insert(kind, id, capabilities, Rc::new(endpoint))
    }

    fn remove(&self, endpoint: EndpointRef) -> Result<(), Error> {
        self.registry.borrow_mut().remove(&endpoint)
    }

    fn list(&self) -> Vec<EndpointEntry> {
        self.registry.borrow().list()
    }

    async fn query(&self, request: Vec<QueryRequest>) -> Result<TextAnswer, Error> {
        let request = only(request)?;
        let (name, endpoint) = self.resolve(request.endpoint.as_ref(), Operation::Query)?;
        let generation = endpoint.generate(request::query(name.kind, request)?).await?;
        Ok(TextAnswer { endpoint: name, generation })
    }

    async fn chat(&self, request: Vec<ChatRequest>) -> Result<TextAnswer, Error> {
        let request = only(request)?;
        let (name, endpoint) = self.resolve(request.endpoint.as_ref(), Operation::Chat)?;
        let generation = endpoint.generate(request::chat(name.kind, request)?).await?;
        Ok(TextAnswer { endpoint: name, generation })
    }

    async fn embed(&self, request: Vec<EmbedRequest>) -> Result<EmbedAnswer, Error> {
        let request = only(request)?;
        let (name, endpoint) = self.resolve(request.endpoint.as_ref(), Operation::Embed)?;
        let embedding = endpoint.embed(request::embed(name.kind, request)?).await?;
        Ok(EmbedAnswer { endpoint: name, embedding })
    }

    fn close(&self) {
        self.registry.borrow_mut().close();
    }
}

/// The one request of a call: `client.wit` says why it comes in a list.
fn only<R>(mut requests: Vec<R>) -> Result<R, Error> {
    match (requests.pop(), requests.is_empty()) {
        (Some(request), true) => Ok(request),
        (Some(_), false) | (None, _) => Err(Error::InvalidRequest("a call takes one request".to_owned())),
    }
}
