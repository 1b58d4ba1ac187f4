//! A file system in memory that crashes, for SQLite.
//!
//! Of each file it keeps two forms: what is *durable*, and what the operating system has in its *cache*. A write goes to
//! the cache, a sync makes it durable. When a process dies, the cache stays. When the power goes, each sector of 512 bytes
//! that was written since the last sync is as it was, or as any of those writes left it; so are the length of each file,
//! and the names of files that were created or deleted. So a write is lost, torn, or kept while one before it is lost.
//!
//! A sync that fails does what Linux does: some of what was written never becomes durable, the cache shows it all the
//! same, and the next sync has nothing left to do.
//!
//! One luck decides all, and is the caller's: the same luck and the same calls give the same bytes. Nothing here waits,
//! reads a clock, or touches a real file. SQLite finds a disk by the path of a file on it: [`Disk::path`].

mod disk;
mod file;
mod vfs;

pub use disk::{Disk, Fault, Handle, Lock};
pub use vfs::NAME;
