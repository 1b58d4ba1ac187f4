//! What only SQLite can get wrong: its settings, its schema, its lock and its file.

use taskhook::store::sqlite::{OpenError, SqlitePath, SqliteStore};
use taskhook::store::{BatchId, Store, Transaction};
use taskhook_core::{FollowUp, QueueKey};
use taskhook_sim::ready;

use super::backend::{Backend, Sqlite};
use super::inspect::Inspect;
use super::world::{World, after, completed, create, external, hosted, now};

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
        assert_eq!(settings.schema, "0003_retention");
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
    assert!(refused.contains("notes.txt") && refused.contains("not a database"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path.0).unwrap(), text);
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
fn a_secret_is_made_once() {
    let mut world = World::<Sqlite>::new();
    let made = world.backend.store().secret_or("dispatch", &[1, 2, 3]).unwrap();
    assert_eq!(made, [1, 2, 3]);
    world.restart();
    assert_eq!(world.backend.store().secret_or("dispatch", &[4, 5, 6]).unwrap(), [1, 2, 3]);
    assert_eq!(world.backend.store().secret_or("callback", &[7]).unwrap(), [7]);
}
