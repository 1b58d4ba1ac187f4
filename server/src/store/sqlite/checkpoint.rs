//! Checkpoints: the write-ahead log goes into the database file when it has grown, by the writer's own hand.
//!
//! SQLite's automatic checkpoint runs behind a commit and keeps its errors to itself: an fsync of the database
//! file that failed would be tried again with the next commit, and "succeed" over pages that never arrived
//! (G16). Here its error is one like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// Pages in the log that make the next transaction checkpoint them first. Small logs cost random writes.
const PAGES: i32 = 20_000;

/// Pages in the log that are worth a checkpoint while nobody waits. A short one keeps nobody waiting long who
/// comes meanwhile.
const PAGES_IDLE: i32 = 1_000;

/// How long the log of one connection is.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<AtomicI32>);

impl Log {
    /// Counts the pages that each commit of `connection` leaves in the log.
    pub(super) fn of(connection: &mut Connection) -> rusqlite::Result<Log> {
        let log = Log::default();
        let pages = log.0.clone();
        connection.wal_hook(Some(move |_: &mut Wal, logged| {
            pages.store(logged, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(log)
    }

    /// Checkpoints a log that has grown so far that somebody must wait for it.
    pub(super) fn checkpoint_if_due(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.checkpoint_beyond(PAGES, connection)
    }

    /// Checkpoints a log that has grown, while nobody waits.
    pub(super) fn checkpoint_if_idle(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.checkpoint_beyond(PAGES_IDLE, connection)
    }

    fn checkpoint_beyond(&self, pages: i32, connection: &Connection) -> rusqlite::Result<()> {
        if self.0.load(Ordering::Relaxed) < pages {
            return Ok(());
        }
        self.0.store(0, Ordering::Relaxed);
        // Readers are not waited for: what they still need stays in the log until the next time.
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}
