//! Faults between the server and its store: what `shim/faults.c` is told, and what it has done.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the file that both sides share.
const BYTES: usize = 4_096;
/// Words of a slot, in this order: countdown, repeat, action, files, flags, calls, hits, lost.
const WORDS: u64 = 8;

/// Which calls a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A write to a file of the store.
    Write,
    /// Its fsync or fdatasync.
    Sync,
}

/// What happens instead of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It fails: an I/O error.
    Broken,
    /// It fails: no room.
    NoRoom,
    /// The process ends at once.
    Kill,
    /// The process ends at once, and a part of what was not synced is gone.
    Power,
    /// It succeeds, and has kept nothing.
    Lie,
}

/// The files of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Its log.
    Log,
    /// The database itself.
    Database,
    /// Both, and the index of the log.
    Any,
}

/// A fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// In which calls.
    pub at: At,
    /// On which files.
    pub files: Files,
    /// In the call of this number from now on, counted from one.
    pub call: u64,
    /// So many calls in a row; `None`: until the fault is taken back.
    pub repeat: Option<u64>,
    /// What happens.
    pub action: Action,
    /// A write is done by half first.
    pub half: bool,
}

/// The file through which the shim is told.
#[derive(Debug)]
pub struct Control {
    file: File,
    /// Where it is.
    pub path: PathBuf,
}

impl Control {
    /// Makes the file in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path) -> io::Result<Control> {
        let path = folder.join("faults");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(BYTES as u64)?;
        Ok(Control { file, path })
    }

    /// Lets a process that is started by `command` have faults.
    pub fn attach(&self, command: &mut Command, library: &Path) {
        command.env("LD_PRELOAD", library).env("TORTURE_CONTROL", &self.path);
    }

    /// Plans a fault.
    ///
    /// # Errors
    /// What the system says.
    pub fn plan(&self, fault: &Fault) -> io::Result<()> {
        let repeat = fault.repeat.map_or(-1, |repeat| i64::try_from(repeat).unwrap_or(i64::MAX));
        // A failed sync does not promise that what it should have kept is still there.
        let flags = i64::from(fault.half) | 2;
        self.set(fault.at, 0, 0)?;
        for (word, value) in [(1, repeat), (2, fault.action.number()), (3, fault.files.bits()), (4, flags)] {
            self.set(fault.at, word, value)?;
        }
        self.set(fault.at, 0, i64::try_from(fault.call.max(1)).unwrap_or(i64::MAX))
    }

    /// Takes every fault back that has not happened.
    ///
    /// # Errors
    /// What the system says.
    pub fn calm(&self) -> io::Result<()> {
        [At::Write, At::Sync].into_iter().try_for_each(|at| {
            self.set(at, 1, 0)?;
            self.set(at, 0, 0)
        })
    }

    /// How many calls have failed so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn hits(&self, at: At) -> io::Result<u64> {
        self.get(at, 6)
    }

    /// How many writes a cut of the power or a failed sync has taken away so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn lost(&self) -> io::Result<u64> {
        self.get(At::Sync, 7)
    }

    fn get(&self, at: At, word: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset(at, word))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn set(&self, at: At, word: u64, value: i64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), offset(at, word))
    }
}

fn offset(at: At, word: u64) -> u64 {
    let slot = match at {
        At::Write => 1,
        At::Sync => 2,
    };
    (slot * WORDS + word) * 8
}

impl Action {
    fn number(self) -> i64 {
        match self {
            Action::Broken => 5,
            Action::NoRoom => 28,
            Action::Kill => 1_000,
            Action::Power => 1_001,
            Action::Lie => 1_002,
        }
    }

    /// Whether the process ends by it, whatever it does.
    #[must_use]
    pub fn kills(self) -> bool {
        matches!(self, Action::Kill | Action::Power)
    }
}

impl Files {
    fn bits(self) -> i64 {
        match self {
            Files::Log => 1,
            Files::Database => 2,
            Files::Any => 7,
        }
    }
}
