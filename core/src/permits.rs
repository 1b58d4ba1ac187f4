//! The right to open exchanges: how many a node still has, in all, per target host, and in bytes; and which hosts
//! are out of order, so that their tasks wait.

use std::collections::BTreeMap;

use crate::id::HostKey;
use crate::limits;
use crate::time::Timestamp;

/// The free places of one node. Nothing is admitted that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permits {
    /// Open exchanges this node may still begin.
    pub free: u32,
    /// Bytes of request bodies it may still hold.
    pub free_bytes: u64,
    /// Open exchanges that one host may have.
    pub per_host_max: u32,
    /// A host that fails so often in a row is out of order.
    pub failures_max: u32,
    /// Nothing new may begin: the node is stopping.
    pub closed: bool,
    hosts: BTreeMap<HostKey, Host>,
}

/// What a node knows of a target host. Forgotten when there is nothing to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Host {
    /// Exchanges that are open.
    open: u32,
    /// Exchanges that failed since the last one that did not.
    failures: u32,
    /// It failed too often: its tasks wait, but for one at this instant.
    probe_at: Option<Timestamp>,
}

/// What the end of an exchange says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered.
    Answered,
    /// It did not, or with an error of its own.
    Failed,
    /// Nothing: it was not asked, or asks to wait.
    Unknown,
}

impl Permits {
    /// All places free.
    #[must_use]
    pub fn new(exchanges_max: u32, per_host_max: u32) -> Permits {
        Permits {
            free: exchanges_max,
            free_bytes: limits::EXCHANGE_BYTES_MAX,
            per_host_max,
            failures_max: limits::BREAKER_FAILURES,
            closed: false,
            hosts: BTreeMap::new(),
        }
    }

    /// Whether no exchange at all may begin.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.closed || self.free == 0
    }

    /// Whether one more exchange of `bytes` may begin with `host`.
    #[must_use]
    pub fn allow(&self, host: HostKey, bytes: u32, now: Timestamp) -> bool {
        self.free_bytes >= u64::from(bytes) && self.free_with(host, now) > 0
    }

    /// How many more exchanges may begin with `host`, were there no other host.
    #[must_use]
    pub fn free_with(&self, host: HostKey, now: Timestamp) -> u32 {
        if self.closed { 0 } else { self.places_with(host, now).min(self.free) }
    }

    /// How many more exchanges may begin with `host` as far as it is for this host to say: the node may have none left.
    #[must_use]
    pub fn places_with(&self, host: HostKey, now: Timestamp) -> u32 {
        let host = self.hosts.get(&host).copied().unwrap_or_default();
        let places = match host.probe_at {
            Some(at) if at > now => 0,
            Some(_) => 1,
            None => self.per_host_max,
        };
        places.saturating_sub(if host.probe_at.is_some() { 0 } else { host.open })
    }

    /// Whether a poll may begin with `host`. It takes a place as a dispatch does, and never the one by which a host that is out
    /// of order is tried: what it tells of the host is not learned.
    #[must_use]
    pub fn allow_poll(&self, host: HostKey) -> bool {
        let open = self.hosts.get(&host).map_or(0, |host| host.open);
        !self.is_exhausted() && open < self.per_host_max
    }

    /// Counts an exchange that begins.
    ///
    /// # Panics
    /// If it was not allowed.
    pub fn take(&mut self, host: HostKey, bytes: u32, now: Timestamp) {
        assert!(self.allow(host, bytes, now), "an exchange began without a permit");
        let host = self.begin(host, bytes);
        if let Some(probe_at) = &mut host.probe_at {
            *probe_at = now + limits::BREAKER_PROBE;
        }
    }

    /// Counts a poll that begins.
    ///
    /// # Panics
    /// If it was not allowed.
    pub fn take_poll(&mut self, host: HostKey) {
        assert!(self.allow_poll(host), "a poll began without a permit");
        self.begin(host, 0);
    }

    fn begin(&mut self, host: HostKey, bytes: u32) -> &mut Host {
        self.free -= 1;
        self.free_bytes -= u64::from(bytes);
        let host = self.hosts.entry(host).or_default();
        host.open += 1;
        host
    }

    /// Counts an exchange that has ended.
    ///
    /// # Panics
    /// If none was open with this host.
    pub fn give_back(&mut self, host: HostKey, bytes: u32) {
        let known = self.hosts.get_mut(&host).filter(|host| host.open > 0);
        assert!(known.is_some(), "a permit came back that was never taken");
        if let Some(known) = known {
            known.open -= 1;
        }
        self.forget(host);
        self.free += 1;
        self.free_bytes += u64::from(bytes);
    }

    /// Learns from the end of an exchange whether its host is in order.
    pub fn learn(&mut self, host: HostKey, health: Health, now: Timestamp) {
        match health {
            Health::Unknown => {}
            Health::Answered => {
                // Most hosts are unknown here, and stay so.
                if let Some(known) = self.hosts.get_mut(&host) {
                    (known.failures, known.probe_at) = (0, None);
                    self.forget(host);
                }
            }
            Health::Failed => {
                let known = self.hosts.entry(host).or_default();
                known.failures = known.failures.saturating_add(1);
                if known.failures >= self.failures_max {
                    known.probe_at.get_or_insert(now + limits::BREAKER_PROBE);
                }
            }
        }
    }

    /// The hosts that are out of order, and when the next exchange with each may begin.
    pub fn broken(&self) -> impl Iterator<Item = (HostKey, Timestamp)> {
        self.hosts.iter().filter_map(|(key, host)| Some((*key, host.probe_at?)))
    }

    /// When the next exchange with `host` may begin, where it is out of order.
    #[must_use]
    pub fn probe_at(&self, host: HostKey) -> Option<Timestamp> {
        self.hosts.get(&host)?.probe_at
    }

    /// How many exchanges are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.hosts.values().map(|host| host.open).sum()
    }

    fn forget(&mut self, host: HostKey) {
        if self.hosts.get(&host) == Some(&Host::default()) {
            self.hosts.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[test]
    fn a_place_is_counted_in_all_and_per_host() {
        let mut permits = Permits::new(3, 2);
        let (a, b) = (HostKey(1), HostKey(2));
        permits.take(a, 10, NOW);
        permits.take(a, 10, NOW);
        assert!(!permits.allow(a, 0, NOW), "the host is full");
        assert!(permits.allow(b, 0, NOW));
        permits.take(b, 0, NOW);
        assert_eq!((permits.free, permits.open(), permits.free_with(b, NOW)), (0, 3, 0));
        permits.give_back(a, 10);
        assert!(permits.allow(a, 10, NOW) && permits.allow(b, 10, NOW));
        assert!(!permits.allow(a, u32::MAX, NOW), "the bytes are bounded too");
        permits.give_back(a, 10);
        permits.give_back(b, 0);
        assert_eq!(permits, Permits::new(3, 2));
    }

    #[test]
    fn a_host_that_fails_is_asked_once_in_thirty_seconds_until_it_answers() {
        let mut permits = Permits::new(100, 50);
        let host = HostKey(1);
        for _ in 1..limits::BREAKER_FAILURES {
            permits.learn(host, Health::Failed, NOW);
        }
        permits.learn(host, Health::Unknown, NOW);
        assert_eq!(permits.free_with(host, NOW), 50, "one failure fewer is no reason");
        permits.learn(host, Health::Failed, NOW);
        assert_eq!((permits.free_with(host, NOW), permits.free_with(HostKey(2), NOW)), (0, 50));

        let probe = NOW + limits::BREAKER_PROBE;
        assert_eq!(permits.broken().collect::<Vec<_>>(), [(host, probe)]);
        assert_eq!(permits.free_with(host, probe), 1);
        permits.take(host, 0, probe);
        assert_eq!(permits.free_with(host, probe), 0, "one at a time");
        permits.give_back(host, 0);
        permits.learn(host, Health::Failed, probe);
        assert_eq!(permits.free_with(host, probe), 0, "still out of order");
        assert_eq!(permits.free_with(host, probe + limits::BREAKER_PROBE), 1);

        let mut polls = permits.clone();
        let probe = probe + limits::BREAKER_PROBE;
        (0..50).for_each(|_| polls.take_poll(host));
        assert!(!polls.allow_poll(host), "they take the places of the host");
        assert_eq!(polls.free_with(host, probe), 1, "and not the one by which it is tried");

        permits.learn(host, Health::Answered, probe);
        assert_eq!(permits.free_with(host, probe), 50, "it is back");
        assert_eq!(permits, Permits::new(100, 50), "and nothing is left to know");
    }
}
