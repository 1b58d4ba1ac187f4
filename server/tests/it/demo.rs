//! `taskhook demo`: everything ends as it should, every decision is told, and nothing is left behind.

use std::process::Command;

#[test]
fn the_demo_tells_every_decision_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = std::env::var("TASKHOOK_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_taskhook").to_string());
    let output = Command::new(binary)
        .arg("demo")
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .expect("the demo runs");
    let told = String::from_utf8(output.stdout).expect("text");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{complaints}");
    for part in [
        "answered: Webhook received, unmatched",
        "approve   succeeded         succeeded in attempt 1, by webhook evt_",
        "resize-2  attempt_failed    attempt 1 failed: the target answered 503",
        "resize-2  retry_planned     the next attempt is planned for",
        "the worker reports page 1: applied",
        "the worker reports page 1: duplicate",
        "publish   dependency_ended  task resize-2 ended as succeeded, as asked",
        "notify    succeeded",
    ] {
        assert!(told.contains(part), "nobody told {part:?}:\n{told}");
    }
    // A cause is told before what follows from it.
    let place = |part: &str| told.find(part).unwrap_or_else(|| panic!("nobody told {part:?}:\n{told}"));
    assert!(place("fetch     succeeded") < place("resize-1  dispatched"));
    assert!(place("resize-3  succeeded") < place("publish   dispatched"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "it left {left:?}");
}
