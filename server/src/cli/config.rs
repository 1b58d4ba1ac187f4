//! `taskhook config`

use clap::{Args, Subcommand};

use crate::cli::{Code, out};
use crate::config::DEFAULT_FILE;

/// Print the settings of the server
#[derive(Debug, Args)]
#[command(before_help = "taskhook config default > taskhook.toml", arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Every setting with its default, and what it means
    #[command(before_help = "taskhook config default > taskhook.toml")]
    Default,
}

/// Runs it.
///
/// # Errors
/// If nobody reads it.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    match arguments.command {
        Command::Default => out::data(DEFAULT_FILE)?,
    }
    Ok(Code::Done)
}
