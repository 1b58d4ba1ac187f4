//! `cargo xtask sim`: simulated worlds, each from its seed; and whether they notice bugs that are planted for them.
//!
//! A planted bug is one line under `cfg(planted = "name")`, in core or in the server. To build one, this program stands
//! in front of the compiler (`RUSTC_WORKSPACE_WRAPPER`) and adds the `cfg` for the crate in which the bug stands, and for
//! no other: with `RUSTFLAGS` each bug would build every dependency anew, and what the compiler remembers of a crate
//! counts only for the same `cfg`.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::tidy::planted::{self, Bug};
use crate::workspace::{Workspace, run};

/// In this variable stands the bug that is being built. Core names it too, so that cargo builds anew when it changes.
const PLANTED: &str = "TASKHOOK_PLANTED";

/// Within so many seeds each bug is noticed.
const SEEDS_PER_BUG: u64 = 10_000;

/// What the worlds stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// The memory store, always lucky
    Memory,
    /// The memory store on its unlucky days
    Contended,
    /// SQLite on a disk that loses, tears and reorders what was not synced
    Sqlite,
}

impl Store {
    fn name(self) -> &'static str {
        match self {
            Store::Memory => "memory",
            Store::Contended => "contended",
            Store::Sqlite => "sqlite",
        }
    }
}

/// Simulates `seeds` seeds from `from` on, or shows all that happens in that one.
pub(crate) fn sim(
    workspace: &Workspace,
    store: Option<Store>,
    seeds: u64,
    from: u64,
    trace: bool,
) -> Result<()> {
    let mut command =
        workspace.cargo(&["run", "--release", "--quiet", "-p", "taskhook-sim", "--bin", "simulate", "--"]);
    command.args(["--seeds", &seeds.to_string(), "--from", &from.to_string()]);
    if let Some(store) = store {
        command.args(["--store", store.name()]);
    }
    if trace {
        command.arg("--trace");
    }
    ensure!(run(&mut command)?, "the simulation does not hold");
    Ok(())
}

/// Builds each of these bugs, or all, and shows the first seed that notices it.
pub(crate) fn plant(workspace: &Workspace, name: Option<&str>) -> Result<()> {
    let every = planted::bugs(workspace)?;
    let mut chosen: Vec<&Bug> = every.iter().filter(|bug| name.is_none_or(|name| name == bug.name)).collect();
    // Those of the server go last: with each of them the largest crate is built anew, and with core's it is not.
    let server = workspace.root.join("server").join("src");
    chosen.sort_by_key(|bug| planted::stands_in(&server, &bug.name).unwrap_or(false));
    let names: Vec<&str> = every.iter().map(|bug| bug.name.as_str()).collect();
    ensure!(!chosen.is_empty(), "no such bug is planted; there are {}", names.join(", "));
    let mut build = workspace.cargo(&["build", "--release", "--quiet", "-p", "taskhook-sim"]);
    ensure!(build.args(["--bin", "simulate"]).status()?.success(), "the simulator does not build");
    let mut missed = Vec::new();
    for Bug { name, is_on_sqlite } in chosen {
        match first_seed(workspace, name, *is_on_sqlite)? {
            Some(found) => {
                println!("{name}\tseed {found}");
                holds_without(workspace, &found, *is_on_sqlite)?;
            }
            None => missed.push(name.as_str()),
        }
    }
    if !missed.is_empty() {
        bail!("not noticed within {SEEDS_PER_BUG} seeds: {}", missed.join(", "));
    }
    Ok(())
}

/// The first seed that does not hold with this bug, and why.
fn first_seed(workspace: &Workspace, name: &str, is_on_sqlite: bool) -> Result<Option<String>> {
    // The profile has a folder of its own, target/planted, so that no other build ever takes a bug over.
    let mut build = workspace.cargo(&["build", "--quiet", "--profile", "planted", "-p", "taskhook-sim"]);
    build.args(["--bin", "simulate"]).env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?).env(PLANTED, name);
    ensure!(build.status()?.success(), "{name} does not build");
    let program = workspace.target.join("planted").join(format!("simulate{}", env::consts::EXE_SUFFIX));
    let mut simulate = workspace.command(program, &["--brief", "--seeds", &SEEDS_PER_BUG.to_string()]);
    if is_on_sqlite {
        simulate.args(["--store", Store::Sqlite.name()]);
    }
    let output = simulate.output().context("cannot start the simulation")?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// Where a world does not hold without the bug either, it has not noticed it.
fn holds_without(workspace: &Workspace, found: &str, is_on_sqlite: bool) -> Result<()> {
    let seed = found.split_whitespace().next().unwrap_or_default();
    let program = workspace.taskhook().with_file_name(format!("simulate{}", env::consts::EXE_SUFFIX));
    let mut simulate = workspace.command(program, &["--brief", "--seeds", "1", "--from", seed]);
    if is_on_sqlite {
        simulate.args(["--store", Store::Sqlite.name()]);
    }
    ensure!(simulate.status()?.success(), "seed {seed} does not hold without the bug either");
    Ok(())
}

/// Where this program was started in front of the compiler: calls it, with the bug that is asked for.
pub(crate) fn as_wrapper() -> Option<ExitCode> {
    let name = env::var(PLANTED).ok()?;
    let mut words = env::args_os().skip(1);
    let compiler = words.next().filter(|word| word.to_string_lossy().contains("rustc"))?;
    let mut command = Command::new(compiler);
    command.args(words);
    // Cargo says in this variable which crate is being built.
    let folder = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    if planted::stands_in(&Path::new(&folder).join("src"), &name).unwrap_or(true) {
        command.arg("--cfg").arg(format!("planted=\"{name}\""));
    }
    let is_built = command.status().is_ok_and(|status| status.success());
    Some(if is_built { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
