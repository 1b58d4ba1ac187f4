//! Bulks: the tasks that they look at, and what becomes of them.

use std::ops::Bound;

use taskhook_core::bulk::Facts;
use taskhook_core::{
    Bulk, BulkChange, BulkCommand, BulkKey, Context, Decided, Subjects, Task, TaskKey, Timestamp, limits,
};

use super::data::Data;

impl Data {
    /// The bulk under this key, as this transaction knows it.
    pub(super) fn load_bulk(&self, key: BulkKey, subjects: &mut Subjects) {
        if !subjects.has_loaded_bulk(key) {
            subjects.put_bulk(key, self.bulks.get(&key).cloned());
        }
    }

    /// A bulk, and the next tasks that it looks at.
    pub(super) fn load_look(&self, cx: &Context, key: BulkKey, subjects: &mut Subjects) {
        self.load_bulk(key, subjects);
        let Some(bulk) = subjects.bulk(key) else { return };
        let Some(mut look) = bulk.look(cx.now) else { return };
        // It is through where it ends, and a range may not end before it begins.
        let behind =
            (Bound::Excluded(look.after), Bound::Included(bulk.until.max(TaskKey(look.after.0 + 1))));
        for (key, task) in self.tasks.range(behind).filter(|(key, _)| **key <= bulk.until) {
            if !look.take(*key, self.is_wanted(bulk, task)) {
                break;
            }
        }
        subjects.put_look(key, look);
    }

    fn is_wanted(&self, bulk: &Bulk, task: &Task) -> bool {
        let Some(new) = self.created.get(&task.key) else { return false };
        let facts = Facts {
            state: task.state,
            queue: task.plan.queue,
            created_at: task.created_at,
            name: new.spec.name.as_deref(),
            labels: &new.spec.labels,
        };
        task.created_at <= bulk.began_at && bulk.settings.wants(&facts)
    }

    /// What a command to a bulk needs.
    pub(super) fn load_for_bulk_command(&self, key: BulkKey, command: &BulkCommand, subjects: &mut Subjects) {
        self.load_bulk(key, subjects);
        let BulkCommand::Begin(settings) = command else { return };
        if let Some(queue) = settings.filter.queue.filter(|queue| !subjects.has_loaded_queue(*queue)) {
            subjects.put_queue(queue, self.queues.get(&queue).cloned());
        }
        subjects.put_running_bulks(self.bulks.values().filter(|bulk| bulk.is_running()).count());
        subjects.put_newest_task(self.tasks.keys().next_back().copied());
    }

    /// What has become of bulks.
    pub(super) fn save_bulks(&mut self, decided: &[Decided], subjects: &Subjects) {
        let changes = || decided.iter().flat_map(|one| &one.decision.bulks);
        for bulk in changes().filter_map(|(key, _)| subjects.bulk(*key)) {
            self.bulks.put(bulk.key, bulk.clone());
        }
        if changes().any(|(_, change)| matches!(change, BulkChange::Began { .. })) {
            self.make_room_for_bulks();
        }
    }

    /// Of those that have ended the newest are kept, with their names.
    fn make_room_for_bulks(&mut self) {
        let ended = self.bulks.values().filter(|bulk| !bulk.is_running()).map(|bulk| bulk.key);
        let too_many: Vec<BulkKey> = ended.rev().skip(limits::BULKS_KEPT_MAX).collect();
        for key in too_many {
            self.bulks.remove(&key);
            if let Some(name) = self.name_of.get(&key.0).cloned() {
                self.name_of.remove(&key.0);
                self.names.remove(&name);
            }
        }
    }

    /// The bulks that want to be looked at, earliest first, and when the next one does.
    pub(super) fn due_bulks(&self, by: Timestamp) -> (Vec<BulkKey>, Option<Timestamp>) {
        let wake = self.bulks.values().filter_map(|bulk| Some((bulk.wake_at?, bulk.key)));
        let mut wake: Vec<(Timestamp, BulkKey)> = wake.collect();
        wake.sort_unstable();
        let due = wake.iter().take_while(|(at, _)| *at <= by).take(limits::BULKS_PER_BATCH).count();
        (wake[..due].iter().map(|(_, bulk)| *bulk).collect(), wake.get(due).map(|(at, _)| *at))
    }
}
