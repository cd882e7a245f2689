//! When connections to upstreams are made, used again and closed, and who is shown a credential.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sipp::{
    Authentication, CancelReason, ChatRequest, Context, EmbedRequest, Error, FinishReason, HeaderCredential,
    ProviderDescriptor, Secret, SippClient,
};
use sipp_tests::stage::{EVENTS, JSON, PATIENCE, PIECE, descriptor, endpoint, question};
use sipp_tests::upstream::{Connection, Upstream};

/// Within this a connection that nobody wants any more is closed, on a busy machine too.
const SOON: Duration = Duration::from_secs(2);

/// The end of a streamed answer.
const LAST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// An upstream that writes the beginning of a reply, and then waits for its client to go away.
async fn waiting(begins: &'static str) -> Result<(SippClient, Upstream)> {
    let upstream = Upstream::start(move |mut connection: Connection| async move {
        connection.request().await?;
        connection.write(begins.as_bytes()).await?;
        connection.closed().await
    })
    .await?;
    let client = SippClient::new()?;
    // Time is not what ends these requests.
    let patient = ProviderDescriptor { timeouts: sipp::Timeouts::default(), ..descriptor(&upstream.url()) };
    client.add("hostile", patient).await?;
    Ok((client, upstream))
}

/// Sees that the upstream's only connection is closed soon after `since`.
async fn check_closed(upstream: &Upstream, since: Instant) -> Result<()> {
    upstream.log().wait("the connection is closed", PATIENCE, |log| !log.closings().is_empty()).await?;
    for closing in upstream.log().closings() {
        let took = closing.saturating_duration_since(since);
        ensure!(closing >= since && took < SOON, "the connection was closed after {took:?}");
    }
    ensure!(upstream.log().requests().len() == 1, "there was another request");
    Ok(())
}

async fn asked(upstream: &Upstream) -> Result<()> {
    upstream.log().wait("a request comes", PATIENCE, |log| log.requests().len() == 1).await
}

fn streamed_piece() -> &'static str {
    concat!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
        "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n"
    )
}

#[tokio::test]
async fn a_cancelled_stream_is_closed_and_keeps_its_text() -> Result<()> {
    let (client, upstream) = waiting(streamed_piece()).await?;
    let mut run = client.chat(question(true));
    ensure!(run.next().await.is_some(), "no token came");
    let since = Instant::now();
    run.cancel(CancelReason::CallerCancelled);
    let response = run.await?;
    assert_eq!((response.text.as_str(), response.finish_reason), ("Hello", FinishReason::Cancelled));
    assert_eq!(response.cancelled, Some(CancelReason::CallerCancelled));
    check_closed(&upstream, since).await
}

#[tokio::test]
async fn a_dropped_stream_is_closed() -> Result<()> {
    let (client, upstream) = waiting(streamed_piece()).await?;
    let mut run = client.chat(question(true));
    ensure!(run.next().await.is_some(), "no token came");
    let since = Instant::now();
    drop(run);
    check_closed(&upstream, since).await
}

#[tokio::test]
async fn a_request_that_is_dropped_before_its_reply_is_closed() -> Result<()> {
    for stream in [true, false] {
        let (client, upstream) = waiting("").await?;
        let run = client.chat(question(stream));
        asked(&upstream).await?;
        let since = Instant::now();
        drop(run);
        check_closed(&upstream, since).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_in_one_piece_that_is_dropped_half_way_is_closed() -> Result<()> {
    let (client, upstream) = waiting(JSON).await?;
    let run = client.chat(question(false));
    asked(&upstream).await?;
    let since = Instant::now();
    drop(run);
    check_closed(&upstream, since).await
}

#[tokio::test]
async fn a_dropped_embed_is_closed() -> Result<()> {
    for begins in ["", JSON] {
        let (client, upstream) = waiting(begins).await?;
        let request = EmbedRequest { endpoint: Some(endpoint("hostile")), ..EmbedRequest::new(["hi"]) };
        let run = client.embed(request);
        asked(&upstream).await?;
        let since = Instant::now();
        drop(run);
        check_closed(&upstream, since).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_deadline_closes_what_runs() -> Result<()> {
    for (begins, stream) in [("", true), ("", false), (JSON, false), (streamed_piece(), true)] {
        let (client, upstream) = waiting(begins).await?;
        let context = Context { deadline: Some(300), ..Context::default() };
        let since = Instant::now();
        match client.chat(ChatRequest { context, ..question(stream) }).await {
            Ok(response) => assert_eq!(response.cancelled, Some(CancelReason::DeadlineExceeded)),
            Err(Error::Cancelled(reason)) => assert_eq!(reason, CancelReason::DeadlineExceeded),
            Err(other) => bail!("expected that the deadline passed, got {other:?}"),
        }
        check_closed(&upstream, since).await?;
    }
    Ok(())
}

#[tokio::test]
async fn closing_the_client_closes_what_runs() -> Result<()> {
    let (client, upstream) = waiting(streamed_piece()).await?;
    let mut run = client.chat(question(true));
    ensure!(run.next().await.is_some(), "no token came");
    let since = Instant::now();
    client.close().await;
    assert_eq!(run.await?.finish_reason, FinishReason::Cancelled);
    check_closed(&upstream, since).await
}

/// A client of an upstream that is always overloaded, and says how many milliseconds to wait.
async fn overloaded(wait: u32) -> Result<(SippClient, Upstream)> {
    let upstream = Upstream::start(move |mut connection: Connection| async move {
        while connection.request().await?.is_some() {
            let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0";
            connection.write(format!("{head}\r\nretry-after-ms: {wait}\r\n\r\n").as_bytes()).await?;
        }
        Ok(())
    })
    .await?;
    let client = SippClient::new()?;
    client.add("hostile", ProviderDescriptor { retries: Some(3), ..descriptor(&upstream.url()) }).await?;
    Ok((client, upstream))
}

#[tokio::test]
async fn another_attempt_waits_as_it_was_told() -> Result<()> {
    let (client, upstream) = overloaded(300).await?;
    let begun = Instant::now();
    ensure!(client.chat(question(true)).await.is_err(), "it is no answer");
    assert_eq!(upstream.log().requests().len(), 4);
    let took = begun.elapsed();
    ensure!(took >= Duration::from_millis(900) && took < PATIENCE, "three waits of 300 ms took {took:?}");
    Ok(())
}

#[tokio::test]
async fn a_wait_for_another_attempt_ends_with_its_request() -> Result<()> {
    let (client, upstream) = overloaded(400).await?;
    let run = client.chat(question(true));
    asked(&upstream).await?;
    drop(run);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(upstream.log().requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_wait_for_another_attempt_ends_at_the_deadline() -> Result<()> {
    let (client, upstream) = overloaded(30_000).await?;
    let context = Context { deadline: Some(300), ..Context::default() };
    let begun = Instant::now();
    match client.chat(ChatRequest { context, ..question(true) }).await {
        Err(Error::Cancelled(reason)) => assert_eq!(reason, CancelReason::DeadlineExceeded),
        other => bail!("expected that the deadline passed, got {other:?}"),
    }
    ensure!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    assert_eq!(upstream.log().requests().len(), 1);
    Ok(())
}

/// Answers every request of a connection.
async fn answer(mut connection: Connection) -> io::Result<()> {
    let body = format!("{PIECE}{LAST}");
    let head = EVENTS.replace("connection: close", &format!("content-length: {}", body.len()));
    while connection.request().await?.is_some() {
        connection.write(format!("{head}{body}").as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_is_used_again() -> Result<()> {
    let upstream = Upstream::start(answer).await?;
    let client = SippClient::new()?;
    client.add("hostile", descriptor(&upstream.url())).await?;
    for _ in 0..10 {
        assert_eq!(client.chat(question(true)).await?.text, "Hello");
    }
    assert_eq!((upstream.log().requests().len(), upstream.log().connections()), (10, 1));
    Ok(())
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_begun_anew() -> Result<()> {
    let upstream = Upstream::start(|mut connection: Connection| async move {
        connection.request().await?;
        connection.write(format!("{EVENTS}{PIECE}").as_bytes()).await
    })
    .await?;
    let client = SippClient::new()?;
    client.add("hostile", ProviderDescriptor { retries: Some(5), ..descriptor(&upstream.url()) }).await?;
    ensure!(client.chat(question(true)).await.is_err(), "half an answer passes for a whole one");
    assert_eq!(upstream.log().requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn each_endpoint_has_its_own_credential() -> Result<()> {
    let (one, other) = (Upstream::start(answer).await?, Upstream::start(answer).await?);
    let client = SippClient::new()?;
    for (id, upstream) in [("one", &one), ("other", &other)] {
        let value = client.credential(Secret::value(format!("secret-of-{id}")));
        let authentication = Authentication::Header(HeaderCredential { name: "x-key".to_owned(), value });
        client.add(id, ProviderDescriptor { authentication, ..descriptor(&upstream.url()) }).await?;
    }
    for id in ["one", "other", "one"] {
        client.chat(ChatRequest { endpoint: Some(endpoint(id)), ..question(true) }).await?;
    }
    for (id, upstream, requests) in [("one", &one, 2), ("other", &other, 1)] {
        let seen = upstream.log().requests();
        assert_eq!(seen.len(), requests);
        for request in seen {
            let secrets = request.headers.values().filter(|value| value.contains("secret-of-")).collect::<Vec<_>>();
            assert_eq!(secrets, [&format!("secret-of-{id}")]);
        }
    }
    Ok(())
}

/// The bearer tokens that an upstream saw.
fn tokens(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.log().requests().into_iter();
    requests.map(|mut request| request.headers.remove("authorization").unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_credential_is_asked_for_before_every_request() -> Result<()> {
    let upstream = Upstream::start(answer).await?;
    let client = SippClient::new()?;
    let issued = Arc::new(AtomicU32::new(0));
    let issuer = issued.clone();
    let secret = Secret::callback(move || {
        let number = issuer.fetch_add(1, Relaxed);
        async move { if number < 2 { Ok(format!("token-{number}")) } else { Err("the issuer is away") } }
    });
    let authentication = Authentication::Bearer(client.credential(secret));
    client.add("hostile", ProviderDescriptor { authentication, ..descriptor(&upstream.url()) }).await?;
    for _ in 0..2 {
        client.chat(question(true)).await?;
    }
    match client.chat(question(true)).await {
        Err(Error::InvalidRequest(text)) => ensure!(text.contains("the issuer is away"), "{text}"),
        other => bail!("expected that there is no credential, got {other:?}"),
    }
    assert_eq!(tokens(&upstream), ["Bearer token-0", "Bearer token-1"]);
    Ok(())
}

#[tokio::test]
async fn a_forgotten_credential_opens_nothing_more() -> Result<()> {
    let upstream = Upstream::start(answer).await?;
    let client = SippClient::new()?;
    let credential = client.credential(Secret::value("token"));
    let described =
        || ProviderDescriptor { authentication: Authentication::Bearer(credential), ..descriptor(&upstream.url()) };
    client.add("hostile", described()).await?;
    client.forget(credential);
    ensure!(matches!(client.add("late", described()).await, Err(Error::InvalidRequest(_))), "it is still known");
    client.chat(question(true)).await?;
    assert_eq!(tokens(&upstream), ["Bearer token"]);
    Ok(())
}
