//! One transaction on the memory store.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use taskhook::store::{
    AuditEntry, BatchId, Correlate, KeptKey, Name, Outgoing, Pruned, StoreError, Transaction, headers_for,
};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::task::cancelled;
use taskhook_core::{
    CancelCall, Context, Decided, EventKey, External, ExternalKey, FollowUp, Input, QueueKey, StatusRequest,
    Subjects, TaskKey, Timestamp,
};

use super::broken;
use super::contention::{Contention, Fate};
use super::data::{Data, KeptRow};
use super::save::named;

/// A transaction. Dropped without a commit, it changes nothing.
#[derive(Debug)]
pub struct MemoryTransaction<'a> {
    pub(super) data: MutexGuard<'a, Data>,
    contention: Option<&'a mut Contention>,
    batch: BatchId,
    /// Names that have a key for this transaction, and so far in it alone.
    fresh: BTreeMap<i64, Name>,
    rounds: usize,
}

impl<'a> MemoryTransaction<'a> {
    pub(super) fn new(
        data: MutexGuard<'a, Data>,
        contention: Option<&'a mut Contention>,
        batch: BatchId,
    ) -> MemoryTransaction<'a> {
        MemoryTransaction { data, contention, batch, fresh: BTreeMap::new(), rounds: 0 }
    }

    /// The key of a name, which may have none yet.
    pub(super) fn key_of(&mut self, name: &Name) -> i64 {
        self.data.names.get(name).copied().unwrap_or_else(|| self.fresh_key(name))
    }

    /// What deciding an input needs.
    fn load_for(&mut self, cx: &Context, input: &Input, subjects: &mut Subjects) {
        self.data.load(cx, input, subjects);
        let inner = match input {
            Input::Once(_, inner) => inner,
            other => other,
        };
        match inner {
            Input::Schedule(key, command) => self.load_schedule(cx, *key, Some(command), subjects),
            Input::WakeSchedule(key) => self.load_schedule(cx, *key, None, subjects),
            Input::Command(task, _)
            | Input::FollowUp(
                FollowUp::Bulk { task, .. }
                | FollowUp::ParentEnded { task, .. }
                | FollowUp::ParentReopened { task, .. },
            ) => self.load_own_external(*task, subjects),
            Input::FollowUp(FollowUp::CallCancel { task, generation }) => {
                self.load_cancel_call(*task, *generation, subjects);
            }
            _ => {}
        }
    }

    /// The id that a task was created with.
    fn load_own_external(&mut self, task: TaskKey, subjects: &mut Subjects) {
        let own = self.data.created.get(&task).and_then(|new| new.external.clone());
        let own = own.filter(|_| self.data.tasks.contains_key(&task)).map(|external| {
            let key = ExternalKey(self.key_of(&Name::external(&external.source, &external.id)));
            self.data.load_external(key, Timestamp(i64::MIN), subjects);
            External { key, ..external }
        });
        subjects.put_own_external(task, own);
    }

    /// What a call to the `cancel_url` of a task needs, the task that makes it among it.
    fn load_cancel_call(&mut self, task: TaskKey, generation: u32, subjects: &mut Subjects) {
        self.data.load_task(task, subjects);
        if !subjects.has_loaded_queue(QueueKey::CANCEL) {
            subjects.put_queue(QueueKey::CANCEL, self.data.queues.get(&QueueKey::CANCEL).cloned());
        }
        let spec = self.data.created.get(&task).map(|new| new.spec.clone());
        let named = self.data.name_of.get(&task.0).map(|name| name.text.clone());
        let url = spec.as_ref().and_then(|spec| spec.cancel_url.clone());
        let (Some(spec), Some(of), Some(cancel_url)) = (spec, named, url) else {
            subjects.put_cancel_call(task, generation, None);
            return;
        };
        let keys = cancelled::call_ids(&of, task, generation).map(|id| {
            let key = TaskKey(self.key_of(&Name::task(&id)));
            self.data.load_named(key, Timestamp(i64::MIN), subjects);
            key
        });
        let (url, headers) =
            spec.request.as_deref().map(|request| (request.url.as_str(), request.headers.clone())).unzip();
        let headers = headers_for(&cancel_url, url, headers.unwrap_or_default());
        let call = CancelCall { keys, of: of.into(), url: cancel_url.into(), headers };
        subjects.put_cancel_call(task, generation, Some(call));
    }

    /// The key of a name that is not kept yet.
    fn fresh_key(&mut self, name: &Name) -> i64 {
        if let Some((key, _)) = self.fresh.iter().find(|(_, fresh)| *fresh == name) {
            return *key;
        }
        let key = self.data.next.name;
        self.data.next.name += 1;
        self.fresh.insert(key, name.clone());
        key
    }

    fn keep_row(&mut self, follow_up: FollowUp, quarantined: bool) -> KeptKey {
        let key = KeptKey(self.data.next.kept);
        self.data.next.kept += 1;
        self.data.kept.put(key, KeptRow { follow_up, quarantined });
        key
    }
}

impl Transaction for MemoryTransaction<'_> {
    fn now(&self) -> Timestamp {
        self.data.now
    }

    async fn held(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.data.hold.get(&()).copied())
    }

    async fn resolve(&mut self, names: &[Name]) -> Result<Vec<i64>, StoreError> {
        Ok(names.iter().map(|name| self.key_of(name)).collect())
    }

    async fn event_keys(&mut self, count: usize) -> Result<Vec<EventKey>, StoreError> {
        let first = self.data.next.event;
        self.data.next.event += i64::try_from(count).unwrap_or(0);
        Ok((first..self.data.next.event).map(EventKey).collect())
    }

    async fn load(
        &mut self,
        cx: &Context,
        round: &[Input],
        subjects: &mut Subjects,
    ) -> Result<Vec<usize>, StoreError> {
        self.rounds += 1;
        let mut locked = Vec::new();
        if let Some(contention) = &mut self.contention {
            if contention.deadlock() {
                return Err(StoreError::Conflict);
            }
            if self.rounds > 1 {
                let follow_ups =
                    round.iter().enumerate().filter(|(_, input)| matches!(input, Input::FollowUp(_)));
                locked = follow_ups.map(|(at, _)| at).filter(|_| contention.locked()).collect();
            }
        }
        for (position, input) in round.iter().enumerate() {
            if !locked.contains(&position) {
                self.load_for(cx, input, subjects);
            }
        }
        Ok(locked)
    }

    async fn save(&mut self, decided: &[Decided], subjects: &Subjects) -> Result<(), StoreError> {
        for key in named(decided) {
            if let Some(name) = self.fresh.remove(&key) {
                self.data.names.put(name.clone(), key);
                self.data.name_of.put(key, name);
            }
        }
        self.data.save(decided, subjects, &self.fresh)
    }

    async fn requests(&mut self, tasks: &[TaskKey]) -> Result<Vec<Outgoing>, StoreError> {
        let request = |task: &TaskKey| {
            let name = |key: i64| self.data.name_of.get(&key).map(|name| name.text.clone());
            let new = self.data.created.get(task)?;
            let asked = new.spec.correlate.as_ref().filter(|_| new.external.is_none());
            let correlate = match asked {
                Some(expression) => {
                    let source = name(new.asked.source.0)?.into();
                    Some(Correlate { expression: expression.clone(), source })
                }
                None => None,
            };
            let (id, request) = (name(task.0)?, new.spec.request.clone()?);
            Some(Outgoing { id, request, correlate, signer: new.spec.signer })
        };
        let missing = |task: &TaskKey| broken(format!("task {} has no request", task.0));
        tasks.iter().map(|task| request(task).ok_or_else(|| missing(task))).collect()
    }

    async fn statuses(&mut self, tasks: &[TaskKey]) -> Result<Vec<(String, StatusRequest)>, StoreError> {
        let status = |task: &TaskKey| {
            let name = self.data.name_of.get(&task.0)?.text.clone();
            Some((name, self.data.created.get(task)?.spec.status.as_deref()?.clone()))
        };
        let missing = |task: &TaskKey| broken(format!("task {} has no status URL", task.0));
        tasks.iter().map(|task| status(task).ok_or_else(|| missing(task))).collect()
    }

    async fn keep(&mut self, follow_ups: &[FollowUp]) -> Result<Vec<KeptKey>, StoreError> {
        Ok(follow_ups.iter().map(|follow_up| self.keep_row(*follow_up, false)).collect())
    }

    async fn take(&mut self, kept: &[KeptKey]) -> Result<(), StoreError> {
        for key in kept {
            if !self.data.kept.remove(key) {
                return Err(broken(format!("the kept follow-up {} was taken twice", key.0)));
            }
        }
        Ok(())
    }

    async fn quarantine(&mut self, follow_up: &FollowUp) -> Result<(), StoreError> {
        self.keep_row(*follow_up, true);
        Ok(())
    }

    async fn prune(&mut self, from: Place, ages: &Ages, rows_max: usize) -> Result<Pruned, StoreError> {
        Ok(self.data.prune(from, ages, rows_max))
    }

    async fn audit(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        self.data.save_audit(entries);
        Ok(())
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let fate = self.contention.as_mut().map_or(Fate::Committed, |contention| contention.fate());
        if matches!(fate, Fate::Committed | Fate::Unknown { committed: true }) {
            let batch = self.batch;
            self.data.batches.put(batch, true);
            self.data.settle();
        }
        match fate {
            Fate::Committed => Ok(()),
            Fate::Conflict => Err(StoreError::Conflict),
            Fate::Unknown { .. } => Err(StoreError::Unknown),
        }
    }
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        // After a commit everything is settled, and there is nothing left to undo.
        self.data.roll_back();
    }
}
