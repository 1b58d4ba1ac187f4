//! A copy of a store that a server runs on, made by SQLite itself (`VACUUM INTO`), with the key beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// How long another connection may be in its way.
const BUSY_TIME: Duration = Duration::from_secs(20);

/// A copy, which is gone when it is dropped.
#[derive(Debug)]
pub struct Copy {
    /// Its database.
    pub store: PathBuf,
    _folder: TempDir,
}

/// Copies the store in `folder`.
///
/// # Errors
/// What SQLite says.
pub async fn take(folder: &Path) -> Result<Copy> {
    let from = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir_in(from.parent().context("a folder of its own")?)?;
        let store = folder.path().join("store.db");
        let original = Connection::open_with_flags(from.join("store.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        original.busy_timeout(BUSY_TIME)?;
        original.execute("VACUUM INTO ?1", [store.display().to_string()])?;
        std::fs::copy(from.join("store.db-key"), folder.path().join("store.db-key"))?;
        Ok(Copy { store, _folder: folder })
    })
    .await?
}

/// Which of these tasks are not in the store at `path`.
///
/// # Errors
/// What SQLite says.
pub fn missing(path: &Path, tasks: &[String]) -> Result<Vec<String>> {
    let store = Connection::open(path)?;
    let mut names = store.prepare("SELECT text FROM task JOIN name USING (key) WHERE kind = 1")?;
    let names: BTreeSet<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(tasks.iter().filter(|task| !names.contains(*task)).cloned().collect())
}
