//! `taskhook queues list`

use clap::Args;

use crate::cli::answer::{List, Queue};
use crate::cli::client::{Ask, Client};
use crate::cli::queues::get;
use crate::cli::{Code, out, table};

/// List queues, by name
#[derive(Debug, Args)]
#[command(before_help = "taskhook queues list")]
pub(super) struct Arguments {
    /// At most so many (1 to 1000)
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    let given = [("limit", arguments.limit.map(|limit| limit.to_string())), ("cursor", arguments.cursor)];
    let query = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = client.get(Ask { path: &["v1", "queues"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Queue>| {
        let next = list.next_cursor;
        let header = ["NAME", "PAUSED", "OPEN", "CONCURRENCY", "RATE", "WAITING FOR"];
        table::rows(header, list.data.iter().map(row))?;
        if let Some(cursor) = next {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(queue: &Queue) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    [
        queue.name.clone(),
        if queue.paused { "yes" } else { "-" }.into(),
        queue.open.to_string(),
        or_dash(queue.concurrency.map(|limit| limit.to_string())),
        or_dash(queue.rate.as_ref().map(ToString::to_string)),
        get::waiting_for(queue),
    ]
}
