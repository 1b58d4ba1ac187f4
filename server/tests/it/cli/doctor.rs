//! `taskhook doctor` and `taskhook secrets`: a store looked at directly.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use taskhook::clock::wall_clock;
use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use tempfile::TempDir;

use crate::cli::program::{Answering, Serving, taskhook};

/// A store at rest with tasks in many states.
fn store() -> TempDir {
    let server = Serving::start();
    let worker = Answering::once("404 Not Found", "");
    server.run(&["tasks", "create", &worker.url, "--id", "failed", "--wait"]);
    for arguments in [
        &["tasks", "create", "--id", "running"][..],
        &["tasks", "create", "--id", "blocked", "--after", "running"],
        &["tasks", "create", "--id", "scheduled", "--delay", "1h"],
        &["tasks", "create", "--id", "skipped", "--after", "failed"],
        &["tasks", "create", "--id", "succeeded"],
        &["send", "task_completed", "succeeded"],
        &["send", "task_completed", "parked"],
    ] {
        server.done(arguments);
    }
    let (_, _, folder) = server.stop();
    // Opening it writes the log into the file, which is then complete by itself.
    drop(SqliteStore::open(&SqlitePath(folder.path().join("taskhook.db")), wall_clock).unwrap());
    folder
}

fn violated(store: &Path, damage: &str) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("taskhook.db");
    std::fs::copy(store, &copy).unwrap();
    let connection = Connection::open(&copy).unwrap();
    let key = |name: &str| {
        let sql = "SELECT key FROM name WHERE text = ?1 AND kind = 1";
        connection.query_row(sql, [name], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mut sql = damage.to_string();
    for name in ["failed", "running", "blocked", "scheduled", "skipped", "succeeded", "parked"] {
        sql = sql.replace(&format!("<{name}>"), &key(name).to_string());
    }
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let inspection = SqliteStore::open(&SqlitePath(copy), wall_clock).unwrap().inspect().unwrap();
    inspection.violations.into_iter().map(|violation| violation.rule).collect()
}

#[test]
fn every_rule_finds_what_breaks_it() {
    let folder = store();
    let store = folder.path().join("taskhook.db");
    assert_eq!(violated(&store, ""), [""; 0]);
    for (damage, rule) in [
        ("UPDATE task SET state = 10 WHERE key = <scheduled>", "every task is in exactly one state"),
        ("DELETE FROM name WHERE key = <running>", "every task has a name"),
        ("DELETE FROM spec WHERE task = <running>", "every task has a name"),
        ("UPDATE task SET last_change = 1000 WHERE key = <running>", "every task has a name"),
        ("DELETE FROM task WHERE key = <scheduled>", "no task is lost"),
        ("UPDATE task SET dependencies_pending = 2 WHERE key = <blocked>", "every task counts"),
        ("UPDATE edge SET status = 2 WHERE child = <skipped>", "every task counts"),
        ("INSERT INTO edge VALUES (<running>, 1000, 1, 2, 0)", "every edge leads to a task"),
        ("UPDATE edge SET parent = 1000 WHERE child = <blocked>", "every edge leads to a task"),
        ("INSERT INTO name VALUES (1000, 1, 1, 'nobody')", "every name of a task"),
        (
            "INSERT INTO history VALUES (1000, 1000, 0, 0, 1, NULL, 1, NULL, NULL, NULL)",
            "every entry of a history",
        ),
        ("UPDATE task SET wake_at = 1 WHERE key = <succeeded>", "a task that has ended is at rest"),
        ("UPDATE task SET ended_at = NULL WHERE key = <failed>", "a task that has ended is at rest"),
        ("UPDATE task SET ended_at = 1 WHERE key = <running>", "a task that has not ended"),
        ("UPDATE task SET wake_at = NULL WHERE key = <scheduled>", "a task that has not ended"),
        ("UPDATE task SET flags = flags & ~32 WHERE key = <running>", "an attempt is open exactly"),
        ("UPDATE task SET flags = flags | 32 WHERE key = <scheduled>", "an attempt is open exactly"),
        (
            "UPDATE edge SET status = 1 WHERE child = <skipped>;
             UPDATE task SET dependencies_pending = 1, dependencies_broken = 0 WHERE key = <skipped>",
            "those that wait for a task are told of its end",
        ),
        (
            "UPDATE parked SET task = <running>; UPDATE event SET task = <running> WHERE outcome = 5;
             DELETE FROM name WHERE key = <parked>",
            "a webhook waits only",
        ),
        ("UPDATE event SET outcome = 1", "a webhook that waits is kept"),
        ("INSERT INTO held_key VALUES (x'00', <running>, NULL)", "a unique key is held by a task"),
        ("UPDATE task SET unique_key = x'00' WHERE key = <running>", "a task that has not ended holds"),
        ("UPDATE queue SET open = open + 1", "every queue counts the attempts"),
        ("UPDATE task_count SET count = count + 1", "every queue counts its tasks"),
        ("INSERT INTO key_use VALUES (1, 7, 1, 0, 0, 0, NULL)", "every concurrency key counts"),
        (
            "UPDATE task SET state = 3, host = 1, flags = 0, wake_at = NULL WHERE key = <scheduled>",
            "every task that is queued stands in a line",
        ),
        ("INSERT INTO schedule VALUES (1000, '{}', 0, 0, 0, 0, NULL, '{}')", "every schedule has a name"),
        (
            "INSERT INTO name VALUES (1000, 1, 4, 'nightly'); UPDATE task SET schedule = 1000, scheduled_for = 5 WHERE key = <running>",
            "no two tasks are of one instant",
        ),
        ("INSERT INTO bulk VALUES (1000, '{}', 1, 5, NULL, 0, 0, 0, 0, 0, 0, 5)", "a bulk that runs"),
        (
            "INSERT INTO name VALUES (1000, 1, 5, 'b'); INSERT INTO bulk VALUES (1000, '{}', 2, 5, 6, 0, 0, 0, 0, 0, 0, 7)",
            "a bulk that runs",
        ),
        (
            "INSERT INTO name VALUES (1000, 1, 5, 'b'); INSERT INTO bulk VALUES (1000, '{}', 2, 5, 6, 0, 0, 2, 1, 0, 0, NULL)",
            "every task that a bulk has found",
        ),
        ("UPDATE task SET flags = flags | 16 WHERE key = <running>", "nothing is left aside"),
        ("INSERT INTO kept VALUES (1, 1, 1, 0, 0, 0, 1)", "nothing is left aside"),
    ] {
        let found = violated(&store, damage);
        // Whatever a task's state is changed to, its queue counted another one.
        let others = found.iter().filter(|found| !found.starts_with(rule));
        let mut others = others.filter(|found| !found.starts_with("every queue counts"));
        assert!(found.iter().any(|found| found.starts_with(rule)), "{damage}: {found:?}");
        assert_eq!(others.next(), None, "{damage}: {found:?}");
    }
    // What is kept for a later transaction is on its way, not lost.
    for under_way in [
        "UPDATE edge SET status = 1 WHERE child = <skipped>;
         UPDATE task SET dependencies_pending = 1, dependencies_broken = 0 WHERE key = <skipped>;
         INSERT INTO kept VALUES (1, 3, <failed>, 0, 0, 0, 0)",
        "UPDATE parked SET task = <running>; UPDATE event SET task = <running> WHERE outcome = 5;
         DELETE FROM name WHERE key = <parked>; INSERT INTO kept VALUES (1, 2, <running>, 0, 0, 0, 0)",
        // The end of the dependency is known, its dependent is not told of it yet.
        "UPDATE edge SET parent = 1000 WHERE child = <blocked>;
         INSERT INTO kept VALUES (1, 5, <blocked>, 1000, 0, 6, 0)",
        // A long history goes in pieces.
        "INSERT INTO history VALUES (1000, 1000, 0, 0, 1, NULL, 1, NULL, NULL, NULL);
         INSERT INTO left_history VALUES (1000)",
    ] {
        assert_eq!(violated(&store, under_way), [""; 0], "{under_way}");
    }
}

#[test]
fn a_store_at_rest_is_examined() {
    let folder = store();
    let sound = taskhook(&["doctor", "--store", "sqlite:taskhook.db"]).within(folder.path()).run();
    assert_eq!(sound.code, 0, "{}{}", sound.out, sound.err);
    for line in ["journal_mode  wal", "synchronous   FULL", "tasks         6", "  skipped     1"] {
        assert!(sound.out.lines().any(|found| found == line), "{line:?} is not in:\n{}", sound.out);
    }
    assert!(sound.out.contains("2, of which 1 wait for their task"), "{}", sound.out);
    assert!(sound.out.ends_with("nothing is lost, and nothing contradicts itself\n"), "{}", sound.out);

    let connection = Connection::open(folder.path().join("taskhook.db")).unwrap();
    connection.execute("UPDATE task SET wake_at = 1 WHERE state = 6", []).unwrap();
    drop(connection);
    let broken = taskhook(&["doctor", "--store", "sqlite:taskhook.db"]).within(folder.path()).run();
    assert_eq!(broken.code, 1);
    assert!(broken.out.contains("violated 1x: a task that has ended is at rest"), "{}", broken.out);
    assert!(broken.out.contains("\n  task succeeded\n"), "{}", broken.out);
    let broken =
        taskhook(&["doctor", "--store", "sqlite:taskhook.db", "-o", "json"]).within(folder.path()).run();
    let report: Value = serde_json::from_str(&broken.out).unwrap();
    assert_eq!(
        (broken.code, &report["ok"], &report["violations"][0]["count"]),
        (1, &false.into(), &1.into())
    );
}

#[test]
fn a_store_is_looked_at_only_while_no_server_runs_on_it() {
    let server = Serving::start();
    let well = server.done(&["doctor"]);
    assert_eq!(well, format!("server   {}\nhealthz  ok\nreadyz   ok\n", server.url));
    assert!(server.store().exists());
    let refused = server.run(&["doctor", "--store", "sqlite:taskhook.db"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("another taskhook has the store"), "{}", refused.err);
    // A secret is only read, so the server is in nobody's way.
    let meanwhile = server.done(&["secrets", "show", "dispatch"]);

    let (_, _, folder) = server.stop();
    let show = |arguments: &[&str]| taskhook(arguments).within(folder.path()).run();
    let secret = show(&["secrets", "show", "dispatch"]);
    assert_eq!(secret.code, 0, "{}", secret.err);
    assert!(secret.out.starts_with("whsec_"), "{}", secret.out);
    assert_eq!(secret.out, meanwhile);
    let json = show(&["secrets", "show", "dispatch", "--store", "sqlite:taskhook.db", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (json["name"].as_str(), json["secret"].as_str()),
        (Some("dispatch"), Some(secret.out.trim_end()))
    );

    for arguments in [
        &["doctor", "--store", "sqlite:nothing.db"][..],
        &["secrets", "show", "dispatch", "--store", "sqlite:nothing.db"],
    ] {
        let nothing = show(arguments);
        assert_eq!(
            (nothing.code, nothing.err.as_str()),
            (3, "error: there is no store nothing.db\n"),
            "{arguments:?}"
        );
    }
    assert!(!folder.path().join("nothing.db").exists(), "looking makes nothing");
}

#[test]
fn a_server_that_is_held_says_so_and_how_to_resume_it() {
    let server = Serving::start_held();
    let url = server.url.clone();
    server.done(&["tasks", "create", "http://127.0.0.1:9/", "--id", "waiting"]);
    let waits = server.done(&["tasks", "get", "waiting"]);
    assert!(waits.contains("the server to be resumed, which is held since 2"), "{waits}");
    let well = server.done(&["doctor"]);
    let told = format!(": nothing is sent; to resume: curl -X POST {url}/v1/resume");
    assert!(well.lines().any(|line| line.starts_with("held     since 2") && line.ends_with(&told)), "{well}");
    let report: Value = serde_json::from_str(&server.done(&["doctor", "-o", "json"])).unwrap();
    assert!(report["held_since"].is_string() && report["ok"] == true, "{report}");
    let (_, log, folder) = server.stop();
    assert!(log.contains("  held      since 2") && log.contains(&told), "{log}");
    assert!(log.contains(" WARN ") && log.contains("held: nothing is sent until POST /v1/resume"), "{log}");

    let rest = taskhook(&["doctor", "--store", "sqlite:taskhook.db"]).within(folder.path()).run();
    assert_eq!(rest.code, 0, "{}", rest.err);
    assert!(rest.out.contains("a server on it sends nothing until it is resumed"), "{}", rest.out);
    // Held is a fact of the store.
    let server = Serving::start_in(folder);
    assert!(server.done(&["doctor"]).contains("\nheld     since 2"));
}

#[test]
fn a_secret_is_rotated_while_no_server_runs() {
    let server = Serving::start();
    let refused = server.run(&["secrets", "rotate", "dispatch"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("taskhook.db"), "{}", refused.err);
    let before = server.done(&["secrets", "show", "dispatch"]);
    let (_, _, folder) = server.stop();
    let run = |arguments: &[&str]| taskhook(arguments).within(folder.path()).run();
    let rotated = run(&["secrets", "rotate", "dispatch", "--keep", "2h"]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    assert!(
        rotated.err.starts_with("dispatches are signed with the old one too until 20"),
        "{}",
        rotated.err
    );
    assert_ne!(rotated.out, before);
    assert_eq!(run(&["secrets", "show", "dispatch"]).out, rotated.out);
    assert_eq!(run(&["secrets", "rotate", "dispatch", "--keep", "soon"]).code, 2);
    assert_eq!(run(&["secrets", "rotate", "dispatch", "--store", "sqlite:nothing.db"]).code, 3);
    assert_eq!(run(&["doctor", "--store", "sqlite:taskhook.db"]).code, 0);
}
