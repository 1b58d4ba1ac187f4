//! `taskhook queues pause` and `resume`

use clap::Args;

use crate::cli::answer::Queue;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// Pause a queue: what runs is finished, nothing is started
#[derive(Debug, Args)]
#[command(before_help = "taskhook queues pause images")]
pub(super) struct Pause {
    /// The queue's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Resume a queue: what is due starts at once, as its limits allow
#[derive(Debug, Args)]
#[command(before_help = "taskhook queues resume images")]
pub(super) struct Resume {
    /// The queue's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Pauses a queue.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn pause(client: &Client, arguments: &Pause) -> anyhow::Result<Code> {
    command(client, &arguments.name, "pause").await
}

/// Resumes a queue.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn resume(client: &Client, arguments: &Resume) -> anyhow::Result<Code> {
    command(client, &arguments.name, "resume").await
}

async fn command(client: &Client, name: &str, command: &str) -> anyhow::Result<Code> {
    let answer = client.post(Ask { path: &["v1", "queues", name, command], ..Ask::default() }).await?;
    client.print(&answer, |queue: Queue| out::data(out::visible(&sentence(&queue))))?;
    Ok(Code::Done)
}

fn sentence(queue: &Queue) -> String {
    let attempts = if queue.open == 1 { "attempt is" } else { "attempts are" };
    let state = if queue.paused { "paused" } else { "not paused" };
    format!("queue {} is {state}; {} {attempts} open", queue.name, queue.open)
}
