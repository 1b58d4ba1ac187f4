//! Received webhooks, as people see them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhook_core::{EventId, Timestamp};

use crate::store::read::{Listed, PAGE_BYTES_MAX, ROWS_LOOKED_AT_MAX, ReadError, Reader};
use crate::store::row;
use crate::store::sqlite::known;

/// A received webhook with everything that is shown of it.
#[derive(Debug, Clone)]
pub struct EventView {
    /// Its key: its place among all.
    pub key: i64,
    /// Its id.
    pub id: EventId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The source it was sent to.
    pub source: String,
    /// The event name in its body.
    pub name: Option<String>,
    /// The task it is about, by id.
    pub task: Option<String>,
    /// The attempt it names.
    pub attempt: Option<u32>,
    /// The remote's own id of the task, where it named no other.
    pub external_id: Option<String>,
    /// Its delivery id.
    pub delivery_id: Option<String>,
    /// The secret of its source that proved it.
    pub secret: Option<[u8; 16]>,
    /// It came by a callback URL or with a key: what it may report on was not a matter of its source.
    pub may_report: bool,
    /// The contract's word for what became of it.
    pub outcome: &'static str,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// The event it repeats.
    pub duplicate_of: Option<EventId>,
    /// The event it replays.
    pub replay_of: Option<EventId>,
    /// The query of its URL, without credentials.
    pub query: Option<String>,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
}

/// Which webhooks a list shows. Every condition that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Sent to this source.
    pub source: Option<String>,
    /// About this task, by id.
    pub task: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// With this event name.
    pub name: Option<String>,
}

const COLUMNS: &str = "SELECT e.key, e.id, e.received_at, e.source, e.name, coalesce(n.text, e.task_name), e.attempt, \
     e.delivery_id, e.outcome, e.reason, e.duplicate_of, e.replay_of, e.headers, e.body, e.secret, e.may_report, e.external_id, \
     e.query FROM event e LEFT JOIN name n ON n.key = e.task AND n.kind = 1 ";

impl Reader {
    /// The webhook with this id.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn event(&self, id: EventId) -> Result<Option<EventView>, ReadError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE e.id = ?1"))?;
            statement.query_row(params![id.0], view).optional()
        })
        .await
    }

    /// The webhooks that a filter lets through, newest first, from behind `before`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn events(
        &self,
        filter: EventFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Listed<EventView>, ReadError> {
        self.run(move |connection| list(connection, &filter, before, limit)).await
    }
}

fn list(
    connection: &Connection,
    filter: &EventFilter,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Listed<EventView>> {
    // Bodies are large: they are read for the rows that are shown, not for those that are looked at.
    let mut statement = connection.prepare_cached(
        "SELECT e.key, e.source, coalesce(n.text, e.task_name), e.outcome, e.name
         FROM event e LEFT JOIN name n ON n.key = e.task AND n.kind = 1 WHERE e.key < ?1 ORDER BY e.key DESC",
    )?;
    let mut rows = statement.query(params![before.unwrap_or(i64::MAX)])?;
    let (mut found, mut last, mut looked_at, mut more) = (Vec::new(), None, 0, false);
    while let Some(row) = rows.next()? {
        if found.len() == limit || looked_at == ROWS_LOOKED_AT_MAX {
            more = true;
            break;
        }
        looked_at += 1;
        let key: i64 = row.get(0)?;
        last = Some(key);
        if passes(filter, row)? {
            found.push(key);
        }
    }
    drop(rows);
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE e.key = ?1"))?;
    let mut listed = Listed { rows: Vec::with_capacity(found.len()), next: last.filter(|_| more) };
    let mut bytes = 0;
    for (position, key) in found.iter().enumerate() {
        if bytes > PAGE_BYTES_MAX {
            listed.next = Some(found[position - 1]);
            break;
        }
        let event = statement.query_row(params![key], view)?;
        let headers = event.headers.iter().map(|(name, value)| name.len() + value.len());
        bytes += event.body.len() + headers.sum::<usize>();
        listed.rows.push(event);
    }
    Ok(listed)
}

fn passes(filter: &EventFilter, row: &Row<'_>) -> rusqlite::Result<bool> {
    let is = |wanted: &Option<String>, found: Option<String>| wanted.is_none() || *wanted == found;
    let outcome = row::outcome_name(row.get(3)?).to_string();
    Ok(is(&filter.source, row.get(1)?)
        && is(&filter.task, row.get(2)?)
        && is(&filter.outcome, Some(outcome))
        && is(&filter.name, row.get(4)?))
}

fn view(row: &Row<'_>) -> rusqlite::Result<EventView> {
    let headers: String = row.get(12)?;
    Ok(EventView {
        key: row.get(0)?,
        id: EventId(row.get(1)?),
        received_at: row::time(row.get(2)?),
        source: row.get(3)?,
        name: row.get(4)?,
        task: row.get(5)?,
        attempt: row.get(6)?,
        delivery_id: row.get(7)?,
        outcome: row::outcome_name(row.get(8)?),
        reason: row.get(9)?,
        duplicate_of: row.get::<_, Option<[u8; 16]>>(10)?.map(EventId),
        replay_of: row.get::<_, Option<[u8; 16]>>(11)?.map(EventId),
        headers: known(serde_json::from_str(&headers).ok(), 12)?,
        body: row.get(13)?,
        secret: row.get(14)?,
        may_report: row.get(15)?,
        external_id: row.get(16)?,
        query: row.get(17)?,
    })
}
