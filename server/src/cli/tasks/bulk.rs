//! `taskhook tasks bulk`: a command to every task that a filter lets through.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::answer::{Bulk, Counted, List};
use crate::cli::client::{Answer, Ask, Client};
use crate::cli::{Code, input, out, table};

/// The first pause between two looks at a bulk that is waited for.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Cancel, retry or trigger all tasks that a filter lets through
///
/// The server goes on by itself, through restarts, and tells each task that exists now at most once.
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook tasks bulk retry --state failed --queue images --rate 100/1s --wait\n\
                   taskhook tasks bulk cancel --label customer=42 --dry-run\n\
                   taskhook tasks bulk list",
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cancel those that have not ended
    #[command(before_help = "taskhook tasks bulk cancel --label customer=42 --dry-run")]
    Cancel(How),
    /// Reopen those that failed, were cancelled or skipped
    #[command(before_help = "taskhook tasks bulk retry --state failed --queue images --rate 100/1s --wait")]
    Retry {
        #[command(flatten)]
        how: How,
        /// Start them even if the tasks they wait for did not end as they ask
        #[arg(long)]
        ignore_dependencies: bool,
    },
    /// Make those due now that are scheduled
    #[command(before_help = "taskhook tasks bulk trigger --name resize")]
    Trigger(How),
    /// List bulks, newest first
    #[command(before_help = "taskhook tasks bulk list")]
    List {
        /// At most so many (1 to 1000)
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Say how far a bulk is
    #[command(before_help = "taskhook tasks bulk get bulk_01kav9qkz8e6tr4mzy1v0c4xbp --wait")]
    Get {
        /// The bulk's id
        #[arg(value_parser = input::filled)]
        id: String,
        /// Wait until it has ended; fails unless it is done
        #[arg(long)]
        wait: bool,
    },
    /// Stop a bulk; what it did stays
    #[command(before_help = "taskhook tasks bulk stop bulk_01kav9qkz8e6tr4mzy1v0c4xbp")]
    Stop {
        /// The bulk's id
        #[arg(value_parser = input::filled)]
        id: String,
    },
}

#[derive(Debug, Args)]
struct How {
    #[command(flatten)]
    filter: Filter,
    /// At most so many tasks in a span of time, and how many at once: 100/1s+20; without +BURST, one
    #[arg(long, value_name = "LIMIT/PER[+BURST]", value_parser = input::rate)]
    rate: Option<Value>,
    /// Only count the tasks that match now
    #[arg(long)]
    dry_run: bool,
    /// Wait until it has ended; fails unless it is done
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Filter {
    /// Only those in this state; several with commas between them
    #[arg(long)]
    state: Option<String>,
    /// Only those of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only those of this kind of work
    #[arg(long)]
    name: Option<String>,
    /// Only those with this label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::pair)]
    labels: Vec<(String, String)>,
    /// Only those created after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
}

impl Filter {
    fn body(self) -> Value {
        let given = [
            ("state", self.state),
            ("queue", self.queue),
            ("name", self.name),
            ("created_after", self.created_after),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?.into())));
        let mut body: Map<String, Value> = given.collect();
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(name, value)| format!("{name}:{value}"));
            body.insert("label".into(), labels.collect());
        }
        body.into()
    }
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    match arguments.command {
        Command::Cancel(how) => begin(client, json!({"action": "cancel"}), how).await,
        Command::Retry { how, ignore_dependencies } => {
            let body = json!({"action": "retry", "ignore_dependencies": ignore_dependencies});
            begin(client, body, how).await
        }
        Command::Trigger(how) => begin(client, json!({"action": "trigger"}), how).await,
        Command::List { limit, cursor } => list(client, limit, cursor).await,
        Command::Get { id, wait } => {
            let answer = client.get(Ask { path: &["v1", "bulk", &id], ..Ask::default() }).await?;
            show(client, answer, wait).await
        }
        Command::Stop { id } => {
            let answer = client.post(Ask { path: &["v1", "bulk", &id, "cancel"], ..Ask::default() }).await?;
            show(client, answer, false).await
        }
    }
}

async fn begin(client: &Client, mut body: Value, how: How) -> anyhow::Result<Code> {
    body["filter"] = how.filter.body();
    body["rate"] = how.rate.into();
    body["dry_run"] = how.dry_run.into();
    let body = Some(serde_json::to_vec(&body)?);
    let answer = client.post(Ask { path: &["v1", "bulk"], body, ..Ask::default() }).await?;
    if how.dry_run {
        client.print(&answer, |counted: Counted| out::data(counted.sentence()))?;
        return Ok(Code::Done);
    }
    show(client, answer, how.wait).await
}

async fn list(client: &Client, limit: Option<u32>, cursor: Option<String>) -> anyhow::Result<Code> {
    let given = [("limit", limit.map(|limit| limit.to_string())), ("cursor", cursor)];
    let query = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = client.get(Ask { path: &["v1", "bulk"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Bulk>| {
        let next = list.next_cursor;
        let header = ["ID", "ACTION", "STATE", "MATCHED", "APPLIED", "REFUSED", "BEGAN"];
        table::rows(header, list.data.into_iter().map(row))?;
        if let Some(cursor) = next {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

/// Prints a bulk, at once or when it has ended.
async fn show(client: &Client, mut answer: Answer, wait: bool) -> anyhow::Result<Code> {
    let mut bulk: Bulk = answer.read()?;
    let mut pause = PAUSE_FIRST;
    if wait && bulk.state == "running" {
        // Whoever gives up waiting can ask for it again, or stop it.
        out::message(format_args!("waiting for {}", bulk.id));
    }
    while wait && bulk.state == "running" {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        answer = client.get(Ask { path: &["v1", "bulk", &bulk.id], ..Ask::default() }).await?;
        bulk = answer.read()?;
    }
    client.print(&answer, |bulk: Bulk| out::data(out::visible(&bulk.sentence())))?;
    Ok(if wait && bulk.state != "done" { Code::Failed } else { Code::Done })
}

fn row(bulk: Bulk) -> [String; 7] {
    let [matched, applied, refused] =
        [bulk.matched, bulk.applied, bulk.refused].map(|count| count.to_string());
    [bulk.id, bulk.action, bulk.state, matched, applied, refused, bulk.began_at]
}
