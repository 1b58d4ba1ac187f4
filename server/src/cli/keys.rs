//! `taskhook keys`: who may use a server.

mod create;
mod list;
mod revoke;

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::{Code, Remote};

/// Make, list and revoke API keys
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook keys create --role admin --store sqlite:taskhook.db\n\
                   taskhook keys create --role write --name billing --expires-in 90d\n\
                   taskhook keys list\n\
                   taskhook keys revoke billing",
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
    Create(create::Arguments),
    List(list::Arguments),
    Revoke(revoke::Arguments),
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success; if the store cannot be opened.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = || Client::new(&arguments.remote);
    let output = arguments.remote.printed.output;
    match arguments.command {
        Command::Create(create) => match &create.store {
            Some(store) => create::in_store(output, store, &create).await,
            None => create::run(&client()?, &create).await,
        },
        Command::List(list) => match &list.store {
            Some(store) => list::in_store(output, store),
            None => list::run(&client()?).await,
        },
        Command::Revoke(revoke) => match &revoke.store {
            Some(store) => revoke::in_store(store, &revoke.key).await,
            None => revoke::run(&client()?, &revoke.key).await,
        },
    }
}
