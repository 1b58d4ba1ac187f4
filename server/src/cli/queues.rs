//! `taskhook queues`: limits, defaults, pausing.

mod get;
mod list;
mod pause;
mod set;

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::{Code, Remote};

/// Read, set, pause and resume queues
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook queues set images --concurrency 10 --rate 100/1s+20\n\
                   taskhook queues get images\n\
                   taskhook queues pause images",
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
    List(list::Arguments),
    Get(get::Arguments),
    Set(Box<set::Arguments>),
    Pause(pause::Pause),
    Resume(pause::Resume),
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    match arguments.command {
        Command::List(arguments) => list::run(&client, arguments).await,
        Command::Get(arguments) => get::run(&client, &arguments).await,
        Command::Set(arguments) => set::run(&client, &arguments).await,
        Command::Pause(arguments) => pause::pause(&client, &arguments).await,
        Command::Resume(arguments) => pause::resume(&client, &arguments).await,
    }
}
