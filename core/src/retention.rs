//! What is kept for how long, and what may go.
//!
//! A sweep walks over everything that is kept, from [`Place::FIRST`] on, in bounded steps. A store finds the rows of a
//! step; whether one of them may go is decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{ClaimKey, EventKey, QueueKey, TaskKey};
use crate::limits;
use crate::queue::Settings;
use crate::time::Timestamp;

/// How long a day is, in microseconds.
const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// How long things are kept; `None`: for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ages {
    /// Tasks, from their end on.
    pub tasks: Option<Duration>,
    /// Webhooks, from their receipt on, but for those that were rejected, of sources that leave it open.
    pub events: Option<Duration>,
    /// Webhooks that were rejected.
    pub rejected: Option<Duration>,
    /// Entries of the audit log.
    pub audit: Option<Duration>,
}

/// How long the webhooks of those sources are kept that say so themselves, by name; `None`: for ever.
pub type SourceAges = BTreeMap<String, Option<Duration>>;

/// Where a sweep is. The kinds come in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the ended tasks of this queue, behind this end and this key.
    Tasks {
        /// The queue; those with a smaller key are through.
        queue: QueueKey,
        /// The end of the task that was looked at last.
        ended_at: Timestamp,
        /// That task.
        task: TaskKey,
    },
    /// At what is left of the histories of pruned tasks.
    Histories,
    /// At the rejected webhooks, behind this one.
    Rejected(EventKey),
    /// At all other webhooks, behind this one.
    Events(EventKey),
    /// At the delivery ids, behind this one.
    Claims(Option<ClaimKey>),
    /// At the answers that are kept for repeats, behind this one.
    Answers(Option<ClaimKey>),
    /// At the oldest entries of the audit log.
    Audit,
}

/// A task that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTask {
    /// When it ended.
    pub ended_at: Timestamp,
    /// A follow-up is kept that has to look at it: its dependents or its remote are not told yet, or webhooks wait for it.
    pub is_followed: bool,
}

/// A webhook that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEvent<'a> {
    /// The name of its source.
    pub source: &'a str,
    /// When it was received.
    pub received_at: Timestamp,
    /// It was rejected.
    pub is_rejected: bool,
    /// It waits for its task.
    pub is_parked: bool,
}

impl Default for Ages {
    fn default() -> Ages {
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3_600));
        Ages { tasks: days(30), events: days(14), rejected: days(1), audit: days(90) }
    }
}

impl Ages {
    /// Nothing but delivery ids and answers is ever pruned.
    pub const NEVER: Ages = Ages { tasks: None, events: None, rejected: None, audit: None };

    /// How long the tasks of a queue are kept: as it says, or else as for all.
    #[must_use]
    pub fn of_tasks(&self, queue: &Settings) -> Option<Duration> {
        queue.retention.unwrap_or(self.tasks)
    }

    /// How long after the beginning of a sweep the next one begins: no longer than the shortest age, so that nothing
    /// stays for much more than twice its time.
    #[must_use]
    pub fn sweep_every(&self) -> Duration {
        let shortest = [self.tasks, self.events, self.rejected, self.audit].into_iter().flatten().min();
        shortest.unwrap_or(limits::SWEEP_EVERY_MAX).clamp(limits::SWEEP_EVERY_MIN, limits::SWEEP_EVERY_MAX)
    }

    /// Whether an ended task of this queue may go. What is looked at next ended later.
    #[must_use]
    pub fn let_task_go(&self, now: Timestamp, queue: &Settings, task: &EndedTask) -> Verdict {
        match self.of_tasks(queue) {
            Some(age) if is_over(task.ended_at, age, now) => {
                Verdict::of(!task.is_followed || cfg!(planted = "sweep_waits_for_no_follow_up"))
            }
            _ => Verdict::StaysWithAllBehind,
        }
    }

    /// Whether a webhook may go. What is looked at next was received later, but perhaps by a source that keeps its
    /// webhooks for less: so the walk ends where nobody's may go any more.
    #[must_use]
    pub fn let_event_go(&self, now: Timestamp, sources: &SourceAges, event: &KeptEvent<'_>) -> Verdict {
        let is_over = |age: Option<Duration>| age.is_some_and(|age| is_over(event.received_at, age, now));
        // A sender that is turned away may say that it is anybody: how long that is kept is no source's to say.
        let (own, shortest) = match event.is_rejected {
            true => (self.rejected, self.rejected),
            false => {
                let own = sources.get(event.source).copied().unwrap_or(self.events);
                (own, sources.values().copied().chain([self.events]).flatten().min())
            }
        };
        match is_over(own) {
            true => Verdict::of(!event.is_parked || is_over(Some(limits::PARKED_FOR))),
            false if is_over(shortest) => Verdict::Stays,
            false => Verdict::StaysWithAllBehind,
        }
    }

    /// Whether an entry of the audit log may go. What is looked at next is younger.
    #[must_use]
    pub fn let_audit_go(&self, now: Timestamp, at: Timestamp) -> Verdict {
        match self.audit {
            Some(age) if is_over(at, age, now) => Verdict::Goes,
            _ => Verdict::StaysWithAllBehind,
        }
    }
}

/// What becomes of a row that a sweep comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is pruned.
    Goes,
    /// It stays for now; those behind it may go.
    Stays,
    /// It stays, and so does everything behind it: that is younger.
    StaysWithAllBehind,
}

impl Verdict {
    fn of(goes: bool) -> Verdict {
        if goes { Verdict::Goes } else { Verdict::Stays }
    }
}

impl Place {
    /// Where a sweep begins.
    pub const FIRST: Place =
        Place::Tasks { queue: QueueKey(i64::MIN), ended_at: Timestamp(i64::MIN), task: TaskKey(i64::MIN) };

    /// Where the next kind begins; `None`: the sweep is through.
    #[must_use]
    pub fn next_kind(self) -> Option<Place> {
        Some(match self {
            Place::Tasks { .. } => Place::Histories,
            Place::Histories => Place::Rejected(EventKey(i64::MIN)),
            Place::Rejected(_) => Place::Events(EventKey(i64::MIN)),
            Place::Events(_) => Place::Claims(None),
            Place::Claims(_) => Place::Answers(None),
            Place::Answers(_) => Place::Audit,
            Place::Audit => return None,
        })
    }
}

/// The day of an instant, counted from 1970-01-01.
#[must_use]
pub fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MICROS)
}

/// The first day whose delivery ids are still remembered. A whole day is remembered or forgotten, and none before its
/// last delivery is [`limits::DELIVERIES_REMEMBERED_FOR`] old.
#[must_use]
pub fn remembered_from(now: Timestamp) -> i64 {
    day_of(now - limits::DELIVERIES_REMEMBERED_FOR)
}

fn is_over(since: Timestamp, age: Duration, now: Timestamp) -> bool {
    since + age < now || cfg!(planted = "age_is_overlooked")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_task_goes_once_it_is_old_and_everybody_is_told() {
        let ages = Ages { tasks: Some(HOUR), ..Ages::NEVER };
        let verdict = |ages: &Ages, ended_at, is_followed| {
            ages.let_task_go(NOW, &Settings::default(), &EndedTask { ended_at, is_followed })
        };
        let old = NOW - HOUR - Duration::from_micros(1);
        assert_eq!(verdict(&ages, old, false), Verdict::Goes);
        assert_eq!(verdict(&ages, old, true), Verdict::Stays);
        assert_eq!(verdict(&ages, NOW - HOUR, false), Verdict::StaysWithAllBehind);
        assert_eq!(verdict(&Ages::NEVER, old, false), Verdict::StaysWithAllBehind);
    }

    #[test]
    fn a_webhook_goes_by_the_age_of_its_kind_and_not_while_it_waits() {
        let ages = Ages { events: Some(HOUR), rejected: Some(3 * HOUR), ..Ages::NEVER };
        let verdict = |hours, is_rejected, is_parked| {
            let received_at = NOW - HOUR * hours;
            let event = KeptEvent { source: "shop", received_at, is_rejected, is_parked };
            ages.let_event_go(NOW, &SourceAges::new(), &event)
        };
        assert_eq!(verdict(2, false, false), Verdict::Goes);
        assert_eq!(verdict(2, true, false), Verdict::StaysWithAllBehind);
        assert_eq!(verdict(4, true, false), Verdict::Goes);
        assert_eq!(verdict(2, false, true), Verdict::Stays);
        assert_eq!(verdict(25, false, true), Verdict::Goes);
    }

    #[test]
    fn a_webhook_goes_by_what_its_source_says_and_hides_no_younger_one_of_another() {
        let ages = Ages { events: Some(10 * HOUR), rejected: Some(20 * HOUR), ..Ages::NEVER };
        let says = |age| [("brief".to_string(), Some(HOUR)), ("long".into(), age)].into();
        let verdict = |ages: &Ages, long, source, hours, is_rejected, is_parked| {
            let received_at = NOW - HOUR * hours;
            let event = KeptEvent { source, received_at, is_rejected, is_parked };
            ages.let_event_go(NOW, &says(long), &event)
        };
        let of = |source, hours| verdict(&ages, Some(30 * HOUR), source, hours, false, false);
        for (source, stays_at, goes_at) in [("brief", 1, 2), ("other", 10, 11), ("long", 30, 31)] {
            assert_eq!(of(source, goes_at), Verdict::Goes, "{source}");
            assert_ne!(of(source, stays_at), Verdict::Goes, "{source}");
        }
        // Behind one that stays there may be one that goes, until it is too young for each of them.
        for source in ["other", "long"] {
            assert_eq!(of(source, 2), Verdict::Stays, "{source}");
            assert_eq!(of(source, 1), Verdict::StaysWithAllBehind, "{source}");
        }
        assert_eq!(of("brief", 1), Verdict::StaysWithAllBehind);
        // For ever is no age by which anything could go.
        assert_eq!(verdict(&ages, None, "long", 10_000, false, false), Verdict::Stays);
        assert_eq!(verdict(&Ages::NEVER, None, "other", 2, false, false), Verdict::Stays);
        assert_eq!(verdict(&Ages::NEVER, None, "brief", 2, false, false), Verdict::Goes);
        // What was rejected goes by its own age, and one that waits stays for its day.
        assert_eq!(verdict(&ages, None, "brief", 2, true, false), Verdict::StaysWithAllBehind);
        assert_eq!(verdict(&ages, None, "long", 21, true, false), Verdict::Goes);
        assert_eq!(verdict(&ages, None, "brief", 2, false, true), Verdict::Stays);
        assert_eq!(verdict(&ages, None, "brief", 25, false, true), Verdict::Goes);
    }

    #[test]
    fn deliveries_are_remembered_for_thirty_days_and_no_more_than_a_day_longer() {
        let day = 24 * HOUR;
        let is_remembered = |age: Duration| {
            [NOW, NOW + HOUR * 5].iter().all(|now| day_of(*now - age) >= remembered_from(*now))
        };
        assert!(is_remembered(Duration::ZERO) && is_remembered(30 * day));
        assert!(!is_remembered(31 * day));
    }

    #[test]
    fn sweeps_are_as_frequent_as_ages_are_short_within_bounds() {
        let every = |tasks| Ages { tasks, ..Ages::NEVER }.sweep_every();
        assert_eq!(every(None), HOUR);
        assert_eq!(every(Some(30 * 24 * HOUR)), HOUR);
        assert_eq!(every(Some(HOUR / 2)), HOUR / 2);
        assert_eq!(every(Some(Duration::from_millis(1))), Duration::from_secs(1));
    }

    #[test]
    fn an_entry_of_the_audit_log_goes_by_its_age() {
        let ages = Ages { audit: Some(HOUR), ..Ages::NEVER };
        assert_eq!(ages.let_audit_go(NOW, NOW - HOUR), Verdict::StaysWithAllBehind);
        assert_eq!(ages.let_audit_go(NOW, NOW - HOUR - Duration::from_micros(1)), Verdict::Goes);
        assert_eq!(Ages::NEVER.let_audit_go(NOW, NOW - HOUR * 10_000), Verdict::StaysWithAllBehind);
    }

    #[test]
    fn a_sweep_comes_to_everything_once() {
        let places = std::iter::successors(Some(Place::FIRST), |place| place.next_kind());
        assert_eq!(places.count(), 7);
    }
}
