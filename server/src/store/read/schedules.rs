//! Schedules as people see them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::schedule::What;
use taskhook_core::{Schedule, TaskKey};

use crate::store::read::tasks::name_of;
use crate::store::read::{ReadError, Reader};
use crate::store::sqlite::{schedule_columns, schedule_of};

/// A schedule with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct ScheduleView {
    /// What decisions know of it.
    pub schedule: Schedule,
    /// The name of its tasks' queue.
    pub queue: String,
    /// The ids of the tasks that were in the way, as far as they are kept.
    pub names: BTreeMap<TaskKey, String>,
}

impl Reader {
    /// The schedule with this name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn schedule(&self, name: &str) -> Result<Option<ScheduleView>, ReadError> {
        let name = name.to_string();
        self.run(move |connection| {
            let mut statement = connection
                .prepare_cached(schedule_columns!("WHERE n.namespace = 1 AND n.kind = 4 AND n.text = ?1"))?;
            let found = statement.query_row(params![name], schedule_of).optional()?;
            found.map(|schedule| view(connection, schedule)).transpose()
        })
        .await
    }

    /// All schedules behind the one called `after`, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn schedules(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<ScheduleView>, ReadError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(schedule_columns!(
                "WHERE n.namespace = 1 AND n.kind = 4 AND n.text > ?1 ORDER BY n.text LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![after.unwrap_or_default(), limit], schedule_of)?;
            rows.map(|schedule| view(connection, schedule?)).collect()
        })
        .await
    }

    /// The id of a task, while it is kept.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn task_id(&self, task: TaskKey) -> Result<Option<String>, ReadError> {
        self.run(move |connection| name_of(connection, task.0)).await
    }
}

fn view(connection: &Connection, schedule: Schedule) -> rusqlite::Result<ScheduleView> {
    let mut names = BTreeMap::new();
    for fate in &schedule.last {
        if let What::Overlapped(task) = fate.what {
            names.extend(name_of(connection, task.0)?.map(|name| (task, name)));
        }
    }
    let queue = name_of(connection, schedule.settings.asked.queue.0)?.unwrap_or_default();
    Ok(ScheduleView { schedule, queue, names })
}
