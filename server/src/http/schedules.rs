//! `/v1/schedules`: tasks at the instants of a clock.

mod definition;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use taskhook_core::schedule::Overlap;
use taskhook_core::{Outcome, Recurrence, Refused, Schedule, ScheduleCommand, Timestamp, limits};

use crate::engine::submission::{ScheduleAsk, Submission};
use crate::http::access::Asking;
use crate::http::asked::{BackfillRequest, ScheduleRequest, TriggerRequest};
use crate::http::credentials;
use crate::http::cursor;
use crate::http::fields::{Fields, parse_instant};
use crate::http::list::Query;
use crate::http::problem::{FieldError, Problem, refused};
use crate::http::target::{Named, NoQuery};
use crate::http::tasks::{options, show_one, unexpected};
use crate::http::wire::schedules::{BackfillAnswer, PreviewBody, ScheduleBody};
use crate::http::wire::{ListBody, TaskBody};
use crate::http::{App, body, respond};
use crate::json;

type Pairs = RawQuery<Vec<(String, String)>>;

/// Most bytes of what a schedule says: its task may carry a payload.
const DEFINITION_BYTES_MAX: usize = limits::BODY_BYTES_MAX + (256 << 10);

/// Instants for tasks that are asked for: each another one, and none that is a schedule's own.
#[derive(Debug, Default)]
pub struct AskedInstants(AtomicI64);

impl AskedInstants {
    /// The next one: now, to the millisecond, or as soon after it as there is one.
    fn next(&self, now: Timestamp) -> Timestamp {
        let free = |last: i64| {
            let next = now.0.div_euclid(1_000).max(last + 1);
            Some(next + i64::from(next % 1_000 == 0))
        };
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        Timestamp(last.ok().and_then(free).unwrap_or_default().saturating_mul(1_000))
    }
}

/// Makes a schedule, or replaces what it says.
///
/// What is left out has its default. The past is never made up for by a change: instants before it make no task, unless
/// the schedule is due at the same instants as before.
#[utoipa::path(
    put, path = "/v1/schedules/{name}", tag = "schedules",
    params(("name" = String, Path, description = "`[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}`")),
    request_body(content = ScheduleRequest, example = json!({"cron": "30 2 * * *", "timezone": "Europe/Stockholm", "task": {"url": "https://worker.example/report"}})),
    responses((status = 201, body = ScheduleBody), (status = 200, body = ScheduleBody, description = "It was there already"), Problem)
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
    let mut draft = definition::read(members, (app.clock)()).map_err(Problem::invalid)?;
    let name = name.chosen("schedule")?;
    let had = app.reader.schedule(&name).await?;
    let had = had.as_ref().map(|view| &view.schedule.settings.spec);
    credentials::keep(&app, &mut draft.settings.spec, "/task", had)?;
    let outcome = submit(&app, asking, &name, ScheduleAsk::Define(Arc::new(draft))).await?;
    let is_new = outcome == Outcome::Defined { new: true };
    show(&app, if is_new { StatusCode::CREATED } else { StatusCode::OK }, &name).await
}

/// A schedule, with its last and next instants.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path)),
    responses((status = 200, body = ScheduleBody), Problem)
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
) -> Result<Response, Problem> {
    show(&app, StatusCode::OK, &name).await
}

/// All schedules, by name.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules",
    params(("limit" = Option<usize>, Query, description = "Rows of the page, 1 to 1,000. Default: 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = ListBody<ScheduleBody>), Problem)
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(pairs): Pairs) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["limit", "cursor"])?;
    let limit = query.limit()?;
    let (views, more) = app.reader.schedules(query.name_cursor()?, limit).await?;
    let next_cursor = views.last().filter(|_| more).map(|last| cursor::name(&last.schedule.name));
    let data = views.into_iter().map(ScheduleBody::of).collect();
    Ok(respond::json(StatusCode::OK, &ListBody { data, next_cursor }))
}

/// Deletes a schedule. Its tasks stay.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path)),
    responses((status = 204), Problem)
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
) -> Result<Response, Problem> {
    submit(&app, asking, &name, ScheduleAsk::Command(ScheduleCommand::Delete)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Pauses a schedule: it makes no tasks by itself, until it is resumed. Its tasks go on.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", tag = "schedules",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = ScheduleBody), Problem)
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
    submit(&app, asking, &name, ScheduleAsk::Command(ScheduleCommand::Pause)).await?;
    show(&app, StatusCode::OK, &name).await
}

/// Resumes a schedule, from now on: what it left out stays left out.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", tag = "schedules",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    responses((status = 200, body = ScheduleBody), Problem)
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
    submit(&app, asking, &name, ScheduleAsk::Command(ScheduleCommand::Resume)).await?;
    show(&app, StatusCode::OK, &name).await
}

/// Makes a task of the schedule now, paused or not. While an earlier one has not ended, `overlap` decides: 409 where there
/// is no task.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/trigger", tag = "schedules",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = Option<TriggerRequest>, example = json!({"overlap": "allow"})),
    responses((status = 201, body = TaskBody), Problem)
)]
pub(super) async fn trigger(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, 64 << 10).await?;
    let mut fields =
        Fields::of::<TriggerRequest>(json::object_or_nothing(&bytes).map_err(Problem::malformed)?, "");
    let overlap = definition::overlap(&mut fields);
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let at = app.asked_instants.next((app.clock)());
    let command = ScheduleCommand::Trigger { at, overlap };
    match submit(&app, asking, &name, ScheduleAsk::Command(command)).await? {
        Outcome::Created(made) => {
            show_one(&app, StatusCode::CREATED, made.into_iter().map(|(task, _)| task).collect()).await
        }
        other => Err(unexpected(&other)),
    }
}

/// Makes the tasks of instants of the past, from `from` and before `to`: in order, each after the end of the one before,
/// or at once where they may overlap. Instants that have a task get no second one.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/backfill", tag = "schedules",
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header, description = "The same key and body again replays the answer, for 24 h")),
    request_body(content = BackfillRequest, example = json!({"from": "2026-11-01T00:00:00Z", "to": "2026-11-08T00:00:00Z", "dry_run": true})),
    responses((status = 202, body = BackfillAnswer), (status = 200, body = BackfillAnswer, description = "A dry run"), Problem)
)]
pub(super) async fn backfill(
    State(app): State<Arc<App>>,
    Named(name): Named,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&app, &headers, body, 64 << 10).await?;
    let asked = Asked::read(&bytes, (app.clock)())?;
    let view = app.reader.schedule(&name).await?.ok_or_else(|| no_such_schedule(&name))?;
    let instants = asked.count(&view.schedule)?;
    if asked.dry_run {
        return Ok(respond::json(StatusCode::OK, &instants));
    }
    let (after, until) = (asked.after, asked.until);
    let overlapping = asked.overlap.map(|overlap| overlap == Overlap::Allow);
    let command = ScheduleCommand::Backfill { after, until, overlapping };
    submit(&app, asking, &name, ScheduleAsk::Command(command)).await?;
    Ok(respond::json(StatusCode::ACCEPTED, &instants))
}

/// The instants of a schedule after `from`, paused or not, with a note where a change of the clocks moved one.
#[utoipa::path(
    get, path = "/v1/schedules/{name}/preview", tag = "schedules",
    params(("name" = String, Path),
        ("count" = Option<usize>, Query, description = "1 to 1,000. Default: 10"),
        ("from" = Option<String>, Query, description = "RFC 3339. Default: now")),
    responses((status = 200, body = PreviewBody), Problem)
)]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    Named(name): Named,
    RawQuery(pairs): Pairs,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["count", "from"])?;
    let count = query.number("count", 10)?;
    let from = query.one("from")?.map(parse_instant).transpose().map_err(Problem::bad_query)?;
    let from = from.unwrap_or_else(|| (app.clock)());
    let view = app.reader.schedule(&name).await?.ok_or_else(|| no_such_schedule(&name))?;
    let recurrence = readable(&view.schedule)?;
    let instants = view.schedule.instants(&recurrence, from).take(count);
    let data = instants.map(|at| recurrence.describe(at).into()).collect();
    Ok(respond::json(StatusCode::OK, &PreviewBody { data }))
}

/// A backfill as it is asked for.
struct Asked {
    after: Timestamp,
    until: Timestamp,
    overlap: Option<Overlap>,
    dry_run: bool,
}

impl Asked {
    fn read(bytes: &[u8], now: Timestamp) -> Result<Asked, Problem> {
        let mut fields = Fields::of::<BackfillRequest>(json::object(bytes).map_err(Problem::malformed)?, "");
        let has = (fields.has("from"), fields.has("to"));
        let (from, to) = (fields.instant("from"), fields.instant("to"));
        let overlap = definition::overlap(&mut fields);
        let dry_run = fields.take::<bool>("dry_run", "true or false").unwrap_or(false);
        if !has.0 {
            fields.wrong("from", "missing", "says from when on, such as \"2026-11-01T00:00:00Z\"");
        }
        if !has.1 {
            fields.wrong("to", "missing", "says until when, such as \"2026-11-08T00:00:00Z\"");
        }
        if from.zip(to).is_some_and(|(from, to)| to <= from) {
            fields.wrong("to", "out_of_range", "is not after from");
        }
        if to.is_some_and(|to| to > now) {
            fields.wrong("to", "out_of_range", "is in the future; a backfill is of the past");
        }
        if matches!(overlap, Some(Overlap::BufferOne | Overlap::CancelPrevious)) {
            let detail = "must be allow (all at once) or skip (one after the other)";
            fields.wrong("overlap", "unknown_value", detail);
        }
        let errors = fields.finish();
        match from.zip(to).filter(|_| errors.is_empty()) {
            // From `from` on, and before `to`.
            Some((from, to)) => {
                Ok(Asked { after: Timestamp(from.0 - 1), until: Timestamp(to.0 - 1), overlap, dry_run })
            }
            None => Err(Problem::invalid(errors)),
        }
    }

    /// The instants that it asks for.
    fn count(&self, schedule: &Schedule) -> Result<BackfillAnswer, Problem> {
        let recurrence = readable(schedule)?;
        let max = usize::try_from(limits::BACKFILL_INSTANTS_MAX).unwrap_or(usize::MAX);
        let instants = schedule.instants(&recurrence, self.after).take_while(|at| *at <= self.until);
        let instants: Vec<Timestamp> = instants.take(max.saturating_add(1)).collect();
        if instants.len() > max {
            let detail = format!("holds more than {max} instants; ask for a shorter time");
            let error = FieldError { pointer: "/to".into(), code: "too_many", detail };
            return Err(Problem::invalid(vec![error]));
        }
        Ok(BackfillAnswer {
            count: u64::try_from(instants.len()).unwrap_or(u64::MAX),
            first: instants.first().map(|at| at.to_string()),
            last: instants.last().map(|at| at.to_string()),
            dry_run: self.dry_run,
        })
    }
}

/// What becomes of what is asked, unless it is refused.
async fn submit(app: &App, asking: Asking, name: &str, ask: ScheduleAsk) -> Result<Outcome, Problem> {
    let receipt = app.engine.submit(asking.to(Submission::Schedule(name.into(), ask))).await?;
    match receipt.outcome() {
        Outcome::Repeated => Err(Problem::in_progress()),
        Outcome::Refused(Refused::NoSuchSchedule) => Err(no_such_schedule(name)),
        Outcome::Refused(why @ Refused::Overlaps { task }) => {
            let mut problem = refused(why, |_| String::new(), |_| String::new());
            if let Some(id) = app.reader.task_id(*task).await? {
                problem.detail =
                    format!("task {id} has not ended; wait for it, or send {{\"overlap\": \"allow\"}}");
            }
            Err(problem)
        }
        Outcome::Refused(why) => Err(refused(why, |_| "/task".into(), |_| String::new())),
        Outcome::Quarantined => Err(unexpected(receipt.outcome())),
        other => Ok(other.clone()),
    }
}

async fn show(app: &App, status: StatusCode, name: &str) -> Result<Response, Problem> {
    let view = app.reader.schedule(name).await?.ok_or_else(|| no_such_schedule(name))?;
    Ok(respond::json(status, &ScheduleBody::of(view)))
}

fn readable(schedule: &Schedule) -> Result<Recurrence, Problem> {
    schedule.recurrence().map_err(|reason| {
        Problem::new(
            StatusCode::CONFLICT,
            "unreadable",
            format!("this release cannot read the schedule: {reason}"),
        )
    })
}

fn no_such_schedule(name: &str) -> Problem {
    Problem::not_found(format!("there is no schedule with the name {name:?}"))
}
