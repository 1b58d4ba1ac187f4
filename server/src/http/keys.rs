//! `/v1/keys`: API keys.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use taskhook_core::access::{AccessCommand, ApiKey, Role};
use taskhook_core::{Outcome, Refused};

use crate::access::new_key;
use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::asked::KeyRequest;
use crate::http::cursor;
use crate::http::fields::Fields;
use crate::http::list::Query;
use crate::http::problem::{Problem, hint, refused};
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::unexpected;
use crate::http::wire::ListBody;
use crate::http::wire::access::{KeyBody, NewKeyBody};
use crate::http::{App, body, respond};
use crate::json;

/// Most bytes of what is said of a key.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Makes an API key. It is in this answer and nowhere else: of a key only a hash is kept.
///
/// The first key closes an open server: from then on each request needs one, the source `default` answers 401 until it
/// has a `verify`, and loopback addresses are called only where `[dispatch] allow` names them. So the first one must have
/// the role `admin`. An `Idempotency-Key` is refused, since answers to it are kept. There may be 1,000 keys.
#[utoipa::path(
    post, path = "/v1/keys", tag = "access",
    request_body(content = KeyRequest, example = json!({"role": "write", "name": "billing", "expires_in": "90d"})),
    responses((status = 201, body = NewKeyBody), Problem)
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if asking.is_once() {
        let detail =
            "a key is shown once, so its answer is not kept: send the request without an idempotency-key";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_repeatable", detail));
    }
    let bytes = body::read(&app, &headers, body, REQUEST_BYTES_MAX).await?;
    let (role, name, expires_at) = read(&app, &bytes)?;
    let was_open = app.keys.is_open();
    let made = new_key(name.as_deref(), role, expires_at);
    let (text, key) = made.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random", "the system gives no random bytes")
    })?;
    let id = key.id;
    submit(&app, asking, AccessCommand::CreateKey { key, at_the_store: false }).await?;
    let keys = app.reader.api_keys().await?;
    let key = keys.get(&id).ok_or_else(no_such_key)?;
    let body = NewKeyBody { own: KeyBody::of(key), key: text, closes_the_server: was_open };
    Ok(respond::json(StatusCode::CREATED, &body))
}

fn read(
    app: &App,
    bytes: &[u8],
) -> Result<(Role, Option<String>, Option<taskhook_core::Timestamp>), Problem> {
    let mut fields = Fields::of::<KeyRequest>(json::object(bytes).map_err(Problem::malformed)?, "");
    let text = fields.take::<String>("role", "a string");
    let role = text.as_deref().and_then(|text| Role::ALL.into_iter().find(|role| role.name() == text));
    match (&text, role) {
        (Some(text), None) => {
            let hint = hint(text, &Role::ALL.map(Role::name));
            fields.wrong("role", "not_a_role", format!("must be \"read\", \"write\" or \"admin\"{hint}"));
        }
        (None, _) if fields.errors.is_empty() => {
            fields.wrong("role", "missing", "says what the key may do: \"read\", \"write\" or \"admin\"");
        }
        _ => {}
    }
    let name = fields.take::<String>("name", "a string");
    if let Some(name) = &name
        && !ApiKey::may_be_called(name)
    {
        let detail =
            "begins with a letter or digit, but not with key_, and has at most 64 of A-Z a-z 0-9 . _ : @ -";
        fields.wrong("name", "not_a_name", detail);
    }
    let expires_at = fields.instant("expires_at");
    let expires_in = fields.duration("expires_in");
    let now = (app.clock)();
    let expires_at = match (expires_at, expires_in) {
        (Some(_), Some(_)) => {
            fields.wrong("expires_in", "conflict", "give either expires_at or expires_in");
            None
        }
        (at, after) => at.or(after.map(|after| now + after)),
    };
    if expires_at.is_some_and(|at| at <= now) {
        fields.wrong("expires_at", "out_of_range", "is over already");
    }
    let errors = fields.finish();
    match role {
        Some(role) if errors.is_empty() => Ok((role, name, expires_at)),
        _ => Err(Problem::invalid(errors)),
    }
}

/// Lists the API keys, by name. The keys themselves are not kept.
#[utoipa::path(
    get, path = "/v1/keys", tag = "access",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = ListBody<KeyBody>), Problem)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.name_cursor()?);
    let keys = app.reader.api_keys().await?;
    let mut keys: Vec<&ApiKey> =
        keys.values().filter(|key| after.as_deref().is_none_or(|after| &*key.name > after)).collect();
    keys.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next_cursor = keys.last().filter(|_| more).map(|last| cursor::name(&last.name));
    let data = keys.into_iter().map(KeyBody::of).collect();
    Ok(respond::json(StatusCode::OK, &ListBody::<KeyBody> { data, next_cursor }))
}

/// Takes a key away, by its id or its name: requests with it are refused from now on.
///
/// 409 for the last one with the role `admin` that has not expired: without it nobody could make another, and without any
/// key the server would be open. `taskhook keys revoke --store` does it, while no server runs.
#[utoipa::path(
    delete, path = "/v1/keys/{key}", tag = "access", params(("key" = String, Path, description = "Its id or its name")),
    responses((status = 204, description = "It is no more"), Problem)
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
) -> Result<Response, Problem> {
    let key = app.keys.named(&name).ok_or_else(no_such_key)?;
    submit(&app, asking, AccessCommand::RevokeKey { key: key.id, at_the_store: false }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Makes it so, and takes over how the keys are now before anybody is told.
async fn submit(app: &App, asking: Asking, command: AccessCommand) -> Result<(), Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Access(command))).await?;
    app.keys.refresh(&app.reader).await?;
    match receipt.outcome() {
        Outcome::Applied => Ok(()),
        Outcome::Refused(Refused::NoSuchKey) => Err(no_such_key()),
        Outcome::Refused(why) => Err(refused(why, |_| String::new(), |_| String::new())),
        other => Err(unexpected(other)),
    }
}

fn no_such_key() -> Problem {
    Problem::not_found("there is no API key with this id or name")
}
