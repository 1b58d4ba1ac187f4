//! `cargo xtask bench`: builds what is measured and what measures it, both in release, and runs it.

use anyhow::{Result, ensure};

use crate::tools;
use crate::workspace::{Workspace, run};

/// Measures with the benchmark's own `arguments`, of which the first says what.
pub(crate) fn bench(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let release = ["build", "--release", "--package", "taskhook", "--package", "taskhook-bench"];
    ensure!(run(&mut workspace.cargo(&release))?, "what is measured does not build");

    let program =
        workspace.taskhook().with_file_name(format!("taskhook-bench{}", std::env::consts::EXE_SUFFIX));
    let mut command = workspace.command(program, &[]);
    command.args(arguments);
    if arguments.iter().any(|argument| !argument.starts_with('-')) {
        // Not in the folder for temporary files, which may be memory: there fsync costs nothing.
        command.arg("--folder").arg(workspace.target.join("bench"));
    }
    if arguments.first().is_some_and(|what| what == "ingest") {
        command.arg("--python").arg(tools::python(workspace)?);
    }
    ensure!(run(&mut command)?, "it did not end well, or a figure is below its floor");
    Ok(())
}
