//! Python and Node.js programs that talk to the server, with the packages that their authors use.

use std::path::Path;
use std::process::Command;

use crate::binary::process::Process;

/// Starts a program of `server/tests/python` that uses Flask or requests.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Process {
    let mut command = program(name, "flask, requests");
    command.args(arguments);
    Process::spawn(command)
}

/// A program of `server/tests/python` that imports these packages, run by the Python that `cargo xtask test` has
/// prepared, else by the machine's own if it will do.
pub(crate) fn program(name: &str, packages: &str) -> Command {
    let python = std::env::var_os("TASKHOOK_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(&python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    // What is on this machine is not reached through a proxy.
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    let imported = Command::new(&python).args(["-c", &format!("import {packages}")]).output();
    assert!(
        imported.is_ok_and(|output| output.status.success()),
        "{} cannot import {packages}; `cargo xtask test` prepares a Python that can, and runs the tests with it",
        python.display()
    );
    command
}

/// A program of `server/tests/node` that requires this package, run by the Node.js that `cargo xtask test` has prepared,
/// else by the machine's own if it will do.
pub(crate) fn node_program(name: &str, package: &str) -> Command {
    let node = std::env::var_os("TASKHOOK_TEST_NODE").unwrap_or_else(|| "node".into());
    let mut command = Command::new(&node);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node").join(name));
    let required = Command::new(&node).args(["-e", &format!("require({package:?})")]).output();
    assert!(
        required.is_ok_and(|output| output.status.success()),
        "{} cannot require {package}; `cargo xtask test` prepares a Node.js that can, and runs the tests with it",
        node.display()
    );
    command
}
