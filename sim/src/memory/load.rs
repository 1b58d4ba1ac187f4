//! The look-ups of a round.

use std::ops::Bound;

use taskhook_core::retention;
use taskhook_core::subjects::Page;
use taskhook_core::{
    Context, EventId, EventKey, ExternalKey, FollowUp, Input, NameKey, Parked, Subjects, TaskKey, Timestamp,
    Unique, limits,
};

use super::data::Data;

impl Data {
    /// Everything that deciding `input` may look at.
    pub(super) fn load(&self, cx: &Context, input: &Input, subjects: &mut Subjects) {
        match input {
            Input::Create(create) => {
                for new in &create.tasks {
                    self.load_named(new.key, Timestamp(i64::MIN), subjects);
                    if !subjects.has_loaded_queue(new.asked.queue) {
                        subjects.put_queue(new.asked.queue, self.queues.get(&new.asked.queue).cloned());
                    }
                    self.load_source(new.asked.source, subjects);
                    self.load_held(new.asked.unique, subjects);
                    if let Some(external) = &new.external {
                        self.load_external(external.key, Timestamp(i64::MIN), subjects);
                    }
                    for dependency in &new.after {
                        self.load_task(dependency.parent, subjects);
                    }
                }
            }
            Input::Event(event) => {
                if let Some(task) = event.task {
                    self.load_named(task, cx.now - limits::PARKED_FOR, subjects);
                }
                if let Some(external) = event.external {
                    self.load_external(external, cx.now - limits::PARKED_FOR, subjects);
                }
                if let Some(claim) = event.claim {
                    let since = retention::remembered_from(self.now);
                    let by = self.claims.get(&claim).filter(|(_, day)| *day >= since);
                    subjects.put_claim(claim, by.map(|(event, _)| *event));
                }
            }
            // The name of its own id may get a key: the transaction loads that.
            Input::Command(task, _) => {
                self.load_task(*task, subjects);
                self.load_key_of(*task, subjects);
            }
            Input::Wake(task) => self.load_task(*task, subjects),
            Input::Polled(polled) => self.load_task(polled.task, subjects),
            Input::Reply(reply) => {
                self.load_task(reply.task, subjects);
                for external in reply.external.iter().flatten() {
                    self.load_external(external.key, Timestamp(i64::MIN), subjects);
                }
            }
            Input::FollowUp(follow_up) => self.load_follow_up(cx, *follow_up, subjects),
            Input::Once(once, inner) => {
                let since = self.now - limits::IDEMPOTENCY_KEPT_FOR;
                let happened = self.answers.get(&once.claim).is_some_and(|answer| answer.at > since);
                // No webhook has claimed it, so it has no id to show.
                subjects.put_claim(once.claim, happened.then_some(EventId([0; 16])));
                self.load(cx, inner, subjects);
            }
            Input::Queue(queue, _) => {
                subjects.put_queue(*queue, self.queues.get(queue).cloned());
                subjects.put_queue_count(self.queues.keys().filter(|key| key.0 > 0).count());
            }
            Input::Source(source, _) => self.load_source(*source, subjects),
            Input::Access(_) => self.load_api_keys(subjects),
            Input::Bulk(bulk, command) => self.load_for_bulk_command(*bulk, command, subjects),
            Input::WakeBulk(bulk) => self.load_look(cx, *bulk, subjects),
            // Names of tasks may get a key: the transaction loads them.
            Input::Schedule(..) | Input::WakeSchedule(_) | Input::Hold(_) | Input::Answered(_) => {}
        }
    }

    fn load_follow_up(&self, cx: &Context, follow_up: FollowUp, subjects: &mut Subjects) {
        match follow_up {
            FollowUp::Look(queue) => self.load_visit(cx, queue, subjects),
            FollowUp::HostFree(host) => self.load_waiting_for_host(cx, host, subjects),
            FollowUp::Unpark { task, after } => {
                self.load_task(task, subjects);
                subjects.put_parked(task.into(), after, self.parked_behind(task.into(), after));
            }
            FollowUp::UnparkExternal { external, after } => {
                self.load_external(external, Timestamp(i64::MIN), subjects);
                subjects.put_parked(external.into(), after, self.parked_behind(external.into(), after));
            }
            FollowUp::EndDependents { parent, after, .. }
            | FollowUp::ReopenDependents { parent, after, .. } => {
                self.load_task(parent, subjects);
                subjects.put_dependents(parent, after, self.dependents_behind(parent, after));
            }
            FollowUp::ParentEnded { task, parent, .. } | FollowUp::ParentReopened { task, parent, .. } => {
                self.load_task(task, subjects);
                self.load_key_of(task, subjects);
                subjects.put_edge(parent, task, self.edges.get(&(parent, task)).copied());
            }
            FollowUp::EndPrevious { by, after } => self.load_previous(by, after, subjects),
            FollowUp::Bulk { bulk, task } => {
                self.load_bulk(bulk, subjects);
                self.load_task(task, subjects);
                self.load_key_of(task, subjects);
            }
            // A name may get a key: the transaction loads it.
            FollowUp::CallCancel { .. } => {}
            FollowUp::Supersede { task, by: _ } => self.load_task(task, subjects),
        }
    }

    /// A task that may not exist yet, and how many webhooks wait for it that were received after `since`.
    pub(super) fn load_named(&self, task: TaskKey, since: Timestamp, subjects: &mut Subjects) {
        self.load_task(task, subjects);
        self.load_parked_count(task.into(), since, subjects);
    }

    /// What a remote's own id stands for, with the task; or how many webhooks wait for it.
    pub(super) fn load_external(&self, key: ExternalKey, since: Timestamp, subjects: &mut Subjects) {
        subjects.put_external(key, self.externals.get(&key).copied());
        match subjects.external(key) {
            Some(correlation) => self.load_task(correlation.task, subjects),
            None => self.load_parked_count(key.into(), since, subjects),
        }
    }

    fn load_parked_count(&self, name: NameKey, since: Timestamp, subjects: &mut Subjects) {
        if subjects.knows_parked_count(name) {
            return;
        }
        let parked = self.parked.range((name, EventKey(i64::MIN))..=(name, EventKey(i64::MAX)));
        subjects.put_parked_count(name, parked.filter(|(_, parked)| parked.at >= since).count());
    }

    pub(super) fn load_task(&self, task: TaskKey, subjects: &mut Subjects) {
        if !subjects.has_loaded(task) {
            subjects.put_task(task, self.tasks.get(&task).cloned());
        }
    }

    /// Who holds the key of a task, which may want it again.
    fn load_key_of(&self, task: TaskKey, subjects: &mut Subjects) {
        self.load_held(subjects.task(task).and_then(|task| task.plan.unique), subjects);
    }

    fn load_held(&self, unique: Option<Unique>, subjects: &mut Subjects) {
        if let Some(Unique { key, .. }) = unique.filter(|unique| !subjects.knows_held(unique.key)) {
            subjects.put_held(key, self.held.get(&key).copied());
        }
    }

    fn dependents_behind(&self, parent: TaskKey, after: TaskKey) -> Page<TaskKey> {
        let behind = (Bound::Excluded((parent, after)), Bound::Included((parent, TaskKey(i64::MAX))));
        // `after` may be the very last key, and a range may not end before it begins.
        let rows = (after.0 < i64::MAX).then(|| self.edges.range(behind).map(|((_, child), _)| *child));
        page(rows.into_iter().flatten(), limits::FAN_OUT_PAGE)
    }

    fn parked_behind(&self, name: NameKey, after: EventKey) -> Page<Parked> {
        let behind = (Bound::Excluded((name, after)), Bound::Included((name, EventKey(i64::MAX))));
        let rows = (after.0 < i64::MAX).then(|| self.parked.range(behind).map(|(_, parked)| parked.clone()));
        page(rows.into_iter().flatten(), limits::PARKED_PAGE)
    }
}

/// The first `max` of these, and whether there are more.
fn page<T>(rows: impl Iterator<Item = T>, max: usize) -> Page<T> {
    let mut rows: Vec<T> = rows.take(max + 1).collect();
    let more = rows.len() > max;
    rows.truncate(max);
    Page { rows, more }
}
