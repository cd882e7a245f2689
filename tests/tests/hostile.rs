//! Upstreams that break the protocol, or never come to its end: each is a typed error within its limit on time, and
//! other requests of the same client do not notice.
//!
//! What they can flood us with is in `floods.rs`.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sipp::{CancelReason, ChatRequest, Context, Error, FinishReason, ProviderDescriptor, UpstreamFault};
use sipp_tests::stage::{EVENTS, IDLE, JSON, PIECE, REQUEST, Stage, check, descriptor, question};
use sipp_tests::upstream::{Connection, Upstream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// How much later than its limit a failure may be told on a busy machine.
const LATE: Duration = Duration::from_secs(4);

/// A stage for an upstream that writes something after a request, and closes the connection.
async fn says(bytes: impl Into<Vec<u8>>) -> Result<Stage> {
    let bytes = Arc::new(bytes.into());
    Stage::new(move |mut connection: Connection| {
        let bytes = bytes.clone();
        async move {
            connection.request().await?;
            connection.write(&bytes).await
        }
    })
    .await
}

/// A stage for an upstream that writes something after a request, and then one more byte every 100 ms.
async fn dawdles(begins: impl Into<Vec<u8>>, byte: u8) -> Result<Stage> {
    let begins = Arc::new(begins.into());
    Stage::new(move |mut connection: Connection| {
        let begins = begins.clone();
        async move {
            connection.request().await?;
            connection.write(&begins).await?;
            loop {
                connection.write(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    })
    .await
}

/// A stage for an upstream that writes something after a request, and then nothing any more.
async fn falls_silent(begins: &'static str) -> Result<Stage> {
    Stage::new(move |mut connection: Connection| async move {
        connection.request().await?;
        connection.write(begins.as_bytes()).await?;
        connection.closed().await
    })
    .await
}

/// Sees that something took about as long as its limit.
fn check_time(begun: Instant, limit: Duration) -> Result<()> {
    let took = begun.elapsed();
    ensure!(took >= limit.mul_f64(0.9) && took < limit + LATE, "it took {took:?}, with a limit of {limit:?}");
    Ok(())
}

#[tokio::test]
async fn no_head_ever() -> Result<()> {
    let stage = falls_silent("").await?;
    for streamed in [true, false] {
        let begun = Instant::now();
        let failure = if streamed { stage.stream_failure().await? } else { stage.finite_failure().await? };
        check(&failure, UpstreamFault::Timeout, "took too long")?;
        check_time(begun, REQUEST)?;
    }
    check(&stage.embed_failure().await?, UpstreamFault::Timeout, "took too long")
}

#[tokio::test]
async fn half_a_head_ever() -> Result<()> {
    let failure = falls_silent("HTTP/1.1 200 OK\r\ncontent-type: te").await?.stream_failure().await?;
    check(&failure, UpstreamFault::Timeout, "took too long")
}

#[tokio::test]
async fn a_head_byte_by_byte_for_ever() -> Result<()> {
    let stage = dawdles("HTTP/1.1 200 OK\r\nx-long: ", b'x').await?;
    let begun = Instant::now();
    check(&stage.stream_failure().await?, UpstreamFault::Timeout, "took too long")?;
    check_time(begun, REQUEST)
}

#[tokio::test]
async fn an_answer_in_one_piece_byte_by_byte_for_ever() -> Result<()> {
    let stage = dawdles(JSON, b' ').await?;
    let begun = Instant::now();
    check(&stage.finite_failure().await?, UpstreamFault::Timeout, "took too long")?;
    check_time(begun, REQUEST)?;
    check(&stage.embed_failure().await?, UpstreamFault::Timeout, "took too long")
}

/// A stream was asked for, and what comes is none: it comes in one piece, and has as much time as one.
#[tokio::test]
async fn what_is_no_stream_byte_by_byte_for_ever() -> Result<()> {
    let refusal = JSON.replace("200 OK", "500 Internal Server Error");
    for (head, fault, words) in [
        (JSON.to_owned(), UpstreamFault::Timeout, "took too long"),
        (EVENTS.replace("200 OK", "429 Too Many Requests"), UpstreamFault::RateLimited, "status 429"),
        (refusal, UpstreamFault::Overloaded, "status 500"),
    ] {
        let stage = dawdles(head, b' ').await?;
        let begun = Instant::now();
        check(&stage.stream_failure().await?, fault, words)?;
        check_time(begun, REQUEST)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_falls_silent() -> Result<()> {
    let stage = falls_silent("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: here\n\n").await?;
    let begun = Instant::now();
    check(&stage.stream_failure().await?, UpstreamFault::Timeout, "fell silent")?;
    check_time(begun, IDLE)
}

#[tokio::test]
async fn a_stream_byte_by_byte_lives_until_its_deadline() -> Result<()> {
    let stage = dawdles(format!("{EVENTS}{PIECE}: "), b'x').await?;
    let deadline = REQUEST + IDLE;
    let context = Context { deadline: u32::try_from(deadline.as_millis()).ok(), ..Context::default() };
    let begun = Instant::now();
    let response = stage.watch(stage.client.chat(ChatRequest { context, ..question(true) })).await??;
    check_time(begun, deadline)?;
    assert_eq!(response.text, "Hello");
    assert_eq!(
        (response.finish_reason, response.cancelled),
        (FinishReason::Cancelled, Some(CancelReason::DeadlineExceeded))
    );
    stage.hostile.log().wait("the connection is closed", LATE, |log| !log.closings().is_empty()).await
}

#[tokio::test]
async fn what_is_no_http() -> Result<()> {
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 banana\r\n\r\n",
        "\0\0\0\0",
    ] {
        let failure = says(bytes).await?.stream_failure().await.with_context(|| format!("{bytes:?}"))?;
        check(&failure, UpstreamFault::Protocol, "is not HTTP").with_context(|| format!("{bytes:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn broken_chunks() -> Result<()> {
    let head = EVENTS.replace("connection: close", "transfer-encoding: chunked");
    let failure = says(format!("{head}zz\r\n{PIECE}\r\n")).await?.stream_failure().await?;
    ensure!(matches!(failure.fault, UpstreamFault::Protocol | UpstreamFault::Transport), "{failure:?}");
    assert_eq!(failure.status, Some(200));
    Ok(())
}

#[tokio::test]
async fn half_an_event() -> Result<()> {
    for (half, words) in [
        ("data: {\"choices\":[{\"index\":0,\"delta\":{\"cont", "inside an event"),
        ("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" there\"}}]}\n", "inside an event"),
        ("", "ended"),
    ] {
        let failure = says(format!("{EVENTS}{PIECE}{half}")).await?.stream_failure().await?;
        check(&failure, UpstreamFault::Protocol, words)?;
    }
    Ok(())
}

#[tokio::test]
async fn text_that_is_not_utf_8() -> Result<()> {
    let broken = |head: &str, begins: &str, ends: &str| {
        [head.as_bytes(), begins.as_bytes(), &[0xff, 0xc3, 0x28], ends.as_bytes()].concat()
    };
    let stage =
        says(broken(JSON, "{\"choices\":[{\"message\":{\"content\":\"", "\"},\"finish_reason\":\"stop\"}]}")).await?;
    check(&stage.finite_failure().await?, UpstreamFault::Protocol, "not what was expected")?;
    let stage =
        says(broken(EVENTS, "data: {\"choices\":[{\"delta\":{\"content\":\"", "\"},\"finish_reason\":\"stop\"}]}\n\n"))
            .await?;
    check(&stage.stream_failure().await?, UpstreamFault::Protocol, "UTF-8")
}

#[tokio::test]
async fn another_content_type() -> Result<()> {
    for kind in ["text/html", "application/octet-stream", "text/event-streams", "x"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 2\r\n\r\n{{}}");
        let stage = says(head).await?;
        check(&stage.stream_failure().await?, UpstreamFault::Protocol, "content type")?;
        check(&stage.embed_failure().await?, UpstreamFault::Protocol, "content type")?;
    }
    let stage = says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
    check(&stage.finite_failure().await?, UpstreamFault::Protocol, "content type")
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for() -> Result<()> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let hostile = Upstream::start(move |connection: Connection| {
        let handshake = acceptor.accept(connection.into_stream());
        async move { handshake.await.map(drop) }
    })
    .await?;
    let stage = Stage::with(hostile, |hostile| descriptor(&format!("https://{}", hostile.address()))).await?;
    let failure = stage.stream_failure().await?;
    check(&failure, UpstreamFault::Transport, "certificate")?;
    ensure!(stage.hostile.log().connections() == 1, "a certificate does not get better by itself");
    Ok(())
}

#[tokio::test]
async fn plain_http_where_tls_is_expected() -> Result<()> {
    let hostile = Upstream::start(|mut connection: Connection| async move {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        connection.closed().await
    })
    .await?;
    let stage = Stage::with(hostile, |hostile| descriptor(&format!("https://{}", hostile.address()))).await?;
    check(&stage.stream_failure().await?, UpstreamFault::Transport, "secure connection")
}

#[tokio::test]
async fn a_redirect_leads_nowhere() -> Result<()> {
    let other =
        Upstream::start(|mut connection: Connection| async move { connection.request().await.map(drop) }).await?;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("{}/v1/chat/completions", other.url());
        let reply = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let failure = says(reply).await?.stream_failure().await?;
        check(&failure, UpstreamFault::Protocol, "redirects")?;
        assert_eq!(failure.status.map(|status| status.to_string()).as_deref(), status.split(' ').next());
    }
    ensure!(other.log().connections() == 0, "the redirect was followed, with the credential");
    Ok(())
}

#[tokio::test]
async fn nobody_listens() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let hostile = Upstream::start(|_| async { Ok(()) }).await?;
    let stage = Stage::with(hostile, |_| descriptor(&format!("http://127.0.0.1:{port}"))).await?;
    let begun = Instant::now();
    check(&stage.stream_failure().await?, UpstreamFault::Transport, "does not accept connections")?;
    ensure!(begun.elapsed() < LATE, "it took {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_connection_that_closes_at_once() -> Result<()> {
    let stage = Stage::new(|_| async { Ok(()) }).await?;
    check(&stage.stream_failure().await?, UpstreamFault::Transport, "closed the connection")
}

#[tokio::test]
async fn an_address_inside_the_network_is_refused_where_it_is_not_listed() -> Result<()> {
    let upstream =
        Upstream::start(|mut connection: Connection| async move { connection.request().await.map(drop) }).await?;
    let network = sipp::Network { allow_private: Some(Vec::new()) };
    let client = sipp::SippClient::builder().network(network).build()?;
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}", upstream.address().port());
        client.add("hostile", ProviderDescriptor { ..descriptor(&url) }).await?;
        match client.chat(question(true)).await {
            Err(Error::Upstream(payload)) => ensure!(payload.message.contains("is private"), "{payload:?}"),
            other => anyhow::bail!("expected a refusal, got {other:?}"),
        }
    }
    ensure!(upstream.log().connections() == 0, "it was reached nevertheless");
    Ok(())
}

#[tokio::test]
async fn endless_informational_replies() -> Result<()> {
    let stage = Stage::new(|mut connection: Connection| async move {
        connection.request().await?;
        loop {
            connection.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await?;
    check(&stage.stream_failure().await?, UpstreamFault::Timeout, "took too long")
}
