//! A disk: files by their names, the faults that are planned for it, and what has happened to it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::file::{File, Luck};

/// Something that goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes.
    PowerLoss,
    /// A write fails, and has written a part.
    WriteFails,
    /// A sync fails: some of what was written never becomes durable, and no later sync says so.
    SyncFails,
    /// The same, of a file that is no log.
    SyncOfDataFails,
    /// A write finds no room, and has written a part.
    NoRoom,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) shared: Arc<Shared>,
}

/// A handle on a file, as whoever syncs it outside SQLite has one.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    file: usize,
    life: u64,
    heard: AtomicU64,
}

/// A lock that nobody else can have. It ends with its process, or when it is dropped.
#[derive(Debug)]
pub struct Lock {
    shared: Arc<Shared>,
    path: String,
    life: u64,
}

/// What all who use a disk share.
pub(crate) struct Shared {
    number: u64,
    state: Mutex<State>,
    between: Mutex<Option<Between>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Something that happens between two steps of whoever writes.
type Between = (u64, Box<dyn FnOnce() + Send>);

/// What somebody does to the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Sync {
        of_data: bool,
    },
    /// Names and lengths.
    Other,
}

/// Everything on the disk.
pub(crate) struct State {
    luck: Box<Luck>,
    /// Counts the processes that have died: what they had open is closed.
    life: u64,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    locks: BTreeMap<String, u64>,
    /// What is to go wrong, and after how many steps of its kind.
    plan: Option<(u64, Fault)>,
    /// What went wrong in this life: what no process survives, or else the newest.
    fault: Option<Fault>,
    /// In which life a failed sync has lost something, as long as the cache still shows it.
    lost_in: Option<u64>,
    /// How often something has happened that only a power loss shows.
    risks: u64,
    has_power: bool,
    is_full: bool,
    happened: BTreeMap<&'static str, u64>,
}

/// How long the beginning of a write-ahead log is, in bytes. Pages are longer.
const LOG_HEADER: usize = 32;

/// No file becomes longer than this many bytes.
const FILE_BYTES_MAX: usize = 64 << 20;

/// Bytes that are rewritten in one step.
const REWRITTEN_AT_ONCE: usize = 64 << 10;

static LAST: AtomicU64 = AtomicU64::new(0);
static DISKS: Mutex<BTreeMap<u64, Weak<Shared>>> = Mutex::new(BTreeMap::new());

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// An empty disk. `luck` gives numbers below the one that it is given.
    #[must_use]
    pub fn new(luck: impl FnMut(u64) -> u64 + Send + 'static) -> Disk {
        crate::vfs::register();
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let state = State {
            luck: Box::new(luck),
            life: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            locks: BTreeMap::new(),
            plan: None,
            fault: None,
            lost_in: None,
            risks: 0,
            has_power: true,
            is_full: false,
            happened: BTreeMap::new(),
        };
        let shared = Arc::new(Shared { number, state: Mutex::new(state), between: Mutex::new(None) });
        held(&DISKS).insert(number, Arc::downgrade(&shared));
        Disk { shared }
    }

    /// The disk that a path is on.
    pub(crate) fn of(path: &str) -> Option<Arc<Shared>> {
        let number = path.strip_prefix("/disk")?.split('/').next()?.parse().ok()?;
        held(&DISKS).get(&number)?.upgrade()
    }

    /// Where a file of this name is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        format!("/disk{}/{name}", self.shared.number).into()
    }

    /// Puts a durable file there.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.files.push(File::durable(bytes));
        let file = state.files.len() - 1;
        state.names.insert(text(path), file);
        state.durable_names.insert(text(path), file);
    }

    /// What whoever reads this file sees; `None`: there is no such file.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(&text(path)).map(|file| state.files[*file].bytes().to_vec())
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        self.state().names.contains_key(&text(path))
    }

    /// Plans a fault, after so many steps that it could befall; `None`: none.
    pub fn plan(&self, fault: Option<(u64, Fault)>) {
        self.state().plan = fault;
    }

    /// Whether there is room for files to grow.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Does something else after so many steps of whoever writes, in between two of them.
    pub fn between(&self, after: u64, something: impl FnOnce() + Send + 'static) {
        *held(&self.shared.between) = Some((after, Box::new(something)));
    }

    /// What went wrong since the last process died.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// The process dies: whatever it has open is of no use any more. What it has written stays.
    pub fn kill(&self) {
        held(&self.shared.between).take();
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        (state.plan, state.fault) = (None, None);
        state.files.iter_mut().for_each(File::forget_users);
        if !state.has_power {
            state.has_power = true;
        }
    }

    /// The power goes, unless it is gone already, and comes back.
    pub fn lose_power(&self) {
        self.state().lose_power();
        self.kill();
    }

    /// How often something has happened that only a power loss shows: a failed sync has lost what the cache still has, or
    /// after one a log has begun anew that may have had it too.
    #[must_use]
    pub fn risks(&self) -> u64 {
        self.state().risks
    }

    /// How often what has happened.
    #[must_use]
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.state().happened.clone()
    }

    /// A handle on a file.
    ///
    /// # Errors
    /// If there is none, or no power.
    pub fn open(&self, path: &Path) -> io::Result<Handle> {
        let state = self.state();
        let file = state.names.get(&text(path)).filter(|_| state.has_power);
        let file = *file.ok_or(io::ErrorKind::NotFound)?;
        let heard = AtomicU64::new(state.files[file].failures);
        Ok(Handle { shared: self.shared.clone(), file, life: state.life, heard })
    }

    /// The one lock of this name; `None`: somebody has it.
    #[must_use]
    pub fn lock(&self, path: &Path) -> Option<Lock> {
        let mut state = self.state();
        let life = state.life;
        if state.locks.contains_key(&text(path)) {
            return None;
        }
        state.locks.insert(text(path), life);
        Some(Lock { shared: self.shared.clone(), path: text(path), life })
    }

    /// Writes every byte of a file anew, in its place, and makes them durable; where there is no such file, there is
    /// nothing to do.
    ///
    /// # Errors
    /// What was planned.
    pub fn rewrite(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let Some(file) = state.find(&text(path)) else { return Ok(()) };
        let bytes = state.files[file].bytes().to_vec();
        for (number, part) in bytes.chunks(REWRITTEN_AT_ONCE).enumerate() {
            if state.write(file, number * REWRITTEN_AT_ONCE, part).is_some() {
                return Err(io::Error::other("the file could not be written"));
            }
        }
        let mut heard = state.files[file].failures;
        if !state.sync(file, &mut heard) {
            return Err(io::Error::other("the file could not be synced"));
        }
        Ok(())
    }

    /// Makes durable which files there are.
    ///
    /// # Errors
    /// What was planned.
    pub fn sync_folder(&self) -> io::Result<()> {
        self.shared.happens_between();
        let mut state = self.state();
        if state.step(Step::Sync { of_data: false }).is_some() {
            return Err(io::Error::other("the folder could not be synced"));
        }
        state.sync_names();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Handle {
    /// Makes durable what was written to the file.
    ///
    /// # Errors
    /// What was planned.
    pub fn sync(&self) -> io::Result<()> {
        self.shared.happens_between();
        let mut state = self.shared.state();
        let mut heard = self.heard.load(Ordering::Relaxed);
        let is_synced = state.is_alive(self.life) && state.sync(self.file, &mut heard);
        self.heard.store(heard, Ordering::Relaxed);
        if !is_synced {
            return Err(io::Error::other("the file could not be synced"));
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        held(&DISKS).remove(&self.number);
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    /// Before a step: what is to happen between two of them, if this is when.
    pub(crate) fn happens_between(&self) {
        let mut between = held(&self.between);
        match between.as_mut() {
            Some((0, _)) => {
                let something = between.take();
                drop(between);
                if let Some((_, something)) = something {
                    something();
                }
            }
            Some((after, _)) => *after -= 1,
            None => {}
        }
    }
}

impl State {
    /// Whether the process of this life lives, and has power.
    pub(crate) fn is_alive(&self, life: u64) -> bool {
        self.life == life && self.has_power
    }

    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    pub(crate) fn file(&mut self, file: usize) -> &mut File {
        &mut self.files[file]
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.names.get(path).copied()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Makes a file without bytes.
    pub(crate) fn create(&mut self, path: &str, is_log: bool) -> Option<usize> {
        if self.step(Step::Other).is_some() {
            return None;
        }
        self.files.push(File::of(is_log));
        self.names.insert(path.into(), self.files.len() - 1);
        Some(self.files.len() - 1)
    }

    /// Takes a name away. Whoever has the file open keeps it.
    pub(crate) fn delete(&mut self, path: &str, syncs_folder: bool) -> bool {
        if self.step(Step::Other).is_some() {
            return false;
        }
        self.names.remove(path);
        if syncs_folder {
            self.sync_names();
        }
        true
    }

    /// Makes durable which files there are.
    pub(crate) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
    }

    /// Writes, or what is planned. The fault with which it ends; a full disk is one.
    pub(crate) fn write(&mut self, file: usize, at: usize, bytes: &[u8]) -> Option<Fault> {
        let mut fault = self.step(Step::Write);
        if fault == Some(Fault::PowerLoss) {
            return fault;
        }
        if at == 0 && bytes.len() == LOG_HEADER && self.files[file].bytes().len() > LOG_HEADER {
            self.note("a log that begins anew");
            self.risks += u64::from(self.lost_in.is_some());
        }
        let mut length = bytes.len();
        if fault.is_some() {
            length = usize::try_from((self.luck)(length as u64)).unwrap_or(0);
        }
        let room = self.files[file].bytes().len().saturating_sub(at);
        if (self.is_full || at + length > FILE_BYTES_MAX) && length > room {
            length = room;
            fault = Some(Fault::NoRoom);
            self.note("a write that found no room");
        }
        if length > 0 {
            self.files[file].write(at, &bytes[..length]);
        }
        fault
    }

    /// Makes a file so long. Whether that could be done.
    pub(crate) fn resize(&mut self, file: usize, length: usize) -> bool {
        let goes = self.step(Step::Other).is_none();
        if goes {
            self.files[file].resize(length);
        }
        goes
    }

    /// Makes a file durable. Whether that could be done. `heard` is of how many failures this handle knows.
    pub(crate) fn sync(&mut self, file: usize, heard: &mut u64) -> bool {
        let fault = self.step(Step::Sync { of_data: !self.files[file].is_log });
        if fault == Some(Fault::SyncFails) {
            self.files[file].failures += 1;
        }
        let is_new = *heard < self.files[file].failures;
        *heard = self.files[file].failures;
        match fault {
            None if is_new => {
                self.files[file].sync();
                false
            }
            None => {
                self.files[file].sync();
                true
            }
            Some(Fault::SyncFails) => {
                let left = self.files[file].fail_to_sync(&mut *self.luck);
                if left.lost > 0 {
                    self.note("a failed sync that has lost something");
                    (self.lost_in, self.risks) = (Some(self.life), self.risks + 1);
                }
                false
            }
            Some(_) => false,
        }
    }

    /// Counts a step. What goes wrong with it.
    fn step(&mut self, step: Step) -> Option<Fault> {
        if !self.has_power {
            return Some(Fault::PowerLoss);
        }
        let (after, fault) = self.plan.as_mut()?;
        let is_meant = match fault {
            Fault::PowerLoss => true,
            Fault::WriteFails | Fault::NoRoom => step == Step::Write,
            Fault::SyncFails => matches!(step, Step::Sync { .. }),
            Fault::SyncOfDataFails => step == Step::Sync { of_data: true },
        };
        if !is_meant {
            return None;
        }
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let fault = if *fault == Fault::SyncOfDataFails { Fault::SyncFails } else { *fault };
        self.plan = None;
        // What no process survives is not forgotten for want of room later.
        if fault != Fault::NoRoom || self.fault.is_none() {
            self.fault = Some(fault);
        }
        match fault {
            Fault::PowerLoss => self.lose_power(),
            Fault::WriteFails => self.note("a write that failed"),
            Fault::SyncFails | Fault::SyncOfDataFails => self.note("a sync that failed"),
            Fault::NoRoom => self.note("a write that found no room"),
        }
        Some(fault)
    }

    fn lose_power(&mut self) {
        if !std::mem::take(&mut self.has_power) {
            return;
        }
        self.note("a power loss");
        if self.lost_in.take().is_some_and(|life| life < self.life) {
            self.note("a power loss after the process that a failed sync ended");
        }
        self.lose_names();
        for file in 0..self.files.len() {
            let left = self.files[file].lose_power(&mut *self.luck);
            for (what, count) in [
                ("an unsynced write that was lost", left.lost),
                ("a write that was torn", left.torn),
                ("a write that outlived one before it", left.reordered),
            ] {
                if count > 0 {
                    self.note(what);
                }
            }
        }
    }

    /// Each name is as the folder had it at its last sync, or as it is now.
    fn lose_names(&mut self) {
        let changed = |name: &&String| self.durable_names.get(*name) != self.names.get(*name);
        let changed: Vec<String> =
            self.names.keys().chain(self.durable_names.keys()).filter(changed).cloned().collect();
        for name in changed {
            if (self.luck)(2) == 0 {
                match self.durable_names.get(&name) {
                    Some(file) => self.names.insert(name, *file),
                    None => self.names.remove(&name),
                };
                self.note("a name of a file that was lost or came back");
            }
        }
        self.durable_names = self.names.clone();
    }

    fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
