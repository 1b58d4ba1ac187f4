//! Loading what a round of inputs needs.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use taskhook_core::retention;
use taskhook_core::subjects::Page;
use taskhook_core::task::cancelled;
use taskhook_core::unique::{Held, Until};
use taskhook_core::{
    Attempt, CancelCall, ClaimKey, ConcurrencyKey, Context, Correlation, Edge, Event, EventId, EventKey,
    External, ExternalKey, FollowUp, HostKey, Input, NameKey, Parked, Plan, Polling, QueueKey, Received,
    Request, RetryPolicy, ScheduleKey, Scheduled, SourceKey, StatusRequest, Subjects, Task, TaskKey,
    Timestamp, Unique, UniqueKey, limits,
};

use crate::store::row::oversight::{OversightRow, StatusRequestRow, WatchRow};
use crate::store::row::{self, Mapped, flag};
use crate::store::sqlite::SqliteTransaction;
use crate::store::sqlite::queues::Standpoint;
use crate::store::{Correlate, Name, Outgoing, headers_for};

/// A SELECT of every column of a task, in the order in which [`task_of`] reads them.
macro_rules! task_columns {
    ($rest:literal) => {
        concat!(
            "SELECT key, queue, rank, host, completion, run_at, timeout, request_timeout, ",
            "retry_max_attempts, retry_initial, retry_factor, retry_max, payload_bytes, content, created_at, ",
            "state, due_at, wake_at, generation, dependencies_pending, dependencies_broken, flags, ",
            "attempt, attempt_began_at, attempt_sent_at, attempt_sends, attempts_before, attempts_used, ",
            "progress, message, ended_at, notes, last_change, concurrency_key, ",
            "unique_key, unique_for, schedule, scheduled_for, source, oversight, watch ",
            $rest
        )
    };
}
pub(crate) use task_columns;

/// A page of a fan-out, and one row more that tells whether there is another page.
const PAGE_AND_ONE: i64 = limits::FAN_OUT_PAGE as i64 + 1;

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
                    self.load_parked_count(new.key.into(), Timestamp(i64::MIN), subjects)?;
                    if let Some(external) = &new.external {
                        self.load_external(external.key, Timestamp(i64::MIN), subjects)?;
                    }
                    if !subjects.has_loaded_queue(new.asked.queue) {
                        self.load_queue(new.asked.queue, subjects)?;
                    }
                    self.load_source(new.asked.source, subjects)?;
                    self.load_held(new.asked.unique, subjects)?;
                    for dependency in &new.after {
                        self.load_task(dependency.parent, subjects)?;
                    }
                }
            }
            Input::Event(event) => {
                if let Some(task) = event.task {
                    self.load_task(task, subjects)?;
                    if subjects.task(task).is_none() {
                        self.load_parked_count(task.into(), cx.now - limits::PARKED_FOR, subjects)?;
                    }
                }
                if let Some(external) = event.external {
                    self.load_external(external, cx.now - limits::PARKED_FOR, subjects)?;
                }
                if let Some(claim) = event.claim {
                    self.load_claim(claim, subjects)?;
                }
            }
            Input::Command(task, _) => {
                self.load_task(*task, subjects)?;
                self.load_own(*task, subjects)?;
            }
            Input::Wake(task) => self.load_task(*task, subjects)?,
            Input::Polled(polled) => self.load_task(polled.task, subjects)?,
            Input::Reply(reply) => {
                self.load_task(reply.task, subjects)?;
                if let Some(Ok(external)) = &reply.external {
                    self.load_external(external.key, Timestamp(i64::MIN), subjects)?;
                }
            }
            Input::FollowUp(follow_up) => self.load_for_follow_up(cx, *follow_up, subjects)?,
            Input::Once(once, inner) => {
                self.load_once(once.claim, subjects)?;
                self.load_for(cx, inner, subjects)?;
            }
            Input::Queue(queue, _) => {
                self.load_queue(*queue, subjects)?;
                if subjects.queue(*queue).is_none() {
                    self.load_queue_count(subjects)?;
                }
            }
            Input::Schedule(schedule, command) => {
                self.load_for_schedule_command(cx, *schedule, command, subjects)?;
            }
            Input::Source(source, command) => self.load_for_source_command(*source, command, subjects)?,
            Input::Bulk(bulk, command) => self.load_for_bulk_command(*bulk, command, subjects)?,
            Input::WakeBulk(bulk) => self.load_look(cx, *bulk, subjects)?,
            Input::WakeSchedule(schedule) => self.load_schedule(cx, *schedule, subjects)?,
            Input::Access(_) => self.load_api_keys(subjects)?,
            Input::Hold(_) | Input::Answered(_) => {}
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
            FollowUp::Look(queue) => self.load_visit(cx, queue, subjects),
            FollowUp::HostFree(host) => self.load_waiting_for_host(cx, host, subjects),
            FollowUp::Unpark { task, after } => {
                self.load_task(task, subjects)?;
                self.load_parked(task.into(), after, subjects)
            }
            FollowUp::UnparkExternal { external, after } => {
                self.load_external(external, Timestamp(i64::MIN), subjects)?;
                self.load_parked(external.into(), after, subjects)
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
                self.load_own(task, subjects)?;
                let edge = self.edge(parent, task)?;
                subjects.put_edge(parent, task, edge);
                Ok(())
            }
            FollowUp::EndPrevious { by, after } => self.load_previous(by, after, subjects),
            FollowUp::Bulk { bulk, task } => {
                self.load_bulk(bulk, subjects)?;
                self.load_task(task, subjects)?;
                self.load_own(task, subjects)
            }
            FollowUp::CallCancel { task, generation } => self.load_cancel_call(task, generation, subjects),
            FollowUp::Supersede { task, by: _ } => self.load_task(task, subjects),
        }
    }

    pub(super) fn load_task(&mut self, key: TaskKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
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
                self.standpoints.insert(key, Standpoint::of(&task));
                task
            }),
        );
        Ok(())
    }

    /// What a remote's own id stands for, with the task; or, where it stands for none, how many webhooks wait for it that were
    /// received after `since`.
    fn load_external(
        &mut self,
        key: ExternalKey,
        since: Timestamp,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        if !subjects.has_loaded_external(key) {
            let sql = "SELECT task, attempt, known_at FROM external WHERE key = ?1";
            let mut statement = self.store.connection.prepare_cached(sql)?;
            let found = statement
                .query_row(params![key.0], |row| {
                    Ok(Correlation {
                        task: TaskKey(row.get(0)?),
                        attempt: row.get(1)?,
                        known_at: Timestamp(row.get(2)?),
                    })
                })
                .optional()?;
            subjects.put_external(key, found);
        }
        match subjects.external(key) {
            Some(correlation) => self.load_task(correlation.task, subjects),
            None => self.load_parked_count(key.into(), since, subjects),
        }
    }

    fn load_parked(&self, name: NameKey, after: EventKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        let page = self.parked_page(name, after)?;
        subjects.put_parked(name, after, page);
        Ok(())
    }

    /// How many webhooks wait under a name, of those that were received after `since`.
    pub(super) fn load_parked_count(
        &self,
        key: NameKey,
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

    /// What a task would take again if it is reopened: its unique key, and the id that it was created with.
    fn load_own(&mut self, task: TaskKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        self.load_key_of(task, subjects)?;
        if !subjects.task(task).is_some_and(|task| task.has_external) {
            subjects.put_own_external(task, None);
            return Ok(());
        }
        let mut statement = self.store.connection.prepare_cached(
            "SELECT s.external_id, n.text FROM spec s JOIN task t ON t.key = s.task JOIN name n ON n.key = t.source
             WHERE s.task = ?1",
        )?;
        let (id, source): (String, String) =
            statement.query_row(params![task.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        drop(statement);
        let key = ExternalKey(self.key_of(&Name::external(&source, &id))?);
        self.load_external(key, Timestamp(i64::MIN), subjects)?;
        subjects.put_own_external(task, Some(External { key, source: source.into(), id: id.into() }));
        Ok(())
    }

    /// Who holds the key of a task, which may want it again.
    fn load_key_of(&self, task: TaskKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        self.load_held(subjects.task(task).and_then(|task| task.plan.unique), subjects)
    }

    fn load_held(&self, unique: Option<Unique>, subjects: &mut Subjects) -> rusqlite::Result<()> {
        let Some(Unique { key, .. }) = unique.filter(|unique| !subjects.knows_held(unique.key)) else {
            return Ok(());
        };
        let mut statement =
            self.store.connection.prepare_cached("SELECT task, until FROM held_key WHERE hash = ?1")?;
        let held = statement.query_row(params![key.0], |row| {
            let until = row.get::<_, Option<i64>>(1)?.map(row::time);
            Ok(Held { task: TaskKey(row.get(0)?), until })
        });
        subjects.put_held(key, held.optional()?);
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

    fn parked_page(&self, name: NameKey, after: EventKey) -> rusqlite::Result<Page<Parked>> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT p.event, p.at, p.mapped, e.attempt, e.id, e.source, e.name, e.task_name, e.delivery_id, p.source,
                 e.external_id
             FROM parked p JOIN event e ON e.key = p.event
             WHERE p.task = ?1 AND p.event > ?2 ORDER BY p.event LIMIT ?3",
        )?;
        // One row more tells whether there is another page.
        let rows = statement.query_map(params![name.0, after.0, limits::PARKED_PAGE as i64 + 1], |row| {
            let mapped: String = row.get(2)?;
            let mapped: Option<Mapped> = serde_json::from_str(&mapped).ok();
            let external_id: Option<String> = row.get(10)?;
            Ok(Parked {
                at: row::time(row.get(1)?),
                event: Event {
                    key: EventKey(row.get(0)?),
                    source: row.get::<_, Option<i64>>(9)?.map_or(SourceKey::DEFAULT, SourceKey),
                    by_key: row.get::<_, Option<i64>>(9)?.is_none(),
                    claim: None,
                    // It waits under the one or under the other.
                    task: external_id.is_none().then_some(TaskKey(name.0)),
                    external: external_id.is_some().then_some(ExternalKey(name.0)),
                    attempt: row.get(3)?,
                    callback: None,
                    kind: known(mapped, 2)?.kind(),
                    received: Arc::new(Received {
                        source: row.get(5)?,
                        name: row.get(6)?,
                        task_name: row.get(7)?,
                        external_id,
                        delivery_id: row.get(8)?,
                        ..Received::unread(EventId(row.get(4)?), &[])
                    }),
                },
            })
        })?;
        Ok(page(rows.collect::<rusqlite::Result<_>>()?, limits::PARKED_PAGE))
    }

    /// What a call to the `cancel_url` of a task needs, the task that makes it among it.
    fn load_cancel_call(
        &mut self,
        task: TaskKey,
        generation: u32,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_task(task, subjects)?;
        if !subjects.has_loaded_queue(QueueKey::CANCEL) {
            self.load_queue(QueueKey::CANCEL, subjects)?;
        }
        let mut statement = self.store.connection.prepare_cached(
            "SELECT n.text, s.cancel_url, s.url, s.headers FROM spec s JOIN name n ON n.key = s.task
             WHERE s.task = ?1 AND s.cancel_url IS NOT NULL",
        )?;
        let found = statement.query_row(params![task.0], |row| {
            let headers: Option<Vec<(String, String)>> = json_of(row, 3)?;
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<String>>(2)?,
                headers,
            ))
        });
        let found = found.optional()?;
        drop(statement);
        let Some((of, cancel_url, url, headers)) = found else {
            subjects.put_cancel_call(task, generation, None);
            return Ok(());
        };
        let mut keys = [task; 2];
        for (key, id) in keys.iter_mut().zip(cancelled::call_ids(&of, task, generation)) {
            *key = TaskKey(self.key_of(&Name::task(&id))?);
            self.load_task(*key, subjects)?;
            self.load_parked_count((*key).into(), Timestamp(i64::MIN), subjects)?;
        }
        let headers = headers_for(&cancel_url, url.as_deref(), headers.unwrap_or_default());
        let call = CancelCall { keys, of: of.into(), url: cancel_url.into(), headers };
        subjects.put_cancel_call(task, generation, Some(call));
        Ok(())
    }

    pub(super) fn status_of(&self, task: TaskKey) -> rusqlite::Result<(String, StatusRequest)> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT n.text, s.status FROM spec s JOIN name n ON n.key = s.task WHERE s.task = ?1",
        )?;
        statement.query_row(params![task.0], |row| {
            let status: Option<StatusRequestRow> = json_of(row, 1)?;
            Ok((row.get(0)?, status.unwrap_or_default().status()))
        })
    }

    pub(super) fn request_of(&self, task: TaskKey) -> rusqlite::Result<Outgoing> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT n.text, s.method, s.url, s.headers, s.payload,
                 CASE WHEN s.external_id IS NULL THEN s.correlate END, CASE WHEN s.correlate IS NOT NULL THEN
                 (SELECT o.text FROM task t JOIN name o ON o.key = t.source WHERE t.key = s.task) END, s.signer
             FROM spec s JOIN name n ON n.key = s.task WHERE s.task = ?1",
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
            let correlate = match row.get(5)? {
                None => None,
                Some(expression) => Some(Correlate { expression, source: row.get::<_, String>(6)?.into() }),
            };
            let signer = row.get::<_, Option<i64>>(7)?.map(QueueKey);
            Ok(Outgoing { id: row.get(0)?, request: Arc::new(request), correlate, signer })
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

/// A column that holds JSON, or nothing.
pub(crate) fn json_of<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(|text| known(serde_json::from_str(text).ok(), column)).transpose()
}

/// The key that a task asks for.
fn unique_of(row: &Row<'_>) -> rusqlite::Result<Option<Unique>> {
    let Some(hash) = row.get::<_, Option<[u8; 16]>>(34)? else { return Ok(None) };
    let until =
        row.get::<_, Option<i64>>(35)?.map_or(Until::Finished, |micros| Until::For(row::span(micros)));
    Ok(Some(Unique { key: UniqueKey(hash), until }))
}

fn scheduled_of(schedule: Option<i64>, at: Option<i64>) -> Option<Scheduled> {
    Some(Scheduled { schedule: ScheduleKey(schedule?), at: row::time(at?) })
}

/// A task from the columns of [`task_columns`].
pub(crate) fn task_of(row: &Row<'_>) -> rusqlite::Result<Task> {
    let flags: i64 = row.get(21)?;
    let is = |bit: i64| flags & bit != 0;
    let number: u32 = row.get(22)?;
    let began_at = row::time(row.get(23)?);
    let oversight: Option<OversightRow> = json_of(row, 39)?;
    let watch: Option<WatchRow> = json_of(row, 40)?;
    let (alive_at, polling) = watch.as_ref().map_or((began_at, Polling::default()), WatchRow::polling);
    let attempt = (number > 0).then_some(Attempt {
        number,
        began_at,
        sent_at: row::time(row.get(24)?),
        sends: row.get(25)?,
        open: is(flag::ATTEMPT_OPEN),
        replied: is(flag::ATTEMPT_REPLIED),
        alive_at,
        polling,
    });
    let rank: i16 = row.get(2)?;
    Ok(Task {
        key: TaskKey(row.get(0)?),
        plan: Arc::new(Plan {
            queue: QueueKey(row.get(1)?),
            source: SourceKey(row.get(38)?),
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
            oversight: oversight.map(OversightRow::oversight).unwrap_or_default(),
            payload_bytes: row.get(12)?,
            concurrency_key: ConcurrencyKey(row.get(33)?),
            unique: unique_of(row)?,
            scheduled: scheduled_of(row.get(36)?, row.get(37)?),
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
        deadline_lifted: is(flag::DEADLINE_LIFTED),
        has_external: is(flag::HAS_EXTERNAL),
        location: watch.and_then(WatchRow::location),
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
