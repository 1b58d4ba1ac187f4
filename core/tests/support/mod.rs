//! A small world around the core: the rows that a store would hold, and the loop that an engine would run.
//!
//! [`World::commit`] is the whole of it: load what a round of inputs names, decide, keep what was decided, go
//! on with the follow-ups until there are none. `script.rs` turns a line of words into inputs, `words.rs` turns
//! decisions back into words, and `story.rs` draws random lines of words.

#![allow(dead_code, reason = "each test binary uses its own part of the world")]

pub(crate) mod bulks;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod script;
pub(crate) mod story;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use queues::Queues;
use script::name_of;
use taskhook_core::SourceKey;
use taskhook_core::access::{self, ApiKey, ApiKeyId};
use taskhook_core::schedule::Fate;
use taskhook_core::source::Source;
use taskhook_core::subjects::Page;
use taskhook_core::unique::Held;
use taskhook_core::{
    Bulk, BulkKey, CancelCall, Cause, Change, ClaimKey, Context, Correlation, Decided, Edge, EdgeStatus,
    Effect, EventId, EventKey, ExternalKey, FollowUp, HostKey, Input, NameKey, Outcome, Parked, Permits,
    QueueKey, Schedule, State, Subjects, Task, TaskKey, Timestamp, Unique, UniqueKey, Want, decide_all,
    limits, unique,
};

/// When every world begins: 2026-11-23T14:00:00Z.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_secs(1_795_442_400);
/// Parked webhooks in one page: few, so that pages are turned.
const PARKED_PAGE: usize = 3;

/// Everything there is.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) up_since: Timestamp,
    /// Open exchanges allowed: in all, and with one host.
    pub(crate) exchanges_max: (u32, u32),
    /// Since when it is held.
    pub(crate) held_since: Option<Timestamp>,
    pub(crate) permits: Permits,
    pub(crate) tasks: BTreeMap<TaskKey, Task>,
    pub(crate) queues: Queues,
    /// The one schedule there may be, and all that became of its instants.
    pub(crate) schedule: Option<Schedule>,
    pub(crate) fates: Vec<Fate>,
    pub(crate) bulks: BTreeMap<BulkKey, Bulk>,
    pub(crate) sources: BTreeMap<SourceKey, Source>,
    pub(crate) api_keys: BTreeMap<ApiKeyId, ApiKey>,
    /// By how much the machine's clock shows another time, in microseconds.
    pub(crate) clock_is_off_by: i64,
    pub(crate) edges: BTreeMap<(TaskKey, TaskKey), Edge>,
    /// What the remotes' own ids stand for.
    pub(crate) externals: BTreeMap<ExternalKey, Correlation>,
    pub(crate) parked: BTreeMap<(NameKey, EventKey), Parked>,
    pub(crate) claims: BTreeMap<ClaimKey, EventId>,
    /// Who holds each unique key, or did so until a time that has come.
    pub(crate) held: BTreeMap<UniqueKey, Held>,
    /// What has become of each webhook that was kept.
    pub(crate) outcomes: BTreeMap<EventKey, Outcome>,
    /// Requests in flight.
    pub(crate) exchanges: Vec<Exchange>,
    /// Questions in flight to remotes.
    pub(crate) polls: Vec<Exchange>,
    /// Every change there was.
    pub(crate) history: Vec<Entry>,
    /// Follow-ups that found their subject locked, in the order they were kept.
    pub(crate) kept: Vec<FollowUp>,
    /// Whether each of the next follow-ups finds its subject locked; none does when this has run out.
    pub(crate) locks: VecDeque<bool>,
    /// Webhooks received so far.
    pub(crate) events: i64,
}

/// A request in flight: the `send`-th sending of this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) task: TaskKey,
    pub(crate) attempt: u32,
    pub(crate) send: u8,
    pub(crate) host: HostKey,
    pub(crate) bytes: u32,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) task: TaskKey,
    pub(crate) cause: Cause,
    pub(crate) change: Change,
}

/// An input, and what was decided about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) input: Input,
    pub(crate) decided: Decided,
}

impl World {
    /// An empty world in which a node, up since the beginning, may have so many exchanges open in all and
    /// with one host.
    pub(crate) fn new(exchanges_max: u32, per_host_max: u32) -> World {
        World {
            now: BEGINNING,
            up_since: BEGINNING,
            exchanges_max: (exchanges_max, per_host_max),
            held_since: None,
            permits: Permits::new(exchanges_max, per_host_max),
            tasks: BTreeMap::new(),
            queues: Queues::new(),
            schedule: None,
            fates: Vec::new(),
            bulks: BTreeMap::new(),
            sources: [(SourceKey::DEFAULT, Source::default_at(BEGINNING))].into(),
            api_keys: BTreeMap::new(),
            clock_is_off_by: 0,
            edges: BTreeMap::new(),
            externals: BTreeMap::new(),
            parked: BTreeMap::new(),
            claims: BTreeMap::new(),
            held: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            exchanges: Vec::new(),
            polls: Vec::new(),
            history: Vec::new(),
            kept: Vec::new(),
            locks: VecDeque::new(),
            events: 0,
        }
    }

    /// One transaction: decides the batch and all that follows from it. The first steps are the batch's own.
    pub(crate) fn commit(&mut self, batch: Vec<Input>) -> Vec<Step> {
        for input in &batch {
            self.end_exchange(input);
        }
        let was_held = self.held_since.is_some();
        let mut steps = Vec::new();
        let mut round = batch;
        round.extend(self.wanted(true));
        while !round.is_empty() {
            let permits = self.permits.clone();
            let (now, shown) = (self.now, self.shown());
            let mut cx =
                Context { now, shown, up_since: self.up_since, held: self.held_since, full: false, permits };
            let mut subjects = self.load(&cx, &round);
            let decisions = decide_all(&mut cx, &mut subjects, &round);
            assert_eq!(decisions.len(), round.len(), "every input is decided");
            self.permits.adopt(cx.permits);
            self.held_since = cx.held;
            self.tasks.extend(subjects.tasks().map(|task| (task.key, task.clone())));
            let mut next = Vec::new();
            // Before the tasks: one that begins to wait opens a line that a visit of this round has found empty.
            for Decided { decision, .. } in &decisions {
                self.queues.save(self.now, &decision.queues, &subjects);
                self.queues.wants.extend(&decision.wants);
                self.save_schedule(&decision.schedules, &subjects);
                self.save_bulks(&decision.bulks, &subjects);
                decision.access.iter().for_each(|change| access::evolve(&mut self.api_keys, change));
                for (key, _) in &decision.sources {
                    match subjects.source(*key) {
                        Some(source) => drop(self.sources.insert(*key, source.clone())),
                        None => drop(self.sources.remove(key)),
                    }
                }
            }
            for (input, decided) in round.into_iter().zip(decisions) {
                assert_eq!(decided.defect, None, "deciding {input:?}");
                self.save(&decided);
                for follow_up in &decided.decision.follow_ups {
                    let locked = self.locks.pop_front().unwrap_or(false);
                    let list = if locked { &mut self.kept } else { &mut next };
                    // Equal follow-ups are merged.
                    if !list.contains(follow_up) {
                        list.push(*follow_up);
                    }
                }
                steps.push(Step { input, decided });
            }
            round = next.into_iter().map(Input::FollowUp).collect();
            if round.is_empty() {
                // A host that answered again in this very transaction has places now.
                round.extend(self.wanted(false));
            }
        }
        if was_held && self.held_since.is_none() {
            steps.extend(self.go_on());
        }
        steps
    }

    /// Those who wait for a place that is there: hosts, and queues where one may have come back.
    fn wanted(&mut self, returned: bool) -> Vec<Input> {
        let wants = std::mem::take(&mut self.queues.wants);
        let mut inputs = Vec::new();
        for want in wants {
            match want {
                Want::Queue(queue) if returned && !self.permits.is_exhausted() => {
                    inputs.push(Input::FollowUp(FollowUp::Look(queue)));
                }
                Want::Host(host) if self.permits.free_with(host, self.now) > 0 => {
                    inputs.push(Input::FollowUp(FollowUp::HostFree(host)));
                }
                Want::Resend(host, task) if self.has_room(host, task) => inputs.push(Input::Wake(task)),
                Want::Poll(host, task) if self.permits.allow_poll(host) => inputs.push(Input::Wake(task)),
                _ => drop(self.queues.wants.insert(want)),
            }
        }
        inputs
    }

    /// Decides the follow-ups that were kept, as right after a commit.
    pub(crate) fn resume(&mut self) -> Vec<Step> {
        let kept = std::mem::take(&mut self.kept);
        self.commit(kept.into_iter().map(Input::FollowUp).collect())
    }

    /// The process dies with its exchanges; a new one is up a second later.
    pub(crate) fn crash(&mut self) {
        self.exchanges.clear();
        self.polls.clear();
        // Nobody remembers who waited for a host, so a store that is opened opens those lines.
        self.queues.wants.clear();
        self.queues.closed.retain(|_, why| !matches!(why, taskhook_core::queue::Closed::Hosts(_)));
        self.permits = Permits::new(self.exchanges_max.0, self.exchanges_max.1);
        self.now = self.now + Duration::from_secs(1);
        self.up_since = self.now;
    }

    /// What a node does when it starts: it looks for exchanges that were lost, at the queue, and at what was
    /// kept.
    pub(crate) fn start(&mut self) -> Vec<Step> {
        let soon = |task: &&Task| {
            let is_asked = task.plan.oversight.status.is_some();
            let span = if is_asked { limits::POLL_PAUSE_MAX } else { limits::LOST_AFTER };
            task.wake_at.is_some_and(|at| at <= self.now + span)
        };
        let due = self.tasks.values().filter(soon);
        let mut batch: Vec<Input> = due.map(|task| Input::Wake(task.key)).collect();
        batch.extend(self.queues.queues.keys().map(|queue| Input::FollowUp(FollowUp::Look(*queue))));
        let mut steps = self.commit(batch);
        steps.extend(self.resume());
        steps
    }

    /// What a lane does once its server is resumed: it looks for exchanges that were lost, and at the queues that have a
    /// line that is open.
    fn go_on(&mut self) -> Vec<Step> {
        let by = |task: &Task, span| task.wake_at.is_some_and(|at| at <= self.now + span);
        let lost = |task: &&Task| match task.state {
            State::Dispatching => by(task, limits::LOST_AFTER),
            State::Running => task.plan.oversight.status.is_some() && by(task, limits::POLL_PAUSE_MAX),
            _ => false,
        };
        let mut batch: Vec<Input> =
            self.tasks.values().filter(lost).map(|task| Input::Wake(task.key)).collect();
        let queued = self.tasks.values().filter(|task| task.state == State::Queued).map(queues::line_of);
        let open = queued.filter(|line| !self.queues.closed.contains_key(line)).map(|line| line.queue);
        let looks =
            open.collect::<BTreeSet<_>>().into_iter().map(|queue| Input::FollowUp(FollowUp::Look(queue)));
        batch.extend(looks);
        batch.extend(self.schedule.iter().map(|_| Input::WakeSchedule(schedules::SCHEDULE)));
        if batch.is_empty() { Vec::new() } else { self.commit(batch) }
    }

    /// Time passes, and every task is woken when it wants to be.
    pub(crate) fn pass(&mut self, span: Duration) -> Vec<Step> {
        let until = self.now + span;
        let (mut steps, mut last, mut again) = (Vec::new(), None, 0);
        while let Some((at, what)) = self.next_wake_of_all().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            steps.extend(self.commit(what.clone().into_iter().collect()));
            // What has changed something may want to be looked at once more.
            again = if last == Some((at, what.clone())) { again + 1 } else { 0 };
            assert!(again < 3, "waking {what:?} again and again would change nothing");
            last = Some((at, what));
        }
        self.now = until;
        steps
    }

    /// What is first to happen by time alone: `None` is a host that is out of order and may be asked again.
    fn next_wake_of_all(&self) -> Option<(Timestamp, Option<Input>)> {
        let task = self.next_wake().map(|(at, task)| (at, Some(Input::Wake(task))));
        let queues = self.queues.queues.values();
        let queues = queues.filter_map(|queue| Some((queue.wake_at?, queue.key)));
        let queue = queues.min().map(|(at, queue)| (at, Some(Input::FollowUp(FollowUp::Look(queue)))));
        let probes = self.queues.wants.iter().filter_map(|want| match want {
            Want::Host(host) => Some((self.permits.probe_at(*host)?, None)),
            _ => None,
        });
        let probe = probes.min_by_key(|(at, _)| *at);
        let schedule = self.schedule_wakes().map(|at| (at, Some(Input::WakeSchedule(schedules::SCHEDULE))));
        let bulk = self.bulk_wakes().map(|(at, bulk)| (at, Some(Input::WakeBulk(bulk))));
        [task, queue, probe, schedule, bulk].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The first task that wants to be woken, and when.
    pub(crate) fn next_wake(&self) -> Option<(Timestamp, TaskKey)> {
        self.tasks.values().filter_map(|task| Some((task.wake_at?, task.key))).min()
    }

    /// Whether a lost attempt may be sent again now: its request may be too large for what others leave.
    fn has_room(&self, host: HostKey, task: TaskKey) -> bool {
        let bytes = self.tasks.get(&task).map_or(0, |task| task.plan.payload_bytes);
        self.permits.allow(host, bytes, self.now)
    }

    fn end_exchange(&mut self, input: &Input) {
        let (task, attempt, open) = match input {
            Input::Reply(reply) => (reply.task, reply.attempt, &mut self.exchanges),
            Input::Polled(polled) => (polled.task, polled.attempt, &mut self.polls),
            _ => return,
        };
        let ended = |open: &Exchange| (open.task, open.attempt) == (task, attempt);
        if let Some(position) = open.iter().position(ended) {
            let exchange = open.remove(position);
            match input {
                Input::Polled(_) => self.permits.give_back_poll(exchange.host),
                _ => self.permits.give_back(exchange.host, exchange.bytes),
            }
        }
    }

    fn save(&mut self, decided: &Decided) {
        let decision = &decided.decision;
        for (task, change) in &decision.changes {
            self.save_edges(*task, change);
            self.save_key(*task, change);
            if let Change::Correlated { attempt, external } = change {
                let correlation = Correlation { task: *task, attempt: *attempt, known_at: self.now };
                self.externals.insert(external.key, correlation);
            }
            if matches!(change, Change::Queued) {
                self.queues.queued(&self.tasks[task]);
            }
            let entry = Entry { at: self.now, task: *task, cause: decided.cause, change: change.clone() };
            self.history.push(entry);
        }
        for effect in decision.effects.iter().cloned() {
            let of = &self.tasks[&effect.task()];
            match effect {
                Effect::Dispatch { task, attempt, send } => {
                    let host = of.plan.host.expect("only a task with a target is dispatched");
                    self.exchanges.push(Exchange { task, attempt, send, host, bytes: of.plan.payload_bytes });
                }
                Effect::Poll { task, attempt, host, .. } => {
                    self.polls.push(Exchange { task, attempt, send: 1, host, bytes: 0 });
                }
            }
        }
        if let Some(once) = decision.once {
            self.claims.insert(once.claim, EventId([0; 16]));
        }
        if let Some(recorded) = &decision.event {
            let event = &recorded.event;
            self.outcomes.insert(event.key, decision.outcome.clone());
            if let Some(claim) = recorded.claim {
                self.claims.insert(claim, event.received.id);
            }
            if let Some(name) = recorded.waits_under() {
                self.parked.insert((name, event.key), Parked { event: (**event).clone(), at: self.now });
            }
        }
        for unparked in &decision.unparked {
            self.parked.retain(|(_, key), _| *key != unparked.event);
            self.outcomes.insert(unparked.event, unparked.outcome.clone());
        }
    }

    fn save_key(&mut self, task: TaskKey, change: &Change) {
        match unique::step(&self.tasks[&task], change) {
            Some(unique::Step::Taken(key, held)) => {
                let before = self.held.insert(key, held);
                let was_held = before.is_some_and(|before| before.task != task && before.holds(self.now));
                assert!(!was_held, "a key is held by one task");
            }
            Some(unique::Step::GivenBack(key)) => {
                self.held.retain(|of, held| *of != key || held.task != task);
            }
            None => {}
        }
    }

    fn save_edges(&mut self, child: TaskKey, change: &Change) {
        match change {
            Change::Created { edges, .. } => {
                self.edges.extend(edges.iter().map(|(parent, edge)| ((*parent, child), *edge)));
            }
            Change::DependencyEnded { parent, generation, allowed, .. } => {
                let edge = self.edges.get_mut(&(*parent, child)).expect("an edge");
                edge.status = if *allowed { EdgeStatus::Met } else { EdgeStatus::Broken };
                edge.generation = *generation;
            }
            Change::DependencyReopened { parent, generation, .. } => {
                let edge = self.edges.get_mut(&(*parent, child)).expect("an edge");
                edge.status = EdgeStatus::Pending;
                edge.generation = *generation;
            }
            _ => {}
        }
    }

    fn load(&self, cx: &Context, round: &[Input]) -> Subjects {
        let mut subjects = Subjects::default();
        round.iter().for_each(|input| self.load_for(cx, input, &mut subjects));
        subjects
    }

    fn load_for(&self, cx: &Context, input: &Input, subjects: &mut Subjects) {
        match input {
            Input::Create(create) => {
                for new in &create.tasks {
                    self.load_task(subjects, new.key);
                    self.load_queue(subjects, new.asked.queue);
                    new.after.iter().for_each(|edge| self.load_task(subjects, edge.parent));
                    self.load_held(subjects, new.asked.unique);
                    self.load_source(subjects, new.asked.source);
                    new.external.iter().for_each(|external| self.load_external(subjects, external.key));
                }
            }
            Input::Event(event) => {
                event.claim.iter().for_each(|claim| self.load_claim(subjects, *claim));
                event.task.iter().for_each(|task| self.load_task(subjects, *task));
                event.external.iter().for_each(|external| self.load_external(subjects, *external));
            }
            Input::Command(task, _) => {
                self.load_task(subjects, *task);
                self.load_own(subjects, *task);
            }
            Input::Wake(task) => self.load_task(subjects, *task),
            Input::Polled(polled) => self.load_task(subjects, polled.task),
            Input::Reply(reply) => {
                self.load_task(subjects, reply.task);
                let external = reply.external.iter().flatten();
                external.for_each(|external| self.load_external(subjects, external.key));
            }
            Input::FollowUp(follow_up) => self.load_for_follow_up(cx, *follow_up, subjects),
            Input::Once(once, input) => {
                self.load_claim(subjects, once.claim);
                self.load_for(cx, input, subjects);
            }
            Input::Queue(queue, _) => {
                self.load_queue(subjects, *queue);
                // Those of the system are nobody's.
                subjects.put_queue_count(self.queues.queues.keys().filter(|key| key.0 > 0).count());
            }
            Input::Schedule(_, command) => self.load_schedule(cx, Some(command), subjects),
            Input::Source(key, _) => self.load_source(subjects, *key),
            Input::Access(_) => subjects.put_api_keys(self.api_keys.clone()),
            Input::Bulk(key, command) => self.load_bulk_command(subjects, *key, command),
            Input::WakeBulk(key) => self.load_look(cx, subjects, *key),
            Input::WakeSchedule(_) => self.load_schedule(cx, None, subjects),
            Input::Hold(_) | Input::Answered(_) => {}
        }
    }

    fn load_for_follow_up(&self, cx: &Context, follow_up: FollowUp, subjects: &mut Subjects) {
        match follow_up {
            FollowUp::Look(queue) => self.load_visit(cx, subjects, queue),
            FollowUp::HostFree(host) => self.load_waiting_for_host(subjects, host),
            FollowUp::Unpark { task, after } => {
                self.load_task(subjects, task);
                self.load_parked(subjects, task.into(), after);
            }
            FollowUp::UnparkExternal { external, after } => {
                self.load_external(subjects, external);
                self.load_parked(subjects, external.into(), after);
            }
            FollowUp::EndDependents { parent, after, .. }
            | FollowUp::ReopenDependents { parent, after, .. } => {
                self.load_task(subjects, parent);
                let behind = TaskKey(after.0.saturating_add(1));
                let edges = self.edges.range((parent, behind)..=(parent, TaskKey(i64::MAX)));
                let rows = edges.map(|((_, child), _)| *child);
                subjects.put_dependents(parent, after, page_of(rows, limits::FAN_OUT_PAGE));
            }
            FollowUp::ParentEnded { task, parent, .. } | FollowUp::ParentReopened { task, parent, .. } => {
                self.load_task(subjects, task);
                self.load_own(subjects, task);
                subjects.put_edge(parent, task, self.edges.get(&(parent, task)).copied());
            }
            FollowUp::EndPrevious { by, after } => self.load_previous(by, after, subjects),
            FollowUp::Bulk { bulk, task } => {
                self.load_bulk(subjects, bulk);
                self.load_task(subjects, task);
                self.load_own(subjects, task);
            }
            FollowUp::CallCancel { task, generation } => {
                self.load_task(subjects, task);
                self.load_queue(subjects, QueueKey::CANCEL);
                // The task that calls for `a` is `n`, for `b` it is `o`, and so on.
                let keys = [13, 1_013].map(|more| TaskKey(task.0 + more));
                keys.iter().for_each(|key| self.load_task(subjects, *key));
                let of = name_of(task).into();
                let call = CancelCall { keys, of, url: "http://h/cancel".into(), headers: Vec::new() };
                subjects.put_cancel_call(task, generation, Some(call));
            }
            FollowUp::Supersede { task, by: _ } => self.load_task(subjects, task),
        }
    }

    pub(crate) fn load_source(&self, subjects: &mut Subjects, key: SourceKey) {
        subjects.put_source(key, self.sources.get(&key).cloned());
        subjects.put_sources_count(self.sources.len());
    }

    /// What is a task's own, and what it would take again.
    fn load_own(&self, subjects: &mut Subjects, task: TaskKey) {
        self.load_key_of(subjects, task);
        let created = self.history.iter().find_map(|entry| match &entry.change {
            Change::Created { new, .. } if entry.task == task => Some(new),
            _ => None,
        });
        let external = created.and_then(|new| new.external.clone());
        external.iter().for_each(|external| self.load_external(subjects, external.key));
        subjects.put_own_external(task, external);
    }

    fn load_key_of(&self, subjects: &mut Subjects, task: TaskKey) {
        let unique = subjects.task(task).and_then(|task| task.plan.unique);
        self.load_held(subjects, unique);
    }

    fn load_held(&self, subjects: &mut Subjects, unique: Option<Unique>) {
        if let Some(Unique { key, .. }) = unique {
            subjects.put_held(key, self.held.get(&key).copied());
        }
    }

    fn load_claim(&self, subjects: &mut Subjects, claim: ClaimKey) {
        subjects.put_claim(claim, self.claims.get(&claim).copied());
    }

    pub(crate) fn load_task(&self, subjects: &mut Subjects, key: TaskKey) {
        subjects.put_task(key, self.tasks.get(&key).cloned());
        self.count_parked(subjects, key.into());
    }

    fn load_external(&self, subjects: &mut Subjects, key: ExternalKey) {
        subjects.put_external(key, self.externals.get(&key).copied());
        match subjects.external(key) {
            Some(correlation) => self.load_task(subjects, correlation.task),
            None => self.count_parked(subjects, key.into()),
        }
    }

    fn load_parked(&self, subjects: &mut Subjects, name: NameKey, after: EventKey) {
        let behind = self.parked.range((name, EventKey(after.0 + 1))..=(name, EventKey(i64::MAX)));
        let rows = behind.map(|(_, parked)| parked.clone());
        subjects.put_parked(name, after, page_of(rows, PARKED_PAGE));
    }

    fn count_parked(&self, subjects: &mut Subjects, name: NameKey) {
        let parked = self.parked.range((name, EventKey(i64::MIN))..=(name, EventKey(i64::MAX)));
        subjects.put_parked_count(name, parked.count());
    }
}

fn page_of<T>(mut rows: impl Iterator<Item = T>, rows_max: usize) -> Page<T> {
    let page: Vec<T> = rows.by_ref().take(rows_max).collect();
    Page { rows: page, more: rows.next().is_some() }
}
