//! `taskhook schedules get`

use std::io;

use clap::Args;

use crate::cli::answer::{Schedule, Template};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out, table};

/// Show a schedule: what it says, its last and next instants, and why some made no task
#[derive(Debug, Args)]
#[command(before_help = "taskhook schedules get nightly")]
pub(super) struct Arguments {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let path = ["v1", "schedules", arguments.name.as_str()];
    let answer = client.get(Ask { path: &path, ..Ask::default() }).await?;
    client.print(&answer, print)?;
    Ok(Code::Done)
}

/// Prints everything that is known of a schedule.
///
/// # Errors
/// If nobody reads it.
pub(super) fn print(schedule: Schedule) -> io::Result<()> {
    table::pairs(pairs(&schedule))?;
    if !schedule.last.is_empty() {
        out::data("")?;
        let rows = schedule.last.iter().map(|last| {
            let task = last.task.clone().unwrap_or_default();
            [last.at.clone(), last.outcome.clone(), task, last.text.clone()]
        });
        table::rows(["LAST", "OUTCOME", "TASK", "WHY"], rows)?;
    }
    if !schedule.next.is_empty() {
        out::data("")?;
        let rows = schedule
            .next
            .iter()
            .map(|next| [next.at.clone(), next.local.clone(), next.note.clone().unwrap_or_default()]);
        table::rows(["NEXT", "LOCAL", "NOTE"], rows)?;
    }
    Ok(())
}

fn pairs(schedule: &Schedule) -> Vec<(&'static str, String)> {
    let counts = &schedule.counts;
    let of_zero = |count: u64| if count > 0 { count.to_string() } else { String::new() };
    let mut pairs = vec![
        ("name", schedule.name.clone()),
        ("when", schedule.when()),
        ("paused", if schedule.paused { "yes" } else { "no" }.into()),
        ("note", schedule.note.clone().unwrap_or_default()),
        ("overlap", schedule.overlap.clone()),
        ("missed", schedule.missed.clone()),
        ("catch up", schedule.catch_up.clone()),
        ("jitter", if schedule.jitter == "0s" { String::new() } else { schedule.jitter.clone() }),
        ("start at", schedule.start_at.clone().unwrap_or_default()),
        ("end at", schedule.end_at.clone().unwrap_or_default()),
    ];
    pairs.extend(of_task(&schedule.task));
    pairs.extend([
        ("fired", counts.fired.to_string()),
        ("on request", of_zero(counts.requested)),
        ("missed instants", of_zero(counts.missed)),
        ("overlapped", of_zero(counts.overlapped)),
        ("skipped", of_zero(counts.skipped)),
    ]);
    if let Some(backfill) = &schedule.backfill {
        pairs.push((
            "backfill",
            format!("{} made, up to {} of {}", backfill.made, backfill.made_until, backfill.until),
        ));
    }
    pairs
}

fn of_task(task: &Template) -> Vec<(&'static str, String)> {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    let words = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    };
    let request = match (&task.method, &task.url) {
        (Some(method), Some(url)) => format!("{method} {url}"),
        _ => "none: its tasks are only tracked".into(),
    };
    let payload = task.payload.as_ref().map(|payload| table::cut(payload.get(), 200)).unwrap_or_default();
    let retry = task.retry.as_ref();
    vec![
        ("request", request),
        ("headers", words(&task.headers)),
        ("payload", payload),
        ("kind", shown(&task.name)),
        ("queue", task.queue.clone()),
        ("concurrency key", shown(&task.concurrency_key)),
        ("priority", if task.priority == 0 { String::new() } else { task.priority.to_string() }),
        ("completion", shown(&task.completion)),
        ("timeout", shown(&task.timeout)),
        ("request timeout", shown(&task.request_timeout)),
        (
            "max attempts",
            retry.and_then(|retry| retry.max_attempts).map(|n| n.to_string()).unwrap_or_default(),
        ),
        ("labels", words(&task.labels)),
    ]
}
