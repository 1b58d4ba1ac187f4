//! Who is to be asked again when this node has places for exchanges again.

mod offers;
mod queues;

use std::collections::BTreeSet;

use taskhook_core::{HostKey, Permits, QueueKey, TaskKey, Timestamp, Want};

use crate::engine::Permit;
use offers::Waiting;
use queues::Queues;

/// Queues, hosts and polls that wait for a place. What is here is about this process alone: one that starts looks at
/// everything.
#[derive(Debug, Default)]
pub struct Wants {
    /// Queues for any place.
    queues: Queues,
    /// Hosts for a place with which lines wait.
    hosts: BTreeSet<HostKey>,
    /// Those of them that may have one now, as far as it is for the host to say.
    hopeful: BTreeSet<HostKey>,
    /// When awaited hosts that are out of order may be asked again. May be early, or of one that nobody awaits any more; never
    /// late.
    probes: BTreeSet<(Timestamp, HostKey)>,
    /// Attempts whose exchange died with a process, to be sent again.
    lost: Waiting,
    /// Running tasks whose remote is to be asked.
    polls: Waiting,
    /// The hosts with which places came back since those were tried, once for each place; and whether polls may have it.
    offers: Vec<(HostKey, bool)>,
}

impl Wants {
    /// Remembers who waits, after a transaction that left these permits: those who were given nothing, and those who were, and
    /// have had their turn.
    pub fn add(&mut self, wants: Vec<Want>, more: Vec<Want>, permits: &Permits, now: Timestamp) {
        let behind = more.into_iter().map(|want| (want, true));
        for (want, has_had_its_turn) in wants.into_iter().map(|want| (want, false)).chain(behind) {
            match want {
                Want::Queue(queue) => self.queues.add(queue, has_had_its_turn),
                Want::Resend(host, task) => self.lost.add(host, task),
                Want::Poll(host, task) => self.polls.add(host, task),
                Want::Host(host) => {
                    self.hosts.insert(host);
                    if permits.places_with(host, now) > 0 {
                        self.hopeful.insert(host);
                    }
                    let probe_at = permits.probe_at(host).filter(|_| !cfg!(planted = "probe_is_forgotten"));
                    self.probes.extend(probe_at.map(|at| (at, host)));
                }
            }
        }
    }

    /// Of the queues that were taken, those that want nothing more are forgotten.
    pub fn settled(&mut self) {
        self.queues.forget_the_others();
    }

    /// A place came back; `permits` have it.
    pub fn returned(&mut self, permit: Permit, permits: &Permits, now: Timestamp) {
        let host = permit.host;
        let is_last = self.hosts.contains(&host) && permits.is_last_place(host, now);
        let is_last = is_last || (permits.free == 1 && self.queues.is_anybody_there());
        // Polls and dispatches that wait for the same places have them by turns.
        let is_for_polls = !(permit.poll && is_last);
        if !self.lost.is_empty() || (is_for_polls && !self.polls.is_empty()) {
            self.offers.push((host, is_for_polls));
        }
        self.has_places(host);
    }

    fn has_places(&mut self, host: HostKey) {
        self.queues.ask_all();
        if self.hosts.contains(&host) {
            self.hopeful.insert(host);
        }
    }

    /// Hosts that were out of order before a transaction and are in order after it have places, and nobody was asked for
    /// them yet: those who wait were looked at while the host was out of order.
    pub fn recovered(&mut self, before: &Permits, after: &Permits) {
        let has_recovered =
            |host: &HostKey| before.probe_at(*host).is_some() && after.probe_at(*host).is_none();
        for host in
            after.changed().filter(has_recovered).filter(|_| !cfg!(planted = "recovery_is_told_to_nobody"))
        {
            self.has_places(host);
        }
    }

    /// When somebody can be asked by time alone; in the past where somebody can be asked now.
    #[must_use]
    pub fn next(&self, permits: &Permits) -> Option<Timestamp> {
        let is_anybody_left = !self.hopeful.is_empty() || self.queues.is_anybody_left();
        if is_anybody_left && !permits.is_exhausted() {
            return Some(Timestamp(i64::MIN));
        }
        self.probes.first().map(|(at, _)| *at)
    }

    /// The queues to look at now.
    #[must_use]
    pub fn take_queues(&mut self, permits: &Permits) -> Vec<QueueKey> {
        if permits.is_exhausted() { Vec::new() } else { self.queues.take() }
    }

    /// The tasks to be tried now, one for each place that came back: what was lost goes before polls.
    #[must_use]
    pub fn take_tasks(&mut self, permits: &Permits, now: Timestamp) -> Vec<TaskKey> {
        let mut tasks = Vec::new();
        for (giver, is_for_polls) in std::mem::take(&mut self.offers) {
            let lost = self.lost.take(giver, |host| permits.free_with(host, now) > 0);
            let polls = || self.polls.take(giver, |host| permits.allow_poll(host));
            tasks.extend(lost.or_else(|| is_for_polls.then(polls).flatten()));
        }
        tasks
    }

    /// The hosts that have places now for lines that wait for one.
    #[must_use]
    pub fn take_hosts(&mut self, permits: &Permits, now: Timestamp) -> Vec<HostKey> {
        while let Some((_, host)) = self.probes.first().copied().filter(|(at, _)| *at <= now) {
            self.probes.pop_first();
            match permits.probe_at(host).filter(|_| self.hosts.contains(&host)) {
                Some(later) if later > now => self.probes.insert((later, host)),
                Some(_) => self.hopeful.insert(host),
                // Nobody waits for it any more, or it is in order again and those who do were told.
                None => continue,
            };
        }
        if permits.is_exhausted() && !cfg!(planted = "hope_is_lost_with_the_last_place") {
            // A host with nothing open has no place that could come back: those who hope for one go on hoping.
            return Vec::new();
        }
        let hopeful = std::mem::take(&mut self.hopeful).into_iter();
        let (hosts, others): (Vec<_>, Vec<_>) = hopeful.partition(|host| permits.free_with(*host, now) > 0);
        for host in &hosts {
            self.hosts.remove(host);
        }
        let probes = others.into_iter().filter_map(|host| Some((permits.probe_at(host)?, host)));
        self.probes.extend(probes.filter(|(at, _)| *at > now));
        hosts
    }
}

#[cfg(test)]
mod tests {
    use taskhook_core::limits;
    use taskhook_core::permits::Health;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn of(host: HostKey) -> Permit {
        Permit { host, bytes: 0, poll: false }
    }

    /// It fails so often that it is out of order.
    fn breaks(permits: &mut Permits, host: HostKey) {
        (0..limits::BREAKER_FAILURES).for_each(|_| permits.learn(host, Health::Failed, NOW));
    }

    #[test]
    fn a_queue_is_asked_when_a_place_comes_back_and_only_then() {
        let mut permits = Permits::new(1, 1);
        let mut wants = Wants::default();
        wants.add(vec![Want::Queue(QueueKey(1)), Want::Queue(QueueKey(2))], vec![], &permits, NOW);
        assert_eq!((wants.take_queues(&permits), wants.next(&permits)), (vec![], None));
        wants.returned(of(HostKey(9)), &permits, NOW);
        assert!(wants.next(&permits).is_some());
        assert_eq!(wants.take_queues(&permits), [QueueKey(1), QueueKey(2)]);
        wants.add(vec![Want::Queue(QueueKey(2))], vec![], &permits, NOW);
        wants.settled();
        wants.returned(of(HostKey(9)), &permits, NOW);
        permits.take(HostKey(9), 0, NOW);
        assert_eq!((wants.take_queues(&permits), wants.next(&permits)), (vec![], None), "it is taken again");
    }

    #[test]
    fn what_was_lost_has_a_place_before_anybody_else() {
        let host = HostKey(1);
        let mut permits = Permits::new(1, 1);
        permits.take(host, 0, NOW);
        let mut wants = Wants::default();
        let waiting =
            [Want::Poll(host, TaskKey(1)), Want::Resend(host, TaskKey(2)), Want::Queue(QueueKey(3))];
        wants.add(waiting.to_vec(), vec![], &permits, NOW);
        of(host).give_back(&mut permits);
        wants.returned(of(host), &permits, NOW);
        assert_eq!(wants.take_tasks(&permits, NOW), [TaskKey(2)]);
    }

    #[test]
    fn polls_and_lines_that_wait_for_the_same_place_have_it_by_turns() {
        let host = HostKey(1);
        let mut permits = Permits::new(1, 1);
        permits.take(host, 0, NOW);
        let mut wants = Wants::default();
        wants.add(
            vec![Want::Host(host), Want::Poll(host, TaskKey(1)), Want::Poll(host, TaskKey(2))],
            vec![],
            &permits,
            NOW,
        );
        of(host).give_back(&mut permits);
        wants.returned(of(host), &permits, NOW);
        assert_eq!(
            wants.take_tasks(&permits, NOW),
            [TaskKey(1)],
            "what a dispatch gives back is offered to a poll first"
        );
        permits.take_poll(host);
        assert_eq!(wants.take_hosts(&permits, NOW), []);

        let poll = Permit { poll: true, ..of(host) };
        poll.give_back(&mut permits);
        wants.returned(poll, &permits, NOW);
        assert_eq!((wants.take_tasks(&permits, NOW), wants.take_hosts(&permits, NOW)), (vec![], vec![host]));
        // Where no line waits, the next poll has it.
        wants.returned(poll, &permits, NOW);
        assert_eq!(wants.take_tasks(&permits, NOW), [TaskKey(2)]);
    }

    #[test]
    fn a_host_is_asked_when_one_of_its_places_comes_back() {
        let (host, other) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(2, 1);
        permits.take(host, 0, NOW);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        wants.returned(of(other), &permits, NOW);
        assert_eq!((wants.take_hosts(&permits, NOW), wants.next(&permits)), (vec![], None));
        permits.give_back(host, 0);
        wants.returned(of(host), &permits, NOW);
        assert!(wants.next(&permits).is_some());
        assert_eq!(wants.take_hosts(&permits, NOW), [host]);
        assert_eq!(wants.next(&permits), None, "it is asked once");
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        assert_eq!(wants.take_hosts(&permits, NOW), [host], "there are places already");
    }

    #[test]
    fn a_host_that_is_out_of_order_is_asked_when_its_time_has_come() {
        let host = HostKey(1);
        let mut permits = Permits::new(9, 9);
        breaks(&mut permits, host);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        let probe = NOW + limits::BREAKER_PROBE;
        assert_eq!((wants.take_hosts(&permits, NOW), wants.next(&permits)), (vec![], Some(probe)));
        assert_eq!((wants.take_hosts(&permits, probe), wants.next(&permits)), (vec![host], None));
    }

    #[test]
    fn a_host_that_somebody_else_tries_first_is_asked_behind_that() {
        let host = HostKey(1);
        let mut permits = Permits::new(9, 9);
        breaks(&mut permits, host);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        let probe = NOW + limits::BREAKER_PROBE;
        permits.take(host, 0, probe);
        assert_eq!(wants.take_hosts(&permits, probe), []);
        let later = probe + limits::BREAKER_PROBE;
        assert_eq!((wants.next(&permits), wants.take_hosts(&permits, later)), (Some(later), vec![host]));
    }

    #[test]
    fn a_host_with_nothing_open_is_asked_when_the_node_has_places_again() {
        let (host, other) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(1, 1);
        permits.take(other, 0, NOW);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        assert_eq!(
            (wants.take_hosts(&permits, NOW), wants.next(&permits)),
            (vec![], None),
            "the other has it"
        );
        permits.give_back(other, 0);
        wants.returned(of(other), &permits, NOW);
        assert!(wants.next(&permits).is_some_and(|at| at <= NOW));
        assert_eq!(wants.take_hosts(&permits, NOW), [host]);
        assert_eq!(wants.next(&permits), None, "it is asked once");
    }

    #[test]
    fn a_host_whose_time_came_while_the_node_had_no_place_is_asked_behind_it() {
        let (host, other) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(1, 1);
        breaks(&mut permits, host);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        permits.take(other, 0, NOW);
        let probe = NOW + limits::BREAKER_PROBE;
        assert_eq!((wants.take_hosts(&permits, probe), wants.next(&permits)), (vec![], None));
        permits.give_back(other, 0);
        assert_eq!(wants.take_hosts(&permits, probe), [host]);
    }

    #[test]
    fn a_host_that_failed_while_the_node_had_no_place_is_asked_when_its_time_has_come() {
        let (host, other) = (HostKey(1), HostKey(2));
        let mut permits = Permits::new(1, 1);
        permits.take(other, 0, NOW);
        let mut wants = Wants::default();
        wants.add(vec![Want::Host(host)], vec![], &permits, NOW);
        breaks(&mut permits, host);
        permits.give_back(other, 0);
        let probe = NOW + limits::BREAKER_PROBE;
        assert_eq!((wants.take_hosts(&permits, NOW), wants.next(&permits)), (vec![], Some(probe)));
        assert_eq!(wants.take_hosts(&permits, probe), [host]);
    }

    #[test]
    fn everybody_is_asked_when_a_host_has_recovered() {
        let host = HostKey(1);
        let mut permits = Permits::new(9, 9);
        breaks(&mut permits, host);
        let mut wants = Wants::default();
        let probe = NOW + limits::BREAKER_PROBE;
        permits.take(host, 0, probe);
        wants.add(vec![Want::Host(host), Want::Queue(QueueKey(1))], vec![], &permits, probe);
        // The reply of the probe: its place comes back before the transaction that learns that the host has answered.
        permits.give_back(host, 0);
        wants.returned(of(host), &permits, NOW);
        assert_eq!(
            (wants.take_queues(&permits), wants.take_hosts(&permits, probe)),
            (vec![QueueKey(1)], vec![])
        );
        wants.add(vec![Want::Queue(QueueKey(1))], vec![], &permits, probe);
        let before = permits.clone();
        permits.learn(host, Health::Answered, probe);
        wants.recovered(&before, &permits);
        assert!(wants.next(&permits).is_some_and(|at| at <= probe));
        assert_eq!(
            (wants.take_queues(&permits), wants.take_hosts(&permits, probe)),
            (vec![QueueKey(1)], vec![host])
        );
    }
}
