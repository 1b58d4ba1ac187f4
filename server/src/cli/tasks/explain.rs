//! `taskhook tasks explain`: where a task stands, and every decision that brought it there.

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::answer::{Decision, Event, List, Task};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out, table};

/// Webhooks of each outcome that the history does not tell of: the newest, so many.
const EVENTS_MAX: &str = "20";

/// Explain where a task stands and why: what it waits for, every decision about it, and what changed nothing
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks explain 123")]
pub(super) struct Arguments {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// What is printed for programs: the API's answers, side by side.
#[derive(Debug, Serialize)]
struct Explained {
    task: Box<RawValue>,
    history: Vec<Box<RawValue>>,
    events: Vec<Box<RawValue>>,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let id = arguments.id.as_str();
    let answer = client.get(Ask { path: &["v1", "tasks", id], ..Ask::default() }).await?;
    let history = history(client, id).await?;
    let (mut events, mut more) = (Vec::new(), Vec::new());
    for outcome in ["duplicate", "recorded"] {
        let query = [("task", id), ("outcome", outcome), ("limit", EVENTS_MAX)];
        let query = query.map(|(name, value)| (name, value.to_string())).to_vec();
        let answer = client.get(Ask { path: &["v1", "events"], query, ..Ask::default() }).await?;
        let page: List<Box<RawValue>> = answer.read()?;
        events.extend(page.data);
        more.extend(page.next_cursor.map(|_| outcome));
    }
    if client.prints_json() {
        let task: Box<RawValue> = answer.read()?;
        out::data(serde_json::to_vec(&Explained { task, history, events })?)?;
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
    let mut story: Vec<(String, String)> = Vec::new();
    for decision in &history {
        let Decision { at, text } = serde_json::from_str(decision.get())?;
        story.push((at, text));
    }
    for event in &events {
        story.push(of_event(serde_json::from_str(event.get())?));
    }
    story.sort_by(|(one, _), (other, _)| one.cmp(other));
    table::pairs(story.into_iter().map(|(at, text)| (format!("  {at}"), text)))?;
    for outcome in more {
        out::message(format_args!(
            "\nmore that changed nothing: taskhook events list --task {id} --outcome {outcome}"
        ));
    }
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

/// When a webhook came, and why it changed nothing.
fn of_event(event: Event) -> (String, String) {
    let name = event.name.as_deref().unwrap_or("it");
    let why = match (event.duplicate_of, event.reason) {
        (Some(first), _) => format!("it repeats {first}"),
        (None, Some(reason)) => reason,
        (None, None) => format!("{name} is no event that changes a task"),
    };
    (event.received_at, format!("webhook {} changed nothing: {why}", event.id))
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
