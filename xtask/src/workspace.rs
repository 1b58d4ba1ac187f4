//! Where the project lies on this machine, and how its commands are run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The checkout that `cargo xtask` was called in.
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds: `target`, unless `CARGO_TARGET_DIR` says otherwise.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the checkout by what `cargo run` tells the program it starts.
    pub(crate) fn find() -> Result<Workspace> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
        let root = Path::new(&manifest_dir).parent().context("xtask lies in a workspace")?.to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir)?,
            None => root.join("target"),
        };
        Ok(Workspace { root, target })
    }

    /// The release binary of the product.
    pub(crate) fn taskhook(&self) -> PathBuf {
        self.target.join("release").join(format!("taskhook{}", env::consts::EXE_SUFFIX))
    }

    /// Tools that are not part of the toolchain, such as the tests' Python.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A command that starts in the root directory.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.root);
        command
    }

    /// The cargo that started this program.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// Prints the command, runs it, and tells whether it succeeded. Fails only if it cannot be started.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    println!("\n$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    Ok(status.success())
}

/// Runs the command in silence and returns what it printed, or nothing if it is missing or failed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}
