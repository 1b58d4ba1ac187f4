//! Schedules: what deciding about one needs, and what it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhook_core::subjects::Page;
use taskhook_core::{
    Context, Decided, OpenTask, Request, Schedule, ScheduleChange, ScheduleCommand, ScheduleKey, Spec,
    Subjects, TaskKey, Timestamp, limits, schedule,
};

use crate::store::Name;
use crate::store::row::oversight::StatusRequestRow;
use crate::store::row::schedules::{ProgressRow, ScheduleRow, ScheduleSettingsRow};
use crate::store::sqlite::{SqliteTransaction, json_of, known, text_of};

/// A SELECT of every column of a schedule, in the order in which [`schedule_of`] reads them.
macro_rules! schedule_columns {
    ($rest:literal) => {
        concat!(
            "SELECT s.key, n.text, s.settings, s.paused, s.quarantined, s.created_at, s.decided_until, s.wake_at, ",
            "s.progress, p.name, p.method, p.url, p.headers, p.labels, p.payload, p.concurrency_key, p.correlate, p.status, p.cancel_url ",
            "FROM schedule s JOIN name n ON n.key = s.key JOIN spec p ON p.task = s.key ",
            $rest
        )
    };
}
pub(crate) use schedule_columns;

impl SqliteTransaction<'_> {
    /// What a look at a schedule needs: its instants that may make a task, and its tasks that have not ended.
    pub(super) fn load_schedule(
        &mut self,
        cx: &Context,
        key: ScheduleKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        // Those that this transaction has changed already are as they were saved.
        let found = schedule_under(&self.store.connection, key)?;
        if let Some(schedule) = &found {
            if !subjects.has_loaded_queue(schedule.settings.asked.queue) {
                self.load_queue(schedule.settings.asked.queue, subjects)?;
            }
            for at in schedule::woken::instants(schedule, cx.shown) {
                self.load_instant(schedule, at, subjects)?;
            }
        }
        let page = self.open_tasks(key)?;
        for open in &page.rows {
            self.load_task(open.key, subjects)?;
        }
        subjects.put_open_tasks(key, page);
        subjects.put_schedule(key, found);
        Ok(())
    }

    /// The same for a command.
    pub(super) fn load_for_schedule_command(
        &mut self,
        cx: &Context,
        key: ScheduleKey,
        command: &ScheduleCommand,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_schedule(cx, key, subjects)?;
        match command {
            ScheduleCommand::Define { settings, .. } => {
                self.load_source(settings.asked.source, subjects)?;
                if !subjects.has_loaded_queue(settings.asked.queue) {
                    self.load_queue(settings.asked.queue, subjects)?;
                }
                if subjects.schedule(key).is_none() {
                    let count = "SELECT count(*) FROM schedule";
                    let count: i64 =
                        self.store.connection.prepare_cached(count)?.query_row([], |row| row.get(0))?;
                    subjects.put_schedules_count(usize::try_from(count).unwrap_or(usize::MAX));
                }
            }
            ScheduleCommand::Trigger { at, .. } => {
                if let Some(schedule) = subjects.schedule(key).cloned() {
                    self.load_instant(&schedule, *at, subjects)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn load_instant(
        &mut self,
        schedule: &Schedule,
        at: Timestamp,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        let name = Name::task(&schedule.task_id(at));
        let task = TaskKey(self.key_of(&name)?);
        self.load_task(task, subjects)?;
        self.load_parked_count(task.into(), Timestamp(i64::MIN), subjects)?;
        subjects.put_instant(schedule.key, at, task);
        Ok(())
    }

    fn open_tasks(&self, key: ScheduleKey) -> rusqlite::Result<Page<OpenTask>> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT t.key, n.text FROM task t JOIN name n ON n.key = t.key
             WHERE t.schedule = ?1 AND t.ended_at IS NULL ORDER BY t.key DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limits::OPEN_TASKS_KNOWN + 1).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![key.0, limit], |row| {
            Ok(OpenTask { key: TaskKey(row.get(0)?), id: row.get::<_, String>(1)?.into() })
        })?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > limits::OPEN_TASKS_KNOWN;
        rows.truncate(limits::OPEN_TASKS_KNOWN);
        rows.reverse();
        Ok(Page { rows, more })
    }

    /// The tasks whose place `by` takes, behind `after`.
    pub(super) fn load_previous(
        &self,
        by: TaskKey,
        after: TaskKey,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached(
            "SELECT t.key FROM task b JOIN task t ON t.schedule = b.schedule
             WHERE b.key = ?1 AND t.ended_at IS NULL AND t.key > ?2
                 AND (t.created_at, t.key) < (b.created_at, b.key)
             ORDER BY t.key LIMIT ?3",
        )?;
        let limit = i64::try_from(limits::FAN_OUT_PAGE + 1).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![by.0, after.0, limit], |row| row.get(0).map(TaskKey))?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > limits::FAN_OUT_PAGE;
        rows.truncate(limits::FAN_OUT_PAGE);
        subjects.put_previous(by, after, Page { rows, more });
        Ok(())
    }

    /// What has become of schedules.
    pub(super) fn save_schedules(
        &mut self,
        decided: &[Decided],
        subjects: &Subjects,
    ) -> rusqlite::Result<()> {
        // Whether what it says has changed: its request may be large.
        let mut touched: BTreeMap<ScheduleKey, bool> = BTreeMap::new();
        for (key, change) in decided.iter().flat_map(|one| &one.decision.schedules) {
            *touched.entry(*key).or_default() |= matches!(change, ScheduleChange::Defined { .. });
        }
        for (key, is_defined) in touched {
            match subjects.schedule(key) {
                Some(schedule) => self.save_schedule(schedule, is_defined)?,
                None => self.delete_schedule(key)?,
            }
        }
        Ok(())
    }

    fn save_schedule(&self, schedule: &Schedule, is_defined: bool) -> rusqlite::Result<()> {
        let key = schedule.key.0;
        if is_defined {
            self.delete_spec(key)?;
            self.insert_spec(key, &schedule.settings.spec, None)?;
            let mut statement = self.store.connection.prepare_cached(
                "INSERT INTO schedule (key, settings, paused, quarantined, created_at, decided_until, progress)
                 VALUES (?1, ?2, 0, 0, ?3, 0, '') ON CONFLICT DO UPDATE SET settings = ?2, created_at = ?3",
            )?;
            let settings = text_of(&ScheduleSettingsRow::of(&schedule.settings))?;
            statement.execute(params![key, settings, schedule.created_at.0])?;
        }
        let mut statement = self.store.connection.prepare_cached(
            "UPDATE schedule SET paused = ?2, quarantined = ?3, decided_until = ?4, wake_at = ?5, progress = ?6
             WHERE key = ?1",
        )?;
        statement.execute(params![
            key,
            schedule.paused,
            schedule.quarantined,
            schedule.decided_until.0,
            schedule.wake_at.map(|at| at.0),
            text_of(&ProgressRow::of(schedule))?,
        ])?;
        Ok(())
    }

    /// Its name stays: tasks of it may be there.
    fn delete_schedule(&self, key: ScheduleKey) -> rusqlite::Result<()> {
        self.delete_spec(key.0)?;
        let mut statement = self.store.connection.prepare_cached("DELETE FROM schedule WHERE key = ?1")?;
        statement.execute(params![key.0])?;
        Ok(())
    }

    fn delete_spec(&self, key: i64) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached("DELETE FROM spec WHERE task = ?1")?;
        statement.execute(params![key])?;
        Ok(())
    }
}

/// The schedules that want to be looked at, earliest first, and when the next one does.
pub(super) fn due(
    connection: &Connection,
    shown: Timestamp,
    max: usize,
) -> rusqlite::Result<(Vec<ScheduleKey>, Option<Timestamp>)> {
    let mut statement = connection.prepare_cached(
        "SELECT key, wake_at FROM schedule WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT ?1",
    )?;
    let mut rows = statement.query(params![i64::try_from(max.saturating_add(1)).unwrap_or(i64::MAX)])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let at = Timestamp(row.get(1)?);
        if at > shown || due.len() == max {
            return Ok((due, Some(at)));
        }
        due.push(ScheduleKey(row.get(0)?));
    }
    Ok((due, None))
}

/// The schedules whose instants are decided beyond `until`.
pub(super) fn ahead(connection: &Connection, until: Timestamp) -> rusqlite::Result<Vec<ScheduleKey>> {
    let mut statement = connection.prepare_cached("SELECT key FROM schedule WHERE decided_until > ?1")?;
    let rows = statement.query_map(params![until.0], |row| row.get(0).map(ScheduleKey))?;
    rows.collect()
}

/// The schedule under this key.
fn schedule_under(connection: &Connection, key: ScheduleKey) -> rusqlite::Result<Option<Schedule>> {
    let mut statement = connection.prepare_cached(schedule_columns!("WHERE s.key = ?1"))?;
    statement.query_row(params![key.0], schedule_of).optional()
}

/// A schedule from the columns of [`schedule_columns`].
pub(crate) fn schedule_of(row: &Row<'_>) -> rusqlite::Result<Schedule> {
    let stored = ScheduleRow {
        key: row.get(0)?,
        name: row.get(1)?,
        settings: row.get(2)?,
        paused: row.get(3)?,
        quarantined: row.get(4)?,
        created_at: row.get(5)?,
        decided_until: row.get(6)?,
        wake_at: row.get(7)?,
        progress: row.get(8)?,
    };
    let json = |column: usize, empty: &str| {
        row.get::<_, Option<String>>(column).map(|json| json.unwrap_or_else(|| empty.into()))
    };
    let url: Option<String> = row.get(11)?;
    let request = match url {
        None => None,
        Some(url) => Some(Arc::new(Request {
            method: row.get(10)?,
            url,
            headers: known(serde_json::from_str(&json(12, "[]")?).ok(), 12)?,
            payload: row.get(14)?,
        })),
    };
    let spec = Spec {
        name: row.get(9)?,
        concurrency_key: row.get(15)?,
        // What may overlap the schedule says.
        unique_key: None,
        request,
        correlate: row.get(16)?,
        status: json_of::<StatusRequestRow>(row, 17)?.map(|row| Arc::new(row.status())),
        cancel_url: row.get(18)?,
        signer: None,
        labels: known(serde_json::from_str(&json(13, "{}")?).ok(), 13)?,
        after: Vec::new(),
    };
    known(stored.schedule(spec), 2)
}
