//! Room on the disk that is kept for what moves begun work.
//!
//! A file beside the store takes it up as long as there is plenty. Once a transaction finds no room, the file is cut short:
//! completions go on in what it held, and new work is refused until the file has its size again (G16). What others write to
//! the same disk can therefore not take the last room away.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use crate::store::sqlite::SqlitePath;

/// The least that may be out of reach of new work: room for some thousand completions.
const BYTES_MIN: u64 = 1 << 20;

/// The most.
const BYTES_MAX: u64 = 16 << 20;

/// Between them, this part of the file system.
const PART: u64 = 50;

/// This part of that is not in the file, but must be free beside it before the file is made again: one that is made the
/// moment that it fits would be given up with the next request.
const SPARE: u64 = 5;

/// What is kept of it for the next start, which needs room before it can free any: for the index of the log.
const FOR_A_START: u64 = 64 << 10;

/// The reserve of one store.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    path: PathBuf,
    /// The size of the file.
    bytes: u64,
    /// What must be free beside it.
    spare: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has its size.
    Held,
    /// It was cut short, or never had its size.
    Given,
    /// The file system reserves nothing: there is room until there is none.
    Impossible,
}

impl Reserve {
    /// That of the store at `path`, if it has one.
    pub(super) fn existing(path: &SqlitePath) -> Option<Reserve> {
        let file = File::options().write(true).open(path.reserve()).ok()?;
        Reserve::of(file, path).ok()
    }

    /// That of the store at `path`, which may be new.
    pub(super) fn create(path: &SqlitePath) -> io::Result<Reserve> {
        let file = File::options().create(true).truncate(false).write(true).open(path.reserve())?;
        Reserve::of(file, path)
    }

    fn of(file: File, path: &SqlitePath) -> io::Result<Reserve> {
        let system = fstatvfs(&file)?;
        let all = (system.f_blocks.saturating_mul(system.f_frsize) / PART).clamp(BYTES_MIN, BYTES_MAX);
        let (bytes, spare) = (all - all / SPARE, all / SPARE);
        let state = if file.metadata()?.len() >= bytes { State::Held } else { State::Given };
        Ok(Reserve { file, path: path.reserve(), bytes, spare, state })
    }

    /// How much it is to hold, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it holds that, or cannot be asked to.
    pub(super) fn is_held(&self) -> bool {
        self.state != State::Given
    }

    /// Gives it its size again, if more than that is free.
    pub(super) fn take(&mut self) {
        if self.is_held() {
            return;
        }
        match self.grow() {
            Ok(true) => self.state = State::Held,
            Ok(false) => self.cut(),
            Err(error) => {
                tracing::warn!(%error, file = %self.path.display(), "no room can be reserved for completions");
                self.state = State::Impossible;
                self.cut();
            }
        }
    }

    /// Cuts it short.
    pub(super) fn give_up(&mut self) {
        if self.state == State::Held {
            self.state = State::Given;
            self.cut();
        }
    }

    /// Cuts it to nothing, for a store that cannot be opened otherwise. Answers whether that made room.
    pub(super) fn give_up_whole(&mut self) -> bool {
        let had = self.file.metadata().map_or(0, |file| file.len());
        if self.state == State::Held {
            self.state = State::Given;
        }
        had > 0 && self.file.set_len(0).is_ok() && self.file.sync_all().is_ok()
    }

    /// Whether it could grow.
    fn grow(&mut self) -> io::Result<bool> {
        match self.allocate() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(false),
            Err(error) => return Err(error),
        }
        let system = fstatvfs(&self.file)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize) >= self.spare)
    }

    fn allocate(&mut self) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(io::Error::from(error).kind(), ErrorKind::Unsupported) => {}
            Err(error) => return Err(error.into()),
        }
        // Where nothing can be allocated it is written.
        self.file.seek(SeekFrom::Start(0))?;
        let zeros = [0; 1 << 16];
        for _ in 0..self.bytes.div_ceil(zeros.len() as u64) {
            self.file.write_all(&zeros)?;
        }
        self.file.sync_all()
    }

    /// A file system may free what was cut off only once that is on the disk.
    fn cut(&self) {
        let cut = || -> io::Result<()> {
            if self.file.metadata()?.len() > FOR_A_START {
                self.file.set_len(FOR_A_START)?;
                self.file.sync_all()?;
            }
            Ok(())
        };
        if let Err(error) = cut() {
            tracing::warn!(%error, file = %self.path.display(), "the reserve for completions could not be given up");
        }
    }
}
