//! The smallest lane there can be: it commits what it is given, counts permits, and moves its own clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::commit::{Batch, Committed, Dispatch, Node, commit};
use taskhook::engine::submission::{BulkAsk, Draft, Heard, ScheduleAsk, ScheduleDraft, Submission};
use taskhook::store::{BatchId, Due, Kept, KeptKey, Pruned, Store, StoreError, Transaction};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::schedule::{Missed, Overlap, Rule, Settings};
use taskhook_core::{
    Asked, BulkKey, ClaimKey, Command, Completion, ConcurrencyKey, Context, EventId, EventKind, Failure,
    HostKey, Input, On, Outcome, Permits, QueueKey, Received, Reply, ReplyKind, Request, Response,
    RetryAsked, ScheduleCommand, ScheduleKey, Spec, State, Subjects, TaskKey, Timestamp, Want,
};
use taskhook_sim::{Clock, ready};

use super::backend::Backend;

/// When every test begins.
pub(super) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

thread_local! {
    /// The clock of the test that runs on this thread: a store takes a plain function for its clock.
    static CLOCK: RefCell<Clock> = RefCell::new(Clock::at(START));
}

/// What the clock of this test shows.
pub(super) fn now() -> Timestamp {
    CLOCK.with_borrow(Clock::now)
}

/// A new clock, which [`now`] reads from now on.
pub(super) fn start_clock() -> Clock {
    let clock = Clock::at(START);
    CLOCK.set(clock.clone());
    clock
}

/// One store, one lane, one clock.
pub(super) struct World<B> {
    pub(super) backend: B,
    pub(super) clock: Clock,
    pub(super) node: Node,
    /// Follow-ups that are kept and not taken yet.
    pub(super) backlog: Vec<Kept>,
    /// The exchanges that are open, by task and attempt.
    pub(super) open: BTreeMap<(TaskKey, u32, bool), Dispatch>,
    /// Who waits for a place for an exchange.
    wants: BTreeSet<Want>,
    batches: u128,
    /// By how much the machine's clock shows another time, in microseconds.
    pub(super) clock_is_off_by: i64,
}

impl<B: Backend> World<B> {
    /// An empty store and more permits than a test needs.
    pub(super) fn new() -> World<B> {
        let clock = start_clock();
        World::on(B::new(&clock), clock)
    }

    /// A lane on this store.
    pub(super) fn on(backend: B, clock: Clock) -> World<B> {
        let node = Node {
            up_since: clock.now(),
            shown: clock.now(),
            permits: Permits::new(1_024, 1_024),
            full: false,
        };
        World {
            backend,
            clock,
            node,
            backlog: Vec::new(),
            open: BTreeMap::new(),
            wants: BTreeSet::new(),
            batches: 0,
            clock_is_off_by: 0,
        }
    }

    /// The context of a transaction that begins now.
    pub(super) fn context(&self) -> Context {
        Context {
            now: self.clock.now(),
            shown: self.shown(),
            up_since: self.node.up_since,
            held: None,
            full: false,
            permits: self.node.permits.clone(),
        }
    }

    /// What the machine's clock shows.
    pub(super) fn shown(&self) -> Timestamp {
        Timestamp(self.clock.now().0 + self.clock_is_off_by)
    }

    fn next_batch(&mut self) -> BatchId {
        self.batches += 1;
        BatchId(self.batches)
    }

    /// Commits one batch: what is submitted, the tasks that are due, and follow-ups that were kept.
    pub(super) fn commit_batch(&mut self, batch: &Batch<'_>) -> Committed {
        for ended in batch.submissions.iter().filter_map(|one| match one {
            Submission::Reply(reply) => Some((reply.task, reply.attempt, false)),
            Submission::Polled(polled) => Some((polled.task, polled.attempt, true)),
            _ => None,
        }) {
            if let Some(permit) = self.open.remove(&ended).and_then(|dispatch| dispatch.permit()) {
                permit.give_back(&mut self.node.permits);
            }
        }
        let (mut queues, mut hosts) = (batch.queues.clone(), batch.hosts.clone());
        self.wanted(&mut queues, &mut hosts);
        let batch = &Batch {
            submissions: batch.submissions.clone(),
            due: batch.due.clone(),
            schedules: batch.schedules.clone(),
            bulks: batch.bulks.clone(),
            ahead: batch.ahead.clone(),
            queues,
            hosts,
            kept: batch.kept.clone(),
        };
        self.node.shown = self.shown();
        let batches = &mut self.batches;
        let next_id = || {
            *batches += 1;
            BatchId(*batches)
        };
        let committed = ready(commit(self.backend.store(), &self.node, batch, next_id)).unwrap();
        assert_eq!(committed.receipts.len(), batch.submissions.len(), "every submission is answered");
        let mut over = Vec::new();
        for dispatch in &committed.dispatches {
            assert!(dispatch.permit().is_some(), "there is somebody to be called");
            let key = (dispatch.task.key, dispatch.attempt, dispatch.poll.is_some());
            let before = self.open.insert(key, dispatch.clone());
            // A poll that nobody has answered in its time is over.
            assert!(
                before.is_none() || dispatch.poll.is_some(),
                "an attempt is in flight once: {dispatch:?}"
            );
            over.extend(before.and_then(|before| before.permit()));
        }
        // G12: deciding panics where there is no permit.
        self.node.permits.adopt(committed.permits.clone().unwrap());
        over.iter().for_each(|permit| permit.give_back(&mut self.node.permits));
        self.wants.extend(committed.wants.iter().chain(&committed.wants_more).copied());
        self.backlog.retain(|kept| !batch.kept.contains(kept));
        self.backlog.extend(committed.kept.iter().copied());
        let stored = ready(self.backend.store().kept(KeptKey(i64::MIN), usize::MAX)).unwrap();
        let key = |kept: &Kept| kept.key;
        self.backlog.sort_by_key(key);
        assert_eq!(stored, self.backlog, "the lane knows what is kept");
        committed
    }

    /// Those who wait for a place that is there.
    fn wanted(&mut self, queues: &mut Vec<QueueKey>, hosts: &mut Vec<HostKey>) {
        for want in std::mem::take(&mut self.wants) {
            match want {
                Want::Queue(queue) if !self.node.permits.is_exhausted() => queues.push(queue),
                Want::Host(host) if self.node.permits.free_with(host, self.clock.now()) > 0 => {
                    hosts.push(host);
                }
                // They are tried again at times of their own.
                Want::Poll(..) | Want::Resend(..) => {}
                Want::Queue(_) | Want::Host(_) => drop(self.wants.insert(want)),
            }
        }
    }

    /// Commits these together, without anything that was kept.
    pub(super) fn commit(&mut self, submissions: &[Submission]) -> Committed {
        self.commit_batch(&Batch { submissions: submissions.iter().collect(), ..Batch::default() })
    }

    /// Takes what was kept until nothing is left; what left meanwhile.
    pub(super) fn drain(&mut self) -> Vec<Dispatch> {
        let mut dispatches = Vec::new();
        for _ in 0..10_000 {
            let now = self.clock.now();
            let free =
                |want: &Want| matches!(want, Want::Host(host) if self.node.permits.free_with(*host, now) > 0);
            if self.backlog.is_empty() && !self.wants.iter().any(free) {
                return dispatches;
            }
            let kept = self.backlog.clone();
            dispatches.extend(self.commit_batch(&Batch { kept, ..Batch::default() }).dispatches);
        }
        panic!("follow-ups without an end: {:?}", self.backlog)
    }

    /// Commits these together, and then whatever follows.
    pub(super) fn settle(&mut self, submissions: &[Submission]) -> Committed {
        let mut committed = self.commit(submissions);
        committed.dispatches.extend(self.drain());
        committed
    }

    /// Commits one thing and whatever follows; its outcome.
    pub(super) fn submit(&mut self, submission: Submission) -> Outcome {
        self.settle(&[submission]).receipts[0].outcome().clone()
    }

    /// Looks at the tasks, queues and bulks that are due by now, and settles what follows.
    pub(super) fn wake(&mut self) {
        let Due { tasks: due, queues, bulks, .. } = self.due(self.clock.now(), 1_000);
        self.commit_batch(&Batch { due, queues, bulks, ..Batch::default() });
        self.drain();
    }

    /// Takes the steps of a sweep, each of `rows_max` rows, until it is through. What each of them took away.
    pub(super) fn sweep(&mut self, ages: &Ages, rows_max: usize) -> Vec<Pruned> {
        let (mut at, mut steps) = (Some(Place::FIRST), Vec::new());
        while let Some(from) = at {
            let step = self.transact(async |tx| tx.prune(from, ages, rows_max).await);
            at = step.next;
            steps.push(step);
            assert!(steps.len() < 10_000, "a sweep without an end: {step:?}");
        }
        steps
    }

    /// The ids of the tasks that a bulk finds, which is not told of them.
    pub(super) fn found_by_bulk(&mut self, id: &str) -> Vec<String> {
        let bulk = BulkKey(self.name(5, id).unwrap());
        let subjects = self.load(&self.context(), &[Input::WakeBulk(bulk)]);
        let found = subjects.look(bulk).map(|look| look.tasks.clone()).unwrap_or_default();
        let names = self.backend.names();
        let name = |task: &TaskKey| names.iter().find(|name| name.0 == task.0).unwrap().2.clone();
        found.iter().map(name).collect()
    }

    /// The schedules that the store says are due.
    pub(super) fn due_schedules(&mut self, max: usize) -> Vec<ScheduleKey> {
        let shown = self.shown();
        ready(self.backend.store().due_schedules(shown, max)).unwrap().0
    }

    /// Looks at the schedules that are due until none is, and settles what follows. What left meanwhile.
    pub(super) fn wake_schedules(&mut self) -> Vec<Dispatch> {
        let mut dispatches = Vec::new();
        for _ in 0..10_000 {
            let schedules = self.due_schedules(usize::MAX);
            if schedules.is_empty() {
                return dispatches;
            }
            dispatches.extend(self.commit_batch(&Batch { schedules, ..Batch::default() }).dispatches);
            dispatches.extend(self.drain());
        }
        panic!("schedules that are due for ever: {:?}", self.backend.schedules())
    }

    /// What the store says is due.
    pub(super) fn due(&mut self, by: Timestamp, max: usize) -> Due {
        ready(self.backend.store().due(by, max)).unwrap()
    }

    /// The process ends, and another one opens the store: exchanges are gone, what was kept is found again.
    pub(super) fn restart(&mut self) {
        self.backend.reopen();
        for dispatch in std::mem::take(&mut self.open).into_values() {
            let permit = dispatch.permit().unwrap();
            permit.give_back(&mut self.node.permits);
        }
        self.wants.clear();
        self.node.up_since = self.clock.now();
        self.backlog = ready(self.backend.store().kept(KeptKey(i64::MIN), usize::MAX)).unwrap();
    }

    /// What a starting node does first: it looks at its queues, which others may have left full.
    pub(super) fn look(&mut self) -> Vec<Dispatch> {
        let queues = ready(self.backend.store().waiting_queues()).unwrap();
        self.commit_batch(&Batch { queues, ..Batch::default() }).dispatches
    }

    /// One transaction by hand, tried again for as long as another one is in the way.
    pub(super) fn transact<T>(
        &mut self,
        step: impl AsyncFn(&mut <B::Store as Store>::Tx<'_>) -> Result<T, StoreError>,
    ) -> T {
        loop {
            let id = self.next_batch();
            let store = self.backend.store();
            let done = ready(async {
                let mut tx = store.begin(id).await?;
                let made = step(&mut tx).await?;
                Ok((made, tx.commit().await))
            });
            match done {
                Ok((made, Ok(()))) => return made,
                Ok((made, Err(StoreError::Unknown))) if ready(store.was_committed(id)).unwrap() => {
                    return made;
                }
                Ok((_, Err(StoreError::Conflict | StoreError::Unknown))) | Err(StoreError::Conflict) => {}
                Ok((_, Err(error))) | Err(error) => panic!("{error}"),
            }
        }
    }

    /// Loads what deciding these needs, and leaves no trace.
    pub(super) fn load(&mut self, cx: &Context, round: &[Input]) -> Subjects {
        loop {
            let id = self.next_batch();
            let mut subjects = Subjects::default();
            let mut tx = ready(self.backend.store().begin(id)).unwrap();
            match ready(tx.load(cx, round, &mut subjects)) {
                Ok(locked) => {
                    assert!(locked.is_empty(), "the first round waits for its locks");
                    return subjects;
                }
                Err(StoreError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The key of a task's name.
    pub(super) fn key(&mut self, id: &str) -> TaskKey {
        self.name(1, id).map(TaskKey).unwrap_or_else(|| panic!("there is no task {id}"))
    }

    /// The key of a name, by its stored kind.
    pub(super) fn name(&mut self, kind: i64, text: &str) -> Option<i64> {
        let names = self.backend.names().into_iter();
        names.filter(|name| name.1 == kind && name.2 == text).map(|name| name.0).next()
    }

    /// Where a task is in its life.
    pub(super) fn state(&mut self, id: &str) -> State {
        let key = self.key(id);
        self.backend.task(key).state
    }

    /// The history of a task.
    pub(super) fn history(&mut self, id: &str) -> Vec<String> {
        let key = self.key(id);
        self.backend.history(key)
    }
}

/// A policy without chance: the first pause is not longer than a microsecond.
pub(super) const RETRY_AT_ONCE: RetryAsked = RetryAsked {
    max_attempts: Some(3),
    initial: Some(Duration::from_micros(1)),
    factor: Some(1.0),
    max: Some(Duration::from_micros(1)),
};

/// An external task.
pub(super) fn external(id: &str) -> Draft {
    Draft {
        external: None,
        other_hosts: Default::default(),
        id: id.into(),
        host: None,
        queue: "default".into(),
        source: "default".into(),
        asked: Asked {
            host: None,
            queue: QueueKey::DEFAULT,
            source: taskhook_core::SourceKey::DEFAULT,
            concurrency_key: ConcurrencyKey::NONE,
            unique: None,
            priority: 0,
            run_at: START,
            completion: Some(Completion::Auto),
            timeout: Some(None),
            request_timeout: Some(Duration::from_secs(30)),
            retry: RETRY_AT_ONCE,
            oversight: Default::default(),
            payload_bytes: 0,
            scheduled: None,
        },
        spec: Spec::default(),
        content: [0; 16],
    }
}

/// A task to be dispatched to `host`.
pub(super) fn hosted(id: &str, host: &str) -> Draft {
    let mut draft = external(id);
    draft.host = Some(host.into());
    let url = format!("http://{host}/{id}");
    draft.spec.request = Some(Arc::new(Request { method: "POST".into(), url, ..Request::default() }));
    draft
}

/// The same task, not before `parents` ended as they should.
pub(super) fn after(mut draft: Draft, parents: &[(&str, On)]) -> Draft {
    draft.spec.after = parents.iter().map(|(id, on)| ((*id).to_string(), *on)).collect();
    draft
}

/// A creation of these, all or none.
pub(super) fn create(drafts: impl IntoIterator<Item = Draft>) -> Submission {
    Submission::Create(drafts.into_iter().map(Arc::new).collect())
}

/// A schedule that is due every so many seconds, and whose tasks are those of `draft`.
pub(super) fn every(seconds: u64, draft: Draft) -> ScheduleDraft {
    ScheduleDraft {
        other_hosts: Default::default(),
        source: "default".into(),
        settings: Settings {
            rule: Rule::Every(Duration::from_secs(seconds)),
            timezone: "UTC".into(),
            asked: Asked { run_at: Timestamp(0), ..draft.asked },
            spec: draft.spec,
            overlap: Overlap::Allow,
            catch_up: Duration::from_secs(3_600),
            missed: Missed::Latest,
            jitter: Duration::ZERO,
            start_at: None,
            end_at: None,
        },
        host: draft.host,
        queue: draft.queue,
        paused: false,
    }
}

/// A definition of a schedule.
pub(super) fn define(name: &str, draft: ScheduleDraft) -> Submission {
    Submission::Schedule(name.into(), ScheduleAsk::Define(Arc::new(draft)))
}

/// A command to a schedule.
pub(super) fn schedule_command(name: &str, command: ScheduleCommand) -> Submission {
    Submission::Schedule(name.into(), ScheduleAsk::Command(command))
}

/// The beginning of a bulk.
pub(super) fn bulk(id: &str, settings: taskhook_core::bulk::Settings) -> Submission {
    Submission::Bulk(id.into(), BulkAsk::Begin(Box::new(settings), None))
}

/// A command.
pub(super) fn command(id: &str, command: Command) -> Submission {
    Submission::Command(id.into(), command)
}

/// A webhook about `task`. `number` makes its id.
pub(super) fn heard(number: u64, task: &str, kind: EventKind) -> Heard {
    let name = match &kind {
        EventKind::Started => "task_started",
        EventKind::Progress(..) => "task_progress",
        EventKind::Heartbeat => "task_heartbeat",
        EventKind::Completed(_) => "task_completed",
        EventKind::Failed(..) => "task_failed",
        EventKind::Cancelled => "task_cancelled",
        EventKind::Other(_) | EventKind::Rejected(_) => "else",
    };
    Heard {
        task: Some(task.into()),
        external: None,
        source: taskhook_core::SourceKey::DEFAULT,
        by_key: false,
        token: None,
        attempt: None,
        kind,
        claim: None,
        received: Arc::new(Received {
            name: Some(name.into()),
            task_name: Some(task.into()),
            headers: vec![("content-type".into(), "application/json".into())],
            body: format!("{{\"event\":\"{name}\",\"task_id\":\"{task}\"}}").into_bytes(),
            ..Received::unread(EventId(u128::from(number).to_be_bytes()), &[])
        }),
    }
}

/// The same webhook, as a delivery that can be recognised.
pub(super) fn delivered(mut heard: Heard, delivery: &str) -> Heard {
    let mut claim = [0; 16];
    claim[..delivery.len()].copy_from_slice(delivery.as_bytes());
    heard.claim = Some(ClaimKey(claim));
    Arc::make_mut(&mut heard.received).delivery_id = Some(delivery.into());
    heard
}

/// A webhook, ready to be submitted.
pub(super) fn event(heard: Heard) -> Submission {
    Submission::Event(Box::new(heard))
}

/// `task_completed` without a result.
pub(super) fn completed(number: u64, task: &str) -> Submission {
    event(heard(number, task, EventKind::Completed(None)))
}

/// `task_failed`, which a retry may mend.
pub(super) fn failed(number: u64, task: &str) -> Submission {
    event(heard(number, task, EventKind::Failed(failure("broken"), true)))
}

/// A failure with this code.
pub(super) fn failure(code: &str) -> Failure {
    Failure { code: code.into(), message: format!("it was {code}") }
}

/// The end of an exchange by an answer with this status.
pub(super) fn answered(task: TaskKey, attempt: u32, status: u16) -> Submission {
    let response = Arc::new(Response { status, ..Response::default() });
    reply(task, attempt, ReplyKind::Response(response))
}

/// The end of an exchange.
pub(super) fn reply(task: TaskKey, attempt: u32, kind: ReplyKind) -> Submission {
    Submission::Reply(Box::new(Reply { task, attempt, kind, external: None, location: None }))
}
