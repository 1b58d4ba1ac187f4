//! `cargo xtask test`: all tests there are, with everything they need.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::sim;
use crate::tools::{self, Node};
use crate::torture;
use crate::workspace::{Workspace, output, run};

/// The demo takes seconds; after this time it hangs.
const DEMO_TIME_MAX: Duration = Duration::from_secs(300);

/// The worlds that are simulated: two quiet cores take not quite three minutes for them. Other seeds than those of a plain
/// `cargo xtask sim`.
const WORLDS: u64 = 80_000;
/// The first of them.
const WORLDS_FROM: u64 = 1_000_000;

/// Runs all tests, or those whose names contain one of `filters`. A part that fails does not hide the parts after it.
pub(crate) fn test(workspace: &Workspace, filters: &[String]) -> Result<()> {
    let python = tools::python(workspace)?;
    let node = tools::node(workspace, &python)?;
    let tools = (python.as_path(), &node);
    let taskhook = workspace.taskhook();
    let release = ["build", "--release", "--package", "taskhook"];
    ensure!(run(&mut workspace.cargo(&release))?, "the product does not build");

    // The runner goes last: its totals are what one wants to see at the end.
    let mut failed = Vec::new();
    if !run(&mut for_tests(doctests(workspace, filters), &taskhook, tools))? {
        failed.push("doctests");
    }
    if filters.is_empty() {
        if !demo(workspace.command(&taskhook, &["demo"]))? {
            failed.push("demo");
        }
        println!("\n$ simulate {WORLDS} worlds");
        if sim::sim(workspace, None, WORLDS, WORLDS_FROM, false).is_err() {
            failed.push("simulation");
        }
        if let Err(error) = torture::torture(workspace, torture::SHORT_MINUTES, None) {
            println!("\n{error:#}");
            failed.push("torture");
        }
    } else {
        println!("\nThe demo, the simulation and the torture run only without a filter.");
    }
    if !run(&mut for_tests(tests(workspace, filters), &taskhook, tools))? {
        failed.push("tests");
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The examples in doc comments: only cargo's own runner knows them.
fn doctests(workspace: &Workspace, filters: &[String]) -> Command {
    let mut command = workspace.cargo(&["test", "--doc", "--workspace", "--no-fail-fast"]);
    command.arg("--").args(filters);
    command
}

/// All other tests, by cargo-nextest where it is installed (a process and a time limit for each test).
fn tests(workspace: &Workspace, filters: &[String]) -> Command {
    let has_nextest = output(&mut workspace.cargo(&["nextest", "--version"])).is_some();
    let mut command = if has_nextest {
        workspace.cargo(&["nextest", "run", "--workspace", "--profile", "ci"])
    } else {
        println!("\ncargo-nextest is not installed: the tests run with `cargo test`, without time limits.");
        workspace.cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    };
    command.arg("--").args(filters);
    command
}

/// Tells the tests where the release binary, their Python and their Node.js are.
fn for_tests(mut command: Command, taskhook: &Path, (python, node): (&Path, &Node)) -> Command {
    command.env("TASKHOOK_BIN", taskhook).env("TASKHOOK_TEST_PYTHON", python);
    command.env("TASKHOOK_TEST_NODE", &node.program).env("NODE_PATH", &node.packages);
    command
}

/// Runs what a newcomer runs first, and ends it if it hangs.
fn demo(mut command: Command) -> Result<bool> {
    println!("\n$ taskhook demo");
    let mut demo = command.stdin(Stdio::null()).spawn().context("cannot start the release binary")?;
    let started = Instant::now();
    while started.elapsed() < DEMO_TIME_MAX {
        if let Some(status) = demo.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("The demo did not end within {} seconds.", DEMO_TIME_MAX.as_secs());
    demo.kill()?;
    demo.wait()?;
    Ok(false)
}
