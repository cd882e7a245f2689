//! Does what a case says, against one client.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sipp::{Authentication, CancelReason, Credential, Descriptor, Error, Secret, SippClient, TextResponse, TextRun};

use crate::case::{Action, Case, Host, Step};
use crate::models::Models;
use crate::stand_in;
use crate::transcript;
use crate::upstream::{Pace, Replay, SECRET};

/// Stands for the upstream's scheme and authority in a base URL.
const UPSTREAM: &str = "{upstream}";

/// Runs a case with a client, and an upstream, of its own, and returns its transcript: a line for each step.
///
/// # Errors
/// When the case itself is wrong: a model, or a name, that there is not. When its upstream was asked something else than
/// was recorded. A request that fails is a line.
pub async fn run(case: &Case, models: &Models, pace: Pace) -> Result<Vec<Value>> {
    if case.exchanges.is_empty() {
        return transcribe(case, models, None).await;
    }
    let replay = Replay::start(case.exchanges.clone(), pace).await?;
    let lines = transcribe(case, models, Some(replay.upstream.url())).await?;
    replay.check().with_context(|| format!("its transcript was\n{}", json!(lines)))?;
    ensure!(!json!(lines).to_string().contains(SECRET), "the transcript shows the credential");
    Ok(lines)
}

async fn transcribe(case: &Case, models: &Models, upstream: Option<String>) -> Result<Vec<Value>> {
    let client = match case.about.host {
        Host::Real => SippClient::new()?,
        Host::StandIn => SippClient::with_parts(None, Some(stand_in::opener()))?,
    };
    let credential = client.credential(Secret::value(SECRET));
    let host = case.about.host;
    let session = Session { client, models, upstream, credential, host, kept: Mutex::default() };
    let mut lines = Vec::new();
    for step in &case.steps {
        if let Action::All(steps) = &step.action {
            lines.extend(try_join_all(steps.iter().map(|step| session.line(step))).await?);
        } else {
            lines.push(session.line(step).await?);
        }
    }
    Ok(lines)
}

/// What one case works with.
struct Session<'a> {
    client: SippClient,
    models: &'a Models,
    upstream: Option<String>,
    credential: Credential,
    host: Host,
    kept: Mutex<BTreeMap<String, Kept>>,
}

/// A result that later steps compare.
#[derive(Clone)]
enum Kept {
    Text(String),
    Vectors(Vec<Vec<f32>>),
}

impl Session<'_> {
    /// Does a step, and writes its result down.
    async fn line(&self, step: &Step) -> Result<Value> {
        let (verb, result) = match &step.action {
            Action::Add(added) => ("add", self.add(&added.0, &added.1).await?),
            Action::Remove(endpoint) => ("remove", outcome(self.client.remove(endpoint).await, |()| json!({}))),
            Action::List => ("list", outcome(self.client.list().await, |entries| transcript::endpoints(&entries))),
            Action::Query(request) => ("query", self.text(step, self.client.query((**request).clone())).await),
            Action::Chat(request) => ("chat", self.text(step, self.client.chat((**request).clone())).await),
            Action::Embed(request) => {
                let answer = self.client.embed((**request).clone()).await;
                if let (Ok(answer), Some(name)) = (&answer, &step.keep) {
                    self.kept().insert(name.clone(), Kept::Vectors(answer.embedding.vectors.clone()));
                }
                ("embed", outcome(answer, |answer| transcript::embedding(&answer)))
            }
            Action::Close => {
                self.client.close().await;
                ("close", json!({}))
            }
            Action::Same(names) => ("same", json!(self.same(names)?)),
            Action::Nearest { of, to } => ("nearest", json!(self.nearest(of, *to as usize)?)),
            Action::All(_) => anyhow::bail!("`all` stands in no other `all`"),
        };
        let result = transcript::hide(result, &step.hide);
        Ok(self.models.without_paths(json!({ verb: result })))
    }

    async fn add(&self, id: &str, descriptor: &Descriptor) -> Result<Value> {
        let mut descriptor = descriptor.clone();
        if self.host == Host::Real {
            self.complete(&mut descriptor)?;
        }
        let added = self.client.add(id, descriptor).await;
        Ok(outcome(added, |endpoint| transcript::endpoint(&endpoint)))
    }

    /// Puts what there is in this run in the place of its name.
    fn complete(&self, descriptor: &mut Descriptor) -> Result<()> {
        let (base_url, authentication) = match descriptor {
            Descriptor::Local(local) if local.model.trim().is_empty() => return Ok(()),
            Descriptor::Local(local) => {
                local.model = self.models.path(&local.model)?;
                if let Some(projector) = &mut local.multimodal.projector {
                    *projector = self.models.path(projector)?;
                }
                return Ok(());
            }
            Descriptor::Gateway(gateway) => (Some(&mut gateway.base_url), &mut gateway.authentication),
            Descriptor::Provider(provider) => (provider.base_url.as_mut(), &mut provider.authentication),
        };
        if let (Some(base_url), Some(upstream)) = (base_url, &self.upstream) {
            *base_url = base_url.replace(UPSTREAM, upstream);
        }
        match authentication {
            Authentication::None => {}
            Authentication::ApiKey(credential) | Authentication::Bearer(credential) => *credential = self.credential,
            Authentication::Header(header) => header.value = self.credential,
        }
        Ok(())
    }

    async fn text(&self, step: &Step, run: TextRun) -> Value {
        let answer = finish(run, step.cancel_after).await;
        if let (Ok(answer), Some(name)) = (&answer, &step.keep) {
            self.kept().insert(name.clone(), Kept::Text(answer.text.clone()));
        }
        outcome(answer, |answer| transcript::text(&answer))
    }

    fn same(&self, names: &[String]) -> Result<bool> {
        ensure!(names.len() > 1, "`same` compares two texts or more");
        let texts = names.iter().map(|name| match self.find(name)? {
            Kept::Text(text) => Ok(text),
            Kept::Vectors(_) => anyhow::bail!("`{name}` is no text"),
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        Ok(texts.windows(2).all(|pair| pair.first() == pair.last()))
    }

    fn nearest(&self, of: &str, to: usize) -> Result<usize> {
        let Kept::Vectors(vectors) = self.find(of)? else { anyhow::bail!("`{of}` is no embedding") };
        let one = vectors.get(to).with_context(|| format!("`{of}` has no vector {to}"))?;
        let others = vectors.iter().enumerate().filter(|(position, _)| *position != to);
        let nearest = others.max_by(|(_, a), (_, b)| cosine(one, a).total_cmp(&cosine(one, b)));
        nearest.map(|(position, _)| position).with_context(|| format!("`{of}` has one vector only"))
    }

    fn find(&self, name: &str) -> Result<Kept> {
        self.kept().get(name).cloned().with_context(|| format!("no result was kept as `{name}`"))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a run to its end, or cancels it on the way.
async fn finish(mut run: TextRun, cancel_after: Option<u32>) -> Result<TextResponse, Error> {
    if cancel_after == Some(0) {
        run.cancel(CancelReason::CallerCancelled);
    }
    let mut tokens = 0_u32;
    while let Some(batch) = run.next().await {
        tokens += batch.tokens;
        if cancel_after.is_some_and(|limit| tokens >= limit) {
            run.cancel(CancelReason::CallerCancelled);
        }
    }
    run.await
}

fn outcome<T>(result: Result<T, Error>, write: impl FnOnce(T) -> Value) -> Value {
    result.map_or_else(|error| transcript::error(&error), write)
}

/// Similarity of two directions, from -1 to 1.
fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(one, other) / (dot(one, one).sqrt() * dot(other, other).sqrt())
}
