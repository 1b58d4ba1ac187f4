//! Unique keys: while a task holds one, a second creation with the key gives that task and makes none.
//!
//! A key is held by one task at a time, whatever the queue. Who holds it is a row of its own, found by the key
//! alone: a task that has no key costs nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::Change;
use crate::id::{TaskKey, UniqueKey};
use crate::input::NewTask;
use crate::subjects::Subjects;
use crate::task::Task;
use crate::time::Timestamp;

/// The key that a task asks for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: UniqueKey,
    /// How long the task holds it.
    pub until: Until,
}

/// How long a task holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// Until it has ended; again, when it is reopened.
    Finished,
    /// This long from its creation, whatever becomes of it.
    For(Duration),
}

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub task: TaskKey,
    /// Until when; `None`: until the task has ended, which takes this away.
    pub until: Option<Timestamp>,
}

/// What a change of a task means for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It holds the key from now on. Whoever held it before does so no more.
    Taken(UniqueKey, Held),
    /// It gives the key back.
    GivenBack(UniqueKey),
}

impl Held {
    /// Whether it is still held.
    #[must_use]
    pub fn holds(self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What `change` means for the key of `task`, as the task is after it.
#[must_use]
pub fn step(task: &Task, change: &Change) -> Option<Step> {
    let Unique { key, until } = task.plan.unique?;
    let held = |until| Some(Step::Taken(key, Held { task: task.key, until }));
    match (until, change) {
        (Until::Finished, Change::Created { .. } | Change::Reopened { .. }) => held(None),
        (Until::Finished, change) if change.is_end() => Some(Step::GivenBack(key)),
        (Until::For(span), Change::Created { .. }) => held(Some(task.created_at + span)),
        _ => None,
    }
}

/// The task that holds the key which `task` would take again if it were reopened, where that is another one.
#[must_use]
pub fn other_holder(now: Timestamp, subjects: &Subjects, task: &Task) -> Option<TaskKey> {
    let unique = task.plan.unique.filter(|unique| unique.until == Until::Finished)?;
    holder(now, subjects, unique.key).filter(|holder| *holder != task.key)
}

/// Which tasks of a creation are not made, by their positions, and who holds the key of each: a task of before or,
/// where there is none, the first of the same creation that asks for the key.
#[must_use]
pub fn replaced(now: Timestamp, subjects: &Subjects, tasks: &[Arc<NewTask>]) -> BTreeMap<usize, TaskKey> {
    let mut first: BTreeMap<UniqueKey, TaskKey> = BTreeMap::new();
    let mut replaced = BTreeMap::new();
    for (position, new) in tasks.iter().enumerate() {
        // An id is looked at first: what exists under it is what is meant.
        let Some(unique) = new.asked.unique.filter(|_| subjects.task(new.key).is_none()) else { continue };
        match holder(now, subjects, unique.key).or_else(|| first.get(&unique.key).copied()) {
            Some(holder) => drop(replaced.insert(position, holder)),
            None => drop(first.insert(unique.key, new.key)),
        }
    }
    replaced
}

fn holder(now: Timestamp, subjects: &Subjects, key: UniqueKey) -> Option<TaskKey> {
    subjects
        .held(key)
        .filter(|held| held.holds(now) && !cfg!(planted = "unique_key_is_overlooked"))
        .map(|held| held.task)
}
