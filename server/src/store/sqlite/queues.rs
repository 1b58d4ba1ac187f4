//! Queues: what a visit looks at, and what it leaves.
//!
//! A visit costs a probe for each line and host that it looks at, however many tasks wait: lines of which nothing can
//! start are not in the table `line`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::queue::Closed;
use taskhook_core::queue::admission::{self, Standing, Visit};
use taskhook_core::subjects::Page;
use taskhook_core::{
    ConcurrencyKey, Context, Decided, HostKey, KeyUse, Line, Queue, QueueChange, QueueKey, State, Subjects,
    Task, TaskKey, Timestamp, limits,
};

use crate::store::row::{self, SettingsRow};
use crate::store::sqlite::load::known;
use crate::store::sqlite::{SqliteTransaction, text_of};

/// Hosts that one visit looks at within one line; more where more tasks are wanted than this.
const HOSTS_PER_LINE: usize = 64;

/// What of a task its queue counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standpoint {
    /// Its state, as it is counted.
    counted: i64,
    /// It holds a place.
    holds_a_place: bool,
    /// It waits for one.
    waits: bool,
}

impl Standpoint {
    pub(super) fn of(task: &Task) -> Standpoint {
        let waits = task.state == State::Queued && !task.is_external();
        Standpoint { counted: row::counted_state(task), holds_a_place: task.holds_a_place(), waits }
    }
}

fn priority_of(rank: i16) -> i16 {
    -rank
}

fn rank_of(line: &Line) -> i16 {
    -line.priority
}

/// The queue under this key.
pub(crate) fn queue_of(connection: &Connection, key: QueueKey) -> rusqlite::Result<Option<Queue>> {
    let mut statement = connection
        .prepare_cached("SELECT settings, paused, open, paced, wake_at FROM queue WHERE key = ?1")?;
    let queue = statement.query_row(params![key.0], |row| {
        let settings: String = row.get(0)?;
        let settings: Option<SettingsRow> = serde_json::from_str(&settings).ok();
        Ok(Queue {
            key,
            settings: known(settings, 0)?.settings().into(),
            paused: row.get(1)?,
            open: row.get(2)?,
            paced: row::time(row.get(3)?),
            wake_at: row.get::<_, Option<i64>>(4)?.map(row::time),
        })
    });
    queue.optional()
}

/// What the tasks of a key have of their queue's limits.
pub(crate) fn key_use_of(
    connection: &Connection,
    queue: QueueKey,
    key: ConcurrencyKey,
) -> rusqlite::Result<KeyUse> {
    if key == ConcurrencyKey::NONE {
        return Ok(KeyUse::default());
    }
    let mut statement = connection
        .prepare_cached("SELECT open, paced FROM key_use WHERE queue = ?1 AND concurrency_key = ?2")?;
    let used = statement.query_row(params![queue.0, key.0], |row| {
        Ok(KeyUse { open: row.get(0)?, paced: row::time(row.get(1)?) })
    });
    Ok(used.optional()?.unwrap_or_default())
}

impl SqliteTransaction<'_> {
    pub(super) fn load_queue(&self, key: QueueKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        subjects.put_queue(key, queue_of(&self.store.connection, key)?);
        Ok(())
    }

    /// How many queues there are: looked at only where one more may be made.
    pub(super) fn load_queue_count(&self, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if subjects.knows_queue_count() {
            return Ok(());
        }
        let mut statement =
            self.store.connection.prepare_cached("SELECT count(*) FROM queue WHERE key > 0")?;
        let count: i64 = statement.query_row([], |row| row.get(0))?;
        subjects.put_queue_count(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(())
    }

    /// What a visit of the queue needs, for as many tasks as could start now at the most.
    pub(super) fn load_visit(
        &mut self,
        cx: &Context,
        key: QueueKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_queue(key, subjects)?;
        let Some(queue) = subjects.queue(key).cloned() else { return Ok(()) };
        let wanted = admission::wanted(cx, &queue);
        let mut visit = Visit::default();
        if wanted > 0 {
            visit.freed = self.freed_lines(&queue, cx.now)?;
            visit.next_free = self.next_free(key)?;
        }
        if visit.freed.is_empty() && wanted > 0 {
            let lines_max = admission::lines_wanted(wanted);
            let mut lines = self.open_lines(key, lines_max + 1)?;
            visit.more = lines.len() > lines_max;
            lines.truncate(lines_max);
            let share = (wanted, lines.len());
            for line in lines {
                let used = key_use_of(&self.store.connection, line.queue, line.key)?;
                visit.keys.insert(line.key, used);
                let max = admission::wanted_of_line(cx, &queue, line.key, used, share);
                visit.lines.push(self.standing(cx, line, max)?);
            }
        }
        for task in visit.lines.iter().flat_map(|standing| &standing.tasks) {
            self.load_task(*task, subjects)?;
        }
        subjects.put_visit(key, visit);
        Ok(())
    }

    /// Open lines, higher priority first, within one priority those whose turn is next.
    fn open_lines(&self, queue: QueueKey, max: usize) -> rusqlite::Result<Vec<Line>> {
        let connection = &self.store.connection;
        let mut next_rank = connection
            .prepare_cached("SELECT rank FROM line WHERE queue = ?1 AND rank > ?2 ORDER BY rank LIMIT 1")?;
        let mut last_turn =
            connection.prepare_cached("SELECT concurrency_key FROM turn WHERE queue = ?1 AND rank = ?2")?;
        let mut behind = connection.prepare_cached(
            "SELECT concurrency_key FROM line WHERE queue = ?1 AND rank = ?2 AND concurrency_key > ?3
             ORDER BY concurrency_key LIMIT ?4",
        )?;
        let mut before = connection.prepare_cached(
            "SELECT concurrency_key FROM line WHERE queue = ?1 AND rank = ?2 AND concurrency_key <= ?3
             ORDER BY concurrency_key LIMIT ?4",
        )?;
        let mut lines = Vec::new();
        let mut rank = i16::MIN;
        while lines.len() < max {
            let next: Option<i16> =
                next_rank.query_row(params![queue.0, rank], |row| row.get(0)).optional()?;
            let Some(next) = next else { break };
            rank = next;
            let last: Option<i64> =
                last_turn.query_row(params![queue.0, rank], |row| row.get(0)).optional()?;
            let last = last.unwrap_or(i64::MAX);
            for part in [&mut behind, &mut before] {
                let left = i64::try_from(max - lines.len()).unwrap_or(i64::MAX);
                let keys = part.query_map(params![queue.0, rank, last, left], |row| row.get(0))?;
                for key in keys {
                    lines.push(Line { queue, priority: priority_of(rank), key: ConcurrencyKey(key?) });
                }
            }
        }
        Ok(lines)
    }

    /// Lines closed for their key's sake whose key has room again.
    fn freed_lines(&self, queue: &Queue, now: Timestamp) -> rusqlite::Result<Vec<Line>> {
        let connection = &self.store.connection;
        let mut at_limit = connection.prepare_cached(
            "SELECT concurrency_key FROM key_use WHERE queue = ?1 AND closed = 1 AND open < ?2 LIMIT ?3",
        )?;
        let mut at_rate = connection.prepare_cached(
            "SELECT concurrency_key FROM key_use WHERE queue = ?1 AND closed = 2 AND free_at <= ?2 LIMIT ?3",
        )?;
        let max = i64::try_from(limits::FREED_KEYS_PER_VISIT).unwrap_or(i64::MAX);
        let limit = queue.settings.key_concurrency.map_or(i64::MAX, i64::from);
        let mut lines = Vec::new();
        for (keys, bound) in [(&mut at_limit, limit), (&mut at_rate, now.0)] {
            let keys = keys.query_map(params![queue.key.0, bound, max], |row| row.get(0))?;
            for key in keys {
                let key = ConcurrencyKey(key?);
                let ranks = self.ranks_with(queue.key, key)?;
                // Where nobody waits any more, the key is free all the same.
                let ranks = if ranks.is_empty() { vec![0] } else { ranks };
                let line = |rank| Line { queue: queue.key, priority: priority_of(rank), key };
                lines.extend(ranks.into_iter().map(line));
            }
        }
        Ok(lines)
    }

    /// The ranks in which tasks of a key wait. Costs a probe for each rank of the queue.
    fn ranks_with(&self, queue: QueueKey, key: ConcurrencyKey) -> rusqlite::Result<Vec<i16>> {
        let connection = &self.store.connection;
        let mut next_rank = connection.prepare_cached(
            "SELECT rank FROM task WHERE state = 3 AND queue = ?1 AND rank > ?2 ORDER BY rank LIMIT 1",
        )?;
        let mut has = connection.prepare_cached(
            "SELECT 1 FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND concurrency_key = ?3",
        )?;
        let mut ranks = Vec::new();
        let mut rank = i16::MIN;
        while let Some(next) = next_rank.query_row(params![queue.0, rank], |row| row.get(0)).optional()? {
            rank = next;
            if has.exists(params![queue.0, rank, key.0])? {
                ranks.push(rank);
            }
        }
        Ok(ranks)
    }

    fn next_free(&self, queue: QueueKey) -> rusqlite::Result<Option<Timestamp>> {
        let mut statement = self
            .store
            .connection
            .prepare_cached("SELECT min(free_at) FROM key_use WHERE queue = ?1 AND closed = 2")?;
        statement.query_row(params![queue.0], |row| Ok(row.get::<_, Option<i64>>(0)?.map(row::time)))
    }

    /// The first `max` tasks of a line, but for those whose host has no place.
    fn standing(&mut self, cx: &Context, line: Line, max: usize) -> rusqlite::Result<Standing> {
        let connection = &self.store.connection;
        let rank = rank_of(&line);
        let mut next_host = connection.prepare_cached(
            "SELECT host FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND concurrency_key = ?3
                 AND host > ?4 ORDER BY host LIMIT 1",
        )?;
        let mut of_host = connection.prepare_cached(
            "SELECT due_at, key FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND concurrency_key = ?3
                 AND host = ?4 ORDER BY due_at, key LIMIT ?5",
        )?;
        let mut found: Vec<(i64, i64)> = Vec::new();
        let mut standing = Standing { line, tasks: Vec::new(), more: false, blocked: Vec::new() };
        let first = self.store.next_host;
        let (mut host, mut wrapped, mut looked_at) = (first, first == i64::MIN, 0);
        // Each host looked at has a task that could start, so that as many are found as are wanted.
        let hosts_max = max.max(HOSTS_PER_LINE);
        while looked_at < hosts_max {
            let values = params![line.queue.0, rank, line.key.0, host];
            let next = next_host.query_row(values, |row| row.get(0)).optional()?;
            match next {
                None if wrapped => break,
                None => {
                    (host, wrapped) = (i64::MIN, true);
                    continue;
                }
                // Once around: the hosts from here on were looked at first.
                Some(next) if wrapped && first != i64::MIN && next > first => break,
                Some(next) => host = next,
            }
            let places = usize::try_from(cx.permits.free_with(HostKey(host), cx.now)).unwrap_or(usize::MAX);
            if places == 0 {
                standing.blocked.push(HostKey(host));
                continue;
            }
            looked_at += 1;
            let wanted = places.min(max);
            // One more tells whether there are others behind them.
            let limit = i64::try_from(wanted + 1).unwrap_or(i64::MAX);
            let rows = of_host.query_map(params![line.queue.0, rank, line.key.0, host, limit], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            if rows.len() > wanted {
                rows.truncate(wanted);
                match wanted < max {
                    // They wait for a place with this host, once these have begun.
                    true => standing.blocked.push(HostKey(host)),
                    false => standing.more = true,
                }
            }
            found.extend(rows);
        }
        drop((next_host, of_host));
        if looked_at == hosts_max {
            // The next visit goes on with the hosts behind this one.
            self.store.next_host = host;
            standing.more = true;
        }
        found.sort_unstable();
        standing.more |= found.len() > max;
        found.truncate(max);
        standing.tasks = found.into_iter().map(|(_, key)| TaskKey(key)).collect();
        Ok(standing)
    }

    /// The lines that wait longest for a place with a host, as many as there are places.
    pub(super) fn load_waiting_for_host(
        &self,
        cx: &Context,
        host: HostKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        let places = usize::try_from(cx.permits.free_with(host, cx.now)).unwrap_or(usize::MAX);
        let max = places.min(limits::HOST_PAGE);
        let mut statement = self.store.connection.prepare_cached(
            "SELECT queue, rank, concurrency_key FROM host_wait WHERE host = ?1 ORDER BY rank, seq LIMIT ?2",
        )?;
        let limit = i64::try_from(max + 1).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![host.0, limit], |row| {
            Ok(Line {
                queue: QueueKey(row.get(0)?),
                priority: priority_of(row.get(1)?),
                key: ConcurrencyKey(row.get(2)?),
            })
        })?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > max;
        rows.truncate(max);
        subjects.put_waiting_for_host(host, Page { rows, more });
        Ok(())
    }

    /// What has become of queues.
    pub(super) fn save_queues(&mut self, decided: &[Decided], subjects: &Subjects) -> rusqlite::Result<()> {
        let mut touched: BTreeSet<QueueKey> = BTreeSet::new();
        let mut turns: BTreeMap<(QueueKey, i16), Line> = BTreeMap::new();
        let mut began: BTreeSet<(QueueKey, ConcurrencyKey)> = BTreeSet::new();
        for (key, change) in decided.iter().flat_map(|one| &one.decision.queues) {
            match change {
                QueueChange::Defined { .. } => {
                    self.save_name(key.0)?;
                    self.define(*key, subjects)?;
                    touched.insert(*key);
                }
                QueueChange::Paused | QueueChange::Resumed | QueueChange::Rearmed { .. } => {
                    touched.insert(*key);
                }
                QueueChange::Began { line } => {
                    turns.insert((*key, line.priority), *line);
                    if line.key != ConcurrencyKey::NONE {
                        began.insert((*key, line.key));
                    }
                    touched.extend(
                        subjects.queue(*key).filter(|queue| queue.settings.rate.is_some()).map(|_| *key),
                    );
                }
                QueueChange::LineClosed { line, why } => self.close_line(line, why)?,
                QueueChange::LineOpened { line } => self.open_line(line)?,
            }
        }
        for line in turns.into_values() {
            let mut statement = self.store.connection.prepare_cached(
                "INSERT OR REPLACE INTO turn (queue, rank, concurrency_key) VALUES (?1, ?2, ?3)",
            )?;
            statement.execute(params![line.queue.0, rank_of(&line), line.key.0])?;
        }
        for (queue, key) in began {
            let Some(used) = subjects.key_use(queue, key) else { continue };
            let mut statement = self.store.connection.prepare_cached(
                "INSERT INTO key_use (queue, concurrency_key, open, waiting, paced, closed)
                 VALUES (?1, ?2, 0, 0, ?3, 0) ON CONFLICT DO UPDATE SET paced = ?3",
            )?;
            statement.execute(params![queue.0, key.0, used.paced.0])?;
        }
        for queue in touched.into_iter().filter_map(|key| subjects.queue(key)) {
            let mut statement = self
                .store
                .connection
                .prepare_cached("UPDATE queue SET paused = ?2, paced = ?3, wake_at = ?4 WHERE key = ?1")?;
            let wake_at = queue.wake_at.map(|at| at.0);
            statement.execute(params![queue.key.0, queue.paused, queue.paced.0, wake_at])?;
        }
        Ok(())
    }

    fn define(&self, key: QueueKey, subjects: &Subjects) -> rusqlite::Result<()> {
        let Some(queue) = subjects.queue(key) else { return Ok(()) };
        let connection = &self.store.connection;
        let mut statement = connection.prepare_cached(
            "INSERT INTO queue (key, settings, paused, open, paced) VALUES (?1, ?2, ?3, 0, ?4)
             ON CONFLICT DO UPDATE SET settings = ?2",
        )?;
        let settings = text_of(&SettingsRow::of(&queue.settings))?;
        statement.execute(params![key.0, settings, queue.paused, queue.paced.0])?;
        // A slower rate of before does not bind a faster one: each key is looked at once more.
        let mut statement = connection
            .prepare_cached("UPDATE key_use SET paced = min(paced, ?2) WHERE queue = ?1 AND paced > ?3")?;
        let furthest = queue.settings.key_rate.map_or(self.now, |rate| rate.furthest(self.now));
        statement.execute(params![key.0, furthest.0, self.now.0])?;
        let mut statement =
            connection.prepare_cached("UPDATE key_use SET free_at = ?2 WHERE queue = ?1 AND closed = 2")?;
        statement.execute(params![key.0, self.now.0])?;
        Ok(())
    }

    fn close_line(&self, line: &Line, why: &Closed) -> rusqlite::Result<()> {
        let connection = &self.store.connection;
        let mut statement = connection
            .prepare_cached("DELETE FROM line WHERE queue = ?1 AND rank = ?2 AND concurrency_key = ?3")?;
        statement.execute(params![line.queue.0, rank_of(line), line.key.0])?;
        let (closed, free_at) = match why {
            Closed::Empty => return Ok(()),
            Closed::KeyLimit => (1, None),
            Closed::KeyRate(free_at) => (2, Some(free_at.0)),
            Closed::Hosts(hosts) => {
                let mut statement = connection.prepare_cached(
                    "INSERT OR IGNORE INTO host_wait (host, queue, rank, concurrency_key) VALUES (?1, ?2, ?3, ?4)",
                )?;
                for host in hosts {
                    statement.execute(params![host.0, line.queue.0, rank_of(line), line.key.0])?;
                }
                return Ok(());
            }
        };
        let mut statement = connection.prepare_cached(
            "INSERT INTO key_use (queue, concurrency_key, open, waiting, paced, closed, free_at)
             VALUES (?1, ?2, 0, 0, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET closed = ?4, free_at = ?5",
        )?;
        statement.execute(params![line.queue.0, line.key.0, KeyUse::default().paced.0, closed, free_at])?;
        Ok(())
    }

    fn open_line(&self, line: &Line) -> rusqlite::Result<()> {
        let connection = &self.store.connection;
        let mut statement = connection.prepare_cached(
            "INSERT OR IGNORE INTO line (queue, rank, concurrency_key) VALUES (?1, ?2, ?3)",
        )?;
        statement.execute(params![line.queue.0, rank_of(line), line.key.0])?;
        let mut statement = connection.prepare_cached(
            "DELETE FROM host_wait WHERE queue = ?1 AND rank = ?2 AND concurrency_key = ?3",
        )?;
        statement.execute(params![line.queue.0, rank_of(line), line.key.0])?;
        let mut statement = connection.prepare_cached(
            "UPDATE key_use SET closed = 0, free_at = NULL
             WHERE queue = ?1 AND concurrency_key = ?2 AND closed > 0",
        )?;
        if statement.execute(params![line.queue.0, line.key.0])? == 0 {
            return Ok(());
        }
        // That was said of the key, and so of its lines with other priorities too: nothing else would open them now.
        let mut statement = connection.prepare_cached(
            "INSERT OR IGNORE INTO line (queue, rank, concurrency_key) VALUES (?1, ?2, ?3)",
        )?;
        for rank in self.ranks_with(line.queue, line.key)? {
            statement.execute(params![line.queue.0, rank, line.key.0])?;
        }
        Ok(())
    }

    /// What the changes of tasks mean for the counts of their queues, and for the lines they stand in. Comes after
    /// what was decided about queues: a task that begins to wait opens a line that was found empty.
    pub(super) fn count_places(
        &mut self,
        touched: &BTreeSet<TaskKey>,
        subjects: &Subjects,
    ) -> rusqlite::Result<()> {
        let mut counts: BTreeMap<(QueueKey, i64), i64> = BTreeMap::new();
        let mut open: BTreeMap<QueueKey, i64> = BTreeMap::new();
        let mut of_key: BTreeMap<(QueueKey, ConcurrencyKey), (i64, i64)> = BTreeMap::new();
        let mut lines: BTreeSet<Line> = BTreeSet::new();
        for task in touched.iter().filter_map(|key| subjects.task(*key)) {
            let after = Standpoint::of(task);
            let before = self.standpoints.insert(task.key, after);
            let (queue, key) = (task.plan.queue, task.plan.concurrency_key);
            *counts.entry((queue, after.counted)).or_insert(0) += 1;
            if let Some(before) = before {
                *counts.entry((queue, before.counted)).or_insert(0) -= 1;
            }
            let was = |which: fn(Standpoint) -> bool| i64::from(before.is_some_and(which));
            let places = i64::from(after.holds_a_place) - was(|before| before.holds_a_place);
            let waiting = i64::from(after.waits) - was(|before| before.waits);
            *open.entry(queue).or_insert(0) += places;
            if key != ConcurrencyKey::NONE && (places, waiting) != (0, 0) {
                let of_key = of_key.entry((queue, key)).or_insert((0, 0));
                *of_key = (of_key.0 + places, of_key.1 + waiting);
            }
            if waiting > 0 {
                lines.insert(Line { queue, priority: task.plan.priority, key });
            }
        }
        let connection = &self.store.connection;
        for ((queue, state), count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            let mut statement = connection.prepare_cached(
                "INSERT INTO task_count (queue, state, count) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET count = count + ?3",
            )?;
            statement.execute(params![queue.0, state, count])?;
        }
        for (queue, places) in open.into_iter().filter(|(_, places)| *places != 0) {
            let mut statement =
                connection.prepare_cached("UPDATE queue SET open = open + ?2 WHERE key = ?1")?;
            statement.execute(params![queue.0, places])?;
        }
        for ((queue, key), (places, waiting)) in of_key {
            let mut statement = connection.prepare_cached(
                "INSERT INTO key_use (queue, concurrency_key, open, waiting, paced, closed)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)
                 ON CONFLICT DO UPDATE SET open = open + ?3, waiting = waiting + ?4",
            )?;
            statement.execute(params![queue.0, key.0, places, waiting, KeyUse::default().paced.0])?;
            let mut statement = connection.prepare_cached(
                "DELETE FROM key_use WHERE queue = ?1 AND concurrency_key = ?2 AND open = 0 AND waiting = 0
                     AND closed = 0 AND paced <= ?3",
            )?;
            statement.execute(params![queue.0, key.0, self.now.0])?;
        }
        for line in lines {
            let mut statement = connection.prepare_cached(
                "INSERT OR IGNORE INTO line (queue, rank, concurrency_key) SELECT ?1, ?2, ?3
                 WHERE NOT EXISTS (SELECT 1 FROM key_use WHERE queue = ?1 AND concurrency_key = ?3 AND closed > 0)",
            )?;
            statement.execute(params![line.queue.0, rank_of(&line), line.key.0])?;
        }
        Ok(())
    }
}
