//! SQLite: one file, one writer, everything answered is fsynced.
//!
//! One thread owns the one connection that writes; a second one checkpoints, and readers have read-only
//! connections of their own ([`read`](crate::store::read)). The database files are never opened outside SQLite while it is
//! open: closing them would drop its locks.

mod access;
mod bulks;
mod checkpoint;
mod hold;
mod inspection;
pub(crate) mod load;
mod open;
pub mod platform;
mod prune;
mod queues;
mod reserve;
mod save;
mod schedules;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{
    Context, Decided, EventKey, FollowUp, Input, QueueKey, ScheduleKey, StatusRequest, Subjects, TaskKey,
    Timestamp,
};

pub(crate) use access::api_keys;
pub(crate) use bulks::{bulk_columns, bulk_of, filtered_columns, with_facts};
pub use checkpoint::{Copier, Pace};
pub(crate) use hold::held_since;
pub use inspection::{Inspection, Violation};
pub(crate) use load::{json_of, known, task_columns, task_of};
pub use open::{OpenError, Settings, SqlitePath, StoredSecret};
pub(crate) use open::{connect, keep_plans, secret_named};
pub(crate) use queues::{key_use_of, queue_of};
pub(crate) use schedules::{schedule_columns, schedule_of};
pub(crate) use sources::source_of;

use crate::store::sqlite::reserve::Reserve;
use crate::store::{
    AuditEntry, BatchId, Due, Kept, KeptKey, Name, NameKind, Outgoing, Pruned, Store, StoreError,
    Transaction, row,
};

/// The SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    /// Closed before the writer's own connection.
    checkpoints: checkpoint::Checkpoints,
    connection: Connection,
    /// Closed after every connection of this store.
    _file: Arc<dyn platform::FileHandle>,
    /// What is kept free for completions; a store that no server runs on has none.
    reserve: Option<Reserve>,
    /// What an earlier process left is taken care of. Nothing is written before.
    is_settled: bool,
    clock: fn() -> Timestamp,
    /// The time of the last transaction; the next one is never earlier, whatever the clock does.
    last_now: Timestamp,
    next_key: i64,
    next_event: i64,
    next_position: i64,
    /// The host at which the next visit of a queue begins, where there are more than one visit can look at.
    next_host: i64,
    _lock: Box<dyn platform::Held>,
}

/// A transaction on the SQLite store. Dropping it without a commit rolls it back.
#[derive(Debug)]
pub struct SqliteTransaction<'a> {
    store: &'a mut SqliteStore,
    now: Timestamp,
    next_key: i64,
    next_event: i64,
    next_position: i64,
    /// Names that got a key in this transaction and are not stored yet.
    new_names: BTreeMap<i64, Name>,
    new_keys: BTreeMap<Name, i64>,
    /// The newest history entry of the tasks that were loaded.
    last_changes: BTreeMap<TaskKey, i64>,
    /// What of the tasks that were loaded their queues have counted.
    standpoints: BTreeMap<TaskKey, queues::Standpoint>,
    committed: bool,
}

impl Store for SqliteStore {
    type Tx<'a> = SqliteTransaction<'a>;

    async fn begin(&mut self, _batch: BatchId) -> Result<SqliteTransaction<'_>, StoreError> {
        self.settle()?;
        match self.is_cramped() {
            true => self.checkpoints.hurry(&self.connection)?,
            false => self.checkpoints.look(&self.connection, self.reserve.is_some())?,
        }
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let now = (self.clock)().max(self.last_now);
        Ok(SqliteTransaction {
            now,
            next_key: self.next_key,
            next_event: self.next_event,
            next_position: self.next_position,
            new_names: BTreeMap::new(),
            new_keys: BTreeMap::new(),
            last_changes: BTreeMap::new(),
            standpoints: BTreeMap::new(),
            committed: false,
            store: self,
        })
    }

    async fn was_committed(&mut self, _batch: BatchId) -> Result<bool, StoreError> {
        // A commit of a local file is durable, or has failed: it is never unknown.
        Err(StoreError::Broken("SQLite reported an unknown commit".into()))
    }

    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, wake_at FROM task WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT ?1",
            )
            .map_err(failed)?;
        let limit = i64::try_from(max.saturating_add(1)).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![limit]).map_err(failed)?;
        let mut due = Due::default();
        while let Some(row) = rows.next().map_err(failed)? {
            let at = Timestamp(row.get(1).map_err(failed)?);
            if at > by || due.tasks.len() == max {
                due.next = Some(at);
                break;
            }
            due.tasks.push(TaskKey(row.get(0).map_err(failed)?));
        }
        drop(rows);
        drop(statement);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, wake_at FROM queue WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT ?1",
            )
            .map_err(failed)?;
        let mut rows = statement.query(params![limit]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let at = Timestamp(row.get(1).map_err(failed)?);
            if at > by || due.queues.len() == max {
                due.next = due.next.into_iter().chain([at]).min();
                break;
            }
            due.queues.push(QueueKey(row.get(0).map_err(failed)?));
        }
        drop(rows);
        drop(statement);
        let (bulks, next) = bulks::due(&self.connection, by).map_err(failed)?;
        Ok(Due { bulks, next: due.next.into_iter().chain(next).min(), ..due })
    }

    async fn due_schedules(
        &mut self,
        shown: Timestamp,
        max: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), StoreError> {
        schedules::due(&self.connection, shown, max).map_err(failed)
    }

    async fn schedules_ahead(&mut self, until: Timestamp) -> Result<Vec<ScheduleKey>, StoreError> {
        schedules::ahead(&self.connection, until).map_err(failed)
    }

    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT queue FROM line").map_err(failed)?;
        let rows = statement.query_map([], |row| row.get(0).map(QueueKey)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    async fn exchanges(&mut self, by: Timestamp, polls_by: Timestamp) -> Result<Vec<TaskKey>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT state, wake_at, key FROM task WHERE state = 4 AND wake_at <= ?1
                 UNION ALL
                 SELECT state, wake_at, key FROM task WHERE state = 5 AND watch IS NOT NULL AND wake_at <= ?2
                 ORDER BY state, wake_at",
            )
            .map_err(failed)?;
        let rows =
            statement.query_map(params![by.0, polls_by.0], |row| row.get(2).map(TaskKey)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, kind, subject, other, generation, \"end\" FROM kept
                 WHERE key > ?1 AND quarantined = 0 ORDER BY key LIMIT ?2",
            )
            .map_err(failed)?;
        let mut rows =
            statement.query(params![after.0, i64::try_from(max).unwrap_or(i64::MAX)]).map_err(failed)?;
        let mut kept = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let get = |column| row.get::<_, i64>(column).map_err(failed);
            let follow_up = row::follow_up_of(get(1)?, get(2)?, get(3)?, get(4)?, get(5)?);
            let follow_up = follow_up.ok_or_else(|| unreadable("kept", get(0).unwrap_or(0)))?;
            kept.push(Kept { key: KeptKey(get(0)?), follow_up });
        }
        Ok(kept)
    }

    async fn make_room(&mut self) -> Result<(), StoreError> {
        if let Some(reserve) = &mut self.reserve {
            reserve.give_up().map_err(broken)?;
        }
        self.checkpoints.shorten(&self.connection)
    }

    async fn has_room(&mut self) -> Result<bool, StoreError> {
        self.find_room()
    }
}

impl SqliteStore {
    /// There is no room but for what moves begun work.
    fn is_cramped(&self) -> bool {
        self.reserve.as_ref().is_some_and(|reserve| !reserve.is_held())
    }

    /// Makes the reserve whole, where it is not, or finds its worth in pages that retention has freed: they serve as well as
    /// those of the disk.
    fn find_room(&mut self) -> Result<bool, StoreError> {
        let Some(reserve) = &mut self.reserve else { return Ok(true) };
        if reserve.take().map_err(broken)? {
            return Ok(true);
        }
        // The log has to find its room on the disk all the same.
        let (bytes, has_spare) = (reserve.bytes(), reserve.has_spare().map_err(broken)?);
        Ok(has_spare && self.free_bytes().map_err(failed)? >= bytes)
    }

    /// The bytes of the database file that hold nothing.
    fn free_bytes(&self) -> rusqlite::Result<u64> {
        let pages = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
        self.connection.query_row(pages, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    async fn held(&mut self) -> Result<Option<Timestamp>, StoreError> {
        held_since(&self.store.connection).map_err(failed)
    }

    async fn resolve(&mut self, names: &[Name]) -> Result<Vec<i64>, StoreError> {
        names.iter().map(|name| self.key_of(name).map_err(failed)).collect()
    }

    async fn event_keys(&mut self, count: usize) -> Result<Vec<EventKey>, StoreError> {
        let first = self.next_event;
        self.next_event += i64::try_from(count).unwrap_or(i64::MAX);
        Ok((first..self.next_event).map(EventKey).collect())
    }

    async fn load(
        &mut self,
        cx: &Context,
        round: &[Input],
        subjects: &mut Subjects,
    ) -> Result<Vec<usize>, StoreError> {
        for input in round {
            self.load_for(cx, input, subjects).map_err(failed)?;
        }
        // The only writer there is finds nothing locked.
        Ok(Vec::new())
    }

    async fn save(&mut self, decided: &[Decided], subjects: &Subjects) -> Result<(), StoreError> {
        self.save_all(decided, subjects).map_err(failed)
    }

    async fn requests(&mut self, tasks: &[TaskKey]) -> Result<Vec<Outgoing>, StoreError> {
        tasks.iter().map(|task| self.request_of(*task).map_err(failed)).collect()
    }

    async fn statuses(&mut self, tasks: &[TaskKey]) -> Result<Vec<(String, StatusRequest)>, StoreError> {
        tasks.iter().map(|task| self.status_of(*task).map_err(failed)).collect()
    }

    async fn keep(&mut self, follow_ups: &[FollowUp]) -> Result<Vec<KeptKey>, StoreError> {
        follow_ups.iter().map(|follow_up| self.keep_one(follow_up, false)).collect()
    }

    async fn take(&mut self, kept: &[KeptKey]) -> Result<(), StoreError> {
        let mut statement =
            self.store.connection.prepare_cached("DELETE FROM kept WHERE key = ?1").map_err(failed)?;
        for key in kept {
            statement.execute(params![key.0]).map_err(failed)?;
        }
        Ok(())
    }

    async fn quarantine(&mut self, follow_up: &FollowUp) -> Result<(), StoreError> {
        self.keep_one(follow_up, true).map(drop)
    }

    async fn prune(&mut self, from: Place, ages: &Ages, rows_max: usize) -> Result<Pruned, StoreError> {
        self.prune_step(from, ages, rows_max).map_err(failed)
    }

    async fn audit(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        self.save_audit(entries).map_err(failed)
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let made = self.store.connection.execute_batch("COMMIT").map_err(failed);
        made.or_else(|error| if cfg!(planted = "failed_commit_is_answered") { Ok(()) } else { Err(error) })?;
        self.committed = true;
        // A sync of the log that failed for the checkpoint may have taken the pages of this commit with it, and a system may
        // tell only one of the two.
        self.store.checkpoints.have_not_failed()?;
        self.store.last_now = self.now;
        self.store.next_key = self.next_key;
        self.store.next_event = self.next_event;
        self.store.next_position = self.next_position;
        Ok(())
    }
}

impl SqliteTransaction<'_> {
    fn key_of(&mut self, name: &Name) -> rusqlite::Result<i64> {
        if let Some(key) = self.new_keys.get(name) {
            return Ok(*key);
        }
        let mut statement = self
            .store
            .connection
            .prepare_cached("SELECT key FROM name WHERE namespace = 1 AND kind = ?1 AND text = ?2")?;
        let known = statement
            .query_row(params![kind_number(name.kind), name.text], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(key) = known {
            return Ok(key);
        }
        let key = self.next_key;
        self.next_key += 1;
        self.new_names.insert(key, name.clone());
        self.new_keys.insert(name.clone(), key);
        Ok(key)
    }

    fn keep_one(&mut self, follow_up: &FollowUp, quarantined: bool) -> Result<KeptKey, StoreError> {
        let (kind, subject, other, generation, end) = row::follow_up_columns(follow_up);
        let mut statement = self
            .store
            .connection
            .prepare_cached(
                "INSERT INTO kept (kind, subject, other, generation, \"end\", quarantined)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .map_err(failed)?;
        statement.execute(params![kind, subject, other, generation, end, quarantined]).map_err(failed)?;
        Ok(KeptKey(self.store.connection.last_insert_rowid()))
    }
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        if !self.committed && !self.store.connection.is_autocommit() {
            // SQLite rolls back by itself after some errors; then there is nothing left to do.
            if let Err(error) = self.store.connection.execute_batch("ROLLBACK") {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
        }
    }
}

/// The stored number of a kind of name.
pub(crate) fn kind_number(kind: NameKind) -> i64 {
    match kind {
        NameKind::Task => 1,
        NameKind::Queue => 2,
        NameKind::Host => 3,
        NameKind::Schedule => 4,
        NameKind::Bulk => 5,
        NameKind::Source => 6,
        NameKind::External => 7,
    }
}

/// What an error of SQLite asks for.
fn failed(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        _ if is_full(&error) => StoreError::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Conflict,
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Broken(format!(
            "SQLite: {error}. Keep a copy of the store and of its -wal file, and look at what is damaged with \
             `taskhook doctor --store`"
        )),
        // G16: after an I/O error nothing may be answered, and no fsync may be tried again.
        _ => StoreError::Broken(format!("SQLite: {error}")),
    }
}

/// G16: an I/O error of the reserve is one of its disk.
fn broken(error: std::io::Error) -> StoreError {
    StoreError::Broken(format!("the reserve of the store: {error}"))
}

/// Whether there was no room. The index of the log, which is in shared memory, holds nothing that must last: where it cannot
/// grow, nothing is lost either.
fn is_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE};
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_FULL | SQLITE_IOERR_SHMSIZE))
}

/// A value as JSON text.
fn text_of(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn unreadable(table: &str, key: i64) -> StoreError {
    StoreError::Broken(format!("row {key} of table {table} cannot be read"))
}
