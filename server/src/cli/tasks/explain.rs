//! `taskhook tasks explain`: where a task stands, and every decision that brought it there.

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::answer::{Decision, List, Task};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out, table};

/// Explain where a task stands and why: what it waits for, and every decision about it
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks explain 123")]
pub(super) struct Arguments {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// What is printed for programs: the API's two answers, side by side.
#[derive(Debug, Serialize)]
struct Explained {
    task: Box<RawValue>,
    history: Vec<Box<RawValue>>,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let id = arguments.id.as_str();
    let answer = client.get(Ask { path: &["v1", "tasks", id], ..Ask::default() }).await?;
    let history = history(client, id).await?;
    if client.prints_json() {
        let task: Box<RawValue> = answer.read()?;
        out::data(serde_json::to_vec(&Explained { task, history })?)?;
        return Ok(Code::Done);
    }
    let task: Task = answer.read()?;
    out::data(out::visible(&task.sentence()))?;
    if let Some(until) = task.waiting_for.as_ref().and_then(|waiting| waiting.until.as_ref()) {
        out::data(format!("until {}", out::visible(until)))?;
    }
    for warning in &task.warnings {
        out::data(format!("warning: {}", out::visible(&warning.detail)))?;
    }
    out::data("")?;
    let decisions = history.iter().map(|entry| serde_json::from_str(entry.get()));
    let decisions: Vec<Decision> = decisions.collect::<Result<_, _>>()?;
    table::pairs(decisions.into_iter().map(|decision| (format!("  {}", decision.at), decision.text)))?;
    if let Some(next) = next_step(&task) {
        out::message(format_args!("\nnext: {next}"));
    }
    Ok(Code::Done)
}

/// The whole history, page by page.
async fn history(client: &Client, id: &str) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut history = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let path = ["v1", "tasks", id, "history"];
        let answer = client.get(Ask { path: &path, query, ..Ask::default() }).await?;
        let page: List<Box<RawValue>> = answer.read()?;
        history.extend(page.data);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(history),
        }
    }
}

/// What the user can do to move it.
fn next_step(task: &Task) -> Option<String> {
    let waits_for = task.waiting_for.as_ref().and_then(|waiting| waiting.reference.as_deref());
    match (task.state.as_str(), waits_for) {
        ("blocked", Some(other)) => Some(format!("taskhook tasks explain {other}")),
        ("scheduled", _) => Some(format!("taskhook tasks trigger {}", task.id)),
        ("running", _) if task.url.is_none() => Some(format!("taskhook send task_completed {}", task.id)),
        ("failed", _) => Some(format!("taskhook tasks retry {}", task.id)),
        _ => None,
    }
}
