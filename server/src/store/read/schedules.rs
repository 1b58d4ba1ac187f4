//! Schedules as people see them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use taskhook_core::schedule::What;
use taskhook_core::{Schedule, TaskKey};

use crate::store::read::tasks::name_of;
use crate::store::read::{PAGE_BYTES_MAX, ReadError, Reader};
use crate::store::sqlite::{schedule_columns, schedule_of};

/// A schedule with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct ScheduleView {
    /// What decisions know of it.
    pub schedule: Schedule,
    /// The name of its tasks' queue.
    pub queue: String,
    /// The name of the source that may report on its tasks.
    pub source: String,
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

    /// The schedules behind the one called `after`, by name, as many as fit a page; and whether there are more.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn schedules(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<ScheduleView>, bool), ReadError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(schedule_columns!(
                "WHERE n.namespace = 1 AND n.kind = 4 AND n.text > ?1 ORDER BY n.text LIMIT ?2"
            ))?;
            let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
            let mut rows = statement.query_map(params![after.unwrap_or_default(), one_more], schedule_of)?;
            let (mut views, mut bytes) = (Vec::new(), 0);
            for schedule in rows.by_ref() {
                if views.len() == limit || bytes > PAGE_BYTES_MAX {
                    return Ok((views, true));
                }
                let schedule = schedule?;
                bytes += 4_096 + usize::try_from(schedule.settings.asked.payload_bytes).unwrap_or(usize::MAX);
                views.push(view(connection, schedule)?);
            }
            Ok((views, false))
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
    let source = name_of(connection, schedule.settings.asked.source.0)?.unwrap_or_default();
    Ok(ScheduleView { schedule, queue, source, names })
}
