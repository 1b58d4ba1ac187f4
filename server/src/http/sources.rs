//! `/v1/sources`: who may send webhooks, and how each proves itself.

mod definition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use taskhook_core::source::{GivenSecret, SourceCommand};
use taskhook_core::{EventKind, Outcome, Refused, limits};

use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::asked::{RotateRequest, SourceRequest, TestRequest};
use crate::http::cursor;
use crate::http::fields::Fields;
use crate::http::list::Query;
use crate::http::problem::{FieldError, Problem, refused};
use crate::http::sources::definition::Secrets;
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::unexpected;
use crate::http::webhook;
use crate::http::webhook::map::{Found, Mapped};
use crate::http::wire::ListBody;
use crate::http::wire::sources::{SourceBody, TestBody, secret_id};
use crate::http::{App, body, respond};
use crate::json;
use crate::source::definition::Definition;
use crate::source::registry::{Live, place};
use crate::source::secret::Key;
use crate::source::verify::Seen;

type Pairs = RawQuery<Vec<(String, String)>>;

/// Most bytes of what a source says.
const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// How long old secrets go on beside a new one, where nothing else is said.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Makes a source, or replaces what it says.
///
/// Its secrets are never shown: left out, they stay; null takes them away. A secret that is given again keeps its id.
/// There may be 1,000 sources.
#[utoipa::path(
    put, path = "/v1/sources/{name}", tag = "sources",
    params(("name" = String, Path, description = "`[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}`")),
    request_body(content = SourceRequest, example = json!({"verify": {"scheme": "github", "secrets": ["It's a Secret to Everybody"]}})),
    responses((status = 201, body = SourceBody), (status = 200, body = SourceBody, description = "It was there already"), Problem)
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    name: Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, DEFINITION_BYTES_MAX).await?;
    let members = json::object(&bytes).map_err(Problem::malformed)?;
    let (mut definition, secrets) = definition::read(members).map_err(Problem::invalid)?;
    let name = name.chosen("source")?;
    let now = app.sources.get(&name);
    needs_verify(&name, &definition)?;
    if let (Some(verify), Some(had)) =
        (&mut definition.verify, now.as_ref().and_then(|now| now.definition.verify.as_ref()))
        && verify.scheme == had.scheme
        && verify.verify_token.is_none()
    {
        verify.verify_token.clone_from(&had.verify_token);
    }
    let secrets = seal(&app, &name, now.as_deref(), &definition, secrets)?;
    let definition = serde_json::to_string(&definition).unwrap_or_default();
    let command = SourceCommand::Define { definition: definition.into(), secrets };
    let status = match submit(&app, asking, &name, command).await? {
        Outcome::Defined { new: true } => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    refreshed(&app, &name).await.map(|source| respond::json(status, &source))
}

/// Only the default source may leave out how it verifies: for the others, that nothing is proved must be written out.
fn needs_verify(name: &str, definition: &Definition) -> Result<(), Problem> {
    if definition.verify.is_some() || name == "default" {
        return Ok(());
    }
    let detail = "says how requests prove themselves, such as {\"scheme\": \"github\", \"secrets\": [\"…\"]}; if nothing \
                  is to be proved, {\"scheme\": \"none\"}";
    Err(wrong("/verify", "missing", detail))
}

fn wrong(pointer: &str, code: &'static str, detail: &str) -> Problem {
    Problem::invalid(vec![FieldError { pointer: pointer.into(), code, detail: detail.into() }])
}

/// The secrets of a definition, sealed; `None`: those that the source has.
fn seal(
    app: &App,
    name: &str,
    now: Option<&Live>,
    definition: &Definition,
    secrets: Secrets,
) -> Result<Option<Vec<GivenSecret>>, Problem> {
    let verify = definition.verify.as_ref().filter(|verify| verify.needs_secrets());
    let texts = match (verify, secrets) {
        (None, _) => return Ok(Some(Vec::new())),
        (Some(_), Secrets::Replace(texts)) => texts,
        (Some(verify), Secrets::Keep) => {
            let forms = now.map(|now| now.secret_forms((app.clock)())).unwrap_or_default();
            if forms.is_empty() {
                return Err(wrong("/verify/secrets", "missing", "says which secrets prove a request"));
            }
            if forms.iter().any(|form| !verify.key_forms().contains(form)) {
                let detail =
                    format!("those that it has are not for the scheme {}: give its own", verify.scheme);
                return Err(wrong("/verify/secrets", "not_for_this_scheme", &detail));
            }
            return Ok(None);
        }
    };
    if texts.is_empty() {
        let detail = "may not be empty: with no secret nothing can be proved; for none at all, say {\"scheme\": \"none\"}";
        return Err(wrong("/verify/secrets", "missing", detail));
    }
    texts.iter().map(|text| sealed(app, name, now, text)).collect::<Result<_, _>>().map(Some)
}

/// A secret, sealed; one that the source has already keeps its id.
fn sealed(app: &App, name: &str, now: Option<&Live>, text: &str) -> Result<GivenSecret, Problem> {
    let id = now.and_then(|now| now.id_of(text)).unwrap_or_else(|| *app.new_id().as_bytes());
    let sealed = app.sources.vault().seal(&place(name, &id), text.as_bytes());
    sealed.map(|sealed| GivenSecret { id, sealed: sealed.into() }).map_err(|_| no_random())
}

fn no_random() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_random_bytes", "the system gives no random bytes")
}

/// A source, without its secrets.
#[utoipa::path(
    get, path = "/v1/sources/{name}", tag = "sources", params(("name" = String, Path)),
    responses((status = 200, body = SourceBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
) -> Result<Response, Problem> {
    let view = app.reader.source(&name).await?.ok_or_else(|| no_such_source(&name))?;
    Ok(respond::json(StatusCode::OK, &SourceBody::of(&view, &app.public_url)))
}

/// All sources, by name.
#[utoipa::path(
    get, path = "/v1/sources", tag = "sources",
    params(("limit" = Option<usize>, Query, description = "Rows of the page, 1 to 1,000. Default: 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = ListBody<SourceBody>), Problem)
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(pairs): Pairs) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["limit", "cursor"])?;
    let limit = query.limit()?;
    let mut views = app.reader.sources(query.name_cursor()?, limit + 1).await?;
    let more = views.len() > limit;
    views.truncate(limit);
    let next_cursor = views.last().filter(|_| more).map(|last| cursor::name(&last.name));
    let data = views.iter().map(|view| SourceBody::of(view, &app.public_url)).collect();
    Ok(respond::json(StatusCode::OK, &ListBody { data, next_cursor }))
}

/// Takes a source away. What it has sent stays.
#[utoipa::path(
    delete, path = "/v1/sources/{name}", tag = "sources", params(("name" = String, Path)),
    responses((status = 204, description = "It is no more"), Problem)
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
) -> Result<Response, Problem> {
    if name == "default" {
        let detail = "the source default is always there; PUT {} makes it say nothing";
        return Err(Problem::new(StatusCode::CONFLICT, "always_there", detail));
    }
    submit(&app, asking, &name, SourceCommand::Delete).await?;
    app.sources.refresh(&app.reader, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives a source one more secret. The others go on for a while, so that its sender can change over.
#[utoipa::path(
    post, path = "/v1/sources/{name}/rotate-secret", tag = "sources",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = RotateRequest, example = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "keep": "24h"})),
    responses((status = 200, body = SourceBody), Problem)
)]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, DEFINITION_BYTES_MAX).await?;
    let mut fields = Fields::of::<RotateRequest>(json::object(&bytes).map_err(Problem::malformed)?, "");
    let given = fields.take::<String>("secret", "a string");
    let keep = fields.duration("keep").unwrap_or(KEPT_FOR);
    let live = app.sources.get(&name).ok_or_else(|| no_such_source(&name))?;
    let Some(verify) = live.definition.verify.as_ref().filter(|verify| verify.needs_secrets()) else {
        let detail = "the scheme of the source has no secrets; PUT it with one that has first";
        return Err(Problem::new(StatusCode::CONFLICT, "no_secrets", detail));
    };
    if keep > limits::DURATION_MAX {
        fields.wrong("keep", "out_of_range", "is too long");
    }
    match &given {
        None => fields.wrong("secret", "missing", "says what the new secret is"),
        Some(text) => {
            if let Err(why) = Key::parse(text, verify.key_forms()) {
                fields.wrong("secret", "not_a_secret", why);
            }
        }
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let secret = sealed(&app, &name, Some(&live), given.as_deref().unwrap_or_default())?;
    submit(&app, asking, &name, SourceCommand::Rotate { secret, keep }).await?;
    refreshed(&app, &name).await.map(|source| respond::json(StatusCode::OK, &source))
}

/// Shows what a request to a source would do, without doing it.
#[utoipa::path(
    post, path = "/v1/sources/{name}/test", tag = "sources", params(("name" = String, Path)),
    request_body(content = TestRequest, example = json!({"body": "{\"event\": \"task_completed\", \"task_id\": \"123\"}", "headers": {"webhook-id": "msg_1"}})),
    responses((status = 200, body = TestBody), Problem)
)]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, 2 * limits::BODY_BYTES_MAX).await?;
    let members = json::object(&bytes).map_err(Problem::malformed)?;
    let mut fields = Fields::of::<TestRequest>(members, "");
    let body = fields.take::<String>("body", "a string: the raw body").unwrap_or_default();
    let given =
        fields.take::<BTreeMap<String, String>>("headers", "an object of strings").unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in &given {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(headers.append(name, value)),
            _ => fields.wrong_within("headers", name, "not_a_header", "is no header"),
        }
    }
    let url = fields.take::<String>("url", "a string");
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let live = app.sources.get(&name).ok_or_else(|| no_such_source(&name))?;
    let url = url.unwrap_or_else(|| format!("{}/webhook/{name}", app.public_url));
    let seen = Seen { headers: &headers, body: body.as_bytes(), url: &url, at: (app.clock)() };
    Ok(respond::json(StatusCode::OK, &tested(&app, &live, &seen).await))
}

async fn tested(app: &App, live: &Arc<Live>, seen: &Seen<'_>) -> TestBody {
    let mut answer = TestBody {
        verified: false,
        reason: None,
        secret: None,
        name: None,
        event: None,
        task: None,
        external_id: None,
        attempt: None,
        delivery_id: None,
    };
    match webhook::verify(app, live, seen) {
        Ok(secret) => {
            answer.verified = true;
            answer.secret = secret.as_ref().map(secret_id);
        }
        Err(denied) => answer.reason = Some(denied.0),
    }
    let text = webhook::as_json(live, seen);
    match json::object(&text) {
        Err(wrong) => answer.reason = answer.reason.or(Some(wrong)),
        Ok(members) => {
            let found = match Found::of(live, &text, seen).await {
                Ok(found) => found,
                Err(why) => {
                    answer.reason.get_or_insert(why);
                    return answer;
                }
            };
            let Mapped { name, task, external, attempt, kind } =
                webhook::map::map(live, &members, seen, false, &found);
            answer.delivery_id = webhook::map::delivery_id(live, &members, seen, &found);
            answer.event = meaning(&kind);
            if let EventKind::Other(Some(why)) = kind {
                answer.reason.get_or_insert(why.into());
            }
            (answer.name, answer.task, answer.attempt) = (name, task, attempt);
            answer.external_id = external;
        }
    }
    answer
}

fn meaning(kind: &EventKind) -> Option<&'static str> {
    match kind {
        EventKind::Started => Some("task_started"),
        EventKind::Heartbeat => Some("task_heartbeat"),
        EventKind::Progress(..) => Some("task_progress"),
        EventKind::Completed(_) => Some("task_completed"),
        EventKind::Failed(..) => Some("task_failed"),
        EventKind::Cancelled => Some("task_cancelled"),
        EventKind::Rejected(_) | EventKind::Other(_) => None,
    }
}

async fn submit(app: &App, asking: Asking, name: &str, command: SourceCommand) -> Result<Outcome, Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Source(name.into(), command))).await?;
    match receipt.outcome() {
        outcome @ (Outcome::Defined { .. } | Outcome::Applied) => Ok(outcome.clone()),
        Outcome::Repeated => Err(Problem::in_progress()),
        Outcome::Refused(Refused::NoSuchSource { .. }) => Err(no_such_source(name)),
        Outcome::Refused(why) => Err(refused(why, |_| String::new(), |_| name.to_string())),
        other => Err(unexpected(other)),
    }
}

/// Takes over how a source is now, for the webhooks that come from here on, and shows it.
async fn refreshed(app: &App, name: &str) -> Result<SourceBody, Problem> {
    let view = app.sources.refresh(&app.reader, name).await?.ok_or_else(|| no_such_source(name))?;
    Ok(SourceBody::of(&view, &app.public_url))
}

fn no_such_source(name: &str) -> Problem {
    Problem::not_found(format!("there is no source with the name {name:?}"))
}
