//! The chat page: files of the built browser package, and the models that it may run in the browser.
//!
//! It stands on the public listener beside the requests, so that the page asks this gateway without leave from
//! another origin. The headers are part of it: only an isolated page may use threads, and a page that shows what models
//! write must be told what it may load.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use crate::config::ChatTable;
use crate::http_error::HttpError;

/// What the page may load. Scripts are the package's own, which compile WebAssembly; requests go to the models'
/// addresses that a visitor types in; pictures of other origins, through which an answer could carry a conversation
/// away, do not load.
const CONTENT: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
    connect-src 'self' https: http://127.0.0.1:* http://localhost:*; img-src 'self' data: blob:; object-src 'none'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer under the page's path. A browser gives threads only to a page with the first two, and asks
/// that its workers and files have them as well.
const HEADERS: [(HeaderName, &str); 7] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONTENT_SECURITY_POLICY, CONTENT),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Files keep their names from one build to the next: each use is checked, by entity tag, and costs no transfer.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Models by the name of their file.
type Models = Arc<BTreeMap<String, ServeFile>>;

/// A model that the page may load.
#[derive(Debug, Serialize)]
struct Offer {
    /// Its file, in the folder `models`.
    file: String,
    /// Size of the file.
    bytes: u64,
}

/// The page's routes. Paths of the configuration are relative to `folder`.
pub fn router(chat: &ChatTable, folder: &Path) -> Router {
    let (mut offers, mut models) = (Vec::new(), BTreeMap::new());
    for path in chat.models.iter().map(|model| folder.join(model)) {
        // The check of the configuration found the file.
        let (Some(name), Ok(metadata)) = (path.file_name(), path.metadata()) else { continue };
        let file = name.display().to_string();
        models.insert(file.clone(), ServeFile::new(&path));
        offers.push(Offer { file, bytes: metadata.len() });
    }
    let path = chat.path.as_str();
    // How the page finds the routes of requests, wherever a proxy put both.
    let about = Json(json!({ "base": "../".repeat(path.matches('/').count()), "models": offers }));
    // Relative, because a proxy in front may have taken a part of the path away.
    let page = format!("{}/", path.rsplit('/').next().unwrap_or_default());
    Router::new()
        .route(path, get(|| async { (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, page)]) }))
        .route(&format!("{path}/gateway.json"), get(|| async { about }))
        .route(&format!("{path}/models/{{file}}"), get(model))
        .with_state(Arc::new(models))
        .nest_service(&format!("{path}/"), ServeDir::new(folder.join(&chat.assets)))
        .layer(middleware::from_fn(present))
}

async fn model(State(models): State<Models>, UrlPath(file): UrlPath<String>, request: Request) -> Response {
    let Some(model) = models.get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    // Its error type has no values.
    model.clone().oneshot(request).await.into_response()
}

/// Answers what is no file as the rest of the gateway does, and gives every answer the page's headers.
async fn present(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = if matches!(*request.method(), Method::GET | Method::HEAD) {
        let response = within_range(request, next).await;
        if response.status() == StatusCode::NOT_FOUND {
            HttpError::unknown_route(&path).into_response()
        } else {
            response
        }
    } else {
        HttpError::method_not_allowed("GET,HEAD").into_response()
    };
    response.headers_mut().extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// A part of a file, only if the file is still the one that the caller has the rest of (RFC 9110, section 13.1.5);
/// else the whole. tower-http leaves `if-range` aside.
async fn within_range(mut request: Request, next: Next) -> Response {
    let Some(wanted) = request.headers_mut().remove(header::IF_RANGE) else { return next.run(request).await };
    let (parts, body) = request.into_parts();
    let mut whole = parts.clone();
    let response = next.clone().run(Request::from_parts(parts, body)).await;
    let is_part = matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    let is_same =
        [header::ETAG, header::LAST_MODIFIED].iter().any(|name| response.headers().get(name) == Some(&wanted));
    if !is_part || is_same {
        return response;
    }
    whole.headers.remove(header::RANGE);
    next.run(Request::from_parts(whole, Body::empty())).await
}
