//! The official Python clients of OpenAI and Anthropic read the cassettes as ours does.
//!
//! Each cassette that they can ask for is replayed to them by the same fake upstream, which checks their requests as it
//! checks ours. So the fake upstream behaves as the providers do, as far as their own clients can tell, and our requests
//! are theirs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sipp_tests::case::{Case, Runner};
use sipp_tests::expected;
use sipp_tests::tree;
use sipp_tests::upstream::{Pace, Replay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai() -> Result<()> {
    ask(&["openai", "openai_compatible"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic() -> Result<()> {
    ask(&["anthropic"]).await
}

/// Replays every cassette of these providers to their client.
async fn ask(providers: &[&str]) -> Result<()> {
    let (mut cases, mut replays, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for case in Case::cassettes()? {
        let (provider, _) = case.name.split_once('/').context("a cassette has a provider")?;
        if providers.contains(&provider) && !case.about.skip.contains_key(&Runner::Sdk) {
            let replay = Replay::start(case.exchanges.clone(), Pace::Whole).await?;
            jobs.push(job(provider, &case, replay.upstream.url())?);
            replays.push(replay);
            cases.push(case.name);
        }
    }
    ensure!(cases.len() > 20, "there are {} cassettes only", cases.len());
    let answers = tokio::task::spawn_blocking(move || check(&jobs)).await??;
    ensure!(answers.len() == cases.len(), "{} answers came for {} cassettes", answers.len(), cases.len());
    let mut found = Vec::new();
    for ((name, replay), difference) in cases.iter().zip(&replays).zip(answers) {
        if !difference.is_empty() {
            found.push(format!("{name}: {difference}"));
        }
        if let Err(error) = replay.check() {
            found.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(found.is_empty(), "{} of {} cassettes differ:\n{}", found.len(), cases.len(), found.join("\n"));
    Ok(())
}

/// What their client is to ask, and what ours reads.
fn job(provider: &str, case: &Case, url: String) -> Result<Value> {
    let exchange = case.exchanges.first().with_context(|| format!("{}: there is no request", case.name))?;
    let lines = expected::read(&case.expected_file())?;
    let request = &exchange.request;
    let headers: Value = request.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(json!({
        "provider": provider,
        "url": url,
        "request": { "path": request.path, "headers": headers, "body": request.body },
        "retries": case.exchanges.len() - 1,
        "expected": lines.last().with_context(|| format!("{}: nothing is expected", case.name))?,
    }))
}

/// Hands the jobs to Python, and returns a text for each: how it differs.
fn check(jobs: &[Value]) -> Result<Vec<String>> {
    let python = tree::python()?;
    let script = tree::root().join("tests/sdk/check.py");
    let mut child = Command::new(&python)
        .arg(&script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", python.display()))?;
    let input = serde_json::to_vec(jobs)?;
    // All of it is read before anything is written.
    child.stdin.take().context("there is no standard input")?.write_all(&input)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed: {}", script.display(), output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
