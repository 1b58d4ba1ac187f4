//! The benchmark as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskhook_bench::main()
}
