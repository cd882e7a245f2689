//! The management listener: liveness, readiness, metrics and what the gateway can do.
//!
//! It answers without authentication and says nothing about requests' content. Keep it on a private address.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sipp::SippClient;
use tokio::sync::watch;

use crate::edge;
use crate::http_error::HttpError;
use crate::metrics::{Metrics, OPERATIONS};
use crate::phase::Phase;

/// What the routes look at.
#[derive(Clone, Debug)]
pub struct Management {
    /// Where the gateway stands.
    pub phase: watch::Receiver<Phase>,
    /// What it counted.
    pub metrics: Arc<Metrics>,
    /// Knows the engines.
    pub client: SippClient,
}

/// The routes `/`, `/healthz`, `/readyz` and `/metrics`.
pub fn router(management: Management) -> Router {
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(|| async { HttpError::method_not_allowed("GET,HEAD") });
    edge::with_json_failures(router).with_state(management)
}

async fn index() -> Json<serde_json::Value> {
    Json(json!({ "capabilities": OPERATIONS.map(|operation| operation.to_string()) }))
}

async fn readiness(State(management): State<Management>) -> Response {
    let phase = *management.phase.borrow();
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, phase.word()).into_response()
}

async fn metrics(State(management): State<Management>) -> Result<Response, HttpError> {
    let text = management.metrics.text(&management.client.engines()).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written as text");
        HttpError::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
