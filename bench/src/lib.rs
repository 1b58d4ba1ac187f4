//! Measures Taskhook: the real binary as a process of its own, beside a reference in the same run.
//!
//! Everything happens on loopback and is bounded in count and time. `docs/benchmarks.md` tells what the
//! figures mean; `cargo xtask bench` builds what is measured. A library too, for whoever else plays a load or a target.

mod admission;
mod api;
mod fanout;
mod ingest;
mod lateness;
mod load;
mod process;
mod random;
mod reference;
mod report;
mod target;
mod tasks;
pub mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::process::{Cores, Machine};
use crate::report::{Report, note};

/// The part of the machine that others may use while something is measured.
const OTHERS_MAX: f64 = 0.05;

#[derive(Parser)]
#[command(about = "Measures Taskhook against a reference in the same run", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// P1, P2: webhooks per second and their latency, beside the reference and beside Flask
    Ingest(Options),
    /// P4: whole tasks per second, answered at once, or called back with a dependent
    Tasks(Options),
    /// P3: how late tasks start that are due at known instants
    Lateness(Options),
    /// One webhook that releases 100,000 dependents
    Fanout(Options),
    /// What one start costs while a thousand, and a million, others wait in its queue
    Admission(Options),
    /// The server that the others are compared with: the same HTTP, nothing stored
    Reference,
}

#[derive(Args)]
struct Options {
    /// Seconds of one measured run
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Tasks that are stored before ingest is measured
    #[arg(long, default_value_t = 1_000_000)]
    stored: u32,
    /// Few tasks and one short round: shows that it works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Fail if a figure is below its floor
    #[arg(long)]
    check: bool,
    /// The binary that is measured [default: the one beside this program]
    #[arg(long)]
    taskhook: Option<PathBuf>,
    /// A Python with Flask, for the tutorial's server
    #[arg(long)]
    python: Option<PathBuf>,
    /// Where stores are made: a disk, not memory
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What a measurement needs to know.
struct Settings {
    cores: Cores,
    seconds: f64,
    rounds: u32,
    stored: u32,
    quick: bool,
    taskhook: PathBuf,
    python: Option<PathBuf>,
    folder: PathBuf,
}

/// Measures what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    match run(Arguments::parse().what) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<bool> {
    let options = match &what {
        What::Reference => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            return runtime.block_on(reference::serve()).map(|()| true);
        }
        What::Ingest(options)
        | What::Tasks(options)
        | What::Lateness(options)
        | What::Fanout(options)
        | What::Admission(options) => options,
    };
    let settings = Settings::new(options)?;
    note(&settings.cores.words());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let machine = Machine::watch()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = measure(&what, &settings) => report,
            // What is dropped here stops the servers.
            stopped = stopped() => stopped.and_then(|()| bail!("stopped")),
        }
    })?;
    let others = machine.others()?;
    let met = report.print();
    note(&format!("others used {:.0} % of the machine meanwhile", others * 100.0));
    if others > OTHERS_MAX {
        note("too much for absolute figures, and for latency: measure again when it is quiet");
    }
    Ok(met || !options.check)
}

async fn measure(what: &What, settings: &Settings) -> Result<Report> {
    match what {
        What::Ingest(_) => ingest::measure(settings).await,
        What::Tasks(_) => tasks::measure(settings).await,
        What::Lateness(_) => lateness::measure(settings).await,
        What::Fanout(_) => fanout::measure(settings).await,
        What::Admission(_) => admission::measure(settings).await,
        What::Reference => bail!("the reference measures nothing"),
    }
}

/// Resolves when somebody wants this to end.
async fn stopped() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

impl Settings {
    fn new(options: &Options) -> Result<Settings> {
        let own = std::env::current_exe()?;
        let beside = || own.with_file_name(format!("taskhook{}", std::env::consts::EXE_SUFFIX));
        let taskhook = options.taskhook.clone().unwrap_or_else(beside);
        anyhow::ensure!(taskhook.exists(), "there is no {}; build it, or use --taskhook", taskhook.display());
        let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let quick = options.quick;
        Ok(Settings {
            cores: Cores::split(),
            seconds: if quick { 1.0 } else { options.seconds.clamp(0.1, 600.0) },
            rounds: if quick { 1 } else { options.rounds.clamp(1, 100) },
            stored: if quick { 20_000 } else { options.stored.clamp(1, 20_000_000) },
            quick,
            taskhook,
            python: options.python.clone(),
            folder,
        })
    }
}
