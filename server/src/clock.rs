//! The time of this process: that of the machine, which never goes back and never stands still.
//!
//! A machine's clock is set now and then. Where it is set back, this one goes on from where it was, a tenth slower than
//! real time until the machine's has caught up; where it is set forward, this one follows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use taskhook_core::Timestamp;

/// The part of real time by which this clock is slower while it is ahead of the machine's: an hour is gone after ten.
const CATCHES_UP_BY: u32 = 10;

/// The latest time that was given, and when that was.
static LATEST: Mutex<Option<(Timestamp, Instant)>> = Mutex::new(None);

/// The time.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    step(&mut latest, shown(), Instant::now())
}

/// What the machine's clock shows. It may go back.
#[must_use]
pub fn shown() -> Timestamp {
    Timestamp(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// From now on the time is later than `past`, which an earlier process has written.
pub fn later_than(past: Timestamp) {
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    step(&mut latest, past + Duration::from_micros(1), Instant::now());
}

fn step(latest: &mut Option<(Timestamp, Instant)>, machine: Timestamp, at: Instant) -> Timestamp {
    let gone_on = latest.map_or(machine, |(time, given_at)| {
        let real = at.saturating_duration_since(given_at);
        let ahead = (time + real).since(machine);
        time + (real - (real / CATCHES_UP_BY).min(ahead))
    });
    let now = machine.max(gone_on);
    *latest = Some((now, at));
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_one_that_is_set_forward_is_followed() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut latest = None;
        let mut step = |machine, seconds| step(&mut latest, Timestamp::from_secs(machine), after(seconds));
        assert_eq!(step(1_000, 0), Timestamp::from_secs(1_000));
        assert_eq!(step(1_010, 10), Timestamp::from_secs(1_010));
        assert_eq!(
            step(200, 20),
            Timestamp::from_secs(1_019),
            "set back: on, a little slower than real time"
        );
        assert_eq!(step(5_000, 21), Timestamp::from_secs(5_000), "set forward: followed");
        assert_eq!(step(4_990, 31), Timestamp::from_secs(5_009));
        assert_eq!(step(5_180, 221), Timestamp::from_secs(5_180), "caught up: together again");
        assert_eq!(step(5_190, 231), Timestamp::from_secs(5_190));
    }
}
