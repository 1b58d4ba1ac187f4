//! `taskhook tasks list`

use clap::Args;

use crate::cli::answer::{List, Task};
use crate::cli::client::{Ask, Client};
use crate::cli::tasks::filter::Filter;
use crate::cli::{Code, out, table};

/// Characters of a cell that may be long.
const CELL_CHARS: usize = 80;

/// List tasks, newest first
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks list --state failed --label customer=42")]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: Filter,
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
    let mut query = arguments.filter.query();
    let page = [("limit", arguments.limit.map(|limit| limit.to_string())), ("cursor", arguments.cursor)];
    query.extend(page.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let answer = client.get(Ask { path: &["v1", "tasks"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Task>| {
        let next = list.next_cursor;
        table::rows(["ID", "STATE", "NAME", "ATTEMPT", "CREATED", "WHY"], list.data.iter().map(row))?;
        if let Some(cursor) = next {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(task: &Task) -> [String; 6] {
    let attempt = if task.attempt == 0 { "-".into() } else { task.attempt.to_string() };
    let waits = task.waiting_for.as_ref().map(|waiting| format!("waits for {}", waiting.text));
    let failed = || task.error.as_ref().filter(|_| task.state == "failed").map(|error| error.message.clone());
    let why = waits.or_else(failed).unwrap_or_default();
    [
        task.id.clone(),
        task.state.clone(),
        task.name.clone().unwrap_or_else(|| "-".into()),
        attempt,
        task.created_at.clone(),
        table::cut(&why, CELL_CHARS),
    ]
}
