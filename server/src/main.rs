//! The one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskhook::cli::run(std::env::args_os())
}
