//! API keys, secrets of the server and the audit log, as they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use taskhook_core::access::{AccessChange, ApiKey, ApiKeyId};
use taskhook_core::retention::{Ages, Verdict};
use taskhook_core::{Decided, Subjects, Timestamp};

use crate::store::AuditEntry;
use crate::store::row;
use crate::store::sqlite::prune::Room;
use crate::store::sqlite::{SqliteTransaction, known};

/// Every API key.
pub(crate) fn api_keys(connection: &Connection) -> rusqlite::Result<BTreeMap<ApiKeyId, ApiKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, role, hash, hint, created_at, expires_at FROM api_key ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| api_key_of(row).map(|key| (key.id, key)))?;
    rows.collect()
}

fn api_key_of(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId(row.get(0)?),
        name: row.get::<_, Arc<str>>(1)?,
        role: known(row::role_of(row.get(2)?), 2)?,
        hash: row.get(3)?,
        hint: row.get::<_, Arc<str>>(4)?,
        created_at: Timestamp(row.get(5)?),
        expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
    })
}

/// Writes a secret of the server down, sealed. The old one is overwritten where it stood.
pub(super) fn keep_secret(connection: &Connection, name: &str, sealed: &[u8]) -> rusqlite::Result<()> {
    connection.pragma_update(None, "secure_delete", true)?;
    let kept = connection
        .prepare_cached("INSERT OR REPLACE INTO secret (name, value, sealed) VALUES (?1, ?2, 1)")?
        .execute(params![name, sealed]);
    connection.pragma_update(None, "secure_delete", false)?;
    kept.map(drop)
}

impl SqliteTransaction<'_> {
    pub(super) fn load_api_keys(&self, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if !subjects.has_loaded_api_keys() {
            subjects.put_api_keys(api_keys(&self.store.connection)?);
        }
        Ok(())
    }

    pub(super) fn save_access(&self, decided: &[Decided]) -> rusqlite::Result<()> {
        for change in decided.iter().flat_map(|one| &one.decision.access) {
            match change {
                AccessChange::KeyCreated(key) => self.insert_api_key(key)?,
                AccessChange::KeyRevoked { key, .. } => {
                    let sql = "DELETE FROM api_key WHERE id = ?1";
                    self.store.connection.prepare_cached(sql)?.execute(params![key.0])?;
                }
                AccessChange::SecretsKept(secrets) => {
                    for (name, sealed) in secrets {
                        keep_secret(&self.store.connection, name, sealed)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn insert_api_key(&self, key: &ApiKey) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO api_key (id, name, role, hash, hint, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let expires_at = key.expires_at.map(|at| at.0);
        let role = row::role_number(key.role);
        statement
            .execute(params![key.id.0, &*key.name, role, key.hash, &*key.hint, key.created_at.0, expires_at])
            .map(drop)
    }

    /// Appends to the audit log.
    pub(super) fn save_audit(&self, entries: &[AuditEntry]) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO audit (at, action, subject, count, api_key, key_name, address, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for entry in entries {
            let author = &entry.author;
            let (id, name) = author.key.as_ref().map(|(id, name)| (id.0, &**name)).unzip();
            let count = i64::try_from(entry.count).unwrap_or(i64::MAX);
            let from = &author.address;
            statement.execute(params![
                self.now.0,
                entry.action,
                entry.subject,
                count,
                id,
                name,
                from,
                author.request
            ])?;
        }
        Ok(())
    }

    /// Takes away the oldest entries of the audit log. Whether there may be more to be taken away.
    pub(super) fn prune_audit(&self, ages: &Ages, room: &mut Room) -> rusqlite::Result<bool> {
        let connection = &self.store.connection;
        let mut first = connection.prepare_cached("SELECT key, at FROM audit ORDER BY key LIMIT 1")?;
        let mut remove = connection.prepare_cached("DELETE FROM audit WHERE key = ?1")?;
        while room.look() {
            let mut rows = first.query([])?;
            let Some(row) = rows.next()? else { return Ok(false) };
            let (key, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            if ages.let_audit_go(self.now, Timestamp(at)) != Verdict::Goes {
                return Ok(false);
            }
            drop(rows);
            room.take(remove.execute(params![key])?, 0);
        }
        Ok(true)
    }
}
