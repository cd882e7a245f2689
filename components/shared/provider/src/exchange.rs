//! One exchange with the endpoint's origin: a JSON body there, a reply back, whole or as events.
//!
//! What a provider sends is not trusted: every length is bounded, and what breaks the protocol is a typed error.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use sse::{Decoder, Event};
use wit_bindgen::{StreamReader, StreamResult};

use crate::bindings::wasi::http::client;
use crate::bindings::wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme, Trailers};
use crate::bindings::{wit_future, wit_stream};
use crate::fault::{broken, failed};
use crate::retry_after::retry_after;
use crate::{Context, Error, Settings, invalid};

/// Largest reply that is taken in one piece, in bytes: vectors of some thousand texts.
const LARGEST: usize = 64 << 20;

/// Most of a refusal's body that is looked at, in bytes.
const LARGEST_REFUSAL: usize = 1 << 20;

/// Bytes of a long body that are kept together until it is whole.
const SEGMENT: usize = 1 << 20;

/// Bytes that are asked for at once.
const CHUNK: usize = 16 << 10;

/// A request that is being put together.
pub struct Post<'a> {
    settings: &'a Settings,
    path: &'a str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl<'a> Post<'a> {
    /// A POST of JSON to a path below the endpoint's base URL. `path` begins with a slash.
    #[must_use]
    pub fn new(settings: &'a Settings, path: &'a str, body: Vec<u8>) -> Self {
        let length = body.len().to_string();
        let post = Self { settings, path, headers: Vec::new(), body };
        post.header("content-type", "application/json").header("content-length", &length)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// Says which form of reply is wanted.
    #[must_use]
    pub fn accept(self, stream: bool) -> Self {
        self.header("accept", if stream { "text/event-stream" } else { "application/json" })
    }

    /// Adds the request's id in the header that the endpoint has for it, or else in `usual`, if there is one.
    #[must_use]
    pub fn correlate(self, context: &Context, usual: Option<&str>) -> Self {
        let header = self.settings.correlation_header.as_deref().or(usual);
        match (header, &context.request_id) {
            (Some(header), Some(id)) => self.header(header, id),
            (None, _) | (_, None) => self,
        }
    }

    /// Sends it, and waits for the head of the reply. A status other than 2xx is a reply too.
    ///
    /// # Errors
    ///
    /// [`Error::Upstream`] when there is no reply, and [`Error::InvalidRequest`] for an address or a header that cannot
    /// be.
    pub async fn send(self) -> Result<Reply, Error> {
        let provider = self.settings.provider.clone();
        let (scheme, authority, path) =
            split(&self.settings.base_url).ok_or_else(|| invalid("base_url is not a URL"))?;
        let headers = Fields::from_list(&self.headers)
            .map_err(|error| invalid(format!("a header of the request cannot be sent: {error:?}")))?;
        let (mut writer, contents) = wit_stream::new();
        let (trailers, no_trailers) = wit_future::new(|| Ok::<Option<Trailers>, ErrorCode>(None));
        let (request, sent) = Request::new(headers, Some(contents), no_trailers, None);
        let path = format!("{path}{}", self.path);
        let placed = request
            .set_method(&Method::Post)
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(authority)))
            .and_then(|()| request.set_path_with_query(Some(&path)));
        placed.map_err(|()| invalid("base_url cannot be sent to"))?;
        let body = self.body;
        wit_bindgen::spawn_local(async move {
            // What is left over was not wanted: the reply says why.
            writer.write_all(body).await;
            drop((writer, trailers));
            drop(sent);
        });
        let response = client::send(request).await.map_err(|code| failed(&provider, None, &code))?;
        Reply::new(provider, response)
    }
}

/// Scheme, authority and path of a base URL, which a host has checked.
fn split(url: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme, authority, path.trim_end_matches('/')))
}

/// Status and headers of a reply.
#[derive(Debug, Clone, Default)]
pub struct ReplyHead {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl ReplyHead {
    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The id that the upstream gave the request.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.header("x-request-id").or_else(|| self.header("request-id")).map(str::to_owned)
    }

    /// Milliseconds to wait before another attempt, as far as the upstream says.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        retry_after(|name| self.header(name))
    }

    /// Whether the body is of a media type, whatever its parameters.
    #[must_use]
    pub fn is(&self, media_type: &str) -> bool {
        let own = self.header("content-type").and_then(|value| value.split(';').next());
        own.is_some_and(|own| own.trim().eq_ignore_ascii_case(media_type))
    }
}

/// A reply whose head has come.
pub struct Reply {
    provider: String,
    /// Its status and headers.
    pub head: ReplyHead,
    /// What comes after the head.
    pub body: Body,
}

impl Reply {
    fn new(provider: String, response: Response) -> Result<Self, Error> {
        let status = response.get_status_code();
        let headers = response.get_headers().copy_all();
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let head = ReplyHead { status, headers };
        // None was asked for, and an unasked one is a way to flood whoever unpacks it.
        if head.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(broken(&provider, &head, "the reply is compressed, which was not asked for"));
        }
        let (_reading, read) = wit_future::new(|| Ok(()));
        let (contents, trailers) = Response::consume_body(response, read);
        let body = Body {
            provider: provider.clone(),
            head: head.clone(),
            contents,
            trailers: Some(trailers),
            decoder: Decoder::new(),
            events: VecDeque::new(),
        };
        Ok(Self { provider, head, body })
    }

    /// Whether the upstream accepted the request.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.head.status)
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Upstream`] when it ends early, is too long, or is no JSON of that shape.
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let body = self.body.whole(LARGEST).await?;
        let Some(body) = body else {
            return Err(broken(&self.provider, &self.head, format!("the reply is longer than {} MiB", LARGEST >> 20)));
        };
        serde_json::from_slice(&body)
            .map_err(|error| broken(&self.provider, &self.head, format!("the reply is not what was expected: {error}")))
    }

    /// The body of a refusal as JSON, as far as it is that: a proxy's page of HTML is none.
    pub async fn refusal<T: DeserializeOwned>(&mut self) -> Option<T> {
        let body = self.body.whole(LARGEST_REFUSAL).await.ok()??;
        serde_json::from_slice(&body).ok()
    }
}

/// What comes after a reply's head. To drop it is to end the exchange.
pub struct Body {
    provider: String,
    head: ReplyHead,
    contents: StreamReader<u8>,
    trailers: Option<wit_bindgen::FutureReader<Result<Option<Trailers>, ErrorCode>>>,
    decoder: Decoder,
    events: VecDeque<Event>,
}

impl Body {
    /// The next bytes, none at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Upstream`] when the body ends before it is complete.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.contents.read(Vec::with_capacity(CHUNK)).await {
                (StreamResult::Complete(0), _) => {}
                (StreamResult::Complete(_), bytes) => return Ok(Some(bytes)),
                (StreamResult::Dropped | StreamResult::Cancelled, _) => break,
            }
        }
        match self.trailers.take() {
            Some(trailers) => match trailers.await {
                Ok(_) => Ok(None),
                Err(code) => Err(failed(&self.provider, Some(&self.head), &code)),
            },
            None => Ok(None),
        }
    }

    /// The next events, as many as have come together; none at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Upstream`] when the body ends inside an event or before it is complete, or when an event is too long.
    pub async fn events(&mut self) -> Result<Option<VecDeque<Event>>, Error> {
        while let Some(chunk) = self.chunk().await? {
            let pushed = self.decoder.push(&chunk);
            self.events.extend(std::iter::from_fn(|| self.decoder.next()));
            if let Err(error) = pushed {
                return Err(self.broken(error.to_string()));
            }
            if self.decoder.is_lossy() {
                return Err(self.broken("an event is not UTF-8"));
            }
            if !self.events.is_empty() {
                return Ok(Some(std::mem::take(&mut self.events)));
            }
        }
        if self.decoder.is_inside_event() {
            return Err(self.broken("the reply ended inside an event"));
        }
        Ok(None)
    }

    /// That the upstream broke its protocol.
    #[must_use]
    pub fn broken(&self, message: impl Into<String>) -> Error {
        broken(&self.provider, &self.head, message)
    }

    /// The whole body, none when it is longer than `limit` bytes.
    async fn whole(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        // In segments: one that grew as a whole would need three times its length of a guest's memory.
        let mut segments: Vec<Vec<u8>> = Vec::new();
        let mut length: usize = 0;
        let announced = self.head.header("content-length").and_then(|length| length.parse().ok());
        // Nothing comes after the announced length; to wait for the end all the same would take time.
        while announced != Some(length)
            && let Some(chunk) = self.chunk().await?
        {
            length += chunk.len();
            if length > limit {
                return Ok(None);
            }
            match segments.last_mut() {
                Some(last) if last.len() + chunk.len() <= last.capacity() => last.extend_from_slice(&chunk),
                None if chunk.len() < CHUNK => segments.push(chunk),
                Some(_) | None => {
                    let mut segment = Vec::with_capacity(SEGMENT.max(chunk.len()));
                    segment.extend_from_slice(&chunk);
                    segments.push(segment);
                }
            }
        }
        Ok(Some(if segments.len() == 1 { segments.pop().unwrap_or_default() } else { segments.concat() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_split() {
        for (url, authority, path) in [
            ("https://api.example/v1", "api.example", "/v1"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", ""),
            ("https://[::1]:1/a/b/", "[::1]:1", "/a/b"),
        ] {
            let (_, own, rest) = split(url).unwrap();
            assert_eq!((own, rest), (authority, path), "{url}");
        }
        assert!(split("ftp://a").is_none() && split("a.example").is_none());
    }

    #[test]
    fn heads_are_read_without_regard_to_case_and_parameters() {
        let headers = vec![("content-type".to_owned(), b"Application/JSON; charset=utf-8".to_vec())];
        let head = ReplyHead { status: 200, headers };
        assert!(head.is("application/json") && !head.is("text/event-stream"));
        assert_eq!(head.request_id(), None);
    }
}
