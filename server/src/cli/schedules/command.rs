//! `taskhook schedules pause`, `resume`, `trigger` and `delete`

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::cli::answer::{Schedule, Task};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// Pause a schedule: it makes no tasks by itself; those that it has made go on
#[derive(Debug, Args)]
#[command(before_help = "taskhook schedules pause nightly")]
pub(super) struct Pause {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Resume a schedule, from now on: what it left out stays left out
#[derive(Debug, Args)]
#[command(before_help = "taskhook schedules resume nightly")]
pub(super) struct Resume {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Make a task of a schedule now, paused or not
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules trigger nightly\ntaskhook schedules trigger nightly --overlap allow"
)]
pub(super) struct Trigger {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// What happens while an earlier task of it has not ended; without this, what the schedule says
    #[arg(long, value_enum)]
    overlap: Option<Overlap>,
}

/// Delete a schedule; its tasks stay
#[derive(Debug, Args)]
#[command(before_help = "taskhook schedules delete nightly")]
pub(super) struct Delete {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// What happens at an instant while an earlier task has not ended.
#[derive(Debug, Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(super) enum Overlap {
    /// No task
    Skip,
    /// A task all the same
    Allow,
    /// A task that waits for the end of the earlier one, and none where one waits already
    BufferOne,
    /// A task; the earlier ones are cancelled
    CancelPrevious,
}

/// Pauses a schedule.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn pause(client: &Client, arguments: &Pause) -> anyhow::Result<Code> {
    command(client, &arguments.name, "pause").await
}

/// Resumes a schedule.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn resume(client: &Client, arguments: &Resume) -> anyhow::Result<Code> {
    command(client, &arguments.name, "resume").await
}

async fn command(client: &Client, name: &str, command: &str) -> anyhow::Result<Code> {
    let answer = client.post(Ask { path: &["v1", "schedules", name, command], ..Ask::default() }).await?;
    client.print(&answer, |schedule: Schedule| {
        let sentence = match schedule.next.first() {
            Some(next) => format!("schedule {} is next due at {}", schedule.name, next.local),
            None if schedule.paused => format!("schedule {} is paused", schedule.name),
            None => format!("schedule {} is never due again", schedule.name),
        };
        out::data(out::visible(&sentence))
    })?;
    Ok(Code::Done)
}

/// Makes a task now.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn trigger(client: &Client, arguments: &Trigger) -> anyhow::Result<Code> {
    let body = arguments.overlap.map(|overlap| json!({"overlap": overlap}).to_string().into_bytes());
    let path = ["v1", "schedules", arguments.name.as_str(), "trigger"];
    let answer = client.post(Ask { path: &path, body, ..Ask::default() }).await?;
    client.print(&answer, |task: Task| out::data(out::visible(&task.sentence())))?;
    Ok(Code::Done)
}

/// Deletes a schedule.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn delete(client: &Client, arguments: &Delete) -> anyhow::Result<Code> {
    client.delete(Ask { path: &["v1", "schedules", arguments.name.as_str()], ..Ask::default() }).await?;
    out::message(format_args!("schedule {} is deleted; its tasks stay", out::visible(&arguments.name)));
    Ok(Code::Done)
}
