//! A short soak; `cargo x bench soak` is the long one.

use std::time::Duration;

use anyhow::{Result, ensure};
use sipp_tests::soak;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_request_at_once_ends_as_it_should() -> Result<()> {
    let report = soak::run(Duration::from_secs(10), 7).await?;
    ensure!(report.answered > 0 && report.cancelled > 0 && report.refused > 0, "{report:?}");
    Ok(())
}
