//! What the machine's clock shows, by which schedules are due. It may be set, forward and back.

use std::time::{Duration, Instant};

use taskhook_core::{Timestamp, limits};

/// A clock that was set back by more than [`limits::SET_BACK_MIN`] is believed after so long: a machine without a
/// battery begins far in the past, and gets the time from the network soon.
pub(super) const SET_BACK_BELIEVED_AFTER: Duration = Duration::from_secs(600);

/// The clock, and whether it was set back.
#[derive(Debug)]
pub(super) struct ShownClock {
    read: fn() -> Timestamp,
    believed_after: Duration,
    /// The latest time that it has shown, or that schedules know.
    latest: Timestamp,
    behind_since: Option<Instant>,
}

impl ShownClock {
    pub(super) fn new(read: fn() -> Timestamp, believed_after: Duration) -> ShownClock {
        ShownClock { read, believed_after, latest: Timestamp(i64::MIN), behind_since: None }
    }

    /// What it shows.
    pub(super) fn now(&self) -> Timestamp {
        (self.read)()
    }

    /// Schedules have decided instants up to this one.
    pub(super) fn know(&mut self, decided_until: Timestamp) {
        self.latest = self.latest.max(decided_until);
    }

    /// Whether it has shown the time before for long enough to be believed. Said once.
    pub(super) fn is_set_back(&mut self) -> bool {
        let now = self.now();
        if now + limits::SET_BACK_MIN >= self.latest {
            self.latest = self.latest.max(now);
            self.behind_since = None;
            return false;
        }
        let believed = self.behind_since.get_or_insert_with(Instant::now).elapsed() >= self.believed_after;
        if believed {
            self.latest = now;
            self.behind_since = None;
        }
        believed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    static SHOWS: AtomicI64 = AtomicI64::new(0);

    fn shows() -> Timestamp {
        Timestamp::from_secs(SHOWS.load(Ordering::Relaxed))
    }

    #[test]
    fn a_clock_is_believed_to_be_set_back_once_and_not_at_once() {
        const DAY: i64 = 86_400;
        let set = |day: i64| SHOWS.store(day * DAY, Ordering::Relaxed);
        let mut at_once = ShownClock::new(shows, Duration::ZERO);
        let mut never = ShownClock::new(shows, Duration::MAX);
        set(400);
        assert_eq!((at_once.is_set_back(), never.is_set_back()), (false, false));
        set(399);
        assert_eq!((at_once.is_set_back(), never.is_set_back()), (false, false), "a day is not much");
        set(35);
        assert_eq!((at_once.is_set_back(), never.is_set_back()), (true, false));
        assert!(!at_once.is_set_back(), "it is said once");
        // A machine that begins in the past and gets the time soon.
        set(400);
        assert!(!never.is_set_back() && never.behind_since.is_none());
        // What schedules know counts like what was shown.
        at_once.know(Timestamp::from_secs(500 * DAY));
        assert!(at_once.is_set_back());
    }
}
