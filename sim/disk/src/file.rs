//! One file: its bytes in the cache and on the medium, and what a crash leaves of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What a medium writes at once or not at all, in bytes.
pub(crate) const SECTOR: usize = 512;

/// Numbers below the one that is given, and by chance.
pub(crate) type Luck = dyn FnMut(u64) -> u64 + Send;

/// Something that was done to a file since its last sync.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Box<[u8]> },
    Resize(usize),
}

/// What became of changes that were not synced.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Sectors that are as they were before some change.
    pub(crate) lost: u64,
    /// Writes of which a part is kept and a part is lost.
    pub(crate) torn: u64,
    /// Writes that are kept though one before them is lost.
    pub(crate) reordered: u64,
}

/// A file.
#[derive(Debug, Default)]
pub(crate) struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    pub(crate) is_log: bool,
    /// How many syncs have failed. Each handle that was open then hears of it once, as on Linux.
    pub(crate) failures: u64,
    pub(crate) locks: Locks,
    pub(crate) shared_memory: SharedMemory,
}

/// Who has locked a file, by SQLite's levels.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) shared: usize,
    pub(crate) reserved: bool,
    pub(crate) pending: bool,
    pub(crate) exclusive: bool,
}

/// The memory that the connections to a database share: the index of its log, and the locks on that.
#[derive(Debug, Default)]
pub(crate) struct SharedMemory {
    pub(crate) regions: Vec<Arc<[AtomicU64]>>,
    pub(crate) users: usize,
    pub(crate) locks: [MemoryLock; 8],
}

/// One lock on shared memory.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct MemoryLock {
    pub(crate) shared: usize,
    pub(crate) exclusive: bool,
}

impl File {
    /// A file without bytes.
    pub(crate) fn of(is_log: bool) -> File {
        File { is_log, ..File::default() }
    }

    /// A file with these bytes, all of them durable.
    pub(crate) fn durable(bytes: Vec<u8>) -> File {
        File { cached: bytes.clone(), durable: bytes, ..File::default() }
    }

    /// What whoever reads it sees.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    /// Writes into the cache. What is to reach the medium are whole sectors, as the cache has them: beside these bytes it may
    /// have some that a failed sync has lost.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[at..end].copy_from_slice(bytes);
        let at = at / SECTOR * SECTOR;
        let end = end.next_multiple_of(SECTOR).min(self.cached.len());
        self.changes.push(Change::Write { at, bytes: self.cached[at..end].into() });
    }

    /// Makes it so long, in the cache.
    pub(crate) fn resize(&mut self, length: usize) {
        self.cached.resize(length, 0);
        self.changes.push(Change::Resize(length));
    }

    /// Makes everything durable that was written.
    pub(crate) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            match change {
                Change::Write { at, bytes } => {
                    let end = at + bytes.len();
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    self.durable[at..end].copy_from_slice(&bytes);
                }
                Change::Resize(length) => self.durable.resize(length, 0),
            }
        }
        self.durable.resize(self.cached.len(), 0);
    }

    /// A sync that fails: some becomes durable, and of the rest nobody will know that it is not.
    pub(crate) fn fail_to_sync(&mut self, luck: &mut Luck) -> Left {
        let (durable, left) = survivors(&self.durable, &self.changes, luck);
        self.durable = durable;
        self.changes.clear();
        left
    }

    /// The power goes: the cache is gone, and of what was not synced anything may be there.
    pub(crate) fn lose_power(&mut self, luck: &mut Luck) -> Left {
        let left = self.fail_to_sync(luck);
        self.cached = self.durable.clone();
        left
    }

    /// Nobody has it open any more.
    pub(crate) fn forget_users(&mut self) {
        self.locks = Locks::default();
        self.shared_memory = SharedMemory::default();
    }
}

/// How many of the changes reach each sector.
struct Cuts {
    count: usize,
    manner: Manner,
    by_sector: BTreeMap<usize, usize>,
}

/// How a crash chooses.
enum Manner {
    /// Nothing was written yet, or everything.
    All(usize),
    /// The medium writes in order, and was in the midst of this change.
    Prefix(usize),
    /// Each sector by itself: any of its states.
    Any,
    /// Each sector by itself: all of it, or nothing.
    Either,
}

impl Cuts {
    fn draw(count: usize, luck: &mut Luck) -> Cuts {
        let below = |luck: &mut Luck, end: usize| usize::try_from(luck(end as u64)).unwrap_or(0);
        let manner = match luck(6) {
            0 => Manner::All(0),
            1 => Manner::All(count),
            2 => Manner::Prefix(below(luck, count.max(1))),
            3 => Manner::Any,
            _ => Manner::Either,
        };
        Cuts { count, manner, by_sector: BTreeMap::new() }
    }

    /// How many of the changes have reached this sector; `None` stands for the length.
    fn of(&mut self, sector: Option<usize>, luck: &mut Luck) -> usize {
        let count = self.count;
        let mut draw = || match self.manner {
            Manner::All(cut) => cut,
            Manner::Prefix(cut) => cut + usize::from(luck(2) == 1),
            Manner::Any => usize::try_from(luck(count as u64 + 1)).unwrap_or(0),
            Manner::Either => count * usize::from(luck(2) == 1),
        };
        *self.by_sector.entry(sector.map_or(usize::MAX, |sector| sector)).or_insert_with(&mut draw)
    }
}

/// What a medium with these bytes holds after a crash in the midst of these changes.
fn survivors(durable: &[u8], changes: &[Change], luck: &mut Luck) -> (Vec<u8>, Left) {
    if changes.is_empty() {
        return (durable.to_vec(), Left::default());
    }
    let mut cuts = Cuts::draw(changes.len(), luck);
    let mut bytes = durable.to_vec();
    let mut left = Left::default();
    let mut length = durable.len();
    let length_cut = cuts.of(None, luck);
    let mut any_lost = false;
    let mut size = durable.len();
    for (number, change) in changes.iter().enumerate() {
        match change {
            Change::Write { at, bytes: written } => {
                let end = at + written.len();
                size = size.max(end);
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let (mut kept, mut lost) = (0, 0);
                let mut from = *at;
                while from < end {
                    let to = end.min((from / SECTOR + 1) * SECTOR);
                    if number < cuts.of(Some(from / SECTOR), luck) {
                        bytes[from..to].copy_from_slice(&written[from - at..to - at]);
                        kept += 1;
                    } else {
                        lost += 1;
                    }
                    from = to;
                }
                left.lost += lost;
                left.torn += u64::from(kept > 0 && lost > 0);
                left.reordered += u64::from(kept > 0 && any_lost);
                any_lost |= lost > 0;
            }
            Change::Resize(to) => {
                size = *to;
                // A file system journals lengths: a file is cut off, or it is not.
                if number < length_cut {
                    bytes.iter_mut().skip(*to).for_each(|byte| *byte = 0);
                }
            }
        }
        if number < length_cut {
            length = size;
        }
    }
    bytes.resize(length, 0);
    (bytes, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A luck that repeats: the numbers of a linear congruence.
    fn luck(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |end| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        }
    }

    /// What a power loss leaves of a file, for a hundred lucks.
    fn after(changes: impl Fn(&mut File)) -> Vec<(Vec<u8>, Left)> {
        let of = |seed| {
            let mut file = File::durable(vec![1; 4 * SECTOR]);
            changes(&mut file);
            let left = file.lose_power(&mut luck(seed));
            assert_eq!(file.bytes(), file.durable, "what is read is what there is");
            (file.cached, left)
        };
        (0..100).map(of).collect()
    }

    #[test]
    fn what_is_synced_is_never_lost() {
        let wrote = |file: &mut File| {
            file.write(100, &[2; 3_000]);
            file.resize(2_500);
            file.write(2_400, &[3; 400]);
            file.sync();
        };
        let mut expect = vec![1; 100];
        expect.extend([2; 2_300]);
        expect.extend([3; 400]);
        assert!(after(wrote).iter().all(|(bytes, left)| *bytes == expect && *left == Left::default()));
    }

    #[test]
    fn what_is_not_synced_is_kept_lost_torn_and_reordered() {
        let wrote = |file: &mut File| {
            file.write(0, &[2; 2 * SECTOR]);
            file.write(2 * SECTOR, &[3; 2 * SECTOR]);
        };
        let left = after(wrote);
        let has = |bytes: [u8; 4]| {
            left.iter().any(|(found, _)| found.chunks(SECTOR).map(|sector| sector[0]).eq(bytes))
        };
        assert!(has([1, 1, 1, 1]), "all of it is lost");
        assert!(has([2, 2, 3, 3]), "all of it is kept");
        assert!(has([1, 2, 1, 1]) || has([2, 1, 1, 1]), "a write is torn");
        assert!(has([1, 1, 3, 3]), "a write outlives one before it");
        assert!(left.iter().any(|(_, left)| left.torn > 0));
        assert!(left.iter().any(|(_, left)| left.reordered > 0));
        let is_whole = |(found, _): &(Vec<u8>, Left)| {
            found.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0]))
        };
        assert!(left.iter().all(is_whole), "a sector is written whole, or not");
    }

    #[test]
    fn of_two_writes_to_a_sector_the_earlier_one_may_be_there() {
        let wrote = |file: &mut File| {
            file.write(0, &[2; SECTOR]);
            file.write(0, &[3; SECTOR]);
        };
        for byte in [1, 2, 3] {
            assert!(after(wrote).iter().any(|(bytes, _)| bytes[0] == byte), "{byte}");
        }
    }

    #[test]
    fn a_length_is_lost_or_kept_and_what_was_cut_off_may_come_back() {
        let cut = after(|file| file.resize(SECTOR));
        assert!(cut.iter().any(|(bytes, _)| bytes.len() == SECTOR));
        assert!(cut.iter().any(|(bytes, _)| *bytes == [1; 4 * SECTOR]));
        let grown = after(|file| file.write(4 * SECTOR, &[2; SECTOR]));
        assert!(grown.iter().any(|(bytes, _)| bytes.len() == 4 * SECTOR));
        assert!(grown.iter().any(|(bytes, _)| bytes.ends_with(&[2; SECTOR])));
        assert!(grown.iter().any(|(bytes, _)| bytes.ends_with(&[0; SECTOR])), "longer, and nothing in it");
    }

    #[test]
    fn after_a_sync_that_failed_nobody_knows_what_is_lost() {
        let of = |seed| {
            let mut file = File::durable(vec![1; SECTOR]);
            file.write(0, &[2; SECTOR]);
            file.fail_to_sync(&mut luck(seed));
            assert_eq!(file.bytes(), [2; SECTOR], "whoever reads it sees it");
            file.sync();
            file.lose_power(&mut luck(seed));
            file.cached[0]
        };
        let left: Vec<u8> = (0..20).map(of).collect();
        assert!(left.contains(&1) && left.contains(&2), "{left:?}");
    }

    #[test]
    fn a_sector_that_a_failed_sync_has_lost_is_written_whole_or_not_at_all() {
        for seed in 0..20 {
            let mut file = File::durable(vec![1; 2 * SECTOR]);
            file.write(0, &[2; 2 * SECTOR]);
            file.fail_to_sync(&mut luck(seed));
            file.write(SECTOR - 1, &[3]);
            file.sync();
            file.lose_power(&mut luck(seed));
            assert_eq!(file.cached[..SECTOR - 1], [2; SECTOR - 1], "it is written with what is beside it");
            assert!(matches!(file.cached[SECTOR], 1 | 2), "the other one is lost, or was not");
        }
    }
}
