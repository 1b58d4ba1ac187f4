//! The command line: one file per subcommand.
//!
//! Data goes to standard output, everything else to standard error. A command ends with one of the exit codes
//! of [`Code`]; [`Failed`] carries the one that an error asks for.

mod answer;
mod audit;
mod client;
mod completions;
mod config;
mod demo;
mod doctor;
mod events;
mod input;
mod keys;
mod out;
mod queues;
mod schedules;
mod secrets;
mod send;
mod serve;
mod sources;
mod store;
mod table;
mod tasks;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where a server listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8420";

/// What all commands have in common stands at the end of their help.
const LAST: usize = 900;

/// A durable task scheduler driven by webhooks.
#[derive(Debug, Parser)]
#[command(
    name = "taskhook",
    version,
    before_help = "taskhook serve\n\
                   taskhook tasks create --id 123\n\
                   taskhook tasks create https://worker.example/notify --after 123\n\
                   taskhook send task_completed 123",
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused (401, 403), 5 server unreachable.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Send(send::Arguments),
    Tasks(tasks::Arguments),
    Events(events::Arguments),
    Queues(queues::Arguments),
    Schedules(schedules::Arguments),
    Sources(sources::Arguments),
    Keys(keys::Arguments),
    Secrets(secrets::Arguments),
    Audit(audit::Arguments),
    Config(config::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It did what it should.
    Done = 0,
    /// It could not, or what it waited for failed.
    Failed = 1,
    /// It was called wrongly, or a setting is wrong.
    Usage = 2,
    /// What it names is not there.
    NotFound = 3,
    /// It may not (401, 403).
    Refused = 4,
    /// No server answers.
    Unreachable = 5,
}

/// An error that asks for an exit code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failed {
    /// How the command ends.
    pub code: Code,
    /// What was wrong, and what to do.
    pub text: String,
}

/// Which server is spoken to, and how its answers are printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// The server to talk to.
    #[arg(
        long,
        global = true,
        env = "TASKHOOK_URL",
        hide_env_values = true,
        default_value = DEFAULT_URL,
        value_name = "URL",
        display_order = LAST
    )]
    url: String,
    /// The file with the API key, `-` for standard input; or the key is in TASKHOOK_API_KEY.
    #[arg(long, global = true, value_name = "FILE", display_order = LAST)]
    key_file: Option<String>,
    #[command(flatten)]
    printed: Printed,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Printed {
    /// A table for people, or the API's JSON for programs.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table, display_order = LAST)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Failed {
    /// Whether the server has said that what was named is not there.
    fn is_not_found(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Failed>().is_some_and(|failed| failed.code == Code::NotFound)
    }

    /// An error that ends the command with `code`.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Failed {
        Failed { code, text: text.into() }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// Runs the command that `arguments` name, the first of which is the program itself.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, and whoever closed that has read enough.
            let _ = error.print();
            return if error.use_stderr() { Code::Usage } else { Code::Done }.into();
        }
    };
    cli.command.run().unwrap_or_else(|error| report(&error)).into()
}

impl Command {
    fn run(self) -> anyhow::Result<Code> {
        match self {
            Command::Serve(arguments) => serve::run(arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Send(arguments) => wait_for(send::run(arguments)),
            Command::Tasks(arguments) => wait_for(tasks::run(arguments)),
            Command::Events(arguments) => wait_for(events::run(arguments)),
            Command::Queues(arguments) => wait_for(queues::run(arguments)),
            Command::Schedules(arguments) => wait_for(schedules::run(arguments)),
            Command::Sources(arguments) => wait_for(sources::run(arguments)),
            Command::Keys(arguments) => wait_for(keys::run(arguments)),
            Command::Secrets(arguments) => wait_for(secrets::run(arguments)),
            Command::Audit(arguments) => wait_for(audit::run(arguments)),
            Command::Config(arguments) => config::run(&arguments),
            Command::Doctor(arguments) => wait_for(doctor::run(arguments)),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

/// Runs a command that speaks HTTP: one connection needs one thread.
fn wait_for(command: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

fn report(error: &anyhow::Error) -> Code {
    // A reader that has seen enough (`taskhook tasks list | head`) is no failure.
    let closed = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if closed.into_iter().any(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return Code::Done;
    }
    out::message(format_args!("error: {error:#}"));
    error.downcast_ref::<Failed>().map_or(Code::Failed, |failed| failed.code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    /// clap hands the value of a global argument down to any argument of the same name.
    #[test]
    fn no_argument_is_called_as_one_that_all_have() {
        fn check(command: &clap::Command) {
            let own = |command: &clap::Command| -> Vec<String> {
                command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
            };
            let globals: Vec<_> =
                command.get_arguments().filter(|argument| argument.is_global_set()).collect();
            for inner in command.get_subcommands() {
                for global in &globals {
                    assert!(
                        !own(inner).contains(&global.get_id().to_string()),
                        "{} {global}",
                        inner.get_name()
                    );
                }
                check(inner);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn every_help_leads_with_an_example() {
        fn check(command: &mut clap::Command, path: &str) {
            let help = command.render_help().to_string();
            assert!(help.starts_with("taskhook "), "{path} begins with:\n{help}");
            for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
                let path = format!("{path} {}", inner.get_name());
                check(inner, &path);
            }
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command, "taskhook");
    }
}
