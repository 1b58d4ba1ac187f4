//! `taskhook completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::{Cli, Code, out};

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(before_help = "taskhook completions bash > ~/.local/share/bash-completion/completions/taskhook")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs it.
///
/// # Errors
/// If nobody reads it.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "taskhook", &mut script);
    out::data(script)?;
    Ok(Code::Done)
}
