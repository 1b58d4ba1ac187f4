//! Queues as people see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::queue::QueueSecret;
use taskhook_core::queue::Shut;
use taskhook_core::waiting::HeldUp;
use taskhook_core::{ConcurrencyKey, Queue, QueueKey, State, Task, Timestamp};

use crate::clock::wall_clock;
use crate::store::read::tasks::name_of;
use crate::store::read::{NodeStatus, ReadError, Reader};
use crate::store::row::{self, COUNTED_RETRY};
use crate::store::sqlite::{held_since, key_use_of, queue_of};

/// Lines, and hosts within one, at which the oldest task is looked for.
const LINES_LOOKED_AT_MAX: usize = 1_000;

/// A queue with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// What decisions know of it.
    pub queue: Queue,
    /// How many of its tasks are in each state, and how many of the scheduled ones for a retry.
    pub counts: Vec<(State, u64)>,
    /// How many of its tasks that have not ended wait, by the code of what they wait for.
    pub waiting: Vec<WaitingCount>,
    /// Since when the oldest task that could run has been due.
    pub oldest_due: Option<Timestamp>,
}

/// How many tasks of a queue wait for the same kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingCount {
    /// The contract's word for it.
    pub code: &'static str,
    /// How many.
    pub count: u64,
}

impl Reader {
    /// The queue with this name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn queue(&self, name: &str) -> Result<Option<QueueView>, ReadError> {
        let (name, node) = (name.to_string(), self.node.clone());
        self.run(move |connection| match key_of(connection, &name)? {
            Some(key) => view(connection, &node, key),
            None => Ok(None),
        })
        .await
    }

    /// The queues that have a secret of their own.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn queues_with_secrets(&self) -> Result<Vec<(QueueKey, String, QueueSecret)>, ReadError> {
        self.run(|connection| {
            let mut statement = connection.prepare(
                "SELECT q.key, n.text FROM queue q JOIN name n ON n.key = q.key
                 WHERE json_extract(q.settings, '$.secret') IS NOT NULL ORDER BY q.key",
            )?;
            let rows = statement.query_map([], |row| Ok((QueueKey(row.get(0)?), row.get(1)?)))?;
            let mut found = Vec::new();
            for row in rows {
                let (key, name) = row?;
                let queue = queue_of(connection, key)?;
                if let Some(secret) = queue.and_then(|queue| queue.settings.secret.clone()) {
                    found.push((key, name, secret));
                }
            }
            Ok(found)
        })
        .await
    }

    /// How many running tasks each queue has whose remote was asked, as their callback is overdue.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn callbacks_overdue(&self) -> Result<BTreeMap<QueueKey, i64>, ReadError> {
        self.run(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT queue, count(*) FROM task
                 WHERE watch IS NOT NULL AND state = 5 AND json_extract(watch, '$.count') > 0 GROUP BY queue",
            )?;
            let rows = statement.query_map([], |row| Ok((QueueKey(row.get(0)?), row.get(1)?)))?;
            rows.collect()
        })
        .await
    }

    /// All queues behind the one called `after`, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn queues(&self, after: Option<String>, limit: usize) -> Result<Vec<QueueView>, ReadError> {
        let node = self.node.clone();
        self.run(move |connection| list(connection, &node, after.as_deref(), limit)).await
    }
}

fn list(
    connection: &Connection,
    node: &Arc<NodeStatus>,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<QueueView>> {
    // Those of the system are shown once they hold something.
    let mut statement = connection.prepare_cached(
        "SELECT q.key FROM name n JOIN queue q ON q.key = n.key
         WHERE n.namespace = 1 AND n.kind = 2 AND n.text > ?1
             AND (q.key > 0 OR EXISTS (SELECT 1 FROM task_count c WHERE c.queue = q.key AND c.count > 0))
         ORDER BY n.text LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let keys = statement.query_map(params![after.unwrap_or(""), limit], |row| row.get(0).map(QueueKey))?;
    let keys = keys.collect::<rusqlite::Result<Vec<_>>>()?;
    keys.into_iter().filter_map(|key| view(connection, node, key).transpose()).collect()
}

/// The key of the queue with this name.
pub(super) fn key_of(connection: &Connection, name: &str) -> rusqlite::Result<Option<QueueKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT q.key FROM name n JOIN queue q ON q.key = n.key
         WHERE n.namespace = 1 AND n.kind = 2 AND n.text = ?1",
    )?;
    statement.query_row(params![name], |row| row.get(0).map(QueueKey)).optional()
}

/// What holds up a task that is queued or has begun; of others only the name of their queue.
pub(super) fn held_up(connection: &Connection, node: &NodeStatus, task: &Task) -> rusqlite::Result<HeldUp> {
    let queue = name_of(connection, task.plan.queue.0)?.unwrap_or_default();
    let (full, up_since, now) = (node.full_since(), node.up_since(), wall_clock());
    match task.state {
        State::Dispatching | State::Running => {
            let held = held_since(connection)?;
            Ok(HeldUp { queue, held, full, up_since, now, ..HeldUp::default() })
        }
        State::Queued => {
            let Some(settings) = queue_of(connection, task.plan.queue)? else {
                return Ok(HeldUp { queue, up_since, ..HeldUp::default() });
            };
            let held_up = held_up_of(connection, &settings, task.plan.concurrency_key, now)?;
            let breaker = task.plan.host.and_then(|host| node.probe_at(host));
            Ok(HeldUp { queue, breaker, full, up_since, now, ..held_up })
        }
        _ => Ok(HeldUp { queue, up_since, ..HeldUp::default() }),
    }
}

/// What holds up the queued tasks of a key, but for what their hosts and the disk do, and without the queue's name.
pub(super) fn held_up_of(
    connection: &Connection,
    queue: &Queue,
    key: ConcurrencyKey,
    now: Timestamp,
) -> rusqlite::Result<HeldUp> {
    let held = held_since(connection)?;
    let mut held_up = HeldUp { held, shut: queue.room(now).err(), ..HeldUp::default() };
    if key != ConcurrencyKey::NONE {
        let used = key_use_of(connection, queue.key, key)?;
        let limit = queue.settings.key_concurrency.unwrap_or(0);
        held_up.key = queue.settings.key_room(key, used, now).err().map(|why| (why, limit));
    }
    Ok(held_up)
}

fn view(
    connection: &Connection,
    node: &Arc<NodeStatus>,
    key: QueueKey,
) -> rusqlite::Result<Option<QueueView>> {
    let Some(queue) = queue_of(connection, key)? else { return Ok(None) };
    let mut statement =
        connection.prepare_cached("SELECT state, count FROM task_count WHERE queue = ?1 AND count > 0")?;
    let rows = statement
        .query_map(params![key.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    let counted = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let of = |number: i64| counted.iter().find(|(state, _)| *state == number).map_or(0, |(_, count)| *count);
    let counts = State::ALL.into_iter().map(|state| {
        let retry = if state == State::Scheduled { of(COUNTED_RETRY) } else { 0 };
        (state, of(row::state_number(state)) + retry)
    });
    let mut waiting = vec![
        WaitingCount { code: "dependency", count: of(row::state_number(State::Blocked)) },
        WaitingCount { code: "time", count: of(row::state_number(State::Scheduled)) },
        WaitingCount { code: "retry", count: of(COUNTED_RETRY) },
    ];
    waiting.extend(queued(connection, node, &queue, of(row::state_number(State::Queued)))?);
    waiting.push(WaitingCount { code: "response", count: of(row::state_number(State::Dispatching)) });
    waiting.push(WaitingCount { code: "callback", count: of(row::state_number(State::Running)) });
    waiting.retain(|waiting| waiting.count > 0);
    Ok(Some(QueueView {
        name: name_of(connection, key.0)?.unwrap_or_default(),
        counts: counts.collect(),
        waiting,
        oldest_due: oldest_due(connection, key)?,
        queue,
    }))
}

/// What the tasks wait for that are queued. What holds up the server or the queue holds up all of them; else each key
/// and each host its own.
fn queued(
    connection: &Connection,
    node: &NodeStatus,
    queue: &Queue,
    count: u64,
) -> rusqlite::Result<Vec<WaitingCount>> {
    if held_since(connection)?.is_some() {
        return Ok(vec![WaitingCount { code: "held", count }]);
    }
    if node.full_since().is_some() {
        return Ok(vec![WaitingCount { code: "disk_full", count }]);
    }
    if let Err(Shut::Paused) = queue.room(wall_clock()) {
        return Ok(vec![WaitingCount { code: "paused", count }]);
    }
    let of_keys: i64 = connection
        .prepare_cached("SELECT coalesce(sum(waiting), 0) FROM key_use WHERE queue = ?1 AND closed > 0")?
        .query_row(params![queue.key.0], |row| row.get(0))?;
    let of_keys = of_keys.unsigned_abs().min(count);
    let mut of_hosts = 0;
    let mut waiting_for_host = connection.prepare_cached(
        "SELECT count(*) FROM host_wait w JOIN task t ON t.state = 3 AND t.queue = w.queue AND t.rank = w.rank
             AND t.concurrency_key = w.concurrency_key AND t.host = w.host
         WHERE w.queue = ?1 AND w.host = ?2",
    )?;
    for host in node.broken() {
        let count: i64 = waiting_for_host.query_row(params![queue.key.0, host.0], |row| row.get(0))?;
        of_hosts += count.unsigned_abs();
    }
    let of_hosts = of_hosts.min(count - of_keys);
    let code = match queue.room(wall_clock()) {
        Err(Shut::Concurrency(_)) => "concurrency",
        Err(Shut::Rate(_)) => "rate",
        _ => "capacity",
    };
    Ok(vec![
        WaitingCount { code: "key_limit", count: of_keys },
        WaitingCount { code: "breaker", count: of_hosts },
        WaitingCount { code, count: count - of_keys - of_hosts },
    ])
}

/// Since when the oldest task has been due that nothing but its turn holds up: of the lines that are open, as many as
/// are looked at.
fn oldest_due(connection: &Connection, queue: QueueKey) -> rusqlite::Result<Option<Timestamp>> {
    let mut lines =
        connection.prepare_cached("SELECT rank, concurrency_key FROM line WHERE queue = ?1 LIMIT ?2")?;
    let max = i64::try_from(LINES_LOOKED_AT_MAX).unwrap_or(i64::MAX);
    let lines =
        lines.query_map(params![queue.0, max], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let mut next_host = connection.prepare_cached(
        "SELECT host FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND concurrency_key = ?3 AND host > ?4
         ORDER BY host LIMIT 1",
    )?;
    let mut first = connection.prepare_cached(
        // A task may be due before it is there.
        "SELECT max(due_at, created_at) FROM task
         WHERE state = 3 AND queue = ?1 AND rank = ?2 AND concurrency_key = ?3 AND host = ?4
         ORDER BY due_at, key LIMIT 1",
    )?;
    let mut oldest: Option<i64> = None;
    let mut looked_at = 0;
    for line in lines {
        let (rank, key) = line?;
        let mut host = i64::MIN;
        while looked_at < LINES_LOOKED_AT_MAX {
            looked_at += 1;
            let next = next_host.query_row(params![queue.0, rank, key, host], |row| row.get(0)).optional()?;
            let Some(next) = next else { break };
            host = next;
            let due: i64 = first.query_row(params![queue.0, rank, key, host], |row| row.get(0))?;
            oldest = Some(oldest.map_or(due, |oldest| oldest.min(due)));
        }
    }
    Ok(oldest.map(row::time))
}
