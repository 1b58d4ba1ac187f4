//! The right to open exchanges: how many a node still has, in all, per target host, and in bytes.

use std::collections::BTreeMap;

use crate::id::HostKey;
use crate::limits;

/// The free places of one node. Nothing is admitted that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permits {
    /// Open exchanges this node may still begin.
    pub free: u32,
    /// Bytes of request bodies it may still hold.
    pub free_bytes: u64,
    /// Open exchanges that one host may have.
    pub per_host_max: u32,
    open: BTreeMap<HostKey, u32>,
}

impl Permits {
    /// All places free.
    #[must_use]
    pub fn new(exchanges_max: u32, per_host_max: u32) -> Permits {
        Permits {
            free: exchanges_max,
            free_bytes: limits::EXCHANGE_BYTES_MAX,
            per_host_max,
            open: BTreeMap::new(),
        }
    }

    /// Whether one more exchange of `bytes` may begin with `host`.
    #[must_use]
    pub fn allow(&self, host: HostKey, bytes: u32) -> bool {
        self.free > 0 && self.free_bytes >= u64::from(bytes) && self.free_with(host) > 0
    }

    /// How many more exchanges may begin with `host`, were there no other host.
    #[must_use]
    pub fn free_with(&self, host: HostKey) -> u32 {
        self.per_host_max.saturating_sub(self.open.get(&host).copied().unwrap_or(0)).min(self.free)
    }

    /// Counts an exchange that begins.
    ///
    /// # Panics
    /// If it was not allowed.
    pub fn take(&mut self, host: HostKey, bytes: u32) {
        assert!(self.allow(host, bytes), "an exchange began without a permit");
        self.free -= 1;
        self.free_bytes -= u64::from(bytes);
        *self.open.entry(host).or_insert(0) += 1;
    }

    /// Counts an exchange that has ended.
    ///
    /// # Panics
    /// If none was open with this host.
    pub fn give_back(&mut self, host: HostKey, bytes: u32) {
        let open = self.open.get_mut(&host).filter(|open| **open > 0);
        assert!(open.is_some(), "a permit came back that was never taken");
        if let Some(open) = open {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&host);
            }
        }
        self.free += 1;
        self.free_bytes += u64::from(bytes);
    }

    /// How many exchanges are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_all_and_per_host() {
        let mut permits = Permits::new(3, 2);
        let (a, b) = (HostKey(1), HostKey(2));
        permits.take(a, 10);
        permits.take(a, 10);
        assert!(!permits.allow(a, 0), "the host is full");
        assert!(permits.allow(b, 0));
        permits.take(b, 0);
        assert_eq!((permits.free, permits.open(), permits.free_with(b)), (0, 3, 0));
        permits.give_back(a, 10);
        assert!(permits.allow(a, 10) && permits.allow(b, 10));
        assert!(!permits.allow(a, u32::MAX), "the bytes are bounded too");
        permits.give_back(a, 10);
        permits.give_back(b, 0);
        assert_eq!(permits, Permits::new(3, 2));
    }
}
