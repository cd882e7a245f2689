//! The endpoints of one client: ids, replacement, and who answers when a request names nobody.
//!
//! It is generic over what an endpoint is, so that its rules are tested without a host.

use crate::bindings::exports::sipp::client::client::{EndpointEntry, EndpointRef, Kind};
use crate::bindings::sipp::host::endpoints::{Capabilities, Support};
use crate::bindings::sipp::inference::types::{Error, Operation, UnsupportedPayload};

/// Endpoints, sorted by id. An id belongs to one endpoint, whatever its kind.
///
/// A sorted vector and no map: applications have a few endpoints, and a map's code would be a tenth of the component.
pub(crate) struct Registry<E> {
    entries: Vec<Entry<E>>,
    closed: bool,
}

struct Entry<E> {
    id: String,
    kind: Kind,
    capabilities: Capabilities,
    endpoint: E,
}

impl<E> Default for Registry<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), closed: false }
    }
}

impl<E: Clone> Registry<E> {
    /// Fails once the client was closed.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    /// Puts an open endpoint in, in place of any that had its id.
    pub(crate) fn insert(
        &mut self,
        kind: Kind,
        id: String,
        capabilities: Capabilities,
        endpoint: E,
    ) -> Result<EndpointRef, Error> {
        // The client may have been closed while the endpoint opened.
        self.check_open()?;
        let position = self.entries.partition_point(|entry| entry.id < id);
        self.entries.retain(|entry| entry.id != id);
        self.entries.insert(position, Entry { id: id.clone(), kind, capabilities, endpoint });
        Ok(EndpointRef { kind, id })
    }

    /// Takes an endpoint out.
    pub(crate) fn remove(&mut self, endpoint: &EndpointRef) -> Result<(), Error> {
        self.check_open()?;
        self.named(endpoint)?;
        self.entries.retain(|entry| entry.id != endpoint.id);
        Ok(())
    }

    /// The endpoints, by id.
    pub(crate) fn list(&self) -> Vec<EndpointEntry> {
        self.entries
            .iter()
            .map(|entry| EndpointEntry {
                endpoint: EndpointRef { kind: entry.kind, id: entry.id.clone() },
                capabilities: entry.capabilities,
            })
            .collect()
    }

    /// Takes every endpoint out, for good.
    pub(crate) fn close(&mut self) {
        self.entries.clear();
        self.closed = true;
    }

    /// Who answers: the endpoint that is named, or else the only local one that can.
    ///
    /// A gateway or a provider never answers unasked: that would send text, and cost, elsewhere in silence.
    pub(crate) fn resolve(
        &self,
        endpoint: Option<&EndpointRef>,
        operation: Operation,
    ) -> Result<(EndpointRef, E), Error> {
        self.check_open()?;
        let entry = match endpoint {
            Some(endpoint) => {
                let entry = self.named(endpoint)?;
                if support(entry.capabilities, operation) == Support::Unsupported {
                    return Err(unsupported(entry, operation));
                }
                entry
            }
            None => self.implicit(operation)?,
        };
        Ok((EndpointRef { kind: entry.kind, id: entry.id.clone() }, entry.endpoint.clone()))
    }

    fn named(&self, endpoint: &EndpointRef) -> Result<&Entry<E>, Error> {
        self.entries
            .iter()
            .find(|entry| entry.id == endpoint.id && entry.kind == endpoint.kind)
            .ok_or_else(|| Error::EndpointNotFound(endpoint.id.clone()))
    }

    fn implicit(&self, operation: Operation) -> Result<&Entry<E>, Error> {
        let mut able = self
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Local && support(entry.capabilities, operation) == Support::Supported);
        match (able.next(), able.next()) {
            (Some(entry), None) => Ok(entry),
            (None, _) => Err(Error::NoSupportedEndpoint(operation)),
            (Some(_), Some(_)) => Err(Error::AmbiguousEndpoint(operation)),
        }
    }
}

/// Checks the id of a new endpoint.
pub(crate) fn check_id(kind: Kind, id: &str) -> Result<(), Error> {
    let kind = kind_name(kind);
    if id.is_empty() {
        return Err(Error::InvalidRequest(format!("{kind} id must not be empty")));
    }
    if id.trim() != id {
        return Err(Error::InvalidRequest(format!("{kind} id must not contain surrounding whitespace")));
    }
    Ok(())
}

/// The kind's name in messages.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Local => "local",
        Kind::Gateway => "gateway",
        Kind::Provider => "provider",
    }
}

fn support(capabilities: Capabilities, operation: Operation) -> Support {
    match operation {
        Operation::Query => capabilities.query,
        Operation::Chat => capabilities.chat,
        Operation::Embed => capabilities.embed,
    }
}

fn unsupported<E>(entry: &Entry<E>, operation: Operation) -> Error {
    let Entry { id, kind, capabilities, .. } = entry;
    let reason = match operation {
        _ if *kind != Kind::Local => "its provider has no such operation; choose another endpoint",
        Operation::Query => "the model does not generate text; it was loaded for embeddings",
        Operation::Chat if capabilities.query == Support::Supported => {
            "the model has no chat template; use query with a prompt that is formatted for the model"
        }
        Operation::Chat => "the model does not generate text; it was loaded for embeddings",
        Operation::Embed if capabilities.query == Support::Supported => {
            "the model was not loaded for embeddings; add it with `embeddings` set to true"
        }
        Operation::Embed => "the model gives no vectors as it was added; choose another pooling or another model",
    };
    Error::Unsupported(UnsupportedPayload { operation, endpoint: Some(id.clone()), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Capabilities =
        Capabilities { query: Support::Supported, chat: Support::Supported, embed: Support::Unsupported };
    const VECTORS: Capabilities =
        Capabilities { query: Support::Unsupported, chat: Support::Unsupported, embed: Support::Supported };
    const REMOTE: Capabilities =
        Capabilities { query: Support::Unknown, chat: Support::Unknown, embed: Support::Unknown };

    fn registry(entries: &[(Kind, &str, Capabilities)]) -> Registry<u32> {
        let mut registry = Registry::default();
        for (number, (kind, id, capabilities)) in (0..).zip(entries) {
            registry.insert(*kind, (*id).to_owned(), *capabilities, number).unwrap();
        }
        registry
    }

    fn reference(kind: Kind, id: &str) -> EndpointRef {
        EndpointRef { kind, id: id.to_owned() }
    }

    #[test]
    fn the_only_able_local_endpoint_answers_unasked() {
        let registry = registry(&[(Kind::Local, "a", TEXT), (Kind::Local, "b", VECTORS), (Kind::Gateway, "c", REMOTE)]);
        assert_eq!(registry.resolve(None, Operation::Chat).unwrap().1, 0);
        assert_eq!(registry.resolve(None, Operation::Embed).unwrap().1, 1);
    }

    #[test]
    fn remote_endpoints_never_answer_unasked() {
        let registry = registry(&[(Kind::Gateway, "a", REMOTE), (Kind::Provider, "b", REMOTE)]);
        assert!(matches!(registry.resolve(None, Operation::Query), Err(Error::NoSupportedEndpoint(Operation::Query))));
    }

    #[test]
    fn two_able_local_endpoints_are_ambiguous() {
        let registry = registry(&[(Kind::Local, "a", TEXT), (Kind::Local, "b", TEXT)]);
        assert!(matches!(registry.resolve(None, Operation::Query), Err(Error::AmbiguousEndpoint(Operation::Query))));
    }

    #[test]
    fn a_named_endpoint_that_cannot_says_why() {
        let registry = registry(&[(Kind::Local, "a", VECTORS)]);
        let error = registry.resolve(Some(&reference(Kind::Local, "a")), Operation::Chat);
        assert!(matches!(error, Err(Error::Unsupported(payload)) if payload.endpoint.as_deref() == Some("a")));
    }

    #[test]
    fn the_same_kind_keeps_references_and_another_kind_makes_them_stale() {
        let mut registry = registry(&[(Kind::Local, "a", TEXT)]);
        let first = reference(Kind::Local, "a");
        registry.insert(Kind::Local, "a".to_owned(), TEXT, 7).unwrap();
        assert_eq!(registry.resolve(Some(&first), Operation::Chat).unwrap().1, 7);
        registry.insert(Kind::Gateway, "a".to_owned(), REMOTE, 8).unwrap();
        assert!(
            matches!(registry.resolve(Some(&first), Operation::Chat), Err(Error::EndpointNotFound(id)) if id == "a")
        );
        assert_eq!(registry.resolve(Some(&reference(Kind::Gateway, "a")), Operation::Chat).unwrap().1, 8);
    }

    #[test]
    fn a_removed_endpoint_is_not_found() {
        let mut registry = registry(&[(Kind::Local, "a", TEXT)]);
        let endpoint = reference(Kind::Local, "a");
        registry.remove(&endpoint).unwrap();
        assert!(matches!(registry.remove(&endpoint), Err(Error::EndpointNotFound(_))));
        assert!(matches!(registry.resolve(Some(&endpoint), Operation::Chat), Err(Error::EndpointNotFound(_))));
    }

    #[test]
    fn a_closed_client_refuses_everything() {
        let mut registry = registry(&[(Kind::Local, "a", TEXT)]);
        registry.close();
        assert!(registry.list().is_empty());
        assert!(matches!(registry.resolve(None, Operation::Chat), Err(Error::Closed)));
        assert!(matches!(registry.insert(Kind::Local, "b".to_owned(), TEXT, 1), Err(Error::Closed)));
    }

    #[test]
    fn ids_are_checked() {
        assert!(check_id(Kind::Local, "a b").is_ok());
        assert!(
            matches!(check_id(Kind::Local, ""), Err(Error::InvalidRequest(text)) if text == "local id must not be empty")
        );
        assert!(
            matches!(check_id(Kind::Gateway, " a"), Err(Error::InvalidRequest(text)) if text.starts_with("gateway id"))
        );
    }
}
