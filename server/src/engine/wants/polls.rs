//! Polls that found no place: each is offered one that comes back, in the order in which they began to wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taskhook_core::{HostKey, Permits, TaskKey};

/// So many are remembered of each host. The others are tried again at times of their own, as are those whose offer came to
/// nothing.
const REMEMBERED_PER_HOST_MAX: usize = 64;
/// So many hosts are looked at for one whose poll can take a place, before that which gave it back.
const HOSTS_LOOKED_AT_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Polls {
    waiting: BTreeMap<HostKey, VecDeque<TaskKey>>,
    /// All of them, so that none waits twice.
    known: BTreeSet<TaskKey>,
    /// The hosts with which places came back since polls were asked, once for each place.
    offers: Vec<HostKey>,
    /// The host whose poll was offered the last place.
    last: Option<HostKey>,
}

impl Polls {
    pub(super) fn add(&mut self, host: HostKey, task: TaskKey) {
        let of_host = self.waiting.entry(host).or_default();
        if of_host.len() < REMEMBERED_PER_HOST_MAX && self.known.insert(task) {
            of_host.push_back(task);
        }
    }

    /// A place with this host came back.
    pub(super) fn offer(&mut self, host: HostKey) {
        if !self.known.is_empty() {
            self.offers.push(host);
        }
    }

    /// Those that are to be tried now, one for each place: of the hosts by turns, since some may have waited for any place of
    /// the node. A host that waits for its own alone has no turn before they come back.
    pub(super) fn take(&mut self, permits: &Permits) -> Vec<TaskKey> {
        let offers = std::mem::take(&mut self.offers);
        offers.into_iter().filter_map(|host| self.next(permits).or_else(|| self.of(host, permits))).collect()
    }

    fn next(&mut self, permits: &Permits) -> Option<TaskKey> {
        let behind = self.waiting.keys().filter(|host| Some(**host) > self.last);
        let mut hosts = behind.chain(self.waiting.keys()).take(HOSTS_LOOKED_AT_MAX);
        let host = hosts.find(|host| permits.allow_poll(**host)).copied()?;
        self.last = Some(host);
        self.of(host, permits)
    }

    fn of(&mut self, host: HostKey, permits: &Permits) -> Option<TaskKey> {
        let of_host = self.waiting.get_mut(&host).filter(|_| permits.allow_poll(host))?;
        let task = of_host.pop_front();
        if of_host.is_empty() {
            self.waiting.remove(&host);
        }
        self.known.remove(&task?);
        task
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_offered_to_hosts_by_turns_and_of_each_to_who_waits_longest() {
        let (a, b, c) = (HostKey(1), HostKey(2), HostKey(3));
        let permits = Permits::new(8, 8);
        let mut polls = Polls::default();
        for (host, task) in [(a, 1), (a, 2), (b, 3), (a, 1), (c, 4)] {
            polls.add(host, TaskKey(task));
        }
        assert_eq!(polls.take(&permits), [], "nothing came back");
        polls.offer(HostKey(9));
        assert_eq!(polls.take(&permits), [TaskKey(1)]);
        polls.offer(a);
        polls.offer(a);
        assert_eq!(polls.take(&permits), [TaskKey(3), TaskKey(4)]);
        polls.offer(a);
        polls.offer(a);
        assert_eq!(polls.take(&permits), [TaskKey(2)], "and nobody twice");
        assert_eq!((polls.known.len(), polls.waiting.len()), (0, 0));
    }

    #[test]
    fn a_host_with_many_takes_the_room_of_no_other() {
        let mut polls = Polls::default();
        (0..10_000).for_each(|task| polls.add(HostKey(1), TaskKey(task)));
        polls.add(HostKey(2), TaskKey(10_000));
        assert_eq!(polls.known.len(), REMEMBERED_PER_HOST_MAX + 1);
    }

    #[test]
    fn hosts_that_hang_leave_the_others_a_place() {
        // Eight places of the node, two of them for polls and two more for hosts that have none.
        let mut permits = Permits::new(8, 4);
        let (hung, healthy) = (HostKey(1), HostKey(2));
        permits.take_poll(hung);
        permits.take_poll(HostKey(7));
        let mut polls = Polls::default();
        polls.add(hung, TaskKey(1));
        polls.add(healthy, TaskKey(2));
        polls.offer(hung);
        assert_eq!(polls.take(&permits), [TaskKey(2)], "that of another one, since this one is being asked");
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
