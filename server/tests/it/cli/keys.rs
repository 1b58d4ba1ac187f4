//! API keys, the audit log and secrets by the command line, against the real server.

use serde_json::Value;

use crate::cli::program::{Ran, Serving};

/// Runs a command with a key.
fn with(server: &Serving, key: &str, arguments: &[&str]) -> Ran {
    server.program(arguments).env("TASKHOOK_API_KEY", key.trim()).run()
}

#[test]
fn keys_are_made_listed_used_and_revoked() {
    let server = Serving::start();
    let first = server.run(&["keys", "create", "--role", "write"]);
    assert_eq!(first.code, 1);
    assert!(first.err.contains("the first key closes the server"), "{}", first.err);
    let root = server.run(&["keys", "create", "--role", "admin", "--name", "root"]);
    assert_eq!(root.code, 0, "{}", root.err);
    assert!(root.out.starts_with("thk_") && root.out.lines().count() == 1, "{}", root.out);
    assert!(root.err.contains("It is the first one") && !root.err.contains("thk_"), "{}", root.err);

    let refused = server.run(&["tasks", "list"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("needs an API key"), "{}", refused.err);
    assert_eq!(with(&server, &root.out, &["tasks", "list"]).code, 0);

    // From a file, which wins over the environment.
    let billing =
        with(&server, &root.out, &["keys", "create", "--role=write", "--name=billing", "--expires-in=90d"]);
    assert!(billing.err.contains("with the role write, until 20"), "{}", billing.err);
    std::fs::write(server.folder.path().join("billing.key"), &billing.out).unwrap();
    let program = server.program(&["tasks", "create", "--id", "123", "--key-file", "billing.key"]);
    assert_eq!(program.env("TASKHOOK_API_KEY", "thk_other").run().code, 0);
    let denied = server.run(&["keys", "list", "--key-file", "billing.key"]);
    assert_eq!(denied.code, 4);
    assert!(
        denied.err.contains("needs an API key with the role admin; that of \"billing\" is write"),
        "{}",
        denied.err
    );
    let piped = server.program(&["tasks", "get", "123", "--key-file", "-"]).run_with(&billing.out);
    assert_eq!(piped.code, 0, "{}", piped.err);

    let list = with(&server, &root.out, &["keys", "list"]).out;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "ROLE", "KEY", "CREATED", "EXPIRES", "ID"]);
    assert_eq!((rows[1][0], rows[1][1], rows[2][0], rows[2][1]), ("billing", "write", "root", "admin"));
    assert!(!list.contains(billing.out.trim()) && list.contains(&billing.out[..8]), "{list}");
    let json: Value =
        serde_json::from_str(&with(&server, &root.out, &["keys", "list", "-o", "json"]).out).unwrap();
    assert_eq!(json["data"][0]["name"], "billing");

    let audit = with(&server, &root.out, &["audit"]).out;
    let rows: Vec<Vec<&str>> = audit.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["AT", "KEY", "FROM", "ACTION", "SUBJECT"]);
    assert_eq!(rows[1][1..], ["billing", "127.0.0.1", "task.create", "123"]);
    assert_eq!(rows[2][1..], ["root", "127.0.0.1", "key.create", "billing"]);
    assert_eq!(rows[3][1..], ["127.0.0.1", "key.create", "root"]);
    let only = with(
        &server,
        &root.out,
        &["audit", "--action", "task.create", "--key", "billing", "--subject", "123"],
    );
    assert_eq!(only.out.lines().count(), 2, "{}", only.out);

    let revoked = with(&server, &root.out, &["keys", "revoke", "billing"]);
    assert_eq!((revoked.code, revoked.err.as_str()), (0, "key billing is revoked\n"));
    assert_eq!(server.run(&["tasks", "list", "--key-file", "billing.key"]).code, 4);
    assert_eq!(with(&server, &root.out, &["keys", "revoke", "billing"]).code, 3);
    let last = with(&server, &root.out, &["keys", "revoke", "root"]);
    assert!(last.code == 1 && last.err.contains("taskhook keys revoke --store"), "{}", last.err);
}

#[test]
fn keys_in_a_store_at_rest() {
    let server = Serving::start();
    let locked = server.run(&["keys", "create", "--role", "admin", "--store", "sqlite:taskhook.db"]);
    assert!(locked.code == 1 && locked.err.contains("another taskhook has the store"), "{}", locked.err);
    let (_, _, folder) = server.stop();
    let run = |arguments: &[&str]| crate::cli::program::taskhook(arguments).within(folder.path()).run();
    let store = ["--store", "sqlite:taskhook.db"];
    // In the store any role may be the first.
    let read = run(&[&["keys", "create", "--role", "read", "--name", "r"][..], &store].concat());
    assert_eq!(read.code, 0, "{}", read.err);
    let json = run(&[&["keys", "create", "--role", "admin", "-o", "json"][..], &store].concat());
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert!(
        json["key"].as_str().unwrap().starts_with("thk_") && json["closes_the_server"] == false,
        "{json}"
    );
    let twice = run(&[&["keys", "create", "--role", "read", "--name", "r"][..], &store].concat());
    assert!(twice.code == 1 && twice.err.contains("another API key has this name"), "{}", twice.err);
    let wrong = run(&[&["keys", "create", "--role", "read", "--name", "key_x"][..], &store].concat());
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert_eq!(run(&[&["keys", "list"][..], &store].concat()).out.lines().count(), 3);
    assert_eq!(run(&[&["keys", "revoke", "nobody"][..], &store].concat()).code, 3);

    let server = Serving::start_in(folder);
    let admin = json["key"].as_str().unwrap();
    assert_eq!(server.run(&["tasks", "list"]).code, 4);
    assert_eq!(with(&server, &read.out, &["tasks", "list"]).code, 0);
    // Who has a key need not be at the store.
    let there = server.done(&["secrets", "show", "dispatch", "--store", "sqlite:taskhook.db"]);
    assert_eq!(with(&server, admin, &["secrets", "show", "dispatch"]).out, there);
    let refused = with(&server, &read.out, &["secrets", "show", "dispatch"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    let rotated = with(&server, admin, &["secrets", "rotate", "dispatch", "--keep", "2h"]);
    assert!(rotated.err.contains("signed with the old one too until 20"), "{}", rotated.err);
    assert!(rotated.out.starts_with("whsec_") && rotated.out != there, "{}", rotated.out);
    let log = with(&server, admin, &["audit", "-o", "json"]).out;
    let log: Value = serde_json::from_str(&log).unwrap();
    let addresses: Vec<&str> =
        log["data"].as_array().unwrap().iter().map(|entry| entry["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["127.0.0.1", "command line", "command line"]);
}

#[test]
fn what_is_no_key_is_not_sent() {
    let server = Serving::start();
    std::fs::write(server.folder.path().join("other"), "whsec_canary\n").unwrap();
    for ran in [
        with(&server, "whsec_canary", &["tasks", "list"]),
        with(&server, "thk_a\r\nb: c", &["tasks", "list"]),
        server.run(&["tasks", "list", "--key-file", "other"]),
        server.run(&["tasks", "list", "--key-file", "missing"]),
    ] {
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(!ran.err.contains("canary"), "{}", ran.err);
    }
}
