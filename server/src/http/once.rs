//! `Idempotency-Key`: a request that may be sent again without happening again.
//!
//! The key is claimed in the transaction of what the request does, so that not even a crash between doing and
//! answering makes a repeat do it twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use taskhook_core::{Answered, ClaimKey, Once, limits};

use crate::engine::submission::Submission;
use crate::engine::{Receipt, SubmitError};
use crate::http::problem::{Code, Problem};
use crate::http::{App, body, bulks, tasks, webhook};
use crate::secrets::fingerprint;
use crate::store::read::AnswerView;

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 255;

/// The keys whose requests are in progress.
#[derive(Debug, Default)]
pub struct InProgress(Mutex<HashSet<ClaimKey>>);

/// A key's place among those in progress, given back when dropped.
struct Place<'a>(&'a InProgress, ClaimKey);

impl InProgress {
    fn enter(&self, claim: ClaimKey) -> Option<Place<'_>> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(claim);
        is_new.then(|| Place(self, claim))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Lets a POST with a key happen at most once; others pass.
pub(super) async fn once(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let keyed = request.method() == Method::POST && request.uri().path().starts_with("/v1/");
    match request.headers().get("idempotency-key").cloned().filter(|_| keyed) {
        None => next.run(request).await,
        Some(key) => run_once(&app, &key, request, next).await.unwrap_or_else(IntoResponse::into_response),
    }
}

async fn run_once(app: &App, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("the header idempotency-key must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", detail));
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(app, &parts.headers, body, limits::BATCH_BODY_BYTES_MAX).await?;
    let route = parts.uri.path().as_bytes();
    let once = Once {
        claim: ClaimKey(fingerprint(&[b"idempotency", route, key.as_bytes()])),
        request: fingerprint(&[&bytes]),
    };
    let Some(_place) = app.in_progress.enter(once.claim) else {
        return Err(Problem::in_progress());
    };
    let mut request = Request::from_parts(parts, Body::from(bytes.clone()));
    let path = request.uri().path().to_string();
    match app.reader.answer(once.claim, (app.clock)()).await? {
        Some(view) if view.request != once.request => {
            let detail = "another request was sent with this idempotency-key; use a new key for each request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
        }
        Some(view) => {
            if let Some(answer) = answer_again(app, &path, once, view).await? {
                return Ok(answer);
            }
            // It was refused, and nobody heard so: asked again, it is refused again.
        }
        None => drop(request.extensions_mut().insert(once)),
    }
    let response = next.run(request).await;
    if response.extensions().get::<Code>() != Some(&Code("in_progress")) {
        return remember(app, once, response).await;
    }
    // A repeat overtook the answer of its original, whose caller had hung up.
    match app.reader.answer(once.claim, (app.clock)()).await? {
        Some(view) if view.request == once.request => {
            Ok(answer_again(app, &path, once, view).await?.unwrap_or(response))
        }
        _ => Ok(response),
    }
}

/// The answer to a request that has happened: as it was given or, where nobody knows that or it was too large to
/// keep, as it would be given now. `None` where it has changed nothing.
async fn answer_again(
    app: &App,
    path: &str,
    once: Once,
    view: AnswerView,
) -> Result<Option<Response>, Problem> {
    let status = view.status.and_then(|status| StatusCode::from_u16(status).ok());
    if let (Some(status), Some(body)) = (status, view.body) {
        return Ok(Some(replayed(status, body)));
    }
    let created = status.unwrap_or(StatusCode::CREATED);
    let answer = match (view.event, view.tasks.is_empty()) {
        (Some(event), _) => webhook::answer_of_kept(app, event).await?,
        (None, true) => return Ok(None),
        (None, false) if path == "/v1/bulk" || path.starts_with("/v1/bulk/") => {
            let made = if path == "/v1/bulk" { StatusCode::ACCEPTED } else { StatusCode::OK };
            bulks::show_again(app, status.unwrap_or(made), view.tasks[0].0).await?
        }
        (None, false) if path == "/v1/tasks" => tasks::show_one(app, created, view.tasks).await?,
        (None, false) if path == "/v1/tasks/batch" => tasks::show_all(app, created, view.tasks).await?,
        (None, false) if path.starts_with("/v1/schedules/") => {
            tasks::show_one(app, created, view.tasks).await?
        }
        (None, false) => tasks::show_one(app, StatusCode::OK, view.tasks).await?,
    };
    let mut answer = remember(app, once, answer).await?;
    answer.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    Ok(Some(answer))
}

/// Keeps an answer for repeats, unless it is one that a repeat should not get. Of a large one, which may come in
/// pieces, the status is kept, and the rest is made again. What has happened is answered though its answer cannot be kept: a
/// repeat is answered from what was committed.
async fn remember(app: &App, once: Once, response: Response) -> Result<Response, Problem> {
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let answered = |body| Submission::Answered(Box::new(Answered { once, status: status.as_u16(), body }));
    let bytes_max = u64::try_from(limits::ANSWER_BYTES_KEPT).unwrap_or(u64::MAX);
    if body.size_hint().upper().is_none_or(|bytes| bytes > bytes_max) {
        kept(status, app.engine.submit(answered(None)).await)?;
        return Ok(Response::from_parts(parts, body));
    }
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    kept(status, app.engine.submit(answered(Some(bytes.to_vec()))).await)?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn kept(status: StatusCode, kept: Result<Receipt, SubmitError>) -> Result<(), SubmitError> {
    if status.is_success() { Ok(()) } else { kept.map(drop) }
}

fn replayed(status: StatusCode, body: Vec<u8>) -> Response {
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}
