//! `taskhook schedules list`

use clap::Args;

use crate::cli::answer::{List, Schedule};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, out, table};

/// List schedules, by name
#[derive(Debug, Args)]
#[command(before_help = "taskhook schedules list")]
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
    let answer = client.get(Ask { path: &["v1", "schedules"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Schedule>| {
        let header = ["NAME", "WHEN", "PAUSED", "NEXT", "LAST", "MISSED"];
        table::rows(header, list.data.iter().map(row))?;
        if let Some(cursor) = list.next_cursor {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(schedule: &Schedule) -> [String; 6] {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_string();
    [
        schedule.name.clone(),
        schedule.when(),
        if schedule.paused { "yes" } else { "-" }.into(),
        or_dash(schedule.next.first().map(|next| next.local.as_str())),
        or_dash(schedule.last.first().map(|last| last.outcome.as_str())),
        schedule.counts.missed.to_string(),
    ]
}
