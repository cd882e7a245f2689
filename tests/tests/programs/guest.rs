//! A stage for one guest: its client, and a healthy one beside it.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sipp::{ChatRequest, Error, LocalDescriptor, Message, SippClient, TextOptions};
use sipp_tests::tree;

/// Within this, whatever a guest does must be over for its caller. The longest wait by design is two seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// What happens on a stage.
pub(crate) type Scene = fn(&Stage) -> Result<()>;

/// A guest's client, and a client with a model that must not notice.
pub(crate) struct Stage {
    pub(crate) guest: SippClient,
    pub(crate) healthy: SippClient,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// Plays a scene with a guest, and sees that the healthy client answers before and after.
    pub(crate) fn play(name: &str, scene: Scene) -> Result<()> {
        let file = tree::components().join(format!("programs/{name}.wasm"));
        let component = std::fs::read(&file)
            .with_context(|| format!("{}; run `cargo x build programs`, which makes it", file.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let guest = SippClient::with_parts(Some(&component), None)?;
        let stage = Self { guest, healthy: SippClient::new()?, runtime };
        stage.run(stage.healthy.add("demo", LocalDescriptor::new(tree::demo_model())))??;
        stage.run(stage.check_health())?.context("before")?;
        scene(&stage)?;
        stage.run(stage.check_health())?.context("after")
    }

    /// Waits for something that must end soon.
    pub(crate) fn run<F: Future>(&self, future: F) -> Result<F::Output> {
        let limited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
        limited.with_context(|| format!("it did not end within {} s", PATIENCE.as_secs()))
    }

    /// Asks the healthy client something.
    pub(crate) async fn check_health(&self) -> Result<()> {
        let request = ChatRequest {
            options: TextOptions { temperature: Some(0.0), ..TextOptions::default() },
            ..ChatRequest::new([Message::user("Count from 1 to 5.")])
        };
        let text = self.healthy.chat(request).await?.text;
        ensure!(text == "1, 2, 3, 4, 5", "the healthy client answers {text:?}");
        Ok(())
    }

    /// Sees that the guest's client is lost, and says so at once.
    pub(crate) fn check_lost(&self) -> Result<()> {
        is_failure(self.run(self.guest.query("again"))?)?;
        is_failure(self.run(self.guest.list())?)
    }
}

/// Sees that a component's failure is what a caller was told.
pub(crate) fn is_failure<T>(result: Result<T, Error>) -> Result<()> {
    match result {
        Err(Error::Internal(text)) if text.starts_with("the client component failed") => Ok(()),
        Err(other) => anyhow::bail!("expected the component's failure, got: {other}"),
        Ok(_) => anyhow::bail!("expected the component's failure, got an answer"),
    }
}
