//! Tools that the toolchain does not bring: found, or put into `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, output, run};

/// The cargo-deny that is installed where none is.
const DENY_VERSION: &str = "0.20.2";

/// The version of cargo-fuzz that is installed.
const FUZZ_VERSION: &str = "0.13.2";
/// The oldest cargo-deny, as (major, minor), that reads `deny.toml` as it is meant.
const DENY_OLDEST: (u32, u32) = (0, 18);

/// The Python that tests start real applications with: it has the packages of `xtask/requirements.txt`.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root.join("xtask/requirements.txt");
    let wanted = fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let venv = workspace.tools().join("venv");
    let python = venv.join("bin/python");
    // Written last, so that an installation that broke off is done again.
    let stamp = venv.join("requirements.stamp");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }

    make_venv(workspace, &venv)?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"];
    if !run(workspace.command(&python, &install).arg(&requirements))? {
        bail!(
            "the tests' Python packages could not be installed; to see why: {} -m pip install -r {}",
            python.display(),
            requirements.display()
        );
    }
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// The Node.js that tests start programs with: it finds the packages of `xtask/node`. It comes with the Python packages.
pub(crate) fn node(workspace: &Workspace, python: &Path) -> Result<Node> {
    let ours = workspace.root.join("xtask/node");
    let lock = ours.join("package-lock.json");
    let wanted = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let folder = workspace.tools().join("node");
    let binaries = python.parent().context("python is in no folder")?;
    let node = Node { program: binaries.join("node"), packages: folder.join("node_modules") };
    // Written last, so that an installation that broke off is done again.
    let stamp = folder.join("package-lock.stamp");
    if node.packages.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(node);
    }
    fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(ours.join(name), folder.join(name))?;
    }
    let mut install =
        workspace.command(binaries.join("npm"), &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    // npm looks for `node` on the path.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(binaries.to_path_buf()).chain(std::env::split_paths(&path)))?;
    if !run(install.current_dir(&folder).env("PATH", path))? {
        bail!(
            "the tests' Node.js packages could not be installed; to see why: cd {} && {} ci",
            folder.display(),
            binaries.join("npm").display()
        );
    }
    fs::write(&stamp, wanted)?;
    Ok(node)
}

/// A Node.js, and where its packages are.
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    pub(crate) packages: PathBuf,
}

/// Makes an empty virtual environment. On Debian, root gets the missing package installed; others are told its name.
fn make_venv(workspace: &Workspace, venv: &Path) -> Result<()> {
    if output(&mut workspace.command("python3", &["--version"])).is_none() {
        bail!(
            "the tests start Python applications and python3 is missing; on Debian: apt-get install python3 python3-venv"
        );
    }
    let make = || run(workspace.command("python3", &["-m", "venv", "--clear"]).arg(venv));
    if make()? {
        return Ok(());
    }
    let is_debian = Path::new("/etc/debian_version").exists();
    let is_root = output(&mut workspace.command("id", &["-u"])).is_some_and(|id| id.trim() == "0");
    if is_debian && is_root {
        run(workspace.command("apt-get", &["update"]).stdin(Stdio::null()))?;
        run(workspace.command("apt-get", &["install", "--yes", "python3-venv"]).stdin(Stdio::null()))?;
        if make()? {
            return Ok(());
        }
    }
    bail!("python3 cannot make a virtual environment; on Debian: apt-get install python3-venv");
}

/// A cargo-deny that reads this project's `deny.toml`: the one on the path if it is new enough, else our own.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let version = |program: &Path| output(&mut workspace.command(program, &["--version"]));
    let on_path = PathBuf::from("cargo-deny");
    if version(&on_path).and_then(|text| major_minor(&text)).is_some_and(|found| found >= DENY_OLDEST) {
        return Ok(on_path);
    }
    let tools = workspace.tools();
    let own = tools.join("bin/cargo-deny");
    if version(&own).is_some_and(|text| text.trim().ends_with(DENY_VERSION)) {
        return Ok(own);
    }

    // Its speed does not matter, the wait for its build does; and nothing of that build is needed afterwards.
    let build = tools.join("build");
    let mut install =
        workspace.cargo(&["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--force"]);
    install
        .arg("--root")
        .arg(&tools)
        .arg("--target-dir")
        .arg(&build)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    if !run(&mut install)? {
        bail!(
            "cargo-deny could not be installed; by hand: cargo install cargo-deny --version {DENY_VERSION} --locked"
        );
    }
    fs::remove_dir_all(&build)?;
    Ok(own)
}

/// The program that builds fuzz targets, of the version that the project knows.
pub(crate) fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/cargo-fuzz");
    let version = output(&mut workspace.command(&own, &["--version"]));
    if version.is_some_and(|text| text.trim().ends_with(FUZZ_VERSION)) {
        return Ok(own);
    }
    let mut install = workspace.cargo(&[
        "install",
        "cargo-fuzz",
        "--version",
        FUZZ_VERSION,
        "--locked",
        "--force",
        "--root",
    ]);
    if !run(install.arg(workspace.tools()))? {
        bail!(
            "cargo-fuzz could not be installed; by hand: cargo install cargo-fuzz --version {FUZZ_VERSION} --locked"
        );
    }
    Ok(own)
}

/// The first two numbers of what a `--version` prints: `cargo-deny 0.20.2` is (0, 20).
fn major_minor(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_numbers() {
        assert_eq!(major_minor("cargo-deny 0.20.2\n"), Some((0, 20)));
        assert_eq!(major_minor("cargo-deny 1.2.0-rc.1"), Some((1, 2)));
        assert_eq!(major_minor("cargo-deny"), None);
        assert!(Some((0, 9)) < Some(DENY_OLDEST) && Some((0, 20)) > Some(DENY_OLDEST));
    }
}
