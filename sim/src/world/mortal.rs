//! A store whose process may die at any step of a transaction, and whose disk may be full.

use std::mem::{Discriminant, discriminant};

use taskhook::store::{
    AuditEntry, BatchId, Due, Kept, KeptKey, Name, Outgoing, Pruned, Store, StoreError, Transaction,
};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{
    Change, Context, Decided, EventKey, FollowUp, Input, QueueKey, ScheduleKey, StatusRequest, Subjects,
    TaskKey, Timestamp,
};

/// What will become of the process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    /// So many steps until it dies; `None`: it lives.
    pub(super) dies_in: Option<u32>,
    /// There is no room on the disk.
    pub(super) is_full: bool,
    /// How many transactions have begun.
    pub(super) begun: u32,
    /// It was not known of one whether it was committed.
    pub(super) was_in_doubt: bool,
}

/// A change that a transaction has saved, whether it was committed or not.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) task: TaskKey,
    pub(super) at: Timestamp,
    pub(super) kind: Discriminant<Change>,
    /// A remote is asked about this attempt: histories do not tell that.
    pub(super) asks: Option<u32>,
}

/// A store and the fate of its process.
#[derive(Debug)]
pub(super) struct Mortal<S> {
    pub(super) inner: S,
    pub(super) fate: Fate,
    /// What the newest transaction has saved so far, in order.
    pub(super) saved: Vec<Saved>,
}

/// A transaction of such a process.
pub(super) struct MortalTransaction<'a, T> {
    inner: T,
    fate: &'a mut Fate,
    saved: &'a mut Vec<Saved>,
}

impl Fate {
    /// Takes a step, or dies.
    fn step(&mut self) -> Result<(), StoreError> {
        match &mut self.dies_in {
            Some(0) => Err(StoreError::Broken("the process died".into())),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl<S: Store> Store for Mortal<S> {
    type Tx<'a>
        = MortalTransaction<'a, S::Tx<'a>>
    where
        S: 'a;

    async fn begin(&mut self, batch: BatchId) -> Result<Self::Tx<'_>, StoreError> {
        self.fate.step()?;
        self.fate.begun += 1;
        self.saved.clear();
        let inner = self.inner.begin(batch).await?;
        Ok(MortalTransaction { inner, fate: &mut self.fate, saved: &mut self.saved })
    }

    async fn was_committed(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        self.fate.step()?;
        self.fate.was_in_doubt = true;
        self.inner.was_committed(batch).await
    }

    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError> {
        self.inner.due(by, max).await
    }

    async fn due_schedules(
        &mut self,
        shown: Timestamp,
        max: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), StoreError> {
        self.inner.due_schedules(shown, max).await
    }

    async fn schedules_ahead(&mut self, until: Timestamp) -> Result<Vec<ScheduleKey>, StoreError> {
        self.inner.schedules_ahead(until).await
    }

    async fn exchanges(&mut self, by: Timestamp, polls_by: Timestamp) -> Result<Vec<TaskKey>, StoreError> {
        self.inner.exchanges(by, polls_by).await
    }

    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError> {
        self.inner.waiting_queues().await
    }

    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError> {
        self.inner.kept(after, max).await
    }
}

impl<T: Transaction> Transaction for MortalTransaction<'_, T> {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn held(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.held().await
    }

    async fn resolve(&mut self, names: &[Name]) -> Result<Vec<i64>, StoreError> {
        self.inner.resolve(names).await
    }

    async fn event_keys(&mut self, count: usize) -> Result<Vec<EventKey>, StoreError> {
        self.inner.event_keys(count).await
    }

    async fn load(
        &mut self,
        cx: &Context,
        round: &[Input],
        subjects: &mut Subjects,
    ) -> Result<Vec<usize>, StoreError> {
        self.fate.step()?;
        self.inner.load(cx, round, subjects).await
    }

    async fn save(&mut self, decided: &[Decided], subjects: &Subjects) -> Result<(), StoreError> {
        self.fate.step()?;
        let at = self.inner.now();
        for (task, change) in decided.iter().flat_map(|one| &one.decision.changes) {
            let asks = match change {
                Change::PollSent { attempt } => Some(*attempt),
                _ => None,
            };
            self.saved.push(Saved { task: *task, at, kind: discriminant(change), asks });
        }
        self.inner.save(decided, subjects).await
    }

    async fn requests(&mut self, tasks: &[TaskKey]) -> Result<Vec<Outgoing>, StoreError> {
        self.inner.requests(tasks).await
    }

    async fn statuses(&mut self, tasks: &[TaskKey]) -> Result<Vec<(String, StatusRequest)>, StoreError> {
        self.inner.statuses(tasks).await
    }

    async fn keep(&mut self, follow_ups: &[FollowUp]) -> Result<Vec<KeptKey>, StoreError> {
        self.inner.keep(follow_ups).await
    }

    async fn take(&mut self, kept: &[KeptKey]) -> Result<(), StoreError> {
        self.inner.take(kept).await
    }

    async fn quarantine(&mut self, follow_up: &FollowUp) -> Result<(), StoreError> {
        self.inner.quarantine(follow_up).await
    }

    async fn prune(&mut self, from: Place, ages: &Ages, rows_max: usize) -> Result<Pruned, StoreError> {
        self.fate.step()?;
        self.inner.prune(from, ages, rows_max).await
    }

    async fn audit(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        self.inner.audit(entries).await
    }

    async fn commit(self) -> Result<(), StoreError> {
        if self.fate.is_full {
            return Err(StoreError::Full);
        }
        self.fate.step()?;
        let made = self.inner.commit().await;
        // It may die with the commit made and nobody told.
        self.fate.step()?;
        made
    }
}
