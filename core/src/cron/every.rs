//! A fixed interval from an anchor: plain division, however long ago the anchor is.

use std::time::Duration;

use crate::limits;

/// Every so many seconds after an anchor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Every {
    interval: i64,
    anchor: i64,
}

impl Every {
    pub(super) fn new(interval: Duration, anchor: i64) -> Result<Every, String> {
        if interval < limits::INTERVAL_MIN {
            return Err("the interval must be at least one second".into());
        }
        if interval > limits::DURATION_MAX {
            return Err("the interval must not be longer than ten years".into());
        }
        if interval.subsec_nanos() != 0 {
            return Err("the interval must be a whole number of seconds".into());
        }
        Ok(Every { interval: interval.as_secs().cast_signed(), anchor })
    }

    pub(super) fn next_after(self, after: i64) -> Option<i64> {
        self.at(self.times_until(after) + 1)
    }

    pub(super) fn latest_until(self, until: i64) -> Option<i64> {
        let times = self.times_until(until);
        if times == 0 { None } else { self.at(times) }
    }

    pub(super) fn count_between(self, after: i64, until: i64) -> u64 {
        u64::try_from(self.times_until(until) - self.times_until(after)).unwrap_or(0)
    }

    /// How often it has been due until then.
    fn times_until(self, until: i64) -> i64 {
        (until - self.anchor).div_euclid(self.interval).max(0)
    }

    fn at(self, times: i64) -> Option<i64> {
        self.anchor.checked_add(self.interval.checked_mul(times)?)
    }
}
