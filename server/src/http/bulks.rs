//! `/v1/bulk`: commands to every task that a filter lets through.

mod definition;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use taskhook_core::bulk::{Filter, Settings};
use taskhook_core::id::{parse_type_id, type_id};
use taskhook_core::{Outcome, Refused};

use crate::engine::submission::{BulkAsk, Submission};
use crate::http::access::Asking;
use crate::http::asked::BulkRequest;
use crate::http::cursor;
use crate::http::list::Query;
use crate::http::problem::{Problem, refused};
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::{options, unexpected};
use crate::http::wire::ListBody;
use crate::http::wire::bulks::{BulkBody, DryRunBody};
use crate::http::{App, body, respond};

type Pairs = RawQuery<Vec<(String, String)>>;

/// How long a dry run counts.
const DRY_RUN_WITHIN: Duration = Duration::from_secs(2);

/// Begins a bulk: cancels, retries or triggers every task that a filter lets through.
///
/// It goes on in the background, through restarts. It looks at the tasks that exist now, in the order of their creation;
/// each hears of it at most once, and those that are created later are left alone. At most 16 run at the same time; the
/// newest 1,000 that have ended are kept. With `dry_run` nothing is changed, and the tasks are counted for up to two
/// seconds.
#[utoipa::path(
    post, path = "/v1/bulk", tag = "bulks",
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = BulkRequest, example = json!({"action": "retry", "filter": {"state": "failed", "queue": "images"}, "rate": {"limit": 100, "per": "1s"}})),
    responses((status = 202, body = BulkBody), (status = 200, body = DryRunBody, description = "A dry run"), Problem)
)]
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, 64 << 10).await?;
    let asked = definition::read(&bytes)?;
    if asked.dry_run {
        return count(&app, asked.settings, asked.queue).await;
    }
    let id = type_id("bulk", app.new_id().as_bytes());
    let ask = BulkAsk::Begin(Box::new(asked.settings), asked.queue);
    submit(&app, asking, &id, ask).await?;
    show(&app, StatusCode::ACCEPTED, &id).await
}

/// How far a bulk is.
#[utoipa::path(
    get, path = "/v1/bulk/{id}", tag = "bulks", params(("id" = String, Path)),
    responses((status = 200, body = BulkBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: NoQuery,
) -> Result<Response, Problem> {
    show(&app, StatusCode::OK, &id).await
}

/// All bulks that are kept, newest first.
#[utoipa::path(
    get, path = "/v1/bulk", tag = "bulks",
    params(("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = ListBody<BulkBody>), Problem)
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(pairs): Pairs) -> Result<Response, Problem> {
    let (limit, before) = Query::new(pairs, &["limit", "cursor"])?.page()?;
    let listed = app.reader.bulks(before, limit).await?;
    let data = listed.rows.into_iter().map(BulkBody::of).collect();
    Ok(respond::json(
        StatusCode::OK,
        &ListBody::<BulkBody> { data, next_cursor: listed.next.map(cursor::row) },
    ))
}

/// Stops a bulk: tasks that have not heard of it are left as they are. What it did stays. Of one that has ended by itself
/// 409.
#[utoipa::path(
    post, path = "/v1/bulk/{id}/cancel", tag = "bulks",
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = BulkBody), Problem)
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
    // No other id was ever given: a name that nobody has would be made for nothing.
    parse_type_id("bulk", &id).ok_or_else(|| no_such_bulk(&id))?;
    submit(&app, asking, &id, BulkAsk::Cancel).await?;
    show(&app, StatusCode::OK, &id).await
}

/// The answer to a request that began or changed the bulk under this key, made again.
pub(super) async fn show_again(app: &App, status: StatusCode, key: i64) -> Result<Response, Problem> {
    let id = app.reader.bulk_id(key).await?.ok_or_else(vanished)?;
    show(app, status, &id).await
}

async fn count(app: &App, settings: Settings, queue: Option<String>) -> Result<Response, Problem> {
    let queue = match &queue {
        Some(name) => Some(app.reader.queue_key(name).await?.ok_or_else(no_such_queue)?),
        None => None,
    };
    let settings = Settings { filter: Filter { queue, ..settings.filter }, ..settings };
    let found = app.reader.count_matches(settings, DRY_RUN_WITHIN).await?;
    Ok(respond::json(StatusCode::OK, &DryRunBody::of(found)))
}

async fn submit(app: &App, asking: Asking, id: &str, ask: BulkAsk) -> Result<(), Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Bulk(id.into(), ask))).await?;
    match receipt.outcome() {
        Outcome::Applied | Outcome::Unchanged => Ok(()),
        Outcome::Repeated => Err(Problem::in_progress()),
        Outcome::Refused(Refused::NoSuchBulk) => Err(no_such_bulk(id)),
        Outcome::Refused(why) => Err(refused(why, |_| "/filter".into(), |_| String::new())),
        other => Err(unexpected(other)),
    }
}

async fn show(app: &App, status: StatusCode, id: &str) -> Result<Response, Problem> {
    let view = app.reader.bulk(id).await?.ok_or_else(|| no_such_bulk(id))?;
    Ok(respond::json(status, &BulkBody::of(view)))
}

fn no_such_bulk(id: &str) -> Problem {
    Problem::not_found(format!("there is no bulk with the id {id:?}"))
}

fn no_such_queue() -> Problem {
    refused(&Refused::NoSuchQueue { position: 0 }, |_| "/filter".into(), |_| String::new())
}

fn vanished() -> Problem {
    Problem::not_found("the bulk is no longer kept")
}
