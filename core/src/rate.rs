//! How many attempts may begin in a span of time.
//!
//! The generic cell rate algorithm: one instant is the whole state, the *theoretical arrival time* of the next
//! attempt if all came evenly (ITU-T I.371, annex A; also
//! <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>).

use std::time::Duration;

use crate::time::Timestamp;

/// In any window of `per`, at most `limit + burst − 1` attempts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts in each `per`; at least 1.
    pub limit: u32,
    /// The span of time.
    pub per: Duration,
    /// Attempts that may begin at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// Between two attempts that come evenly; rounded up, so that no window has one too many.
    fn interval_us(self) -> i64 {
        let interval = self.per.as_micros().div_ceil(u128::from(self.limit.max(1)));
        i64::try_from(interval).unwrap_or(i64::MAX).max(1)
    }

    /// The furthest ahead that this rate can be at `now`. A state that another rate has left is cut to it, so that a
    /// slower one of before does not bind a faster one.
    #[must_use]
    pub fn furthest(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.interval_us().saturating_mul(i64::from(self.burst.max(1)))))
    }

    /// How many attempts may begin at `now`.
    #[must_use]
    pub fn room(self, paced: Timestamp, now: Timestamp) -> u32 {
        let ahead = paced.max(now).0 - now.0;
        // Never negative, and i64 has no rounding up of its own yet.
        let used = (ahead.unsigned_abs()).div_ceil(self.interval_us().unsigned_abs());
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        (self.burst.max(1) + u32::from(cfg!(planted = "burst_is_one_more"))).saturating_sub(used)
    }

    /// When the next attempt may begin: `now`, or later.
    #[must_use]
    pub fn free_at(self, paced: Timestamp, now: Timestamp) -> Timestamp {
        let tolerance = self.interval_us().saturating_mul(i64::from(self.burst.max(1)) - 1);
        now.max(Timestamp(paced.max(now).0.saturating_sub(tolerance)))
    }

    /// The state after one attempt has begun at `now`.
    #[must_use]
    pub fn take(self, paced: Timestamp, now: Timestamp) -> Timestamp {
        Timestamp(paced.max(now).0.saturating_add(self.interval_us()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG_AGO: Timestamp = Timestamp(i64::MIN);

    fn rate(limit: u32, seconds: u64, burst: u32) -> Rate {
        Rate { limit, per: Duration::from_secs(seconds), burst }
    }

    #[test]
    fn a_burst_may_begin_at_once_and_then_one_at_a_time() {
        let now = Timestamp::from_secs(1_000);
        let rate = rate(2, 1, 3);
        let mut paced = LONG_AGO;
        assert_eq!(rate.room(paced, now), 3);
        for left in [2, 1, 0] {
            assert_eq!(rate.free_at(paced, now), now);
            paced = rate.take(paced, now);
            assert_eq!(rate.room(paced, now), left);
        }
        assert_eq!(rate.free_at(paced, now), now + Duration::from_millis(500));
        assert_eq!(rate.room(paced, now + Duration::from_millis(499)), 0);
        assert_eq!(rate.room(paced, now + Duration::from_millis(500)), 1);
        assert_eq!(rate.room(paced, now + Duration::from_secs(9)), 3, "never more than a burst");
    }

    #[test]
    fn a_slower_rate_of_before_does_not_bind() {
        let now = Timestamp::from_secs(1_000);
        let fast = rate(10, 1, 1);
        let cut = rate(1, 86_400, 1).take(LONG_AGO, now).min(fast.furthest(now));
        assert_eq!(fast.free_at(cut, now), now + Duration::from_millis(100));
    }

    proptest! {
        /// The contract's sentence, on attempts that begin as soon as they may, or later.
        #[test]
        fn no_window_has_more_than_limit_and_burst_allow(
            limit in 1_u32..50, per_us in 1_u64..10_000_000, burst in 1_u32..20,
            waits in prop::collection::vec(0_i64..3_000_000, 1..200),
        ) {
            let rate = Rate { limit, per: Duration::from_micros(per_us), burst };
            let (mut now, mut paced) = (Timestamp(5_000_000), LONG_AGO);
            let mut begun = Vec::new();
            for wait in waits {
                // Half of them come at once, half as soon as they may.
                now = if wait % 2 == 0 { Timestamp(now.0 + wait) } else { rate.free_at(paced, now) };
                prop_assert_eq!(rate.room(paced, now) > 0, rate.free_at(paced, now) == now);
                if rate.room(paced, now) > 0 {
                    paced = rate.take(paced, now);
                    begun.push(now.0);
                }
            }
            for (first, at) in begun.iter().enumerate() {
                let end = at + i64::try_from(per_us).unwrap();
                let within = begun[first..].iter().filter(|at| **at < end).count();
                prop_assert!(within <= (limit + burst - 1) as usize, "{within} in one window");
            }
        }
    }
}
