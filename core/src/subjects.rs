//! The rows that a round of inputs may look at, loaded before the first of them is decided.

use std::collections::BTreeMap;

use std::sync::Arc;

use crate::access::{self, ApiKey, ApiKeyId};
use crate::bulk::{Bulk, Look};
use crate::decision::{BulkChange, Change, Decision, QueueChange, ScheduleChange};
use crate::id::{
    BulkKey, ClaimKey, ConcurrencyKey, EventId, EventKey, ExternalKey, HostKey, NameKey, QueueKey,
    ScheduleKey, SourceKey, TaskKey, UniqueKey,
};
use crate::input::{Event, External, On};
use crate::queue::admission::Visit;
use crate::queue::{KeyUse, Line, Queue};
use crate::schedule::Schedule;
use crate::source::Source;
use crate::task::Task;
use crate::time::Timestamp;
use crate::unique::{self, Held, Step};

/// What was loaded for a round, kept up to date as its inputs are decided.
///
/// `None` always means *absent in the store*. Asking for a row that no input of the round names is a defect
/// of the loading code, and panics.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    tasks: BTreeMap<TaskKey, Option<Task>>,
    edges: BTreeMap<(TaskKey, TaskKey), Option<Edge>>,
    pages: BTreeMap<(TaskKey, TaskKey), Page<TaskKey>>,
    externals: BTreeMap<ExternalKey, Option<Correlation>>,
    own_externals: BTreeMap<TaskKey, Option<External>>,
    parked: BTreeMap<(NameKey, EventKey), Page<Parked>>,
    parked_counts: BTreeMap<NameKey, usize>,
    claims: BTreeMap<ClaimKey, Option<EventId>>,
    held: BTreeMap<UniqueKey, Option<Held>>,
    queues: BTreeMap<QueueKey, Option<Queue>>,
    queue_count: Option<usize>,
    visits: BTreeMap<QueueKey, Visit>,
    key_uses: BTreeMap<(QueueKey, ConcurrencyKey), KeyUse>,
    host_pages: BTreeMap<HostKey, Page<Line>>,
    schedules: BTreeMap<ScheduleKey, Option<Schedule>>,
    schedules_count: usize,
    instants: BTreeMap<(ScheduleKey, Timestamp), TaskKey>,
    open_tasks: BTreeMap<ScheduleKey, Page<OpenTask>>,
    previous: BTreeMap<(TaskKey, TaskKey), Page<TaskKey>>,
    sources: BTreeMap<SourceKey, Option<Source>>,
    sources_count: usize,
    api_keys: Option<BTreeMap<ApiKeyId, ApiKey>>,
    bulks: BTreeMap<BulkKey, Option<Bulk>>,
    looks: BTreeMap<BulkKey, Look>,
    running_bulks: usize,
    newest_task: Option<TaskKey>,
    cancel_calls: BTreeMap<(TaskKey, u32), Option<CancelCall>>,
}

/// What is known of the call to a task's `cancel_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelCall {
    /// The keys under which the task that calls it may come to be: the first that nobody has.
    pub keys: [TaskKey; 2],
    /// The id of the task that was cancelled.
    pub of: Arc<str>,
    /// The URL.
    pub url: Arc<str>,
    /// Headers that are for its server.
    pub headers: Vec<(String, String)>,
}

/// A task of a schedule that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTask {
    /// Its key.
    pub key: TaskKey,
    /// Its id.
    pub id: Arc<str>,
}

/// What a remote's own id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correlation {
    /// The task.
    pub task: TaskKey,
    /// The attempt that the remote was asked by when it gave the id; `None`: whichever is current.
    pub attempt: Option<u32>,
    /// Since when this is known.
    pub known_at: Timestamp,
}

/// What one task knows of one that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which end lets the dependent start.
    pub on: On,
    /// What has become of it.
    pub status: EdgeStatus,
    /// The parent's generation that this status is about.
    pub generation: u32,
}

/// What has become of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeStatus {
    /// The parent has not ended.
    Pending,
    /// It ended as asked.
    Met,
    /// It ended otherwise.
    Broken,
}

/// A webhook that waits for its task.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The webhook.
    pub event: Event,
    /// When it was received.
    pub at: Timestamp,
}

/// A page of rows, and whether there may be more behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, in key order.
    pub rows: Vec<T>,
    /// Whether more may follow.
    pub more: bool,
}

impl Subjects {
    /// The task under `key`, or `None` where there is none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like a missing task"
    )]
    pub fn task(&self, key: TaskKey) -> Option<&Task> {
        self.tasks.get(&key).expect("the task was loaded").as_ref()
    }

    /// Whether the task under `key` was asked for in the store.
    #[must_use]
    pub fn has_loaded(&self, key: TaskKey) -> bool {
        self.tasks.contains_key(&key)
    }

    /// What `child` knows of `parent`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn edge(&self, parent: TaskKey, child: TaskKey) -> Option<Edge> {
        *self.edges.get(&(parent, child)).expect("the edge was loaded")
    }

    /// The dependents of `parent` behind `after`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn dependents(&self, parent: TaskKey, after: TaskKey) -> &Page<TaskKey> {
        self.pages.get(&(parent, after)).expect("the dependents were loaded")
    }

    /// What a remote's own id stands for; `None`: that is not known.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like an unknown id"
    )]
    pub fn external(&self, key: ExternalKey) -> Option<Correlation> {
        *self.externals.get(&key).expect("the remote's id was loaded")
    }

    /// The id that a task was created with, for its remote to be known by.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn own_external(&self, task: TaskKey) -> Option<&External> {
        self.own_externals.get(&task).expect("the task's own id was loaded").as_ref()
    }

    /// Whether it was asked in the store what a remote's own id stands for.
    #[must_use]
    pub fn has_loaded_external(&self, key: ExternalKey) -> bool {
        self.externals.contains_key(&key)
    }

    /// The webhooks that wait under `name`, behind `after`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn parked(&self, name: NameKey, after: EventKey) -> &Page<Parked> {
        self.parked.get(&(name, after)).expect("the parked webhooks were loaded")
    }

    /// How many webhooks wait under `name`.
    #[must_use]
    pub fn parked_count(&self, name: NameKey) -> usize {
        self.parked_counts.get(&name).copied().unwrap_or(0)
    }

    /// Whether it was counted how many webhooks wait under `name`.
    #[must_use]
    pub fn knows_parked_count(&self, name: NameKey) -> bool {
        self.parked_counts.contains_key(&name)
    }

    /// Whether this delivery was looked for in the store.
    #[must_use]
    pub fn knows_claim(&self, claim: ClaimKey) -> bool {
        self.claims.contains_key(&claim)
    }

    /// The event that has claimed this delivery.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn claimed(&self, claim: ClaimKey) -> Option<EventId> {
        *self.claims.get(&claim).expect("the claim was loaded")
    }

    /// Who is said to hold this key.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect, and must not look like a free key")]
    pub fn held(&self, key: UniqueKey) -> Option<Held> {
        *self.held.get(&key).expect("the unique key was loaded")
    }

    /// Whether it was asked in the store who holds this key.
    #[must_use]
    pub fn knows_held(&self, key: UniqueKey) -> bool {
        self.held.contains_key(&key)
    }

    /// The queue under `key`, or `None` where there is none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like a missing queue"
    )]
    pub fn queue(&self, key: QueueKey) -> Option<&Queue> {
        self.queues.get(&key).expect("the queue was loaded").as_ref()
    }

    /// Whether the queue under `key` was asked for in the store.
    #[must_use]
    pub fn has_loaded_queue(&self, key: QueueKey) -> bool {
        self.queues.contains_key(&key)
    }

    /// How many queues there are. Counted only where one may be made that does not exist.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect, and must not look like no queues")]
    pub fn queue_count(&self) -> usize {
        self.queue_count.expect("the queues were counted")
    }

    /// Whether the queues were counted.
    #[must_use]
    pub fn knows_queue_count(&self) -> bool {
        self.queue_count.is_some()
    }

    /// What is loaded for a visit of `queue`; `None` once it was used, since then it is no longer true.
    #[must_use]
    pub fn visit(&self, queue: QueueKey) -> Option<&Visit> {
        self.visits.get(&queue)
    }

    /// What a key has used of its queue's limits, as far as this round knows.
    #[must_use]
    pub fn key_use(&self, queue: QueueKey, key: ConcurrencyKey) -> Option<KeyUse> {
        self.key_uses.get(&(queue, key)).copied()
    }

    /// The first lines that wait for a place with `host`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn waiting_for_host(&self, host: HostKey) -> &Page<Line> {
        self.host_pages.get(&host).expect("the lines were loaded")
    }

    /// The schedule under `key`, or `None` where there is none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like a missing schedule"
    )]
    pub fn schedule(&self, key: ScheduleKey) -> Option<&Schedule> {
        self.schedules.get(&key).expect("the schedule was loaded").as_ref()
    }

    /// Whether the schedule under `key` was asked for in the store.
    #[must_use]
    pub fn has_loaded_schedule(&self, key: ScheduleKey) -> bool {
        self.schedules.contains_key(&key)
    }

    /// How many schedules there are, as far as one more may be made.
    #[must_use]
    pub fn schedules_count(&self) -> usize {
        self.schedules_count
    }

    /// Whether the task of an instant was asked for in the store.
    #[must_use]
    pub fn knows_instant(&self, schedule: ScheduleKey, at: Timestamp) -> bool {
        self.instants.contains_key(&(schedule, at))
    }

    /// The key of the task of an instant, which may not exist.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn task_of_instant(&self, schedule: ScheduleKey, at: Timestamp) -> TaskKey {
        *self.instants.get(&(schedule, at)).expect("the instant was loaded")
    }

    /// The newest tasks of a schedule that have not ended, oldest first, and whether there are older ones.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn open_tasks(&self, schedule: ScheduleKey) -> &Page<OpenTask> {
        self.open_tasks.get(&schedule).expect("the open tasks were loaded")
    }

    /// The tasks of the schedule of `by` that have not ended and are older than `by`, behind `after`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn previous(&self, by: TaskKey, after: TaskKey) -> &Page<TaskKey> {
        self.previous.get(&(by, after)).expect("the earlier tasks were loaded")
    }

    /// All API keys.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect, and must not look like no keys")]
    pub fn api_keys(&self) -> &BTreeMap<ApiKeyId, ApiKey> {
        self.api_keys.as_ref().expect("the API keys were loaded")
    }

    /// Whether the API keys were asked for in the store.
    #[must_use]
    pub fn has_loaded_api_keys(&self) -> bool {
        self.api_keys.is_some()
    }

    /// The source under `key`, or `None` where there is none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like a missing source"
    )]
    pub fn source(&self, key: SourceKey) -> Option<&Source> {
        self.sources.get(&key).expect("the source was loaded").as_ref()
    }

    /// Whether the source under `key` was asked for in the store.
    #[must_use]
    pub fn has_loaded_source(&self, key: SourceKey) -> bool {
        self.sources.contains_key(&key)
    }

    /// How many sources there are, as far as one more may be made.
    #[must_use]
    pub fn sources_count(&self) -> usize {
        self.sources_count
    }

    /// The bulk under `key`, or `None` where there is none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a missing load is a defect, and must not look like a missing bulk"
    )]
    pub fn bulk(&self, key: BulkKey) -> Option<&Bulk> {
        self.bulks.get(&key).expect("the bulk was loaded").as_ref()
    }

    /// Whether the bulk under `key` was asked for in the store.
    #[must_use]
    pub fn has_loaded_bulk(&self, key: BulkKey) -> bool {
        self.bulks.contains_key(&key)
    }

    /// The next tasks that a bulk looks at; `None` where it has to wait.
    #[must_use]
    pub fn look(&self, key: BulkKey) -> Option<&Look> {
        self.looks.get(&key)
    }

    /// How many bulks run, as far as one more may begin.
    #[must_use]
    pub fn running_bulks(&self) -> usize {
        self.running_bulks
    }

    /// The newest task, as far as a bulk may begin; `None`: there is none.
    #[must_use]
    pub fn newest_task(&self) -> Option<TaskKey> {
        self.newest_task
    }

    /// The call to the `cancel_url` of a task that was cancelled in this generation; `None`: the task is gone.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a missing load is a defect")]
    pub fn cancel_call(&self, task: TaskKey, generation: u32) -> Option<&CancelCall> {
        self.cancel_calls.get(&(task, generation)).expect("the call was loaded").as_ref()
    }

    /// The bulks that were loaded and exist, in key order.
    pub fn bulks(&self) -> impl Iterator<Item = &Bulk> {
        self.bulks.values().flatten()
    }

    /// The schedules that were loaded and exist, in key order.
    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.schedules.values().flatten()
    }

    /// The queues that were loaded and exist, in key order.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values().flatten()
    }

    /// The tasks that were loaded and exist, in key order.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().flatten()
    }

    /// Keeps what was loaded under `key`, unless a newer state is there already.
    pub fn put_task(&mut self, key: TaskKey, task: Option<Task>) {
        self.tasks.entry(key).or_insert(task);
    }

    /// Keeps what `child` knows of `parent`.
    pub fn put_edge(&mut self, parent: TaskKey, child: TaskKey, edge: Option<Edge>) {
        self.edges.insert((parent, child), edge);
    }

    /// Keeps a page of dependents.
    pub fn put_dependents(&mut self, parent: TaskKey, after: TaskKey, page: Page<TaskKey>) {
        self.pages.insert((parent, after), page);
    }

    /// Keeps what a remote's own id stands for, unless something newer is known already.
    pub fn put_external(&mut self, key: ExternalKey, correlation: Option<Correlation>) {
        self.externals.entry(key).or_insert(correlation);
    }

    /// Keeps the call to the `cancel_url` of a task.
    pub fn put_cancel_call(&mut self, task: TaskKey, generation: u32, call: Option<CancelCall>) {
        self.cancel_calls.insert((task, generation), call);
    }

    /// Keeps the id that a task was created with.
    pub fn put_own_external(&mut self, task: TaskKey, external: Option<External>) {
        self.own_externals.insert(task, external);
    }

    /// Keeps a page of parked webhooks.
    pub fn put_parked(&mut self, name: NameKey, after: EventKey, page: Page<Parked>) {
        self.parked.insert((name, after), page);
    }

    /// Keeps how many webhooks wait under `name`.
    pub fn put_parked_count(&mut self, name: NameKey, count: usize) {
        self.parked_counts.insert(name, count);
    }

    /// Keeps who has claimed a delivery.
    pub fn put_claim(&mut self, claim: ClaimKey, by: Option<EventId>) {
        self.claims.insert(claim, by);
    }

    /// Keeps who is said to hold a key.
    pub fn put_held(&mut self, key: UniqueKey, held: Option<Held>) {
        self.held.insert(key, held);
    }

    /// Keeps a queue as it is in the store now.
    pub fn put_queue(&mut self, key: QueueKey, queue: Option<Queue>) {
        self.queues.insert(key, queue);
    }

    /// Keeps how many queues there are.
    pub fn put_queue_count(&mut self, count: usize) {
        self.queue_count = Some(count);
    }

    /// Keeps what was loaded for a visit of `queue`.
    pub fn put_visit(&mut self, queue: QueueKey, visit: Visit) {
        for (key, used) in &visit.keys {
            self.key_uses.insert((queue, *key), *used);
        }
        self.visits.insert(queue, visit);
    }

    /// Keeps the first lines that wait for a place with `host`.
    pub fn put_waiting_for_host(&mut self, host: HostKey, page: Page<Line>) {
        self.host_pages.insert(host, page);
    }

    /// Keeps a schedule as it is in the store now.
    pub fn put_schedule(&mut self, key: ScheduleKey, schedule: Option<Schedule>) {
        self.schedules.insert(key, schedule);
    }

    /// Keeps how many schedules there are.
    pub fn put_schedules_count(&mut self, count: usize) {
        self.schedules_count = count;
    }

    /// Keeps the key of the task of an instant.
    pub fn put_instant(&mut self, schedule: ScheduleKey, at: Timestamp, task: TaskKey) {
        self.instants.insert((schedule, at), task);
    }

    /// Keeps the newest tasks of a schedule that have not ended.
    pub fn put_open_tasks(&mut self, schedule: ScheduleKey, page: Page<OpenTask>) {
        self.open_tasks.insert(schedule, page);
    }

    /// Keeps a page of earlier tasks of a schedule.
    pub fn put_previous(&mut self, by: TaskKey, after: TaskKey, page: Page<TaskKey>) {
        self.previous.insert((by, after), page);
    }

    /// Keeps a source as it is in the store now.
    pub fn put_source(&mut self, key: SourceKey, source: Option<Source>) {
        self.sources.insert(key, source);
    }

    /// Keeps how many sources there are.
    pub fn put_sources_count(&mut self, count: usize) {
        self.sources_count = count;
    }

    /// Keeps the API keys that there are.
    pub fn put_api_keys(&mut self, keys: BTreeMap<ApiKeyId, ApiKey>) {
        self.api_keys = Some(keys);
    }

    /// Keeps a bulk as it is in the store now.
    pub fn put_bulk(&mut self, key: BulkKey, bulk: Option<Bulk>) {
        self.bulks.insert(key, bulk);
    }

    /// Keeps the next tasks that a bulk looks at.
    pub fn put_look(&mut self, key: BulkKey, look: Look) {
        self.looks.insert(key, look);
    }

    /// Keeps how many bulks run.
    pub fn put_running_bulks(&mut self, count: usize) {
        self.running_bulks = count;
    }

    /// Keeps which task is the newest.
    pub fn put_newest_task(&mut self, task: Option<TaskKey>) {
        self.newest_task = task;
    }

    /// The tasks of a decision as they are after it. What contradicts a task's state panics here, before anything
    /// has changed.
    #[must_use]
    pub fn evolved(&self, at: Timestamp, decision: &Decision) -> BTreeMap<TaskKey, Task> {
        let mut tasks: BTreeMap<TaskKey, Task> = BTreeMap::new();
        for (key, change) in &decision.changes {
            let task = tasks.remove(key).or_else(|| self.tasks.get(key).cloned().flatten());
            let task = match task {
                Some(task) => task.evolve(at, change),
                None => Task::born(at, change),
            };
            tasks.insert(*key, task);
        }
        tasks
    }

    /// Brings what was loaded up to date with a decision and its tasks, so that the next input sees them.
    pub fn take_in(&mut self, at: Timestamp, decision: &Decision, evolved: BTreeMap<TaskKey, Task>) {
        for (key, change) in &decision.changes {
            self.evolve_edges(*key, change);
            if let Change::Correlated { attempt, external } = change {
                let correlation = Correlation { task: *key, attempt: *attempt, known_at: at };
                self.externals.insert(external.key, Some(correlation));
            }
        }
        if evolved.values().any(|task| task.plan.unique.is_some()) {
            self.take_keys(decision, &evolved);
        }
        self.tasks.extend(evolved.into_iter().map(|(key, task)| (key, Some(task))));
        for (key, change) in &decision.queues {
            self.evolve_queue(at, *key, change);
        }
        for (key, change) in &decision.schedules {
            self.evolve_schedule(*key, change);
        }
        for (key, change) in &decision.sources {
            let known = self.sources.entry(*key).or_default();
            let (was, source) = (known.is_some(), Source::evolve(known.take(), *key, at, change));
            self.sources_count += usize::from(!was && source.is_some());
            *known = source;
        }
        for change in &decision.access {
            self.api_keys.iter_mut().for_each(|keys| access::evolve(keys, change));
        }
        for (key, change) in &decision.bulks {
            self.evolve_bulk(at, *key, change);
        }
        self.add_open_tasks(decision);
        if let Some(once) = decision.once {
            self.claims.insert(once.claim, Some(EventId([0; 16])));
        }
        if let Some(recorded) = &decision.event {
            if let Some(claim) = recorded.claim {
                self.claims.insert(claim, Some(recorded.event.received.id));
            }
            if let Some(name) = recorded.waits_under() {
                *self.parked_counts.entry(name).or_insert(0) += 1;
            }
        }
    }

    fn take_keys(&mut self, decision: &Decision, evolved: &BTreeMap<TaskKey, Task>) {
        for (key, change) in &decision.changes {
            match evolved.get(key).and_then(|task| unique::step(task, change)) {
                Some(Step::Taken(unique, held)) => drop(self.held.insert(unique, Some(held))),
                // Where nobody of this round asks for the key, it was not loaded.
                Some(Step::GivenBack(unique)) => {
                    if let Some(held) = self.held.get_mut(&unique) {
                        *held = held.filter(|held| held.task != *key);
                    }
                }
                None => {}
            }
        }
    }

    fn evolve_queue(&mut self, at: Timestamp, key: QueueKey, change: &QueueChange) {
        // Whatever changes a queue, what was loaded for a visit is no longer how it is.
        self.visits.remove(&key);
        // Lines are opened without their queue being looked at.
        let Some(known) = self.queues.get_mut(&key) else { return };
        if known.is_none() {
            self.queue_count = self.queue_count.map(|count| count + 1);
        }
        let queue = known.take().unwrap_or_else(|| Queue::new(key));
        if let QueueChange::Began { line } = change {
            let used = self.key_uses.entry((key, line.key)).or_default();
            *used = queue.settings.key_taken(*used, at);
        }
        *known = Some(queue.evolve(at, change));
    }

    fn evolve_schedule(&mut self, key: ScheduleKey, change: &ScheduleChange) {
        let known = self.schedules.entry(key).or_default();
        let schedule = match (known.take(), change) {
            (_, ScheduleChange::Deleted) => None,
            (None, ScheduleChange::Defined { name, settings, shown, .. }) => {
                self.schedules_count += 1;
                Some(Schedule::new(key, name.clone(), settings.clone(), *shown))
            }
            (schedule, _) => schedule,
        };
        *known = schedule.map(|schedule| schedule.evolve(change));
    }

    fn evolve_bulk(&mut self, at: Timestamp, key: BulkKey, change: &BulkChange) {
        let known = self.bulks.entry(key).or_default();
        *known = match (known.take(), change) {
            (None, BulkChange::Began { settings, until }) => {
                self.running_bulks += 1;
                Some(Bulk::begun(key, settings.clone(), *until, at))
            }
            (bulk, _) => bulk.map(|bulk| bulk.evolve(at, change)),
        };
    }

    /// A later input of the round sees the tasks that an earlier one has made.
    fn add_open_tasks(&mut self, decision: &Decision) {
        for (key, change) in &decision.changes {
            let Change::Created { plan, .. } = change else { continue };
            let Some(scheduled) = plan.scheduled else { continue };
            let Some(Some(schedule)) = self.schedules.get(&scheduled.schedule) else { continue };
            let id = schedule.task_id(scheduled.at).into();
            if let Some(open) = self.open_tasks.get_mut(&scheduled.schedule) {
                open.rows.push(OpenTask { key: *key, id });
            }
        }
    }

    fn evolve_edges(&mut self, child: TaskKey, change: &Change) {
        match change {
            Change::Created { edges, .. } => {
                for (parent, edge) in edges {
                    self.edges.insert((*parent, child), Some(*edge));
                }
            }
            Change::DependencyEnded { parent, generation, allowed, .. } => {
                if let Some(Some(edge)) = self.edges.get_mut(&(*parent, child)) {
                    edge.status = if *allowed { EdgeStatus::Met } else { EdgeStatus::Broken };
                    edge.generation = *generation;
                }
            }
            Change::DependencyReopened { parent, generation, was_broken } => {
                if let Some(Some(edge)) = self.edges.get_mut(&(*parent, child)) {
                    edge.generation = *generation;
                    if *was_broken {
                        edge.status = EdgeStatus::Pending;
                    }
                }
            }
            _ => {}
        }
    }
}
