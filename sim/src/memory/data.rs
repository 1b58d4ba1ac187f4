//! The tables, and what an open transaction has changed in them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

use taskhook::store::{AuditEntry, BatchId, KeptKey, Name, NameKind};
use taskhook_core::access::{ApiKey, ApiKeyId};
use taskhook_core::queue::Closed;
use taskhook_core::source::Source;
use taskhook_core::unique::Held;
use taskhook_core::{
    Bulk, BulkKey, ClaimKey, ConcurrencyKey, Correlation, Edge, EventId, EventKey, ExternalKey, FollowUp,
    HostKey, KeyUse, Line, NameKey, NewTask, Parked, Queue, QueueKey, Schedule, ScheduleKey, SourceKey,
    State, Task, TaskKey, Timestamp, UniqueKey,
};

use super::{Entry, KeptAnswer, KeptEvent};

/// Rows by key, with the undo log of the open transaction. Read it as the map it is.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.rows
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// Puts a row in; answers whether there was none.
    pub(super) fn put(&mut self, key: K, row: V) -> bool {
        let before = self.rows.insert(key.clone(), row);
        let new = before.is_none();
        self.undo.push((key, before));
        new
    }

    /// Takes a row out; answers whether there was one.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let Some(before) = self.rows.remove(key) else { return false };
        self.undo.push((key.clone(), Some(before)));
        true
    }
}

/// What can be undone until it is settled.
trait Undo {
    fn roll_back(&mut self);
    fn settle(&mut self);
}

impl<K: Ord, V> Undo for Table<K, V> {
    fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    fn settle(&mut self) {
        self.undo.clear();
    }
}

/// The next key of everything that is numbered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequences {
    /// Of names.
    pub(super) name: i64,
    /// Of webhooks.
    pub(super) event: i64,
    /// Of kept follow-ups.
    pub(super) kept: i64,
    /// Of history entries.
    pub(super) position: i64,
}

/// A kept follow-up.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptRow {
    pub(super) follow_up: FollowUp,
    pub(super) quarantined: bool,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) names: Table<Name, i64>,
    pub(super) name_of: Table<i64, Name>,
    pub(super) tasks: Table<TaskKey, Task>,
    pub(super) created: Table<TaskKey, Arc<NewTask>>,
    pub(super) edges: Table<(TaskKey, TaskKey), Edge>,
    /// The tasks that want to be looked at, earliest first.
    pub(super) due: Table<(Timestamp, TaskKey), ()>,
    /// The queued tasks of each line, first things first, with their hosts.
    pub(super) ready: Table<(Line, Timestamp, TaskKey), HostKey>,
    pub(super) queues: Table<QueueKey, Queue>,
    /// What each key has of its queue's limits.
    pub(super) key_uses: Table<(QueueKey, ConcurrencyKey), KeyUse>,
    /// The lines of which a task may be able to start.
    pub(super) open: Table<Line, ()>,
    /// Lines of which nothing can start, and what they wait for.
    pub(super) closed: Table<Line, Closed>,
    /// Since when the server is held.
    pub(super) hold: Table<(), Timestamp>,
    /// The line that had the last turn.
    pub(super) turns: Table<(QueueKey, i16), ConcurrencyKey>,
    pub(super) schedules: Table<ScheduleKey, Schedule>,
    pub(super) bulks: Table<BulkKey, Bulk>,
    pub(super) sources: Table<SourceKey, Source>,
    pub(super) api_keys: Table<ApiKeyId, ApiKey>,
    /// The server's own secrets, sealed.
    pub(super) secrets: Table<Arc<str>, Arc<[u8]>>,
    /// The audit log, in its order.
    pub(super) audit: Table<i64, (Timestamp, AuditEntry)>,
    pub(super) events: Table<EventKey, KeptEvent>,
    pub(super) event_ids: Table<EventId, EventKey>,
    /// The webhooks that were refused: strangers send them, so they are bounded.
    pub(super) rejected: Table<EventKey, ()>,
    /// What the remotes' own ids stand for.
    pub(super) externals: Table<ExternalKey, Correlation>,
    pub(super) parked: Table<(NameKey, EventKey), Parked>,
    /// By whom each delivery is claimed, and on which day.
    pub(super) claims: Table<ClaimKey, (EventId, i64)>,
    pub(super) answers: Table<ClaimKey, KeptAnswer>,
    /// Who holds each unique key, or did so until a time that has come.
    pub(super) held: Table<UniqueKey, Held>,
    pub(super) kept: Table<KeptKey, KeptRow>,
    /// The next keys when rows were pruned last: they never come back.
    pub(super) swept: Table<(), Sequences>,
    /// The day on which delivery ids and answers were looked through last.
    pub(super) swept_day: Table<(), i64>,
    history: Table<i64, Entry>,
    history_of: Table<(TaskKey, i64), ()>,
    /// Whether these batches were committed; `false` is as final as `true`.
    pub(super) batches: Table<BatchId, bool>,
    pub(super) next: Sequences,
    settled: Sequences,
    /// The time of the newest transaction.
    pub(super) now: Timestamp,
}

impl Data {
    pub(super) fn new() -> Data {
        // The queue `default` has the first key.
        let next = Sequences { name: QueueKey::DEFAULT.0, event: 1, kept: 1, position: 1 };
        let mut data = Data {
            names: Table::default(),
            name_of: Table::default(),
            tasks: Table::default(),
            created: Table::default(),
            edges: Table::default(),
            due: Table::default(),
            ready: Table::default(),
            queues: Table::default(),
            key_uses: Table::default(),
            open: Table::default(),
            closed: Table::default(),
            hold: Table::default(),
            turns: Table::default(),
            schedules: Table::default(),
            bulks: Table::default(),
            sources: Table::default(),
            api_keys: Table::default(),
            secrets: Table::default(),
            audit: Table::default(),
            events: Table::default(),
            event_ids: Table::default(),
            rejected: Table::default(),
            externals: Table::default(),
            parked: Table::default(),
            claims: Table::default(),
            answers: Table::default(),
            held: Table::default(),
            kept: Table::default(),
            swept: Table::default(),
            swept_day: Table::default(),
            history: Table::default(),
            history_of: Table::default(),
            batches: Table::default(),
            next,
            settled: next,
            now: Timestamp(i64::MIN),
        };
        let default = Name { kind: NameKind::Queue, text: "default".into() };
        data.names.put(default.clone(), data.next.name);
        data.name_of.put(data.next.name, default);
        data.next.name += 1;
        data.queues.put(QueueKey::DEFAULT, Queue::new(QueueKey::DEFAULT));
        let system = Name { kind: NameKind::Queue, text: "@cancel".into() };
        data.names.put(system.clone(), QueueKey::CANCEL.0);
        data.name_of.put(QueueKey::CANCEL.0, system);
        data.queues.put(QueueKey::CANCEL, Queue::new(QueueKey::CANCEL));
        // So has the source, which nobody can be given.
        let source = Name::source("default");
        data.names.put(source.clone(), SourceKey::DEFAULT.0);
        data.name_of.put(SourceKey::DEFAULT.0, source);
        data.sources.put(SourceKey::DEFAULT, Source::default_at(Timestamp(0)));
        data.settle();
        data
    }

    /// The history of a task, oldest first.
    pub(super) fn history_of(&self, task: TaskKey) -> Vec<Entry> {
        let positions = self.history_of.range((task, i64::MIN)..=(task, i64::MAX));
        positions.filter_map(|((_, position), ())| self.history.get(position)).cloned().collect()
    }

    /// What was told behind a position, in order.
    pub(super) fn told_since(&self, position: i64) -> impl Iterator<Item = (&i64, &Entry)> {
        self.history.range(position.saturating_add(1)..)
    }

    /// Adds to a task's history.
    pub(super) fn append(&mut self, entry: Entry) {
        let position = self.next.position;
        self.next.position += 1;
        self.history_of.put((entry.task, position), ());
        self.history.put(position, entry);
    }

    /// Puts a task in, and where it is found by.
    pub(super) fn put_task(&mut self, task: Task) {
        let before = self.tasks.get(&task.key).cloned();
        if let Some(before) = &before {
            if let Some(at) = before.wake_at {
                self.due.remove(&(at, before.key));
            }
            self.ready.remove(&place_of(before));
        }
        if let Some(at) = task.wake_at {
            self.due.put((at, task.key), ());
        }
        if let (State::Queued, Some(host)) = (task.state, task.plan.host) {
            self.ready.put(place_of(&task), host);
            if before.as_ref().is_none_or(|before| before.state != State::Queued) {
                self.open_line(line_of(&task));
            }
        }
        let places =
            i64::from(task.holds_a_place()) - i64::from(before.is_some_and(|before| before.holds_a_place()));
        self.count_places(&task, places);
        self.tasks.put(task.key, task);
    }

    /// A task begins to wait in this line. One whose key has no room stays closed all the same.
    fn open_line(&mut self, line: Line) {
        if !matches!(self.closed.get(&line), Some(Closed::KeyLimit | Closed::KeyRate(_))) {
            self.open.put(line, ());
        }
    }

    fn count_places(&mut self, task: &Task, places: i64) {
        if places == 0 {
            return;
        }
        let count = |open: u32| u32::try_from(i64::from(open) + places).unwrap_or(0);
        let queue = task.plan.queue;
        if let Some(found) = self.queues.get(&queue).cloned() {
            self.queues.put(queue, Queue { open: count(found.open), ..found });
        }
        let key = (queue, task.plan.concurrency_key);
        let used = self.key_uses.get(&key).copied().unwrap_or_default();
        self.key_uses.put(key, KeyUse { open: count(used.open), ..used });
    }

    /// The process that closed lines for want of a place with a host is gone.
    pub(super) fn reopen_lines(&mut self) {
        let lines: Vec<Line> = self
            .closed
            .iter()
            .filter(|(_, why)| matches!(why, Closed::Hosts(_)))
            .map(|(line, _)| *line)
            .collect();
        for line in lines {
            self.closed.remove(&line);
            self.open.put(line, ());
        }
        self.settle();
    }

    /// Takes a task out with its history. Answers how many rows went.
    pub(super) fn remove_task(&mut self, task: TaskKey) -> usize {
        let positions = self.history_of.range((task, i64::MIN)..=(task, i64::MAX));
        let positions: Vec<i64> = positions.map(|((_, position), ())| *position).collect();
        for position in &positions {
            self.history.remove(position);
            self.history_of.remove(&(task, *position));
        }
        // It has ended, so it is neither due nor ready.
        usize::from(self.tasks.remove(&task)) + usize::from(self.created.remove(&task)) + positions.len()
    }

    /// Goes on with the first keys behind those that are kept, as a store does that is opened.
    pub(super) fn restart_sequences(&mut self) {
        let swept = self.swept.get(&()).copied();
        let name = self.name_of.keys().next_back().map_or(1, |key| key + 1);
        let event = self.events.keys().next_back().map_or(1, |key| key.0 + 1);
        self.next.name = name.max(swept.map_or(1, |swept| swept.name));
        self.next.event = event.max(swept.map_or(1, |swept| swept.event));
        self.settled = self.next;
    }

    /// Makes what was changed final.
    pub(super) fn settle(&mut self) {
        self.settled = self.next;
        for table in self.tables() {
            table.settle();
        }
    }

    /// Undoes what was changed since the last time it was settled.
    pub(super) fn roll_back(&mut self) {
        self.next = self.settled;
        for table in self.tables() {
            table.roll_back();
        }
    }

    fn tables(&mut self) -> [&mut dyn Undo; 33] {
        [
            &mut self.names,
            &mut self.name_of,
            &mut self.tasks,
            &mut self.created,
            &mut self.edges,
            &mut self.due,
            &mut self.ready,
            &mut self.queues,
            &mut self.key_uses,
            &mut self.open,
            &mut self.closed,
            &mut self.hold,
            &mut self.turns,
            &mut self.schedules,
            &mut self.bulks,
            &mut self.sources,
            &mut self.api_keys,
            &mut self.secrets,
            &mut self.audit,
            &mut self.events,
            &mut self.event_ids,
            &mut self.rejected,
            &mut self.externals,
            &mut self.parked,
            &mut self.claims,
            &mut self.answers,
            &mut self.held,
            &mut self.kept,
            &mut self.swept,
            &mut self.swept_day,
            &mut self.history,
            &mut self.history_of,
            &mut self.batches,
        ]
    }
}

/// Where a queued task stands.
fn place_of(task: &Task) -> (Line, Timestamp, TaskKey) {
    (line_of(task), task.due_at, task.key)
}

fn line_of(task: &Task) -> Line {
    let plan = &task.plan;
    Line { queue: plan.queue, priority: plan.priority, key: plan.concurrency_key }
}
