//! Checkpoints: what stands in the write-ahead log goes into the database file, beside the writer.
//!
//! A thread with a connection of its own copies the log in slices, while the writer goes on appending to it: a
//! slice is short, because the commits of its time wait behind it at the disk. When the log is long, the writer
//! itself copies the last few pages between two transactions: then the file holds everything, and the log begins
//! anew. So nobody waits for more than a slice, however much there is to copy.
//!
//! SQLite fsyncs the file only at the end of a pass that leaves nothing behind, which beside a busy writer is the
//! writer's own: all that the passes before it have written would be flushed then, while everybody waits. So each
//! slice is fsynced when it is copied, through a handle of its own.
//!
//! SQLite's automatic checkpoint would run inside a commit and keep its errors to itself: an fsync of the
//! database file that failed would be tried again with the next commit, and "succeed" over pages that never
//! arrived (G16). Here such an error is the writer's last. A disk that is full is no such error: nothing was
//! flushed, the log still holds every page, and a later pass writes all of them again.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;
use crate::store::sqlite::open::{OpenError, SqlitePath, connect};
use crate::store::sqlite::platform::{FileHandle, Held, Platform};
use crate::store::sqlite::{failed, is_full};

/// Passes that try to leave the writer no more than that.
const PASSES_MAX: usize = 8;

/// Pages that may be missing in the file before the writer waits for it.
const BEHIND_MAX: i32 = 40_000;

/// How long the log becomes, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// New pages that are worth a slice.
    pub slice: i32,
    /// Pages after which it is to begin anew. Until then its file grows, and commits cost more.
    pub long: i32,
    /// Pages that may be left to the writer.
    pub left: i32,
}

impl Pace {
    /// What a server keeps to.
    pub const DEFAULT: Pace = Pace { slice: 250, long: 20_000, left: 100 };
}

/// The checkpoints of one store.
#[derive(Debug)]
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    copier: Option<Box<dyn Held>>,
}

/// What copies beside the writer: a connection of its own, and a handle on the file for its fsyncs.
#[derive(Debug)]
pub struct Copier {
    shared: Arc<Shared>,
    connection: Connection,
    file: Arc<dyn FileHandle>,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// Where the log is, in pages.
#[derive(Debug)]
struct Progress {
    state: State,
    /// Which log it is: how often it has begun anew.
    log: u64,
    /// How many the last commit left in it.
    logged: i32,
    /// How many of them are in the file, at least.
    copied: i32,
    /// With how many the next slice begins.
    next: i32,
    /// With how many it is to begin anew.
    full: i32,
    /// The file could not grow.
    no_room: bool,
}

#[derive(Debug, PartialEq)]
enum State {
    /// There is nothing to do.
    Resting,
    /// The thread copies.
    Copying,
    /// The writer is to copy what is left.
    Left,
    /// The store can no longer be trusted.
    Failed(String),
    /// The store is closed.
    Over,
}

impl Progress {
    fn of_log(log: u64, pace: Pace) -> Progress {
        let (next, full) = (pace.slice, pace.long);
        Progress { state: State::Resting, log, logged: 0, copied: 0, next, full, no_room: false }
    }

    /// A commit has left so many pages in the log.
    fn committed(&mut self, logged: i32, pace: Pace) {
        if logged <= self.logged {
            // The log has begun anew. A thread that is copying goes on, and finds out.
            let state = std::mem::replace(&mut self.state, State::Resting);
            *self = Progress { state, ..Progress::of_log(self.log + 1, pace) };
        }
        self.logged = logged;
    }

    /// The writer has copied so far; `None`: the file could not grow.
    fn passed(&mut self, copied: Option<i32>) {
        self.copied = copied.unwrap_or(self.copied);
        self.no_room = copied.is_none();
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, to: State) {
        self.progress().state = to;
        self.changed.notify_all();
    }

    fn wait_while(&self, waits: impl Fn(&Progress) -> bool) -> MutexGuard<'_, Progress> {
        let changed = self.changed.wait_while(self.progress(), |progress| waits(progress));
        changed.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checkpoints {
    /// Takes over the checkpoints of `writer`, a connection to the store at `path`. `file` is a handle on the same
    /// file, which stays open as long as any connection: closing it would drop their locks.
    pub(super) fn of(
        platform: &dyn Platform,
        writer: &mut Connection,
        path: &SqlitePath,
        file: Arc<dyn FileHandle>,
    ) -> Result<Checkpoints, OpenError> {
        let refused = |error| OpenError::of(error, path);
        let pace = platform.pace();
        let progress = Mutex::new(Progress::of_log(0, pace));
        let shared = Arc::new(Shared { pace, progress, changed: Condvar::new() });
        let counted = shared.clone();
        writer
            .wal_hook(Some(move |_: &mut Wal, logged| {
                counted.progress().committed(logged, pace);
                Ok(())
            }))
            .map_err(refused)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(platform, path, flags).map_err(refused)?;
        // The setting of the connection that checkpoints decides whether the file is fsynced.
        connection
            .execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA checkpoint_fullfsync = 1; PRAGMA cache_size = 16;",
            )
            .map_err(refused)?;
        #[cfg(planted = "checkpoint_is_not_synced")]
        connection.execute_batch("PRAGMA synchronous = OFF").map_err(refused)?;
        let copier = Copier { shared: shared.clone(), connection, file };
        let copier = platform.beside(copier).map_err(OpenError::Thread)?;
        Ok(Checkpoints { shared, copier: Some(copier) })
    }

    /// What the writer does between two transactions: nearly always nothing. [`StoreError::Full`], if `tells_of_no_room`: the
    /// file could not grow, and what the log holds has no place to go.
    pub(super) fn look(&self, writer: &Connection, tells_of_no_room: bool) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut progress = shared.wait_while(|progress| {
            progress.state == State::Copying && progress.logged - progress.copied >= BEHIND_MAX
        });
        match &progress.state {
            State::Resting if progress.logged >= progress.next => {
                progress.state = State::Copying;
                shared.changed.notify_all();
            }
            State::Left => {
                progress.passed(pass(writer).map_err(failed)?);
                // Readers are not waited for. As long as one needs the log, it goes on behind what it holds.
                progress.full = progress.logged.saturating_add(shared.pace.long);
                progress.state = State::Resting;
            }
            State::Failed(why) => return Err(StoreError::Broken(why.clone())),
            State::Resting | State::Copying | State::Over => {}
        }
        if tells_of_no_room && progress.no_room { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Whether the store can still be trusted (G16).
    pub(super) fn have_not_failed(&self) -> Result<(), StoreError> {
        match &self.shared.progress().state {
            State::Failed(why) => Err(StoreError::Broken(why.clone())),
            State::Resting | State::Copying | State::Left | State::Over => Ok(()),
        }
    }

    /// The same where there is hardly any room: the log is copied after each transaction, so that it need not grow.
    pub(super) fn hurry(&self, writer: &Connection) -> Result<(), StoreError> {
        let mut progress = self.at_rest()?;
        progress.passed(pass(writer).map_err(failed)?);
        Ok(())
    }

    /// Gives the room of the log back to the disk, as far as the file takes what it holds and no reader needs it.
    pub(super) fn shorten(&self, writer: &Connection) -> Result<(), StoreError> {
        let mut progress = self.at_rest()?;
        let busy = match writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        {
            Err(error) if is_full(&error) => true,
            busy => busy.map_err(failed)?,
        };
        progress.no_room = false;
        if !busy {
            *progress = Progress::of_log(progress.log + 1, self.shared.pace);
        }
        Ok(())
    }

    /// Waits until the thread copies nothing. It begins nothing as long as what this answers is there.
    fn at_rest(&self) -> Result<MutexGuard<'_, Progress>, StoreError> {
        let mut progress = self.shared.wait_while(|progress| progress.state == State::Copying);
        match &progress.state {
            State::Failed(why) => return Err(StoreError::Broken(why.clone())),
            State::Left => progress.state = State::Resting,
            State::Resting | State::Copying | State::Over => {}
        }
        Ok(progress)
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.shared.change(State::Over);
        self.copier = None;
    }
}

impl Copier {
    /// Copies whenever there is something to copy, until the store is closed.
    pub(super) fn run(&self) {
        let is_idle = |progress: &Progress| !matches!(progress.state, State::Copying | State::Over);
        while self.shared.wait_while(is_idle).state != State::Over {
            self.turn();
        }
    }

    /// Copies a slice, if one is wanted. What comes of it is told to the writer. While the writer itself copies, there is
    /// nothing to do.
    pub fn turn(&self) {
        let is_wanted = match self.shared.progress.try_lock() {
            Ok(progress) => progress.state == State::Copying,
            Err(TryLockError::Poisoned(progress)) => progress.into_inner().state == State::Copying,
            Err(TryLockError::WouldBlock) => false,
        };
        if !is_wanted {
            return;
        }
        // A writer that waits must hear of the end, whatever that is.
        let copied = std::panic::catch_unwind(AssertUnwindSafe(|| self.copy_slice()));
        let next = copied
            .unwrap_or_else(|_| Err("its thread panicked".into()))
            .unwrap_or_else(|error| State::Failed(format!("a checkpoint failed: {error}")));
        #[cfg(planted = "failed_checkpoint_is_overlooked")]
        let next = if matches!(next, State::Failed(_)) { State::Resting } else { next };
        let mut progress = self.shared.progress();
        if progress.state == State::Copying {
            progress.state = next;
            self.shared.changed.notify_all();
        }
    }

    /// Copies a slice; of a log that is long so much that little is left.
    fn copy_slice(&self) -> Result<State, String> {
        let shared = &self.shared;
        let mut is_long = false;
        for _ in 0..PASSES_MAX {
            let (log, begun) = {
                let mut progress = shared.progress();
                progress.next = progress.logged.saturating_add(shared.pace.slice);
                (progress.log, progress.logged)
            };
            let copied = pass(&self.connection).map_err(|error| format!("SQLite: {error}"))?;
            let Some(copied) = copied else {
                shared.progress().no_room = true;
                break;
            };
            #[cfg(not(planted = "checkpoint_is_not_synced"))]
            self.file.sync_data().map_err(|error| format!("fsync of the database file: {error}"))?;
            let mut progress = shared.progress();
            if progress.log != log {
                // What was copied belongs to a log that is no more.
                return Ok(State::Resting);
            }
            let before = std::mem::replace(&mut progress.copied, copied);
            is_long = begun >= progress.full;
            if !is_long || copied == before || progress.logged - copied <= shared.pace.left {
                break;
            }
        }
        Ok(if is_long { State::Left } else { State::Resting })
    }
}

/// Copies what the log holds now, as far as no reader needs the older pages of the file. Answers how far it got;
/// `None` where the file could not grow.
fn pass(connection: &Connection) -> rusqlite::Result<Option<i32>> {
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2)) {
        Err(error) if is_full(&error) => Ok(None),
        copied => copied.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::sqlite::platform::System;

    const LONG: i32 = Pace::DEFAULT.long;
    const SLICE: i32 = Pace::DEFAULT.slice;

    /// Pages that one transaction of these tests writes.
    const PAGES_EACH: i32 = 250;

    fn store() -> (tempfile::TempDir, SqlitePath, Connection, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let path = SqlitePath(folder.path().join("store.db"));
        let mut writer = Connection::open(&path.0).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF;
                 CREATE TABLE page (number INTEGER PRIMARY KEY, bytes BLOB);",
            )
            .unwrap();
        let file = Arc::new(File::open(&path.0).unwrap());
        let checkpoints = Checkpoints::of(&System, &mut writer, &path, file).unwrap();
        (folder, path, writer, checkpoints)
    }

    /// One transaction. Answers the pages in the log after it.
    fn write(writer: &Connection, checkpoints: &Checkpoints) -> i32 {
        checkpoints.look(writer, true).unwrap();
        // One blob, written anew each time: the file stays small, and the log grows.
        writer.execute("INSERT OR REPLACE INTO page VALUES (1, zeroblob(?1))", [PAGES_EACH * 4_092]).unwrap();
        checkpoints.shared.progress().logged
    }

    #[test]
    fn a_log_that_begins_anew_is_counted_anew_however_much_is_in_it() {
        let mut progress = Progress::of_log(0, Pace::DEFAULT);
        progress.committed(LONG, Pace::DEFAULT);
        progress.copied = LONG;
        progress.state = State::Copying;
        progress.committed(LONG, Pace::DEFAULT);
        assert_eq!((progress.log, progress.logged, progress.copied), (1, LONG, 0));
        assert_eq!((progress.next, progress.full), (SLICE, LONG));
        assert_eq!(progress.state, State::Copying, "the thread finds out by itself");
        progress.committed(LONG + 1, Pace::DEFAULT);
        assert_eq!(progress.log, 1, "it goes on");
    }

    #[test]
    fn beside_a_writer_that_never_rests_the_log_begins_anew() {
        let (_folder, _path, writer, checkpoints) = store();
        // Each pass lets the writer get ahead of it so far.
        let most = LONG + i32::try_from(PASSES_MAX).unwrap() * BEHIND_MAX;
        let mut logged = 0;
        let mut begun_anew = 0;
        while begun_anew < 3 {
            let before = std::mem::replace(&mut logged, write(&writer, &checkpoints));
            begun_anew += i32::from(logged < before);
            assert!(logged < most, "the log has {logged} pages");
        }
    }

    #[test]
    fn a_reader_that_stays_does_not_stop_the_writer() {
        let (_folder, path, writer, checkpoints) = store();
        let reader = Connection::open(&path.0).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM page").unwrap();
        let mut logged = 0;
        while logged < 2 * LONG {
            let before = std::mem::replace(&mut logged, write(&writer, &checkpoints));
            assert!(logged > before, "the reader still needs what the log holds");
        }
        reader.execute_batch("COMMIT").unwrap();
        let begun = Instant::now();
        while logged >= 2 * LONG {
            logged = write(&writer, &checkpoints);
            assert!(begun.elapsed() < Duration::from_secs(60), "the log has {logged} pages");
        }
    }

    #[test]
    fn a_checkpoint_that_fails_is_the_last_of_the_writer() {
        let (_folder, _path, writer, checkpoints) = store();
        checkpoints.shared.change(State::Failed("a checkpoint failed: SQLite: disk I/O error".into()));
        let error = checkpoints.look(&writer, true).unwrap_err();
        assert!(matches!(error, StoreError::Broken(_)), "{error}");
        assert!(checkpoints.look(&writer, true).is_err(), "it is not tried again");
    }
}
