//! Saving what was decided: a few rows appended, one row changed for each task.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;
use taskhook_core::decision::RecordedEvent;
use taskhook_core::retention;
use taskhook_core::unique::{self, Until};
use taskhook_core::{
    Answered, Cause, Change, Decided, Decision, External, NameKey, Once, Outcome, ScheduleChange, Spec,
    Subjects, Task, TaskKey, Unparked, limits,
};

use crate::store::hosts_of;
use crate::store::row::oversight::{OversightRow, StatusRequestRow, WatchRow};
use crate::store::row::{self, Mapped, flag};
use crate::store::sqlite::{SqliteTransaction, kind_number, text_of};

impl SqliteTransaction<'_> {
    pub(super) fn save_all(&mut self, decided: &[Decided], subjects: &Subjects) -> rusqlite::Result<()> {
        self.save_names(decided)?;
        let mut touched: BTreeSet<TaskKey> = BTreeSet::new();
        let mut notes = Notes::default();
        for Decided { cause, decision, .. } in decided {
            for (key, change) in &decision.changes {
                touched.insert(*key);
                self.save_change(*key, change, subjects)?;
                if let Some(step) = subjects.task(*key).and_then(|task| unique::step(task, change)) {
                    self.save_key(*key, step)?;
                }
                if notes.are_told(*key, change, subjects, decided) {
                    self.append_history(*key, change, *cause)?;
                }
            }
            if let Some(recorded) = &decision.event {
                self.save_event(recorded, &decision.outcome)?;
            }
            if let Some(change) = decision.hold {
                self.save_hold(change)?;
            }
            if let Some(once) = decision.once {
                self.save_claimed(once, decision)?;
            }
            if let Some(answered) = &decision.answered {
                self.save_answer(answered)?;
            }
            for unparked in &decision.unparked {
                self.save_unparked(unparked)?;
            }
        }
        for task in touched.iter().filter_map(|key| subjects.task(*key)) {
            self.save_task(task)?;
        }
        self.save_queues(decided, subjects)?;
        self.save_schedules(decided, subjects)?;
        self.save_sources(decided, subjects)?;
        self.save_access(decided)?;
        self.save_bulks(decided, subjects)?;
        self.count_places(&touched, subjects)
    }

    /// Stores the names under which something exists from now on. Those that are left are nobody's.
    fn save_names(&mut self, decided: &[Decided]) -> rusqlite::Result<()> {
        for Decided { decision, .. } in decided {
            for (key, change) in &decision.changes {
                if let Change::Created { new, .. } = change {
                    self.save_name(key.0)?;
                    hosts_of(&new.asked).try_for_each(|host| self.save_name(host.0))?;
                }
                if let Change::Located { location: Ok(location), .. } = change {
                    self.save_name(location.host.0)?;
                }
                if let Change::Correlated { external, .. } = change {
                    self.save_name(external.key.0)?;
                }
            }
            for (key, change) in &decision.schedules {
                if let ScheduleChange::Defined { settings, .. } = change {
                    self.save_name(key.0)?;
                    hosts_of(&settings.asked).try_for_each(|host| self.save_name(host.0))?;
                }
            }
            if let Some(name) = decision.event.as_ref().and_then(RecordedEvent::waits_under) {
                self.save_name(name.0)?;
            }
        }
        Ok(())
    }

    fn save_change(&mut self, key: TaskKey, change: &Change, subjects: &Subjects) -> rusqlite::Result<()> {
        match change {
            Change::Created { new, edges, .. } => {
                self.insert_spec(key.0, &new.spec, new.external.as_ref())?;
                let mut statement = self.store.connection.prepare_cached(
                    "INSERT INTO edge (parent, child, \"on\", status, generation) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                for (parent, edge) in edges {
                    let status = row::edge_status_number(edge.status);
                    statement.execute(params![
                        parent.0,
                        key.0,
                        row::on_number(edge.on),
                        status,
                        edge.generation
                    ])?;
                }
            }
            Change::DependencyEnded { parent, .. } | Change::DependencyReopened { parent, .. } => {
                if let Some(edge) = subjects.edge(*parent, key) {
                    let mut statement = self.store.connection.prepare_cached(
                        "UPDATE edge SET status = ?3, generation = ?4 WHERE parent = ?1 AND child = ?2",
                    )?;
                    let status = row::edge_status_number(edge.status);
                    statement.execute(params![parent.0, key.0, status, edge.generation])?;
                }
            }
            Change::Correlated { attempt, external } => {
                let mut statement = self.store.connection.prepare_cached(
                    "INSERT INTO external (key, task, attempt, known_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE SET task = ?2, attempt = ?3, known_at = ?4",
                )?;
                statement.execute(params![external.key.0, key.0, attempt, self.now.0])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What has become of a unique key.
    fn save_key(&self, task: TaskKey, step: unique::Step) -> rusqlite::Result<()> {
        match step {
            unique::Step::Taken(key, held) => {
                // One that nobody holds any more may still be there.
                let mut statement = self.store.connection.prepare_cached(
                    "INSERT INTO held_key (hash, task, until) VALUES (?1, ?2, ?3)
                     ON CONFLICT (hash) DO UPDATE SET task = ?2, until = ?3 WHERE held_key.until <= ?4",
                )?;
                let until = held.until.map(|at| at.0);
                let taken = statement.execute(params![key.0, held.task.0, until, self.now.0])?;
                if taken != 1 {
                    // A task that would take a key that is held is not made, and not reopened.
                    return Err(rusqlite::Error::StatementChangedRows(taken));
                }
            }
            unique::Step::GivenBack(key) => {
                let sql = "DELETE FROM held_key WHERE hash = ?1 AND task = ?2";
                self.store.connection.prepare_cached(sql)?.execute(params![key.0, task.0])?;
            }
        }
        Ok(())
    }

    fn append_history(&mut self, key: TaskKey, change: &Change, cause: Cause) -> rusqlite::Result<()> {
        let Some(entry) = row::change_row(change) else { return Ok(()) };
        let position = self.next_position;
        self.next_position += 1;
        let previous = self.last_changes.insert(key, position).unwrap_or(0);
        let (cause, cause_key) = row::cause_columns(cause);
        let detail = entry.detail.map(|detail| text_of(&detail)).transpose()?;
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO history (position, task, previous, at, cause, cause_key, change, attempt, detail, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        statement.execute(params![
            position,
            key.0,
            previous,
            self.now.0,
            cause,
            cause_key,
            entry.kind,
            entry.attempt,
            detail,
            entry.body,
        ])?;
        Ok(())
    }

    /// Stores a name that got its key in this transaction.
    pub(super) fn save_name(&mut self, key: i64) -> rusqlite::Result<()> {
        let Some(name) = self.new_names.remove(&key) else { return Ok(()) };
        let mut statement = self
            .store
            .connection
            .prepare_cached("INSERT INTO name (key, namespace, kind, text) VALUES (?1, 1, ?2, ?3)")?;
        statement.execute(params![key, kind_number(name.kind), name.text])?;
        Ok(())
    }

    pub(super) fn insert_spec(
        &self,
        key: i64,
        spec: &Spec,
        external: Option<&External>,
    ) -> rusqlite::Result<()> {
        let request = spec.request.as_deref();
        let after: Vec<(&str, i64)> =
            spec.after.iter().map(|(id, on)| (id.as_str(), row::on_number(*on))).collect();
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO spec (task, name, method, url, headers, labels, after, payload, concurrency_key,
                 unique_key, correlate, status, cancel_url, external_id, signer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        let headers =
            request.filter(|request| !request.headers.is_empty()).map(|request| text_of(&request.headers));
        let labels = (!spec.labels.is_empty()).then(|| text_of(&spec.labels));
        let after = (!after.is_empty()).then(|| text_of(&after));
        statement.execute(params![
            key,
            spec.name,
            request.map(|request| request.method.as_str()),
            request.map(|request| request.url.as_str()),
            headers.transpose()?,
            labels.transpose()?,
            after.transpose()?,
            request.and_then(|request| request.payload.as_deref()),
            spec.concurrency_key,
            spec.unique_key,
            spec.correlate,
            spec.status.as_ref().map(|status| text_of(&StatusRequestRow::of(status))).transpose()?,
            spec.cancel_url,
            external.map(|external| &*external.id),
            spec.signer.map(|queue| queue.0),
        ])?;
        Ok(())
    }

    fn save_task(&self, task: &Task) -> rusqlite::Result<()> {
        let plan = &task.plan;
        let attempt = task.attempt;
        let unique_for = plan.unique.and_then(|unique| match unique.until {
            Until::Finished => None,
            Until::For(span) => Some(row::micros(span)),
        });
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO task (key, queue, rank, host, completion, run_at, timeout, request_timeout,
                 retry_max_attempts, retry_initial, retry_factor, retry_max, payload_bytes, content, created_at,
                 state, due_at, wake_at, generation, dependencies_pending, dependencies_broken, flags,
                 attempt, attempt_began_at, attempt_sent_at, attempt_sends, attempts_before, attempts_used,
                 progress, message, ended_at, notes, last_change, concurrency_key, unique_key, unique_for,
                 schedule, scheduled_for, source, oversight, watch)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                 ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39,
                 ?40, ?41)
             ON CONFLICT (key) DO UPDATE SET
                 state = ?16, due_at = ?17, wake_at = ?18, generation = ?19, dependencies_pending = ?20,
                 dependencies_broken = ?21, flags = ?22, attempt = ?23, attempt_began_at = ?24,
                 attempt_sent_at = ?25, attempt_sends = ?26, attempts_before = ?27, attempts_used = ?28,
                 progress = ?29, message = ?30, ended_at = ?31, notes = ?32, last_change = ?33,
                 watch = ?41",
        )?;
        statement.execute(params![
            task.key.0,
            plan.queue.0,
            -plan.priority,
            plan.host.map(|host| host.0),
            row::completion_number(plan.completion),
            plan.run_at.0,
            plan.timeout.map(row::micros),
            row::micros(plan.request_timeout),
            plan.retry.max_attempts,
            row::micros(plan.retry.initial),
            plan.retry.factor,
            row::micros(plan.retry.max),
            plan.payload_bytes,
            task.content,
            task.created_at.0,
            row::state_number(task.state),
            task.due_at.0,
            task.wake_at.map(|at| at.0),
            task.generation,
            task.dependencies_pending,
            task.dependencies_broken,
            flags(task),
            task.attempt_number(),
            attempt.map_or(0, |attempt| attempt.began_at.0),
            attempt.map_or(0, |attempt| attempt.sent_at.0),
            attempt.map_or(0, |attempt| attempt.sends),
            task.attempts_before,
            task.attempts_used,
            task.progress,
            task.message,
            task.ended_at.map(|at| at.0),
            task.notes,
            self.last_changes.get(&task.key).copied().unwrap_or(0),
            plan.concurrency_key.0,
            plan.unique.map(|unique| unique.key.0),
            unique_for,
            plan.scheduled.map(|scheduled| scheduled.schedule.0),
            plan.scheduled.map(|scheduled| scheduled.at.0),
            plan.source.0,
            OversightRow::of(&plan.oversight).map(|row| text_of(&row)).transpose()?,
            WatchRow::of(task).map(|row| text_of(&row)).transpose()?,
        ])?;
        Ok(())
    }

    fn save_event(&mut self, recorded: &RecordedEvent, outcome: &Outcome) -> rusqlite::Result<()> {
        let event = &recorded.event;
        let received = &event.received;
        let duplicate_of = match outcome {
            Outcome::Duplicate(first) => Some(first.0),
            _ => None,
        };
        // A duplicate is counted and dated; what it says is what its original said.
        let (headers, body) = match duplicate_of {
            Some(_) => ("[]".to_string(), &[][..]),
            None => (text_of(&received.headers)?, received.body.as_slice()),
        };
        // A name that is not kept may come back under another key, and this webhook is not about that one.
        let about = event.task.map(NameKey::from).or(event.external.map(NameKey::from));
        let about = about.filter(|name| !self.new_names.contains_key(&name.0));
        let (number, reason) = row::outcome_columns(outcome);
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO event (key, id, received_at, source, name, task, task_name, attempt, delivery_id,
                 outcome, reason, duplicate_of, replay_of, headers, body, secret, may_report, external_id, query)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?;
        statement.execute(params![
            event.key.0,
            received.id.0,
            self.now.0,
            received.source,
            received.name,
            about.map(|name| name.0),
            received.task_name,
            event.attempt,
            received.delivery_id,
            number,
            reason,
            duplicate_of,
            received.replay_of.map(|id| id.0),
            headers,
            body,
            received.secret,
            event.by_key || event.callback.is_some(),
            received.external_id,
            received.query,
        ])?;
        drop(statement);
        // With a key it was not proved to its source.
        if let Some(secret) = received.secret.filter(|_| !event.by_key) {
            self.save_use(secret)?;
        }
        if let Outcome::Rejected(_) = outcome {
            self.make_room_for_rejected()?;
        }
        if let Some(claim) = recorded.claim {
            // One that is no longer remembered may still be there.
            let mut statement = self.store.connection.prepare_cached(
                "INSERT INTO claim (claim, event, day) VALUES (?1, ?2, ?3)
                 ON CONFLICT (claim) DO UPDATE SET event = ?2, day = ?3 WHERE claim.day < ?4",
            )?;
            let (today, since) = (retention::day_of(self.now), retention::remembered_from(self.now));
            let claimed = statement.execute(params![claim.0, received.id.0, today, since])?;
            if claimed != 1 {
                // A delivery that is claimed is a duplicate, and claims nothing.
                return Err(rusqlite::Error::StatementChangedRows(claimed));
            }
            #[cfg(planted = "claims_are_committed_first")]
            self.store.connection.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        }
        if let (Some(name), Some(mapped)) = (recorded.waits_under(), Mapped::of(&event.kind)) {
            let mut statement = self.store.connection.prepare_cached(
                "INSERT INTO parked (task, event, at, mapped, source) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            statement.execute(params![
                name.0,
                event.key.0,
                self.now.0,
                text_of(&mapped)?,
                (!event.by_key).then_some(event.source.0)
            ])?;
        }
        Ok(())
    }

    /// Refused webhooks are bounded in number: strangers send them.
    fn make_room_for_rejected(&self) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached(
            "DELETE FROM event WHERE outcome = 7 AND key <=
                 (SELECT key FROM event WHERE outcome = 7 ORDER BY key DESC LIMIT 1 OFFSET ?1)",
        )?;
        statement.execute(params![i64::try_from(limits::REJECTED_KEPT_MAX).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    /// Until its answer is known, what a request created or changed is what the answer can be made from again.
    fn save_claimed(&self, once: Once, decision: &Decision) -> rusqlite::Result<()> {
        let tasks: Vec<i64> = match &decision.outcome {
            Outcome::Created(created) => created.iter().map(|(key, _)| key.0).collect(),
            _ => decision.first_changed().into_iter().collect(),
        };
        let event = decision.event.as_ref().map(|recorded| recorded.event.received.id.0);
        let mut statement = self.store.connection.prepare_cached(
            "INSERT OR REPLACE INTO answer (claim, request, at, tasks, event) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        statement.execute(params![once.claim.0, once.request, self.now.0, text_of(&tasks)?, event])?;
        Ok(())
    }

    fn save_answer(&self, answered: &Answered) -> rusqlite::Result<()> {
        let once = answered.once;
        let Some(body) = &answered.body else {
            // What it can be made from again stays.
            let mut statement = self.store.connection.prepare_cached(
                "UPDATE answer SET status = ?3 WHERE claim = ?1 AND request = ?2 AND body IS NULL",
            )?;
            statement.execute(params![once.claim.0, once.request, answered.status])?;
            return Ok(());
        };
        let mut statement = self.store.connection.prepare_cached(
            "INSERT OR REPLACE INTO answer (claim, request, at, status, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        statement.execute(params![once.claim.0, once.request, self.now.0, answered.status, body])?;
        Ok(())
    }

    fn save_unparked(&self, unparked: &Unparked) -> rusqlite::Result<()> {
        let (number, reason) = row::outcome_columns(&unparked.outcome);
        let mut statement = self.store.connection.prepare_cached(
            "DELETE FROM parked WHERE event = ?1 AND task = (SELECT task FROM event WHERE key = ?1)",
        )?;
        statement.execute(params![unparked.event.0])?;
        let mut statement = self
            .store
            .connection
            .prepare_cached("UPDATE event SET outcome = ?2, reason = ?3, task = ?4 WHERE key = ?1")?;
        statement.execute(params![unparked.event.0, number, reason, unparked.task.0])?;
        Ok(())
    }
}

/// How many notes the tasks have that have more than are told, as a round is saved.
#[derive(Default)]
struct Notes(BTreeMap<TaskKey, u32>);

impl Notes {
    /// Whether a change becomes part of its task's history.
    fn are_told(&mut self, key: TaskKey, change: &Change, subjects: &Subjects, round: &[Decided]) -> bool {
        let after = subjects.task(key).map_or(0, |task| task.notes);
        if !change.is_note() || after <= limits::NOTES_PER_TASK_MAX {
            return true;
        }
        let count = self.0.entry(key).or_insert_with(|| {
            let changes = round.iter().flat_map(|one| &one.decision.changes);
            let notes = changes.filter(|(task, change)| *task == key && change.is_note()).count();
            after.saturating_sub(u32::try_from(notes).unwrap_or(u32::MAX))
        });
        *count = count.saturating_add(1);
        !change.is_unbounded_note() || *count <= limits::NOTES_PER_TASK_MAX
    }
}

fn flags(task: &Task) -> i64 {
    let attempt = task.attempt;
    [
        (task.dependencies_ignored, flag::DEPENDENCIES_IGNORED),
        (task.completed_by_response, flag::COMPLETED_BY_RESPONSE),
        (task.answered_too_early, flag::ANSWERED_TOO_EARLY),
        (task.contradicted, flag::CONTRADICTED),
        (task.quarantined, flag::QUARANTINED),
        (attempt.is_some_and(|attempt| attempt.open), flag::ATTEMPT_OPEN),
        (attempt.is_some_and(|attempt| attempt.replied), flag::ATTEMPT_REPLIED),
        (task.deadline_lifted, flag::DEADLINE_LIFTED),
        (task.has_external, flag::HAS_EXTERNAL),
    ]
    .into_iter()
    .map(|(is, bit)| if is { bit } else { 0 })
    .sum()
}
