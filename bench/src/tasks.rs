//! P4: whole tasks over HTTP, from their creation to the commit of their end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::api::{self, Taskhook};
use crate::report::{Report, Rounds, Row, note, rate};
use crate::target::Target;
use crate::{Settings, wire};

/// Connections over which tasks are created one by one.
const CONNECTIONS: usize = 64;
/// How far ahead tasks are due that are created first and drained then.
const AHEAD: Duration = Duration::from_secs(10);
/// The floors of the speed table, per second.
const BATCHES_MIN: f64 = 3_000.0;
const ONE_BY_ONE_MIN: f64 = 1_500.0;
const PAIRS_MIN: f64 = 1_000.0;

/// Measures and reports.
pub(crate) async fn measure(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let count = if settings.quick { 2_000 } else { 20_000 };

    let mut batches = Vec::new();
    let mut drains = Vec::new();
    let mut singles = Vec::new();
    let mut pairs = Vec::new();
    for round in 1..=settings.rounds {
        batches.push(in_batches(settings, count).await?);
        drains.push(drained(settings, count).await?);
        singles.push(one_by_one(settings, count).await?);
        pairs.push(with_callbacks(settings, count / 2).await?);
        note(&format!("round {round} of {} done", settings.rounds));
    }
    let floors = [
        (format!("(a) {count} tasks created in batches, answered 200"), batches, Some(BATCHES_MIN)),
        ("(a) the drain alone: all were stored before they were due".into(), drains, None),
        (format!("(b) {count} tasks created one by one, answered 200"), singles, Some(ONE_BY_ONE_MIN)),
        ("(c) pairs: 202, callback, and the dependent dispatched".into(), pairs, Some(PAIRS_MIN)),
    ];
    for (what, figures, floor) in floors {
        let mut rounds = Rounds::default();
        figures.into_iter().for_each(|figure| rounds.add(figure));
        let (lowest, highest) = rounds.range();
        let median = rounds.median();
        report.add(Row {
            name: floor.map_or("", |_| "P4"),
            what,
            figure: rate(median),
            floor: floor.map_or(String::new(), |floor| format!("≥ {}", rate(floor))),
            met: floor.map(|floor| median >= floor),
            more: format!("{} to {}", rate(lowest), rate(highest)),
        });
    }
    Ok(report)
}

async fn start(settings: &Settings) -> Result<(Taskhook, Target)> {
    let taskhook = Taskhook::start(&settings.cores, &settings.taskhook, &settings.folder)?;
    let target = Target::start(taskhook.address()).await?;
    Ok((taskhook, target))
}

/// Waits until `count` tasks have come to the target and have ended, and gives how many per second that were.
async fn finish(taskhook: &mut Taskhook, target: &Target, count: usize, since: Instant) -> Result<f64> {
    target.wait_for(count).await?;
    taskhook.wait_for_success(target.last()).await?;
    let time = since.elapsed().as_secs_f64();
    let succeeded = taskhook.count("succeeded").await?;
    // An external parent of the measured tasks may be among them.
    ensure!(succeeded >= count, "only {succeeded} of {count} tasks have succeeded");
    let repeated = target.seen(|seen| seen.repeated);
    ensure!(repeated == 0, "{repeated} dispatches were repeated, though nothing failed");
    let count = u32::try_from(count)?;
    Ok(f64::from(count) / time)
}

async fn in_batches(settings: &Settings, count: usize) -> Result<f64> {
    let (mut taskhook, target) = start(settings).await?;
    let url = target.url("/done");
    let started = Instant::now();
    taskhook.create((0..count).map(|number| task(number, &url, ""))).await?;
    finish(&mut taskhook, &target, count, started).await
}

async fn drained(settings: &Settings, count: usize) -> Result<f64> {
    let (mut taskhook, target) = start(settings).await?;
    let url = target.url("/done");
    let due = SystemTime::now() + AHEAD;
    let millis = i64::try_from(due.duration_since(UNIX_EPOCH)?.as_millis())?;
    let due = UNIX_EPOCH + Duration::from_millis(u64::try_from(millis)?);
    let run_at = format!(r#","run_at":"{}""#, jiff::Timestamp::from_millisecond(millis)?);
    taskhook.create((0..count).map(|number| task(number, &url, &run_at))).await?;
    let left = due.duration_since(SystemTime::now()).context("creating took longer than the tasks' delay")?;
    tokio::time::sleep(left).await;
    finish(&mut taskhook, &target, count, Instant::now()).await
}

async fn one_by_one(settings: &Settings, count: usize) -> Result<f64> {
    let (mut taskhook, target) = start(settings).await?;
    let url = target.url("/done");
    let started = Instant::now();
    let request = move |number| {
        let mut request = Vec::new();
        wire::post(&mut request, "/v1/tasks", None, task(number, &url, "").as_bytes());
        request
    };
    api::send_all(taskhook.address(), CONNECTIONS, count, 201, request).await?;
    finish(&mut taskhook, &target, count, started).await
}

async fn with_callbacks(settings: &Settings, count: usize) -> Result<f64> {
    let (mut taskhook, target) = start(settings).await?;
    let (accept, done) = (target.url("/accept"), target.url("/done"));
    let started = Instant::now();
    let pair = |number: usize| {
        let parent = task(2 * number, &accept, "");
        let after = format!(r#","after":["task-{}"]"#, 2 * number);
        [parent, task(2 * number + 1, &done, &after)]
    };
    taskhook.create((0..count).flat_map(pair)).await?;
    Ok(finish(&mut taskhook, &target, 2 * count, started).await? / 2.0)
}

fn task(number: usize, url: &str, more: &str) -> String {
    format!(r#"{{"id":"task-{number}","url":"{url}","payload":{{"number":{number}}}{more}}}"#)
}
