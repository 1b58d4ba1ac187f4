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
