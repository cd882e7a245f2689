//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them.
//!
//! hyper is driven here and not by `axum::serve`, because that sets no time limits: a caller that sends its headers one
//! byte a minute would hold a connection for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long a new connection may take to send the headers of its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// How long an open connection may take from one answer to the headers of the next request.
const NEXT_REQUEST: Duration = Duration::from_secs(60);

/// How often a silent HTTP/2 connection is asked whether its caller is still there.
const PING: Duration = Duration::from_secs(20);

/// Connections that the system queues for us.
const BACKLOG: u32 = 1024;

/// An address that is ours, and on which nobody is let in yet.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    socket: TcpSocket,
}

impl Bound {
    /// Takes the address for the listener that logs call `name`, so that a port in use is found before any model is
    /// loaded.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    pub fn to(name: &'static str, address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that was used a moment ago must not keep a restarted gateway from starting.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { name, socket })
    }

    /// Lets callers in.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen(self) -> io::Result<Listener> {
        Ok(Listener { name: self.name, listener: self.socket.listen(BACKLOG)? })
    }
}

/// An address on which callers are let in.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    listener: TcpListener,
}

impl Listener {
    /// Serves `router` until `stop` is cancelled; then ends each connection with the answer that it is busy with, and
    /// returns after the last one. Dropping the future ends all connections at once.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        // The port may be one that the system chose.
        let address = self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(listener = self.name, address, "listening");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, router.clone(), stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        // With no file descriptors left, the next attempt would fail at once, for ever.
                        if !is_of_one_connection(&error) {
                            sleep(Duration::from_secs(1)).await;
                        }
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Whether the caller's end of the connection is at fault, and not this machine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps small packets back");
    }
    let asked = Arc::new(Notify::new());
    let service = {
        let asked = Arc::clone(&asked);
        tower::service_fn(move |request: Request<_>| {
            asked.notify_one();
            router.clone().call(request)
        })
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let mut first_request = pin!(sleep(FIRST_REQUEST));
    let (mut waits, mut stopping) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke off");
                }
                return;
            }
            () = asked.notified(), if waits => waits = false,
            () = &mut first_request, if waits => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_REQUEST);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    builder
}
