//! The right to open exchanges: how many a node still has, in all, per target host, and in bytes; and which hosts
//! are out of order, so that their tasks wait.

mod hosts;

use crate::id::HostKey;
use crate::limits;
use crate::time::Timestamp;
use hosts::{Failing, Host, Hosts};

/// The free places of one node. Nothing is admitted that cannot be sent. A clone costs what has changed since they were last
/// [adopted](Permits::adopt).
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
    /// Of more hosts of which something is remembered while nothing is open with them, half are forgotten.
    pub remembered_max: usize,
    /// Nothing new may begin: the node is stopping.
    pub closed: bool,
    /// Polls that are open, and how many may be.
    polls: (u32, u32),
    hosts: Hosts,
    /// What polls were left without an answer until then says nothing any more.
    silence_begins: Timestamp,
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
            remembered_max: limits::HOSTS_REMEMBERED_MAX,
            closed: false,
            polls: (0, share(exchanges_max)),
            hosts: Hosts::default(),
            silence_begins: Timestamp(i64::MIN),
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
        let host = self.hosts.get(host);
        let places = self.per_host_max.saturating_sub(host.open);
        match host.probe_at() {
            Some(at) if at > now => 0,
            Some(_) => places.min(1),
            None => places,
        }
    }

    /// Whether one more dispatch, and no second one, could begin with `host` if places alone counted.
    #[must_use]
    pub fn is_last_place(&self, host: HostKey, now: Timestamp) -> bool {
        self.places_with(host, now) == 1 && self.per_host_max - self.hosts.get(host).open == 1
    }

    /// Whether a poll may begin with `host`. It takes a place as a dispatch does, but no probe of a host that is out of order: a
    /// status URL says nothing of the place to which work is sent. The first one with a host needs none of the node's share, or
    /// hosts that hang would keep the others from being asked; for those first ones there is as much again.
    #[must_use]
    pub fn allow_poll(&self, host: HostKey) -> bool {
        let host = self.hosts.get(host);
        let (open, share_of_node) = self.polls;
        let has_places = !self.is_exhausted() && host.open < self.per_host_max;
        let is_first = host.polls == 0 && open < share_of_node.saturating_mul(2);
        has_places && (is_first || (open < share_of_node && host.polls < share(self.per_host_max)))
    }

    /// Whether `host` is being asked, has left a poll without an answer since `at`, and not long ago, and answered none since.
    #[must_use]
    pub fn is_silent_since(&self, host: HostKey, at: Timestamp, now: Timestamp) -> bool {
        let Host { polls, unheard_at: Some(unheard_at), .. } = self.hosts.get(host) else { return false };
        let is_recent = unheard_at > self.silence_begins && now < unheard_at + limits::LAST_POLL_WITHIN;
        polls > 0 && unheard_at >= at && is_recent
    }

    /// Counts an exchange that begins.
    ///
    /// # Panics
    /// If it was not allowed.
    pub fn take(&mut self, host: HostKey, bytes: u32, now: Timestamp) {
        assert!(self.allow(host, bytes, now), "an exchange began without a permit");
        self.free -= 1;
        self.free_bytes -= u64::from(bytes);
        let mut known = self.hosts.get(host);
        known.open += 1;
        if let Some(Failing { probe_at: Some(probe_at), .. }) = &mut known.failing {
            *probe_at = now + limits::BREAKER_PROBE;
        }
        self.hosts.set(host, known);
    }

    /// Counts a poll that begins.
    ///
    /// # Panics
    /// If it was not allowed.
    pub fn take_poll(&mut self, host: HostKey) {
        assert!(self.allow_poll(host), "a poll began without a permit");
        self.polls.0 += 1;
        self.free -= 1;
        let known = self.hosts.get(host);
        self.hosts.set(host, Host { open: known.open + 1, polls: known.polls + 1, ..known });
    }

    /// Counts an exchange that has ended.
    ///
    /// # Panics
    /// If none was open with this host.
    pub fn give_back(&mut self, host: HostKey, bytes: u32) {
        let known = self.hosts.get(host);
        assert!(known.open > known.polls, "a permit came back that was never taken");
        self.hosts.set(host, Host { open: known.open - 1, ..known });
        self.free += 1;
        self.free_bytes += u64::from(bytes);
    }

    /// Counts a poll that has ended.
    ///
    /// # Panics
    /// If none was open with this host.
    pub fn give_back_poll(&mut self, host: HostKey) {
        let known = self.hosts.get(host);
        assert!(known.polls > 0, "a permit of a poll came back that was never taken");
        self.hosts.set(host, Host { open: known.open - 1, polls: known.polls - 1, ..known });
        self.polls.0 -= 1;
        self.free += 1;
    }

    /// Learns that a host has answered a poll.
    pub fn hear(&mut self, host: HostKey) {
        let known = self.hosts.get(host);
        if known.unheard_at.is_some() {
            self.hosts.set(host, Host { unheard_at: None, ..known });
        }
    }

    /// Learns that a host has left a poll without an answer.
    pub fn hear_nothing(&mut self, host: HostKey, now: Timestamp) {
        self.hosts.set(host, Host { unheard_at: Some(now), ..self.hosts.get(host) });
        self.hosts.forget_beyond(self.remembered_max);
    }

    /// Forgets who has answered no poll: for a while, until now, nobody was asked.
    pub fn forget_silence(&mut self, now: Timestamp) {
        self.silence_begins = now;
    }

    /// Learns from the end of a dispatch whether its host is in order.
    pub fn learn(&mut self, host: HostKey, health: Health, now: Timestamp) {
        let known = self.hosts.get(host);
        let failing = match health {
            Health::Unknown => known.failing,
            Health::Answered => None,
            Health::Failed => {
                let times = known.failing.map_or(0, |failing| failing.times).saturating_add(1);
                let is_broken = times >= self.failures_max;
                let probe_at = known.probe_at().or_else(|| is_broken.then(|| now + limits::BREAKER_PROBE));
                Some(Failing { times, last_at: now, probe_at })
            }
        };
        if failing != known.failing {
            self.hosts.set(host, Host { failing, ..known });
            self.hosts.forget_beyond(self.remembered_max);
        }
    }

    /// The hosts of which something else may be known than when these permits were last adopted.
    pub fn changed(&self) -> impl Iterator<Item = HostKey> {
        self.hosts.changed()
    }

    /// What a transaction has left of these permits is what there is from now on.
    pub fn adopt(&mut self, left: Permits) {
        *self = left;
        self.hosts.merge();
    }

    /// When the next dispatch to `host` may begin, where it is out of order.
    #[must_use]
    pub fn probe_at(&self, host: HostKey) -> Option<Timestamp> {
        self.hosts.get(host).probe_at()
    }

    /// How many exchanges are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.hosts.iter().map(|(_, host)| host.open).sum()
    }

    /// How many hosts are out of order.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.hosts.iter().filter(|(_, host)| host.probe_at().is_some()).count()
    }
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
        assert_eq!((permits.broken(), permits.probe_at(host)), (1, Some(probe)));
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
    fn so_many_hosts_that_fail_are_remembered_and_no_more() {
        let mut permits = Permits::new(8, 8);
        let fails = |permits: &mut Permits, host, times| {
            (0..times).for_each(|_| permits.learn(HostKey(host), Health::Failed, NOW));
        };
        fails(&mut permits, 1, limits::BREAKER_FAILURES);
        let max = i64::try_from(limits::HOSTS_REMEMBERED_MAX).unwrap();
        (2..4 * max).for_each(|host| fails(&mut permits, host, 1));
        assert_eq!(permits.broken(), 1, "one that is out of order is not forgotten before the others");
        let known = permits.hosts.iter().filter(|(_, host)| *host != Host::default()).count();
        assert!(
            (limits::HOSTS_REMEMBERED_MAX / 2..=limits::HOSTS_REMEMBERED_MAX).contains(&known),
            "{known}"
        );

        let mut left = permits.clone();
        left.remembered_max = 1;
        fails(&mut left, 2, limits::BREAKER_FAILURES);
        assert_eq!((permits.broken(), left.broken(), left.places_with(HostKey(1), NOW)), (1, 0, 8));
        assert!(left.changed().any(|host| host == HostKey(1)), "whoever waits for it can be told");
        permits.adopt(left);
        assert_eq!((permits.broken(), permits.changed().count()), (0, 0));
    }

    #[test]
    fn it_is_known_since_when_a_host_answers_no_poll() {
        let (host, other) = (HostKey(1), HostKey(2));
        let later = |seconds| NOW + std::time::Duration::from_secs(seconds);
        let mut permits = Permits::new(8, 8);
        permits.take_poll(host);
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
        assert!(!permits.is_silent_since(other, NOW, later(60)), "it has answered");
        permits.hear_nothing(host, later(60));
        assert!(permits.is_silent_since(host, NOW, later(60)));
        permits.forget_silence(later(60));
        assert!(!permits.is_silent_since(host, NOW, later(60)), "nobody was asked for a while");
        permits.hear_nothing(host, later(61));
        assert!(permits.is_silent_since(host, NOW, later(61)));
    }
}
