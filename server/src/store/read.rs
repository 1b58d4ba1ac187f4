//! Reading for people: tasks, their history, webhooks. Never used to decide.
//!
//! Read-only connections of their own, so that no reader ever stands in the writer's way. Each query is short
//! and bounded: a long one would keep the write-ahead log from being checkpointed.

mod access;
mod answers;
mod bulks;
mod events;
mod hold;
pub(crate) mod queues;
mod schedules;
mod secrets;
mod sources;
mod stats;
mod tasks;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use taskhook_core::{HostKey, Timestamp};

pub use access::{AuditFilter, AuditView};
pub use answers::AnswerView;
pub use bulks::{BulkView, Matches};
pub use events::{EventFilter, EventView};
pub use queues::{QueueView, WaitingCount};
pub use schedules::ScheduleView;
pub use sources::SourceView;
pub use stats::{GroupBy, TaskGroup, TaskStats};
pub use tasks::{HistoryEntry, SpecView, TaskFilter, TaskView, each_task};

use crate::store::sqlite::platform::{Platform, System};
use crate::store::sqlite::{SqlitePath, connect, keep_plans};

/// Rows that one page of a list may look at before it answers with what it has found so far.
const ROWS_LOOKED_AT_MAX: usize = 20_000;

/// Bytes of payloads, results and bodies on one page; beyond it the page ends early, and the next one goes on.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Connections that read at the same time.
const READERS: usize = 4;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct ReadError(String);

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        ReadError(error.to_string())
    }
}

/// The readers of a SQLite store.
#[derive(Debug, Clone)]
pub struct Reader {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<tokio::sync::Semaphore>,
    node: Arc<NodeStatus>,
}

/// What a node knows and no store holds.
#[derive(Debug, Default)]
pub struct NodeStatus {
    broken: Mutex<BTreeMap<HostKey, Timestamp>>,
    up_since: AtomicI64,
    full_since: Mutex<Option<Timestamp>>,
}

impl NodeStatus {
    /// Learns of hosts when the next exchange with each begins; `None`: it is not out of order.
    pub fn learn(&self, hosts: impl Iterator<Item = (HostKey, Option<Timestamp>)>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        for (host, probe_at) in hosts {
            match probe_at {
                Some(at) => drop(broken.insert(host, at)),
                None => drop(broken.remove(&host)),
            }
        }
    }

    /// When the next exchange with a host begins that is out of order.
    #[must_use]
    pub fn probe_at(&self, host: HostKey) -> Option<Timestamp> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied()
    }

    /// Learns since when its disk is full; `None`: there is room.
    pub fn set_full_since(&self, since: Option<Timestamp>) {
        *self.full_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when there is no room on its disk but for what moves begun work.
    #[must_use]
    pub fn full_since(&self) -> Option<Timestamp> {
        *self.full_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns since when the node has been up.
    pub fn set_up_since(&self, up_since: Timestamp) {
        self.up_since.store(up_since.0, Ordering::Relaxed);
    }

    /// Since when the node has been up. An exchange that began earlier died with the process before.
    #[must_use]
    pub fn up_since(&self) -> Timestamp {
        Timestamp(self.up_since.load(Ordering::Relaxed))
    }

    /// The hosts that are out of order.
    #[must_use]
    pub fn broken(&self) -> Vec<HostKey> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<i64>,
}

impl Reader {
    /// Opens the readers of the store at `path`, which exists. `node` is what the node that shows it knows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(path: &SqlitePath, node: Arc<NodeStatus>) -> Result<Reader, ReadError> {
        let connections = (0..READERS).map(|_| open_on(&System, path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Reader {
            idle: Arc::new(Mutex::new(connections)),
            turns: Arc::new(tokio::sync::Semaphore::new(READERS)),
            node,
        })
    }

    /// Runs `query` on a thread that may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let stopped = |_| ReadError("the server is stopping".into());
        let turn = self.turns.clone().acquire_owned().await.map_err(stopped)?;
        let idle = self.idle.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = taken.ok_or_else(|| ReadError("no reader is free".into()))?;
            // One view of everything that it reads: rows may be pruned meanwhile.
            let result = connection.unchecked_transaction().and_then(|view| query(&view));
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(turn);
            result.map_err(ReadError::from)
        });
        ran.await.unwrap_or_else(|panic| Err(ReadError(format!("a reader failed: {panic}"))))
    }

    /// Closes them, but for those that are reading: who asks from now on hears that the server is stopping.
    pub fn close(&self) {
        self.turns.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the node knows that it shows.
    #[must_use]
    pub fn node(&self) -> &NodeStatus {
        &self.node
    }

    /// Whether the store can be read at all.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn check(&self) -> Result<(), ReadError> {
        self.run(|connection| connection.query_row("SELECT 1 FROM migration LIMIT 1", [], |_| Ok(()))).await
    }
}

/// A connection that reads the store at `path`, which exists.
///
/// # Errors
/// What SQLite says.
pub fn open_on(platform: &dyn Platform, path: &SqlitePath) -> Result<Connection, ReadError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(platform, path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA cache_size = -8192;")?;
    connection.set_prepared_statement_cache_capacity(64);
    keep_plans(&connection)?;
    Ok(connection)
}
