//! Schedules: what deciding about one needs, and what it leaves.

use taskhook::store::{Name, NameKind};
use taskhook_core::subjects::Page;
use taskhook_core::{
    Context, Decided, OpenTask, Schedule, ScheduleCommand, ScheduleKey, Subjects, Task, TaskKey, Timestamp,
    limits, schedule,
};

use super::data::Data;
use super::transaction::MemoryTransaction;

impl MemoryTransaction<'_> {
    /// What a look at a schedule, or a command to it, needs.
    pub(super) fn load_schedule(
        &mut self,
        cx: &Context,
        key: ScheduleKey,
        command: Option<&ScheduleCommand>,
        subjects: &mut Subjects,
    ) {
        let found = self.data.schedules.get(&key).cloned();
        let defined = match command {
            Some(ScheduleCommand::Define { settings, .. }) => Some(settings.asked.queue),
            _ => None,
        };
        if let Some(ScheduleCommand::Define { settings, .. }) = command {
            self.data.load_source(settings.asked.source, subjects);
        }
        for queue in found.iter().map(|schedule| schedule.settings.asked.queue).chain(defined) {
            if !subjects.has_loaded_queue(queue) {
                subjects.put_queue(queue, self.data.queues.get(&queue).cloned());
            }
        }
        if let Some(schedule) = &found {
            let triggered = match command {
                Some(ScheduleCommand::Trigger { at, .. }) => Some(*at),
                _ => None,
            };
            for at in schedule::woken::instants(schedule, cx.shown).into_iter().chain(triggered) {
                self.load_instant(schedule, at, subjects);
            }
        }
        let page = self.data.open_tasks(key);
        page.rows.iter().for_each(|open| self.data.load_task(open.key, subjects));
        subjects.put_open_tasks(key, page);
        subjects.put_schedules_count(self.data.schedules.len());
        subjects.put_schedule(key, found);
    }

    fn load_instant(&mut self, schedule: &Schedule, at: Timestamp, subjects: &mut Subjects) {
        let name = Name { kind: NameKind::Task, text: schedule.task_id(at) };
        let task = TaskKey(self.key_of(&name));
        self.data.load_named(task, Timestamp(i64::MIN), subjects);
        subjects.put_instant(schedule.key, at, task);
    }
}

impl Data {
    fn tasks_of(&self, key: ScheduleKey) -> impl Iterator<Item = &Task> {
        let is_of =
            move |task: &&Task| task.plan.scheduled.is_some_and(|scheduled| scheduled.schedule == key);
        self.tasks.values().filter(is_of).filter(|task| !task.state.is_terminal())
    }

    fn open_tasks(&self, key: ScheduleKey) -> Page<OpenTask> {
        let id = |task: TaskKey| self.name_of.get(&task.0).map_or("", |name| name.text.as_str());
        let rows = self.tasks_of(key).map(|task| OpenTask { key: task.key, id: id(task.key).into() });
        let mut rows: Vec<OpenTask> = rows.collect();
        let older = rows.len().saturating_sub(limits::OPEN_TASKS_KNOWN);
        Page { rows: rows.split_off(older), more: older > 0 }
    }

    /// The tasks whose place `by` takes, behind `after`.
    pub(super) fn load_previous(&self, by: TaskKey, after: TaskKey, subjects: &mut Subjects) {
        let newest = self.tasks.get(&by);
        let schedule = newest.and_then(|task| task.plan.scheduled).map(|scheduled| scheduled.schedule);
        let is_older = |task: &&Task| {
            let of = |task: &Task| (task.created_at, task.key);
            task.key > after && newest.is_some_and(|newest| of(task) < of(newest))
        };
        let tasks = schedule.map(|schedule| self.tasks_of(schedule).filter(is_older));
        let mut rows: Vec<TaskKey> = tasks.into_iter().flatten().map(|task| task.key).collect();
        let more = rows.len() > limits::FAN_OUT_PAGE;
        rows.truncate(limits::FAN_OUT_PAGE);
        subjects.put_previous(by, after, Page { rows, more });
    }

    /// What has become of schedules.
    pub(super) fn save_schedules(&mut self, decided: &[Decided], subjects: &Subjects) {
        for (key, _) in decided.iter().flat_map(|one| &one.decision.schedules) {
            match subjects.schedule(*key) {
                Some(schedule) => self.schedules.put(*key, schedule.clone()),
                None => self.schedules.remove(key),
            };
        }
    }
}
