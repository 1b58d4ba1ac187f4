//! The SQLite store as a world's ground, on a disk that crashes.
//!
//! It is the real one: its schema, its settings, its start, its checkpoints; only SQLite's file system is another, and
//! what copies beside the writer does so between two steps of it that luck has drawn, in the same thread. What the oracle
//! asks is read through a connection as the server's readers have it, opened with the process and gone with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhook::store::read::{self, ReadError};
use taskhook::store::row;
use taskhook::store::sqlite::platform::{FileHandle, Held, Platform};
use taskhook::store::sqlite::{Copier, Pace, SqlitePath, SqliteStore};
use taskhook_core::{EventId, EventKey, State, Task, TaskKey, Timestamp};
use taskhook_disk::{Disk, Fault, Handle, Lock};

use super::features::{Feature, Plan};
use super::ground::{Ground, Trouble};
use super::told;
use crate::clock::Clock;
use crate::memory::Entry;
use crate::model::Verdict;
use crate::random::Random;

/// The SQLite store on a disk that crashes.
#[derive(Debug)]
pub struct SqliteGround {
    stand: Stand,
    path: SqlitePath,
    reader: Option<Connection>,
    /// Somebody else who reads, now and then through several commits: the log cannot begin anew meanwhile.
    lingering: Option<Connection>,
    /// One time in so many they begin, or end.
    lingers: u64,
    random: Random,
    is_full: bool,
    /// The store was lost or damaged in part since it was last looked at whole.
    is_suspect: bool,
}

/// What the store stands on.
#[derive(Debug)]
struct Stand {
    disk: Disk,
    copier: Slot,
    pace: Pace,
}

/// Where what copies beside the writer waits for its turns.
type Slot = Arc<Mutex<Option<Copier>>>;

thread_local! {
    /// A store is given a function for its clock: it is that of the world which this thread simulates.
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

fn now() -> Timestamp {
    CLOCK.with_borrow(|clock| clock.as_ref().map_or(Timestamp(0), Clock::now))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the copier have its turn, if there is one, and unless this is between two steps of its own.
fn turn(slot: &Slot) {
    if let Ok(slot) = slot.try_lock()
        && let Some(copier) = slot.as_ref()
    {
        copier.turn();
    }
}

#[derive(Debug)]
struct DiskHandle(Handle);

impl FileHandle for DiskHandle {
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[derive(Debug)]
struct DiskLock {
    _lock: Lock,
}

impl Held for DiskLock {}

#[derive(Debug)]
struct Beside(Slot);

impl Held for Beside {}

impl Drop for Beside {
    fn drop(&mut self) {
        let copier = held(&self.0).take();
        drop(copier);
    }
}

impl Platform for Stand {
    fn vfs(&self) -> Option<&str> {
        Some(taskhook_disk::NAME)
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.into()
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        Ok(self.disk.lock(path).map(|lock| Box::new(DiskLock { _lock: lock }) as Box<dyn Held>))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        Ok(Arc::new(DiskHandle(self.disk.open(path)?)))
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        self.disk.rewrite(path)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn beside(&self, copier: Copier) -> io::Result<Box<dyn Held>> {
        *held(&self.copier) = Some(copier);
        Ok(Box::new(Beside(self.copier.clone())))
    }
}

/// A store that has just been made and closed: to make one takes longer than most worlds.
fn template() -> Vec<u8> {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let stand = Stand::new(Disk::new(|_| 0), Pace::DEFAULT);
        let path = SqlitePath(stand.disk.path("store.db"));
        let made = SqliteStore::open_on(&stand, &path, now).map(drop);
        made.ok().and_then(|()| stand.disk.bytes(&path.0)).unwrap_or_default()
    };
    TEMPLATE.get_or_init(make).clone()
}

impl Stand {
    fn new(disk: Disk, pace: Pace) -> Stand {
        Stand { disk, copier: Slot::default(), pace }
    }
}

impl SqliteGround {
    /// What a query answers, where there is anybody to ask.
    fn rows<T>(&self, sql: &str, of: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let Some(reader) = &self.reader else { return Vec::new() };
        let rows = reader.prepare_cached(sql).and_then(|mut statement| {
            let rows = statement.query_map([], of)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        });
        self.can_be_read(rows.map_err(ReadError::from)).unwrap_or_default()
    }

    /// Nothing can be read without power, and anything with it.
    fn can_be_read<T>(&self, read: Result<T, ReadError>) -> Option<T> {
        match read {
            Err(error) if self.is_up() => panic!("{error}"),
            read => read.ok(),
        }
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, key: impl rusqlite::ToSql) -> Option<T> {
        let reader = self.reader.as_ref()?;
        let row = reader
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params![key], |row| row.get(0)).optional());
        self.can_be_read(row.map_err(ReadError::from)).flatten()
    }

    fn is_sound(&self) -> Verdict {
        let unsound = self.rows("PRAGMA integrity_check", |row| row.get::<_, String>(0));
        match &unsound[..] {
            [one] if one == "ok" => Ok(()),
            unsound => Err(format!("G16: the store is corrupt: {}", unsound.join(", "))),
        }
    }
}

impl Ground for SqliteGround {
    type Store = SqliteStore;

    const IS_ALONE: bool = true;

    fn new(clock: Clock, plan: &Plan, luck: u64) -> SqliteGround {
        let mut random = Random::new(luck);
        let mut of_disk = random.fork();
        let disk = Disk::new(move |end| of_disk.below(end));
        let pace = Pace {
            slice: *random.pick(&[1, 20, 100, 250]),
            long: *random.pick(&[30, 200, 20_000]),
            left: *random.pick(&[0, 10, 100]),
        };
        CLOCK.set(Some(clock));
        let path = SqlitePath(disk.path("store.db"));
        // Some are there at the beginning of a store too.
        if random.below(16) > 0 {
            disk.put(&path.0, template());
        }
        let stand = Stand::new(disk, pace);
        // A slice of the log that somebody holds up is fsynced by the product alone: SQLite waits for the rest.
        let lingers = if plan.has(Feature::DiskErrors) { 5 } else { 20 };
        SqliteGround {
            stand,
            path,
            reader: None,
            lingering: None,
            lingers,
            random,
            is_full: false,
            is_suspect: false,
        }
    }

    fn open(&mut self) -> Result<Option<SqliteStore>, String> {
        let opened = SqliteStore::open_on(&self.stand, &self.path, now);
        let opened = opened.map_err(|error| error.to_string()).and_then(|store| {
            let read = || read::open_on(&self.stand, &self.path).map_err(|error| error.to_string());
            Ok((store, read()?, read()?))
        });
        let is_excused = self.has_failed() || self.is_full || self.stand.disk.fault().is_some();
        let (store, reader, lingering) = match opened {
            Ok(opened) => opened,
            Err(_) if is_excused => {
                self.dies(false);
                return Ok(None);
            }
            Err(error) => return Err(format!("G16: the store does not open: {error}")),
        };
        (self.reader, self.lingering) = (Some(reader), Some(lingering));
        if std::mem::take(&mut self.is_suspect) {
            self.is_sound()?;
            if self.random.below(4) == 0 {
                inspected(&store)?;
            }
        }
        Ok(Some(store))
    }

    fn is_up(&self) -> bool {
        self.reader.is_some() && self.stand.disk.fault() != Some(Fault::PowerLoss)
    }

    fn has_failed(&self) -> bool {
        matches!(self.stand.disk.fault(), Some(Fault::PowerLoss | Fault::WriteFails | Fault::SyncFails))
    }

    fn closes(&mut self, store: SqliteStore) -> Verdict {
        // As the server does: whoever reads is gone before the writer, whose end then takes the log into the file.
        (self.reader, self.lingering) = (None, None);
        let found_no_room = |disk: &Disk| disk.happened().get("a write that found no room").copied();
        let before = found_no_room(&self.stand.disk);
        drop(store);
        let is_excused = self.is_full || self.has_failed() || found_no_room(&self.stand.disk) != before;
        let [_, log] = self.path.files();
        if !is_excused && self.stand.disk.exists(&log) {
            return Err("G17: a store that was closed in order has left its log".into());
        }
        Ok(())
    }

    fn dies(&mut self, power_goes: bool) {
        self.is_suspect |= power_goes || self.has_failed();
        if power_goes {
            self.stand.disk.lose_power();
        } else {
            self.stand.disk.kill();
        }
        (self.reader, self.lingering) = (None, None);
        let copier = held(&self.stand.copier).take();
        drop(copier);
    }

    fn plans(&mut self, trouble: Option<(Trouble, u64)>) {
        self.stand.disk.plan(trouble.map(|(trouble, after)| {
            let fault = match trouble {
                Trouble::PowerLoss => Fault::PowerLoss,
                Trouble::WriteFails => Fault::WriteFails,
                // Of ten syncs nine are the log's: those of checkpoints would hardly ever fail.
                Trouble::SyncFails if self.random.below(2) == 0 => Fault::SyncOfDataFails,
                Trouble::SyncFails => Fault::SyncFails,
                Trouble::NoRoom => Fault::NoRoom,
            };
            (after, fault)
        }));
    }

    fn prepares(&mut self, is_full: bool) -> bool {
        self.is_full = is_full;
        self.stand.disk.set_full(is_full);
        if self.random.below(self.lingers) == 0
            && let Some(lingering) = &self.lingering
        {
            let sql = match lingering.is_autocommit() {
                true => "BEGIN; SELECT count(*) FROM migration",
                false => "COMMIT",
            };
            // Without power there is nothing to read.
            let _ = lingering.execute_batch(sql);
        }
        match self.random.below(4) {
            0 => turn(&self.stand.copier),
            1 => {
                let slot = self.stand.copier.clone();
                let after = self.random.below(80);
                self.stand.disk.between(after, move || turn(&slot));
            }
            _ => {}
        }
        true
    }

    fn risks(&self) -> u64 {
        self.stand.disk.risks()
    }

    fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.stand.disk.happened()
    }

    fn inspect(&self, store: &SqliteStore) -> Verdict {
        self.is_sound()?;
        inspected(store)
    }

    fn calm(&mut self, _store: &mut SqliteStore) {
        self.plans(None);
        self.prepares(false);
    }

    fn told_since(&self, position: i64) -> Vec<(i64, Entry)> {
        let columns = told::COLUMNS;
        let Some(reader) = &self.reader else { return Vec::new() };
        let sql = format!("SELECT {columns} FROM history WHERE position > ?1 ORDER BY position");
        let told = reader.prepare_cached(&sql).and_then(|mut statement| {
            let rows = statement.query_map(params![position], told::entry)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let told = self.can_be_read(told.map_err(ReadError::from)).unwrap_or_default();
        told.into_iter().map(|entry| entry.unwrap_or_else(|| panic!("an entry that nobody knows"))).collect()
    }

    fn each_task(&self, see: &mut dyn FnMut(&Task)) {
        if let Some(reader) = &self.reader {
            let _ = self.can_be_read(read::each_task(reader, see));
        }
    }

    fn each_state(&self, see: &mut dyn FnMut(TaskKey, State, u32)) {
        let sql = "SELECT key, state, attempt FROM task ORDER BY key";
        let states = self.rows(sql, |row| Ok((TaskKey(row.get(0)?), row.get::<_, i64>(1)?, row.get(2)?)));
        for (task, state, attempt) in states {
            let state = row::state_of(state).unwrap_or_else(|| panic!("G4: a state that nobody knows"));
            see(task, state, attempt);
        }
    }

    fn name(&self, key: i64) -> Option<String> {
        self.one("SELECT text FROM name WHERE key = ?1", key)
    }

    fn event_id(&self, key: EventKey) -> Option<EventId> {
        self.one("SELECT id FROM event WHERE key = ?1", key.0).map(EventId)
    }

    fn has_event(&self, id: EventId) -> bool {
        self.one::<i64>("SELECT 1 FROM event WHERE id = ?1", id.0).is_some()
    }

    fn kept_count(&self) -> usize {
        self.rows("SELECT key FROM kept", |_| Ok(())).len()
    }
}

/// Whether the store finds nothing wrong with itself.
fn inspected(store: &SqliteStore) -> Verdict {
    let inspection =
        store.inspect().map_err(|error| format!("G16: the store cannot be inspected: {error}"))?;
    match inspection.violations.first() {
        None => Ok(()),
        Some(violation) => Err(format!("doctor: {}: {}", violation.rule, violation.found.join(", "))),
    }
}
