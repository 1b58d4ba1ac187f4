//! Taking away what nobody keeps any more: one bounded step of a sweep.

use rusqlite::{OptionalExtension, params};
use taskhook_core::retention::{self, Ages, EndedTask, KeptEvent, Place, SourceAges, Verdict};
use taskhook_core::{ClaimKey, EventKey, QueueKey, TaskKey, Timestamp, limits};

use crate::store::row::sources;
use crate::store::sqlite::{SqliteTransaction, queue_of};
use crate::store::{Pruned, row};

/// The rows of a claim table that go, and where the next look begins.
type Old = (Vec<[u8; 16]>, Option<ClaimKey>);

/// What one step may still do.
pub(super) struct Room {
    /// Rows to be looked at.
    looks: usize,
    /// Rows to be taken away.
    rows: usize,
    /// Bytes to be taken away.
    bytes: usize,
}

impl Room {
    fn is_left(&self) -> bool {
        self.looks > 0 && self.rows > 0 && self.bytes > 0
    }

    pub(super) fn take(&mut self, rows: usize, bytes: u32) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes as usize);
    }

    pub(super) fn look(&mut self) -> bool {
        let is_left = self.is_left();
        self.looks = self.looks.saturating_sub(1);
        is_left
    }
}

impl SqliteTransaction<'_> {
    pub(super) fn prune_step(
        &mut self,
        from: Place,
        ages: &Ages,
        rows_max: usize,
    ) -> rusqlite::Result<Pruned> {
        let mut room =
            Room { looks: limits::SWEPT_ROWS_MAX, rows: rows_max, bytes: limits::PRUNED_BYTES_MAX };
        let mut pruned = Pruned::default();
        let goes_on = match from {
            Place::Tasks { queue, ended_at, task } => {
                self.prune_tasks((queue, ended_at, task), ages, &mut room, &mut pruned)?
            }
            Place::Histories => self.prune_histories(&mut room)?.then_some(Place::Histories),
            Place::Rejected(after) => {
                self.prune_events(after, true, ages, &mut room, &mut pruned)?.map(Place::Rejected)
            }
            Place::Events(after) => {
                self.prune_events(after, false, ages, &mut room, &mut pruned)?.map(Place::Events)
            }
            Place::Claims(after) => self.prune_claims(after, &mut room)?.map(|key| Place::Claims(Some(key))),
            Place::Answers(after) => {
                self.prune_answers(after, &mut room)?.map(|key| Place::Answers(Some(key)))
            }
            Place::Audit => self.prune_audit(ages, &mut room)?.then_some(Place::Audit),
        };
        pruned.rows = rows_max - room.rows;
        pruned.next = goes_on.or_else(|| from.next_kind());
        if pruned.rows > 0 {
            self.remember_keys()?;
        }
        Ok(pruned)
    }

    /// The highest keys may be among those that go: a later task must not be taken for an earlier one.
    fn remember_keys(&self) -> rusqlite::Result<()> {
        let mut statement = self
            .store
            .connection
            .prepare_cached("UPDATE swept SET key = ?1, event = ?2, position = ?3, at = ?4 WHERE one = 1")?;
        statement.execute(params![self.next_key, self.next_event, self.next_position, self.now.0]).map(drop)
    }

    fn prune_tasks(
        &self,
        (mut queue, mut ended_at, mut task): (QueueKey, Timestamp, TaskKey),
        ages: &Ages,
        room: &mut Room,
        pruned: &mut Pruned,
    ) -> rusqlite::Result<Option<Place>> {
        let connection = &self.store.connection;
        let mut next = connection.prepare_cached(
            "SELECT ended_at, key, payload_bytes, last_change,
                 EXISTS (SELECT 1 FROM kept WHERE subject = task.key AND kind IN (2, 3, 4, 12))
             FROM task INDEXED BY task_ended
             WHERE queue = ?1 AND ended_at IS NOT NULL AND (ended_at, key) > (?2, ?3)
             ORDER BY ended_at, key LIMIT 1",
        )?;
        let mut next_queue = connection.prepare_cached(
            "SELECT queue FROM task INDEXED BY task_ended
             WHERE ended_at IS NOT NULL AND queue > ?1 ORDER BY queue LIMIT 1",
        )?;
        let says = |queue| -> rusqlite::Result<_> {
            Ok(queue_of(connection, queue)?.map(|queue| queue.settings).unwrap_or_default())
        };
        let mut settings = says(queue)?;
        while room.look() {
            let found = next
                .query_row(params![queue.0, ended_at.0, task.0], |row| {
                    let ended = EndedTask { ended_at: row::time(row.get(0)?), is_followed: row.get(4)? };
                    Ok((ended, TaskKey(row.get(1)?), row.get::<_, u32>(2)?, row.get::<_, i64>(3)?))
                })
                .optional()?;
            let verdict = found.map(|found| (found, ages.let_task_go(self.now, &settings, &found.0)));
            match verdict {
                Some(((ended, key, bytes, last_change), verdict))
                    if verdict != Verdict::StaysWithAllBehind =>
                {
                    if verdict == Verdict::Goes {
                        self.remove_task(key, bytes, last_change, room)?;
                        pruned.tasks += 1;
                    }
                    (ended_at, task) = (ended.ended_at, key);
                }
                _ => {
                    let behind = next_queue.query_row(params![queue.0], |row| row.get(0)).optional()?;
                    let Some(behind) = behind else { return Ok(None) };
                    (queue, ended_at, task) = (QueueKey(behind), Timestamp(i64::MIN), TaskKey(i64::MIN));
                    settings = says(queue)?;
                }
            }
        }
        Ok(Some(Place::Tasks { queue, ended_at, task }))
    }

    /// A task with its name and all that is its own. Edges to its dependents stay: they go with those.
    fn remove_task(
        &self,
        key: TaskKey,
        bytes: u32,
        last_change: i64,
        room: &mut Room,
    ) -> rusqlite::Result<()> {
        let mut rows = 0;
        self.store
            .connection
            .prepare_cached(
                "UPDATE task_count SET count = count - 1 FROM task t
                 WHERE t.key = ?1 AND task_count.queue = t.queue AND task_count.state = t.state",
            )?
            .execute(params![key.0])?;
        for sql in [
            // One that the task holds for longer than it is kept.
            "DELETE FROM held_key WHERE hash = (SELECT unique_key FROM task WHERE key = ?1) AND task = ?1",
            "DELETE FROM name WHERE key = ?1 OR key IN (SELECT key FROM external WHERE task = ?1)",
            "DELETE FROM external WHERE task = ?1",
            "DELETE FROM edge WHERE child = ?1",
            "DELETE FROM spec WHERE task = ?1",
            "DELETE FROM task WHERE key = ?1",
        ] {
            rows += self.store.connection.prepare_cached(sql)?.execute(params![key.0])?;
        }
        room.take(rows, bytes);
        let left = self.remove_history(last_change, room)?;
        if left > 0 {
            let sql = "INSERT INTO left_history (position) VALUES (?1)";
            self.store.connection.prepare_cached(sql)?.execute(params![left])?;
        }
        Ok(())
    }

    /// Follows a history from its newest entry for as long as there is room; where it goes on, or 0.
    fn remove_history(&self, mut position: i64, room: &mut Room) -> rusqlite::Result<i64> {
        let mut statement = self.store.connection.prepare_cached(
            "DELETE FROM history WHERE position = ?1 RETURNING previous, coalesce(length(body), 0)",
        )?;
        while position > 0 && room.is_left() {
            let removed = statement
                .query_row(params![position], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?)))
                .optional()?;
            let (previous, bytes) = removed.unwrap_or((0, 0));
            room.take(1, bytes);
            position = previous;
        }
        Ok(position)
    }

    /// Whether some histories are still left.
    fn prune_histories(&self, room: &mut Room) -> rusqlite::Result<bool> {
        let connection = &self.store.connection;
        let mut first = connection.prepare_cached("SELECT position FROM left_history LIMIT 1")?;
        let mut remove = connection.prepare_cached("DELETE FROM left_history WHERE position = ?1")?;
        let mut keep = connection.prepare_cached("INSERT INTO left_history (position) VALUES (?1)")?;
        while room.look() {
            let Some(position) = first.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
                return Ok(false);
            };
            let left = self.remove_history(position, room)?;
            remove.execute(params![position])?;
            if left > 0 {
                keep.execute(params![left])?;
            }
        }
        Ok(true)
    }

    /// Where the next step goes on; `None`: those of this kind are through.
    fn prune_events(
        &self,
        after: EventKey,
        rejected: bool,
        ages: &Ages,
        room: &mut Room,
        pruned: &mut Pruned,
    ) -> rusqlite::Result<Option<EventKey>> {
        let sql = if rejected {
            "SELECT key, received_at, task, length(body), source FROM event WHERE outcome = 7 AND key > ?1 ORDER BY key LIMIT 1"
        } else {
            // Those that were rejected have an age of their own. There are few of them.
            "SELECT key, received_at, task, length(body), source FROM event WHERE +outcome <> 7 AND key > ?1 ORDER BY key LIMIT 1"
        };
        let mut next = self.store.connection.prepare_cached(sql)?;
        let mut parked =
            self.store.connection.prepare_cached("SELECT 1 FROM parked WHERE task = ?1 AND event = ?2")?;
        let sources = if rejected { SourceAges::new() } else { self.source_ages()? };
        let mut last = after;
        while room.look() {
            let found = next.query_row(params![last.0], |row| {
                let task = row.get::<_, Option<i64>>(2)?;
                Ok((EventKey(row.get(0)?), row.get(1)?, task, row.get(3)?, row.get::<_, String>(4)?))
            });
            let Some((key, received_at, task, bytes, source)) = found.optional()? else { return Ok(None) };
            let is_parked = match task {
                Some(task) => parked.exists(params![task, key.0])?,
                None => false,
            };
            let received_at = row::time(received_at);
            let event = KeptEvent { source: &source, received_at, is_rejected: rejected, is_parked };
            match ages.let_event_go(self.now, &sources, &event) {
                Verdict::StaysWithAllBehind => return Ok(None),
                Verdict::Stays => {}
                Verdict::Goes => {
                    self.remove_event(key, task.filter(|_| is_parked))?;
                    room.take(1, bytes);
                    pruned.events += 1;
                }
            }
            last = key;
        }
        Ok(Some(last))
    }

    /// What sources say of how long their webhooks are kept. Few say anything, and there are at most
    /// [`limits::SOURCES_MAX`].
    fn source_ages(&self) -> rusqlite::Result<SourceAges> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT n.text, s.definition FROM source s JOIN name n ON n.key = s.key
             WHERE instr(s.definition, '\"retention_ms\"') > 0",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, sources::retention(&row.get::<_, String>(1)?)))
        })?;
        let mut ages = SourceAges::new();
        for row in rows {
            let (name, age) = row?;
            ages.extend(age.map(|age| (name, age)));
        }
        Ok(ages)
    }

    /// A webhook; where it waited for a task that never came, its place there, and the name that it held.
    fn remove_event(&self, key: EventKey, waited_for: Option<i64>) -> rusqlite::Result<()> {
        let connection = &self.store.connection;
        connection.prepare_cached("DELETE FROM event WHERE key = ?1")?.execute(params![key.0])?;
        let Some(task) = waited_for else { return Ok(()) };
        connection
            .prepare_cached("DELETE FROM parked WHERE task = ?1 AND event = ?2")?
            .execute(params![task, key.0])?;
        connection
            .prepare_cached(
                "DELETE FROM name WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM task WHERE key = ?1)
                     AND NOT EXISTS (SELECT 1 FROM external WHERE key = ?1)
                     AND NOT EXISTS (SELECT 1 FROM parked WHERE task = ?1)",
            )?
            .execute(params![task])
            .map(drop)
    }

    /// Looks through the delivery ids, once on each day.
    fn prune_claims(&self, after: Option<ClaimKey>, room: &mut Room) -> rusqlite::Result<Option<ClaimKey>> {
        if self.swept_day()? >= retention::day_of(self.now) {
            return Ok(None);
        }
        let since = retention::remembered_from(self.now);
        let (old, next) = self.old_keys("SELECT claim, day < ?3, 0 FROM claim", after, since, room)?;
        let mut remove = self.store.connection.prepare_cached("DELETE FROM claim WHERE claim = ?1")?;
        for claim in old {
            remove.execute(params![claim])?;
        }
        Ok(next)
    }

    /// Looks through the answers that are kept for repeats, once on each day.
    fn prune_answers(&self, after: Option<ClaimKey>, room: &mut Room) -> rusqlite::Result<Option<ClaimKey>> {
        let today = retention::day_of(self.now);
        if self.swept_day()? >= today {
            return Ok(None);
        }
        let since = self.now - limits::IDEMPOTENCY_KEPT_FOR;
        let sql = "SELECT claim, at <= ?3, coalesce(length(body), 0) FROM answer";
        let (old, next) = self.old_keys(sql, after, since.0, room)?;
        let mut remove = self.store.connection.prepare_cached("DELETE FROM answer WHERE claim = ?1")?;
        for claim in old {
            remove.execute(params![claim])?;
        }
        if next.is_none() {
            let sql = "UPDATE swept SET day = ?1 WHERE one = 1";
            self.store.connection.prepare_cached(sql)?.execute(params![today])?;
        }
        Ok(next)
    }

    /// The day on which delivery ids and answers were looked through last.
    fn swept_day(&self) -> rusqlite::Result<i64> {
        let mut statement = self.store.connection.prepare_cached("SELECT day FROM swept WHERE one = 1")?;
        statement.query_row([], |row| row.get(0))
    }

    /// A range of a table by claims, in their order, which is that of its pages: the old ones among them, and where
    /// the next range begins. A table whose keys are random is cheaper to walk than to find one day's rows in.
    fn old_keys(
        &self,
        sql: &str,
        after: Option<ClaimKey>,
        since: i64,
        room: &mut Room,
    ) -> rusqlite::Result<Old> {
        let sql = format!("{sql} WHERE claim > ?1 ORDER BY claim LIMIT ?2");
        let mut statement = self.store.connection.prepare_cached(&sql)?;
        let looks = i64::try_from(room.looks).unwrap_or(i64::MAX);
        // No key is less than an empty one.
        let after_bytes = after.map_or(Vec::new(), |key| key.0.to_vec());
        let mut rows = statement.query(params![after_bytes, looks, since])?;
        let (mut old, mut last) = (Vec::new(), None);
        while room.look() {
            let Some(row) = rows.next()? else { return Ok((old, None)) };
            let claim: [u8; 16] = row.get(0)?;
            last = Some(ClaimKey(claim));
            if row.get(1)? {
                room.take(1, row.get(2)?);
                old.push(claim);
            }
        }
        Ok((old, last.or(after)))
    }
}
