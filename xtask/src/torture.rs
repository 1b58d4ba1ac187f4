//! `cargo xtask torture`: builds the product and what tortures it, both in release, and lets it happen.

use anyhow::{Result, ensure};

use crate::workspace::{Workspace, run};

/// Minutes of the short form, which `cargo xtask test` runs.
pub(crate) const SHORT_MINUTES: f64 = 3.0;

/// Tortures the release binary for so many minutes, with the worlds from `seed` on.
pub(crate) fn torture(workspace: &Workspace, minutes: f64, seed: Option<u64>) -> Result<()> {
    let release = ["build", "--release", "--package", "taskhook", "--package", "taskhook-torture"];
    ensure!(run(&mut workspace.cargo(&release))?, "what is tortured does not build");
    // Not in the folder for temporary files, which may be memory: there fsync costs nothing.
    let folder = workspace.target.join("torture");
    std::fs::create_dir_all(&folder)?;
    let shim = folder.join("faults.so");
    let mut compile =
        workspace.command("cc", &["-std=c11", "-Wall", "-Wextra", "-O2", "-shared", "-fPIC", "-o"]);
    compile.arg(&shim).args(["torture/shim/faults.c", "-ldl", "-pthread"]);
    ensure!(run(&mut compile)?, "what stands between the product and its files does not compile");

    let program =
        workspace.taskhook().with_file_name(format!("taskhook-torture{}", std::env::consts::EXE_SUFFIX));
    let mut command = workspace.command(program, &["--minutes", &minutes.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    command.arg("--shim").arg(&shim).arg("--folder").arg(&folder);
    ensure!(run(&mut command)?, "it did not hold");
    Ok(())
}
