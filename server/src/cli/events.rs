//! `taskhook events`: what was received, and what became of it.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use crate::cli::answer::{Event, List, Receipt};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Remote, input, out, table};

/// Characters of a body; `--output json` prints all of it.
const BODY_CHARS: usize = 4_000;

/// Look at received webhooks, and take them in once more
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook events list --task 123\n\
                   taskhook events get evt_01h455vb4pex5vsknk084sn02q",
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(Filter),
    Get(Get),
    Replay(Replay),
}

/// List webhooks, newest first
#[derive(Debug, Args)]
#[command(before_help = "taskhook events list --outcome ignored --limit 20")]
struct Filter {
    /// Only those about this task
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only those with this outcome: applied, duplicate, stale, ignored, unmatched, recorded, rejected
    #[arg(long)]
    outcome: Option<String>,
    /// Only those with this event name
    #[arg(long = "type", value_name = "EVENT")]
    name: Option<String>,
    /// Only those of this source
    #[arg(long)]
    source: Option<String>,
    /// At most so many (1 to 1000)
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Show a webhook as it came, and what became of it
#[derive(Debug, Args)]
#[command(before_help = "taskhook events get evt_01h455vb4pex5vsknk084sn02q")]
struct Get {
    /// The event's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// Take a kept webhook in once more, as a new event
#[derive(Debug, Args)]
#[command(before_help = "taskhook events replay evt_01h455vb4pex5vsknk084sn02q")]
struct Replay {
    /// The event's id
    #[arg(value_parser = input::filled)]
    id: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    match arguments.command {
        Command::List(filter) => list(&client, filter).await?,
        Command::Get(Get { id }) => {
            let answer = client.get(Ask { path: &["v1", "events", &id], ..Ask::default() }).await?;
            client.print(&answer, |event: Event| table::pairs(pairs(event)))?;
        }
        Command::Replay(Replay { id }) => {
            let answer =
                client.post(Ask { path: &["v1", "events", &id, "replay"], ..Ask::default() }).await?;
            client.print(&answer, |receipt: Receipt| table::pairs(receipt.pairs(None)))?;
        }
    }
    Ok(Code::Done)
}

async fn list(client: &Client, filter: Filter) -> anyhow::Result<()> {
    let given = [
        ("task", filter.task),
        ("outcome", filter.outcome),
        ("type", filter.name),
        ("source", filter.source),
        ("limit", filter.limit.map(|limit| limit.to_string())),
        ("cursor", filter.cursor),
    ];
    let query = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = client.get(Ask { path: &["v1", "events"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Event>| {
        let next = list.next_cursor;
        table::rows(["ID", "RECEIVED", "TYPE", "TASK", "OUTCOME"], list.data.into_iter().map(row))?;
        if let Some(cursor) = next {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })
}

fn row(event: Event) -> [String; 5] {
    let outcome = outcome(&event);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    [event.id, event.received_at, or_none(event.name), or_none(event.task), outcome]
}

fn outcome(event: &Event) -> String {
    match &event.reason {
        Some(reason) => format!("{}: {reason}", event.outcome),
        None => event.outcome.clone(),
    }
}

fn pairs(event: Event) -> Vec<(&'static str, String)> {
    let outcome = outcome(&event);
    let headers = |headers: BTreeMap<String, String>| {
        headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
    };
    vec![
        ("id", event.id),
        ("received", event.received_at),
        ("source", event.source),
        ("type", event.name.unwrap_or_default()),
        ("task", event.task.unwrap_or_default()),
        ("attempt", event.attempt.map(|attempt| attempt.to_string()).unwrap_or_default()),
        ("delivery id", event.delivery_id.unwrap_or_default()),
        ("outcome", outcome),
        ("duplicate of", event.duplicate_of.unwrap_or_default()),
        ("replay of", event.replay_of.unwrap_or_default()),
        ("headers", headers(event.headers)),
        ("body", table::cut(&event.body, BODY_CHARS)),
    ]
}
