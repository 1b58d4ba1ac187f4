//! `cargo xtask fuzz`: lets libFuzzer look for what does not hold, target by target.
//!
//! It needs a C++ compiler besides what the project needs. No sanitizer is used, since all that is fuzzed is safe Rust:
//! so the toolchain of the project does.

use std::fs;

use anyhow::{Result, ensure};

use crate::tools;
use crate::workspace::{Workspace, run};

/// Megabytes that a target may take before it has failed.
const MEMORY_MAX: u32 = 2_048;

/// Seconds that one input may take before the target has failed.
const INPUT_SECONDS_MAX: u32 = 20;

/// Fuzzes each of `targets`, or every target, for `seconds`. What is found new is kept under `target/`, what makes a
/// target fail is printed with the command that repeats it.
pub(crate) fn fuzz(workspace: &Workspace, seconds: u32, targets: &[String]) -> Result<()> {
    let program = tools::cargo_fuzz(workspace)?;
    let build_folder = workspace.target.join("fuzz");
    let built = |verb: &str, target: Option<&str>| {
        let mut command = workspace.command(&program, &["fuzz", verb, "--sanitizer", "none"]);
        command
            .args(["--release", "--features", "libfuzzer", "--target-dir"])
            .arg(&build_folder)
            .args(target);
        // Whole-program optimisation takes minutes, and hides from the fuzzer which way a program went.
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command
    };
    ensure!(run(&mut built("build", None))?, "the targets do not build; libFuzzer needs a C++ compiler");
    let mut every: Vec<String> = fs::read_dir(workspace.root.join("fuzz/corpus"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    every.sort();
    for target in if targets.is_empty() { &every } else { targets } {
        ensure!(every.contains(target), "no target is called {target:?}: there are {}", every.join(", "));
        let found = build_folder.join("corpus").join(target);
        fs::create_dir_all(&found)?;
        let mut command = built("run", Some(target));
        command.arg(&found).arg(workspace.root.join("fuzz/corpus").join(target)).arg("--");
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY_MAX}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}")).args(["-print_final_stats=1", "-verbosity=0"]);
        command.arg("-max_len=5000");
        println!("{target}: {seconds} s");
        ensure!(run(&mut command)?, "{target} does not hold; what was found is named above");
    }
    Ok(())
}
