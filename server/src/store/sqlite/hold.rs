//! Whether the server is held.

use rusqlite::{Connection, params};
use taskhook_core::{HoldChange, Timestamp};

use crate::store::row;
use crate::store::sqlite::SqliteTransaction;

/// Since when the server is held; `None`: it is not.
pub(crate) fn held_since(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached("SELECT since FROM hold WHERE one = 1")?;
    statement.query_row([], |row| Ok(row.get::<_, Option<i64>>(0)?.map(row::time)))
}

impl SqliteTransaction<'_> {
    pub(super) fn save_hold(&self, change: HoldChange) -> rusqlite::Result<()> {
        let since = change.since(self.now).map(|at| at.0);
        let mut statement =
            self.store.connection.prepare_cached("UPDATE hold SET since = ?1 WHERE one = 1")?;
        statement.execute(params![since]).map(drop)
    }
}
