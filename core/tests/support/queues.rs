//! The queues of the small world: what a store would keep of them, found by looking at every task.

use std::collections::{BTreeMap, BTreeSet};

use taskhook_core::queue::Closed;
use taskhook_core::queue::admission::{Standing, Visit};
use taskhook_core::subjects::Page;
use taskhook_core::{
    ConcurrencyKey, Context, HostKey, KeyUse, Line, Queue, QueueChange, QueueKey, State, Subjects, Task,
    TaskKey, Timestamp, Want, limits,
};

use super::World;

/// What there is beside the tasks themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queues {
    pub(crate) queues: BTreeMap<QueueKey, Queue>,
    /// The state of each key's rate.
    paced: BTreeMap<(QueueKey, ConcurrencyKey), Timestamp>,
    pub(crate) closed: BTreeMap<Line, Closed>,
    turns: BTreeMap<(QueueKey, i16), ConcurrencyKey>,
    pub(crate) wants: BTreeSet<Want>,
}

impl Queues {
    pub(crate) fn new() -> Queues {
        let queues = [QueueKey::DEFAULT, QueueKey::CANCEL].map(|key| (key, Queue::new(key))).into();
        Queues { queues, ..Queues::default() }
    }

    /// Keeps what has become of queues, as the subjects show them after it.
    pub(crate) fn save(&mut self, now: Timestamp, changes: &[(QueueKey, QueueChange)], subjects: &Subjects) {
        for (key, change) in changes {
            match change {
                QueueChange::Defined { settings, .. } => {
                    let furthest = settings.key_rate.map_or(now, |rate| rate.furthest(now));
                    let of_queue = self.paced.iter_mut().filter(|((queue, _), _)| queue == key);
                    of_queue.for_each(|(_, paced)| *paced = furthest.min(*paced));
                }
                QueueChange::Began { line } => {
                    self.turns.insert((line.queue, line.priority), line.key);
                    let used = subjects.key_use(*key, line.key).expect("a key that was loaded");
                    self.paced.insert((*key, line.key), used.paced);
                }
                QueueChange::LineClosed { line, why } => drop(self.closed.insert(*line, why.clone())),
                QueueChange::LineOpened { line } => drop(self.closed.remove(line)),
                _ => {}
            }
            if subjects.has_loaded_queue(*key) {
                self.queues.extend(subjects.queue(*key).map(|queue| (*key, queue.clone())));
            }
        }
    }

    /// A task that begins to wait opens its line.
    pub(crate) fn queued(&mut self, task: &Task) {
        self.closed.remove(&line_of(task));
    }
}

impl World {
    pub(crate) fn load_queue(&self, subjects: &mut Subjects, key: QueueKey) {
        let open = self.tasks.values().filter(|task| task.plan.queue == key && task.holds_a_place()).count();
        let queue = self.queues.queues.get(&key).cloned();
        subjects.put_queue(
            key,
            queue.map(|queue| Queue { open: u32::try_from(open).expect("not so many"), ..queue }),
        );
    }

    pub(crate) fn load_visit(&self, cx: &Context, subjects: &mut Subjects, key: QueueKey) {
        self.load_queue(subjects, key);
        let Some(queue) = subjects.queue(key).cloned() else { return };
        let mut waiting: BTreeMap<Line, Vec<&Task>> = BTreeMap::new();
        let queued = self.tasks.values().filter(|task| task.state == State::Queued && task.plan.queue == key);
        queued.for_each(|task| waiting.entry(line_of(task)).or_default().push(task));
        let mut visit = Visit::default();
        let room = |line: &Line| queue.settings.key_room(line.key, self.key_use(line), cx.now);
        for (line, why) in self.queues.closed.iter().filter(|(line, _)| line.queue == key) {
            if !waiting.contains_key(line) || !matches!(why, Closed::KeyLimit | Closed::KeyRate(_)) {
                continue;
            }
            match room(line) {
                Ok(_) => visit.freed.push(*line),
                Err(Closed::KeyRate(at)) => visit.next_free = visit.next_free.into_iter().chain([at]).min(),
                Err(_) => {}
            }
        }
        let mut open: Vec<(Line, Vec<&Task>)> =
            waiting.into_iter().filter(|(line, _)| !self.queues.closed.contains_key(line)).collect();
        open.sort_by_key(|(line, _)| {
            let last = self.queues.turns.get(&(key, line.priority)).copied();
            (-line.priority, last.is_some_and(|last| line.key <= last), line.key)
        });
        visit.more = open.len() > limits::LINES_PER_VISIT;
        open.truncate(limits::LINES_PER_VISIT);
        for (line, tasks) in open {
            visit.keys.insert(line.key, self.key_use(&line));
            visit.lines.push(standing(cx, line, tasks));
        }
        for task in visit.lines.iter().flat_map(|standing| &standing.tasks) {
            self.load_task(subjects, *task);
        }
        subjects.put_visit(key, visit);
    }

    pub(crate) fn load_waiting_for_host(&self, subjects: &mut Subjects, host: HostKey) {
        let waits = |why: &Closed| matches!(why, Closed::Hosts(hosts) if hosts.contains(&host));
        let mut rows: Vec<Line> =
            self.queues.closed.iter().filter(|(_, why)| waits(why)).map(|(line, _)| *line).collect();
        let more = rows.len() > limits::HOST_PAGE;
        rows.truncate(limits::HOST_PAGE);
        subjects.put_waiting_for_host(host, Page { rows, more });
    }

    /// What a task's key has of its queue's limits.
    pub(crate) fn use_of(&self, task: &Task) -> KeyUse {
        self.key_use(&line_of(task))
    }

    fn key_use(&self, line: &Line) -> KeyUse {
        let of_key = |task: &&Task| line_of(task).queue == line.queue && line_of(task).key == line.key;
        let open = self.tasks.values().filter(of_key).filter(|task| task.holds_a_place()).count();
        let paced = self.queues.paced.get(&(line.queue, line.key)).copied();
        KeyUse {
            open: u32::try_from(open).expect("not so many"),
            paced: paced.unwrap_or(KeyUse::default().paced),
        }
    }
}

/// The head of a line: its tasks in order, but for those whose host has no place.
fn standing(cx: &Context, line: Line, mut tasks: Vec<&Task>) -> Standing {
    tasks.sort_by_key(|task| (task.due_at, task.key));
    let mut free: BTreeMap<HostKey, u32> = BTreeMap::new();
    let mut found: Vec<TaskKey> = Vec::new();
    let mut blocked = BTreeSet::new();
    let mut more = false;
    for task in tasks {
        let host = task.plan.host.expect("only a task with a target is queued");
        let free = free.entry(host).or_insert_with(|| cx.permits.free_with(host, cx.now));
        if *free == 0 {
            if cx.permits.free_with(host, cx.now) == 0 {
                blocked.insert(host);
            } else {
                more = true;
            }
        } else if found.len() < limits::CANDIDATES_MAX {
            *free -= 1;
            found.push(task.key);
        } else {
            more = true;
        }
    }
    Standing { line, tasks: found, more, blocked: blocked.into_iter().collect() }
}

pub(crate) fn line_of(task: &Task) -> Line {
    Line { queue: task.plan.queue, priority: task.plan.priority, key: task.plan.concurrency_key }
}
