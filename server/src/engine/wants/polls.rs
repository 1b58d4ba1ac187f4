//! Polls that found no place: each is offered one that comes back, in the order in which they began to wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taskhook_core::{HostKey, Permits, TaskKey};

/// So many are remembered. The others are tried again at times of their own, as are those whose offer came to nothing.
const REMEMBERED_MAX: usize = 4_096;
/// So many hosts are looked at for one whose poll can take the place that another host gave back.
const HOSTS_LOOKED_AT_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Polls {
    waiting: BTreeMap<HostKey, VecDeque<TaskKey>>,
    /// All of them, so that none waits twice.
    known: BTreeSet<TaskKey>,
    /// The hosts with which places came back since polls were asked, once for each.
    offers: Vec<HostKey>,
    /// The host whose poll was the last to be offered the place of another.
    last: Option<HostKey>,
}

impl Polls {
    pub(super) fn add(&mut self, host: HostKey, task: TaskKey) {
        if self.known.len() < REMEMBERED_MAX && self.known.insert(task) {
            self.waiting.entry(host).or_default().push_back(task);
        }
    }

    /// A place with this host came back.
    pub(super) fn offer(&mut self, host: HostKey) {
        if !self.known.is_empty() {
            self.offers.push(host);
        }
    }

    /// Those that are to be tried now: one for each place, of its host or else of another one.
    pub(super) fn take(&mut self, permits: &Permits) -> Vec<TaskKey> {
        let offers = std::mem::take(&mut self.offers);
        offers
            .into_iter()
            .filter_map(|host| self.first_of(host, permits).or_else(|| self.other(permits)))
            .collect()
    }

    fn first_of(&mut self, host: HostKey, permits: &Permits) -> Option<TaskKey> {
        let of_host = self.waiting.get_mut(&host).filter(|_| permits.allow_poll(host))?;
        let task = of_host.pop_front();
        if of_host.is_empty() {
            self.waiting.remove(&host);
        }
        self.known.remove(&task?);
        task
    }

    /// A poll of another host, that may have found none because the node had none.
    fn other(&mut self, permits: &Permits) -> Option<TaskKey> {
        let behind = self.waiting.keys().filter(|host| Some(**host) > self.last);
        let hosts = behind.chain(self.waiting.keys()).copied().take(HOSTS_LOOKED_AT_MAX);
        let host = hosts.into_iter().find(|host| permits.allow_poll(*host))?;
        self.last = Some(host);
        self.first_of(host, permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_offered_to_who_waits_longest_for_its_host_and_else_to_another() {
        let (a, b, c) = (HostKey(1), HostKey(2), HostKey(3));
        let permits = Permits::new(8, 8);
        let mut polls = Polls::default();
        for (host, task) in [(a, 1), (a, 2), (b, 3), (a, 1), (c, 4)] {
            polls.add(host, TaskKey(task));
        }
        assert_eq!(polls.take(&permits), [], "nothing came back");
        polls.offer(a);
        assert_eq!(polls.take(&permits), [TaskKey(1)]);
        polls.offer(HostKey(9));
        polls.offer(HostKey(9));
        assert_eq!(polls.take(&permits), [TaskKey(2), TaskKey(3)], "hosts in turn");
        polls.offer(a);
        polls.offer(a);
        assert_eq!(polls.take(&permits), [TaskKey(4)], "and nobody twice");
        assert_eq!((polls.known.len(), polls.waiting.len()), (0, 0));
    }

    #[test]
    fn nobody_is_asked_whose_host_has_no_place() {
        let (a, b) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(8, 4);
        permits.take_poll(a);
        let mut polls = Polls::default();
        polls.add(a, TaskKey(1));
        polls.offer(a);
        polls.offer(b);
        assert_eq!(polls.take(&permits), [], "its share is taken");
        permits.give_back_poll(a);
        polls.offer(a);
        assert_eq!(polls.take(&permits), [TaskKey(1)]);
    }
}
