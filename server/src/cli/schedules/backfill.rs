//! `taskhook schedules backfill`

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// Make the tasks of instants of the past; those that have a task get no second one
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules backfill nightly --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z --dry-run\n\
                   taskhook schedules backfill nightly --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z"
)]
pub(super) struct Arguments {
    /// The schedule's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// Instants from this one on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Instants before this one, which is not in the future
    #[arg(long, value_name = "TIME")]
    to: String,
    /// All at once, or each after the end of the one before; without this, as the schedule's tasks may overlap
    #[arg(long, value_enum)]
    overlap: Option<Overlap>,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
}

/// Whether the tasks may run at the same time.
#[derive(Debug, Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Overlap {
    /// All at once
    Allow,
    /// Each after the end of the one before
    Skip,
}

/// What it comes to.
#[derive(Debug, Deserialize)]
struct Backfill {
    count: u64,
    first: Option<String>,
    last: Option<String>,
    dry_run: bool,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let mut body = json!({"from": arguments.from, "to": arguments.to, "dry_run": arguments.dry_run});
    if let Some(overlap) = arguments.overlap {
        body["overlap"] = json!(overlap);
    }
    let path = ["v1", "schedules", arguments.name.as_str(), "backfill"];
    let answer =
        client.post(Ask { path: &path, body: Some(body.to_string().into_bytes()), ..Ask::default() }).await?;
    client.print(&answer, |backfill: Backfill| {
        let what = if backfill.dry_run { "would be made" } else { "are being made" };
        let sentence = match (backfill.first, backfill.last) {
            (Some(first), Some(last)) => {
                format!("the tasks of {} instants from {first} to {last} {what}", backfill.count)
            }
            _ => "the schedule has no instant in that time".into(),
        };
        out::data(out::visible(&sentence))
    })?;
    Ok(Code::Done)
}
