//! `/v1/hold` and `/v1/resume`: a held server receives, and sends nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use taskhook_core::{HoldCommand, Outcome};
use utoipa::ToSchema;

use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::problem::Problem;
use crate::http::target::NoQuery;
use crate::http::tasks::{options, unexpected};
use crate::http::{App, respond};

/// Whether the server is held.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldBody {
    /// It sends nothing.
    pub(super) held: bool,
    /// Since when; null where it is not held.
    pub(super) since: Option<String>,
}

/// Whether the server is held, and since when.
#[utoipa::path(get, path = "/v1/hold", tag = "server", responses((status = 200, body = HoldBody), Problem))]
pub(super) async fn get(State(app): State<Arc<App>>, _: NoQuery) -> Result<Response, Problem> {
    show(&app).await
}

/// Holds the server: it receives, and dispatches, polls and fires nothing.
///
/// It stays held until it is resumed, over restarts too. Webhooks are taken and applied, tasks are created, cancelled
/// and retried; what is due stays `queued`, with the code `held`. What was begun goes on: its answers are taken, and its
/// time-outs are judged.
#[utoipa::path(
    post, path = "/v1/hold", tag = "server",
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = HoldBody, description = "It is held, if only now or since before"), Problem)
)]
pub(super) async fn hold(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    submit(&app, asking, HoldCommand::Hold).await
}

/// Resumes the server: everything that waits starts at once, in its turn.
#[utoipa::path(
    post, path = "/v1/resume", tag = "server",
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = HoldBody, description = "It is not held, if only from now on or since before"), Problem)
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    submit(&app, asking, HoldCommand::Resume).await
}

async fn submit(app: &App, asking: Asking, command: HoldCommand) -> Result<Response, Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Hold(command))).await?;
    match receipt.outcome() {
        Outcome::Applied => {
            match command {
                HoldCommand::Hold => tracing::warn!("held: nothing is sent until POST /v1/resume"),
                HoldCommand::Resume => tracing::info!("resumed: everything that waits starts"),
            }
            show(app).await
        }
        Outcome::Unchanged => show(app).await,
        Outcome::Repeated => Err(Problem::in_progress()),
        other => Err(unexpected(other)),
    }
}

async fn show(app: &App) -> Result<Response, Problem> {
    let since = app.reader.held().await?;
    let body = HoldBody { held: since.is_some(), since: since.map(|since| since.to_string()) };
    Ok(respond::json(StatusCode::OK, &body))
}
