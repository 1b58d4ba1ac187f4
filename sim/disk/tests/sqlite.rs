//! SQLite on a disk that crashes: what it promises of its settings is what this disk shows of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use taskhook_disk::{Disk, Fault, NAME};

/// Pages of this many bytes are in the files.
const PAGE: i64 = 4_096;

fn luck(seed: u64) -> impl FnMut(u64) -> u64 + Send + 'static {
    let mut state = seed;
    move |end| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    }
}

fn connect(path: &Path) -> Connection {
    Connection::open_with_flags_and_vfs(path, OpenFlags::default(), NAME).unwrap()
}

/// A database whose log is synced as `synchronous` says, with a table of numbers.
fn database(disk: &Disk, synchronous: &str) -> Connection {
    let connection = connect(&disk.path("a.db"));
    let sql = "CREATE TABLE IF NOT EXISTS n (number INTEGER PRIMARY KEY, bytes BLOB)";
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = {synchronous}; {sql}"
        ))
        .unwrap();
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    connection
}

fn add(connection: &Connection, number: i64) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO n VALUES (?1, zeroblob(?2))", [number, 3 * PAGE])
}

fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM n", [], |row| row.get(0))
}

fn is_sound(connection: &Connection) -> bool {
    let checked = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    checked.is_ok_and(|text| text == "ok")
}

/// The process ends without a word: its connections are closed when they are of no use any more.
fn crash(disk: &Disk, connections: impl IntoIterator<Item = Connection>, power_goes: bool) {
    if power_goes {
        disk.lose_power();
    } else {
        disk.kill();
    }
    drop(connections.into_iter().collect::<Vec<_>>());
}

/// How many of ten commits are there after a power loss, for forty lucks, and whether the file is sound.
fn after_power_loss(synchronous: &str, checkpoints: bool) -> Vec<(i64, bool)> {
    let of = |seed| {
        let disk = Disk::new(luck(seed));
        let connection = database(&disk, synchronous);
        disk.sync_folder().unwrap();
        for number in 0..10 {
            add(&connection, number).unwrap();
            if checkpoints && number % 3 == 2 {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
        }
        crash(&disk, [connection], true);
        let connection = connect(&disk.path("a.db"));
        (count(&connection).unwrap_or(-1), is_sound(&connection))
    };
    (0..40).map(of).collect()
}

#[test]
fn what_was_committed_with_full_survives_every_power_loss() {
    assert_eq!(after_power_loss("FULL", false), [(10, true); 40]);
    assert_eq!(after_power_loss("FULL", true), [(10, true); 40]);
}

#[test]
fn with_normal_commits_are_lost_and_nothing_else() {
    let left = after_power_loss("NORMAL", true);
    assert!(left.iter().any(|(count, _)| *count < 10), "{left:?}");
    assert!(left.iter().all(|(count, sound)| *count >= 9 && *sound), "{left:?}");
}

#[test]
fn with_off_a_file_is_corrupt_now_and_then() {
    let left = after_power_loss("OFF", true);
    assert!(left.iter().any(|(count, sound)| *count < 0 || !sound), "{left:?}");
}

#[test]
fn the_death_of_a_process_loses_nothing() {
    let disk = Disk::new(luck(1));
    let connection = database(&disk, "OFF");
    add(&connection, 1).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM n").unwrap();
    crash(&disk, [connection], false);
    let connection = database(&disk, "OFF");
    assert_eq!(count(&connection).unwrap(), 1, "what was committed is there, and the lock is not");
    add(&connection, 2).unwrap();
}

#[test]
fn connections_share_the_log_and_its_locks() {
    let disk = Disk::new(luck(1));
    let writer = database(&disk, "FULL");
    let (reader, other) = (connect(&disk.path("a.db")), connect(&disk.path("a.db")));
    add(&writer, 1).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM n").unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = other.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    add(&writer, 2).unwrap();
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!((count(&reader).unwrap(), count(&other).unwrap()), (1, 2), "a reader sees one moment");
    let busy: i64 = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 1, "and the log waits for it");
    reader.execute_batch("COMMIT").unwrap();
    let busy: i64 = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!((busy, count(&reader).unwrap()), (0, 2));
}

#[test]
fn a_fault_comes_when_it_is_planned() {
    let disk = Disk::new(luck(1));
    let connection = database(&disk, "FULL");
    for (fault, code) in [
        (Fault::NoRoom, ErrorCode::DiskFull),
        (Fault::WriteFails, ErrorCode::SystemIoFailure),
        (Fault::SyncFails, ErrorCode::SystemIoFailure),
        (Fault::PowerLoss, ErrorCode::SystemIoFailure),
    ] {
        disk.plan(Some((0, fault)));
        let error = add(&connection, 1).unwrap_err();
        assert_eq!((error.sqlite_error_code(), disk.fault()), (Some(code), Some(fault)));
    }
    assert!(count(&connection).is_err(), "without power there is nothing");
    crash(&disk, [connection], false);
    assert_eq!(disk.fault(), None);
    assert_eq!(disk.happened().get("a power loss"), Some(&1));
}

#[test]
fn a_full_disk_takes_what_needs_no_new_room() {
    let disk = Disk::new(luck(1));
    let connection = database(&disk, "FULL");
    add(&connection, 1).unwrap();
    disk.set_full(true);
    assert_eq!(add(&connection, 2).unwrap_err().sqlite_error_code(), Some(ErrorCode::DiskFull));
    disk.set_full(false);
    add(&connection, 2).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
    disk.set_full(true);
    connection.execute("DELETE FROM n WHERE number = 1", []).unwrap();
    assert_eq!(count(&connection).unwrap(), 1, "the log begins anew within its length");
}

#[test]
fn a_file_that_was_made_may_be_gone_and_one_that_was_deleted_may_be_back() {
    let of = |seed| {
        let disk = Disk::new(luck(seed));
        disk.put(&disk.path("a.db-journal"), Vec::new());
        let connection = connect(&disk.path("a.db"));
        // Deletes a journal that belongs to nothing.
        connection.execute_batch("PRAGMA journal_mode = MEMORY; CREATE TABLE n (number)").unwrap();
        crash(&disk, [connection], true);
        (disk.exists(&disk.path("a.db")), disk.exists(&disk.path("a.db-journal")))
    };
    let left: Vec<(bool, bool)> = (0..40).map(of).collect();
    for there in [true, false] {
        assert!(left.iter().any(|(made, _)| *made == there), "{left:?}");
    }
    let synced = |seed| {
        let disk = Disk::new(luck(seed));
        let connection = connect(&disk.path("a.db"));
        connection.execute_batch("PRAGMA journal_mode = MEMORY; CREATE TABLE n (number)").unwrap();
        disk.sync_folder().unwrap();
        crash(&disk, [connection], true);
        disk.exists(&disk.path("a.db"))
    };
    assert!((0..40).all(synced));
}

#[test]
fn the_name_of_a_log_is_durable_with_the_first_sync_of_sqlite_and_with_no_other() {
    let is_there = |synchronous, seed| {
        let disk = Disk::new(luck(seed));
        let connection = database(&disk, synchronous);
        let log = disk.path("a.db-wal");
        disk.open(&log).unwrap().sync().unwrap();
        disk.rewrite(&log).unwrap();
        crash(&disk, [connection], true);
        disk.exists(&log)
    };
    assert!((0..40).all(|seed| is_there("FULL", seed)));
    for there in [true, false] {
        assert!((0..40).any(|seed| is_there("OFF", seed) == there), "{there}");
    }
}

#[test]
fn something_else_happens_between_two_steps() {
    let disk = Disk::new(luck(1));
    let writer = database(&disk, "FULL");
    let other = connect(&disk.path("a.db"));
    add(&writer, 1).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    disk.between(2, move || {
        let copied = other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2));
        tell.send(copied.unwrap()).unwrap();
    });
    add(&writer, 2).unwrap();
    assert!(told.recv().unwrap() > 0, "a checkpoint in the midst of a commit");
    assert_eq!(count(&writer).unwrap(), 2);
}

#[test]
fn the_same_luck_gives_the_same_bytes() {
    let of = |seed| {
        let disk = Disk::new(luck(seed));
        let connection = database(&disk, "OFF");
        (0..5).for_each(|number| {
            add(&connection, number).unwrap();
        });
        crash(&disk, [connection], true);
        // Of the log, what is random is SQLite's alone: which bytes are there is not.
        let bytes = disk.bytes(&disk.path("a.db")).unwrap_or_default();
        (bytes, disk.bytes(&disk.path("a.db-wal")).map(|log| log.len()), disk.happened())
    };
    (0..20).for_each(|seed| assert_eq!(of(seed), of(seed), "{seed}"));
}

/// What is there in the end, for each of two hundred lucks.
fn in_the_end(happens: impl Fn(&Disk)) -> Vec<Option<i64>> {
    let of = |seed| {
        let disk = Disk::new(luck(seed));
        happens(&disk);
        let connection = connect(&disk.path("a.db"));
        is_sound(&connection).then(|| count(&connection).unwrap())
    };
    (0..200).map(of).collect()
}

/// A process whose third commit fails, and one that finds it in the log, copies it, and cuts the log off.
fn a_failed_commit_is_found(disk: &Disk, rewrites: bool) {
    let connection = database(disk, "FULL");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    (1..=2).for_each(|number| assert!(add(&connection, number).is_ok()));
    disk.plan(Some((0, Fault::SyncFails)));
    assert!(add(&connection, 3).is_err());
    crash(disk, [connection], false);
    if rewrites {
        disk.rewrite(&disk.path("a.db-wal")).unwrap();
    }
    let connection = connect(&disk.path("a.db"));
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert_eq!(count(&connection).unwrap(), 3, "the cache has it all");
    crash(disk, [connection], true);
}

#[test]
fn a_log_whose_sync_failed_is_there_until_the_power_goes() {
    let believed = in_the_end(|disk| a_failed_commit_is_found(disk, false));
    assert!(believed.iter().any(|found| found.is_none_or(|count| count < 3)), "{believed:?}");
    let rewritten = in_the_end(|disk| a_failed_commit_is_found(disk, true));
    assert!(rewritten.iter().all(|found| *found == Some(3)), "{rewritten:?}");
}

/// A slice of the log is copied, whose sync fails if `fails`; nobody cares, and the log begins anew.
fn a_checkpoint_is_not_asked_about(disk: &Disk, fails: bool) {
    let [writer, copier, reader] = [(); 3].map(|()| database(disk, "FULL"));
    let file = disk.open(&disk.path("a.db")).unwrap();
    let copy = || copier.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    (1..=2).for_each(|number| assert!(add(&writer, number).is_ok()));
    reader.execute_batch("BEGIN; SELECT count(*) FROM n").unwrap();
    add(&writer, 3).unwrap();
    copy().unwrap();
    disk.plan(fails.then_some((0, Fault::SyncOfDataFails)));
    assert_eq!(file.sync().is_err(), fails, "who holds the log up leaves the sync to the product");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(copy().is_err(), fails, "each handle hears of it");
    copy().unwrap();
    (4..=5).for_each(|number| assert!(add(&writer, number).is_ok()));
    assert!(disk.happened().contains_key("a log that begins anew"));
    crash(disk, [writer, copier, reader], true);
}

#[test]
fn what_a_checkpoint_has_lost_is_gone_when_the_log_has_begun_anew() {
    let overlooked = in_the_end(|disk| a_checkpoint_is_not_asked_about(disk, true));
    assert!(overlooked.iter().any(|found| *found != Some(5)), "{overlooked:?}");
    let synced = in_the_end(|disk| a_checkpoint_is_not_asked_about(disk, false));
    assert!(synced.iter().all(|found| *found == Some(5)), "{synced:?}");
}
