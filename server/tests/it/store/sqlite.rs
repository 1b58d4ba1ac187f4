//! What only SQLite can get wrong: its settings, its schema, its lock and its file.

use std::time::Duration;

use taskhook::store::sqlite::{OpenError, SqlitePath, SqliteStore, StoredSecret};
use taskhook::store::{BatchId, Store, Transaction};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{EventId, EventKind, FollowUp, Outcome, QueueKey, limits};
use taskhook_sim::ready;

use super::backend::{Backend, Sqlite};
use super::inspect::Inspect;
use super::world::{World, after, completed, create, delivered, event, external, heard, hosted, now};

/// Changes the file of a closed store.
fn tamper(world: &mut World<Sqlite>, sql: &str) -> SqlitePath {
    world.backend.close();
    let path = world.backend.path();
    rusqlite::Connection::open(&path.0).unwrap().execute_batch(sql).unwrap();
    path
}

fn refusal(path: &SqlitePath) -> OpenError {
    SqliteStore::open(path, now).expect_err("the store is refused")
}

#[test]
fn the_settings_that_durability_needs_are_in_force() {
    let mut world = World::<Sqlite>::new();
    for _ in 0..2 {
        let settings = world.backend.store().settings().unwrap();
        assert_eq!((settings.journal_mode.as_str(), settings.synchronous), ("wal", 2));
        assert_eq!(settings.schema, "0012_signer");
        assert_eq!(settings.sqlite_version, rusqlite::version());
        world.restart();
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let mut world = World::<Sqlite>::new();
    world.settle(&[create([external("a")])]);
    let path = tamper(&mut world, "INSERT INTO migration (name, hash) VALUES ('9999_future', x'00')");
    let refused = refusal(&path);
    assert!(matches!(&refused, OpenError::Newer { found } if found == "9999_future"), "{refused}");
    // It is refused before anything is changed, so that the version that wrote it can go on.
    tamper(&mut world, "DELETE FROM migration WHERE name = '9999_future'");
    world.restart();
    assert_eq!(world.backend.tasks().len(), 1);
}

#[test]
fn another_form_of_a_migration_is_refused() {
    let mut world = World::<Sqlite>::new();
    let path = tamper(&mut world, "UPDATE migration SET hash = x'00'");
    let refused = refusal(&path);
    assert!(matches!(&refused, OpenError::Changed(name) if name == "0001_tasks"), "{refused}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = SqlitePath(folder.path().join("notes.txt"));
    let text = "this is not a database, however one looks at it\n".repeat(100);
    std::fs::write(&path.0, &text).unwrap();
    let refused = refusal(&path).to_string();
    assert!(refused.contains("notes.txt is not a store of Taskhook"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path.0).unwrap(), text);
}

#[test]
fn a_database_of_somebody_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = SqlitePath(folder.path().join("music.db"));
    rusqlite::Connection::open(&path.0).unwrap().execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    let before = std::fs::read(&path.0).unwrap();
    let refused = refusal(&path);
    assert!(matches!(&refused, OpenError::NotAStore(path) if path.ends_with("music.db")), "{refused}");
    assert_eq!(std::fs::read(&path.0).unwrap(), before);
}

#[test]
fn damage_is_found_wherever_it_is() {
    let mut world = World::<Sqlite>::new();
    for number in 0..40 {
        world.settle(&[create([external(&format!("a{number}"))])]);
    }
    let path = world.backend.path();
    world.backend.close();
    let sound = std::fs::read(&path.0).unwrap();
    // One page after the other, but for the first, without which it is no database at all.
    let mut found = 0;
    for page in 1..sound.len() / 4_096 {
        let mut damaged = sound.clone();
        damaged[page * 4_096..(page + 1) * 4_096].fill(0xa5);
        std::fs::write(&path.0, &damaged).unwrap();
        match SqliteStore::open_sound(&path, now, Duration::from_secs(60)) {
            Ok(_) => {}
            Err(OpenError::Corrupt { .. }) => found += 1,
            Err(refused) => panic!("page {page}: {refused}"),
        }
    }
    assert_eq!(found, sound.len() / 4_096 - 1);
    std::fs::write(&path.0, &sound).unwrap();
    SqliteStore::open_sound(&path, now, Duration::from_secs(60)).unwrap();
}

#[test]
fn a_second_opener_is_refused() {
    let mut world = World::<Sqlite>::new();
    world.settle(&[create([external("a")])]);
    let path = world.backend.path();
    let refused = refusal(&path);
    assert!(matches!(refused, OpenError::Locked(_)), "{refused}");
    assert!(refused.to_string().contains("store.db"), "{refused}");
    // The first one goes on undisturbed, and the second one may have it afterwards.
    world.settle(&[create([external("b")])]);
    world.backend.close();
    drop(SqliteStore::open(&path, now).unwrap());
}

#[test]
fn a_transaction_that_the_process_did_not_survive_is_gone() {
    let mut world = World::<Sqlite>::new();
    world.settle(&[create([hosted("a", "h"), external("b")])]);
    world
        .settle(&[create([after(external("c"), &[("b", taskhook_core::On::Succeeded)])]), completed(1, "b")]);
    let before = world.backend.all();

    // What is on disk in the middle of a transaction, as a crash leaves it. Another process copies the files:
    // SQLite's locks are gone once this one closes them.
    let folder = tempfile::tempdir().unwrap();
    let path = world.backend.path();
    let mut tx = ready(world.backend.store().begin(BatchId(1))).unwrap();
    ready(tx.keep(&[FollowUp::Look(QueueKey::DEFAULT)])).unwrap();
    for part in ["", "-wal"] {
        let name = format!("{}{part}", path.0.display());
        let copied = std::process::Command::new("cp").arg(name).arg(folder.path()).status().unwrap();
        assert!(copied.success());
    }
    drop(tx);
    assert_eq!(world.backend.all(), before);

    let mut crashed = World::on(Sqlite::on(folder), world.clock.clone());
    assert_eq!(crashed.backend.all(), before, "everything committed, and nothing else");
    crashed.settle(&[create([external("d")])]);
    assert_eq!(crashed.backend.tasks().len(), 4);
}

#[test]
fn a_secret_is_kept_sealed_and_what_it_replaces_is_gone() {
    let mut world = World::<Sqlite>::new();
    let store = world.backend.store();
    assert_eq!(store.secret("dispatch").unwrap(), None);
    assert!(!store.has_sealed().unwrap());
    store.keep_secret("dispatch", &[1, 2, 3]).unwrap();
    world.restart();
    let store = world.backend.store();
    let kept = |value: &[u8]| Some(StoredSecret { value: value.into(), is_sealed: true });
    assert_eq!(store.secret("dispatch").unwrap(), kept(&[1, 2, 3]));
    store.keep_secret("dispatch", &[4, 5]).unwrap();
    assert_eq!(store.secret("dispatch").unwrap(), kept(&[4, 5]));
    assert!(store.has_sealed().unwrap());
}

#[test]
fn a_history_that_is_too_long_for_one_step_goes_in_pieces() {
    let mut world = World::<Sqlite>::new();
    world.settle(&[create([external("long"), external("other")])]);
    for number in 0..700 {
        world.settle(&[event(heard(number, "long", EventKind::Heartbeat))]);
    }
    world.settle(&[completed(1_000, "long")]);
    world.clock.advance(Duration::from_secs(7_200));
    let ages = Ages { tasks: Some(Duration::from_secs(3_600)), ..Ages::NEVER };
    let step = world.transact(async |tx| tx.prune(Place::FIRST, &ages, limits::PRUNED_ROWS_MAX).await);
    assert_eq!((step.tasks, step.rows), (1, limits::PRUNED_ROWS_MAX));
    // The task is gone for everybody, and what is left of it is no contradiction, whoever opens the store next.
    world.restart();
    assert_eq!(world.backend.tasks().len(), 1);
    assert_eq!(world.backend.store().inspect().unwrap().violations, []);
    world.sweep(&ages, limits::PRUNED_ROWS_MAX);
    assert_eq!(world.backend.store().inspect().unwrap().violations, []);
    let path = world.backend.path();
    let reader = rusqlite::Connection::open(&path.0).unwrap();
    let entries: i64 = reader.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
    let other = world.history("other").len();
    assert_eq!(usize::try_from(entries), Ok(other));
}

/// Nobody must walk over what is kept to find what is old, or due.
#[test]
fn what_is_looked_for_in_steps_is_found_by_an_index() {
    let mut world = World::<Sqlite>::new();
    world.settle(&[create([external("a")])]);
    let reader = rusqlite::Connection::open(world.backend.path().0).unwrap();
    for (sql, index) in [
        (
            "SELECT key FROM task INDEXED BY task_ended WHERE queue = 1 AND ended_at IS NOT NULL
                 AND (ended_at, key) > (5, 6) ORDER BY ended_at, key LIMIT 1",
            "SEARCH task USING COVERING INDEX task_ended (queue=? AND ended_at>?)",
        ),
        ("DELETE FROM edge WHERE child = 5", "SEARCH edge USING INDEX edge_child (child=?)"),
        (
            "SELECT 1 FROM kept WHERE subject = 5 AND kind = 3",
            "SEARCH kept USING INDEX kept_subject (subject=?)",
        ),
        (
            "SELECT key, wake_at FROM bulk WHERE wake_at IS NOT NULL ORDER BY wake_at, key LIMIT 5",
            "SEARCH bulk USING COVERING INDEX bulk_due (wake_at>?)",
        ),
        (
            "SELECT key FROM bulk WHERE state <> 1 ORDER BY key DESC LIMIT 1 OFFSET 5",
            "SCAN bulk USING INDEX bulk_ended",
        ),
        (
            "SELECT wake_at, key FROM task WHERE state = 5 AND watch IS NOT NULL AND wake_at <= 5 ORDER BY wake_at",
            "SEARCH task USING INDEX task_watched (wake_at<?)",
        ),
        (
            "SELECT queue, count(*) FROM task
                 WHERE watch IS NOT NULL AND state = 5 AND json_extract(watch, '$.count') > 0 GROUP BY queue",
            "SCAN task USING INDEX task_overdue",
        ),
        (
            "SELECT queue, rank, concurrency_key, host, due_at, key FROM task INDEXED BY task_ready
                 WHERE state = 3 AND (queue, rank, concurrency_key, host, due_at, key) > (1, 2, 3, 4, 5, 6)
                 ORDER BY queue, rank, concurrency_key, host, due_at, key",
            "SEARCH task USING COVERING INDEX task_ready ((queue,rank,concurrency_key,host,due_at)>(?,?,?,?,?))",
        ),
    ] {
        let plan: Vec<String> = reader
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap()
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        assert_eq!(plan, [index]);
    }
}

#[test]
fn a_store_from_before_retention_keeps_what_it_remembers() {
    let mut world = World::<Sqlite>::new();
    let said = |number| event(delivered(heard(number, "a", EventKind::Heartbeat), "d"));
    world.settle(&[create([external("a")]), said(1)]);
    let before = world.backend.all();
    tamper(
        &mut world,
        "DELETE FROM migration WHERE name >= '0003';
         DROP INDEX task_overdue; DROP INDEX task_watched; ALTER TABLE task DROP COLUMN oversight; ALTER TABLE task DROP COLUMN watch;
         ALTER TABLE spec DROP COLUMN status; ALTER TABLE spec DROP COLUMN cancel_url; ALTER TABLE spec DROP COLUMN signer;
         DELETE FROM name WHERE key = -2; DELETE FROM queue WHERE key = -2;
         ALTER TABLE spec DROP COLUMN external_id; DROP TABLE external; ALTER TABLE spec DROP COLUMN correlate;
         ALTER TABLE event DROP COLUMN external_id; ALTER TABLE event DROP COLUMN query;
         DROP TABLE api_key; DROP TABLE audit;
         DROP TABLE bulk; DROP TABLE source; DROP TABLE secret_use;
         DELETE FROM name WHERE kind = 6;
         ALTER TABLE task DROP COLUMN source; ALTER TABLE event DROP COLUMN secret; ALTER TABLE event DROP COLUMN may_report;
         ALTER TABLE parked DROP COLUMN source; ALTER TABLE secret DROP COLUMN sealed;
         DROP TABLE hold; DROP TABLE schedule; DROP INDEX task_of_schedule;
         ALTER TABLE task DROP COLUMN schedule; ALTER TABLE task DROP COLUMN scheduled_for;
         DROP INDEX task_ended; DROP INDEX edge_child; DROP INDEX kept_subject;
         DROP TABLE left_history; DROP TABLE swept;
         CREATE TABLE claim_now AS SELECT claim, event, day * 86400000000 + 5 AS at FROM claim;
         DROP TABLE claim;
         CREATE TABLE claim (claim BLOB NOT NULL PRIMARY KEY, event BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO claim SELECT claim, event, at FROM claim_now;
         DROP TABLE claim_now;
         DELETE FROM migration WHERE name = '0006_unique';
         ALTER TABLE task DROP COLUMN unique_key; ALTER TABLE task DROP COLUMN unique_for;
         ALTER TABLE spec DROP COLUMN unique_key; DROP TABLE held_key",
    );
    world.restart();
    assert_eq!(world.backend.all(), before);
    assert_eq!(world.submit(said(2)), Outcome::Duplicate(EventId(1_u128.to_be_bytes())));
}
