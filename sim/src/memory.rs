//! A store in memory: the seam of `taskhook::store` with nothing below it.
//!
//! A plain one behaves as SQLite does. A contended one behaves as the unlucky days of a database that many
//! nodes share: follow-ups find their subject locked, transactions are in each other's way, and the answer
//! to a commit is lost. All of that is drawn from a seed. Every future is ready at once.
//!
//! Each table has the undo log of the open transaction, which writes into it directly: dropping the
//! transaction rolls them all back.

mod access;
mod bulks;
mod contention;
mod data;
mod load;
mod prune;
mod queues;
mod save;
mod schedules;
mod sources;
mod transaction;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskhook::store::{AuditEntry, BatchId, Due, Kept, KeptKey, Store, StoreError};
use taskhook_core::access::ApiKey;
use taskhook_core::source::Source;
use taskhook_core::{
    Bulk, Cause, Change, ClaimKey, Correlation, Edge, Event, EventId, EventKey, ExternalKey, NameKey,
    Outcome, Parked, Queue, QueueKey, Schedule, ScheduleKey, Spec, State, Task, TaskKey, Timestamp,
    UniqueKey, unique::Held,
};

use crate::clock::Clock;
pub use contention::Contention;
use data::Data;
pub use transaction::MemoryTransaction;

/// A store whose rows are gone with its last handle.
#[derive(Debug)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    clock: Clock,
    /// How unlucky it is; `None`: never.
    pub contention: Option<Contention>,
}

/// A webhook as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvent {
    /// The webhook; a duplicate is kept without its headers and body.
    pub event: Box<Event>,
    /// When it was received.
    pub at: Timestamp,
    /// What it did.
    pub outcome: Outcome,
}

/// A request that happened under a key, and what its repeats are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// A hash of the request.
    pub request: [u8; 16],
    /// When it happened, or was answered.
    pub at: Timestamp,
    /// The tasks that it created, while the body of its answer is not kept.
    pub tasks: Option<Vec<TaskKey>>,
    /// Status of its answer, and its body unless it is too large to keep.
    pub answer: Option<(u16, Option<Vec<u8>>)>,
}

/// One entry of a task's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The task.
    pub task: TaskKey,
    /// When it became true.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// What became true.
    pub change: Change,
}

impl MemoryStore {
    /// An empty store that is always lucky.
    #[must_use]
    pub fn new(clock: Clock) -> MemoryStore {
        MemoryStore { data: Arc::new(Mutex::new(Data::new())), clock, contention: None }
    }

    /// An empty store whose bad luck is drawn from `seed`.
    #[must_use]
    pub fn contended(clock: Clock, seed: u64) -> MemoryStore {
        MemoryStore { contention: Some(Contention::new(seed)), ..MemoryStore::new(clock) }
    }

    /// Another handle on the same rows, as a node that starts on them has it. Its luck is its own, and keys
    /// under which nothing was kept may come back.
    #[must_use]
    pub fn reopen(&mut self) -> MemoryStore {
        self.data().restart_sequences();
        self.data().reopen_lines();
        MemoryStore {
            data: self.data.clone(),
            clock: self.clock.clone(),
            contention: self.contention.as_mut().map(Contention::fork),
        }
    }

    /// Every task, in key order.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        self.data().tasks.values().cloned().collect()
    }

    /// What was asked of a task, as far as no decision looks at it.
    #[must_use]
    pub fn spec(&self, task: TaskKey) -> Option<Spec> {
        self.data().created.get(&task).map(|new| new.spec.clone())
    }

    /// The history of a task, oldest first.
    #[must_use]
    pub fn history(&self, task: TaskKey) -> Vec<Entry> {
        self.data().history_of(task)
    }

    /// What was told of all tasks behind `position`, in order, with the position of each.
    #[must_use]
    pub fn told_since(&self, position: i64) -> Vec<(i64, Entry)> {
        let data = self.data();
        data.told_since(position).map(|(at, entry)| (*at, entry.clone())).collect()
    }

    /// Calls `see` with every task, in key order.
    pub fn each_task(&self, see: &mut dyn FnMut(&Task)) {
        self.data().tasks.values().for_each(see);
    }

    /// The name that is kept under a key.
    #[must_use]
    pub fn name(&self, key: i64) -> Option<String> {
        self.data().name_of.get(&key).map(|name| name.text.clone())
    }

    /// The public id of the webhook that is kept under a key.
    #[must_use]
    pub fn event_id(&self, key: EventKey) -> Option<EventId> {
        self.data().events.get(&key).map(|kept| kept.event.received.id)
    }

    /// Whether a webhook is kept.
    #[must_use]
    pub fn has_event(&self, id: EventId) -> bool {
        self.data().event_ids.contains_key(&id)
    }

    /// Every kept webhook, in the order of receipt.
    #[must_use]
    pub fn events(&self) -> Vec<KeptEvent> {
        self.data().events.values().cloned().collect()
    }

    /// Every edge: parent, child, and what the child knows.
    #[must_use]
    pub fn edges(&self) -> Vec<(TaskKey, TaskKey, Edge)> {
        self.data().edges.iter().map(|((parent, child), edge)| (*parent, *child, *edge)).collect()
    }

    /// What the remotes' own ids stand for.
    #[must_use]
    pub fn externals(&self) -> Vec<(ExternalKey, Correlation)> {
        self.data().externals.iter().map(|(key, known)| (*key, *known)).collect()
    }

    /// The webhooks that wait to be matched, by the name that they wait under.
    #[must_use]
    pub fn parked(&self) -> Vec<(NameKey, Parked)> {
        self.data().parked.iter().map(|((name, _), parked)| (*name, parked.clone())).collect()
    }

    /// Every delivery that is claimed, and by which webhook.
    #[must_use]
    pub fn claims(&self) -> Vec<(ClaimKey, EventId)> {
        self.data().claims.iter().map(|(claim, (event, _))| (*claim, *event)).collect()
    }

    /// Every request that happened under a key.
    #[must_use]
    pub fn answers(&self) -> Vec<(ClaimKey, KeptAnswer)> {
        self.data().answers.iter().map(|(claim, answer)| (*claim, answer.clone())).collect()
    }

    /// Every unique key that is held, or was until a time that has come, and by which task.
    #[must_use]
    pub fn held_keys(&self) -> Vec<(UniqueKey, Held)> {
        self.data().held.iter().map(|(key, held)| (*key, *held)).collect()
    }

    /// Every name that is kept, with its key, in key order.
    #[must_use]
    pub fn names(&self) -> Vec<(i64, taskhook::store::Name)> {
        self.data().name_of.iter().map(|(key, name)| (*key, name.clone())).collect()
    }

    /// Every queue, in key order.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        self.data().queues.values().cloned().collect()
    }

    /// Every schedule, in key order.
    #[must_use]
    pub fn schedules(&self) -> Vec<Schedule> {
        self.data().schedules.values().cloned().collect()
    }

    /// Every source, in key order.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        self.data().sources.values().cloned().collect()
    }

    /// Every bulk, in key order.
    #[must_use]
    pub fn bulks(&self) -> Vec<Bulk> {
        self.data().bulks.values().cloned().collect()
    }

    /// Every API key, in the order of their ids.
    #[must_use]
    pub fn api_keys(&self) -> Vec<ApiKey> {
        self.data().api_keys.values().cloned().collect()
    }

    /// Every secret of the server that a decision has kept, sealed, by name.
    #[must_use]
    pub fn secrets(&self) -> Vec<(Arc<str>, Arc<[u8]>)> {
        self.data().secrets.iter().map(|(name, sealed)| (name.clone(), sealed.clone())).collect()
    }

    /// The audit log, oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<(Timestamp, AuditEntry)> {
        self.data().audit.values().cloned().collect()
    }

    /// How many follow-ups are kept, those left aside for a defect among them.
    #[must_use]
    pub fn kept_count(&self) -> usize {
        self.data().kept.len()
    }

    /// The rows, between transactions. A transaction that panicked has rolled itself back, so that there is
    /// nothing to fear behind a poisoned lock.
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    type Tx<'a> = MemoryTransaction<'a>;

    async fn begin(&mut self, batch: BatchId) -> Result<MemoryTransaction<'_>, StoreError> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(committed) = data.batches.get(&batch) {
            let fate = if *committed { "was committed" } else { "will never be committed" };
            return Err(broken(format!("batch {} began again, and it {fate}", batch.0)));
        }
        data.now = data.now.max(self.clock.now());
        Ok(MemoryTransaction::new(data, self.contention.as_mut(), batch))
    }

    async fn was_committed(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        let mut data = self.data();
        if let Some(committed) = data.batches.get(&batch) {
            return Ok(*committed);
        }
        // The answer is final: from now on nobody can commit a batch with this id.
        data.batches.put(batch, false);
        data.settle();
        Ok(false)
    }

    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError> {
        let data = self.data();
        let tasks: Vec<TaskKey> =
            data.due.keys().take_while(|(at, _)| *at <= by).take(max).map(|(_, task)| *task).collect();
        let next = data.due.keys().nth(tasks.len()).map(|(at, _)| *at);
        let mut queues: Vec<(Timestamp, QueueKey)> =
            data.queues.values().filter_map(|queue| Some((queue.wake_at?, queue.key))).collect();
        queues.sort_unstable();
        let due = queues.iter().take_while(|(at, _)| *at <= by).take(max).count();
        let (bulks, next_bulk) = data.due_bulks(by);
        let next = next.into_iter().chain(queues.get(due).map(|(at, _)| *at)).chain(next_bulk).min();
        Ok(Due { tasks, queues: queues[..due].iter().map(|(_, queue)| *queue).collect(), bulks, next })
    }

    async fn due_schedules(
        &mut self,
        shown: Timestamp,
        max: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), StoreError> {
        let data = self.data();
        let wake = data.schedules.values().filter_map(|schedule| Some((schedule.wake_at?, schedule.key)));
        let mut wake: Vec<(Timestamp, ScheduleKey)> = wake.collect();
        wake.sort_unstable();
        let due = wake.iter().take_while(|(at, _)| *at <= shown).take(max).count();
        let next = wake.get(due).map(|(at, _)| *at);
        Ok((wake[..due].iter().map(|(_, schedule)| *schedule).collect(), next))
    }

    async fn schedules_ahead(&mut self, until: Timestamp) -> Result<Vec<ScheduleKey>, StoreError> {
        let data = self.data();
        let ahead = data.schedules.values().filter(|schedule| schedule.decided_until > until);
        Ok(ahead.map(|schedule| schedule.key).collect())
    }

    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError> {
        let data = self.data();
        let queues: BTreeSet<QueueKey> = data.open.keys().map(|line| line.queue).collect();
        Ok(queues.into_iter().collect())
    }

    async fn exchanges(&mut self, by: Timestamp, polls_by: Timestamp) -> Result<Vec<TaskKey>, StoreError> {
        let data = self.data();
        let due = data.due.keys().take_while(|(at, _)| *at <= by.max(polls_by));
        let is_found = |(at, task): &&(Timestamp, TaskKey)| match data.tasks.get(task) {
            Some(task) if task.state == State::Dispatching => *at <= by,
            Some(task) if task.state == State::Running => {
                task.plan.oversight.keeps_watch() && *at <= polls_by
            }
            _ => false,
        };
        let mut found: Vec<TaskKey> = due.filter(is_found).map(|(_, task)| *task).collect();
        // What was lost is sent again before anybody is asked.
        found.sort_by_key(|task| data.tasks.get(task).is_some_and(|task| task.state == State::Running));
        Ok(found)
    }

    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError> {
        let data = self.data();
        let behind = data.kept.range(KeptKey(after.0.saturating_add(1))..);
        let open = behind.filter(|(_, row)| !row.quarantined);
        Ok(open.take(max).map(|(key, row)| Kept { key: *key, follow_up: row.follow_up }).collect())
    }
}

/// What a database would refuse for a broken constraint.
fn broken(what: impl Into<String>) -> StoreError {
    StoreError::Broken(what.into())
}
