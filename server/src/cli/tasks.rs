//! `taskhook tasks`: creating, reading and commanding tasks.

mod bulk;
mod command;
mod create;
mod explain;
mod filter;
mod get;
mod list;
mod stats;
mod wait;

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::{Code, Remote};

/// Create, read and command tasks
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook tasks create https://worker.example/resize --payload '{\"image\": 7}'\n\
                   taskhook tasks list --state failed\n\
                   taskhook tasks explain 123",
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
    Create(Box<create::Arguments>),
    List(list::Arguments),
    Stats(stats::Arguments),
    Get(get::Arguments),
    Explain(explain::Arguments),
    Wait(wait::Arguments),
    Cancel(command::Cancel),
    Retry(command::Retry),
    Trigger(command::Trigger),
    Bulk(bulk::Arguments),
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    match arguments.command {
        Command::Create(arguments) => create::run(&client, *arguments).await,
        Command::List(arguments) => list::run(&client, arguments).await,
        Command::Stats(arguments) => stats::run(&client, arguments).await,
        Command::Get(arguments) => get::run(&client, &arguments).await,
        Command::Explain(arguments) => explain::run(&client, &arguments).await,
        Command::Wait(arguments) => wait::run(&client, &arguments).await,
        Command::Cancel(arguments) => command::cancel(&client, &arguments).await,
        Command::Retry(arguments) => command::retry(&client, &arguments).await,
        Command::Trigger(arguments) => command::trigger(&client, &arguments).await,
        Command::Bulk(arguments) => bulk::run(&client, arguments).await,
    }
}
