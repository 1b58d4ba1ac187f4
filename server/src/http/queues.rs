//! `/v1/queues`: limits, defaults, pausing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use taskhook_core::queue::{SecretAsked, Settings};
use taskhook_core::{Outcome, QueueCommand, Rate, Refused, limits};

use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::asked::{PerKeyRequest, QueueRequest, RateRequest};
use crate::http::cursor;
use crate::http::fields::Fields;
use crate::http::list::Query;
use crate::http::problem::{FieldError, Problem, refused};
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::{options, unexpected};
use crate::http::wire::{ListBody, QueueBody};
use crate::http::{App, body, draft, duration, respond};
use crate::json::{self, Members};
use crate::secrets::stored;

type Pairs = RawQuery<Vec<(String, String)>>;

/// Most bytes of what a queue says.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

/// Makes a queue, or replaces what it says.
///
/// What is left out is no limit, not paused, or left to the product; but a `secret` that is left out stays, and null takes
/// it away. A new one signs at once, the old one too for 24 h. Tasks that exist keep the defaults that they were
/// created with; limits apply at once. Attempts beyond a lower limit go on, and none begins until there is room. There
/// may be 10,000 queues.
#[utoipa::path(
    put, path = "/v1/queues/{name}", tag = "queues",
    params(("name" = String, Path, description = "`[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}`")),
    request_body(content = QueueRequest, example = json!({"concurrency": 10, "per_key": {"concurrency": 1}, "rate": {"limit": 100, "per": "1s", "burst": 10}})),
    responses((status = 201, body = QueueBody), (status = 200, body = QueueBody, description = "It was there already"), Problem)
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    name: Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, SETTINGS_BYTES_MAX).await?;
    let (settings, paused, secret) =
        definition(json::object(&bytes).map_err(Problem::malformed)?).map_err(Problem::invalid)?;
    let name = name.chosen("queue")?;
    let secret = sealed(&app, &name, secret).await?;
    let changes = secret != SecretAsked::Keep;
    let command = QueueCommand::Define { settings: settings.into(), paused, secret };
    let answer = submit(&app, asking, &name, command).await?;
    if changes {
        let view = app.reader.queue(&name).await?.ok_or_else(|| no_such_queue(&name))?;
        let secret = view.queue.settings.secret.as_ref();
        let queue = (view.queue.key, name.as_str());
        stored::sign_queue(&app.secrets, app.sources.vault(), queue, secret).map_err(|error| {
            tracing::error!("{error:#}");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "sealed",
                "the secret does not open; the log says why",
            )
        })?;
    }
    Ok(answer)
}

/// What is to become of its secret. One that it has already stays, and goes on being the only one.
async fn sealed(app: &App, name: &str, secret: Secret) -> Result<SecretAsked, Problem> {
    let text = match secret {
        Secret::Keep => return Ok(SecretAsked::Keep),
        Secret::Remove => return Ok(SecretAsked::Remove),
        Secret::Give(text) => text,
    };
    let vault = app.sources.vault();
    let has = app.reader.queue(name).await?.and_then(|view| view.queue.settings.secret.clone());
    if has.is_some_and(|has| stored::is_queue_secret(vault, name, &has, &text)) {
        return Ok(SecretAsked::Keep);
    }
    let sealed = stored::seal_queue_secret(vault, name, &text).map_err(|why| {
        Problem::invalid(vec![FieldError { pointer: "/secret".into(), code: "not_a_secret", detail: why }])
    })?;
    Ok(SecretAsked::Give(sealed.into()))
}

/// A queue, with how many of its tasks wait for what.
#[utoipa::path(
    get, path = "/v1/queues/{name}", tag = "queues", params(("name" = String, Path)),
    responses((status = 200, body = QueueBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
) -> Result<Response, Problem> {
    show(&app, StatusCode::OK, &name).await
}

/// All queues, by name.
#[utoipa::path(
    get, path = "/v1/queues", tag = "queues",
    params(("limit" = Option<usize>, Query, description = "Rows of the page, 1 to 1,000. Default: 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = ListBody<QueueBody>), Problem)
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(pairs): Pairs) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["limit", "cursor"])?;
    let limit = query.limit()?;
    let mut views = app.reader.queues(query.name_cursor()?, limit + 1).await?;
    let more = views.len() > limit;
    views.truncate(limit);
    let next_cursor = views.last().filter(|_| more).map(|last| cursor::name(&last.name));
    let now = (app.clock)();
    let data = views.into_iter().map(|view| QueueBody::of(view, now)).collect();
    Ok(respond::json(StatusCode::OK, &ListBody { data, next_cursor }))
}

/// Pauses a queue: what runs is finished, nothing is started.
#[utoipa::path(
    post, path = "/v1/queues/{name}/pause", tag = "queues",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = QueueBody), Problem)
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    submit(&app, asking, &name, QueueCommand::Pause).await
}

/// Resumes a queue: what is due starts at once.
#[utoipa::path(
    post, path = "/v1/queues/{name}/resume", tag = "queues",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = QueueBody), Problem)
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    submit(&app, asking, &name, QueueCommand::Resume).await
}

async fn submit(app: &App, asking: Asking, name: &str, command: QueueCommand) -> Result<Response, Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Queue(name.into(), command))).await?;
    match receipt.outcome() {
        Outcome::Defined { new: true } => show(app, StatusCode::CREATED, name).await,
        Outcome::Defined { new: false } | Outcome::Applied | Outcome::Unchanged => {
            show(app, StatusCode::OK, name).await
        }
        Outcome::Repeated => Err(Problem::in_progress()),
        Outcome::Refused(Refused::NoSuchQueue { .. }) => Err(no_such_queue(name)),
        Outcome::Refused(why) => Err(refused(why, |_| String::new(), |_| name.to_string())),
        other => Err(unexpected(other)),
    }
}

async fn show(app: &App, status: StatusCode, name: &str) -> Result<Response, Problem> {
    let view = app.reader.queue(name).await?.ok_or_else(|| no_such_queue(name))?;
    Ok(respond::json(status, &QueueBody::of(view, (app.clock)())))
}

fn no_such_queue(name: &str) -> Problem {
    Problem::not_found(format!("there is no queue with the name {name:?}"))
}

/// What is said of its secret.
enum Secret {
    Keep,
    Remove,
    Give(String),
}

/// Reads what a queue is to say.
fn definition(members: Members<'_>) -> Result<(Settings, bool, Secret), Vec<FieldError>> {
    let mut fields = Fields::of::<QueueRequest>(members, "");
    let mut settings = Settings {
        concurrency: limit(&mut fields, "concurrency"),
        rate: rate(&mut fields, ""),
        retry: draft::retry(&mut fields, ""),
        timeout: draft::positive(&mut fields, "timeout"),
        completion: draft::completion(&mut fields),
        retention: retention(&mut fields),
        ..Settings::default()
    };
    let paused = fields.take::<bool>("paused", "true or false").unwrap_or(false);
    if let Some(raw) = fields.raw("per_key") {
        match serde_json::from_str::<Members<'_>>(raw.get()) {
            Err(_) => fields.wrong("per_key", "wrong_type", "must be an object with concurrency and rate"),
            Ok(members) => {
                let mut inner = Fields::of::<PerKeyRequest>(members, "/per_key");
                settings.key_concurrency = limit(&mut inner, "concurrency");
                settings.key_rate = rate(&mut inner, "/per_key");
                fields.errors.extend(inner.finish());
            }
        }
    }
    let secret = match fields.raw_or_null("secret") {
        None => Secret::Keep,
        Some(raw) if raw.get() == "null" => Secret::Remove,
        Some(raw) => match serde_json::from_str(raw.get()) {
            Ok(text) => Secret::Give(text),
            Err(_) => {
                fields.wrong("secret", "wrong_type", "must be a string, or null");
                Secret::Keep
            }
        },
    };
    let errors = fields.finish();
    if errors.is_empty() { Ok((settings, paused, secret)) } else { Err(errors) }
}

/// How long something is kept; `Some(None)`: for ever.
pub(super) fn retention(fields: &mut Fields<'_>) -> Option<Option<Duration>> {
    let text: String = fields.take("retention", "a duration such as \"30d\", or \"never\"")?;
    match duration::age(&text) {
        Ok(age) => Some(age),
        Err(wrong) => {
            fields.wrong("retention", "not_a_duration", wrong);
            None
        }
    }
}

fn limit(fields: &mut Fields<'_>, name: &str) -> Option<u32> {
    count(fields, name, "; to start nothing, set paused")
}

fn count(fields: &mut Fields<'_>, name: &str, or_else: &str) -> Option<u32> {
    let wanted = "an integer from 1 to 1000000";
    let limit: u32 = fields.take(name, wanted)?;
    if !(1..=limits::QUEUE_LIMIT_MAX).contains(&limit) {
        fields.wrong(name, "out_of_range", format!("must be {wanted}{or_else}"));
    }
    Some(limit)
}

/// How many may begin in a span of time.
pub(super) fn rate(fields: &mut Fields<'_>, pointer: &str) -> Option<Rate> {
    let raw = fields.raw("rate")?;
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("rate", "wrong_type", "must be an object with limit, per and perhaps burst");
        return None;
    };
    let mut inner = Fields::of::<RateRequest>(members, format!("{pointer}/rate"));
    let (has_limit, has_per) = (inner.has("limit"), inner.has("per"));
    let limit = count(&mut inner, "limit", "");
    let per = draft::positive(&mut inner, "per");
    let burst = count(&mut inner, "burst", "");
    if !has_limit {
        inner.wrong("limit", "missing", "says how many may begin in each per");
    }
    if !has_per {
        inner.wrong("per", "missing", "says in which span of time, such as \"1s\"");
    }
    fields.errors.extend(inner.finish());
    Some(Rate { limit: limit?, per: per?, burst: burst.unwrap_or(1) })
}
