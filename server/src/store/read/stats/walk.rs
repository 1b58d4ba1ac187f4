//! Walks along the tasks, a slice at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use rusqlite::{Connection, Row, params};
use taskhook_core::bulk::Filter;
use taskhook_core::waiting::{HeldUp, code_of};
use taskhook_core::{ConcurrencyKey, HostKey, Queue, QueueKey, State, Timestamp};

use crate::clock::wall_clock;
use crate::store::read::NodeStatus;
use crate::store::read::queues::held_up_of;
use crate::store::read::stats::{Count, Found};
use crate::store::row;
use crate::store::sqlite::{known, queue_of, with_facts};

/// Tasks of one slice: it is read at one moment, and nothing of the log before it can be used again meanwhile.
const SLICE: usize = 10_000;

/// Tasks between two looks at the clock.
const LOOKED_AT_BETWEEN: usize = 200;

/// Where a walk goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Walk {
    /// Along the index of what is queued, behind this entry: queue, rank, concurrency key, host, due time, key.
    Ready([i64; 6]),
    /// Along all tasks, the newest first, before this key.
    Down(i64),
    /// Along all tasks, the oldest first, behind this key.
    Up(i64),
}

impl Walk {
    /// Of one queue, or of all.
    pub(super) fn ready(queue: Option<i64>) -> Walk {
        let mut behind = [i64::MIN; 6];
        behind[0] = queue.unwrap_or(i64::MIN);
        Walk::Ready(behind)
    }

    pub(super) fn down() -> Walk {
        Walk::Down(i64::MAX)
    }
}

impl Count {
    /// Walks a slice. Answers where it goes on; `None`: nothing is left to find.
    pub(super) fn walk(&mut self, connection: &Connection, walk: Walk) -> rusqlite::Result<Option<Walk>> {
        match walk {
            Walk::Ready(behind) => match self.along_ready(connection, behind)? {
                Some(behind) => Ok(Some(Walk::Ready(behind))),
                None => {
                    // Groups of queued tasks are known whole by now.
                    let queued = self.groups.values_mut().filter(|found| found.oldest.is_some());
                    queued.for_each(|found| found.is_oldest_known = true);
                    Ok(self.lacks(|found| !found.has_sample()).then(Walk::down).or_else(|| self.up()))
                }
            },
            Walk::Down(before) => {
                if let Some(before) = self.along_all(connection, before, true)? {
                    let goes_on = !self.is_kept() || self.lacks(|found| !found.has_sample());
                    return Ok(if goes_on { Some(Walk::Down(before)) } else { self.up() });
                }
                // At its end the oldest of each was the last.
                self.groups.values_mut().for_each(|found| found.is_oldest_known = true);
                Ok(None)
            }
            Walk::Up(behind) => {
                let behind = self.along_all(connection, behind, false)?;
                Ok(behind.map(Walk::Up).filter(|_| self.lacks(|found| !found.is_oldest_known)))
            }
        }
    }

    /// The way to the oldest, where they are not known.
    fn up(&self) -> Option<Walk> {
        self.lacks(|found| !found.is_oldest_known).then_some(Walk::Up(i64::MIN))
    }

    fn lacks(&self, what: impl Fn(&Found) -> bool) -> bool {
        self.groups.values().any(what)
    }

    fn along_ready(
        &mut self,
        connection: &Connection,
        behind: [i64; 6],
    ) -> rusqlite::Result<Option<[i64; 6]>> {
        // Only what the index holds, so that no task is looked at.
        let mut statement = connection.prepare_cached(
            "SELECT queue, rank, concurrency_key, host, due_at, key FROM task INDEXED BY task_ready
             WHERE state = 3 AND (queue, rank, concurrency_key, host, due_at, key) > (?1, ?2, ?3, ?4, ?5, ?6)
             ORDER BY queue, rank, concurrency_key, host, due_at, key",
        )?;
        let mut asked = Asked::new(connection);
        let mut rows = statement.query(behind)?;
        let mut place = behind;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            if self.is_time_for_a_rest(looked_at) {
                return Ok(Some(place));
            }
            looked_at += 1;
            for (column, value) in place.iter_mut().enumerate() {
                *value = row.get(column)?;
            }
            let [queue, _, concurrency_key, host, _, task] = place;
            if self.queue.is_some_and(|only| only != queue) {
                break;
            }
            let code = if self.by.code {
                asked.why_queued(&self.node, queue, ConcurrencyKey(concurrency_key), Some(HostKey(host)))?
            } else {
                None
            };
            let (key, counts) = (self.key(queue, None, State::Queued, code), self.by.code);
            if let Some(found) = self.group(key) {
                found.see(task);
                found.count += u64::from(counts);
            }
        }
        Ok(None)
    }

    fn along_all(
        &mut self,
        connection: &Connection,
        from: i64,
        is_down: bool,
    ) -> rusqlite::Result<Option<i64>> {
        let wants_spec = self.by.name || self.filter.name.is_some() || !self.filter.labels.is_empty();
        let spec = if wants_spec {
            ("s.name, s.labels", "JOIN spec s ON s.task = t.key")
        } else {
            ("NULL, NULL", "")
        };
        let (behind, order) = if is_down { ("<", "DESC") } else { (">", "ASC") };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT t.key, t.state, t.created_at, {}, t.queue, t.attempt, t.attempts_before, t.host, t.concurrency_key
             FROM task t {} WHERE t.key {behind} ?1 ORDER BY t.key {order}",
            spec.0, spec.1
        ))?;
        let filter = self.filter.of_queue(self.queue.map(QueueKey));
        let mut asked = Asked::new(connection);
        let mut rows = statement.query(params![from])?;
        let (mut place, mut looked_at) = (from, 0);
        while let Some(row) = rows.next()? {
            if self.is_time_for_a_rest(looked_at) {
                return Ok(Some(place));
            }
            looked_at += 1;
            place = row.get(0)?;
            self.look_at(&mut asked, &filter, row, is_down)?;
        }
        Ok(None)
    }

    fn look_at(
        &mut self,
        asked: &mut Asked<'_>,
        filter: &Filter,
        row: &Row<'_>,
        is_down: bool,
    ) -> rusqlite::Result<()> {
        let state = known(row::state_of(row.get(1)?), 1)?;
        let queue: i64 = row.get(5)?;
        let is_known = state == State::Queued && self.parts_queued();
        if is_known || !with_facts(row, filter, |facts| filter.lets_through(facts))? {
            return Ok(());
        }
        let code = match (self.by.code, state) {
            (false, _) => None,
            (true, State::Queued) => asked.why_queued(
                &self.node,
                queue,
                ConcurrencyKey(row.get(9)?),
                row.get::<_, Option<i64>>(8)?.map(HostKey),
            )?,
            (true, _) => code_of(state, row.get::<_, i64>(7)? < row.get::<_, i64>(6)?, &HeldUp::default()),
        };
        let (key, counts) = (self.key(queue, row.get(3)?, state, code), !self.is_kept());
        if !counts && !self.groups.contains_key(&key) {
            // It is there since the counts were taken.
            return Ok(());
        }
        let Some(found) = self.group(key) else { return Ok(()) };
        found.count += u64::from(counts);
        if is_down {
            found.see(row.get(0)?);
        } else if !found.is_oldest_known {
            found.oldest = Some(row.get(0)?);
            found.is_oldest_known = true;
        }
        Ok(())
    }

    fn is_time_for_a_rest(&self, looked_at: usize) -> bool {
        looked_at >= SLICE
            || (looked_at > 0
                && looked_at.is_multiple_of(LOOKED_AT_BETWEEN)
                && Instant::now() >= self.deadline)
    }
}

/// What a slice has asked about queues and keys, each once.
struct Asked<'a> {
    connection: &'a Connection,
    now: Timestamp,
    queues: BTreeMap<i64, Option<Queue>>,
    /// By queue and concurrency key, what holds up their tasks, but for their hosts.
    held_up: BTreeMap<(i64, i64), HeldUp>,
}

impl<'a> Asked<'a> {
    fn new(connection: &'a Connection) -> Asked<'a> {
        Asked { connection, now: wall_clock(), queues: BTreeMap::new(), held_up: BTreeMap::new() }
    }

    /// The code of why a task is queued.
    fn why_queued(
        &mut self,
        node: &NodeStatus,
        queue: i64,
        key: ConcurrencyKey,
        host: Option<HostKey>,
    ) -> rusqlite::Result<Option<&'static str>> {
        let of = match self.queues.entry(queue) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(queue_of(self.connection, QueueKey(queue))?),
        };
        let Some(of) = of else { return Ok(None) };
        let held_up = match self.held_up.entry((queue, key.0)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(held_up_of(self.connection, of, key, self.now)?),
        };
        let breaker = host.and_then(|host| node.probe_at(host));
        let full = node.full_since();
        Ok(code_of(State::Queued, false, &HeldUp { breaker, full, now: self.now, ..held_up.clone() }))
    }
}
