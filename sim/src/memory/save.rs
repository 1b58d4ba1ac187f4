//! What a round of decisions leaves in the tables.

use std::collections::{BTreeMap, BTreeSet};

use taskhook::store::{Name, StoreError, hosts_of};
use taskhook_core::decision::RecordedEvent;
use taskhook_core::retention;
use taskhook_core::source::SourceChange;
use taskhook_core::{
    Answered, BulkChange, Cause, Change, Correlation, Decided, Edge, EdgeStatus, EventKey, NameKey, Outcome,
    Parked, QueueChange, ScheduleChange, Subjects, TaskKey, Unparked, limits, unique,
};

use super::data::Data;
use super::{Entry, KeptAnswer, KeptEvent, broken};

/// Keys under which something exists from now on: their names are to be kept.
pub(super) fn named(decided: &[Decided]) -> Vec<i64> {
    let mut keys = Vec::new();
    for one in decided {
        for (task, change) in &one.decision.changes {
            if let Change::Created { new, .. } = change {
                keys.push(task.0);
                keys.extend(hosts_of(&new.asked).map(|host| host.0));
            }
            if let Change::Located { location: Ok(location), .. } = change {
                keys.push(location.host.0);
            }
            if let Change::Correlated { external, .. } = change {
                keys.push(external.key.0);
            }
        }
        for (queue, change) in &one.decision.queues {
            if matches!(change, QueueChange::Defined { .. }) {
                keys.push(queue.0);
            }
        }
        for (schedule, change) in &one.decision.schedules {
            if let ScheduleChange::Defined { settings, .. } = change {
                keys.push(schedule.0);
                keys.extend(hosts_of(&settings.asked).map(|host| host.0));
            }
        }
        let begun = one.decision.bulks.iter();
        let begun = begun.filter(|(_, change)| matches!(change, BulkChange::Began { .. }));
        keys.extend(begun.map(|(bulk, _)| bulk.0));
        let defined = one.decision.sources.iter();
        let defined = defined.filter(|(_, change)| matches!(change, SourceChange::Defined { .. }));
        keys.extend(defined.map(|(source, _)| source.0));
        keys.extend(one.decision.event.as_ref().and_then(RecordedEvent::waits_under).map(|name| name.0));
    }
    keys
}

impl Data {
    fn save_answer(&mut self, answered: &Answered) {
        let Answered { once, status, body } = answered;
        let answer = Some((*status, body.clone()));
        let kept = match body {
            Some(_) => Some(KeptAnswer { request: once.request, at: self.now, tasks: None, answer }),
            // What it can be made from again stays.
            None => self
                .answers
                .get(&once.claim)
                .filter(|kept| kept.request == once.request)
                .filter(|kept| kept.answer.as_ref().is_none_or(|(_, body)| body.is_none()))
                .map(|kept| KeptAnswer { answer, ..kept.clone() }),
        };
        if let Some(kept) = kept {
            self.answers.put(once.claim, kept);
        }
    }

    /// Saves what was decided in a round. `nobody` are the keys whose names are not kept.
    pub(super) fn save(
        &mut self,
        decided: &[Decided],
        subjects: &Subjects,
        nobody: &BTreeMap<i64, Name>,
    ) -> Result<(), StoreError> {
        let mut notes: BTreeMap<TaskKey, u32> = BTreeMap::new();
        // Before the tasks: one that begins to wait opens a line that was found empty.
        self.save_queues(decided, subjects);
        self.save_schedules(decided, subjects);
        self.save_sources(decided, subjects);
        self.save_access(decided);
        self.save_bulks(decided, subjects);
        for one in decided {
            for (task, change) in &one.decision.changes {
                self.save_change(*task, change)?;
                if let Some(step) = subjects.task(*task).and_then(|task| unique::step(task, change)) {
                    self.save_key(*task, step)?;
                }
                if self.is_told(*task, change, &mut notes) {
                    self.tell(*task, one.cause, change);
                }
            }
            if let Some(recorded) = &one.decision.event {
                self.save_event(recorded, &one.decision.outcome, nobody)?;
            }
            match one.decision.hold.map(|change| change.since(self.now)) {
                Some(Some(since)) => drop(self.hold.put((), since)),
                Some(None) => drop(self.hold.remove(&())),
                None => {}
            }
            if let Some(once) = one.decision.once {
                let tasks = match &one.decision.outcome {
                    Outcome::Created(created) => created.iter().map(|(task, _)| *task).collect(),
                    _ => one.decision.first_changed().map(TaskKey).into_iter().collect(),
                };
                let tasks = Some(tasks);
                let answer = KeptAnswer { request: once.request, at: self.now, tasks, answer: None };
                self.answers.put(once.claim, answer);
            }
            if let Some(answered) = &one.decision.answered {
                self.save_answer(answered);
            }
            for unparked in &one.decision.unparked {
                self.unpark(unparked)?;
            }
        }
        let changed = decided.iter().flat_map(|one| one.decision.changes.iter().map(|(task, _)| *task));
        for task in changed.collect::<BTreeSet<_>>() {
            let now = subjects.task(task).ok_or_else(|| broken(format!("task {} has no state", task.0)))?;
            self.put_task(now.clone());
        }
        Ok(())
    }

    /// What a change leaves beside the task's own row.
    fn save_change(&mut self, task: TaskKey, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Created { new, edges, .. } => {
                if !self.created.put(task, new.clone()) {
                    return Err(broken(format!("task {} was created twice", task.0)));
                }
                for (parent, edge) in edges {
                    if !self.edges.put((*parent, task), *edge) {
                        return Err(broken(format!("task {} waits twice for {}", task.0, parent.0)));
                    }
                }
            }
            Change::DependencyEnded { parent, generation, allowed, .. } => {
                let status = if *allowed { EdgeStatus::Met } else { EdgeStatus::Broken };
                self.change_edge(*parent, task, |edge| Edge { status, generation: *generation, ..edge })?;
            }
            Change::DependencyReopened { parent, generation, was_broken } => {
                self.change_edge(*parent, task, |edge| Edge {
                    status: if *was_broken { EdgeStatus::Pending } else { edge.status },
                    generation: *generation,
                    ..edge
                })?;
            }
            Change::Correlated { attempt, external } => {
                let correlation = Correlation { task, attempt: *attempt, known_at: self.now };
                self.externals.put(external.key, correlation);
            }
            _ => {}
        }
        Ok(())
    }

    /// What has become of a unique key.
    fn save_key(&mut self, task: TaskKey, step: unique::Step) -> Result<(), StoreError> {
        match step {
            unique::Step::Taken(key, held) => {
                if self.held.get(&key).is_some_and(|before| before.holds(self.now)) {
                    return Err(broken(format!("task {} took a key that is held", task.0)));
                }
                self.held.put(key, held);
            }
            unique::Step::GivenBack(key) => {
                if self.held.get(&key).is_some_and(|held| held.task == task) {
                    self.held.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn change_edge(
        &mut self,
        parent: TaskKey,
        child: TaskKey,
        change: impl FnOnce(Edge) -> Edge,
    ) -> Result<(), StoreError> {
        let edge = self.edges.get(&(parent, child)).copied();
        let edge = edge.ok_or_else(|| broken(format!("task {} does not wait for {}", child.0, parent.0)))?;
        self.edges.put((parent, child), change(edge));
        Ok(())
    }

    /// Whether the change becomes part of the task's history. `notes` counts those of this round.
    fn is_told(&self, task: TaskKey, change: &Change, notes: &mut BTreeMap<TaskKey, u32>) -> bool {
        if change.is_note() {
            let before = self.tasks.get(&task).map_or(0, |task| task.notes);
            let count = notes.entry(task).or_insert(before);
            *count = count.saturating_add(1);
            return !change.is_unbounded_note() || *count <= limits::NOTES_PER_TASK_MAX;
        }
        !matches!(change, Change::Rearmed { .. } | Change::PollSent { .. })
    }

    fn tell(&mut self, task: TaskKey, cause: Cause, change: &Change) {
        self.append(Entry { task, at: self.now, cause, change: change.clone() });
    }

    fn save_event(
        &mut self,
        recorded: &RecordedEvent,
        outcome: &Outcome,
        nobody: &BTreeMap<i64, Name>,
    ) -> Result<(), StoreError> {
        let mut event = recorded.event.clone();
        // A name that is not kept may come back under another key.
        event.task = event.task.filter(|task| !nobody.contains_key(&task.0));
        event.external = event.external.filter(|external| !nobody.contains_key(&external.0));
        let (key, id, at) = (event.key, event.received.id, self.now);
        if let Some(name) = recorded.waits_under() {
            self.parked.put((name, key), Parked { event: (*event).clone(), at });
        }
        if let Some(claim) = recorded.claim {
            let since = retention::remembered_from(at);
            if self.claims.get(&claim).is_some_and(|(_, day)| *day >= since) {
                return Err(broken(format!("the delivery of event {} was claimed before", key.0)));
            }
            self.claims.put(claim, (id, retention::day_of(at)));
        }
        if matches!(outcome, Outcome::Duplicate(_)) {
            let mut received = (*event.received).clone();
            received.headers.clear();
            received.body.clear();
            event.received = received.into();
        }
        let new = self.event_ids.put(id, key);
        if !self.events.put(key, KeptEvent { event, at, outcome: outcome.clone() }) || !new {
            return Err(broken(format!("event {} was kept twice", key.0)));
        }
        if matches!(outcome, Outcome::Rejected(_)) {
            self.reject(key);
        }
        Ok(())
    }

    /// Keeps the newest of the webhooks that were refused.
    fn reject(&mut self, key: EventKey) {
        self.rejected.put(key, ());
        while self.rejected.len() > limits::REJECTED_KEPT_MAX {
            let Some(oldest) = self.rejected.keys().next().copied() else { return };
            self.rejected.remove(&oldest);
            if let Some(id) = self.events.get(&oldest).map(|event| event.event.received.id) {
                self.events.remove(&oldest);
                self.event_ids.remove(&id);
            }
        }
    }

    /// The outcome of a webhook that waited to be matched.
    fn unpark(&mut self, unparked: &Unparked) -> Result<(), StoreError> {
        let Unparked { event: key, outcome, task } = unparked;
        let kept = self.events.get(key).cloned();
        let name = kept.as_ref().and_then(|kept| {
            let event = &kept.event;
            event.task.map(NameKey::from).or(event.external.map(NameKey::from))
        });
        match (kept, name) {
            (Some(mut kept), Some(name)) if self.parked.remove(&(name, *key)) => {
                kept.event.task = Some(*task);
                self.events.put(*key, KeptEvent { outcome: outcome.clone(), ..kept });
                Ok(())
            }
            _ => Err(broken(format!("event {} did not wait", key.0))),
        }
    }
}
