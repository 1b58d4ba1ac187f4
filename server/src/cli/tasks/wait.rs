//! `taskhook tasks wait`

use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::answer::Task;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// How long the server is asked to wait at a time: less than what proxies cut off.
const TURN: Duration = Duration::from_secs(30);

/// An answer that comes much earlier than asked for was no waiting; do not ask again at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Wait until a task has ended; fails unless it succeeded
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks wait 123 --timeout 60s")]
pub(super) struct Arguments {
    /// The task's id
    #[arg(value_parser = input::filled)]
    id: String,
    /// Give up after so long; without it, waits as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = input::duration)]
    timeout: Option<Duration>,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    until_ended(client, &arguments.id, arguments.timeout).await
}

/// Waits until the task has ended, and prints it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn until_ended(
    client: &Client,
    id: &str,
    timeout: Option<Duration>,
) -> anyhow::Result<Code> {
    let began = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        let wait = left.unwrap_or(TURN).min(TURN);
        let turn = Instant::now();
        let query = vec![("wait", format!("{}ms", wait.as_millis()))];
        let answer = client.get(Ask { path: &["v1", "tasks", id], query, wait, ..Ask::default() }).await?;
        let task: Task = answer.read()?;
        let over = timeout.is_some_and(|timeout| began.elapsed() >= timeout);
        if task.has_ended() || over {
            client.print(&answer, |task: Task| out::data(out::visible(&task.sentence())))?;
            if !task.has_ended() {
                out::message(format_args!("gave up after {} s", began.elapsed().as_secs()));
            }
            return Ok(if task.state == "succeeded" { Code::Done } else { Code::Failed });
        }
        if turn.elapsed() < wait.min(PAUSE) {
            tokio::time::sleep(wait.min(PAUSE)).await;
        }
    }
}
