//! How many tasks there are of each kind, with the oldest and some of the newest.
//!
//! What the store counts as it goes is never counted again: counts by queue, state and code. The rest is found by
//! walks along an index, in slices, each a short read of its own, until the time is up: nothing waits for them.

mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use taskhook_core::waiting::{HeldUp, code_of};
use taskhook_core::{State, Timestamp};

use crate::store::read::tasks::name_of;
use crate::store::read::{NodeStatus, ReadError, Reader, TaskFilter, queues};
use crate::store::row::{self, COUNTED_RETRY};
use crate::store::sqlite::known;
use walk::Walk;

/// Groups of one answer.
const GROUPS_MAX: usize = 1_000;

/// The newest tasks that are named of each group.
const SAMPLE: usize = 3;

/// What tells tasks apart that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupBy {
    /// The queue.
    pub queue: bool,
    /// The kind of work.
    pub name: bool,
    /// The state.
    pub state: bool,
    /// What a task waits for.
    pub code: bool,
}

/// The tasks that have everything in common by which they are told apart. What is not asked for is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskGroup {
    /// Their queue.
    pub queue: Option<String>,
    /// Their kind of work; `None` too where they have none.
    pub name: Option<String>,
    /// Their state.
    pub state: Option<State>,
    /// The code of what they wait for; `None` too where they have ended.
    pub code: Option<&'static str>,
    /// How many they are.
    pub count: u64,
    /// The id of the oldest and when it was created; `None` where it was not reached in time.
    pub oldest: Option<(String, Timestamp)>,
    /// The ids of the newest, the newest first.
    pub sample: Vec<String>,
}

/// Tasks, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStats {
    /// In the order of queue, name, state and code.
    pub groups: Vec<TaskGroup>,
    /// `false`: the time was up, or there are more groups than are told.
    pub complete: bool,
}

impl Reader {
    /// Counts the tasks that a filter lets through, for at most about `time`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn task_stats(
        &self,
        filter: TaskFilter,
        by: GroupBy,
        time: Duration,
    ) -> Result<TaskStats, ReadError> {
        let mut count = Count::new(filter, by, self.node.clone(), Instant::now() + time);
        loop {
            let is_over;
            (count, is_over) = self
                .run(move |connection| {
                    let is_over = count.step(connection)?;
                    Ok((count, is_over))
                })
                .await?;
            if is_over {
                return self.run(move |connection| count.show(connection)).await;
            }
        }
    }
}

/// What the tasks of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    queue: Option<i64>,
    name: Option<String>,
    /// The stored number.
    state: Option<i64>,
    code: Option<&'static str>,
}

/// What is known of a group so far.
#[derive(Debug, Clone, Default)]
struct Found {
    count: u64,
    /// The oldest that was seen; it is the oldest of all once its walk has ended.
    oldest: Option<i64>,
    is_oldest_known: bool,
    /// The newest that were seen, the newest first.
    newest: Vec<i64>,
}

impl Found {
    fn see(&mut self, key: i64) {
        self.oldest = Some(self.oldest.map_or(key, |oldest| oldest.min(key)));
        let place = self.newest.partition_point(|newer| *newer > key);
        if place < SAMPLE && self.newest.get(place) != Some(&key) {
            self.newest.insert(place, key);
            self.newest.truncate(SAMPLE);
        }
    }

    fn has_sample(&self) -> bool {
        self.newest.len() as u64 >= self.count.min(SAMPLE as u64)
    }
}

/// A count as it goes on.
#[derive(Debug)]
struct Count {
    filter: TaskFilter,
    /// The key of the queue that the filter names.
    queue: Option<i64>,
    by: GroupBy,
    node: Arc<NodeStatus>,
    deadline: Instant,
    groups: BTreeMap<Key, Found>,
    /// Where it is; `None`: at the start.
    walk: Option<Walk>,
    complete: bool,
}

impl Count {
    fn new(filter: TaskFilter, by: GroupBy, node: Arc<NodeStatus>, deadline: Instant) -> Count {
        let groups = BTreeMap::new();
        Count { filter, queue: None, by, node, deadline, groups, walk: None, complete: true }
    }

    /// Whether the store knows the counts without looking at tasks.
    fn is_kept(&self) -> bool {
        let filter = &self.filter;
        !self.by.name && filter.name.is_none() && filter.labels.is_empty() && filter.created_after.is_none()
    }

    /// Whether tasks that are queued are in groups of their own, so that the index of those tells all about them.
    fn parts_queued(&self) -> bool {
        self.is_kept() && (self.by.state || self.by.code)
    }

    fn lets_through(&self, state: State) -> bool {
        self.filter.states.is_empty() || self.filter.states.contains(&state)
    }

    /// One short read. Answers whether it was the last.
    fn step(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some(walk) = self.walk.take() else { return self.begin(connection) };
        let next = self.walk(connection, walk)?;
        // Whoever was served a slice has what that slice found.
        let is_late = Instant::now() >= self.deadline;
        self.complete &= next.is_none() || !is_late;
        self.walk = next.filter(|_| !is_late);
        Ok(self.walk.is_none())
    }

    fn begin(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        if let Some(name) = &self.filter.queue {
            match queues::key_of(connection, name)? {
                Some(queue) => self.queue = Some(queue.0),
                None => return Ok(true),
            }
        }
        self.walk = Some(Walk::down());
        if self.is_kept() {
            self.take_counts(connection)?;
            if self.parts_queued() && self.lets_through(State::Queued) {
                self.walk = Some(Walk::ready(self.queue));
            }
        }
        Ok(false)
    }

    /// The counts that the store keeps.
    fn take_counts(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT queue, state, count FROM task_count
             WHERE count > 0 AND (?1 IS NULL OR queue = ?1) ORDER BY queue, state",
        )?;
        let mut rows = statement.query(params![self.queue])?;
        while let Some(row) = rows.next()? {
            let (queue, counted, count): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let retries = counted == COUNTED_RETRY;
            let number = if retries { row::state_number(State::Scheduled) } else { counted };
            let state = known(row::state_of(number), 1)?;
            // Why a task is queued, each has to be asked.
            if !self.lets_through(state) || (self.by.code && state == State::Queued) {
                continue;
            }
            let code = code_of(state, retries, &HeldUp::default());
            let key = self.key(queue, None, state, code);
            if let Some(found) = self.group(key) {
                found.count += count.unsigned_abs();
            }
        }
        Ok(())
    }

    fn key(&self, queue: i64, name: Option<String>, state: State, code: Option<&'static str>) -> Key {
        Key {
            queue: self.by.queue.then_some(queue),
            name: name.filter(|_| self.by.name),
            state: self.by.state.then(|| row::state_number(state)),
            code: code.filter(|_| self.by.code),
        }
    }

    /// The group under `key`, unless there are too many.
    fn group(&mut self, key: Key) -> Option<&mut Found> {
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            self.complete = false;
            return None;
        }
        Some(self.groups.entry(key).or_default())
    }

    /// What was found, with names for keys.
    fn show(self, connection: &Connection) -> rusqlite::Result<TaskStats> {
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut created = connection.prepare_cached("SELECT created_at FROM task WHERE key = ?1")?;
        for (key, found) in self.groups.into_iter().filter(|(_, found)| found.count > 0) {
            let name = |task: i64| name_of(connection, task);
            // A task that was pruned since has no name.
            let oldest = match found.oldest.filter(|_| found.is_oldest_known) {
                Some(oldest) => name(oldest)?.and_then(|id| {
                    let at = created.query_row(params![oldest], |row| row.get(0));
                    Some((id, row::time(at.ok()?)))
                }),
                None => None,
            };
            let sample = found.newest.iter().filter_map(|task| name(*task).transpose());
            groups.push(TaskGroup {
                queue: key.queue.map(name).transpose()?.flatten(),
                name: key.name,
                state: key.state.and_then(row::state_of),
                code: key.code,
                count: found.count,
                oldest,
                sample: sample.collect::<rusqlite::Result<_>>()?,
            });
        }
        let order = |group: &TaskGroup| {
            (group.queue.clone(), group.name.clone(), group.state.map(row::state_number), group.code)
        };
        groups.sort_by_cached_key(order);
        Ok(TaskStats { groups, complete: self.complete })
    }
}
