//! `taskhook sources delete`

use clap::Args;

use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, out};

/// Delete a source; what it has sent stays
#[derive(Debug, Args)]
#[command(before_help = "taskhook sources delete github")]
pub(super) struct Arguments {
    /// The source's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let name = arguments.name.as_str();
    client.delete(Ask { path: &["v1", "sources", name], ..Ask::default() }).await?;
    out::message(format_args!("source {} is deleted", out::visible(name)));
    Ok(Code::Done)
}
