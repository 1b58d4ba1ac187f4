//! API keys and the audit log, as people see them.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use taskhook_core::Timestamp;
use taskhook_core::access::{ApiKey, ApiKeyId};

use crate::store::read::{Listed, ROWS_LOOKED_AT_MAX, ReadError, Reader};
use crate::store::row;
use crate::store::sqlite;

/// An entry of the audit log.
#[derive(Debug, Clone)]
pub struct AuditView {
    /// Its key: its place among all.
    pub key: i64,
    /// When it was.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// To what, by its name or id.
    pub subject: String,
    /// To how many.
    pub count: i64,
    /// With which API key; `None`: without one.
    pub api_key: Option<ApiKeyId>,
    /// What that was called.
    pub key_name: Option<String>,
    /// From where.
    pub address: String,
    /// The id of the request.
    pub request: [u8; 16],
}

/// Which entries a list shows. Every condition that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// This was done.
    pub action: Option<String>,
    /// To this.
    pub subject: Option<String>,
    /// With the API key of this name or id.
    pub key: Option<String>,
}

impl AuditFilter {
    fn passes(&self, entry: &AuditView) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let by = |wanted: &String| {
            entry.key_name.as_ref() == Some(wanted)
                || entry.api_key.is_some_and(|id| id.to_string() == *wanted)
        };
        is(&self.action, &entry.action)
            && is(&self.subject, &entry.subject)
            && self.key.as_ref().is_none_or(by)
    }
}

impl Reader {
    /// Every API key.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn api_keys(&self) -> Result<BTreeMap<ApiKeyId, ApiKey>, ReadError> {
        self.run(sqlite::api_keys).await
    }

    /// The entries of the audit log that a filter lets through, newest first, from behind `before`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn audit(
        &self,
        filter: AuditFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Listed<AuditView>, ReadError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key, at, action, subject, count, api_key, key_name, address, request FROM audit
                 WHERE key < ?1 ORDER BY key DESC",
            )?;
            let mut rows = statement.query(params![before.unwrap_or(i64::MAX)])?;
            let (mut listed, mut last, mut looked_at) = (Listed { rows: Vec::new(), next: None }, None, 0);
            while let Some(row) = rows.next()? {
                if listed.rows.len() == limit || looked_at == ROWS_LOOKED_AT_MAX {
                    listed.next = last;
                    break;
                }
                looked_at += 1;
                let entry = view(row)?;
                last = Some(entry.key);
                if filter.passes(&entry) {
                    listed.rows.push(entry);
                }
            }
            Ok(listed)
        })
        .await
    }
}

fn view(row: &Row<'_>) -> rusqlite::Result<AuditView> {
    Ok(AuditView {
        key: row.get(0)?,
        at: row::time(row.get(1)?),
        action: row.get(2)?,
        subject: row.get(3)?,
        count: row.get(4)?,
        api_key: row.get::<_, Option<[u8; 16]>>(5)?.map(ApiKeyId),
        key_name: row.get(6)?,
        address: row.get(7)?,
        request: row.get(8)?,
    })
}
