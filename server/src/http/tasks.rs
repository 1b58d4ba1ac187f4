//! `/v1/tasks`: creating, reading and commanding tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::value::RawValue;
use taskhook_core::id::type_id;
use taskhook_core::{Command, Outcome, Refused, TaskKey, limits};

use crate::engine::submission::{Draft, Submission};
use crate::http::access::Asking;
use crate::http::asked::{BatchRequest, ReopenRequest, TaskRequest};
use crate::http::credentials;
use crate::http::cursor;
use crate::http::fields::{Fields, escaped};
use crate::http::list::Query;
use crate::http::problem::{ERRORS_MAX, FieldError, Problem, hint, key_held, refused};
use crate::http::target::{Named, NoQuery};
use crate::http::wire::{HistoryBody, ListBody, TaskBody};
use crate::http::{App, body, draft, duration, filter, respond};
use crate::json::{self, Members};

type Pairs = RawQuery<Vec<(String, String)>>;

/// Longest `?wait=`.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Creates a task.
///
/// The same id with the same content gives the existing task (200), with other content 409. While a task holds the key of
/// `unique`, that task is given (200), whatever else is asked, and none is created.
#[utoipa::path(
    post, path = "/v1/tasks", tag = "tasks",
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = TaskRequest, example = json!({"id": "122", "url": "https://worker.example/resize", "payload": {"image": 7}})),
    responses((status = 201, body = TaskBody), (status = 200, body = TaskBody, description = "It exists already, or this one holds its unique key"),
        Problem)
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // A payload may fill its own limit, and the task around it needs a little more.
    let bytes = body::read(&app, &headers, body, limits::BODY_BYTES_MAX + (64 << 10)).await?;
    let members = json::object(&bytes).map_err(Problem::malformed)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Problem::malformed(error.to_string()))?;
    let draft = read_draft(&app, text, members, "").map_err(Problem::invalid)?;
    let created = submit(&app, asking, vec![Arc::new(draft)], |_| String::new()).await?;
    let is_new = created.iter().any(|(_, is_new)| *is_new);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    show_one(&app, status, keys_of(&created)).await
}

/// Creates up to 1,000 tasks: all of them, or none.
///
/// `after` may name tasks of the same batch, in any order. The same batch again is 200. In place of a task whose unique
/// key is held, `data` has the one that holds it; of several in a batch that ask for one key, that is the first. To wait
/// for a task that is therefore not created is 422. An answer of more than 8 MiB comes in pieces, without
/// `content-length`, and is not kept for repeats under its `idempotency-key`: they get the same status, with the tasks
/// as they are by then.
#[utoipa::path(
    post, path = "/v1/tasks/batch", tag = "tasks",
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = BatchRequest, example = json!({"tasks": [{"id": "a"}, {"id": "b", "after": ["a"]}]})),
    responses((status = 201, body = ListBody<TaskBody>), (status = 200, body = ListBody<TaskBody>, description = "All exist already"),
        Problem)
)]
pub(super) async fn create_batch(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, limits::BATCH_BODY_BYTES_MAX).await?;
    let mut fields = Fields::of::<BatchRequest>(json::object(&bytes).map_err(Problem::malformed)?, "");
    let given = fields.raw("tasks");
    let tasks: Option<Vec<&RawValue>> = given.and_then(|raw| serde_json::from_str(raw.get()).ok());
    match tasks.as_ref().map(Vec::len) {
        None => fields.wrong("tasks", "wrong_type", "must be a list of tasks"),
        Some(0) => fields.wrong("tasks", "empty", "must have at least one task"),
        Some(count) if count > limits::BATCH_TASKS_MAX => {
            fields.wrong("tasks", "too_many", format!("may have at most {} tasks", limits::BATCH_TASKS_MAX));
        }
        Some(_) => {}
    }
    let mut errors = fields.finish();
    let mut drafts: Vec<Arc<Draft>> = Vec::new();
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for (position, raw) in tasks.unwrap_or_default().into_iter().enumerate() {
        if errors.len() >= ERRORS_MAX {
            break;
        }
        let pointer = format!("/tasks/{position}");
        let wrong = |code, detail: String| FieldError { pointer: pointer.clone(), code, detail };
        let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
            errors.push(wrong("wrong_type", "must be an object".into()));
            continue;
        };
        match read_draft(&app, raw.get(), members, &pointer) {
            Err(wrong) => errors.extend(wrong),
            Ok(draft) => {
                if let Some(first) = positions.insert(draft.id.clone(), position) {
                    let pointer = format!("{pointer}/id");
                    let detail = format!("{:?} is the id of the task at position {first} too", draft.id);
                    errors.push(FieldError { pointer, code: "twice", detail });
                }
                drafts.push(Arc::new(draft));
            }
        }
    }
    let dependencies: usize = drafts.iter().map(|draft| draft.spec.after.len()).sum();
    if dependencies > limits::BATCH_DEPENDENCIES_MAX {
        let detail = format!("may have at most {} dependencies in all", limits::BATCH_DEPENDENCIES_MAX);
        errors.push(FieldError { pointer: "/tasks".into(), code: "too_many", detail });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let created = submit(&app, asking, drafts, |position| format!("/tasks/{position}")).await?;
    let any_new = created.iter().any(|(_, is_new)| *is_new);
    let status = if any_new { StatusCode::CREATED } else { StatusCode::OK };
    show_all(&app, status, keys_of(&created)).await
}

fn read_draft(app: &App, text: &str, members: Members<'_>, pointer: &str) -> Result<Draft, Vec<FieldError>> {
    draft::read(text, members, pointer, (app.clock)(), || type_id("task", app.new_id().as_bytes()))
}

async fn submit(
    app: &App,
    asking: Asking,
    mut drafts: Vec<Arc<Draft>>,
    pointer: impl Fn(usize) -> String,
) -> Result<Vec<(TaskKey, bool)>, Problem> {
    for (position, draft) in drafts.iter_mut().enumerate() {
        credentials::keep(app, &mut Arc::make_mut(draft).spec, &pointer(position), None)?;
    }
    let receipt = app.engine.submit(asking.to(Submission::Create(drafts.clone()))).await?;
    let name = |position: usize| drafts.get(position).map(|draft| draft.id.clone()).unwrap_or_default();
    match receipt.outcome() {
        Outcome::Created(created) => Ok(created.clone()),
        Outcome::Refused(why) => Err(refused(why, pointer, name)),
        Outcome::Repeated => Err(Problem::in_progress()),
        other => Err(unexpected(other)),
    }
}

fn keys_of(created: &[(TaskKey, bool)]) -> Vec<TaskKey> {
    created.iter().map(|(key, _)| *key).collect()
}

/// The answer about one task.
pub(super) async fn show_one(app: &App, status: StatusCode, keys: Vec<TaskKey>) -> Result<Response, Problem> {
    let (mut views, _) = app.reader.tasks_by_key(keys).await?;
    let view = views.pop().ok_or_else(vanished)?;
    Ok(respond::json(status, &TaskBody::of(view)))
}

/// The answer about the tasks of a batch, in their order. A thousand tasks may have a thousand large results:
/// what does not fit a page is sent a page at a time, so that no more than that is held.
pub(super) async fn show_all(app: &App, status: StatusCode, keys: Vec<TaskKey>) -> Result<Response, Problem> {
    let (mut views, mut left) = app.reader.tasks_by_key(keys).await?;
    if left.is_empty() {
        let data = views.into_iter().map(TaskBody::of).collect();
        return Ok(respond::json(status, &ListBody::<TaskBody> { data, next_cursor: None }));
    }
    let (give, response) = respond::pieces(status);
    let reader = app.reader.clone();
    tokio::spawn(async move {
        let mut before = "{\"data\":[";
        loop {
            for view in views {
                let mut piece = before.as_bytes().to_vec();
                let written = serde_json::to_writer(&mut piece, &TaskBody::of(view));
                let piece = written.map(|()| Bytes::from(piece)).map_err(BoxError::from);
                let is_broken = piece.is_err();
                // Whoever hung up wants no more of it.
                if give.send(piece).await.is_err() || is_broken {
                    return;
                }
                before = ",";
            }
            if left.is_empty() {
                break;
            }
            match reader.tasks_by_key(left).await {
                Ok((more, rest)) => (views, left) = (more, rest),
                Err(error) => {
                    tracing::error!(%error, "an answer broke off");
                    return drop(give.send(Err(error.into())).await);
                }
            }
        }
        let _ = give.send(Ok(Bytes::from_static(b"],\"next_cursor\":null}"))).await;
    });
    Ok(response)
}

/// Lists tasks, newest first.
#[utoipa::path(
    get, path = "/v1/tasks", tag = "tasks",
    params(
        ("state" = Option<String>, Query, description = "One or more states, with commas between them"),
        ("queue" = Option<String>, Query), ("name" = Option<String>, Query),
        ("label" = Option<String>, Query, description = "`key:value`; may be given several times"),
        ("created_after" = Option<String>, Query, description = "RFC 3339"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = ListBody<TaskBody>), Problem)
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(pairs): Pairs) -> Result<Response, Problem> {
    let query = Query::new(pairs, &[&filter::NAMES[..], &["limit", "cursor"]].concat())?;
    let filter = filter::of(&query)?;
    let (limit, before) = query.page()?;
    let listed = app.reader.tasks(filter, before, limit).await?;
    let data = listed.rows.into_iter().map(TaskBody::of).collect();
    Ok(respond::json(
        StatusCode::OK,
        &ListBody::<TaskBody> { data, next_cursor: listed.next.map(cursor::row) },
    ))
}

/// Reads a task, at once or when it has ended.
#[utoipa::path(
    get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path), ("wait" = Option<String>, Query, description = "Up to `60s`: answers when the task has ended, or then")),
    responses((status = 200, body = TaskBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(id): Named,
    RawQuery(pairs): Pairs,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["wait"])?;
    let wait = query.one("wait")?.map(duration::parse).transpose().map_err(Problem::bad_query)?;
    if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
        let key = app.reader.task_key(&id).await?.ok_or_else(|| no_such_task(&id))?;
        // Registered before it is looked at: an end in between is not missed.
        let mut end = app.engine.watch().end_of(key);
        let view = app.reader.task(&id).await?.ok_or_else(|| no_such_task(&id))?;
        if !view.task.state.is_terminal() {
            let _ = tokio::time::timeout(wait.min(WAIT_MAX), end.comes()).await;
        }
    }
    let view = app.reader.task(&id).await?.ok_or_else(|| no_such_task(&id))?;
    Ok(respond::json(StatusCode::OK, &TaskBody::of(view)))
}

/// Reads the decisions about a task, each with its cause, oldest first.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/history", tag = "tasks",
    params(("id" = String, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = ListBody<HistoryBody>), Problem)
)]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    Named(id): Named,
    RawQuery(pairs): Pairs,
) -> Result<Response, Problem> {
    let (limit, after) = Query::new(pairs, &["limit", "cursor"])?.page()?;
    let listed =
        app.reader.history(&id, after.unwrap_or(0), limit).await?.ok_or_else(|| no_such_task(&id))?;
    let data = listed.rows.into_iter().map(HistoryBody::of).collect();
    Ok(respond::json(
        StatusCode::OK,
        &ListBody::<HistoryBody> { data, next_cursor: listed.next.map(cursor::row) },
    ))
}

/// Cancels a task, now. Of a task that has ended otherwise 409.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/cancel", tag = "tasks",
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = TaskBody), Problem)
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    command(&app, asking, &id, Command::Cancel).await
}

/// Makes a scheduled task due now. Of a task in another state 409.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/trigger", tag = "tasks",
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = TaskBody), Problem)
)]
pub(super) async fn trigger(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    command(&app, asking, &id, Command::Trigger).await
}

/// Reopens a task that failed, was cancelled or skipped, and those that were skipped only because of it.
///
/// While another task holds its unique key it is refused (409); of the others, one whose key is held stays skipped.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/retry", tag = "tasks",
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = Option<ReopenRequest>, example = json!({"ignore_dependencies": true})),
    responses((status = 200, body = TaskBody), Problem)
)]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut options = options(&app, &headers, body).await?;
    let ignore_dependencies = options.flag("ignore_dependencies");
    options.finish_or_refuse(&["ignore_dependencies"])?;
    command(&app, asking, &id, Command::Retry { ignore_dependencies }).await
}

async fn command(app: &App, asking: Asking, id: &str, command: Command) -> Result<Response, Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Command(id.into(), command))).await?;
    match receipt.outcome() {
        Outcome::Applied | Outcome::Unchanged => {
            let view = app.reader.task(id).await?.ok_or_else(vanished)?;
            Ok(respond::json(StatusCode::OK, &TaskBody::of(view)))
        }
        Outcome::Repeated => Err(Problem::in_progress()),
        Outcome::Refused(Refused::NotFound) => Err(no_such_task(id)),
        Outcome::Refused(Refused::DependenciesUnmet) => {
            let mut problem = refused(&Refused::DependenciesUnmet, |_| String::new(), |_| String::new());
            let unmet = app.reader.unmet_dependencies(id).await?;
            problem.errors = unmet
                .into_iter()
                .map(|(position, detail)| FieldError {
                    pointer: format!("/after/{position}"),
                    code: "unmet",
                    detail,
                })
                .collect();
            Err(problem)
        }
        Outcome::Refused(Refused::KeyHeld { holder }) => {
            let (holders, _) = app.reader.tasks_by_key(vec![*holder]).await?;
            Err(key_held(holders.first().map(|view| view.id.as_str())))
        }
        Outcome::Refused(why) => Err(refused(why, |_| String::new(), |_| id.to_string())),
        other => Err(unexpected(other)),
    }
}

/// The options of a command: a small JSON object, or nothing.
pub(super) struct Options {
    members: BTreeMap<String, serde_json::Value>,
    errors: Vec<FieldError>,
}

/// The members of a command's body, which may be absent.
pub(super) async fn options(app: &App, headers: &HeaderMap, body: Body) -> Result<Options, Problem> {
    let bytes = body::read(app, headers, body, 64 << 10).await?;
    let members = match bytes.is_empty() {
        true => BTreeMap::new(),
        false => {
            json::check(&bytes).map_err(Problem::malformed)?;
            serde_json::from_slice::<Option<_>>(&bytes)
                .map_err(|_| Problem::malformed("the body must be a JSON object"))?
                .unwrap_or_default()
        }
    };
    Ok(Options { members, errors: Vec::new() })
}

impl Options {
    fn flag(&mut self, name: &str) -> bool {
        match self.members.remove(name) {
            None | Some(serde_json::Value::Null) => false,
            Some(serde_json::Value::Bool(flag)) => flag,
            Some(_) => {
                let detail = "must be true or false".into();
                self.errors.push(FieldError { pointer: format!("/{name}"), code: "wrong_type", detail });
                false
            }
        }
    }

    pub(super) fn finish_or_refuse(mut self, known: &[&str]) -> Result<(), Problem> {
        for name in self.members.into_keys() {
            let hint = hint(&name, known);
            let detail = format!("is not known here{hint}");
            let pointer = format!("/{}", escaped(&name));
            self.errors.push(FieldError { pointer, code: "unknown_field", detail });
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

fn no_such_task(id: &str) -> Problem {
    Problem::not_found(format!("there is no task with the id {id:?}"))
}

fn vanished() -> Problem {
    Problem::not_found("the task is no longer kept")
}

pub(super) fn unexpected(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "a request had an outcome that it cannot have");
    let detail = "deciding about this request failed by a defect of Taskhook";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "quarantined", detail)
}
