//! `POST /webhook` and `POST /callback/{token}`: a request becomes an event.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use taskhook_core::{ClaimKey, EventId, EventKind, Failure, Outcome, Received, Refused, limits};
use utoipa::ToSchema;

use crate::engine::Receipt;
use crate::engine::submission::{Heard, Submission};
use crate::http::json::{self, Members};
use crate::http::problem::{Problem, refused};
use crate::http::target::Named;
use crate::http::{App, body, respond};
use crate::secrets::fingerprint;
use crate::store::read::EventView;

/// Headers whose values are never stored.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// How the reason of a rejected request begins that came by a callback URL. Its body says neither task nor attempt,
/// or none that it may speak of, and the token is a secret that is not kept: it cannot be replayed.
const BY_CALLBACK: &str = "at a callback URL: ";

/// The answer to a webhook, after the commit that made it durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookAnswer {
    /// Always `Webhook received`.
    #[schema(value_type = String, example = "Webhook received")]
    message: &'static str,
    /// The id under which the webhook is kept; for a duplicate, that of the first.
    #[schema(value_type = String, example = "evt_01h455vb4pex5vsknk084sn02q")]
    event_id: String,
    /// `applied`, `duplicate`, `stale`, `ignored`, `unmatched` or `recorded`.
    #[schema(value_type = String, example = "applied")]
    outcome: &'static str,
    /// Why it changed nothing.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The state of its task after it.
    #[schema(value_type = Option<String>, example = "succeeded")]
    #[serde(skip_serializing_if = "Option::is_none")]
    task_state: Option<&'static str>,
}

/// Receives a webhook for the source `default`.
///
/// The body is a JSON object, with `event` (or `type`) and, for the six task events, `task_id` (or
/// `data.task_id`). The answer comes after the commit that made it durable.
#[utoipa::path(
    post, path = "/webhook", tag = "webhooks",
    request_body(content = serde_json::Value, example = json!({"event": "task_completed", "task_id": "123"})),
    params(("webhook-id" = Option<String>, Header, description = "The delivery id: a repeat is answered as a duplicate")),
    responses((status = 200, body = WebhookAnswer), Problem)
)]
pub(super) async fn receive(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mapped = map(&app, &headers, body, None).await?;
    submit(&app, mapped).await
}

/// Receives a webhook for a named source.
///
/// Only `default` exists so far; what is sent to another one is kept as rejected.
#[utoipa::path(
    post, path = "/webhook/{source}", tag = "webhooks",
    request_body(content = serde_json::Value),
    params(("source" = String, Path, description = "The source's name")),
    responses((status = 200, body = WebhookAnswer), Problem)
)]
pub(super) async fn receive_from(
    State(app): State<Arc<App>>,
    Named(source): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if let Some(detail) = no_source(&source) {
        let problem = Problem::not_found(detail);
        let bytes = body::read(&app, &headers, body, limits::BODY_BYTES_MAX).await;
        let received = Received {
            source: cut(&source, limits::NAME_BYTES_MAX),
            ..received(&app, &headers, bytes.as_deref().unwrap_or(&Bytes::new()))
        };
        return Err(reject(&app, None, received, problem).await);
    }
    receive(State(app), headers, body).await
}

/// Why a webhook to this source is refused.
fn no_source(source: &str) -> Option<String> {
    (source != "default").then(|| format!("there is no source {source:?}; there is only \"default\" so far"))
}

/// Receives a webhook about the attempt that a callback URL was made for. It names neither task nor attempt.
#[utoipa::path(
    post, path = "/callback/{token}", tag = "webhooks",
    request_body(content = serde_json::Value, example = json!({"event": "task_completed", "result": {"pages": 3}})),
    params(("token" = String, Path, description = "From the header taskhook-callback-url of the dispatch")),
    responses((status = 200, body = WebhookAnswer), Problem)
)]
pub(super) async fn call_back(
    State(app): State<Arc<App>>,
    Named(token): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some((task, attempt)) = app.secrets.read_callback_token(&token) else {
        let problem = Problem::not_found("this is no callback URL of this server");
        let bytes = body::read(&app, &headers, body, limits::BODY_BYTES_MAX).await;
        let received = received(&app, &headers, bytes.as_deref().unwrap_or(&Bytes::new()));
        return Err(reject(&app, Some(&token), received, problem).await);
    };
    let mut heard = map(&app, &headers, body, Some(&token)).await?;
    heard.token = Some(task);
    heard.attempt = Some(attempt);
    let received = heard.received.clone();
    let receipt = app.engine.submit(Submission::Event(Box::new(heard))).await?;
    let Outcome::Refused(why @ (Refused::NamesAnotherTask | Refused::Gone)) = receipt.outcome() else {
        return answer(&receipt);
    };
    let problem = refused(why, |_| String::new(), |_| String::new());
    // It is listed under no task: the one that it names has nothing to do with it.
    let received = Received { name: None, task_name: None, delivery_id: None, ..received.as_ref().clone() };
    Err(reject(&app, Some(&token), received, problem).await)
}

async fn submit(app: &App, heard: Heard) -> Result<Response, Problem> {
    let receipt = app.engine.submit(Submission::Event(Box::new(heard))).await?;
    answer(&receipt)
}

/// The answer to a webhook: only a receipt becomes a 200.
pub(super) fn answer(receipt: &Receipt) -> Result<Response, Problem> {
    let (outcome, reason) = match receipt.outcome() {
        Outcome::Applied => ("applied", None),
        Outcome::Duplicate(_) => ("duplicate", None),
        Outcome::Stale => ("stale", None),
        Outcome::Ignored(why) => ("ignored", Some(why.code())),
        Outcome::Unmatched => ("unmatched", None),
        Outcome::Recorded(reason) => ("recorded", *reason),
        Outcome::Repeated => return Err(Problem::in_progress()),
        Outcome::Refused(why) => return Err(refused(why, |_| String::new(), |_| String::new())),
        Outcome::Rejected(_)
        | Outcome::Created(_)
        | Outcome::Defined { .. }
        | Outcome::Unchanged
        | Outcome::Quarantined => {
            let detail = "the webhook is kept, but deciding about it failed by a defect of Taskhook";
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "quarantined", detail));
        }
    };
    let answer = WebhookAnswer {
        message: "Webhook received",
        event_id: receipt.event().map(|id| id.to_string()).unwrap_or_default(),
        outcome,
        reason,
        // One that came before its task has none, though a creation in the same transaction may have made it since.
        task_state: receipt.task().map(|(_, state)| state.name()).filter(|_| outcome != "unmatched"),
    };
    Ok(respond::json(StatusCode::OK, &answer))
}

/// The answer to a webhook that was taken in by a request that nobody answered.
pub(super) async fn answer_of_kept(app: &App, id: EventId) -> Result<Response, Problem> {
    let event =
        app.reader.event(id).await?.ok_or_else(|| Problem::not_found("the event is no longer kept"))?;
    let answer = WebhookAnswer {
        message: "Webhook received",
        event_id: event.id.to_string(),
        outcome: event.outcome,
        reason: None,
        task_state: None,
    };
    Ok(respond::json(StatusCode::OK, &answer))
}

/// Reads and maps a request. `token` is the callback token that it came by. A request that is refused is kept
/// too, for whoever looks for it.
async fn map(app: &App, headers: &HeaderMap, body: Body, token: Option<&str>) -> Result<Heard, Problem> {
    let is_json = header_text(headers, header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| is_json(kind.trim())));
    if headers.contains_key(header::ORIGIN) && !is_json {
        let detail = "a request from a web page must say content-type: application/json";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail);
        return Err(reject(app, token, received(app, headers, &Bytes::new()), problem).await);
    }
    let bytes = match body::read(app, headers, body, limits::BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(problem) => {
            return Err(reject(app, token, received(app, headers, &Bytes::new()), problem).await);
        }
    };
    let members = match json::object(&bytes) {
        Ok(members) => members,
        Err(wrong) => {
            let problem = Problem::malformed(wrong);
            return Err(reject(app, token, received(app, headers, &bytes), problem).await);
        }
    };
    let delivery_id = delivery_id(headers, &members).filter(|id| !app.secrets.is_attempt_id(id));
    let scope: [&[u8]; 2] = match token {
        Some(token) => [b"callback", token.as_bytes()],
        None => [b"source", b"default"],
    };
    let claim = delivery_id.as_ref().map(|id| ClaimKey(fingerprint(&[scope[0], scope[1], id.as_bytes()])));
    let (name, task, attempt, kind) = read(&members, token.is_some());
    let received = Received {
        name,
        task_name: task.as_deref().map(|task| cut(task, limits::ID_BYTES_MAX * 2)),
        delivery_id: delivery_id.map(|id| cut(&id, limits::ID_BYTES_MAX * 2)),
        ..received(app, headers, &bytes)
    };
    Ok(Heard { task, token: None, attempt, kind, claim, received: Arc::new(received) })
}

/// Keeps a refused request, as far as the bounds allow, and gives its answer back. `token` is the callback token
/// that it came by.
async fn reject(app: &App, token: Option<&str>, received: Received, problem: Problem) -> Problem {
    // Who is told to come back is not rejected.
    if problem.status >= 500 || !app.rejections.allow() {
        return problem;
    }
    let way = if token.is_some() { BY_CALLBACK } else { "" };
    // It may repeat what a stranger wrote.
    let reason = format!("{way}{}", cut(&problem.detail, limits::MESSAGE_BYTES_MAX));
    let heard = Heard {
        task: None,
        token: None,
        attempt: None,
        kind: EventKind::Rejected(reason.into()),
        claim: None,
        received: Arc::new(received),
    };
    // The sender hears that the request is refused, whether or not there was room to keep it.
    let _ = app.engine.submit(Submission::Event(Box::new(heard))).await;
    problem
}

fn received(app: &App, headers: &HeaderMap, body: &Bytes) -> Received {
    Received {
        id: EventId(*app.new_id().as_bytes()),
        source: "default".into(),
        name: None,
        task_name: None,
        delivery_id: None,
        headers: stored_headers(headers),
        body: body.to_vec(),
        replay_of: None,
    }
}

/// Maps a kept webhook once more, as a new one.
///
/// # Errors
/// 409 where nobody can tell any more what it would be about, 400 where its body cannot be read.
pub(super) fn map_again(app: &App, event: EventView) -> Result<Heard, Problem> {
    let not_replayable = |detail: String| Problem::new(StatusCode::CONFLICT, "not_replayable", detail);
    if let Some(detail) = no_source(&event.source) {
        return Err(not_replayable(detail));
    }
    let is_rejected = event.outcome == "rejected";
    if is_rejected && event.reason.as_ref().is_some_and(|reason| reason.starts_with(BY_CALLBACK)) {
        let detail = "it was rejected at a callback URL, which is not kept; send it again to the URL";
        return Err(not_replayable(detail.into()));
    }
    let members = json::object(&event.body).map_err(Problem::malformed)?;
    // What came by a callback token named no task in its body; it is about the same task and attempt again.
    let by_token = event.attempt.filter(|_| event.task.is_some());
    let (name, task, attempt, kind) = read(&members, by_token.is_some());
    let task = task.or(event.task);
    Ok(Heard {
        task: task.clone(),
        token: None,
        attempt: attempt.or(by_token),
        kind,
        claim: None,
        received: Arc::new(Received {
            id: EventId(*app.new_id().as_bytes()),
            source: event.source,
            name,
            task_name: task,
            delivery_id: None,
            headers: event.headers,
            body: event.body,
            replay_of: Some(event.id),
        }),
    })
}

type Mapped = (Option<String>, Option<String>, Option<u32>, EventKind);

/// The default mapping: of each the first that is present and a string or integer.
fn read(members: &Members<'_>, by_token: bool) -> Mapped {
    let data: Members<'_> =
        members.get("data").and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    // What is null is not there, and hides nothing.
    let either = |name: &str| {
        [members, &data].into_iter().find_map(|all| all.get(name).copied().filter(|raw| raw.get() != "null"))
    };
    let name = ["event", "type"].iter().find_map(|key| text_of(members.get(*key).copied()?));
    let task = text_of_either(members.get("task_id").copied(), data.get("task_id").copied());
    let attempt = either("attempt").map(|raw| text_of(raw).and_then(|text| text.parse().ok()).unwrap_or(0));
    let Some(name) = name else {
        return (None, None, attempt, EventKind::Other(Some("it has no event name")));
    };
    let kind = match name.replace('.', "_").as_str() {
        "task_started" => EventKind::Started,
        "task_heartbeat" => EventKind::Heartbeat,
        "task_progress" => EventKind::Progress(
            either("progress").and_then(|raw| raw.get().parse().ok()).map(|part: f64| part.clamp(0.0, 1.0)),
            either("message").and_then(text_of).map(|text| cut(&text, limits::MESSAGE_BYTES_MAX)),
        ),
        "task_completed" => EventKind::Completed(either("result").map(|raw| raw.get().as_bytes().into())),
        "task_failed" => failed(either("error"), either("message")),
        "task_cancelled" => EventKind::Cancelled,
        _ => EventKind::Other(None),
    };
    if matches!(kind, EventKind::Other(_)) {
        return (Some(name), task.filter(|task| by_token || is_task_id(task)), attempt, kind);
    }
    match task {
        Some(task) if is_task_id(&task) => (Some(name), Some(task), attempt, kind),
        // No task can be called so, but it is not the one that the token stands for.
        Some(task) if by_token => (Some(name), Some(task), attempt, kind),
        Some(_) => (Some(name), None, attempt, EventKind::Other(Some("its task_id is no id of a task"))),
        None if by_token => (Some(name), None, attempt, kind),
        None => (Some(name), None, attempt, EventKind::Other(Some("it names no task"))),
    }
}

fn failed(error: Option<&RawValue>, message: Option<&RawValue>) -> EventKind {
    let parts: Members<'_> = error.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let text = |name: &str| parts.get(name).copied().and_then(text_of);
    let said = error.and_then(text_of).or_else(|| text("message")).or_else(|| message.and_then(text_of));
    let message = said.unwrap_or_else(|| "the worker reported a failure without a message".into());
    let code = text("code").unwrap_or_else(|| "reported".into());
    let retryable = parts.get("retryable").is_none_or(|raw| raw.get() != "false");
    let failure = Failure {
        code: cut(&code, limits::CODE_BYTES_MAX),
        message: cut(&message, limits::MESSAGE_BYTES_MAX),
    };
    EventKind::Failed(failure, retryable)
}

/// Whether a task can have this id: one that a caller may choose, or one that Taskhook derives.
fn is_task_id(text: &str) -> bool {
    let shape = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-~".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.len() <= limits::ID_BYTES_MAX * 2
        && text.bytes().all(shape)
}

fn text_of_either(first: Option<&RawValue>, second: Option<&RawValue>) -> Option<String> {
    first.and_then(text_of).or_else(|| second.and_then(text_of))
}

/// A string, or an integer as its decimal text.
fn text_of(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_string())
}

/// The header `webhook-id`, or the id of a CloudEvent within its source.
fn delivery_id(headers: &HeaderMap, members: &Members<'_>) -> Option<String> {
    if let Some(id) = header_text(headers, "webhook-id") {
        return Some(id.to_string());
    }
    if let (Some(source), Some(id)) = (header_text(headers, "ce-source"), header_text(headers, "ce-id")) {
        return Some(format!("{source}\n{id}"));
    }
    let member = |name: &str| members.get(name).copied().and_then(text_of);
    member("specversion")?;
    Some(format!("{}\n{}", member("source")?, member("id")?))
}

/// Whether a media type is JSON: `application/json`, `application/cloudevents+json`.
fn is_json(kind: &str) -> bool {
    let end = kind.len().saturating_sub("json".len());
    kind.is_char_boundary(end) && kind[end..].eq_ignore_ascii_case("json")
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

fn stored_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let shown = match SECRET_HEADERS.contains(&name.as_str()) {
                true => "[redacted]".into(),
                false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.to_string(), shown)
        })
        .collect()
}

/// At most `bytes_max` bytes of `text`, ending with a whole character.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}
