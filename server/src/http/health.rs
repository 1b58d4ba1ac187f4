//! What is always on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::problem::Problem;
use crate::http::{App, respond};

/// The process is up.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn healthz() -> Response {
    respond::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// The store can be read, and the writer runs.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, body = serde_json::Value), Problem))]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let not_ready = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).after(1);
    app.reader.check().await.map_err(|error| not_ready(error.to_string()))?;
    if app.engine.is_over() {
        return Err(not_ready("the writer has stopped".into()));
    }
    // On a full disk it answers, and takes what moves begun work: no reason to send its webhooks elsewhere.
    let body = match app.reader.node().full_since() {
        Some(since) => json!({"status": "ok", "disk_full_since": since.to_string()}),
        None => json!({"status": "ok"}),
    };
    Ok(respond::json(StatusCode::OK, &body))
}

/// What is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let text = app.metrics.render(&app.reader, (app.clock)()).await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn openapi() -> Response {
    let document = super::document().to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
