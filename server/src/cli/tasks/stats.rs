//! `taskhook tasks stats`

use clap::Args;
use serde::Deserialize;

use crate::cli::client::{Ask, Client};
use crate::cli::tasks::filter::Filter;
use crate::cli::{Code, out, table};

/// Count tasks, with the oldest and some of the newest of each group
#[derive(Debug, Args)]
#[command(before_help = "taskhook tasks stats --by queue,code --state queued\n\
                         taskhook tasks stats --by name --label customer=42")]
pub(super) struct Arguments {
    /// What tells them apart: one or more of queue, name, state and code, with commas between them
    #[arg(long, value_name = "WORDS", default_value = "queue,state")]
    by: String,
    #[command(flatten)]
    filter: Filter,
}

/// The API's answer.
#[derive(Debug, Deserialize)]
struct Stats {
    data: Vec<Group>,
    complete: bool,
}

/// The tasks of a group.
#[derive(Debug, Deserialize)]
struct Group {
    queue: Option<String>,
    name: Option<String>,
    state: Option<String>,
    code: Option<String>,
    count: u64,
    oldest: Option<Oldest>,
    sample: Vec<String>,
}

/// The oldest of them.
#[derive(Debug, Deserialize)]
struct Oldest {
    id: String,
    created_at: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    let mut query = arguments.filter.query();
    query.push(("by", arguments.by.clone()));
    let answer = client.get(Ask { path: &["v1", "stats", "tasks"], query, ..Ask::default() }).await?;
    client.print(&answer, |stats: Stats| {
        // The server has refused any other word by now.
        let by: Vec<&str> = ["queue", "name", "state", "code"]
            .into_iter()
            .filter(|word| arguments.by.split(',').any(|asked| asked == *word))
            .collect();
        let header = by.iter().map(|word| word.to_uppercase());
        let header = header.chain(["COUNT", "OLDEST", "CREATED", "NEWEST"].map(String::from));
        table::columns(header, stats.data.iter().map(|group| row(group, &by)))?;
        if !stats.complete {
            out::message(
                "this is not all: the time for counting was up, or there are more groups than are shown",
            );
        }
        Ok(())
    })?;
    Ok(Code::Done)
}

fn row(group: &Group, by: &[&str]) -> Vec<String> {
    let shown = |value: Option<&String>| value.cloned().unwrap_or_else(|| "-".into());
    let told_apart = by.iter().map(|word| match *word {
        "queue" => shown(group.queue.as_ref()),
        "name" => shown(group.name.as_ref()),
        "state" => shown(group.state.as_ref()),
        _ => shown(group.code.as_ref()),
    });
    let oldest = group.oldest.as_ref();
    let rest = [
        group.count.to_string(),
        shown(oldest.map(|oldest| &oldest.id)),
        shown(oldest.map(|oldest| &oldest.created_at)),
        group.sample.join(", "),
    ];
    told_apart.chain(rest).collect()
}
