//! Taking away what nobody keeps any more.

use taskhook::store::{Pruned, row};
use taskhook_core::retention::{self, Ages, EndedTask, KeptEvent, Place, SourceAges, Verdict};
use taskhook_core::{
    ClaimKey, EventKey, ExternalKey, FollowUp, NameKey, Outcome, QueueKey, State, TaskKey, Timestamp, limits,
};

use super::data::Data;

impl Data {
    /// One step of a sweep.
    pub(super) fn prune(&mut self, from: Place, ages: &Ages, rows_max: usize) -> Pruned {
        let mut pruned = Pruned::default();
        let goes_on = match from {
            Place::Tasks { queue, ended_at, task } => {
                self.prune_tasks((queue, ended_at, task), ages, rows_max, &mut pruned)
            }
            // A history goes with its task.
            Place::Histories => None,
            Place::Rejected(after) => {
                self.prune_events((after, true), ages, rows_max, &mut pruned).map(Place::Rejected)
            }
            Place::Events(after) => {
                self.prune_events((after, false), ages, rows_max, &mut pruned).map(Place::Events)
            }
            Place::Claims(after) => {
                self.prune_claims(after, rows_max, &mut pruned).map(|key| Place::Claims(Some(key)))
            }
            Place::Answers(after) => {
                self.prune_answers(after, rows_max, &mut pruned).map(|key| Place::Answers(Some(key)))
            }
            Place::Audit => self.prune_audit(ages, rows_max, &mut pruned).then_some(Place::Audit),
        };
        if pruned.rows > 0 {
            let next = self.next;
            self.swept.put((), next);
        }
        pruned.next = goes_on.or_else(|| from.next_kind());
        pruned
    }

    fn prune_tasks(
        &mut self,
        from: (QueueKey, Timestamp, TaskKey),
        ages: &Ages,
        rows_max: usize,
        pruned: &mut Pruned,
    ) -> Option<Place> {
        let ended = self.tasks.values().filter_map(|task| Some((task.plan.queue, task.ended_at?, task.key)));
        let mut ended: Vec<(QueueKey, Timestamp, TaskKey)> = ended.filter(|place| *place > from).collect();
        ended.sort_unstable();
        for (queue, ended_at, task) in ended {
            let is_followed = self.kept.values().any(|kept| looks_at(&kept.follow_up) == Some(task));
            let says = self.queues.get(&queue).map(|queue| queue.settings.clone()).unwrap_or_default();
            if ages.let_task_go(self.now, &says, &EndedTask { ended_at, is_followed }) != Verdict::Goes {
                continue;
            }
            pruned.tasks += 1;
            pruned.rows += self.remove_all_of(task);
            if pruned.rows >= rows_max {
                return Some(Place::Tasks { queue, ended_at, task });
            }
        }
        None
    }

    /// A task with its name and all that is its own. Edges to its dependents stay: they go with those.
    fn remove_all_of(&mut self, task: TaskKey) -> usize {
        debug_assert!(self.tasks.get(&task).is_some_and(|task| State::is_terminal(task.state)));
        let edges: Vec<_> = self.edges.keys().filter(|(_, child)| *child == task).copied().collect();
        for edge in &edges {
            self.edges.remove(edge);
        }
        let name = self.remove_name(task.into());
        let ids: Vec<ExternalKey> =
            self.externals.iter().filter(|(_, known)| known.task == task).map(|(key, _)| *key).collect();
        for id in &ids {
            self.remove_name((*id).into());
            self.externals.remove(id);
        }
        let keys: Vec<_> =
            self.held.iter().filter(|(_, held)| held.task == task).map(|(key, _)| *key).collect();
        for key in &keys {
            self.held.remove(key);
        }
        edges.len() + keys.len() + 2 * ids.len() + usize::from(name) + self.remove_task(task)
    }

    fn remove_name(&mut self, key: NameKey) -> bool {
        let Some(name) = self.name_of.get(&key.0).cloned() else { return false };
        self.names.remove(&name);
        self.name_of.remove(&key.0)
    }

    fn prune_events(
        &mut self,
        (after, rejected): (EventKey, bool),
        ages: &Ages,
        rows_max: usize,
        pruned: &mut Pruned,
    ) -> Option<EventKey> {
        let first = EventKey(after.0.saturating_add(1));
        let is_rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_));
        let those = self.events.range(first..).filter(|(_, kept)| is_rejected(&kept.outcome) == rejected);
        let those: Vec<EventKey> = those.map(|(key, _)| *key).collect();
        let sources = self.source_ages();
        for key in those {
            let kept = self.events.get(&key)?;
            let (received_at, id) = (kept.at, kept.event.received.id);
            let task = kept.event.task.map(NameKey::from);
            let names = task.into_iter().chain(kept.event.external.map(NameKey::from));
            let waits_for = names.into_iter().find(|name| self.parked.contains_key(&(*name, key)));
            let source = &*kept.event.received.source;
            let event =
                KeptEvent { source, received_at, is_rejected: rejected, is_parked: waits_for.is_some() };
            match ages.let_event_go(self.now, &sources, &event) {
                Verdict::StaysWithAllBehind => return None,
                Verdict::Stays => continue,
                Verdict::Goes => {}
            }
            self.events.remove(&key);
            self.event_ids.remove(&id);
            self.rejected.remove(&key);
            if let Some(name) = waits_for {
                self.parked.remove(&(name, key));
                let others = (name, EventKey(i64::MIN))..=(name, EventKey(i64::MAX));
                let stands_for_something = self.tasks.contains_key(&TaskKey(name.0))
                    || self.externals.contains_key(&ExternalKey(name.0));
                if !stands_for_something && self.parked.range(others).next().is_none() {
                    self.remove_name(name);
                }
            }
            pruned.events += 1;
            pruned.rows += 1;
            if pruned.rows >= rows_max {
                return Some(key);
            }
        }
        None
    }

    /// What sources say of how long their webhooks are kept.
    fn source_ages(&self) -> SourceAges {
        let says = self.sources.values().filter_map(|source| {
            let age = row::sources::retention(&source.definition)?;
            Some((self.name_of.get(&source.key.0)?.text.to_string(), age))
        });
        says.collect()
    }

    fn prune_claims(
        &mut self,
        after: Option<ClaimKey>,
        rows_max: usize,
        pruned: &mut Pruned,
    ) -> Option<ClaimKey> {
        if self.is_swept_today() {
            return None;
        }
        let since = retention::remembered_from(self.now);
        let old = self.claims.iter().filter(|(key, (_, day))| Some(**key) > after && *day < since);
        let old: Vec<ClaimKey> = old.map(|(key, _)| *key).take(rows_max).collect();
        pruned.rows += old.len();
        for key in &old {
            self.claims.remove(key);
        }
        old.last().copied()
    }

    fn prune_answers(
        &mut self,
        after: Option<ClaimKey>,
        rows_max: usize,
        pruned: &mut Pruned,
    ) -> Option<ClaimKey> {
        if self.is_swept_today() {
            return None;
        }
        let since = self.now - limits::IDEMPOTENCY_KEPT_FOR;
        let old = self.answers.iter().filter(|(key, answer)| Some(**key) > after && answer.at <= since);
        let old: Vec<ClaimKey> = old.map(|(key, _)| *key).take(rows_max).collect();
        pruned.rows += old.len();
        for key in &old {
            self.answers.remove(key);
        }
        if old.is_empty() {
            self.swept_day.put((), retention::day_of(self.now));
        }
        old.last().copied()
    }

    fn is_swept_today(&self) -> bool {
        self.swept_day.get(&()).is_some_and(|day| *day >= retention::day_of(self.now))
    }
}

/// The ended task that a follow-up has to find.
fn looks_at(follow_up: &FollowUp) -> Option<TaskKey> {
    match follow_up {
        FollowUp::Unpark { task, .. } | FollowUp::CallCancel { task, .. } => Some(*task),
        FollowUp::EndDependents { parent, .. } | FollowUp::ReopenDependents { parent, .. } => Some(*parent),
        _ => None,
    }
}
