//! Loading what a round of inputs needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, params};
use taskhook_core::retention;
use taskhook_core::subjects::Page;
use taskhook_core::{
    Attempt, ClaimKey, Context, Edge, Event, EventId, EventKey, FollowUp, HostKey, Input, Parked, Permits,
    Plan, QueueKey, Received, Request, RetryPolicy, Subjects, Task, TaskKey, Timestamp, limits,
};

use crate::store::row::{self, Mapped, flag};
use crate::store::sqlite::SqliteTransaction;

/// A SELECT of every column of a task, in the order in which [`task_of`] reads them.
macro_rules! task_columns {
    ($rest:literal) => {
        concat!(
            "SELECT key, queue, rank, host, completion, run_at, timeout, request_timeout, ",
            "retry_max_attempts, retry_initial, retry_factor, retry_max, payload_bytes, content, created_at, ",
            "state, due_at, wake_at, generation, dependencies_pending, dependencies_broken, flags, ",
            "attempt, attempt_began_at, attempt_sent_at, attempt_sends, attempts_before, attempts_used, ",
            "progress, message, ended_at, notes, last_change ",
            $rest
        )
    };
}
pub(crate) use task_columns;

/// A page of a fan-out, and one row more that tells whether there is another page.
const PAGE_AND_ONE: i64 = limits::FAN_OUT_PAGE as i64 + 1;

/// Hosts that one visit of a queue looks at within one priority; more where more tasks are wanted than this.
const HOSTS_PER_LOOK: usize = 64;

impl SqliteTransaction<'_> {
    pub(super) fn load_for(
        &mut self,
        cx: &Context,
        input: &Input,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        match input {
            Input::Create(create) => {
                for new in &create.tasks {
                    self.load_task(new.key, subjects)?;
                    self.load_parked_count(new.key, Timestamp(i64::MIN), subjects)?;
                    for dependency in &new.after {
                        self.load_task(dependency.parent, subjects)?;
                    }
                }
            }
            Input::Event(event) => {
                if let Some(task) = event.task {
                    self.load_task(task, subjects)?;
                    if subjects.task(task).is_none() {
                        self.load_parked_count(task, cx.now - limits::PARKED_FOR, subjects)?;
                    }
                }
                if let Some(claim) = event.claim {
                    self.load_claim(claim, subjects)?;
                }
            }
            Input::Command(task, _) | Input::Wake(task) => self.load_task(*task, subjects)?,
            Input::Reply(reply) => self.load_task(reply.task, subjects)?,
            Input::FollowUp(follow_up) => self.load_for_follow_up(cx, *follow_up, subjects)?,
            Input::Once(once, inner) => {
                self.load_once(once.claim, subjects)?;
                self.load_for(cx, inner, subjects)?;
            }
            Input::Answered(_) => {}
        }
        Ok(())
    }

    fn load_for_follow_up(
        &mut self,
        cx: &Context,
        follow_up: FollowUp,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        match follow_up {
            FollowUp::Look(queue) => self.load_ready(&cx.permits, queue, subjects),
            FollowUp::Unpark { task, after } => {
                self.load_task(task, subjects)?;
                let page = self.parked_page(task, after)?;
                subjects.put_parked(task, after, page);
                Ok(())
            }
            FollowUp::EndDependents { parent, after, .. }
            | FollowUp::ReopenDependents { parent, after, .. } => {
                self.load_task(parent, subjects)?;
                let page = self.dependents_page(parent, after)?;
                subjects.put_dependents(parent, after, page);
                Ok(())
            }
            FollowUp::ParentEnded { task, parent, .. } | FollowUp::ParentReopened { task, parent, .. } => {
                self.load_task(task, subjects)?;
                let edge = self.edge(parent, task)?;
                subjects.put_edge(parent, task, edge);
                Ok(())
            }
        }
    }

    fn load_task(&mut self, key: TaskKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if subjects.has_loaded(key) {
            return Ok(());
        }
        // A key that this transaction has just made has no row yet.
        let is_new = self.new_names.contains_key(&key.0);
        if is_new {
            subjects.put_task(key, None);
            return Ok(());
        }
        let mut statement =
            self.store.connection.prepare_cached(task_columns!("FROM task WHERE key = ?1"))?;
        let found =
            statement.query_row(params![key.0], |row| Ok((task_of(row)?, row.get(32)?))).optional()?;
        drop(statement);
        subjects.put_task(
            key,
            found.map(|(task, last_change)| {
                self.last_changes.insert(key, last_change);
                task
            }),
        );
        Ok(())
    }

    /// How many webhooks wait for a task, of those that were received after `since`.
    fn load_parked_count(
        &self,
        key: TaskKey,
        since: Timestamp,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        if subjects.knows_parked_count(key) {
            return Ok(());
        }
        let count: i64 = if self.new_names.contains_key(&key.0) {
            0
        } else {
            let mut statement = self
                .store
                .connection
                .prepare_cached("SELECT count(*) FROM parked WHERE task = ?1 AND at >= ?2")?;
            statement.query_row(params![key.0, since.0], |row| row.get(0))?
        };
        subjects.put_parked_count(key, usize::try_from(count).unwrap_or(usize::MAX));
        Ok(())
    }

    fn load_claim(&self, claim: ClaimKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if subjects.knows_claim(claim) {
            return Ok(());
        }
        let mut statement =
            self.store.connection.prepare_cached("SELECT event FROM claim WHERE claim = ?1 AND day >= ?2")?;
        let since = retention::remembered_from(self.now);
        let by = statement.query_row(params![claim.0, since], |row| row.get::<_, [u8; 16]>(0)).optional()?;
        subjects.put_claim(claim, by.map(EventId));
        Ok(())
    }

    fn load_once(&self, claim: ClaimKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if subjects.knows_claim(claim) {
            return Ok(());
        }
        let since = self.now - limits::IDEMPOTENCY_KEPT_FOR;
        let mut statement =
            self.store.connection.prepare_cached("SELECT 1 FROM answer WHERE claim = ?1 AND at > ?2")?;
        let happened = statement.exists(params![claim.0, since.0])?;
        subjects.put_claim(claim, happened.then_some(EventId([0; 16])));
        Ok(())
    }

    fn edge(&self, parent: TaskKey, child: TaskKey) -> rusqlite::Result<Option<Edge>> {
        let mut statement = self
            .store
            .connection
            .prepare_cached("SELECT \"on\", status, generation FROM edge WHERE parent = ?1 AND child = ?2")?;
        statement
            .query_row(params![parent.0, child.0], |row| {
                Ok(Edge {
                    on: known(row::on_of(row.get(0)?), 0)?,
                    status: known(row::edge_status_of(row.get(1)?), 1)?,
                    generation: row.get(2)?,
                })
            })
            .optional()
    }

    fn dependents_page(&self, parent: TaskKey, after: TaskKey) -> rusqlite::Result<Page<TaskKey>> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT child FROM edge WHERE parent = ?1 AND child > ?2 ORDER BY child LIMIT ?3",
        )?;
        let rows = statement.query_map(params![parent.0, after.0, PAGE_AND_ONE], |row| row.get(0))?;
        Ok(page(rows.map(|row| row.map(TaskKey)).collect::<rusqlite::Result<_>>()?, limits::FAN_OUT_PAGE))
    }

    fn parked_page(&self, task: TaskKey, after: EventKey) -> rusqlite::Result<Page<Parked>> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT p.event, p.at, p.mapped, e.attempt, e.id, e.source, e.name, e.task_name, e.delivery_id
             FROM parked p JOIN event e ON e.key = p.event
             WHERE p.task = ?1 AND p.event > ?2 ORDER BY p.event LIMIT ?3",
        )?;
        // One row more tells whether there is another page.
        let rows = statement.query_map(params![task.0, after.0, limits::PARKED_PAGE as i64 + 1], |row| {
            let mapped: String = row.get(2)?;
            let mapped: Option<Mapped> = serde_json::from_str(&mapped).ok();
            Ok(Parked {
                at: row::time(row.get(1)?),
                event: Event {
                    key: EventKey(row.get(0)?),
                    claim: None,
                    task: Some(task),
                    attempt: row.get(3)?,
                    callback: None,
                    kind: known(mapped, 2)?.kind(),
                    received: Arc::new(Received {
                        id: EventId(row.get(4)?),
                        source: row.get(5)?,
                        name: row.get(6)?,
                        task_name: row.get(7)?,
                        delivery_id: row.get(8)?,
                        headers: Vec::new(),
                        body: Vec::new(),
                        replay_of: None,
                    }),
                },
            })
        })?;
        Ok(page(rows.collect::<rusqlite::Result<_>>()?, limits::PARKED_PAGE))
    }

    /// The tasks of a queue that could start: by priority, then by due time, leaving out the hosts that are at
    /// their limit. Costs a probe for each host looked at, however many tasks wait.
    fn load_ready(
        &mut self,
        permits: &Permits,
        queue: QueueKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        let wanted = usize::try_from(permits.free).unwrap_or(usize::MAX).min(limits::CANDIDATES_MAX);
        let mut ready: Vec<TaskKey> = Vec::new();
        let mut found_of_host: BTreeMap<i64, usize> = BTreeMap::new();
        let mut rank = i64::MIN;
        while ready.len() < wanted {
            let mut statement = self.store.connection.prepare_cached(
                "SELECT rank FROM task WHERE state = 3 AND queue = ?1 AND rank > ?2 ORDER BY rank LIMIT 1",
            )?;
            let next = statement.query_row(params![queue.0, rank], |row| row.get(0)).optional()?;
            drop(statement);
            let Some(next) = next else { break };
            rank = next;
            let free_with = |host: i64| {
                let free = usize::try_from(permits.free_with(HostKey(host))).unwrap_or(usize::MAX);
                free.saturating_sub(found_of_host.get(&host).copied().unwrap_or(0))
            };
            for (host, key) in self.ready_of_rank(free_with, (queue, rank), wanted - ready.len())? {
                *found_of_host.entry(host).or_insert(0) += 1;
                ready.push(key);
            }
        }
        for key in &ready {
            self.load_task(*key, subjects)?;
        }
        subjects.put_ready(queue, ready);
        Ok(())
    }

    /// The first `wanted` tasks of one priority, with their hosts.
    fn ready_of_rank(
        &mut self,
        free_with: impl Fn(i64) -> usize,
        (queue, rank): (QueueKey, i64),
        wanted: usize,
    ) -> rusqlite::Result<Vec<(i64, TaskKey)>> {
        let connection = &self.store.connection;
        let mut next_host = connection.prepare_cached(
            "SELECT host FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND host > ?3 ORDER BY host LIMIT 1",
        )?;
        let mut of_host = connection.prepare_cached(
            "SELECT due_at, key FROM task WHERE state = 3 AND queue = ?1 AND rank = ?2 AND host = ?3
             ORDER BY due_at, key LIMIT ?4",
        )?;
        let mut found: Vec<(i64, i64, i64)> = Vec::new();
        let first = self.store.next_host;
        let (mut host, mut wrapped, mut looked_at) = (first, first == i64::MIN, 0);
        // Each host looked at has a task that could start, so that as many are found as are wanted.
        let hosts_max = wanted.max(HOSTS_PER_LOOK);
        while looked_at < hosts_max {
            let next = next_host.query_row(params![queue.0, rank, host], |row| row.get(0)).optional()?;
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
            let free = free_with(host).min(wanted);
            if free > 0 {
                let limit = i64::try_from(free).unwrap_or(i64::MAX);
                let rows = of_host.query_map(params![queue.0, rank, host, limit], |row| {
                    Ok((row.get(0)?, row.get(1)?, host))
                })?;
                found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
                looked_at += 1;
            }
        }
        drop((next_host, of_host));
        if looked_at == hosts_max {
            // The next visit goes on with the hosts behind this one.
            self.store.next_host = host;
        }
        found.sort_unstable();
        found.truncate(wanted);
        Ok(found.into_iter().map(|(_, key, host)| (host, TaskKey(key))).collect())
    }

    pub(super) fn request_of(&self, task: TaskKey) -> rusqlite::Result<(String, Arc<Request>)> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT n.text, s.method, s.url, s.headers, s.payload FROM spec s JOIN name n ON n.key = s.task WHERE s.task = ?1",
        )?;
        statement.query_row(params![task.0], |row| {
            let headers: Option<String> = row.get(3)?;
            let headers = serde_json::from_str(headers.as_deref().unwrap_or("[]")).ok();
            let request = Request {
                method: row.get(1)?,
                url: row.get(2)?,
                headers: known(headers, 3)?,
                payload: row.get(4)?,
            };
            Ok((row.get(0)?, Arc::new(request)))
        })
    }
}

/// A page of at most `max` rows, of which one more was asked for.
fn page<T>(mut rows: Vec<T>, max: usize) -> Page<T> {
    let more = rows.len() > max;
    rows.truncate(max);
    Page { rows, more }
}

/// A stored number or text that this version knows.
pub(crate) fn known<T>(value: Option<T>, column: usize) -> rusqlite::Result<T> {
    value.ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Integer,
            "a value that this taskhook does not know".into(),
        )
    })
}

/// A task from the columns of [`task_columns`].
pub(crate) fn task_of(row: &Row<'_>) -> rusqlite::Result<Task> {
    let flags: i64 = row.get(21)?;
    let is = |bit: i64| flags & bit != 0;
    let number: u32 = row.get(22)?;
    let attempt = (number > 0).then_some(Attempt {
        number,
        began_at: row::time(row.get(23)?),
        sent_at: row::time(row.get(24)?),
        sends: row.get(25)?,
        open: is(flag::ATTEMPT_OPEN),
        replied: is(flag::ATTEMPT_REPLIED),
        alive: is(flag::ATTEMPT_ALIVE),
    });
    let rank: i16 = row.get(2)?;
    Ok(Task {
        key: TaskKey(row.get(0)?),
        plan: Arc::new(Plan {
            queue: QueueKey(row.get(1)?),
            priority: -rank,
            host: row.get::<_, Option<i64>>(3)?.map(HostKey),
            completion: known(row::completion_of(row.get(4)?), 4)?,
            run_at: row::time(row.get(5)?),
            timeout: row.get::<_, Option<i64>>(6)?.map(row::span),
            request_timeout: row::span(row.get(7)?),
            retry: RetryPolicy {
                max_attempts: row.get(8)?,
                initial: row::span(row.get(9)?),
                factor: row.get(10)?,
                max: row::span(row.get(11)?),
            },
            payload_bytes: row.get(12)?,
        }),
        content: row.get(13)?,
        created_at: row::time(row.get(14)?),
        state: known(row::state_of(row.get(15)?), 15)?,
        due_at: row::time(row.get(16)?),
        wake_at: row.get::<_, Option<i64>>(17)?.map(row::time),
        generation: row.get(18)?,
        dependencies_pending: row.get(19)?,
        dependencies_broken: row.get(20)?,
        dependencies_ignored: is(flag::DEPENDENCIES_IGNORED),
        completed_by_response: is(flag::COMPLETED_BY_RESPONSE),
        answered_too_early: is(flag::ANSWERED_TOO_EARLY),
        contradicted: is(flag::CONTRADICTED),
        quarantined: is(flag::QUARANTINED),
        attempt,
        attempts_before: row.get(26)?,
        attempts_used: row.get(27)?,
        progress: row.get(28)?,
        message: row.get(29)?,
        ended_at: row.get::<_, Option<i64>>(30)?.map(row::time),
        notes: row.get(31)?,
    })
}
