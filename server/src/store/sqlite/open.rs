//! Opening a SQLite store: its lock, its settings read back, its schema.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use taskhook_core::Timestamp;
use taskhook_core::access::{ApiKey, ApiKeyId};

use crate::store::StoreError;
use crate::store::sqlite::checkpoint::Checkpoints;
use crate::store::sqlite::platform::{Held, Platform, System};
use crate::store::sqlite::reserve::Reserve;
use crate::store::sqlite::{SqliteStore, access, failed, is_full};

/// The oldest SQLite whose write-ahead log is safe with a checkpointing writer beside readers
/// (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

const MIGRATIONS: [(&str, &str); 12] = [
    ("0001_tasks", include_str!("../../../migrations/sqlite/0001_tasks.sql")),
    ("0002_queues", include_str!("../../../migrations/sqlite/0002_queues.sql")),
    ("0003_retention", include_str!("../../../migrations/sqlite/0003_retention.sql")),
    ("0004_schedules", include_str!("../../../migrations/sqlite/0004_schedules.sql")),
    ("0005_hold", include_str!("../../../migrations/sqlite/0005_hold.sql")),
    ("0006_unique", include_str!("../../../migrations/sqlite/0006_unique.sql")),
    ("0007_bulk", include_str!("../../../migrations/sqlite/0007_bulk.sql")),
    ("0008_sources", include_str!("../../../migrations/sqlite/0008_sources.sql")),
    ("0009_access", include_str!("../../../migrations/sqlite/0009_access.sql")),
    ("0010_external", include_str!("../../../migrations/sqlite/0010_external.sql")),
    ("0011_oversight", include_str!("../../../migrations/sqlite/0011_oversight.sql")),
    ("0012_signer", include_str!("../../../migrations/sqlite/0012_signer.sql")),
];

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another taskhook has the store {0} open; stop it first, or use its HTTP API")]
    Locked(String),
    /// Its lock file cannot be made.
    #[error("the lock file {path} cannot be opened: {error}; is the folder there, and may it be written to?")]
    LockFile {
        /// The lock file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It was written by a newer Taskhook.
    #[error(
        "the store has the schema {found}, which this taskhook does not know; use the version that wrote it, or a newer one"
    )]
    Newer {
        /// The unknown migration.
        found: String,
    },
    /// A migration differs from the one that this store was made with.
    #[error("the store was made with another form of the migration {0}; it was changed after its release")]
    Changed(String),
    /// The SQLite in this binary is too old.
    #[error(
        "this taskhook was built with SQLite {0}, which can corrupt a write-ahead log; build it with the bundled one"
    )]
    OldSqlite(String),
    /// A setting did not take effect.
    #[error("SQLite did not accept {setting} = {wanted}, it answers {found}; the store would not be durable")]
    Setting {
        /// The pragma.
        setting: &'static str,
        /// What it was set to.
        wanted: &'static str,
        /// What it says.
        found: String,
    },
    /// It is damaged.
    #[error(
        "the store {path} is damaged ({found}) and is not opened, so that nothing of it is lost that could still be read; keep \
         a copy of {path} and {path}-wal, then put a backup in their place, or read out what is left with \
         `sqlite3 {path} .recover`"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What SQLite found.
        found: String,
    },
    /// It is something else.
    #[error(
        "{0} is not a store of Taskhook: name another file with --store. If it was one, its beginning is damaged: put a \
         backup in its place"
    )]
    NotAStore(String),
    /// Its disk is full.
    #[error(
        "the store {0} cannot be opened: there is no room on its disk; make some, or name another place with --store"
    )]
    Full(String),
    /// SQLite refuses.
    #[error("the store {path} cannot be opened: {error}")]
    Sqlite {
        /// The file.
        path: String,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// The system refuses.
    #[error("the store {path} cannot be opened: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// No room can be kept on its disk.
    #[error("{0}")]
    Reserve(String),
    /// The system refuses.
    #[error("the system gives no thread for the checkpoints of the store: {0}")]
    Thread(std::io::Error),
}

/// Where a SQLite store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlitePath(pub PathBuf);

impl SqlitePath {
    /// The lock file beside the store.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push("-lock");
        name.into()
    }

    /// The file that keeps room for completions, beside the store.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push("-reserve");
        name.into()
    }

    /// The files of the store. They are for looking at their size only: opening and closing them would drop
    /// SQLite's locks.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        let mut log = self.0.clone().into_os_string();
        log.push("-wal");
        [self.0.clone(), log.into()]
    }

    /// The secret under `name`; `None` if there is none yet. Reads only: a server may run on the store.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn secret(&self, name: &str) -> rusqlite::Result<Option<StoredSecret>> {
        let connection = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let has_seals = "SELECT 1 FROM pragma_table_info('secret') WHERE name = 'sealed'";
        let has_seals = connection.prepare(has_seals)?.exists([])?;
        let sql = match has_seals {
            true => "SELECT value, sealed FROM secret WHERE name = ?1",
            // A store of before, which no server of this version has opened.
            false => "SELECT value, 0 FROM secret WHERE name = ?1",
        };
        connection.prepare(sql)?.query_row(params![name], stored_secret).optional()
    }

    /// As a person reads it.
    pub(super) fn text(&self) -> String {
        self.0.display().to_string()
    }
}

/// A secret as it is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Its bytes.
    pub value: Vec<u8>,
    /// They are sealed. A store of before had them plain.
    pub is_sealed: bool,
}

/// The settings that durability depends on, as SQLite reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `wal`
    pub journal_mode: String,
    /// 2 is FULL: every commit is fsynced.
    pub synchronous: i64,
    /// The version of SQLite.
    pub sqlite_version: String,
    /// The last migration of the schema.
    pub schema: String,
}

impl Settings {
    /// Reads them from a connection.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn read(connection: &Connection) -> rusqlite::Result<Settings> {
        Ok(Settings {
            journal_mode: connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
            synchronous: connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?,
            sqlite_version: rusqlite::version().to_string(),
            schema: connection.query_row("SELECT max(name) FROM migration", [], |row| row.get(0))?,
        })
    }
}

impl OpenError {
    pub(super) fn of(error: rusqlite::Error, path: &SqlitePath) -> OpenError {
        let path = path.text();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, found: error.to_string() },
            Some(ErrorCode::NotADatabase) => OpenError::NotAStore(path),
            _ if is_full(&error) => OpenError::Full(path),
            _ => OpenError::Sqlite { path, error },
        }
    }
}

impl SqliteStore {
    /// Opens the store at `path`, or makes it. `clock` gives the time.
    ///
    /// # Errors
    /// One variant for each thing that can be done about it.
    pub fn open(path: &SqlitePath, clock: fn() -> Timestamp) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_on(&System, path, clock)
    }

    /// The same on another platform than the operating system.
    ///
    /// # Errors
    /// As [`open`](SqliteStore::open).
    pub fn open_on(
        platform: &dyn Platform,
        path: &SqlitePath,
        clock: fn() -> Timestamp,
    ) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_with(platform, path, clock, |_| Ok(()))
    }

    /// The same for whoever serves it: looks for damage before anything is written, for so long at most. A store of some
    /// hundred MB is looked at whole; `taskhook doctor` always does that.
    ///
    /// # Errors
    /// As [`open`](SqliteStore::open); [`OpenError::Corrupt`] if there is damage.
    pub fn open_sound(
        path: &SqlitePath,
        clock: fn() -> Timestamp,
        time: Duration,
    ) -> Result<SqliteStore, OpenError> {
        let look = |connection: &mut Connection| look_for_damage(connection, path, time).map(drop);
        SqliteStore::open_with(&System, path, clock, look)
    }

    fn open_with(
        platform: &dyn Platform,
        path: &SqlitePath,
        clock: fn() -> Timestamp,
        look: impl Fn(&mut Connection) -> Result<(), OpenError>,
    ) -> Result<SqliteStore, OpenError> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            return Err(OpenError::OldSqlite(rusqlite::version().into()));
        }
        // Two names of one file are one store, with one lock.
        let path = &SqlitePath(platform.canonical(&path.0));
        let lock = lock(platform, path)?;
        let is_new = !platform.exists(&path.0);
        let refused = |error| OpenError::of(error, path);
        must_have_its_beginning(path)?;
        let mut reserve = Reserve::existing(path);
        let prepare = || {
            let mut connection = connect(platform, path, OpenFlags::default()).map_err(refused)?;
            // Until it is known to be a sound store of ours, nothing is written: not even by closing it.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(refused)?;
            must_be_ours(&connection, path)?;
            look(&mut connection)?;
            settle(&connection, path)?;
            if !cfg!(planted = "log_is_believed_at_the_start") {
                rewrite_log(platform, &connection, path)?;
            }
            migrate(&connection, path)?;
            Ok(connection)
        };
        let mut connection = match prepare() {
            Err(OpenError::Full(_)) if reserve.as_mut().is_some_and(Reserve::give_up_whole) => prepare()?,
            connected => connected?,
        };
        let file = platform.open(&path.0);
        let file = file.map_err(|error| OpenError::File { path: path.text(), error })?;
        if is_new {
            sync_folder(platform, path)?;
        }
        let is_settled = match take_over(&connection) {
            Err(error) if is_full(&error) => {
                let given = reserve.as_mut().map_or(Ok(()), Reserve::give_up);
                given.map_err(|error| OpenError::File { path: path.text(), error })?;
                match take_over(&connection) {
                    Err(error) if is_full(&error) => false,
                    taken => taken.map_err(refused)?,
                }
            }
            taken => taken.map_err(refused)?,
        };
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(refused)?;
        let max = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(refused);
        // The newest rows may be pruned: `swept` knows how far the keys had come by then.
        let last_now = max(
            "SELECT max(at, coalesce((SELECT at FROM history ORDER BY position DESC LIMIT 1), 0)) FROM swept",
        )?;
        let next_key = max("SELECT max(key, (SELECT coalesce(max(key), 0) + 1 FROM name)) FROM swept")?;
        let next_event = max("SELECT max(event, (SELECT coalesce(max(key), 0) + 1 FROM event)) FROM swept")?;
        let next_position =
            max("SELECT max(position, (SELECT coalesce(max(position), 0) + 1 FROM history)) FROM swept")?;
        // After the settings: setting the automatic checkpoint takes every hook away.
        let checkpoints = Checkpoints::of(platform, &mut connection, path, file.clone())?;
        Ok(SqliteStore {
            checkpoints,
            connection,
            _file: file,
            reserve,
            is_settled,
            clock,
            last_now: Timestamp(last_now),
            next_key,
            next_event,
            next_position,
            next_host: i64::MIN,
            _lock: lock,
        })
    }

    /// Keeps room on the disk for what moves begun work: at most 16 MiB, and at most 1 MiB or 2 % of the file system,
    /// whichever is larger. For a server; whoever only looks at a store needs none.
    ///
    /// # Errors
    /// If its file cannot be made, or its disk has errors. `false`: there is no room for it.
    pub fn reserve_room(&mut self) -> Result<bool, OpenError> {
        if self.reserve.is_none() {
            let path = SqlitePath(self.path().into());
            let refused = |error| OpenError::File { path: path.reserve().display().to_string(), error };
            self.reserve = Some(Reserve::create(&path).map_err(refused)?);
        }
        self.find_room().map_err(|error| OpenError::Reserve(error.to_string()))
    }

    fn path(&self) -> String {
        self.connection.path().unwrap_or_default().into()
    }

    /// Takes care of what an earlier process left, where there was no room for that when the store was opened.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        if !self.is_settled {
            self.is_settled = take_over(&self.connection).map_err(failed)?;
        }
        if self.is_settled { Ok(()) } else { Err(StoreError::Full) }
    }

    /// The settings in force.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn settings(&self) -> rusqlite::Result<Settings> {
        Settings::read(&self.connection)
    }

    /// The time of the last transaction.
    #[must_use]
    pub fn last_now(&self) -> Timestamp {
        self.last_now
    }

    /// Whether anything in it is sealed, so that its master key is needed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_sealed(&self) -> rusqlite::Result<bool> {
        self.connection.prepare("SELECT 1 FROM secret WHERE sealed = 1")?.exists([])
    }

    /// The secret under `name`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn secret(&self, name: &str) -> rusqlite::Result<Option<StoredSecret>> {
        secret_named(&self.connection, name)
    }

    /// Every API key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn api_keys(&self) -> rusqlite::Result<BTreeMap<ApiKeyId, ApiKey>> {
        access::api_keys(&self.connection)
    }

    /// Keeps a sealed secret under `name`, in the place of what was there: of that no byte is left in the file.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn keep_secret(&self, name: &str, sealed: &[u8]) -> rusqlite::Result<()> {
        access::keep_secret(&self.connection, name, sealed)
    }
}

/// The secret of the server under `name`.
pub(crate) fn secret_named(connection: &Connection, name: &str) -> rusqlite::Result<Option<StoredSecret>> {
    let mut statement = connection.prepare("SELECT value, sealed FROM secret WHERE name = ?1")?;
    statement.query_row(params![name], stored_secret).optional()
}

fn stored_secret(row: &Row<'_>) -> rusqlite::Result<StoredSecret> {
    Ok(StoredSecret { value: row.get(0)?, is_sealed: row.get(1)? })
}

/// A connection to the store at `path`.
pub(crate) fn connect(
    platform: &dyn Platform,
    path: &SqlitePath,
    flags: OpenFlags,
) -> rusqlite::Result<Connection> {
    match platform.vfs() {
        None => Connection::open_with_flags(&path.0, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(&path.0, flags, vfs),
    }
}

fn lock(platform: &dyn Platform, path: &SqlitePath) -> Result<Box<dyn Held>, OpenError> {
    let file = path.lock();
    let lock = platform.lock(&file);
    let lock = lock.map_err(|error| OpenError::LockFile { path: file.display().to_string(), error })?;
    lock.ok_or_else(|| OpenError::Locked(path.text()))
}

/// SQLite takes an empty file for a new database, and throws away the log that stands beside it.
fn must_have_its_beginning(path: &SqlitePath) -> Result<(), OpenError> {
    let bytes_of = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let [store, log] = path.files();
    if bytes_of(&store) > 0 || bytes_of(&log) == 0 {
        return Ok(());
    }
    let found = format!(
        "it is empty or not there, and its log {} is not; to begin anew, move that away too",
        log.display()
    );
    Err(OpenError::Corrupt { path: path.text(), found })
}

/// Steps of a look for damage, mostly cells of pages, after which it is asked whether there is still time.
const STEPS_PER_LOOK: i32 = 1_000;

/// So many are always made.
const STEPS_ALWAYS: i32 = 200_000;

/// Whether it had the time to look at all of the store.
fn look_for_damage(
    connection: &mut Connection,
    path: &SqlitePath,
    time: Duration,
) -> Result<bool, OpenError> {
    let refused = |error| OpenError::of(error, path);
    let deadline = Instant::now() + time;
    // A small store is looked at whole, however slow the machine is.
    let mut looks = 0;
    let is_over = move || {
        looks += 1;
        looks > STEPS_ALWAYS / STEPS_PER_LOOK && Instant::now() >= deadline
    };
    connection.progress_handler(STEPS_PER_LOOK, Some(is_over)).map_err(refused)?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>).map_err(refused)?;
    match found {
        Ok(found) if found == "ok" => Ok(true),
        Ok(found) => Err(OpenError::Corrupt { path: path.text(), found: found.replace('\n', " ") }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

/// Takes care of what an earlier process left. The log begins anew with the process, and the file holds everything. Answers
/// whether it does; a reader may stand in the way.
fn take_over(connection: &Connection) -> rusqlite::Result<bool> {
    reopen_lines(connection)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map(|busy: bool| !busy)
}

fn settle(connection: &Connection, path: &SqlitePath) -> Result<(), OpenError> {
    let refused = |error| OpenError::of(error, path);
    // To its end: SQLite answers first, and only then commits what that changes in a new file. Where this fails and nobody
    // hears of it, the connection says `wal` and has a rollback journal.
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL").map_err(refused)?;
    let mut rows = statement.query([]).map_err(refused)?;
    while rows.next().map_err(refused)?.is_some() {}
    drop(rows);
    drop(statement);
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL;
             PRAGMA fullfsync = 1;
             PRAGMA checkpoint_fullfsync = 1;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 134217728;
             PRAGMA cache_size = -16384;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(96);
    keep_plans(connection).map_err(refused)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(OpenError::Setting { setting: "journal_mode", wanted: "wal", found: mode });
    }
    let level: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).map_err(refused)?;
    if level != 2 {
        return Err(OpenError::Setting { setting: "synchronous", wanted: "FULL", found: level.to_string() });
    }
    #[cfg(planted = "synchronous_is_normal")]
    connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(refused)?;
    Ok(())
}

/// Keeps the plan of a prepared statement whatever is bound to it. Without this SQLite plans every statement with a
/// bound LIMIT, or with a bound 0 or 1, anew for each value.
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The process that closed lines for want of a place with a host is gone, and with it those who held the places.
fn reopen_lines(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT OR IGNORE INTO line (queue, rank, concurrency_key)
             SELECT queue, rank, concurrency_key FROM host_wait;
         DELETE FROM host_wait;
         COMMIT;",
    )
}

/// A database of somebody else gets no tables of ours.
fn must_be_ours(connection: &Connection, path: &SqlitePath) -> Result<(), OpenError> {
    let sql = "SELECT count(*) > 0 AND (SELECT group_concat(name) IS NOT 'name,hash' FROM pragma_table_info('migration'))
         FROM sqlite_schema WHERE type = 'table'";
    match connection.query_row(sql, [], |row| row.get(0)) {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::NotAStore(path.text())),
        Err(error) => Err(OpenError::of(error, path)),
    }
}

/// Brings the schema up to date: each migration once, in its own transaction, remembered with its text's hash.
fn migrate(connection: &Connection, path: &SqlitePath) -> Result<(), OpenError> {
    let refused = |error| OpenError::of(error, path);
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS migration (name TEXT NOT NULL PRIMARY KEY, hash BLOB NOT NULL) WITHOUT ROWID")
        .map_err(refused)?;
    let mut statement =
        connection.prepare("SELECT name, hash FROM migration ORDER BY name").map_err(refused)?;
    let done = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(refused)?;
    for (name, hash) in &done {
        match MIGRATIONS.iter().find(|(known, _)| known == name) {
            None => return Err(OpenError::Newer { found: name.clone() }),
            Some((_, sql)) if crate::secrets::sha256(sql.as_bytes()) != hash.as_slice() => {
                return Err(OpenError::Changed(name.clone()));
            }
            Some(_) => {}
        }
    }
    for (name, sql) in MIGRATIONS.iter().skip(done.len()) {
        let tx = connection.unchecked_transaction().map_err(refused)?;
        tx.execute_batch(sql).map_err(refused)?;
        let hash = crate::secrets::sha256(sql.as_bytes());
        tx.execute("INSERT INTO migration (name, hash) VALUES (?1, ?2)", params![name, hash])
            .map_err(refused)?;
        tx.commit().map_err(refused)?;
    }
    Ok(())
}

/// What an earlier process left in the log is written anew and fsynced before anybody hears of it, or anything is built
/// on it. Where its fsync failed, some of it is in the page cache alone, and no fsync says so any more: a power loss would
/// put an older log over a file into which the newer one was copied.
///
/// Nobody else writes to the log meanwhile. No lock of SQLite's is on that file, so that none is dropped with the handle.
fn rewrite_log(platform: &dyn Platform, connection: &Connection, path: &SqlitePath) -> Result<(), OpenError> {
    let refused = |error| OpenError::of(error, path);
    let [_, log] = path.files();
    connection.execute_batch("BEGIN IMMEDIATE").map_err(refused)?;
    let rewritten = platform.rewrite(&log);
    rewritten.map_err(|error| OpenError::File { path: log.display().to_string(), error })?;
    connection.execute_batch("ROLLBACK").map_err(refused)
}

/// A new file is durable only once its folder is.
fn sync_folder(platform: &dyn Platform, path: &SqlitePath) -> Result<(), OpenError> {
    let folder = path.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    platform
        .sync_folder(folder)
        .map_err(|error| OpenError::LockFile { path: folder.display().to_string(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_for_damage_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = SqlitePath(folder.path().join("store.db"));
        let mut connection = Connection::open(&path.0).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE wide (number INTEGER PRIMARY KEY, text TEXT);
                 WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                 INSERT INTO wide SELECT i, hex(zeroblob(50)) FROM n",
            )
            .unwrap();
        assert!(look_for_damage(&mut connection, &path, Duration::from_secs(60)).unwrap());
        assert!(!look_for_damage(&mut connection, &path, Duration::ZERO).unwrap(), "it had no time");
    }
}
