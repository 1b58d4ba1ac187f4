//! Queues that wait for any place: who has waited longest since it was last given one is asked first.

use std::collections::BTreeMap;

use taskhook_core::{QueueKey, limits};

/// A queue keeps its number from the moment in which it begins to wait until it is given a place; then it gets a new one,
/// behind all others. So it stays before those that came later, however often it is asked in vain.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: BTreeMap<u64, QueueKey>,
    numbers: BTreeMap<QueueKey, u64>,
    /// Those that are being asked. Who wants a place all the same waits again, with its number.
    asked: BTreeMap<QueueKey, u64>,
    /// The number of the next one that begins to wait.
    next: u64,
    /// Those from here to there are to be asked: they have waited since before the last place came back.
    to_ask: std::ops::Range<u64>,
}

impl Queues {
    pub(super) fn add(&mut self, queue: QueueKey, has_had_its_turn: bool) {
        let known = self.asked.remove(&queue).or_else(|| self.numbers.get(&queue).copied());
        let number = known.filter(|_| !has_had_its_turn).unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        if let Some(before) = self.numbers.insert(queue, number) {
            self.waiting.remove(&before);
        }
        self.waiting.insert(number, queue);
    }

    /// Those who were asked and want nothing more are gone.
    pub(super) fn forget_the_others(&mut self) {
        self.asked.clear();
    }

    pub(super) fn is_anybody_there(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A place came back, for whoever waits now.
    pub(super) fn ask_all(&mut self) {
        self.to_ask = 0..self.next + 1;
    }

    /// Whether somebody is still to be asked.
    pub(super) fn is_anybody_left(&self) -> bool {
        self.waiting.range(self.to_ask.clone()).next().is_some()
    }

    /// Some of those that are to be asked, each once.
    pub(super) fn take(&mut self) -> Vec<QueueKey> {
        let some: Vec<(u64, QueueKey)> = self
            .waiting
            .range(self.to_ask.clone())
            .take(limits::QUEUES_ASKED_MAX)
            .map(|(number, queue)| (*number, *queue))
            .collect();
        for (number, queue) in &some {
            self.waiting.remove(number);
            self.numbers.remove(queue);
            self.asked.insert(*queue, *number);
            self.to_ask.start = number + 1;
        }
        some.into_iter().map(|(_, queue)| queue).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `places` come back at a time, again and again, while all of `count` queues have more than enough to do; how
    /// often each of them was given one.
    fn served(count: i64, places: usize, rounds: usize) -> Vec<usize> {
        let mut queues = Queues::default();
        let mut served = vec![0; usize::try_from(count).unwrap()];
        (0..count).for_each(|queue| queues.add(QueueKey(queue), false));
        for _ in 0..rounds {
            let mut free = places;
            queues.ask_all();
            while queues.is_anybody_left() && free > 0 {
                let asked = queues.take();
                assert!(asked.len() <= limits::QUEUES_ASKED_MAX);
                let taken = asked.len().min(free);
                free -= taken;
                let (given, others) = asked.split_at(taken);
                others.iter().for_each(|queue| queues.add(*queue, false));
                for queue in given {
                    served[usize::try_from(queue.0).unwrap()] += 1;
                    queues.add(*queue, true);
                }
                queues.forget_the_others();
            }
        }
        served
    }

    #[test]
    fn all_have_places_by_turns_however_many_they_are() {
        for count in [1, 2, 15, 16, 17, 18, 33, 40] {
            for places in 1..=5 {
                let served = served(count, places, 400);
                let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
                assert!(most - least <= 1, "{count} queues, {places} places: {served:?}");
            }
        }
    }

    #[test]
    fn all_are_asked_until_somebody_takes_the_place() {
        let mut queues = Queues::default();
        (0..40).for_each(|queue| queues.add(QueueKey(queue), false));
        queues.ask_all();
        let mut asked = Vec::new();
        while queues.is_anybody_left() {
            let some = queues.take();
            assert!(some.len() <= limits::QUEUES_ASKED_MAX);
            // All but the first few still want one, but for something that this place is not.
            some.iter().filter(|queue| queue.0 > 5).for_each(|queue| queues.add(*queue, false));
            queues.forget_the_others();
            asked.extend(some);
        }
        assert_eq!(asked, (0..40).map(QueueKey).collect::<Vec<_>>(), "each of them once");
        assert_eq!((queues.waiting.len(), queues.numbers.len(), queues.asked.len()), (34, 34, 0));
    }
}
