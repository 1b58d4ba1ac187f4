//! `/v1/events`: what was received, and what became of it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use taskhook_core::EventId;
use taskhook_core::id::parse_type_id;

use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::cursor;
use crate::http::list::Query;
use crate::http::problem::{Problem, hint};
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::options;
use crate::http::wire::{EventBody, ListBody};
use crate::http::{App, respond, webhook};
use crate::store::read::{EventFilter, EventView};

/// What may become of a webhook.
const OUTCOMES: [&str; 8] =
    ["applied", "duplicate", "stale", "ignored", "unmatched", "recorded", "rejected", "quarantined"];

/// Lists webhooks, newest first.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    params(
        ("source" = Option<String>, Query), ("task" = Option<String>, Query, description = "A task's id"),
        ("outcome" = Option<String>, Query), ("type" = Option<String>, Query, description = "The event name"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = ListBody<EventBody>), Problem)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["source", "task", "outcome", "type", "limit", "cursor"])?;
    let text = |name| query.one(name).map(|value| value.map(String::from));
    let filter = EventFilter {
        source: text("source")?,
        task: text("task")?,
        outcome: text("outcome")?,
        name: text("type")?,
    };
    if let Some(unknown) = filter.outcome.as_deref().filter(|outcome| !OUTCOMES.contains(outcome)) {
        let hint = hint(unknown, &OUTCOMES);
        return Err(Problem::bad_query(format!("{unknown:?} is no outcome{hint}")));
    }
    let (limit, before) = query.page()?;
    let listed = app.reader.events(filter, before, limit).await?;
    let data = listed.rows.into_iter().map(EventBody::of).collect();
    Ok(respond::json(
        StatusCode::OK,
        &ListBody::<EventBody> { data, next_cursor: listed.next.map(cursor::row) },
    ))
}

/// Reads a webhook as it came, and what became of it.
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", params(("id" = String, Path)),
    responses((status = 200, body = EventBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: NoQuery,
) -> Result<Response, Problem> {
    Ok(respond::json(StatusCode::OK, &EventBody::of(find(&app, &id).await?)))
}

/// Takes in a kept webhook once more, as a new event, past de-duplication.
///
/// 409 for one that was rejected at a callback URL, which is not kept, or that was sent to a source that does not
/// exist.
#[utoipa::path(
    post, path = "/v1/events/{id}/replay", tag = "events",
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = webhook::WebhookAnswer), Problem)
)]
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    asking: Asking,
    Named(id): Named,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    options(&app, &headers, body).await?.finish_or_refuse(&[])?;
    let mut event = find(&app, &id).await?;
    // A duplicate is what its original was.
    if let Some(original) = event.duplicate_of {
        event = find(&app, &original.to_string()).await?;
    }
    let heard = webhook::map_again(&app, event).await?;
    let receipt = app.engine.submit(asking.to(Submission::Event(Box::new(heard)))).await?;
    webhook::answer(&receipt)
}

async fn find(app: &App, id: &str) -> Result<EventView, Problem> {
    let none = || Problem::not_found(format!("there is no event with the id {id:?}"));
    let key = parse_type_id("evt", id).map(EventId).ok_or_else(none)?;
    app.reader.event(key).await?.ok_or_else(none)
}
