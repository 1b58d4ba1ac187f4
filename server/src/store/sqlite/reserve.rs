//! Room on the disk that is kept for what moves begun work.
//!
//! A file beside the store takes it up as long as there is plenty. Once a transaction finds no room, the file is cut short:
//! completions go on in what it held, and new work is refused until the file has its size again (G16). What others write to
//! the same disk can therefore not take the last room away.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

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

/// How often it is tried to make it whole again.
const AGAIN: Duration = Duration::from_secs(1);

/// The reserve of one store.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    path: PathBuf,
    /// The size of the file.
    bytes: u64,
    /// What must be free beside it.
    spare: u64,
    /// It has its size. Where the file system reserves nothing: there is as much room.
    is_held: bool,
    /// The file system reserves nothing.
    is_impossible: bool,
    tried: Option<Instant>,
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
        let path = path.reserve();
        Ok(Reserve { file, path, bytes, spare, is_held: false, is_impossible: false, tried: None })
    }

    /// How much it is to hold, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it holds that.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether as much is free on the disk as must be beside it.
    pub(super) fn has_spare(&self) -> io::Result<bool> {
        Ok(self.free()? >= self.spare)
    }

    /// Gives it its size, if more than that is free. Answers whether it has it; that is looked at once a second.
    ///
    /// # Errors
    /// What the system says, if it is not that there is no room.
    pub(super) fn take(&mut self) -> io::Result<bool> {
        let is_sure = self.is_held && !self.is_impossible;
        if is_sure || self.tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return Ok(self.is_held);
        }
        self.tried = Some(Instant::now());
        self.is_held = self.grow()?;
        Ok(self.is_held)
    }

    /// Cuts it short.
    pub(super) fn give_up(&mut self) -> io::Result<()> {
        (self.is_held, self.tried) = (false, None);
        if self.file.metadata()?.len() > FOR_A_START {
            self.file.set_len(FOR_A_START)?;
            // A file system may free what was cut off only once that is on the disk.
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// Cuts it to nothing, for a store that cannot be opened otherwise. Answers whether that made room.
    pub(super) fn give_up_whole(&mut self) -> bool {
        self.is_held = false;
        let had = self.file.metadata().map_or(0, |file| file.len());
        had > 0 && self.file.set_len(0).is_ok() && self.file.sync_all().is_ok()
    }

    /// What is free on the disk, in bytes.
    fn free(&self) -> io::Result<u64> {
        let system = fstatvfs(&self.file)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    fn grow(&mut self) -> io::Result<bool> {
        let file = self.file.metadata()?;
        if file.len() > self.bytes {
            // It comes from a larger disk.
            self.file.set_len(self.bytes)?;
        }
        // One that has its length and not its blocks was copied, and reserves nothing.
        let has = (file.blocks() * 512).min(self.bytes);
        if has == self.bytes && file.len() >= self.bytes {
            return Ok(true);
        }
        let is_room = self.free()? >= (self.bytes - has) + self.spare;
        if self.is_impossible {
            return Ok(is_room);
        }
        // Without room for all of it, enough for a start.
        let bytes = if is_room { self.bytes } else { FOR_A_START };
        if bytes <= has {
            return Ok(false);
        }
        match self.allocate(bytes) {
            Ok(()) => Ok(is_room),
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                self.give_up()?;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let file = self.path.display();
                tracing::warn!(%file, "this file system reserves no room for completions; others may take the last");
                self.is_impossible = true;
                Ok(is_room)
            }
            Err(error) => Err(error),
        }
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                allocated => return allocated,
            }
        }
    }
}
