//! How many refused webhooks are kept: a few each second, so that strangers cannot keep the writer busy.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Refused webhooks kept each second, in the long run.
const PER_SECOND: f64 = 10.0;

/// Refused webhooks kept at once.
const AT_ONCE: f64 = 50.0;

/// A bucket of permissions that fills with time.
#[derive(Debug)]
pub struct Rejections(Mutex<(f64, Instant)>);

impl Default for Rejections {
    fn default() -> Self {
        Rejections(Mutex::new((AT_ONCE, Instant::now())))
    }
}

impl Rejections {
    /// Whether one more may be kept now.
    pub fn allow(&self) -> bool {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, filled_at) = *bucket;
        let level =
            (level + now.saturating_duration_since(filled_at).as_secs_f64() * PER_SECOND).min(AT_ONCE);
        let allowed = level >= 1.0;
        *bucket = (if allowed { level - 1.0 } else { level }, now);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_time_heals() {
        let rejections = Rejections::default();
        let start = Instant::now();
        let allowed = (0..1_000).filter(|_| rejections.allow_at(start)).count();
        assert_eq!(allowed, 50);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..1_000).filter(|_| rejections.allow_at(later)).count(), 20);
    }
}
