//! Secure connections and proxies: what a process takes from its environment, so each test runs the program.
//!
//! The upstream's certificate is made for the test, and the program trusts it by `SSL_CERT_FILE`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sipp_tests::tree;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const REPLY: &str = r#"{"id":"c-1","choices":[{"message":{"content":"secured"},"finish_reason":"stop"}]}"#;

/// What happened, in order.
type Seen = Arc<Mutex<Vec<String>>>;

fn note(seen: &Seen, what: String) {
    seen.lock().unwrap().push(what);
}

/// An upstream at `https://localhost`, and the file with its certificate.
struct Upstream {
    address: SocketAddr,
    certificate: tempfile::NamedTempFile,
    seen: Seen,
}

impl Upstream {
    /// Offers these protocols in TLS.
    async fn start(protocols: &[&str]) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(certificate.path(), cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, log.clone()));
            }
        });
        Self { address, certificate, seen }
    }

    /// Asks it through the program.
    async fn ask(&self, environment: &[(&str, &str)]) -> Output {
        let mut command = sipp(&format!("https://localhost:{}", self.address.port()));
        command.env("SSL_CERT_FILE", self.certificate.path()).envs(environment.iter().copied());
        command.output().await.unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, seen: Seen) {
    // A client that trusts nobody hangs up, which is what some tests want.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        note(&seen, format!("{:?} {}", request.version(), request.uri().path()));
        let reply = Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(REPLY)));
        async move { Ok::<_, Infallible>(reply.unwrap()) }
    });
    // How a connection ends is the client's matter.
    if is_http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// A proxy that tunnels, and notes where to.
async fn proxy() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tunnel(stream, log.clone()));
        }
    });
    (address, seen)
}

async fn tunnel(stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).await? > 0 {}
    note(&seen, head.lines().next().unwrap_or_default().to_owned());
    let target = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut upstream = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// The program, asking a server that speaks like OpenAI, with no proxy but those a test names.
fn sipp(base_url: &str) -> Command {
    let mut command = Command::new(program());
    command.args([
        "chat",
        "--provider",
        "openai_compatible",
        "--model",
        "m",
        "--retries",
        "0",
        "--base-url",
        base_url,
        "hi",
    ]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

fn program() -> PathBuf {
    tree::root().join("target/release").join(format!("sipp{}", std::env::consts::EXE_SUFFIX))
}

fn answer(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let upstream = Upstream::start(&["h2", "http/1.1"]).await;
    assert_eq!(answer(&upstream.ask(&[]).await), "secured");
    assert_eq!(upstream.seen(), ["HTTP/2.0 /chat/completions"]);
}

#[tokio::test]
async fn http_1_is_spoken_elsewhere() {
    let upstream = Upstream::start(&["http/1.1"]).await;
    assert_eq!(answer(&upstream.ask(&[]).await), "secured");
    assert_eq!(upstream.seen(), ["HTTP/1.1 /chat/completions"]);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (upstream, other) = (Upstream::start(&["h2"]).await, Upstream::start(&["h2"]).await);
    let trusted = other.certificate.path().to_str().unwrap().to_owned();
    let output = upstream.ask(&[("SSL_CERT_FILE", &trusted)]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate is not valid"), "{output:?}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_environments_proxy_is_used_and_left_out() {
    let upstream = Upstream::start(&["h2"]).await;
    let (address, seen) = proxy().await;
    let proxy = format!("http://{address}");
    assert_eq!(answer(&upstream.ask(&[("HTTPS_PROXY", &proxy)]).await), "secured");
    let tunnelled = [format!("CONNECT localhost:{} HTTP/1.1", upstream.address.port())];
    assert_eq!(*seen.lock().unwrap(), tunnelled);
    assert_eq!(answer(&upstream.ask(&[("HTTPS_PROXY", &proxy), ("NO_PROXY", "localhost")]).await), "secured");
    assert_eq!(*seen.lock().unwrap(), tunnelled);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn no_proxy_stands_before_this_machine() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let (address, seen) = proxy().await;
    let mut command = sipp(&base_url);
    command.env("HTTP_PROXY", format!("http://{address}")).env("ALL_PROXY", format!("http://{address}"));
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |_: Request<Incoming>| {
            let reply = Response::builder().header("content-type", "application/json");
            Ok::<_, Infallible>(reply.body(Full::new(Bytes::from(REPLY))).unwrap())
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    assert_eq!(answer(&command.output().await.unwrap()), "secured");
    assert!(seen.lock().unwrap().is_empty());
    served.abort();
}
