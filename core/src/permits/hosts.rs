//! What a node knows of each target host.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::HostKey;
use crate::time::Timestamp;

/// One host. Nothing is known of most: then it is as by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Host {
    /// Exchanges that are open.
    pub(super) open: u32,
    /// Those of them that are polls.
    pub(super) polls: u32,
    /// The last dispatches to it have failed.
    pub(super) failing: Option<Failing>,
    /// When it last left a poll without an answer, where it has answered none since.
    pub(super) unheard_at: Option<Timestamp>,
}

/// How a host fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failing {
    /// Dispatches that failed since the last one that did not.
    pub(super) times: u32,
    /// When the last one did.
    pub(super) last_at: Timestamp,
    /// It failed too often: its tasks wait, but for one at this instant.
    pub(super) probe_at: Option<Timestamp>,
}

impl Host {
    /// Nothing of it is open, and something is remembered of it all the same.
    fn is_remembered(&self) -> bool {
        self.open == 0 && *self != Host::default()
    }

    /// When the next dispatch to it may begin, where it is out of order.
    pub(super) fn probe_at(&self) -> Option<Timestamp> {
        self.failing?.probe_at
    }

    /// The higher, the sooner it is needed again: hosts that are out of order before others, and then those that failed or said
    /// nothing last.
    fn worth(&self) -> (bool, Option<Timestamp>) {
        let failed_at = self.failing.map(|failing| failing.last_at);
        (self.probe_at().is_some(), failed_at.max(self.unheard_at))
    }
}

/// All hosts of which something is known. A transaction works on a clone; what it has not changed of its hosts is shared, so
/// that it costs what it changes and not what there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// As they were at the last [`Hosts::merge`].
    shared: Arc<BTreeMap<HostKey, Host>>,
    /// Those that have changed since.
    changed: BTreeMap<HostKey, Host>,
    /// How many are remembered without being in use.
    remembered: usize,
}

impl Hosts {
    pub(super) fn get(&self, host: HostKey) -> Host {
        self.changed.get(&host).or_else(|| self.shared.get(&host)).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, key: HostKey, host: Host) {
        self.remembered += usize::from(host.is_remembered());
        self.remembered -= usize::from(self.get(key).is_remembered());
        self.changed.insert(key, host);
    }

    /// Those that may differ from what they were at the last merge.
    pub(super) fn changed(&self) -> impl Iterator<Item = HostKey> {
        self.changed.keys().copied()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HostKey, Host)> {
        let shared = self.shared.iter().filter(|(key, _)| !self.changed.contains_key(key));
        shared.chain(&self.changed).map(|(key, host)| (*key, *host))
    }

    /// What has changed is shared with the clones to come. Where an earlier clone is left, all is copied once.
    pub(super) fn merge(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let shared = Arc::make_mut(&mut self.shared);
        for (key, host) in std::mem::take(&mut self.changed) {
            match host == Host::default() {
                true => drop(shared.remove(&key)),
                false => drop(shared.insert(key, host)),
            }
        }
    }

    /// Where more than `max` are remembered, half of that stays: those that will be needed soonest.
    pub(super) fn forget_beyond(&mut self, max: usize) {
        if self.remembered <= max {
            return;
        }
        let mut remembered: Vec<_> = self.iter().filter(|(_, host)| host.is_remembered()).collect();
        remembered.sort_unstable_by_key(|(key, host)| (host.worth(), *key));
        for (key, _) in &remembered[..remembered.len() - max / 2] {
            self.set(*key, Host::default());
        }
    }
}

/// They are the same if the same is known, whatever of it is shared.
impl PartialEq for Hosts {
    fn eq(&self, other: &Hosts) -> bool {
        let known = |hosts: &Hosts| {
            hosts.iter().filter(|(_, host)| *host != Host::default()).collect::<BTreeMap<_, _>>()
        };
        known(self) == known(other)
    }
}

impl Eq for Hosts {}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_at(seconds: i64, is_broken: bool) -> Host {
        let last_at = Timestamp::from_secs(seconds);
        let failing = Failing { times: 1, last_at, probe_at: is_broken.then_some(last_at) };
        Host { failing: Some(failing), ..Host::default() }
    }

    fn keys(hosts: &Hosts) -> Vec<i64> {
        let mut keys: Vec<i64> = hosts.iter().map(|(key, _)| key.0).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_clone_changes_by_itself_and_is_merged_in_place() {
        let mut before = Hosts::default();
        (0..3).for_each(|host| before.set(HostKey(host), failed_at(host, false)));
        before.merge();
        let mut after = before.clone();
        after.set(HostKey(1), Host::default());
        after.set(HostKey(7), failed_at(7, true));
        assert_eq!(after.changed().collect::<Vec<_>>(), [HostKey(1), HostKey(7)]);
        assert_eq!((before.get(HostKey(1)), after.get(HostKey(1))), (failed_at(1, false), Host::default()));
        assert_eq!((before.remembered, after.remembered), (3, 3));
        let mut copied = after.clone();
        copied.merge();
        assert_eq!((keys(&copied), copied.changed().count()), (vec![0, 2, 7], 0));
        assert_eq!(copied, after, "the same is known");
        drop(before);
        let place = Arc::as_ptr(&after.shared);
        after.merge();
        assert_eq!(
            (Arc::as_ptr(&after.shared), &after),
            (place, &copied),
            "no clone is left: nothing is copied"
        );
    }

    #[test]
    fn of_too_many_half_stays_those_out_of_order_and_those_that_failed_last() {
        let mut hosts = Hosts::default();
        hosts.set(HostKey(1), failed_at(0, true));
        hosts.set(HostKey(2), Host { open: 1, ..failed_at(0, false) });
        hosts.set(HostKey(3), Host { unheard_at: Some(Timestamp::from_secs(9)), ..Host::default() });
        hosts.merge();
        for host in 4..7 {
            hosts.forget_beyond(4);
            assert_eq!(hosts.get(HostKey(1)), failed_at(0, true));
            hosts.set(HostKey(host), failed_at(host, false));
        }
        assert_eq!(hosts.remembered, 5);
        hosts.forget_beyond(4);
        hosts.merge();
        assert_eq!(keys(&hosts), [1, 2, 3], "nothing is forgotten of a host that is in use");
        assert_eq!(hosts.remembered, 2);
        hosts.set(HostKey(2), failed_at(0, false));
        assert_eq!(hosts.remembered, 3, "until it is not");
    }
}
