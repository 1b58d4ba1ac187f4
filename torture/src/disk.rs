//! A small disk of the store's own, which can be full. It is a file system in memory, in a mount namespace that ends with
//! the torture.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::statvfs;

/// Its size while it is not full.
const SIZE: u64 = 256 << 20;
/// Tries to make it full, beside a server that writes.
const TRIES: usize = 50;

/// A mounted disk. It is gone when it is dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one over `folder`.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn mount(folder: &Path) -> Result<Disk> {
        mount(&["-t", "tmpfs", "-o", &format!("size={SIZE}"), "none"], folder)?;
        Ok(Disk { folder: folder.into() })
    }

    /// Leaves so much room on it, to a page.
    ///
    /// # Errors
    /// If it cannot be made so small.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let mut tried = Ok(());
        for _ in 0..TRIES {
            let now = statvfs(&self.folder)?;
            let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
            // It refuses to be smaller than what has come to it meanwhile.
            tried = self.resize(used + bytes.max(now.f_frsize));
            if tried.is_ok() {
                break;
            }
        }
        tried
    }

    /// Gives it its whole size back.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self) -> Result<()> {
        self.resize(SIZE)
    }

    fn resize(&self, size: u64) -> Result<()> {
        mount(&["-o", &format!("remount,size={size}"), "none"], &self.folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = Command::new("umount").arg(&self.folder).output();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new("mount").args(arguments).arg(folder).output().context("mount")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mount {}: {said}", arguments.join(" "));
    Ok(())
}
