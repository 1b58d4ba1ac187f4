//! `taskhook sources test`

use clap::Args;
use serde_json::json;

use crate::cli::answer::SourceTest;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, table};

/// Show what a request to a source would do, without doing it; exit code 1 if it would be refused
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook sources test github --body delivery.json --header x-hub-signature-256=sha256=…"
)]
pub(super) struct Arguments {
    /// The source's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// The file with the raw body; - for standard input
    #[arg(long, value_name = "FILE")]
    body: Option<String>,
    /// A header of the request
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    header: Vec<(String, String)>,
    /// The URL that it would be sent to, where that is signed
    #[arg(long, value_name = "URL", id = "sent_to")]
    sent_to: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let mut says = json!({"headers": input::each_once("--header", arguments.header.clone())?});
    if let Some(path) = &arguments.body {
        says["body"] = input::file("--body", path)?.into();
    }
    if let Some(url) = &arguments.sent_to {
        says["url"] = url.as_str().into();
    }
    let path = ["v1", "sources", arguments.name.as_str(), "test"];
    let answer =
        client.post(Ask { path: &path, body: Some(serde_json::to_vec(&says)?), ..Ask::default() }).await?;
    let would: SourceTest = answer.read()?;
    let code = if would.verified { Code::Done } else { Code::Failed };
    client.print(&answer, |would: SourceTest| {
        let shown = |given: Option<String>| given.unwrap_or_default();
        table::pairs([
            ("verified", if would.verified { "yes" } else { "no" }.to_string()),
            ("reason", shown(would.reason)),
            ("secret", shown(would.secret)),
            ("type", shown(would.name)),
            ("event", shown(would.event)),
            ("task", shown(would.task)),
            ("attempt", shown(would.attempt.map(|attempt| attempt.to_string()))),
            ("delivery id", shown(would.delivery_id)),
        ])
    })?;
    Ok(code)
}
