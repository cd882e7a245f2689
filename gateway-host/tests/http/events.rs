//! Reads server-sent events off a response.

use futures_util::{Stream, StreamExt};
use reqwest::Response;
use serde_json::Value;

/// One event: its name and its data.
pub(crate) type Event = (String, Value);

/// The events of a response, as they come.
pub(crate) fn events(response: Response) -> impl Stream<Item = Event> + Unpin {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let chunks = Box::pin(response.bytes_stream());
    Box::pin(futures_util::stream::unfold((chunks, String::new()), |(mut chunks, mut text)| async move {
        loop {
            if let Some((event, rest)) = text.split_once("\n\n") {
                let event = parse(event);
                text = rest.to_owned();
                match event {
                    Some(event) => return Some((event, (chunks, text))),
                    None => continue,
                }
            }
            text.push_str(std::str::from_utf8(&chunks.next().await?.unwrap()).unwrap());
        }
    }))
}

/// All events until the response ends.
pub(crate) async fn all(response: Response) -> Vec<Event> {
    events(response).collect().await
}

/// Exactly two lines, as the profile has it; a comment is no event.
fn parse(event: &str) -> Option<Event> {
    if event.starts_with(':') {
        return None;
    }
    let (name, data) = event.split_once('\n').expect("two lines");
    let name = name.strip_prefix("event: ").expect("an event line");
    let data = data.strip_prefix("data: ").expect("a data line");
    Some((name.to_owned(), serde_json::from_str(data).expect("JSON")))
}
