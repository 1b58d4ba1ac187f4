//! `taskhook schedules`: tasks at the instants of a clock.

mod backfill;
mod command;
mod get;
mod list;
mod preview;
mod set;

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::{Code, Remote};

/// Make and read schedules, and see when they are due
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules set nightly https://worker.example/report --cron '30 2 * * *' --timezone Europe/Stockholm\n\
                   taskhook schedules get nightly\n\
                   taskhook schedules preview '30 2 * * *' --timezone America/New_York",
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
    Preview(preview::Arguments),
    Pause(command::Pause),
    Resume(command::Resume),
    Trigger(command::Trigger),
    Backfill(backfill::Arguments),
    Delete(command::Delete),
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    match arguments.command {
        Command::List(arguments) => list::run(&client, arguments).await,
        Command::Get(arguments) => get::run(&client, &arguments).await,
        Command::Set(arguments) => set::run(&client, *arguments).await,
        Command::Preview(arguments) => preview::run(&client, &arguments).await,
        Command::Pause(arguments) => command::pause(&client, &arguments).await,
        Command::Resume(arguments) => command::resume(&client, &arguments).await,
        Command::Trigger(arguments) => command::trigger(&client, &arguments).await,
        Command::Backfill(arguments) => backfill::run(&client, &arguments).await,
        Command::Delete(arguments) => command::delete(&client, &arguments).await,
    }
}
