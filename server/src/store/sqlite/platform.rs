//! What a store stands on beside SQLite itself: its files as far as it touches them, its lock, and the thread of its
//! checkpoints. [`System`] is the operating system's; a simulation brings one whose disk crashes.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::store::sqlite::checkpoint::{Copier, Pace};

/// What a store stands on.
pub trait Platform: Debug + Send + Sync {
    /// The name of the file system that SQLite is to use; `None`: the one of the operating system.
    fn vfs(&self) -> Option<&str>;

    /// The one name of a file that may have several.
    fn canonical(&self, path: &Path) -> PathBuf;

    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> bool;

    /// Takes the lock of this name, which ends when it is dropped; `None`: somebody has it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>>;

    /// A handle on a file that is there.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>>;

    /// Writes every byte of a file anew, in its place, and makes them durable; where there is no such file, there is
    /// nothing to do.
    ///
    /// # Errors
    /// What the system says.
    fn rewrite(&self, path: &Path) -> io::Result<()>;

    /// Makes the names of the files in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// How long the log becomes.
    fn pace(&self) -> Pace;

    /// Lets `copier` copy beside the writer, until what it answers is dropped: then it is closed.
    ///
    /// # Errors
    /// If there is no thread to be had.
    fn beside(&self, copier: Copier) -> io::Result<Box<dyn Held>>;
}

/// A handle on a file of the store.
pub trait FileHandle: Debug + Send + Sync {
    /// Makes durable what was written to the file.
    ///
    /// # Errors
    /// What the system says.
    fn sync_data(&self) -> io::Result<()>;
}

/// Something that ends when it is dropped.
pub trait Held: Debug + Send {}

/// The operating system.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl FileHandle for File {
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

impl Held for File {}

impl Platform for System {
    fn vfs(&self) -> Option<&str> {
        None
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.into())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Box::new(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut part = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut part)?;
            if count == 0 {
                return file.sync_all();
            }
            file.seek_relative(-i64::try_from(count).map_err(io::Error::other)?)?;
            file.write_all(&part[..count])?;
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn pace(&self) -> Pace {
        Pace::DEFAULT
    }

    fn beside(&self, copier: Copier) -> io::Result<Box<dyn Held>> {
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || copier.run())?;
        Ok(Box::new(Thread(Some(thread))))
    }
}

/// A thread that is waited for.
#[derive(Debug)]
struct Thread(Option<JoinHandle<()>>);

impl Held for Thread {}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.0.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the checkpoints panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rewritten_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        System.rewrite(&path).unwrap();
        assert!(!path.exists(), "nothing is made");
        let bytes: Vec<u8> = (0..(2 << 20) + 77_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        System.rewrite(&path).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
}
