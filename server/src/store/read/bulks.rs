//! Bulks as people see them, and how many tasks one would find.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhook_core::bulk::Settings;
use taskhook_core::{Bulk, QueueKey};

use crate::store::read::queues;
use crate::store::read::tasks::name_of;
use crate::store::read::{Listed, ReadError, Reader};
use crate::store::sqlite::{bulk_columns, bulk_of, filtered_columns, with_facts};

/// Rows that one step of a count looks at: no reader is held for long.
const STEP_ROWS: i64 = 8_192;

/// A bulk with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct BulkView {
    /// Its id.
    pub id: String,
    /// What decisions know of it.
    pub bulk: Bulk,
    /// The name of the queue that its filter means.
    pub queue: Option<String>,
}

/// How many tasks a bulk would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matches {
    /// Those that were found.
    pub matched: u64,
    /// Whether there was time to look at all.
    pub complete: bool,
}

impl Reader {
    /// The bulk with this id.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn bulk(&self, id: &str) -> Result<Option<BulkView>, ReadError> {
        let id = id.to_string();
        self.run(move |connection| {
            let mut statement = connection
                .prepare_cached(bulk_columns!("WHERE n.namespace = 1 AND n.kind = 5 AND n.text = ?1"))?;
            statement.query_row(params![id], |row| view(connection, row)).optional()
        })
        .await
    }

    /// The id of the bulk under this key, while it is kept.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn bulk_id(&self, key: i64) -> Result<Option<String>, ReadError> {
        self.run(move |connection| name_of(connection, key)).await
    }

    /// All bulks that are kept, newest first, from behind `before`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn bulks(&self, before: Option<i64>, limit: usize) -> Result<Listed<BulkView>, ReadError> {
        self.run(move |connection| {
            let mut statement =
                connection.prepare_cached(bulk_columns!("WHERE b.key < ?1 ORDER BY b.key DESC LIMIT ?2"))?;
            let before = before.unwrap_or(i64::MAX);
            let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![before, one_more], |row| view(connection, row))?;
            let mut rows = rows.collect::<rusqlite::Result<Vec<BulkView>>>()?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            Ok(Listed { next: rows.last().filter(|_| more).map(|last| last.bulk.key.0), rows })
        })
        .await
    }

    /// The key of the queue with this name, if there is such a queue.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn queue_key(&self, name: &str) -> Result<Option<QueueKey>, ReadError> {
        let name = name.to_string();
        self.run(move |connection| queues::key_of(connection, &name)).await
    }

    /// How many tasks there are that a bulk would find, as far as they can be looked at in this time.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn count_matches(&self, settings: Settings, within: Duration) -> Result<Matches, ReadError> {
        let begun = Instant::now();
        let newest = "SELECT max(key) FROM task";
        let until: Option<i64> =
            self.run(|connection| connection.query_row(newest, [], |row| row.get(0))).await?;
        let until = until.unwrap_or(i64::MIN);
        let mut count = Matches::default();
        let mut after = i64::MIN;
        while begun.elapsed() < within {
            let settings = settings.clone();
            let (matched, last) =
                self.run(move |connection| step(connection, &settings, after, until)).await?;
            count.matched += matched;
            match last {
                Some(last) => after = last,
                None => return Ok(Matches { complete: true, ..count }),
            }
        }
        Ok(count)
    }
}

/// How many of the next tasks behind `after` match, and the last one that was looked at if there may be more.
fn step(
    connection: &Connection,
    settings: &Settings,
    after: i64,
    until: i64,
) -> rusqlite::Result<(u64, Option<i64>)> {
    let mut statement = connection
        .prepare_cached(filtered_columns!("WHERE t.key > ?1 AND t.key <= ?2 ORDER BY t.key LIMIT ?3"))?;
    let mut rows = statement.query(params![after, until, STEP_ROWS])?;
    let (mut matched, mut looked_at, mut last) = (0, 0, after);
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = row.get(0)?;
        matched += u64::from(with_facts(row, &settings.filter, |facts| settings.wants(facts))?);
    }
    Ok((matched, (looked_at == STEP_ROWS).then_some(last)))
}

fn view(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<BulkView> {
    let bulk = bulk_of(row)?;
    let queue = bulk.settings.filter.queue.map(|queue| name_of(connection, queue.0)).transpose()?;
    Ok(BulkView { id: row.get(12)?, bulk, queue: queue.flatten() })
}
