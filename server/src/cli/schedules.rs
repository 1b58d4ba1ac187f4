//! `taskhook schedules`: when schedules are due.

mod preview;

use clap::{Args, Subcommand};

use crate::cli::Code;

/// See when schedules are due
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules preview '30 2 * * *' --timezone America/New_York",
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Preview(preview::Arguments),
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    match &arguments.command {
        Command::Preview(arguments) => preview::run(arguments),
    }
}
