//! Bulks by the command line, against the real server.

use serde_json::{Value, json};

use crate::cli::program::Serving;

/// The first word of what is printed about a bulk: its id.
fn id_of(printed: &str) -> &str {
    printed.split(' ').next().unwrap_or_default()
}

#[test]
fn tasks_are_cancelled_and_retried_in_bulk() {
    let server = Serving::start();
    for id in ["a", "b", "c"] {
        server.done(&["tasks", "create", "--id", id, "--label", "team=x", "--label", "size=1"]);
    }
    server.done(&["tasks", "create", "--id", "other"]);
    let team = ["--label", "team=x", "--label", "size=1"];
    let cancel = [&["tasks", "bulk", "cancel"][..], &team].concat();
    assert_eq!(server.done(&[&cancel[..], &["--dry-run"]].concat()), "3 tasks match\n");
    let done = server.run(&[&cancel[..], &["--wait"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let id = id_of(&done.out);
    assert_eq!(done.out, format!("{id} (cancel) is done: 3 matched, 3 changed, 0 refused\n"));
    assert!(server.done(&["tasks", "get", "other"]).contains("running"));
    let explained = server.done(&["tasks", "explain", "b"]);
    assert!(explained.contains(&format!("cancelled, by bulk {id}")), "{explained}");

    let retry = [
        "tasks",
        "bulk",
        "retry",
        "--state",
        "failed,cancelled",
        "--ignore-dependencies",
        "--rate",
        "9/1s+9",
    ];
    let printed = server.done(&[&retry[..], &["--wait", "--output", "json"]].concat());
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((&printed["state"], &printed["applied"]), (&json!("done"), &json!(3)), "{printed}");
    assert_eq!(printed["rate"], json!({"limit": 9, "per": "1s", "burst": 9}));
    assert_eq!(printed["ignore_dependencies"], json!(true));
    let listed = server.done(&["tasks", "bulk", "list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[1].contains(" retry ") && lines[2].starts_with(id),
        "{listed}"
    );
    assert_eq!(server.done(&["tasks", "bulk", "get", id, "--wait"]), done.out);
    assert_eq!(server.run(&["tasks", "bulk", "stop", id]).code, 1, "it has ended");
}

#[test]
fn a_bulk_is_stopped_and_waiting_for_it_fails() {
    let server = Serving::start();
    for id in ["a", "b"] {
        server.done(&["tasks", "create", "--id", id, "--delay", "1h", "--queue", "default"]);
    }
    let slow = [
        "tasks",
        "bulk",
        "trigger",
        "--queue",
        "default",
        "--created-after",
        "2001-01-01T00:00:00Z",
        "--rate",
        "1/1h",
    ];
    let begun = server.done(&slow);
    let id = id_of(&begun);
    let stopped = server.done(&["tasks", "bulk", "stop", id]);
    assert!(stopped.starts_with(&format!("{id} (trigger) was stopped: ")), "{stopped}");
    let waited = server.run(&["tasks", "bulk", "get", id, "--wait"]);
    assert_eq!((waited.code, waited.out), (1, stopped));
    assert_eq!(server.run(&["tasks", "bulk", "get", "bulk_00000000000000000000000000"]).code, 3);
}

#[test]
fn a_bulk_without_a_filter_is_wrong_usage() {
    let server = Serving::start();
    for (arguments, reason) in [
        (&["cancel"][..], "required"),
        (&["cancel", "--rate", "1/1s"], "required"),
        (&["cancel", "--name", "a", "--rate", "often"], "LIMIT/PER"),
        (&["cancel", "--label", "team"], "NAME=VALUE"),
        (&["cancel", "--name", "a", "--dry-run", "--wait"], "cannot be used with"),
        (&["cancel", "--name", "a", "--ignore-dependencies"], "unexpected argument"),
    ] {
        let ran = server.run(&[&["tasks", "bulk"], arguments].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{arguments:?}: {}", ran.err);
    }
    let never = server.run(&["tasks", "bulk", "retry", "--state", "running"]);
    assert_eq!((never.code, never.out.as_str()), (1, ""));
    assert!(never.err.contains("leaves nothing to do"), "{}", never.err);
}
