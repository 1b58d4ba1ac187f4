//! The pause before another attempt.

use std::time::Duration;

use crate::draw;
use crate::id::TaskKey;
use crate::input::RetryPolicy;
use crate::limits;

/// The pause after the `used`-th attempt: drawn between 0 and `min(max, initial·factorⁿ)`, where n counts from
/// 0. Drawn by a hash of task and attempt, so that the same decision draws the same pause.
#[must_use]
pub fn pause(policy: &RetryPolicy, used: u32, task: TaskKey, attempt: u32) -> Duration {
    let bound = bound(policy, used);
    let seed = task.0.cast_unsigned() ^ u64::from(attempt).rotate_left(40);
    bound.mul_f64(draw::fraction(seed))
}

/// The longest pause after the `used`-th attempt.
#[must_use]
pub fn bound(policy: &RetryPolicy, used: u32) -> Duration {
    let exponent = i32::try_from(used.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = policy.initial.as_secs_f64() * policy.factor.powi(exponent);
    let max = policy.max.min(limits::RETRY_PAUSE_MAX);
    if grown < max.as_secs_f64() { Duration::from_secs_f64(grown) } else { max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_grows_by_the_factor_up_to_the_maximum() {
        let policy = RetryPolicy::default();
        let bounds: Vec<u64> = (1..=8).map(|used| bound(&policy, used).as_secs()).collect();
        assert_eq!(bounds, [5, 20, 80, 320, 1_280, 3_600, 3_600, 3_600]);
        let endless = RetryPolicy { factor: f64::MAX, max: limits::DURATION_MAX, ..policy };
        assert_eq!(bound(&endless, 100), limits::RETRY_PAUSE_MAX);
    }

    #[test]
    fn pauses_are_spread_over_the_whole_bound_and_repeat() {
        let policy = RetryPolicy { initial: Duration::from_secs(100), factor: 1.0, ..RetryPolicy::default() };
        let pauses: Vec<u64> = (0..1_000).map(|key| pause(&policy, 1, TaskKey(key), 1).as_secs()).collect();
        for tenth in 0..10 {
            let within = pauses.iter().filter(|pause| (tenth * 10..tenth * 10 + 10).contains(*pause)).count();
            assert!((60..140).contains(&within), "{within} of 1000 pauses in tenth {tenth}");
        }
        assert_eq!(pause(&policy, 1, TaskKey(7), 1), pause(&policy, 1, TaskKey(7), 1));
        assert_ne!(pause(&policy, 1, TaskKey(7), 1), pause(&policy, 1, TaskKey(7), 2));
    }
}
