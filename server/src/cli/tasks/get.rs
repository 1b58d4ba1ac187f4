//! `taskhook tasks get`

use clap::Args;

use crate::cli::answer::Task;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, table};

/// Characters of a JSON value; `--output json` prints all of it.
const VALUE_CHARS: usize = 1_000;

/// Show a task with everything that is known of it
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks get 123")]
pub(super) struct Arguments {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let path = ["v1", "tasks", arguments.id.as_str()];
    let answer = client.get(Ask { path: &path, ..Ask::default() }).await?;
    client.print(&answer, |task: Task| table::pairs(pairs(task)))?;
    Ok(Code::Done)
}

fn pairs(task: Task) -> Vec<(&'static str, String)> {
    let json = |value: Option<Box<serde_json::value::RawValue>>| {
        value.map(|value| table::cut(value.get(), VALUE_CHARS)).unwrap_or_default()
    };
    let all = |map: &std::collections::BTreeMap<String, String>, mark: &str| {
        map.iter().map(|(name, value)| format!("{name}{mark}{value}")).collect::<Vec<_>>().join(", ")
    };
    let after = task.after.iter().map(|dependency| format!("{} {}", dependency.task, dependency.on));
    let request = task.url.map(|url| format!("{} {url}", task.method.unwrap_or_default()));
    let status = task.status.map(|status| {
        let after = status.after.map(|after| format!(", first after {after}")).unwrap_or_default();
        format!("{}{after}", status.location.unwrap_or(status.url))
    });
    vec![
        ("id", task.id),
        ("name", task.name.unwrap_or_default()),
        ("state", task.state),
        ("waits for", task.waiting_for.map(|waiting| waiting.text).unwrap_or_default()),
        ("attempt", task.attempt.to_string()),
        ("progress", task.progress.map(|part| format!("{:.0} %", part * 100.0)).unwrap_or_default()),
        ("message", task.message.unwrap_or_default()),
        ("result", json(task.result)),
        ("error", task.error.map(|error| format!("{} ({})", error.message, error.code)).unwrap_or_default()),
        ("warnings", task.warnings.into_iter().map(|warning| warning.detail).collect::<Vec<_>>().join("; ")),
        ("request", request.unwrap_or_else(|| "none: it is only tracked".into())),
        ("headers", all(&task.headers, ": ")),
        ("payload", json(task.payload)),
        ("after", after.collect::<Vec<_>>().join(", ")),
        ("queue", task.queue),
        ("unique", task.unique.map(|unique| format!("{}, {}", unique.key, unique.until)).unwrap_or_default()),
        ("priority", task.priority.to_string()),
        ("completion", task.completion),
        ("max attempts", task.retry.max_attempts.to_string()),
        ("timeout", task.timeout.unwrap_or_default()),
        ("request timeout", task.request_timeout),
        ("status", status.unwrap_or_default()),
        ("heartbeat", task.heartbeat.unwrap_or_default()),
        ("deadline", task.deadline.unwrap_or_default()),
        ("late success", if task.late_success == "reject" { task.late_success } else { String::new() }),
        ("cancel url", task.cancel_url.unwrap_or_default()),
        ("labels", all(&task.labels, "=")),
        ("created", task.created_at),
        ("not before", task.run_at),
        ("ended", task.ended_at.unwrap_or_default()),
    ]
}
