//! Reads a request body within limits of type, size and time.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::http_error::HttpError;

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How long the rest of a refused body is read and thrown away. A connection that is closed over unread bytes is
/// reset, and the caller would see that instead of the refusal.
const DISCARD: Duration = Duration::from_secs(2);

/// Reads the body of `request`, which must be JSON of at most `limit` bytes.
///
/// # Errors
/// `unsupported_media_type`, `too_large`, `request_timeout`, or `invalid_json` where the connection broke the body off.
pub async fn read(request: Request, limit: usize) -> Result<Vec<u8>, HttpError> {
    check_type(request.headers())?;
    let announced = announced_length(request.headers());
    let waits_for_leave = request.headers().contains_key(header::EXPECT);
    let mut chunks = request.into_body().into_data_stream();
    if announced.is_some_and(|length| length > limit as u64) {
        // Who waits for leave to send the body is told at once: reading would give that leave.
        if !waits_for_leave {
            discard(chunks).await;
        }
        return Err(HttpError::too_large(limit));
    }
    match timeout(ARRIVAL, collect(&mut chunks, limit)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => {
            discard(chunks).await;
            Err(HttpError::too_large(limit))
        }
        Ok(Err(error)) => Err(HttpError::invalid_json(format!("the body broke off: {error}"))),
        Err(_) => Err(HttpError::body_timeout(ARRIVAL)),
    }
}

/// Refuses bodies that say they are something else than JSON. One that says nothing is taken for JSON.
fn check_type(headers: &HeaderMap) -> Result<(), HttpError> {
    let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(found) = value(header::CONTENT_TYPE).filter(|found| !is_json(found)) {
        return Err(HttpError::unsupported_media_type(&found));
    }
    match value(header::CONTENT_ENCODING).filter(|coding| !coding.trim().eq_ignore_ascii_case("identity")) {
        Some(coding) => Err(HttpError::unsupported_media_type(&coding)),
        None => Ok(()),
    }
}

/// `application/json`, or a type that is built on it (RFC 6839), with any parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body; none if it is longer than `limit`.
async fn collect(chunks: &mut BodyDataStream, limit: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if chunk.len() > limit - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

async fn discard(mut chunks: BodyDataStream) {
    // Whether it ends, breaks off or takes too long: the refusal is sent next.
    let _ = timeout(DISCARD, async { while let Some(Ok(_)) = chunks.next().await {} }).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn read_as(name: header::HeaderName, value: &str, body: &'static str) -> Result<Vec<u8>, HttpError> {
        read(Request::builder().header(name, value).body(Body::from(body)).unwrap(), 4).await
    }

    #[tokio::test]
    async fn takes_json_up_to_the_limit() {
        for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert_eq!(read_as(header::CONTENT_TYPE, content_type, "null").await.unwrap(), b"null");
        }
        assert_eq!(read(Request::new(Body::from("null")), 4).await.unwrap(), b"null");
    }

    #[tokio::test]
    async fn refuses_other_types() {
        for content_type in ["text/plain", "", "application/jsonl", "text/json"] {
            let refusal = read_as(header::CONTENT_TYPE, content_type, "null").await.unwrap_err();
            assert_eq!(refusal.code().0, "unsupported_media_type");
        }
        let refusal = read_as(header::CONTENT_ENCODING, "gzip", "null").await.unwrap_err();
        assert_eq!(refusal.code().0, "unsupported_media_type");
    }

    #[tokio::test]
    async fn refuses_what_is_too_large_announced_or_not() {
        assert_eq!(read_as(header::CONTENT_LENGTH, "5", "false").await.unwrap_err().code().0, "too_large");
        assert_eq!(read(Request::new(Body::from("false")), 4).await.unwrap_err().code().0, "too_large");
    }
}
