//! The one binary.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn main() -> ExitCode {
    if let Some(bug) = taskhook_core::planted::active() {
        eprintln!("taskhook: this build has the planted bug {bug:?}, and is for the simulator alone");
        return ExitCode::FAILURE;
    }
    taskhook::cli::run(std::env::args_os())
}
