//! `taskhook tasks cancel`, `retry` and `trigger`

use clap::Args;

use crate::cli::answer::Task;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// Cancel a task, now
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks cancel 123")]
pub(super) struct Cancel {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// Reopen a task that failed, was cancelled or was skipped
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks retry 123")]
pub(super) struct Retry {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
    /// Start it even if the tasks it waits for did not end as it asks
    #[arg(long)]
    ignore_dependencies: bool,
}

/// Make a scheduled task due now
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks trigger 123")]
pub(super) struct Trigger {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// Cancels a task.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn cancel(client: &Client, arguments: &Cancel) -> anyhow::Result<Code> {
    command(client, &arguments.id, "cancel", None).await
}

/// Retries a task.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn retry(client: &Client, arguments: &Retry) -> anyhow::Result<Code> {
    let body = arguments.ignore_dependencies.then(|| br#"{"ignore_dependencies": true}"#.to_vec());
    command(client, &arguments.id, "retry", body).await
}

/// Triggers a task.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn trigger(client: &Client, arguments: &Trigger) -> anyhow::Result<Code> {
    command(client, &arguments.id, "trigger", None).await
}

async fn command(client: &Client, id: &str, name: &str, body: Option<Vec<u8>>) -> anyhow::Result<Code> {
    let answer = client.post(Ask { path: &["v1", "tasks", id, name], body, ..Ask::default() }).await?;
    client.print(&answer, |task: Task| out::data(out::visible(&task.sentence())))?;
    Ok(Code::Done)
}
