//! What a torture must notice: damage that is done to a store between two starts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rusqlite::Connection;

use crate::shim::{Action, At, Control, Fault, Files};

/// Tasks that are there before damage is done.
const TASKS_MIN: usize = 60;
/// The files of a store, after its name.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// A damage, which is done once.
#[derive(Debug, Clone, Copy)]
pub struct Sabotage {
    kind: Kind,
    done: &'static AtomicBool,
}

/// The kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The database is put back to how it was some restarts ago.
    OlderStore,
    /// A task that has ended runs again.
    Reopened,
    /// A webhook is gone.
    LostWebhook,
    /// The disk says that it has kept what it has not, and then the power is cut.
    LyingDisk,
}

/// Every kind, and a part of a sentence that says that it was noticed.
pub const KINDS: [(Kind, &[&str]); 4] = [
    (Kind::OlderStore, &["is lost", "is answered", " was Seen", "doctor finds", "does not start"]),
    (Kind::Reopened, &[" was Seen", "doctor finds"]),
    (Kind::LostWebhook, &["the webhook", "is answered", "doctor finds"]),
    (Kind::LyingDisk, &["is lost", "is answered", " was Seen", "doctor finds", "does not start", "a backup"]),
];

impl Sabotage {
    /// A damage that is not done yet.
    #[must_use]
    pub fn new(kind: Kind) -> Sabotage {
        // A few of them in a program that ends soon.
        Sabotage { kind, done: Box::leak(Box::new(AtomicBool::new(false))) }
    }

    /// Does it, if the time has come: to a store on which no server runs, and in which `tasks` were promised. Gives what
    /// was done.
    ///
    /// # Errors
    /// If the store cannot be damaged.
    pub fn strike(&self, folder: &Path, tasks: usize) -> Result<Option<String>> {
        if self.done.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (store, older) = (folder.join("store.db"), folder.join("older.db"));
        let suffixed = |path: &Path, suffix: &str| format!("{}{suffix}", path.display());
        if self.kind == Kind::OlderStore && !older.exists() {
            for suffix in FILES {
                let from = suffixed(&store, suffix);
                if Path::new(&from).exists() {
                    std::fs::copy(from, suffixed(&older, suffix))?;
                }
            }
            return Ok(None);
        }
        if tasks < TASKS_MIN {
            return Ok(None);
        }
        let done = match self.kind {
            Kind::OlderStore => {
                for suffix in FILES {
                    let _ = std::fs::remove_file(suffixed(&store, suffix));
                    if Path::new(&suffixed(&older, suffix)).exists() {
                        std::fs::rename(suffixed(&older, suffix), suffixed(&store, suffix))?;
                    }
                }
                "the database is as it was some restarts ago".to_owned()
            }
            Kind::Reopened => {
                let sql = "UPDATE task SET state = 5, ended_at = NULL
                     WHERE key IN (SELECT key FROM task WHERE ended_at IS NOT NULL ORDER BY key DESC LIMIT 5)";
                let changed = Connection::open(&store)?.execute(sql, [])?;
                format!("{changed} tasks that had ended run again")
            }
            Kind::LostWebhook => {
                let sql = "DELETE FROM event WHERE key IN (SELECT key FROM event ORDER BY key DESC LIMIT 5)";
                let changed = Connection::open(&store)?.execute(sql, [])?;
                format!("{changed} webhooks are gone")
            }
            Kind::LyingDisk => return Ok(None),
        };
        self.done.store(true, Ordering::Relaxed);
        Ok(Some(done))
    }

    /// Lets the disk of a running server lie from the start, and cuts its power once there is something to lose: then it gives
    /// true, and the next write is its last.
    ///
    /// # Errors
    /// If the server's files cannot be told.
    pub fn strike_running(&self, control: &Control, tasks: usize) -> Result<bool> {
        if self.kind != Kind::LyingDisk || self.is_done() {
            return Ok(false);
        }
        let (files, call) = (Files::Any, 1);
        let lie = Fault { at: At::Sync, files, call, repeat: None, action: Action::Lie, half: false };
        if tasks < TASKS_MIN {
            control.plan(&lie)?;
            return Ok(false);
        }
        control.plan(&Fault { at: At::Write, repeat: Some(1), action: Action::Power, ..lie })?;
        self.done.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether it was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}
