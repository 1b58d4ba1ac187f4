//! `taskhook audit`: who has changed what.

use clap::Args;

use crate::cli::answer::{AuditEntry, List};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Remote, out, table};

/// List the changes made through the API, newest first: who made each, from where, to what
#[derive(Debug, Args)]
#[command(before_help = "taskhook audit\ntaskhook audit --key billing --action task.cancel")]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: Remote,
    /// Only those where this was done, such as task.cancel
    #[arg(long)]
    action: Option<String>,
    /// Only those to this, by its name or id
    #[arg(long)]
    subject: Option<String>,
    /// Only those with this API key, by its name or id
    #[arg(long)]
    key: Option<String>,
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
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    let given = [
        ("action", arguments.action),
        ("subject", arguments.subject),
        ("key", arguments.key),
        ("limit", arguments.limit.map(|limit| limit.to_string())),
        ("cursor", arguments.cursor),
    ];
    let query = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = client.get(Ask { path: &["v1", "audit"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<AuditEntry>| {
        table::rows(["AT", "KEY", "FROM", "ACTION", "SUBJECT"], list.data.into_iter().map(row))?;
        if let Some(cursor) = list.next_cursor {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(entry: AuditEntry) -> [String; 5] {
    let subject = match entry.count {
        0 | 1 => entry.subject,
        count => format!("{} and {} more", entry.subject, count - 1),
    };
    [entry.at, entry.key.map(|key| key.name).unwrap_or_default(), entry.address, entry.action, subject]
}
