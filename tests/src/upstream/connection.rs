//! One connection of a client, from the server's side.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Log;

/// Headers that a request may have.
const MOST_HEADERS: usize = 64;

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    log: Log,
    /// Read, but not understood yet.
    unread: Vec<u8>,
}

/// A request that came whole.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub path: String,
    /// Its headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, if that was JSON.
    pub body: Option<Value>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, log: Log) -> Self {
        // A byte that is written is to be sent; without it, bytes are sent together, which some tests would not notice.
        let _ = stream.set_nodelay(true);
        Self { stream, log, unread: Vec::new() }
    }

    /// The connection itself, for what is no HTTP.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The next request; none when the client closed the connection before another one began.
    ///
    /// # Errors
    ///
    /// When it is no request, or ends early.
    pub async fn request(&mut self) -> io::Result<Option<Received>> {
        loop {
            if let Some((request, length)) = parse(&self.unread)? {
                self.unread.drain(..length);
                self.log.entries().requests.push(request.clone());
                return Ok(Some(request));
            }
            if self.read().await? == 0 {
                let whole = self.unread.is_empty();
                return if whole { Ok(None) } else { Err(broken("the client closed it within a request")) };
            }
        }
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// When the client closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.stream.write_all(bytes).await;
        let mut entries = self.log.entries();
        match &written {
            Ok(()) => entries.written += bytes.len() as u64,
            Err(_) => entries.closings.push(Instant::now()),
        }
        written
    }

    /// Waits until the client closes the connection.
    ///
    /// # Errors
    ///
    /// When it breaks instead.
    pub async fn closed(&mut self) -> io::Result<()> {
        while self.read().await? > 0 {}
        Ok(())
    }

    async fn read(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.unread).await;
        if matches!(read, Ok(0) | Err(_)) {
            self.log.entries().closings.push(Instant::now());
        }
        read
    }
}

/// Reads a request, if it is all there, and tells its length.
fn parse(bytes: &[u8]) -> io::Result<Option<(Received, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(broken)? else { return Ok(None) };
    let mut received = Received {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        ..Received::default()
    };
    for header in request.headers {
        let value = String::from_utf8_lossy(header.value).into_owned();
        if received.headers.insert(header.name.to_ascii_lowercase(), value).is_some() {
            return Err(broken(format!("the header {} comes twice", header.name)));
        }
    }
    let length = received.headers.get("content-length").map_or(Ok(0), |length| length.parse()).map_err(broken)?;
    if received.headers.contains_key("transfer-encoding") {
        return Err(broken("the request's body has no length, which providers do not take"));
    }
    let Some(body) = bytes.get(head..).and_then(|rest| rest.get(..length)) else { return Ok(None) };
    received.body = serde_json::from_slice(body).ok();
    Ok(Some((received, head + length)))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_all_there() {
        let bytes = b"POST /v1/x?y HTTP/1.1\r\nContent-Length: 7\r\nX-Key: a\r\n\r\n{\"a\":1}GET";
        for cut in 0..bytes.len() - 3 {
            assert!(parse(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let (request, length) = parse(bytes).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), length), ("POST", "/v1/x?y", bytes.len() - 3));
        assert_eq!(request.headers["x-key"], "a");
        assert_eq!(request.body, Some(serde_json::json!({"a": 1})));
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bytes in [
            &b"\x16\x03\x01\0\0"[..],
            b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nx: a\r\nX: b\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(parse(bytes).is_err());
        }
    }
}
