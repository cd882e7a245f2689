//! Connections to upstreams: pooled, HTTP/1.1 and 2, TLS by rustls, through a proxy where the environment names one.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{Error, Network};

/// Idle connections are kept this long: providers close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(90);

/// How often a connection of HTTP/2 with requests on it is asked whether it lives. Requests share it, so one that died
/// without a word would take every later request with it, for as long as the system tries to send.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Most bytes of a response's head.
const LARGEST_HEAD: usize = 128 << 10;

/// A pool of connections.
pub(super) type Pool = Client<Connector, Full<Bytes>>;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The address is private, and not on the list of those that may be reached.
#[derive(Debug, thiserror::Error)]
#[error("the address {address} of `{host}` is private; list it under allow_private to reach it")]
pub(super) struct Prohibited {
    host: String,
    address: IpAddr,
}

/// Connecting took longer than the endpoint allows.
#[derive(Debug, thiserror::Error)]
#[error("connecting took too long")]
pub(super) struct TooSlow;

/// A pool for one endpoint.
///
/// # Errors
///
/// [`Error::Internal`] when this machine has no root certificates and the endpoint needs them.
pub(super) fn pool(base_url: &Uri, network: &Arc<Network>, connect: Duration) -> Result<Pool, Error> {
    let tls = if base_url.scheme_str() == Some("https") { tls()? } else { without_roots()? };
    let mut direct = HttpConnector::new_with_resolver(Resolver { network: network.clone() });
    direct.set_nodelay(true);
    direct.enforce_http(false);
    let proxied = Proxied { direct, network: network.clone(), proxies: Arc::new(Matcher::from_env()) };
    let secured = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(proxied);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(LARGEST_HEAD)
        .http2_max_header_list_size(LARGEST_HEAD as u32)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(HEARTBEAT)
        .build(Connector { secured, limit: connect }))
}

/// The machine's trust in certificates: read once, from where its system keeps them, or from `SSL_CERT_FILE`.
fn tls() -> Result<ClientConfig, Error> {
    static TRUST: OnceLock<Result<ClientConfig, String>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(format!("no root certificates: {why}; install them, or set SSL_CERT_FILE"));
        }
        client_config(roots)
    };
    TRUST.get_or_init(read).clone().map_err(Error::Internal)
}

/// For endpoints without TLS, whose connector is the same.
fn without_roots() -> Result<ClientConfig, Error> {
    client_config(RootCertStore::empty()).map_err(Error::Internal)
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Connects within the endpoint's time: name lookup, proxy and TLS included.
#[derive(Clone)]
pub(super) struct Connector {
    secured: HttpsConnector<Proxied>,
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<Proxied> as Service<Uri>>::Response;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.secured.poll_ready(context)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.secured.call(destination));
        Box::pin(async move { connecting.await.map_err(|_| TooSlow)? })
    }
}

/// Connects directly, or through the proxy that the environment names for a destination.
#[derive(Clone)]
pub(super) struct Proxied {
    direct: HttpConnector<Resolver>,
    network: Arc<Network>,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Proxied {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.direct.poll_ready(context).map_err(Failure::from)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        // An address in the URL is not looked up, so the resolver does not see it.
        if let Err(prohibited) = permit(&self.network, &destination) {
            return Box::pin(std::future::ready(Err(prohibited.into())));
        }
        // Plain HTTP is for this machine alone, which no proxy stands before.
        let secure = destination.scheme_str() == Some("https");
        let proxy = secure.then(|| self.proxies.intercept(&destination)).flatten();
        let Some(proxy) = proxy else {
            let connecting = self.direct.call(destination);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Box::pin(async move { Ok(tunnel.call(destination).await?) })
    }
}

fn permit(network: &Network, destination: &Uri) -> Result<(), Prohibited> {
    let host = destination.host().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    match literal {
        Ok(address) if !network.permits(address) => Err(Prohibited { host: host.to_owned(), address }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Looks names up, and gives only the addresses that may be reached.
#[derive(Clone)]
struct Resolver {
    network: Arc<Network>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let network = self.network.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<_> = GaiResolver::new().call(name).await?.collect();
            let permitted: Vec<_> = found.iter().copied().filter(|found| network.permits(found.ip())).collect();
            match found.first() {
                Some(first) if permitted.is_empty() => Err(Prohibited { host, address: first.ip() }.into()),
                _ => Ok(permitted.into_iter()),
            }
        })
    }
}

/// Whether an error, or what it came from, is of a type.
pub(super) fn cause<'a, E: std::error::Error + 'static>(error: &'a legacy::Error) -> Option<&'a E> {
    let mut next: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error's own cause is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}
