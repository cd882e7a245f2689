//! A credential is shown to its upstream and to nobody else: not in errors, not in debug output, not in logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use sipp::{Authentication, ProviderDescriptor, Secret, SippClient};
use sipp_tests::stage::{EVENTS, JSON, PIECE, descriptor, question};
use sipp_tests::upstream::{Connection, SECRET, Upstream};
use tracing_subscriber::filter::LevelFilter;

/// Everything that was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// What upstreams say that repeat what they were told.
fn replies() -> Vec<String> {
    let refused = JSON.replace("200 OK", "401 Unauthorized");
    let echo = format!("{{\"error\":{{\"message\":\"wrong key {SECRET}\",\"code\":\"{SECRET}\",\"type\":\"x\"}}}}");
    let named = refused.replace("\r\n\r\n", &format!("\r\nx-request-id: {SECRET}\r\n\r\n"));
    vec![
        format!("{refused}{echo}"),
        format!("{named}{echo}"),
        format!("{refused}{SECRET}"),
        format!("{EVENTS}{PIECE}data: {echo}\n\n"),
        format!("{EVENTS}{PIECE}data: {SECRET}\n\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-type: {SECRET}\r\n\r\n"),
        format!("{SECRET}\r\n\r\n"),
        String::new(),
    ]
}

#[tokio::test]
async fn a_credential_is_shown_nowhere() -> Result<()> {
    let logged = Logged::default();
    let writer = logged.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .try_init()
        .map_err(anyhow::Error::msg)?;
    let mut shown = format!("{:?}", Secret::value(SECRET));
    for reply in replies() {
        let upstream = Upstream::start(move |mut connection: Connection| {
            let reply = reply.clone();
            async move {
                connection.request().await?;
                connection.write(reply.as_bytes()).await
            }
        })
        .await?;
        let client = SippClient::new()?;
        let authentication = Authentication::Bearer(client.credential(Secret::value(SECRET)));
        let descriptor = ProviderDescriptor { authentication, ..descriptor(&upstream.url()) };
        shown += &format!("{descriptor:?} {client:?}");
        client.add("hostile", descriptor).await?;
        let run = client.chat(question(true));
        shown += &format!("{run:?}");
        let Err(error) = run.await else { anyhow::bail!("it is no answer") };
        shown += &format!("{error} {error:?}\n");
        let requests = upstream.log().requests();
        let [request] = &requests[..] else { anyhow::bail!("there were {} requests", requests.len()) };
        assert_eq!(request.headers["authorization"], format!("Bearer {SECRET}"));
    }
    let log = logged.text();
    ensure!(!shown.contains(SECRET), "it is shown:\n{shown}");
    ensure!(log.lines().count() > 10, "nothing was logged that it could be in:\n{log}");
    let found = log.lines().find(|line| line.contains(SECRET));
    ensure!(found.is_none(), "it is logged: {found:?}");
    Ok(())
}
