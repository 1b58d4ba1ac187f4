//! What a world stands on: a store that nodes open and lose, and that can be looked at from outside.

use taskhook::store::Store;
use taskhook_core::{EventId, EventKey, Task, TaskKey};

use crate::clock::Clock;
use crate::memory::{Entry, MemoryStore};

/// A store, as the world has to do with it.
pub trait Ground {
    /// What a node writes to.
    type Store: Store;

    /// An empty one; the luck of a contended one is drawn from `luck`.
    fn new(clock: Clock, luck: Option<u64>) -> Self;

    /// Opens it, as a process that starts does.
    fn open(&mut self) -> Self::Store;

    /// Bad luck is over, for this handle too.
    fn calm(&mut self, store: &mut Self::Store);

    /// What was told of tasks behind this position, in order, and the new position.
    fn told_since(&self, position: i64) -> Vec<(i64, Entry)>;

    /// Calls back with each task.
    fn each_task(&self, see: &mut dyn FnMut(&Task));

    /// The name under a key.
    fn name(&self, key: i64) -> Option<String>;

    /// The public id of a webhook that is kept.
    fn event_id(&self, key: EventKey) -> Option<EventId>;

    /// Whether this webhook is kept.
    fn has_event(&self, id: EventId) -> bool;

    /// How many follow-ups wait, those left aside for a defect among them.
    fn kept_count(&self) -> usize;

    /// The id of a task.
    fn task(&self, key: TaskKey) -> Option<String> {
        self.name(key.0)
    }
}

/// The memory store, plain or contended.
#[derive(Debug)]
pub struct MemoryGround(MemoryStore);

impl Ground for MemoryGround {
    type Store = MemoryStore;

    fn new(clock: Clock, luck: Option<u64>) -> MemoryGround {
        MemoryGround(match luck {
            Some(seed) => {
                let mut store = MemoryStore::contended(clock, seed);
                // Some have far more often than others to wait for a lock.
                if let Some(contention) = store.contention.as_mut().filter(|_| seed % 2 == 0) {
                    contention.locked_per_mille = 600;
                }
                store
            }
            None => MemoryStore::new(clock),
        })
    }

    fn open(&mut self) -> MemoryStore {
        self.0.reopen()
    }

    fn calm(&mut self, store: &mut MemoryStore) {
        self.0.contention = None;
        store.contention = None;
    }

    fn told_since(&self, position: i64) -> Vec<(i64, Entry)> {
        self.0.told_since(position)
    }

    fn each_task(&self, see: &mut dyn FnMut(&Task)) {
        self.0.each_task(see);
    }

    fn name(&self, key: i64) -> Option<String> {
        self.0.name(key)
    }

    fn event_id(&self, key: EventKey) -> Option<EventId> {
        self.0.event_id(key)
    }

    fn has_event(&self, id: EventId) -> bool {
        self.0.has_event(id)
    }

    fn kept_count(&self) -> usize {
        self.0.kept_count()
    }
}
