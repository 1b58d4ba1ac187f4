//! Sources: what deciding about one needs, and what it leaves.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Row, params};
use taskhook_core::source::{Source, SourceCommand};
use taskhook_core::{Decided, SourceKey, Subjects, Timestamp};

use crate::store::row::sources::SecretRow;
use crate::store::sqlite::{SqliteTransaction, known, text_of};

/// The use of a secret is written down again only after so many microseconds: nobody needs it more exactly, and each
/// webhook would write it.
const USE_AGAIN_AFTER: i64 = 60 * 1_000_000;

impl SqliteTransaction<'_> {
    pub(super) fn load_source(&self, key: SourceKey, subjects: &mut Subjects) -> rusqlite::Result<()> {
        if subjects.has_loaded_source(key) {
            return Ok(());
        }
        let sql = "SELECT key, definition, secrets, created_at FROM source WHERE key = ?1";
        let found =
            self.store.connection.prepare_cached(sql)?.query_row(params![key.0], source_of).optional()?;
        subjects.put_source(key, found);
        Ok(())
    }

    pub(super) fn load_for_source_command(
        &self,
        key: SourceKey,
        command: &SourceCommand,
        subjects: &mut Subjects,
    ) -> rusqlite::Result<()> {
        self.load_source(key, subjects)?;
        if matches!(command, SourceCommand::Define { .. }) && subjects.source(key).is_none() {
            let mut statement = self.store.connection.prepare_cached("SELECT count(*) FROM source")?;
            let count: i64 = statement.query_row([], |row| row.get(0))?;
            subjects.put_sources_count(usize::try_from(count).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// What has become of sources.
    pub(super) fn save_sources(&mut self, decided: &[Decided], subjects: &Subjects) -> rusqlite::Result<()> {
        let touched: BTreeSet<SourceKey> =
            decided.iter().flat_map(|one| &one.decision.sources).map(|(key, _)| *key).collect();
        for key in touched {
            match subjects.source(key) {
                Some(source) => self.save_source(source)?,
                None => {
                    let sql = "DELETE FROM source WHERE key = ?1";
                    self.store.connection.prepare_cached(sql)?.execute(params![key.0])?;
                }
            }
            // Of secrets that are no more nobody asks when they were used.
            self.store
                .connection
                .prepare_cached(
                    "DELETE FROM secret_use WHERE secret NOT IN
                     (SELECT unhex(json_extract(s.value, '$.id')) FROM source, json_each(secrets) s)",
                )?
                .execute([])?;
        }
        Ok(())
    }

    fn save_source(&mut self, source: &Source) -> rusqlite::Result<()> {
        self.save_name(source.key.0)?;
        let secrets: Vec<SecretRow> = source.secrets.iter().map(SecretRow::of).collect();
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO source (key, definition, secrets, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET definition = ?2, secrets = ?3",
        )?;
        statement.execute(params![
            source.key.0,
            &*source.definition,
            text_of(&secrets)?,
            source.created_at.0
        ])?;
        Ok(())
    }

    /// Writes down that a secret has proved a request.
    pub(super) fn save_use(&self, secret: [u8; 16]) -> rusqlite::Result<()> {
        let mut statement = self.store.connection.prepare_cached(
            "INSERT INTO secret_use (secret, at) VALUES (?1, ?2)
             ON CONFLICT (secret) DO UPDATE SET at = ?2 WHERE secret_use.at < ?2 - ?3",
        )?;
        statement.execute(params![secret, self.now.0, USE_AGAIN_AFTER])?;
        Ok(())
    }
}

/// A source from its columns: key, definition, secrets, created_at.
pub(crate) fn source_of(row: &Row<'_>) -> rusqlite::Result<Source> {
    let secrets: Option<Vec<SecretRow>> = serde_json::from_str(&row.get::<_, String>(2)?).ok();
    let secrets = secrets.map(|rows| rows.iter().map(SecretRow::secret).collect::<Option<_>>());
    Ok(Source {
        key: SourceKey(row.get(0)?),
        definition: row.get::<_, String>(1)?.into(),
        secrets: known(secrets.flatten(), 2)?,
        created_at: Timestamp(row.get(3)?),
    })
}
