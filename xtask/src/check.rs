//! `cargo xtask check`: everything about the code that needs no test run.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::workspace::{Workspace, run};
use crate::{tidy, tools};

/// One thing that is checked.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Step {
    /// The format is what rustfmt makes of it
    Fmt,
    /// The project's own rules
    Tidy,
    /// No warning from the compiler or clippy
    Clippy,
    /// The documentation builds without a warning
    Doc,
    /// Licences, banned crates and where crates come from
    Deny,
}

/// Runs the steps, or all of them if none is named. A step that fails does not hide the steps after it.
pub(crate) fn check(workspace: &Workspace, steps: &[Step]) -> Result<()> {
    let steps = if steps.is_empty() { Step::value_variants() } else { steps };
    let mut failed = Vec::new();
    for step in steps {
        if !passes(workspace, *step)? {
            failed.push(format!("{step:?}").to_lowercase());
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("\nAll checks passed.");
    Ok(())
}

fn passes(workspace: &Workspace, step: Step) -> Result<bool> {
    match step {
        Step::Fmt => run(&mut workspace.cargo(&["fmt", "--all", "--check"])),
        Step::Tidy => tidy::tidy(workspace),
        Step::Clippy => {
            run(&mut workspace.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }
        Step::Doc => {
            let mut doc = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
            run(doc.env("RUSTDOCFLAGS", "-D warnings"))
        }
        Step::Deny => {
            // Not `advisories`: its database is a git repository, which a build must not depend on.
            let deny = tools::cargo_deny(workspace)?;
            run(&mut workspace.command(deny, &["check", "licenses", "bans", "sources"]))
        }
    }
}
