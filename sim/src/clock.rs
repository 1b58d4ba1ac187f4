//! Time that moves only when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use taskhook_core::Timestamp;

/// A clock that tests set. Clones show the same time. It never goes back.
#[derive(Debug, Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Clock {
        Clock(Arc::new(AtomicI64::new(start.0)))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    /// Moves it on to `at`, or leaves it where it is later already.
    pub fn set(&self, at: Timestamp) {
        self.0.fetch_max(at.0, Ordering::SeqCst);
    }

    /// Moves it on by `span`.
    pub fn advance(&self, span: Duration) {
        self.set(self.now() + span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shared_and_never_goes_back() {
        let clock = Clock::at(Timestamp::from_secs(10));
        let other = clock.clone();
        other.set(Timestamp::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(10));
        other.advance(Duration::from_secs(7));
        assert_eq!(clock.now(), Timestamp::from_secs(17));
    }
}
