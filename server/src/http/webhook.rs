//! `POST /webhook` and `POST /callback/{token}`: a request becomes an event.

mod batch;
pub(super) mod handshake;
pub mod map;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskhook_core::access::Role;
use taskhook_core::{ClaimKey, EventId, EventKind, Outcome, Received, Refused, SourceKey, limits};
use utoipa::ToSchema;

use crate::engine::Receipt;
use crate::engine::submission::{Heard, Submission};
use crate::http::access::Caller;
use crate::http::problem::{Problem, refused};
use crate::http::target::Named;
use crate::http::webhook::map::{Found, Mapped};
use crate::http::{App, body, respond};
use crate::json;
use crate::report::cut;
use crate::secrets::{credentials, fingerprint};
use crate::source::definition::Answer;
use crate::source::facts;
use crate::source::presets::Preset;
use crate::source::registry::Live;
use crate::source::verify::{Denied, Seen};
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
    /// `applied`, `duplicate`, `stale`, `ignored`, `unmatched` or `recorded`; of one of several, `rejected` too.
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
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    receive_for(&app, "default", &caller, &uri, &headers, body).await
}

/// Receives a webhook for a named source.
///
/// It is verified over its raw body, as its source says, before it is read. Its source may say another answer. With an API
/// key of the role `write` as a bearer token nothing else is to be proved, and any task may be reported on.
#[utoipa::path(
    post, path = "/webhook/{source}", tag = "webhooks",
    request_body(content = serde_json::Value),
    params(("source" = String, Path, description = "The source's name")),
    responses((status = 200, body = WebhookAnswer), Problem)
)]
pub(super) async fn receive_from(
    State(app): State<Arc<App>>,
    Named(name): Named,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    receive_for(&app, &name, &caller, &uri, &headers, body).await
}

async fn receive_for(
    app: &App,
    name: &str,
    caller: &Caller,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(source) = app.sources.get(name) else {
        let problem = Problem::not_found(no_source(&cut(name, limits::NAME_BYTES_MAX)));
        let bytes = body::read(app, headers, body, limits::BODY_BYTES_MAX).await;
        let bytes = bytes.as_deref().cloned().unwrap_or_default();
        let received = Received {
            source: cut(name, limits::NAME_BYTES_MAX),
            headers: stored_headers(headers, &[]),
            ..Received::unread(event_id(app), &bytes)
        };
        return Err(reject(app, SourceKey::DEFAULT, "", received, problem).await);
    };
    let key = caller.0.as_ref();
    let by_key = key.filter(|key| key.role >= Role::Write);
    let way =
        Way { app, source: &source, headers, token: None, by_key: by_key.is_some(), query: uri.query() };
    let bytes = way.read(body).await?;
    let url = format!("{}{uri}", app.public_url);
    let seen = Seen { headers, body: &bytes, url: &url, at: (app.clock)() };
    let with_token = source.with_access_token(headers, uri.query().unwrap_or_default());
    let proved = match by_key {
        Some(key) => Ok(Some(key.id.0)),
        None => verify(app, &source, &Seen { headers: &with_token, ..seen }),
    };
    let secret = match proved {
        Ok(secret) => secret,
        Err(_) if key.is_some() => {
            let detail = "to report with an API key, it must have the role write; that of this one is read";
            let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
            return Err(way.reject(&bytes, problem).await);
        }
        // Why is for whoever owns the source: the sender may be anybody.
        Err(denied) => return Err(way.reject_because(&bytes, unauthorized(), &denied.0).await),
    };
    if let Some(answer) = handshake::answer(&source, &seen, secret) {
        return Ok(answer);
    }
    if batch::is_one(&source, &seen) {
        let usual = batch::take_in(&way, &seen, secret).await?;
        return Ok(source.response().map_or(usual, |said| in_its_words(&said)));
    }
    let heard = way.heard(&seen, secret).await?;
    let receipt = app.engine.submit(Submission::Event(Box::new(heard))).await?;
    let usual = answer(&receipt)?;
    Ok(source.response().map_or(usual, |said| in_its_words(&said)))
}

/// Checks a request as its source says. Gives the secret that proved it, where one had to.
pub(super) fn verify(app: &App, source: &Live, seen: &Seen<'_>) -> Result<Option<[u8; 16]>, Denied> {
    // Whoever needs a key for the API does not mean to be reported to by anybody.
    if source.definition.verify.is_none() && !app.keys.is_open() {
        let why = "the source has no verify, and this server has API keys: say how its requests prove themselves, or \
                   {\"scheme\": \"none\"}, with PUT /v1/sources/{name}";
        return Err(Denied(why.into()));
    }
    source.verify(seen)
}

fn no_source(name: &str) -> String {
    format!("there is no source {name:?}; make it with PUT /v1/sources/{{name}}")
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "signature does not verify")
}

/// What the source wants its sender to be answered.
fn in_its_words(said: &Answer) -> Response {
    let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::OK);
    let kind = said.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
    match said.body.is_empty() {
        true => status.into_response(),
        false => (status, [(header::CONTENT_TYPE, kind)], said.body.clone()).into_response(),
    }
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
    // Whoever has the token has proved enough; what it says is read as the default source's would be.
    let source = app.sources.callbacks();
    let way = Way {
        app: &app,
        source: &source,
        headers: &headers,
        token: Some(&token),
        by_key: false,
        query: None,
    };
    let Some((task, attempt)) = app.secrets.read_callback_token(&token) else {
        let problem = Problem::not_found("this is no callback URL of this server");
        let bytes = body::read(&app, &headers, body, limits::BODY_BYTES_MAX).await;
        return Err(way.reject(bytes.as_deref().unwrap_or(&Bytes::new()), problem).await);
    };
    let bytes = way.read(body).await?;
    let seen = Seen { headers: &headers, body: &bytes, url: "", at: (app.clock)() };
    let mut heard = way.heard(&seen, None).await?;
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
    Err(reject(&app, source.key, BY_CALLBACK, received, problem).await)
}

/// The answer to a webhook: only a receipt becomes a 200.
pub(super) fn answer(receipt: &Receipt) -> Result<Response, Problem> {
    said(receipt).map(|said| respond::json(StatusCode::OK, &said))
}

/// What is said of one webhook.
fn said(receipt: &Receipt) -> Result<WebhookAnswer, Problem> {
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
    Ok(WebhookAnswer {
        message: "Webhook received",
        event_id: receipt.event().map(|id| id.to_string()).unwrap_or_default(),
        outcome,
        reason,
        // One that came before its task has none, though a creation in the same transaction may have made it since.
        task_state: receipt.task().map(|(_, state)| state.name()).filter(|_| outcome != "unmatched"),
    })
}

/// What is said of one of several that was kept, and cannot be read.
fn rejected(id: EventId, problem: &Problem) -> WebhookAnswer {
    WebhookAnswer {
        message: "Webhook received",
        event_id: id.to_string(),
        outcome: "rejected",
        reason: Some(problem.code),
        task_state: None,
    }
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

/// Why a webhook that was proved cannot be read.
struct Unmapped {
    /// What its sender hears.
    problem: Problem,
    /// What its owner reads beside it.
    why: Option<String>,
}

/// A request on its way to become an event.
struct Way<'a> {
    app: &'a App,
    source: &'a Arc<Live>,
    headers: &'a HeaderMap,
    /// The callback token that it came by.
    token: Option<&'a str>,
    /// It came with a key that may report on any task.
    by_key: bool,
    /// The query of its URL.
    query: Option<&'a str>,
}

impl Way<'_> {
    /// Its whole body. A request that is refused is kept too, for whoever looks for it.
    async fn read(&self, body: Body) -> Result<body::Whole, Problem> {
        let kind = facts::header(self.headers, header::CONTENT_TYPE.as_str());
        let is_json =
            kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| is_json(kind.trim())));
        let problem = if self.headers.contains_key(header::ORIGIN) && !is_json {
            let detail = "a request from a web page must say content-type: application/json";
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail)
        } else {
            match body::read(self.app, self.headers, body, limits::BODY_BYTES_MAX).await {
                Ok(whole) => return Ok(whole),
                Err(problem) => problem,
            }
        };
        Err(self.reject(&Bytes::new(), problem).await)
    }

    /// Reads what it says. `secret` has proved it. What cannot be read is kept.
    async fn heard(&self, seen: &Seen<'_>, secret: Option<[u8; 16]>) -> Result<Heard, Problem> {
        match self.map(seen, secret).await {
            Ok(heard) => Ok(heard),
            Err(unmapped) => {
                self.keep(seen.body, secret, &unmapped).await;
                Err(unmapped.problem)
            }
        }
    }

    async fn map(&self, seen: &Seen<'_>, secret: Option<[u8; 16]>) -> Result<Heard, Unmapped> {
        let malformed = |wrong: String| Unmapped { problem: Problem::malformed(wrong), why: None };
        if let Some(name) = facts::wrong_attribute(seen.headers) {
            let wrong = format!("the header {name} of a CloudEvent is no percent-encoded UTF-8");
            return Err(malformed(wrong));
        }
        let text = as_json(self.source, seen);
        let members = json::object(&text).map_err(malformed)?;
        // Its source can be mended, and then it can be replayed.
        let found = Found::of(self.source, &text, seen).await.map_err(|why| Unmapped {
            problem: Problem::new(StatusCode::BAD_REQUEST, "not_mapped", "the source cannot map it"),
            why: Some(why),
        })?;
        let secrets = &self.app.secrets;
        let delivery_id =
            map::delivery_id(self.source, &members, seen, &found).filter(|id| !secrets.is_attempt_id(id));
        let scope: [&[u8]; 2] = match self.token {
            Some(token) => [b"callback", token.as_bytes()],
            None => [b"source", self.source.name.as_bytes()],
        };
        let claim =
            delivery_id.as_ref().map(|id| ClaimKey(fingerprint(&[scope[0], scope[1], id.as_bytes()])));
        let Mapped { name, task, external, attempt, kind } =
            map::map(self.source, &members, seen, self.token.is_some(), &found);
        let received = Received {
            name,
            task_name: task.as_deref().map(|task| cut(task, limits::ID_BYTES_MAX * 2)),
            external_id: external.clone(),
            delivery_id: delivery_id.map(|id| cut(&id, limits::ID_BYTES_MAX * 2)),
            secret,
            ..self.received(seen.body)
        };
        let received = Arc::new(received);
        let source = self.source.key;
        let by_key = self.by_key;
        Ok(Heard { source, by_key, task, external, token: None, attempt, kind, claim, received })
    }

    fn received(&self, body: &[u8]) -> Received {
        Received {
            source: self.source.name.clone(),
            query: self.query.map(stored_query),
            headers: stored_headers(self.headers, &self.source.secret_headers()),
            ..Received::unread(event_id(self.app), body)
        }
    }

    /// Keeps a webhook that was proved, and cannot be read: once that is mended, it can be replayed without being proved
    /// again. Gives its id, where there was room to keep it.
    async fn keep(&self, body: &[u8], secret: Option<[u8; 16]>, unmapped: &Unmapped) -> Option<EventId> {
        let way = if self.token.is_some() { BY_CALLBACK } else { "" };
        let why = unmapped.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let received = Received { secret, ..self.received(body) };
        let id = received.id;
        let reason = format!("{way}{}{why}", unmapped.problem.detail);
        keep_rejected(self.app, self.source.key, &reason, received).await.then_some(id)
    }

    /// Keeps it as refused, as far as the bounds allow, and gives its answer back.
    async fn reject(&self, body: &[u8], problem: Problem) -> Problem {
        let way = if self.token.is_some() { BY_CALLBACK } else { "" };
        reject(self.app, self.source.key, way, self.received(body), problem).await
    }

    /// The same, with a reason that the sender does not hear.
    async fn reject_because(&self, body: &[u8], problem: Problem, why: &str) -> Problem {
        let reason = format!("{}: {why}", problem.detail);
        keep_rejected(self.app, self.source.key, &reason, self.received(body)).await;
        problem
    }
}

/// The body as JSON: of a form, an object of its fields. Of fields with one name, the first counts.
pub(super) fn as_json<'a>(source: &Live, seen: &Seen<'a>) -> Cow<'a, [u8]> {
    // `curl -d` says that it sends a form, whatever it sends.
    let sends_forms = source.preset().is_some_and(Preset::sends_forms);
    let fields = if sends_forms { facts::fields(seen.headers, seen.body) } else { None };
    let Some(fields) = fields else { return seen.body.into() };
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        object.entry(name).or_insert(value.into());
    }
    serde_json::Value::Object(object).to_string().into_bytes().into()
}

/// Keeps a refused request, as far as the bounds allow, and gives its answer back. `way` says how it came.
async fn reject(app: &App, source: SourceKey, way: &str, received: Received, problem: Problem) -> Problem {
    // Who is told to come back is not rejected.
    if problem.status < 500 {
        keep_rejected(app, source, &format!("{way}{}", problem.detail), received).await;
    }
    problem
}

fn event_id(app: &App) -> EventId {
    EventId(*app.new_id().as_bytes())
}

/// Whether there was room for it.
async fn keep_rejected(app: &App, source: SourceKey, reason: &str, received: Received) -> bool {
    if !app.rejections.allow() {
        return false;
    }
    // It may repeat what a stranger wrote.
    let reason = cut(reason, limits::MESSAGE_BYTES_MAX);
    let heard = Heard {
        source,
        by_key: false,
        task: None,
        external: None,
        token: None,
        attempt: None,
        kind: EventKind::Rejected(reason.into()),
        claim: None,
        received: Arc::new(received),
    };
    // The sender hears that the request is refused, whether or not there was room to keep it.
    app.engine.submit(Submission::Event(Box::new(heard))).await.is_ok()
}

/// Maps a kept webhook once more, as a new one.
///
/// # Errors
/// 409 where nobody can tell any more what it would be about, or whether it is from its source; 400 where its body cannot
/// be read.
pub(super) async fn map_again(app: &App, event: EventView) -> Result<Heard, Problem> {
    let not_replayable = |detail: String| Problem::new(StatusCode::CONFLICT, "not_replayable", detail);
    let source = app.sources.get(&event.source).ok_or_else(|| not_replayable(no_source(&event.source)))?;
    let is_rejected = event.outcome == "rejected";
    if is_rejected && event.reason.as_ref().is_some_and(|reason| reason.starts_with(BY_CALLBACK)) {
        let detail = "it was rejected at a callback URL, which is not kept; send it again to the URL";
        return Err(not_replayable(detail.into()));
    }
    let headers: HeaderMap = event
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let query = event.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{}/webhook/{}{query}", app.public_url, event.source);
    // By the time at which it came: what was signed in time then still is.
    let seen = Seen { headers: &headers, body: &event.body, url: &url, at: event.received_at };
    let secret = match is_rejected {
        false => None,
        // It was proved when it came, and only what it says could not be read.
        true if event.secret.is_some() => event.secret,
        true if !source.secret_headers().is_empty() => {
            let detail = "its proof is the secret itself, which is not kept; have it sent again";
            return Err(not_replayable(detail.into()));
        }
        true => prove_again(app, &source, &seen, &event).map_err(not_replayable)?,
    };
    let text = as_json(&source, &seen);
    let members = json::object(&text).map_err(Problem::malformed)?;
    // What came by a callback token named no task in its body; it is about the same task and attempt again.
    let by_token = event.attempt.filter(|_| event.task.is_some());
    let found = Found::of(&source, &text, &seen)
        .await
        .map_err(|why| not_replayable(format!("its source still cannot map it: {why}")))?;
    let Mapped { name, task, external, attempt, kind } =
        map::map(&source, &members, &seen, by_token.is_some(), &found);
    let task = task.or(event.task.clone().filter(|_| external.is_none()));
    Ok(Heard {
        source: source.key,
        // What it could report on then, it can now.
        by_key: event.may_report,
        task: task.clone(),
        external: external.clone(),
        token: None,
        attempt: attempt.or(by_token),
        kind,
        claim: None,
        received: Arc::new(Received {
            source: event.source.clone(),
            name,
            task_name: task,
            external_id: external,
            query: event.query.clone(),
            headers: event.headers.clone(),
            secret,
            replay_of: Some(event.id),
            ..Received::unread(event_id(app), &event.body)
        }),
    })
}

/// Checks a kept request once more. What is signed may be its URL, and `default` has two.
fn prove_again(
    app: &App,
    source: &Live,
    seen: &Seen<'_>,
    event: &EventView,
) -> Result<Option<[u8; 16]>, String> {
    let denied = match verify(app, source, seen) {
        Ok(secret) => return Ok(secret),
        Err(denied) => denied,
    };
    let query = seen.url.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let short = format!("{}/webhook{query}", app.public_url);
    if event.source == "default"
        && let Ok(secret) = verify(app, source, &Seen { url: &short, ..*seen })
    {
        return Ok(secret);
    }
    let hidden = event.query.as_ref().is_some_and(|query| query.contains("%5Bredacted%5D"));
    let hint = if hidden {
        "; a credential in its query, which is not kept, may have been a part of what is signed"
    } else {
        ""
    };
    Err(format!("it still does not verify: {denied}{hint}"))
}

/// Whether a media type is JSON: `application/json`, `application/cloudevents+json`.
fn is_json(kind: &str) -> bool {
    let end = kind.len().saturating_sub("json".len());
    kind.is_char_boundary(end) && kind[end..].eq_ignore_ascii_case("json")
}

pub(super) fn stored_headers(headers: &HeaderMap, secret: &[&str]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let is_secret = |names: &[&str]| names.contains(&name.as_str());
            let shown = match is_secret(&SECRET_HEADERS) || is_secret(secret) {
                true => "[redacted]".into(),
                false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.to_string(), shown)
        })
        .collect()
}

/// A query as it is kept: without what looks like a credential.
pub(super) fn stored_query(query: &str) -> String {
    let is_secret = |name: &str, value: &str| match value.is_empty() {
        // A name that says nothing of itself, and is as long as one.
        true => name.len() >= BARE_SECRET_BYTES_MIN,
        false => is_secret_parameter(&name.to_ascii_lowercase()),
    };
    let pairs = || form_urlencoded::parse(query.as_bytes());
    if !pairs().any(|(name, value)| is_secret(&name, &value)) {
        return query.into();
    }
    let mut kept = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs() {
        match (is_secret(&name, &value), value.is_empty()) {
            (true, true) => kept.append_key_only(credentials::SHOWN),
            (true, false) => kept.append_pair(&name, credentials::SHOWN),
            (false, _) => kept.append_pair(&name, &value),
        };
    }
    kept.finish()
}

/// Bytes from which a parameter without a value may be a credential.
const BARE_SECRET_BYTES_MIN: usize = 20;

/// Whether the value of a parameter is a credential, by its name in lower case.
fn is_secret_parameter(name: &str) -> bool {
    const PARTS: [&str; 6] = ["signature", "jwt", "bearer", "hmac", "assertion", "saml"];
    const WHOLE: [&str; 8] = ["sig", "auth", "pass", "passphrase", "pwd", "otp", "tok", "apikey"];
    credentials::is_credential(name) || PARTS.iter().any(|part| name.contains(part)) || WHOLE.contains(&name)
}
