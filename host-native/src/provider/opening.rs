//! From what a descriptor says to an endpoint that is ready to be asked.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::value::RawValue;

use super::adapter::Adapter;
use super::outbound::{Placement, Route};
use super::{Remote, connection};
use crate::bindings::adapter::Description;
use crate::bindings::adapter::endpoint::Settings;
use crate::bindings::endpoints::{Authentication, GatewayDescriptor, Header, ProviderDescriptor, Routes, Timeouts};
use crate::bindings::types::Extension;
use crate::secret::{Secret, Vault};
use crate::{Error, Network};

/// How often an endpoint is asked again, where its descriptor does not say.
const RETRIES: u32 = 2;

/// Opens a provider's model.
pub(crate) fn provider(descriptor: ProviderDescriptor, vault: &Vault, network: &Arc<Network>) -> Result<Remote, Error> {
    let provider = match descriptor.provider.as_str() {
        "openai-compatible" if descriptor.component.is_none() => "openai_compatible".to_owned(),
        other => other.to_owned(),
    };
    let adapter = match &descriptor.component {
        Some(path) => Adapter::of_file(Path::new(path))?,
        None => Adapter::own(&provider)?,
    };
    Opening {
        provider,
        model: descriptor.model,
        base_url: descriptor.base_url,
        authentication: descriptor.authentication,
        version: descriptor.version,
        correlation_header: descriptor.correlation_header,
        headers: descriptor.headers,
        timeouts: descriptor.timeouts,
        options: descriptor.options,
        retries: descriptor.retries,
    }
    .open(adapter, vault, network)
}

/// Opens a gateway's target.
pub(crate) fn gateway(descriptor: GatewayDescriptor, vault: &Vault, network: &Arc<Network>) -> Result<Remote, Error> {
    let options = vec![
        Extension { name: "routes".to_owned(), value: routes(&descriptor.routes) },
        Extension { name: "protocol_options".to_owned(), value: object(&descriptor.protocol_options)? },
    ];
    Opening {
        provider: "gateway".to_owned(),
        model: descriptor.target,
        base_url: Some(descriptor.base_url),
        authentication: descriptor.authentication,
        version: None,
        correlation_header: None,
        headers: descriptor.headers,
        timeouts: descriptor.timeouts,
        options,
        retries: descriptor.retries,
    }
    .open(Adapter::own("gateway")?, vault, network)
}

fn routes(routes: &Routes) -> String {
    let named = [("query", &routes.query), ("chat", &routes.chat), ("embed", &routes.embed)];
    let given = named.into_iter().filter_map(|(name, route)| Some((name.to_owned(), route.clone()?.into())));
    serde_json::Value::Object(given.collect()).to_string()
}

/// Fields as one JSON object.
fn object(fields: &[Extension]) -> Result<String, Error> {
    let mut texts = Vec::new();
    for Extension { name, value } in fields {
        let value: &RawValue = serde_json::from_str(value)
            .map_err(|error| Error::InvalidRequest(format!("protocol_options.{name} is not JSON: {error}")))?;
        texts.push(format!("{}:{value}", serde_json::Value::from(name.as_str())));
    }
    Ok(format!("{{{}}}", texts.join(",")))
}

/// What both kinds of descriptor come down to.
struct Opening {
    provider: String,
    model: String,
    base_url: Option<String>,
    authentication: Authentication,
    version: Option<String>,
    correlation_header: Option<String>,
    headers: Vec<Header>,
    timeouts: Timeouts,
    options: Vec<Extension>,
    retries: Option<u32>,
}

impl Opening {
    fn open(self, adapter: Arc<Adapter>, vault: &Vault, network: &Arc<Network>) -> Result<Remote, Error> {
        let description = adapter.description(&self.provider)?;
        let base_url = self.base_url.as_ref().or(description.base_url.as_ref()).ok_or_else(|| {
            Error::InvalidRequest(format!("base_url is required for {} endpoint descriptors", self.provider))
        })?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        let url: Uri = base_url
            .parse()
            .map_err(|error| Error::InvalidRequest(format!("base_url `{base_url}` is not a URL: {error}")))?;
        if self.base_url.is_none() && !is_fit(&url) {
            let name = &adapter.name;
            return Err(Error::InvalidRequest(format!(
                "component {name} describes the base_url `{base_url}`, which must be https unless its host is loopback"
            )));
        }
        let milliseconds = |own: Option<u32>, usual| Duration::from_millis(own.unwrap_or(usual).into());
        let route = Route {
            pool: connection::pool(&url, network, milliseconds(self.timeouts.connect, 10_000))?,
            credential: placement(&self.authentication, description, vault)?,
            headers: headers(&self.headers)?,
            request: milliseconds(self.timeouts.request, 60_000),
            idle: milliseconds(self.timeouts.idle, 60_000),
            base_url: url,
        };
        let settings = Settings {
            provider: self.provider,
            model: self.model,
            base_url,
            version: self.version,
            correlation_header: self.correlation_header,
            options: self.options,
        };
        Ok(Remote {
            operations: description.operations.clone(),
            settings: Arc::new(settings),
            route: Arc::new(route),
            retries: self.retries.unwrap_or(RETRIES),
            adapter,
        })
    }
}

/// Whether credentials may go to an address that a component describes. One in a descriptor was judged by the client
/// component, by the same rule.
fn is_fit(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let is_plain = url.query().is_none() && url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    is_plain && (url.scheme_str() == Some("https") || url.scheme_str() == Some("http") && is_loopback)
}

/// Where the credential goes: as the descriptor says, or else as the adapter does.
fn placement(
    authentication: &Authentication,
    description: &Description,
    vault: &Vault,
) -> Result<Option<Placement>, Error> {
    let (header, prefix, credential) = match authentication {
        Authentication::None => return Ok(None),
        Authentication::ApiKey(credential) => match &description.credential {
            Some(own) => (own.name.clone(), own.prefix.clone(), *credential),
            None => {
                let provider = &description.provider;
                return Err(Error::InvalidRequest(format!(
                    "provider `{provider}` takes no api_key; use bearer or header"
                )));
            }
        },
        Authentication::Bearer(credential) => ("authorization".to_owned(), "Bearer ".to_owned(), *credential),
        Authentication::Header(own) => (own.name.clone(), String::new(), own.value),
    };
    let header = HeaderName::try_from(&header)
        .map_err(|_| Error::InvalidRequest(format!("authentication header `{header}` is not a header name")))?;
    let secret: Arc<Secret> = vault.get(credential)?;
    secret.check()?;
    Ok(Some(Placement { header, prefix, secret }))
}

fn headers(own: &[Header]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for Header { name, value } in own {
        let refused = || Error::InvalidRequest(format!("header `{name}` cannot be sent"));
        let name = HeaderName::try_from(name).map_err(|_| refused())?;
        headers.append(name, HeaderValue::try_from(value).map_err(|_| refused())?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_addresses_are_secure() {
        for (url, fit) in [
            ("https://api.example/v1", true),
            ("http://localhost:1", true),
            ("http://127.0.0.9:1/v1", true),
            ("http://[::1]:1", true),
            ("http://api.example/v1", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
            ("https://user@api.example", false),
            ("https://api.example/v1?key=x", false),
            ("ftp://api.example", false),
            ("api.example", false),
            ("/v1", false),
        ] {
            assert_eq!(is_fit(&url.parse().unwrap()), fit, "{url}");
        }
    }
}
