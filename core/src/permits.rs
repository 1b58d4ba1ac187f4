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
    /// Polls that are open, and how many may be.
    polls: (u32, u32),
    hosts: BTreeMap<HostKey, Host>,
    /// Hosts that have left a poll without an answer in the last minute and answered none since, and when they did.
    unheard: BTreeMap<HostKey, Timestamp>,
}

/// What a node knows of a target host. Forgotten when there is nothing to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Host {
    /// Exchanges that are open.
    open: u32,
    /// Those of them that are polls.
    polls: u32,
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
            polls: (0, share(exchanges_max)),
            hosts: BTreeMap::new(),
            unheard: BTreeMap::new(),
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
        let host = self.known(host);
        let places = self.per_host_max.saturating_sub(host.open);
        match host.probe_at {
            Some(at) if at > now => 0,
            Some(_) => places.min(1),
            None => places,
        }
    }

    /// Whether one more dispatch, and no second one, could begin with `host` if places alone counted.
    #[must_use]
    pub fn is_last_place(&self, host: HostKey, now: Timestamp) -> bool {
        self.places_with(host, now) == 1 && self.per_host_max - self.known(host).open == 1
    }

    /// Whether a poll may begin with `host`. It takes a place as a dispatch does, but no probe of a host that is out of order: a
    /// status URL says nothing of the place to which work is sent. The first one with a host needs none of the node's share, or
    /// hosts that hang would keep the others from being asked; for those first ones there is as much again.
    #[must_use]
    pub fn allow_poll(&self, host: HostKey) -> bool {
        let host = self.known(host);
        let (open, share_of_node) = self.polls;
        let has_places = !self.is_exhausted() && host.open < self.per_host_max;
        let is_first = host.polls == 0 && open < share_of_node.saturating_mul(2);
        has_places && (is_first || (open < share_of_node && host.polls < share(self.per_host_max)))
    }

    /// Whether `host` is being asked, has left a poll without an answer since `at`, and not long ago, and answered none since.
    #[must_use]
    pub fn is_silent_since(&self, host: HostKey, at: Timestamp, now: Timestamp) -> bool {
        let unheard_at = self.unheard.get(&host).filter(|unheard_at| is_recent(**unheard_at, now));
        self.known(host).polls > 0 && unheard_at >= Some(&at)
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
        self.polls.0 += 1;
        self.begin(host, 0).polls += 1;
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

    /// Counts a poll that has ended.
    ///
    /// # Panics
    /// If none was open with this host.
    pub fn give_back_poll(&mut self, host: HostKey) {
        let known = self.hosts.get_mut(&host).filter(|host| host.polls > 0);
        assert!(known.is_some(), "a permit of a poll came back that was never taken");
        if let Some(known) = known {
            known.polls -= 1;
        }
        self.polls.0 -= 1;
        self.give_back(host, 0);
    }

    /// Learns that a host has answered a poll.
    pub fn hear(&mut self, host: HostKey) {
        self.unheard.remove(&host);
    }

    /// Learns that a host has left a poll without an answer.
    pub fn hear_nothing(&mut self, host: HostKey, now: Timestamp) {
        self.unheard.retain(|_, unheard_at| is_recent(*unheard_at, now));
        self.unheard.insert(host, now);
    }

    /// Forgets who has answered no poll: for a while nobody was asked.
    pub fn forget_silence(&mut self) {
        self.unheard.clear();
    }

    /// Learns from the end of a dispatch whether its host is in order.
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

    /// The hosts that are out of order, and when the next dispatch to each may begin.
    pub fn broken(&self) -> impl Iterator<Item = (HostKey, Timestamp)> {
        self.hosts.iter().filter_map(|(key, host)| Some((*key, host.probe_at?)))
    }

    /// When the next dispatch to `host` may begin, where it is out of order.
    #[must_use]
    pub fn probe_at(&self, host: HostKey) -> Option<Timestamp> {
        self.hosts.get(&host)?.probe_at
    }

    /// How many exchanges are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.hosts.values().map(|host| host.open).sum()
    }

    fn known(&self, host: HostKey) -> Host {
        self.hosts.get(&host).copied().unwrap_or_default()
    }

    fn forget(&mut self, host: HostKey) {
        if self.hosts.get(&host) == Some(&Host::default()) {
            self.hosts.remove(&host);
        }
    }
}

fn is_recent(unheard_at: Timestamp, now: Timestamp) -> bool {
    now < unheard_at + limits::LAST_POLL_WITHIN
}

/// How many of so many places polls may take.
fn share(places: u32) -> u32 {
    (places / limits::POLLS_SHARE).max(1)
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

        permits.learn(host, Health::Answered, probe);
        assert_eq!(permits.free_with(host, probe), 50, "it is back");
        assert_eq!(permits, Permits::new(100, 50), "and nothing is left to know");
    }

    #[test]
    fn polls_take_a_share_of_the_places_and_no_probe() {
        let (host, other) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(12, 8);
        (0..2).for_each(|_| permits.take_poll(host));
        assert!(!permits.allow_poll(host), "a quarter of those of the host");
        permits.take_poll(other);
        assert!(!permits.allow_poll(other), "a quarter of those of the node");
        assert_eq!((permits.free_with(host, NOW), permits.open()), (6, 3), "they take places all the same");
        let more = (3..)
            .map(HostKey)
            .take_while(|host| permits.allow_poll(*host).then(|| permits.take_poll(*host)).is_some());
        assert_eq!(
            more.count(),
            3,
            "hosts that nobody asks have a poll all the same, but for those that take no more than that"
        );
        (3..6).for_each(|host| permits.give_back_poll(HostKey(host)));
        permits.give_back_poll(other);

        (0..limits::BREAKER_FAILURES).for_each(|_| permits.learn(host, Health::Failed, NOW));
        permits.give_back_poll(host);
        assert!(permits.allow_poll(host), "a host that is out of order is asked");
        let probe = NOW + limits::BREAKER_PROBE;
        permits.take_poll(host);
        assert_eq!(permits.free_with(host, probe), 1, "and tried by a task");
        (0..2).for_each(|_| permits.give_back_poll(host));
        permits.learn(host, Health::Answered, NOW);
        assert_eq!(permits, Permits::new(12, 8));

        let mut least = Permits::new(1, 1);
        least.take_poll(host);
        assert_eq!((least.allow_poll(other), least.free_with(host, NOW)), (false, 0));
    }

    #[test]
    fn it_is_known_since_when_a_host_answers_no_poll() {
        let (host, other) = (HostKey(1), HostKey(2));
        let later = |seconds| NOW + std::time::Duration::from_secs(seconds);
        let mut permits = Permits::new(8, 8);
        permits.take_poll(host);
        let asked = permits.clone();
        assert!(!permits.is_silent_since(host, NOW, NOW));
        permits.hear_nothing(host, NOW);
        assert!(permits.is_silent_since(host, NOW, later(59)));
        assert!(!permits.is_silent_since(host, later(1), later(1)), "that was before");
        assert!(!permits.is_silent_since(host, NOW, later(60)), "that is long ago");
        permits.give_back_poll(host);
        assert!(!permits.is_silent_since(host, NOW, NOW), "nobody asks it");
        permits.take_poll(host);
        permits.hear_nothing(other, later(60));
        permits.hear(other);
        assert_eq!(permits, asked, "what is long ago is forgotten, and so is the silence of who answers");
    }
}
