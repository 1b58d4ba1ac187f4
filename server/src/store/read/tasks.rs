//! Tasks and their history, as people see them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::bulk::Filter;
use taskhook_core::task::{cancelled, woken};
use taskhook_core::waiting::HeldUp;
use taskhook_core::{Cause, Failure, On, QueueKey, State, StatusRequest, Task, TaskKey, Timestamp};

use crate::store::read::queues::{self, held_up};
use crate::store::read::{Listed, NodeStatus, PAGE_BYTES_MAX, ROWS_LOOKED_AT_MAX, ReadError, Reader};
use crate::store::row::oversight::StatusRequestRow;
use crate::store::row::{self, Detail};
use crate::store::sqlite::{filtered_columns, json_of, known, task_columns, task_of, with_facts};

/// A task with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// What decisions know of it.
    pub task: Task,
    /// What it was created with.
    pub spec: SpecView,
    /// Its result, as JSON text.
    pub result: Option<String>,
    /// Why its latest failed attempt failed.
    pub error: Option<Failure>,
    /// That attempt was given up for want of a word, and not reported to have failed.
    pub given_up: bool,
    /// The first of the tasks it waits for that has not ended.
    pub waits_for: Option<String>,
    /// What holds it up, where it is queued; the name of its queue always.
    pub held_up: HeldUp,
    /// The name of the source that may report on it.
    pub source: String,
    /// The name of the schedule that made it.
    pub schedule: Option<String>,
    /// The id that its remote gave it last.
    pub external_id: Option<String>,
}

/// The part of a task that never changes and that no decision looks at.
#[derive(Debug, Clone, Default)]
pub struct SpecView {
    /// What kind of work it is.
    pub name: Option<String>,
    /// Whose limits it shares within its queue.
    pub concurrency_key: Option<String>,
    /// The key that it holds, so that no second task comes into being under it.
    pub unique_key: Option<String>,
    /// The method of its request.
    pub method: Option<String>,
    /// The URL of its request.
    pub url: Option<String>,
    /// The headers of its request.
    pub headers: Vec<(String, String)>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// The tasks it waits for.
    pub after: Vec<(String, On)>,
    /// The body of its request, JSON text.
    pub payload: Option<String>,
    /// How its remote's own id of it is found.
    pub correlate: Option<String>,
    /// How its remote is asked how it is.
    pub status: Option<StatusRequest>,
    /// The URL that is called when it is cancelled.
    pub cancel_url: Option<String>,
}

impl TaskView {
    /// How much it holds in memory, roughly, in bytes.
    fn bytes(&self) -> usize {
        let pair = |(name, value): (&String, &String)| name.len() + value.len();
        let headers = self.spec.headers.iter().map(|(name, value)| pair((name, value)));
        let after = self.spec.after.iter().map(|(id, _)| id.len() + 16);
        let texts = [&self.spec.payload, &self.result].into_iter().flatten().map(String::len);
        1_024 + texts.chain(headers).chain(self.spec.labels.iter().map(pair)).chain(after).sum::<usize>()
    }
}

/// One entry of a task's history.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// Its place in the history of everything.
    pub position: i64,
    /// When it became true.
    pub at: Timestamp,
    /// The name of the kind of change.
    pub change: &'static str,
    /// The attempt it is about.
    pub attempt: Option<u32>,
    /// What else is known.
    pub detail: Detail,
    /// The id of the other task that the detail speaks of.
    pub other: Option<String>,
    /// A response's body, or a result.
    pub body: Option<Vec<u8>>,
    /// The number of the kind of cause.
    pub cause: i64,
    /// The id of what caused it, where that has one.
    pub cause_ref: Option<String>,
}

/// Which tasks a list shows. Every condition that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of this kind of work.
    pub name: Option<String>,
    /// With these labels.
    pub labels: Vec<(String, String)>,
    /// Created after this instant.
    pub created_after: Option<Timestamp>,
    /// Of the queue with this name.
    pub queue: Option<String>,
}

impl TaskFilter {
    /// The same, with the key of the queue that it names.
    pub(super) fn of_queue(&self, queue: Option<QueueKey>) -> Filter {
        Filter {
            states: self.states.clone(),
            queue,
            name: self.name.clone(),
            labels: self.labels.clone(),
            created_after: self.created_after,
        }
    }
}

impl Reader {
    /// The task with this id.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn task(&self, id: &str) -> Result<Option<TaskView>, ReadError> {
        let id = id.to_string();
        let node = self.node.clone();
        self.run(move |connection| match key_of(connection, &id)? {
            Some(key) => view(connection, &node, key),
            None => Ok(None),
        })
        .await
    }

    /// The tasks under these keys, in their order, as many as fit a page, and the keys that are left.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn tasks_by_key(
        &self,
        mut keys: Vec<TaskKey>,
    ) -> Result<(Vec<TaskView>, Vec<TaskKey>), ReadError> {
        let node = self.node.clone();
        self.run(move |connection| {
            let (mut views, mut bytes, mut taken) = (Vec::new(), 0, 0);
            while taken < keys.len() && bytes <= PAGE_BYTES_MAX {
                if let Some(view) = view(connection, &node, keys[taken])? {
                    bytes += view.bytes();
                    views.push(view);
                }
                taken += 1;
            }
            Ok((views, keys.split_off(taken)))
        })
        .await
    }

    /// The key of the task with this id, if there is such a task.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn task_key(&self, id: &str) -> Result<Option<TaskKey>, ReadError> {
        let id = id.to_string();
        self.run(move |connection| key_of(connection, &id)).await
    }

    /// The dependencies of the task with this id that have not ended as it asks: their positions in `after`,
    /// each with a sentence.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn unmet_dependencies(&self, id: &str) -> Result<Vec<(usize, String)>, ReadError> {
        let id = id.to_string();
        self.run(move |connection| match key_of(connection, &id)? {
            Some(key) => unmet(connection, key),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// The tasks that a filter lets through, newest first, from behind `before`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn tasks(
        &self,
        filter: TaskFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Listed<TaskView>, ReadError> {
        let node = self.node.clone();
        self.run(move |connection| list(connection, &node, &filter, before, limit)).await
    }

    /// The history of a task, oldest first; `None` where there is no such task. `after` is the position behind
    /// which the page begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn history(
        &self,
        id: &str,
        after: i64,
        limit: usize,
    ) -> Result<Option<Listed<HistoryEntry>>, ReadError> {
        let id = id.to_string();
        self.run(move |connection| match key_of(connection, &id)? {
            Some(key) => history(connection, key, after, limit).map(Some),
            None => Ok(None),
        })
        .await
    }
}

/// Calls `see` with every task, in key order: for whoever looks at a small store as a whole.
///
/// # Errors
/// What SQLite says.
pub fn each_task(connection: &Connection, see: &mut dyn FnMut(&Task)) -> Result<(), ReadError> {
    let mut statement = connection.prepare_cached(task_columns!("FROM task ORDER BY key"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        see(&task_of(row)?);
    }
    Ok(())
}

fn key_of(connection: &Connection, id: &str) -> rusqlite::Result<Option<TaskKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.key FROM name n JOIN task t ON t.key = n.key WHERE n.namespace = 1 AND n.kind = 1 AND n.text = ?1",
    )?;
    statement.query_row(params![id], |row| row.get(0).map(TaskKey)).optional()
}

pub(super) fn name_of(connection: &Connection, key: i64) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT text FROM name WHERE key = ?1")?;
    statement.query_row(params![key], |row| row.get(0)).optional()
}

fn view(connection: &Connection, node: &NodeStatus, key: TaskKey) -> rusqlite::Result<Option<TaskView>> {
    let mut statement = connection.prepare_cached(task_columns!("FROM task WHERE key = ?1"))?;
    let found =
        statement.query_row(params![key.0], |row| Ok((task_of(row)?, row.get::<_, i64>(32)?))).optional()?;
    let Some((task, last_change)) = found else { return Ok(None) };
    let Ending { result, error, given_up } = ending(connection, &task, last_change)?;
    let waits_for = if task.state == State::Blocked { first_dependency(connection, &task)? } else { None };
    let spec = spec(connection, key)?;
    let external_id = match spec.correlate {
        Some(_) => external_id(connection, key)?,
        None => None,
    };
    Ok(Some(TaskView {
        id: name_of(connection, key.0)?.unwrap_or_default(),
        spec,
        external_id,
        held_up: held_up(connection, node, &task)?,
        source: name_of(connection, task.plan.source.0)?.unwrap_or_default(),
        schedule: match task.plan.scheduled {
            Some(scheduled) => name_of(connection, scheduled.schedule.0)?,
            None => None,
        },
        result,
        error,
        given_up,
        waits_for,
        task,
    }))
}

/// The id that the remote gave a task last, or that it was created with.
fn external_id(connection: &Connection, key: TaskKey) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT substr(n.text, instr(n.text, char(10)) + 1) FROM external x JOIN name n ON n.key = x.key
         WHERE x.task = ?1 ORDER BY x.attempt DESC LIMIT 1",
    )?;
    statement.query_row(params![key.0], |row| row.get(0)).optional()
}

fn spec(connection: &Connection, key: TaskKey) -> rusqlite::Result<SpecView> {
    let mut statement = connection.prepare_cached(
        "SELECT name, method, url, headers, labels, after, payload, concurrency_key, unique_key, correlate,
             status, cancel_url
         FROM spec WHERE task = ?1",
    )?;
    let spec = statement.query_row(params![key.0], |row| {
        let after: Vec<(String, i64)> = json_of(row, 5)?.unwrap_or_default();
        let payload: Option<Vec<u8>> = row.get(6)?;
        Ok(SpecView {
            name: row.get(0)?,
            concurrency_key: row.get(7)?,
            unique_key: row.get(8)?,
            correlate: row.get(9)?,
            status: json_of::<StatusRequestRow>(row, 10)?.map(StatusRequestRow::status),
            cancel_url: row.get(11)?,
            method: row.get(1)?,
            url: row.get(2)?,
            headers: json_of(row, 3)?.unwrap_or_default(),
            labels: json_of(row, 4)?.unwrap_or_default(),
            after: after.into_iter().filter_map(|(id, on)| Some((id, row::on_of(on)?))).collect(),
            payload: payload.map(|payload| String::from_utf8_lossy(&payload).into_owned()),
        })
    });
    spec.optional().map(Option::unwrap_or_default)
}

/// How a task has ended, or how its latest attempt did.
#[derive(Default)]
struct Ending {
    result: Option<String>,
    error: Option<Failure>,
    /// Its latest failed attempt was.
    given_up: bool,
}

/// The result of a task that succeeded, and why its latest failed attempt failed: both are in its history,
/// close to the end.
fn ending(connection: &Connection, task: &Task, last: i64) -> rusqlite::Result<Ending> {
    let mut wants_result = task.state == State::Succeeded;
    // An attempt that is not the only one, or that ended without its task, has failed or was postponed.
    let ended_alone = task.attempt.is_some_and(|attempt| !attempt.open) && task.state != State::Succeeded;
    let may_be_late = task.plan.oversight.deadline.is_some() && task.state == State::Failed;
    let mut wants_error = may_be_late || task.attempts_used > 0 || task.attempt_number() > 1 || ended_alone;
    let mut ending = Ending::default();
    // An attempt that was open at the deadline failed right before it.
    let mut is_next_to_deadline = false;
    let mut position = last;
    let mut statement = connection
        .prepare_cached("SELECT previous, change, detail, body, cause FROM history WHERE position = ?1")?;
    while position > 0 && (wants_result || wants_error) {
        position = statement.query_row(params![position], |row| {
            let was_next_to_deadline = std::mem::take(&mut is_next_to_deadline);
            match row::change_name(row.get(1)?) {
                "succeeded" if wants_result => {
                    wants_result = false;
                    let body: Option<Vec<u8>> = row.get(3)?;
                    ending.result = body.map(|body| String::from_utf8_lossy(&body).into_owned());
                }
                "deadline_passed" if wants_error => {
                    is_next_to_deadline = true;
                    ending.error = Some(woken::past_deadline());
                }
                "attempt_failed" if wants_error => {
                    wants_error = false;
                    ending.given_up = row::cause_of(row.get(4)?, None) == Some(Cause::Time);
                    if ending.error.is_none() || was_next_to_deadline {
                        let detail: Detail = json_of(row, 2)?.unwrap_or_default();
                        ending.error = Some(Failure {
                            code: detail.code.unwrap_or_default(),
                            message: detail.message.unwrap_or_default(),
                        });
                    }
                }
                _ => {}
            }
            row.get(0)
        })?;
    }
    Ok(ending)
}

fn unmet(connection: &Connection, key: TaskKey) -> rusqlite::Result<Vec<(usize, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.state FROM name n JOIN edge e ON e.parent = n.key JOIN task t ON t.key = n.key
         WHERE n.namespace = 1 AND n.kind = 1 AND n.text = ?1 AND e.child = ?2 AND e.status <> 2",
    )?;
    let mut unmet = Vec::new();
    let mut pruned = Vec::new();
    for (position, (id, _)) in spec(connection, key)?.after.into_iter().enumerate() {
        let state = statement.query_row(params![id, key.0], |row| row.get(0)).optional()?;
        match state {
            Some(state) => {
                let state = known(row::state_of(state), 0)?;
                unmet.push((position, format!("task {id} is {}", state.name())));
            }
            None if key_of(connection, &id)?.is_none() => {
                pruned.push((position, format!("task {id} is no longer kept")));
            }
            None => {}
        }
    }
    // An edge outlives the task that it comes from, but not the name of that one: any that is gone may be meant.
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM edge e WHERE child = ?1 AND status <> 2
             AND NOT EXISTS (SELECT 1 FROM task t WHERE t.key = e.parent)",
    )?;
    if statement.exists(params![key.0])? {
        unmet.extend(pruned);
        unmet.sort_unstable();
    }
    Ok(unmet)
}

fn first_dependency(connection: &Connection, task: &Task) -> rusqlite::Result<Option<String>> {
    let after = spec(connection, task.key)?.after;
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM name n JOIN edge e ON e.parent = n.key
         WHERE n.namespace = 1 AND n.kind = 1 AND n.text = ?1 AND e.child = ?2 AND e.status = 1",
    )?;
    for (id, _) in after {
        if statement.exists(params![id, task.key.0])? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn list(
    connection: &Connection,
    node: &NodeStatus,
    filter: &TaskFilter,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Listed<TaskView>> {
    let queue = match &filter.queue {
        None => None,
        Some(name) => match queues::key_of(connection, name)? {
            Some(queue) => Some(queue),
            None => return Ok(Listed { rows: Vec::new(), next: None }),
        },
    };
    let filter = filter.of_queue(queue);
    let mut statement =
        connection.prepare_cached(filtered_columns!("WHERE t.key < ?1 ORDER BY t.key DESC"))?;
    let mut rows = statement.query(params![before.unwrap_or(i64::MAX)])?;
    let (mut found, mut next, mut looked_at) = (Vec::new(), None, 0);
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        if found.len() == limit || looked_at == ROWS_LOOKED_AT_MAX {
            break;
        }
        looked_at += 1;
        next = Some(key);
        if with_facts(row, &filter, |facts| filter.lets_through(facts))? {
            found.push(TaskKey(key));
        }
    }
    let more = found.len() == limit || looked_at == ROWS_LOOKED_AT_MAX;
    let more = more && next.is_some_and(|last| has_older(connection, last).unwrap_or(true));
    drop(rows);
    let mut listed = Listed { rows: Vec::with_capacity(found.len()), next: next.filter(|_| more) };
    let mut bytes = 0;
    for (position, key) in found.iter().enumerate() {
        if bytes > PAGE_BYTES_MAX {
            listed.next = Some(found[position - 1].0);
            break;
        }
        if let Some(view) = view(connection, node, *key)? {
            bytes += view.bytes();
            listed.rows.push(view);
        }
    }
    Ok(listed)
}

fn has_older(connection: &Connection, key: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM task WHERE key < ?1 LIMIT 1")?.exists(params![key])
}

fn history(
    connection: &Connection,
    key: TaskKey,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Listed<HistoryEntry>> {
    let mut statement = connection.prepare_cached("SELECT last_change FROM task WHERE key = ?1")?;
    let mut position: i64 = statement.query_row(params![key.0], |row| row.get(0))?;
    // The chain runs from the newest to the oldest; a task's story is bounded, so walking it whole is too.
    let mut positions = Vec::new();
    let mut statement = connection.prepare_cached("SELECT previous FROM history WHERE position = ?1")?;
    while position > after {
        positions.push(position);
        position = statement.query_row(params![position], |row| row.get(0))?;
    }
    let mut more = positions.len() > limit;
    let page = positions.into_iter().rev().take(limit);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for position in page {
        if bytes > PAGE_BYTES_MAX {
            more = true;
            break;
        }
        let entry = entry(connection, key, position)?;
        bytes += 1_024 + entry.body.as_ref().map_or(0, Vec::len);
        rows.push(entry);
    }
    let next = rows.last().map(|entry| entry.position).filter(|_| more);
    Ok(Listed { rows, next })
}

/// The id of the task that tells the remote of this cancel, where there is one.
fn cancel_call(
    connection: &Connection,
    task: TaskKey,
    cancelled: &HistoryEntry,
) -> rusqlite::Result<Option<String>> {
    let mut previous =
        connection.prepare_cached("SELECT previous, change FROM history WHERE position = ?1")?;
    let (mut position, mut generation) = (cancelled.position, 0);
    while position > 0 {
        let found = previous.query_row(params![position], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        let Some((before, change)) = found.optional()? else { break };
        generation += u32::from(row::change_name(change) == "reopened");
        position = before;
    }
    let id = name_of(connection, task.0)?.unwrap_or_default();
    let mut call = connection.prepare_cached(
        "SELECT 1 FROM name n JOIN task t ON t.key = n.key
         WHERE n.namespace = 1 AND n.kind = 1 AND n.text = ?1 AND t.created_at >= ?2",
    )?;
    for id in cancelled::call_ids(&id, task, generation) {
        if call.exists(params![id, cancelled.at.0])? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn entry(connection: &Connection, key: TaskKey, position: i64) -> rusqlite::Result<HistoryEntry> {
    let mut statement = connection.prepare_cached(
        "SELECT at, change, attempt, detail, body, cause, cause_key FROM history WHERE position = ?1",
    )?;
    let mut entry = statement.query_row(params![position], |row| {
        Ok((
            HistoryEntry {
                position,
                at: row::time(row.get(0)?),
                change: row::change_name(row.get(1)?),
                attempt: row.get(2)?,
                detail: json_of(row, 3)?.unwrap_or_default(),
                other: None,
                body: row.get(4)?,
                cause: row.get(5)?,
                cause_ref: None,
            },
            row.get::<_, Option<i64>>(6)?,
        ))
    })?;
    entry.0.other = match entry.0.detail.task {
        Some(other) => name_of(connection, other)?,
        None if entry.0.change == "cancelled" => cancel_call(connection, key, &entry.0)?,
        None => None,
    };
    entry.0.cause_ref = match (entry.0.cause, entry.1) {
        (3, Some(event)) => connection
            .prepare_cached("SELECT id FROM event WHERE key = ?1")?
            .query_row(params![event], |row| row.get::<_, [u8; 16]>(0))
            .optional()?
            .map(|id| taskhook_core::EventId(id).to_string()),
        (4, Some(attempt)) => Some(attempt.to_string()),
        (6 | 8 | 9, Some(named)) => name_of(connection, named)?,
        _ => None,
    };
    Ok(entry.0)
}
