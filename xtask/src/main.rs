//! The project's own commands, started with `cargo xtask`: everything a contributor and the CI run.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal speaks by printing"
)]

mod bench;
mod check;
mod fuzz;
mod sim;
mod test;
mod tidy;
mod tools;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(about = "The project's own commands", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the product and runs every test: doctests, the demo, simulated worlds, three minutes of torture, then all others
    Test {
        /// Run only tests whose names contain one of these, without demo, worlds and torture
        filters: Vec<String>,
    },
    /// Checks format, lints, documentation, dependencies and the project's own rules
    Check {
        /// Run only these steps
        steps: Vec<check::Step>,
    },
    /// Measures the release binary: ingest, tasks, lateness or fanout, with the options that `--help` names
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure, and how
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Lets libFuzzer look for what does not hold, in targets that read what strangers write
    Fuzz {
        /// How long for each target
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// Which targets; all, if none is named
        targets: Vec<String>,
    },
    /// Kills, stops and starves the release binary under load, and checks what it had promised
    Torture {
        /// For how long new worlds begin
        #[arg(long, default_value_t = torture::SHORT_MINUTES)]
        minutes: f64,
        /// The seed of the first world; the next ones have the next numbers
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Simulates whole worlds from their seeds, and shows the first that does not hold
    Sim {
        /// What they stand on; without it the memory store, plain or contended as the seed says
        #[arg(long)]
        store: Option<sim::Store>,
        /// How many seeds
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Show all that happens in the first one
        #[arg(long)]
        trace: bool,
        /// Build each planted bug, or this one, and show the seed that notices it
        #[arg(long, num_args = 0..=1, value_name = "NAME")]
        planted: Option<Option<String>>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = sim::as_wrapper() {
        return code;
    }
    let arguments = Arguments::parse();
    let result = Workspace::find().and_then(|workspace| match arguments.task {
        Task::Test { filters } => test::test(&workspace, &filters),
        Task::Check { steps } => check::check(&workspace, &steps),
        Task::Bench { arguments } => bench::bench(&workspace, &arguments),
        Task::Sim { planted: Some(name), .. } => sim::plant(&workspace, name.as_deref()),
        Task::Sim { store, seeds, from, trace, planted: None } => {
            sim::sim(&workspace, store, seeds, from, trace)
        }
        Task::Torture { minutes, seed } => torture::torture(&workspace, minutes, seed),
        Task::Fuzz { seconds, targets } => fuzz::fuzz(&workspace, seconds, &targets),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
