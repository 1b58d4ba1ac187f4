//! Sources as the edge uses them, and as people see them.

use std::collections::BTreeMap;

use rusqlite::params;
use taskhook_core::Timestamp;
use taskhook_core::source::Source;

use crate::store::read::{ReadError, Reader};
use crate::store::sqlite::source_of;

/// A source with its name.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// What decisions know of it.
    pub source: Source,
    /// When its secrets proved a request last, to within a minute.
    pub uses: BTreeMap<[u8; 16], Timestamp>,
}

impl Reader {
    /// The sources behind the one called `after`, by name; or the one with this very name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn sources(&self, after: Option<String>, limit: usize) -> Result<Vec<SourceView>, ReadError> {
        self.find_sources("n.text > ?1", after.unwrap_or_default(), limit).await
    }

    /// The source with this name.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn source(&self, name: &str) -> Result<Option<SourceView>, ReadError> {
        Ok(self.find_sources("n.text = ?1", name.into(), 1).await?.pop())
    }

    async fn find_sources(
        &self,
        which: &'static str,
        name: String,
        limit: usize,
    ) -> Result<Vec<SourceView>, ReadError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT s.key, s.definition, s.secrets, s.created_at, n.text FROM source s
                 JOIN name n ON n.key = s.key AND n.namespace = 1 AND n.kind = 6
                 WHERE {which} ORDER BY n.text LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![name, limit], |row| Ok((source_of(row)?, row.get(4)?)))?;
            let mut views = Vec::new();
            for row in rows {
                let (source, name) = row?;
                let mut uses = BTreeMap::new();
                let mut used = connection.prepare_cached("SELECT at FROM secret_use WHERE secret = ?1")?;
                for secret in &source.secrets {
                    let mut rows = used.query(params![secret.id])?;
                    if let Some(row) = rows.next()? {
                        uses.insert(secret.id, Timestamp(row.get(0)?));
                    }
                }
                views.push(SourceView { name, source, uses });
            }
            Ok(views)
        })
        .await
    }
}
