//! Questions that senders ask of an address before they send to it, or now and then: whether it is ours.
//!
//! Each is answered only as far as it proves itself; nothing of it is kept, and no task hears of it.

use std::sync::Arc;

use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taskhook_core::limits;

use crate::http::problem::Problem;
use crate::http::target::Named;
use crate::http::{App, respond};
use crate::secrets::same;
use crate::source::facts::{self, member};
use crate::source::presets::Handshake;
use crate::source::registry::Live;
use crate::source::verify::Seen;

/// The answer to a verified request that is a question; `None`: it is a webhook. `secret` has proved it.
pub(super) fn answer(source: &Live, seen: &Seen<'_>, secret: Option<[u8; 16]>) -> Option<Response> {
    let says = |path: &[&str], wanted: &str| member(seen.body, path).is_some_and(|said| said == wanted);
    let ok = |body: Value| Some(respond::json(StatusCode::OK, &body));
    match source.preset()?.handshake? {
        Handshake::Slack if says(&["type"], "url_verification") => {
            ok(json!({"challenge": member(seen.body, &["challenge"])?}))
        }
        Handshake::Zoom if says(&["event"], "endpoint.url_validation") => {
            let token = member(seen.body, &["payload", "plainToken"])?;
            let code = source.code(secret?, token.as_bytes())?;
            ok(json!({"plainToken": token, "encryptedToken": hex::encode(code)}))
        }
        // An event says what it is about; a ping does not.
        Handshake::Discord if says(&["type"], "1") && !has(seen.body, "event") => ok(json!({"type": 1})),
        Handshake::Discord if says(&["type"], "0") => Some(StatusCode::NO_CONTENT.into_response()),
        Handshake::EventGrid if is_validation(seen.headers) => {
            let events: Vec<Value> = serde_json::from_slice(seen.body).ok()?;
            ok(json!({"validationResponse": events.first()?.get("data")?.get("validationCode")?.as_str()?}))
        }
        _ => None,
    }
}

fn has(body: &[u8], name: &str) -> bool {
    let members: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(body);
    members.is_ok_and(|members| members.get(name).is_some_and(|value| !value.is_null()))
}

fn is_validation(headers: &HeaderMap) -> bool {
    facts::header(headers, "aeg-event-type")
        .is_some_and(|kind| kind.eq_ignore_ascii_case("SubscriptionValidation"))
}

/// Confirms to a sender that this address is ours: Meta's question, which is answered if it knows the token.
#[utoipa::path(
    get, path = "/webhook/{source}", tag = "webhooks",
    params(("source" = String, Path, description = "The source's name"),
        ("hub.mode" = String, Query, description = "`subscribe`"),
        ("hub.verify_token" = String, Query, description = "What `verify.verify_token` of the source says"),
        ("hub.challenge" = String, Query, description = "What is answered")),
    responses((status = 200, body = String, content_type = "text/plain"), Problem)
)]
pub(in crate::http) async fn confirm(
    State(app): State<Arc<App>>,
    Named(name): Named,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let source = find(&app, &name)?;
    if !is_asked(&source, &[Handshake::Meta]) {
        return Ok(not_asked());
    }
    let said = |name: &str| pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let known = source.definition.verify.as_ref().and_then(|verify| verify.verify_token.as_ref());
    let knows = said("hub.verify_token").zip(known).is_some_and(|(given, known)| same(given, known));
    match said("hub.challenge").filter(|_| knows && said("hub.mode") == Some("subscribe")) {
        Some(challenge) => {
            // It may be anything that a stranger wrote: it is text, and nothing else.
            let kind = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            Ok((StatusCode::OK, kind, challenge.to_string()).into_response())
        }
        None => Err(super::unauthorized()),
    }
}

/// Consents to being sent CloudEvents (HTTP 1.1 Web Hooks for Event Delivery, section 4).
#[utoipa::path(
    options, path = "/webhook/{source}", tag = "webhooks",
    params(("source" = String, Path, description = "The source's name"),
        ("webhook-request-origin" = String, Header, description = "The sender's name"),
        ("webhook-request-rate" = Option<String>, Header, description = "How many requests a minute it wants to send")),
    responses((status = 200, description = "With `webhook-allowed-origin` and `webhook-allowed-rate`"), Problem)
)]
pub(in crate::http) async fn consent(
    State(app): State<Arc<App>>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_asked(&*find(&app, &name)?, &[Handshake::CloudEvents, Handshake::EventGrid]) {
        return Ok(not_asked());
    }
    let Some(origin) = facts::header(&headers, "webhook-request-origin") else {
        return Err(Problem::malformed("the header webhook-request-origin is missing, which says who asks"));
    };
    let mut answer = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.insert(name, value);
        }
    };
    put("webhook-allowed-origin", origin);
    put("webhook-allowed-rate", "*");
    put("allow", "POST");
    Ok((StatusCode::OK, answer).into_response())
}

fn find(app: &App, name: &str) -> Result<Arc<Live>, Problem> {
    let none = || Problem::not_found(super::no_source(&super::cut(name, limits::NAME_BYTES_MAX)));
    app.sources.get(name).ok_or_else(none)
}

/// Whether the senders of a source ask one of these questions.
fn is_asked(source: &Live, questions: &[Handshake]) -> bool {
    let handshake = source.preset().and_then(|preset| preset.handshake);
    handshake.is_some_and(|handshake| questions.contains(&handshake))
}

fn not_asked() -> Response {
    let detail = "the senders of this source do not ask so; webhooks are POSTed";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    ([(header::ALLOW, "POST")], problem).into_response()
}
