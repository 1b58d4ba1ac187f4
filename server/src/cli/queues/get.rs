//! `taskhook queues get`

use std::io;

use clap::Args;

use crate::cli::answer::Queue;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, table};

/// Show a queue: its limits, its defaults, and what its tasks wait for
#[derive(Debug, Args)]
#[command(before_help = "taskhook queues get images")]
pub(super) struct Arguments {
    /// The queue's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let path = ["v1", "queues", arguments.name.as_str()];
    let answer = client.get(Ask { path: &path, ..Ask::default() }).await?;
    client.print(&answer, print)?;
    Ok(Code::Done)
}

/// Prints everything that is known of a queue.
///
/// # Errors
/// If nobody reads it.
pub(super) fn print(queue: Queue) -> io::Result<()> {
    table::pairs(pairs(queue))
}

/// How many of its tasks wait for what, by code.
pub(super) fn waiting_for(queue: &Queue) -> String {
    let counts = queue.waiting_for.iter().map(|(code, count)| format!("{code} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn pairs(queue: Queue) -> Vec<(&'static str, String)> {
    let waiting_for = waiting_for(&queue);
    let per_key = queue.per_key.unwrap_or_default();
    let retry = queue.retry.unwrap_or_default();
    let limit = |limit: Option<u32>| limit.map_or_else(|| "no limit".into(), |limit| limit.to_string());
    let shown = |given: Option<String>| given.unwrap_or_default();
    vec![
        ("name", queue.name),
        ("paused", if queue.paused { "yes" } else { "no" }.into()),
        ("concurrency", limit(queue.concurrency)),
        ("rate", queue.rate.map_or_else(|| "no limit".into(), |rate| rate.to_string())),
        ("key concurrency", shown(per_key.concurrency.map(|limit| limit.to_string()))),
        ("key rate", shown(per_key.rate.map(|rate| rate.to_string()))),
        ("max attempts", shown(retry.max_attempts.map(|attempts| attempts.to_string()))),
        ("retry initial", shown(retry.initial)),
        ("retry factor", shown(retry.factor.map(|factor| factor.to_string()))),
        ("retry max", shown(retry.max)),
        ("timeout", shown(queue.timeout)),
        ("completion", shown(queue.completion)),
        ("retention", shown(queue.retention)),
        ("open", queue.open.to_string()),
        ("waiting for", waiting_for),
        ("oldest due", shown(queue.oldest_due_seconds.map(|seconds| format!("for {seconds:.1} s")))),
    ]
}
