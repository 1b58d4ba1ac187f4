//! The test world of Taskhook: time that only tests move, chance that repeats, and a store in memory that
//! can be as unlucky as a contended database.
//!
//! Nothing of this is part of the product. It is used by the suite that every store runs
//! (`server/tests/it/store`) and by simulations.

pub mod clock;
pub mod memory;
pub mod model;
pub mod random;
pub mod world;

pub use clock::Clock;
pub use memory::MemoryStore;
pub use random::Random;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The output of a future that never waits, such as those of [`MemoryStore`].
///
/// # Panics
/// If the future is not ready at once: in a world without real time nothing would ever wake it.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something"),
    }
}
