//! Tasks that want an exchange and found no place: each is offered one that comes back, in the order in which they began to
//! wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taskhook_core::{HostKey, TaskKey};

/// So many are remembered of each host: as many as may have places within the pause behind which the others are tried again, at
/// times of their own, as are those whose offer came to nothing.
const REMEMBERED_PER_HOST_MAX: usize = 1_024;
/// So many hosts are looked at for one whose task can take a place, before that which gave it back.
const HOSTS_LOOKED_AT_MAX: usize = 8;

/// Tasks by the host with which they want an exchange.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_host: BTreeMap<HostKey, VecDeque<TaskKey>>,
    /// All of them, so that none waits twice.
    known: BTreeSet<TaskKey>,
    /// The last host that was looked at.
    last: Option<HostKey>,
}

impl Waiting {
    pub(super) fn add(&mut self, host: HostKey, task: TaskKey) {
        if self.known.contains(&task) {
            return;
        }
        let of_host = self.by_host.entry(host).or_default();
        if of_host.len() < REMEMBERED_PER_HOST_MAX {
            of_host.push_back(task);
            self.known.insert(task);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Who is to be tried for a place that `giver` gave back. Hosts have turns, since some may have waited for any place of the
    /// node; those of which `has_place` knows that they have none are passed over, and the next turn begins behind them.
    pub(super) fn take(&mut self, giver: HostKey, has_place: impl Fn(HostKey) -> bool) -> Option<TaskKey> {
        let last = self.last;
        let behind = self.by_host.keys().filter(|host| Some(**host) > last);
        let looks =
            behind.chain(self.by_host.keys()).copied().take(HOSTS_LOOKED_AT_MAX.min(self.by_host.len()));
        let mut found = None;
        for host in looks {
            self.last = Some(host);
            if has_place(host) {
                found = Some(host);
                break;
            }
        }
        self.first_of(found.or_else(|| has_place(giver).then_some(giver))?)
    }

    fn first_of(&mut self, host: HostKey) -> Option<TaskKey> {
        let of_host = self.by_host.get_mut(&host)?;
        let task = of_host.pop_front();
        if of_host.is_empty() {
            self.by_host.remove(&host);
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
        let mut waiting = Waiting::default();
        for (host, task) in [(a, 1), (a, 2), (b, 3), (a, 1), (c, 4)] {
            waiting.add(host, TaskKey(task));
        }
        let taken: Vec<_> = std::iter::from_fn(|| waiting.take(a, |_| true)).collect();
        assert_eq!(taken, [1, 3, 4, 2].map(TaskKey), "nobody twice");
        assert!(waiting.is_empty() && waiting.by_host.is_empty());
    }

    #[test]
    fn a_host_with_many_takes_the_room_of_no_other() {
        let mut waiting = Waiting::default();
        (0..10_000).for_each(|task| waiting.add(HostKey(1), TaskKey(task)));
        waiting.add(HostKey(2), TaskKey(10_000));
        assert_eq!(waiting.known.len(), REMEMBERED_PER_HOST_MAX + 1);
    }

    #[test]
    fn however_many_hosts_have_no_place_the_others_have_their_turn() {
        let mut waiting = Waiting::default();
        for host in 0..100 {
            (0..5).for_each(|task| waiting.add(HostKey(host), TaskKey(host * 5 + task)));
        }
        let has_place = |host: HostKey| host.0 % 50 == 49;
        let giver = HostKey(1_000);
        let taken: Vec<_> = (0..130).filter_map(|_| waiting.take(giver, has_place)).collect();
        assert_eq!(taken.len(), 10, "all that can be: {taken:?}");
        assert_eq!(waiting.take(HostKey(7), |host| host == HostKey(7)), Some(TaskKey(35)), "or of the giver");
    }
}
