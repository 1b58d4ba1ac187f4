//! `taskhook sources list`

use clap::Args;

use crate::cli::answer::{List, Source};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, out, table};

/// List sources, by name
#[derive(Debug, Args)]
#[command(before_help = "taskhook sources list")]
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
    let answer = client.get(Ask { path: &["v1", "sources"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Source>| {
        let next = list.next_cursor;
        table::rows(["NAME", "SCHEME", "SECRETS", "RETENTION", "URL"], list.data.into_iter().map(row))?;
        if let Some(cursor) = next {
            out::message(format_args!("there are more: --cursor {cursor}"));
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(source: Source) -> [String; 5] {
    let verify = source.verify.unwrap_or_default();
    let scheme = if verify.scheme.is_empty() { "none".into() } else { verify.scheme };
    [source.name, scheme, verify.secrets.len().to_string(), source.retention.unwrap_or_default(), source.url]
}
