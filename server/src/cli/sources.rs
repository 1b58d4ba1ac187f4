//! `taskhook sources`: who may send webhooks, and how each proves itself.

mod delete;
mod get;
mod list;
mod rotate;
mod set;
mod test;

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::{Code, Remote};

/// Read, set and test the sources of webhooks
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook sources set github --scheme github --secret-file github.secret\n\
                   taskhook sources get github\n\
                   taskhook sources test github --body delivery.json --header x-hub-signature-256=sha256=…",
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
    Test(test::Arguments),
    RotateSecret(rotate::Arguments),
    Delete(delete::Arguments),
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
        Command::Test(arguments) => test::run(&client, &arguments).await,
        Command::RotateSecret(arguments) => rotate::run(&client, &arguments).await,
        Command::Delete(arguments) => delete::run(&client, &arguments).await,
    }
}
