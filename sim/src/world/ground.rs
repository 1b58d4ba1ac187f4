//! What a world stands on: a store that nodes open and lose, and that can be looked at from outside.

use std::collections::BTreeMap;

use taskhook::store::Store;
use taskhook_core::{EventId, EventKey, State, Task, TaskKey};

use super::features::{Feature, Plan};
use crate::clock::Clock;
use crate::memory::{Entry, MemoryStore};
use crate::model::Verdict;

/// A store, as the world has to do with it.
pub trait Ground {
    /// What a node writes to.
    type Store: Store;

    /// Only one node has it, and it is at rest while that one is down: what a transaction came to in which its process
    /// died is known when the next one has started.
    const IS_ALONE: bool = false;

    /// An empty one, for the world of this plan; what it does by chance is drawn from `luck`.
    fn new(clock: Clock, plan: &Plan, luck: u64) -> Self;

    /// Opens it, as a process that starts does; `None`: its disk is in the way, for now.
    ///
    /// # Errors
    /// What should never be.
    fn open(&mut self) -> Result<Option<Self::Store>, String>;

    /// Whether it can be looked at.
    fn is_up(&self) -> bool {
        true
    }

    /// Whether its disk has done what no process survives.
    fn has_failed(&self) -> bool {
        false
    }

    /// Its process is stopped in order: it closes its store. It dies next.
    ///
    /// # Errors
    /// What should never be.
    fn closes(&mut self, _store: Self::Store) -> Verdict {
        Ok(())
    }

    /// Its process dies; perhaps because the power goes. Called before what is left of the process is dropped.
    fn dies(&mut self, _power_goes: bool) {}

    /// Something will go wrong with its disk, after so many steps; `None`: nothing will.
    fn plans(&mut self, _trouble: Option<(Trouble, u64)>) {}

    /// A commit follows, with this room on the disk. Whether it sees to the lack of room by itself.
    fn prepares(&mut self, _is_full: bool) -> bool {
        false
    }

    /// How often something has happened to its disk that only a power loss shows.
    fn risks(&self) -> u64 {
        0
    }

    /// What has happened to it, and how often.
    fn happened(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    /// Whether a store at rest keeps what it promises, by its own word.
    ///
    /// # Errors
    /// What does not hold.
    fn inspect(&self, _store: &Self::Store) -> Verdict {
        Ok(())
    }

    /// Bad luck is over, for this handle too.
    fn calm(&mut self, store: &mut Self::Store);

    /// What was told of tasks behind this position, in order, and the new position.
    fn told_since(&self, position: i64) -> Vec<(i64, Entry)>;

    /// Calls back with each task.
    fn each_task(&self, see: &mut dyn FnMut(&Task));

    /// Calls back with each task's state and the number of its newest attempt.
    fn each_state(&self, see: &mut dyn FnMut(TaskKey, State, u32)) {
        self.each_task(&mut |task| see(task.key, task.state, task.attempt_number()));
    }

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

/// What may go wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The power goes.
    PowerLoss,
    /// A write fails.
    WriteFails,
    /// A sync fails.
    SyncFails,
    /// A write finds no room, though the next one may.
    NoRoom,
}

/// The memory store, plain or contended.
#[derive(Debug)]
pub struct MemoryGround(MemoryStore);

impl Ground for MemoryGround {
    type Store = MemoryStore;

    fn new(clock: Clock, plan: &Plan, luck: u64) -> MemoryGround {
        MemoryGround(match plan.has(Feature::Contention).then_some(luck) {
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

    fn open(&mut self) -> Result<Option<MemoryStore>, String> {
        Ok(Some(self.0.reopen()))
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
