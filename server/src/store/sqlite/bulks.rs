//! Bulks: the tasks that they look at, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhook_core::bulk::{Counts, Facts, Filter};
use taskhook_core::{
    Bulk, BulkChange, BulkCommand, BulkKey, Context, Decided, QueueKey, Subjects, TaskKey, Timestamp, limits,
};

use crate::store::row;
use crate::store::row::bulks::{BulkSettingsRow, bulk_state_number, bulk_state_of};
use crate::store::sqlite::{SqliteTransaction, known, text_of};

/// A SELECT of every column of a bulk, in the order in which [`bulk_of`] reads them, and of its id.
macro_rules! bulk_columns {
    ($rest:literal) => {
        concat!(
            "SELECT b.key, b.settings, b.state, b.began_at, b.ended_at, b.until, b.after, b.matched, b.applied, ",
            "b.refused, b.paced, b.wake_at, n.text FROM bulk b JOIN name n ON n.key = b.key ",
            $rest
        )
    };
}
pub(crate) use bulk_columns;

/// A SELECT of what filters look at of tasks, in the order in which [`with_facts`] reads it.
macro_rules! filtered_columns {
    ($rest:literal) => {
        concat!(
            "SELECT t.key, t.state, t.created_at, s.name, s.labels, t.queue ",
            "FROM task t JOIN spec s ON s.task = t.key ",
            $rest
        )
    };
}
pub(crate) use filtered_columns;

impl SqliteTransaction<'_> {
    /// The bulk under this key, as this transaction knows it.
    pub(super) fn load_bulk(&self, key: BulkKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if !subjects.has_loaded_bulk(key) {
            let mut statement = self.store.connection.prepare_cached(bulk_columns!("WHERE b.key = ?1"))?;
            subjects.put_bulk(key, statement.query_row(params![key.0], bulk_of).optional()?);
        }
        Ok(())
    }

    /// A bulk, and the next tasks that it looks at.
    pub(super) fn load_look(
        &self,
        cx: &Context,
        key: BulkKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_bulk(key, subjects)?;
        let Some(bulk) = subjects.bulk(key) else { return Ok(()) };
        let Some(mut look) = bulk.look(cx.now) else { return Ok(()) };
        let mut statement = self
            .store
            .connection
            .prepare_cached(filtered_columns!("WHERE t.key > ?1 AND t.key <= ?2 ORDER BY t.key"))?;
        let mut rows = statement.query(params![look.after.0, bulk.until.0])?;
        while let Some(row) = rows.next()? {
            let matches = with_facts(row, &bulk.settings.filter, |facts| {
                facts.created_at <= bulk.began_at && bulk.settings.wants(facts)
            })?;
            if !look.take(TaskKey(row.get(0)?), matches) {
                break;
            }
        }
        subjects.put_look(key, look);
        Ok(())
    }

    /// What a command to a bulk needs.
    pub(super) fn load_for_bulk_command(
        &mut self,
        key: BulkKey,
        command: &BulkCommand,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_bulk(key, subjects)?;
        let BulkCommand::Begin(settings) = command else { return Ok(()) };
        if let Some(queue) = settings.filter.queue.filter(|queue| !subjects.has_loaded_queue(*queue)) {
            self.load_queue(queue, subjects)?;
        }
        let connection = &self.store.connection;
        // Those that run are those that have a time to wake.
        let running = "SELECT count(*) FROM bulk WHERE wake_at IS NOT NULL";
        let running: i64 = connection.prepare_cached(running)?.query_row([], |row| row.get(0))?;
        subjects.put_running_bulks(usize::try_from(running).unwrap_or(usize::MAX));
        let newest: Option<i64> =
            connection.prepare_cached("SELECT max(key) FROM task")?.query_row([], |row| row.get(0))?;
        subjects.put_newest_task(newest.map(TaskKey));
        Ok(())
    }

    /// What has become of bulks.
    pub(super) fn save_bulks(&mut self, decided: &[Decided], subjects: &Subjects) -> rusqlite::Result<()> {
        let changes = || decided.iter().flat_map(|one| &one.decision.bulks);
        for (key, change) in changes() {
            if let BulkChange::Began { settings, .. } = change {
                self.save_name(key.0)?;
                let mut statement = self.store.connection.prepare_cached(
                    "INSERT INTO bulk (key, settings, state, began_at, until, after, matched, applied, refused, paced)
                     VALUES (?1, ?2, 1, ?3, 0, 0, 0, 0, 0, 0)",
                )?;
                statement.execute(params![key.0, text_of(&BulkSettingsRow::of(settings))?, self.now.0])?;
            }
        }
        let touched: BTreeSet<BulkKey> = changes().map(|(key, _)| *key).collect();
        for bulk in touched.into_iter().filter_map(|key| subjects.bulk(key)) {
            self.save_bulk(bulk)?;
        }
        if changes().any(|(_, change)| matches!(change, BulkChange::Began { .. })) {
            self.make_room_for_bulks()?;
        }
        Ok(())
    }

    fn save_bulk(&self, bulk: &Bulk) -> rusqlite::Result<()> {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut statement = self.store.connection.prepare_cached(
            "UPDATE bulk SET state = ?2, ended_at = ?3, until = ?4, after = ?5, matched = ?6, applied = ?7,
                 refused = ?8, paced = ?9, wake_at = ?10 WHERE key = ?1",
        )?;
        statement.execute(params![
            bulk.key.0,
            bulk_state_number(bulk.state),
            bulk.ended_at.map(|at| at.0),
            bulk.until.0,
            bulk.after.0,
            count(bulk.counts.matched),
            count(bulk.counts.applied),
            count(bulk.counts.refused),
            bulk.paced.0,
            bulk.wake_at.map(|at| at.0),
        ])?;
        Ok(())
    }

    /// Of those that have ended the newest are kept, with their names.
    fn make_room_for_bulks(&self) -> rusqlite::Result<()> {
        let connection = &self.store.connection;
        let oldest_kept = "SELECT key FROM bulk WHERE state <> 1 ORDER BY key DESC LIMIT 1 OFFSET ?1";
        let kept = i64::try_from(limits::BULKS_KEPT_MAX).unwrap_or(i64::MAX);
        let last: Option<i64> =
            connection.prepare_cached(oldest_kept)?.query_row(params![kept], |row| row.get(0)).optional()?;
        let Some(last) = last else { return Ok(()) };
        for sql in [
            "DELETE FROM name WHERE key IN (SELECT key FROM bulk WHERE state <> 1 AND key <= ?1)",
            "DELETE FROM bulk WHERE state <> 1 AND key <= ?1",
        ] {
            connection.prepare_cached(sql)?.execute(params![last])?;
        }
        Ok(())
    }
}

/// The bulks that want to be looked at, earliest first, and when the next one does.
pub(super) fn due(
    connection: &Connection,
    by: Timestamp,
) -> rusqlite::Result<(Vec<BulkKey>, Option<Timestamp>)> {
    let mut statement = connection.prepare_cached(
        "SELECT key, wake_at FROM bulk WHERE wake_at IS NOT NULL ORDER BY wake_at, key LIMIT ?1",
    )?;
    let mut rows =
        statement.query(params![i64::try_from(limits::BULKS_PER_BATCH + 1).unwrap_or(i64::MAX)])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let at = Timestamp(row.get(1)?);
        if at > by || due.len() == limits::BULKS_PER_BATCH {
            return Ok((due, Some(at)));
        }
        due.push(BulkKey(row.get(0)?));
    }
    Ok((due, None))
}

/// Asks something of a task from the columns of [`filtered_columns`]. What the filter does not name is not read.
pub(crate) fn with_facts(
    row: &Row<'_>,
    filter: &Filter,
    ask: impl FnOnce(&Facts<'_>) -> bool,
) -> rusqlite::Result<bool> {
    let name: Option<String> = match filter.name {
        Some(_) => row.get(3)?,
        None => None,
    };
    let labels: Option<String> = match filter.labels.is_empty() {
        true => None,
        false => row.get(4)?,
    };
    let labels: BTreeMap<String, String> = match labels {
        Some(labels) => known(serde_json::from_str(&labels).ok(), 4)?,
        None => BTreeMap::new(),
    };
    Ok(ask(&Facts {
        state: known(row::state_of(row.get(1)?), 1)?,
        queue: QueueKey(row.get(5)?),
        created_at: row::time(row.get(2)?),
        name: name.as_deref(),
        labels: &labels,
    }))
}

/// A bulk from the columns of [`bulk_columns`].
pub(crate) fn bulk_of(row: &Row<'_>) -> rusqlite::Result<Bulk> {
    let settings: String = row.get(1)?;
    let settings: Option<BulkSettingsRow> = serde_json::from_str(&settings).ok();
    let count = |column| row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Bulk {
        key: BulkKey(row.get(0)?),
        settings: Arc::new(known(settings.and_then(BulkSettingsRow::settings), 1)?),
        state: known(bulk_state_of(row.get(2)?), 2)?,
        began_at: row::time(row.get(3)?),
        ended_at: row.get::<_, Option<i64>>(4)?.map(row::time),
        until: TaskKey(row.get(5)?),
        after: TaskKey(row.get(6)?),
        counts: Counts { matched: count(7)?, applied: count(8)?, refused: count(9)? },
        paced: row::time(row.get(10)?),
        wake_at: row.get::<_, Option<i64>>(11)?.map(row::time),
    })
}
