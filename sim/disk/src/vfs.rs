//! The file system as SQLite calls it: functions over pointers, and nothing that decides.
//!
//! SQLite promises (<https://sqlite.org/c3ref/io_methods.html>): a `sqlite3_file` that it passes is the one that `xOpen`
//! was given, with `szOsFile` bytes; it is used by one thread at a time, and not after `xClose`; every name ends with a 0;
//! every buffer has the length that comes with it, and nobody else writes to it meanwhile. "As promised" below means that.

#![expect(unsafe_code, reason = "SQLite calls a file system by pointers")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Once};

use rusqlite::ffi;

use crate::disk::{Disk, Fault, Shared, State};

/// The name under which SQLite knows it.
pub const NAME: &str = "crash";

const C_NAME: &CStr = c"crash";

/// As on Unix: writes never change the bytes beside them, and parts of pages may be read.
const CHARACTERISTICS: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ;

/// What the default file system of Unix says.
const SECTOR_SIZE: c_int = 4_096;

/// A file that SQLite has open. SQLite gives the memory, and looks at the first field alone.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    /// From a box, until `xClose`.
    handle: *mut FileHandle,
}

/// What is behind it.
struct FileHandle {
    shared: Arc<Shared>,
    file: usize,
    life: u64,
    /// Of how many failed syncs it knows.
    heard: u64,
    level: c_int,
    /// Kept as long as SQLite may look at them, whatever becomes of the disk.
    regions: Vec<Arc<[AtomicU64]>>,
    uses_memory: bool,
    shared_locks: u8,
    exclusive_locks: u8,
    deleted_on_close: Option<String>,
    /// Its next sync makes the names of its folder durable too, as the first one of a log does on Unix. Nobody else's does.
    syncs_folder: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(memory_map),
    xShmLock: Some(memory_lock),
    xShmBarrier: Some(memory_barrier),
    xShmUnmap: Some(memory_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes the file system known to SQLite, once.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<OpenFile>()).unwrap_or(c_int::MAX),
            mxPathname: 512,
            pNext: null_mut(),
            zName: C_NAME.as_ptr(),
            pAppData: null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is complete, lives for ever, and is SQLite's own from here on.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes a file system");
    });
}

/// The file behind a pointer of SQLite's.
///
/// # Safety
/// `file` must be one that `open` has filled and `close` has not seen. The answer must not outlive the call.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut FileHandle {
    let file = file.cast::<OpenFile>();
    // SAFETY: by the contract above it has this layout, and its handle comes from a box that is not freed yet.
    unsafe { &mut *(*file).handle }
}

/// A name that SQLite passes.
///
/// # Safety
/// `name` must be null, or end with a 0 and live through the call.
unsafe fn name<'a>(name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

impl FileHandle {
    /// The disk, if the process that opened the file lives.
    fn state<T>(&self, broken: T, what: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state();
        if state.is_alive(self.life) { what(&mut state) } else { broken }
    }

    fn unlock_to(&mut self, level: c_int) {
        let (file, before) = (self.file, self.level);
        self.level = level.min(before);
        self.state((), |state| {
            let locks = &mut state.file(file).locks;
            if before >= ffi::SQLITE_LOCK_EXCLUSIVE && level < ffi::SQLITE_LOCK_EXCLUSIVE {
                locks.exclusive = false;
            }
            if before >= ffi::SQLITE_LOCK_PENDING && level < ffi::SQLITE_LOCK_PENDING {
                locks.pending = false;
            }
            if before >= ffi::SQLITE_LOCK_RESERVED && level < ffi::SQLITE_LOCK_RESERVED {
                locks.reserved = false;
            }
            if before >= ffi::SQLITE_LOCK_SHARED && level < ffi::SQLITE_LOCK_SHARED {
                locks.shared = locks.shared.saturating_sub(1);
            }
        });
    }

    /// Takes a lock of SQLite's five levels.
    fn lock(&mut self, level: c_int) -> c_int {
        if self.level >= level {
            return ffi::SQLITE_OK;
        }
        let (file, mine) = (self.file, self.level);
        let (code, level) = self.state((ffi::SQLITE_IOERR_LOCK, mine), |state| {
            let locks = &mut state.file(file).locks;
            match level {
                ffi::SQLITE_LOCK_SHARED if locks.pending || locks.exclusive => (ffi::SQLITE_BUSY, mine),
                ffi::SQLITE_LOCK_SHARED => {
                    locks.shared += 1;
                    (ffi::SQLITE_OK, level)
                }
                _ if mine < ffi::SQLITE_LOCK_RESERVED && locks.reserved => (ffi::SQLITE_BUSY, mine),
                ffi::SQLITE_LOCK_RESERVED => {
                    locks.reserved = true;
                    (ffi::SQLITE_OK, level)
                }
                _ => {
                    (locks.reserved, locks.pending) = (true, true);
                    if locks.shared > 1 {
                        return (ffi::SQLITE_BUSY, ffi::SQLITE_LOCK_PENDING);
                    }
                    locks.exclusive = true;
                    (ffi::SQLITE_OK, ffi::SQLITE_LOCK_EXCLUSIVE)
                }
            }
        });
        self.level = level;
        code
    }

    /// Takes or gives back locks on the shared memory.
    fn memory_lock(&mut self, from: usize, count: usize, flags: c_int) -> c_int {
        let file = self.file;
        let mask = (from..from + count).fold(0_u8, |mask, lock| mask | 1 << lock);
        let unlocks = flags & ffi::SQLITE_SHM_UNLOCK != 0;
        let is_shared = flags & ffi::SQLITE_SHM_SHARED != 0;
        let (shared, exclusive) = (self.shared_locks, self.exclusive_locks);
        let broken = if unlocks { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHMLOCK };
        let code = self.state(broken, |state| {
            let locks = &mut state.file(file).shared_memory.locks[from..from + count];
            for (number, lock) in locks.iter().enumerate() {
                let mine = 1 << (from + number);
                let by_others = lock.shared > usize::from(shared & mine != 0);
                let is_taken = (lock.exclusive && exclusive & mine == 0) || (!is_shared && by_others);
                if !unlocks && is_taken {
                    return ffi::SQLITE_BUSY;
                }
            }
            for (number, lock) in locks.iter_mut().enumerate() {
                let mine = 1 << (from + number);
                match (unlocks, is_shared) {
                    (true, true) => lock.shared -= usize::from(shared & mine != 0),
                    (false, true) => lock.shared += usize::from(shared & mine == 0),
                    (true, false) => lock.exclusive &= exclusive & mine == 0,
                    (false, false) => lock.exclusive = true,
                }
            }
            ffi::SQLITE_OK
        });
        if code == ffi::SQLITE_OK {
            let locks = if is_shared { &mut self.shared_locks } else { &mut self.exclusive_locks };
            *locks = if unlocks { *locks & !mask } else { *locks | mask };
        }
        code
    }

    /// The memory region of this number and size, as long as the file has one or is to get one.
    fn region(&mut self, number: usize, bytes: usize, extends: bool) -> Result<*mut c_void, c_int> {
        let (file, uses) = (self.file, self.uses_memory);
        let region = self.state(Err(ffi::SQLITE_IOERR_SHMMAP), |state| {
            let is_full = state.is_full();
            let memory = &mut state.file(file).shared_memory;
            memory.users += usize::from(!uses);
            while extends && memory.regions.len() <= number {
                if is_full {
                    return Err(ffi::SQLITE_IOERR_SHMSIZE);
                }
                memory.regions.push((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
            }
            Ok(memory.regions.get(number).cloned())
        });
        self.uses_memory |= !matches!(region, Err(ffi::SQLITE_IOERR_SHMMAP));
        Ok(match region? {
            Some(region) => {
                // Atomics may be written to through a shared reference.
                let pointer = region.as_ptr().cast_mut().cast();
                self.regions.push(region);
                pointer
            }
            None => null_mut(),
        })
    }

    fn forget_memory(&mut self) {
        if std::mem::take(&mut self.uses_memory) {
            let file = self.file;
            self.state((), |state| {
                let memory = &mut state.file(file).shared_memory;
                memory.users -= 1;
                if memory.users == 0 {
                    *memory = Default::default();
                }
            });
        }
        self.regions.clear();
    }
}

fn length(of: i64) -> usize {
    usize::try_from(of).unwrap_or(0)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let open = file.cast::<OpenFile>();
    // SAFETY: SQLite gives memory for an `OpenFile`, whose first field says whether there is anything to close.
    unsafe { (*open).base.pMethods = std::ptr::null() };
    // SAFETY: as promised.
    let Some(path) = (unsafe { name(path) }) else { return ffi::SQLITE_CANTOPEN };
    let Some(shared) = Disk::of(path) else { return ffi::SQLITE_CANTOPEN };
    let mut state = shared.state();
    let life = state.life();
    if !state.is_alive(life) {
        return ffi::SQLITE_CANTOPEN;
    }
    let is_log =
        flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL) != 0;
    let found = match state.find(path) {
        None if flags & ffi::SQLITE_OPEN_CREATE != 0 => state.create(path, is_log),
        found => found,
    };
    drop(state);
    let Some(found) = found else { return ffi::SQLITE_CANTOPEN };
    let heard = shared.state().file(found).failures;
    let deletes = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    let handle = Box::new(FileHandle {
        shared,
        file: found,
        life,
        heard,
        level: ffi::SQLITE_LOCK_NONE,
        regions: Vec::new(),
        uses_memory: false,
        shared_locks: 0,
        exclusive_locks: 0,
        deleted_on_close: deletes.then(|| path.into()),
        syncs_folder: is_log && flags & ffi::SQLITE_OPEN_CREATE != 0,
    });
    let filled = OpenFile { base: ffi::sqlite3_file { pMethods: &METHODS }, handle: Box::into_raw(handle) };
    // SAFETY: SQLite gives memory for an `OpenFile`; what stood there needs no drop.
    unsafe { open.write(filled) };
    if !out_flags.is_null() {
        // SAFETY: where it is not null it is SQLite's own variable.
        unsafe { *out_flags = flags };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as promised; the memory was filled by `open`.
    let open = unsafe { &mut *file.cast::<OpenFile>() };
    open.base.pMethods = std::ptr::null();
    // SAFETY: it comes from `Box::into_raw`, and SQLite closes a file once.
    let mut handle = unsafe { Box::from_raw(open.handle) };
    handle.forget_memory();
    handle.unlock_to(ffi::SQLITE_LOCK_NONE);
    if let Some(path) = handle.deleted_on_close.take() {
        handle.state(false, |state| state.delete(&path, false));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    // SAFETY: as promised, the buffer has that many bytes and nobody else looks at it; any bytes are `u8`s.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length(count.into())) };
    let (file, at) = (handle.file, length(at));
    handle.state(ffi::SQLITE_IOERR_READ, |state| {
        let bytes = state.file(file).bytes();
        let from = at.min(bytes.len());
        let found = &bytes[from..bytes.len().min(at + buffer.len())];
        buffer[..found.len()].copy_from_slice(found);
        if found.len() == buffer.len() {
            return ffi::SQLITE_OK;
        }
        buffer[found.len()..].fill(0);
        ffi::SQLITE_IOERR_SHORT_READ
    })
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    // SAFETY: as promised, the buffer has that many bytes and nobody writes to it meanwhile.
    let buffer = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length(count.into())) };
    handle.shared.happens_between();
    let file = handle.file;
    handle.state(ffi::SQLITE_IOERR_WRITE, |state| match state.write(file, length(at), buffer) {
        None => ffi::SQLITE_OK,
        Some(Fault::NoRoom) => ffi::SQLITE_FULL,
        Some(_) => ffi::SQLITE_IOERR_WRITE,
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    handle.shared.happens_between();
    let file = handle.file;
    let goes = handle.state(false, |state| state.resize(file, length(size)));
    if goes { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_TRUNCATE }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    handle.shared.happens_between();
    let (file, mut heard, syncs_folder) = (handle.file, handle.heard, handle.syncs_folder);
    let goes = handle.state(false, |state| {
        let goes = state.sync(file, &mut heard);
        if goes && syncs_folder {
            state.sync_names();
        }
        goes
    });
    handle.heard = heard;
    handle.syncs_folder &= !goes;
    if goes { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_FSYNC }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    let file = handle.file;
    let bytes = handle.state(None, |state| Some(state.file(file).bytes().len()));
    let Some(bytes) = bytes else { return ffi::SQLITE_IOERR_FSTAT };
    // SAFETY: it is SQLite's own variable.
    unsafe { *size = i64::try_from(bytes).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as promised.
    unsafe { handle(file) }.lock(level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as promised.
    unsafe { handle(file) }.unlock_to(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, is_reserved: *mut c_int) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    let file = handle.file;
    let reserved = handle.state(false, |state| state.file(file).locks.reserved);
    // SAFETY: it is SQLite's own variable.
    unsafe { *is_reserved = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    CHARACTERISTICS
}

unsafe extern "C" fn memory_map(
    file: *mut ffi::sqlite3_file,
    number: c_int,
    bytes: c_int,
    extends: c_int,
    region: *mut *mut c_void,
) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    let found = handle.region(length(number.into()), length(bytes.into()), extends != 0);
    // SAFETY: it is SQLite's own variable.
    unsafe { *region = found.unwrap_or(null_mut()) };
    found.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn memory_lock(
    file: *mut ffi::sqlite3_file,
    from: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: as promised.
    let handle = unsafe { handle(file) };
    handle.memory_lock(length(from.into()), length(count.into()), flags)
}

unsafe extern "C" fn memory_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn memory_unmap(file: *mut ffi::sqlite3_file, _deletes: c_int) -> c_int {
    // SAFETY: as promised; SQLite does not look at the regions again.
    unsafe { handle(file) }.forget_memory();
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, syncs_folder: c_int) -> c_int {
    // SAFETY: as promised.
    let Some(path) = (unsafe { name(path) }) else { return ffi::SQLITE_IOERR_DELETE };
    let Some(shared) = Disk::of(path) else { return ffi::SQLITE_IOERR_DELETE };
    shared.happens_between();
    let mut state = shared.state();
    if state.find(path).is_none() {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    if state.delete(path, syncs_folder != 0) { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_DELETE }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    _flags: c_int,
    is_there: *mut c_int,
) -> c_int {
    // SAFETY: as promised.
    let path = unsafe { name(path) };
    let found = path.and_then(|path| Disk::of(path)?.state().find(path));
    // SAFETY: it is SQLite's own variable.
    unsafe { *is_there = c_int::from(found.is_some()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    count: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: as promised.
    let Some(path) = (unsafe { name(path) }) else { return ffi::SQLITE_CANTOPEN };
    if path.len() >= length(count.into()) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: as promised there is room for that many bytes, which are more than those of the path; SQLite's two
    // buffers do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(path.as_ptr().cast::<c_char>(), full, path.len()) };
    // SAFETY: as above, one further.
    unsafe { *full.add(path.len()) = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, bytes: *mut c_char) -> c_int {
    // SAFETY: as promised there is room for that many bytes.
    unsafe { bytes.write_bytes(7, length(count.into())) };
    count
}

/// Nobody sleeps here: whoever waits finds out at once that it is no use.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

/// The 1st of January 2026, as a Julian day in milliseconds.
const TODAY: i64 = 212_634_633_600_000;

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, now: *mut f64) -> c_int {
    // SAFETY: it is SQLite's own variable.
    unsafe { *now = TODAY as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, now: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: it is SQLite's own variable.
    unsafe { *now = TODAY };
    ffi::SQLITE_OK
}
