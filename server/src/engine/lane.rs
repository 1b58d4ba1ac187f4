//! The lane: one ordered writer.
//!
//! It takes one input, takes all that queued up meanwhile, commits, answers every caller and hands over the
//! effects. While one batch is in fsync the next one forms: group commit with no timer to tune.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskhook_core::retention::{Ages, Place};
use taskhook_core::{BulkKey, HoldChange, Permits, QueueKey, ScheduleKey, TaskKey, Timestamp, Want, limits};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::engine::commit::{Batch, Committed, Dispatch, Node, commit, prune};
use crate::engine::shown::{SET_BACK_BELIEVED_AFTER, ShownClock};
use crate::engine::wants::Wants;
use crate::engine::watch::Watch;
use crate::engine::{Ask, Engine, SubmitError};
use crate::store::read::NodeStatus;
use crate::store::{BatchId, Kept, KeptKey, Store, StoreError};
use crate::telemetry::Metrics;

/// The longest sleep: after a jump of the clock, what is due is found within this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The most inputs of each kind in one transaction while the disk is full.
const FULL_INPUTS_MAX: usize = 16;

/// The pause before the next sweep after one that found no room.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);

/// The pause before the next try while the disk is full.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What whoever operates the server is told of it.
pub const FULL: &str = "the disk is full: new work is refused until there is room; completions are taken as long as they find any";

/// What the lane needs beside its store.
#[derive(Debug)]
pub struct Lane {
    completions: mpsc::Receiver<Ask>,
    work: mpsc::Receiver<Ask>,
    watch: Arc<Watch>,
    dispatches: mpsc::UnboundedSender<Dispatch>,
    /// Where the callers wait.
    callers: Handle,
    /// Turns true when nothing new is to be sent any more.
    draining: watch::Receiver<bool>,
    node: Node,
    clock: fn() -> Timestamp,
    shown: ShownClock,
    metrics: Arc<Metrics>,
    status: Arc<NodeStatus>,
    /// Kept follow-ups, oldest first.
    backlog: VecDeque<Kept>,
    /// Queues to look at. At first all in which something waits: it may be for permits that the process before held,
    /// and nobody will return those.
    queues: VecDeque<QueueKey>,
    /// Who waits for a place for an exchange.
    wants: Wants,
    /// Exchanges that died with an earlier process and are not looked at yet.
    lost: VecDeque<TaskKey>,
    /// What could not be stored while the disk was full, and is tried again.
    unsettled: VecDeque<Ask>,
    /// Since when there is no room but for what moves begun work.
    full: Option<Instant>,
    /// Inputs of each kind in the next transaction while that is so: what does not fit whole may fit in parts.
    full_max: usize,
    /// The engines are gone, and there is no room for what is left.
    is_over: bool,
    /// Room was made, and no transaction has succeeded since.
    made_room: bool,
    /// The earliest time at which a task may want to be looked at. May be early, never late.
    next_wake: Timestamp,
    /// The same for schedules, by what the machine's clock shows.
    next_schedule: Timestamp,
    sweep: Sweep,
}

/// Taking away what is old, in steps between batches.
#[derive(Debug)]
struct Sweep {
    ages: Ages,
    /// Where the next step begins; `None`: none is under way.
    at: Option<Place>,
    /// When the next one begins.
    next: Timestamp,
    /// Batches since the last step.
    batches: u32,
    /// What it has taken away: tasks and webhooks.
    taken: (usize, usize),
}

/// How a lane is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Open exchanges in all.
    pub exchanges_max: u32,
    /// Open exchanges with one host.
    pub exchanges_per_host_max: u32,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// What the machine's clock shows.
    pub shown: fn() -> Timestamp,
    /// How long it must have shown a time of at least a day before until it is believed.
    pub set_back_believed_after: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What others are to know of this node.
    pub status: Arc<NodeStatus>,
    /// How long things are kept.
    pub retention: Ages,
    /// Hold the server before anything begins.
    pub hold: bool,
    /// There is no room for new work.
    pub full: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            exchanges_max: limits::EXCHANGES_MAX,
            exchanges_per_host_max: limits::EXCHANGES_PER_HOST_MAX,
            clock: clock::wall_clock,
            shown: clock::shown,
            set_back_believed_after: SET_BACK_BELIEVED_AFTER,
            metrics: Arc::default(),
            status: Arc::default(),
            retention: Ages::default(),
            hold: false,
            full: false,
        }
    }
}

/// Makes an engine and its lane, within the runtime where its callers wait. Effects arrive at `dispatches`; there
/// are never more than permits.
#[must_use]
pub fn lane(
    settings: &Settings,
    dispatches: mpsc::UnboundedSender<Dispatch>,
    draining: watch::Receiver<bool>,
) -> (Engine, Lane) {
    let (completions_in, completions) = mpsc::channel(limits::CHANNEL_INPUTS_MAX);
    let (work_in, work) = mpsc::channel(limits::CHANNEL_INPUTS_MAX);
    let watch = Arc::new(Watch::default());
    let room = Arc::new(tokio::sync::Semaphore::new(limits::CHANNEL_BYTES_MAX));
    let engine = Engine { completions: completions_in, work: work_in, room, watch: watch.clone() };
    if settings.hold {
        engine.hold_first();
    }
    let permits = Permits::new(settings.exchanges_max, settings.exchanges_per_host_max);
    let node = Node { up_since: (settings.clock)(), shown: (settings.shown)(), permits, full: false };
    settings.status.set_up_since(node.up_since);
    settings.status.set_full_since(settings.full.then_some(node.up_since));
    let lane = Lane {
        completions,
        work,
        watch,
        dispatches,
        callers: Handle::current(),
        draining,
        node,
        clock: settings.clock,
        shown: ShownClock::new(settings.shown, settings.set_back_believed_after),
        metrics: settings.metrics.clone(),
        status: settings.status.clone(),
        backlog: VecDeque::new(),
        queues: VecDeque::new(),
        wants: Wants::default(),
        lost: VecDeque::new(),
        unsettled: VecDeque::new(),
        full: settings.full.then(Instant::now),
        full_max: FULL_INPUTS_MAX,
        is_over: false,
        made_room: false,
        next_wake: Timestamp(0),
        next_schedule: Timestamp(0),
        sweep: Sweep {
            ages: settings.retention.clone(),
            at: None,
            next: Timestamp(0),
            batches: 0,
            taken: (0, 0),
        },
    };
    (engine, lane)
}

impl Lane {
    /// Runs until every [`Engine`] is gone.
    ///
    /// # Errors
    /// [`StoreError::Broken`]: the store can no longer be trusted, and the process must end without answering.
    pub async fn run<S: Store>(mut self, store: &mut S) -> Result<(), StoreError> {
        self.read_backlog(store).await?;
        self.take_up(store).await?;
        if !store.schedules_ahead(self.shown.now() + limits::SET_BACK_MIN).await?.is_empty() {
            self.shown.know(Timestamp::MAX);
        }
        loop {
            self.look_for_room(store).await?;
            if self.full.is_some() {
                match self.go_on_full(store).await? {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => return Ok(()),
                }
            }
            let kept: Vec<Kept> =
                self.backlog.drain(..self.backlog.len().min(limits::BATCH_INPUTS_MAX / 2)).collect();
            let ahead = self.take_ahead(store).await?;
            let due_now = !self.lost.is_empty()
                || !self.queues.is_empty()
                || !ahead.is_empty()
                || (self.clock)() >= self.next()
                || self.shown.now() >= self.next_schedule;
            let again = self.unsettled.len().min(limits::BATCH_INPUTS_MAX);
            let mut asks: Vec<Ask> = self.unsettled.drain(..again).collect();
            if kept.is_empty() && !due_now && asks.is_empty() {
                match self.wait().await {
                    Waited::Ask(ask) => asks.push(ask),
                    Waited::Due => {}
                    Waited::Over => return Ok(()),
                }
            }
            self.take_all(&mut asks);
            let (mut due, bulks) = self.take_due(store, limits::BATCH_INPUTS_MAX).await?;
            let schedules = self.take_due_schedules(store).await?;
            let lost: Vec<TaskKey> =
                self.lost.drain(..self.lost.len().min(limits::BATCH_INPUTS_MAX)).collect();
            due.extend(&lost);
            let nothing = asks.is_empty() && due.is_empty() && kept.is_empty() && self.queues.is_empty();
            let nothing = nothing && schedules.is_empty() && ahead.is_empty() && bulks.is_empty();
            if nothing && self.wants.next(&self.node.permits).is_none_or(|at| at > (self.clock)()) {
                self.sweep_on(store).await?;
                continue;
            }
            let batch = Batch { due, schedules, bulks, ahead, kept, ..Batch::default() };
            if !self.settle(store, asks, batch).await? {
                self.lost.extend(lost);
            }
            // Without a rest it goes on all the same: whoever comes meanwhile waits for one step.
            self.sweep.batches += 1;
            if self.sweep.batches >= limits::BATCHES_PER_SWEEP_STEP {
                self.sweep_on(store).await?;
            }
        }
    }

    /// One transaction while the disk is full. It is small, since what does not fit whole may fit in parts; new work is
    /// refused, and neither schedules nor bulks go on.
    async fn go_on_full<S: Store>(&mut self, store: &mut S) -> Result<ControlFlow<()>, StoreError> {
        self.next_schedule = self.next_schedule.max(self.shown.now() + LOOK_AGAIN);
        let mut asks = Vec::new();
        let again = !self.unsettled.is_empty() || !self.backlog.is_empty();
        let due_now = !self.lost.is_empty() || !self.queues.is_empty() || (self.clock)() >= self.next();
        if !again && !due_now {
            match self.wait().await {
                Waited::Ask(ask) => asks.push(ask),
                Waited::Due => {}
                Waited::Over => return Ok(ControlFlow::Break(())),
            }
        }
        let refused = asks.extract_if(.., |ask| ask.submission.is_new_work());
        let refused = refused.chain(std::iter::from_fn(|| self.work.try_recv().ok())).collect();
        self.refuse(refused);
        let max = self.full_max;
        asks.extend(std::iter::from_fn(|| self.completions.try_recv().ok()).take(max - asks.len()));
        let (mut batch, mut lost) = (Batch::default(), Vec::new());
        // What is small enough to fit must not fail with what is not: in the end those who wait for an answer are alone.
        if asks.is_empty() || max >= FULL_INPUTS_MAX / 2 {
            asks.extend(self.unsettled.drain(..self.unsettled.len().min(max)));
            batch.kept = self.backlog.drain(..self.backlog.len().min(max)).collect();
            batch.due = self.take_due(store, max).await?.0;
            lost = self.lost.drain(..self.lost.len().min(max)).collect();
            batch.due.extend(&lost);
        }
        let nothing = asks.is_empty() && batch.due.is_empty() && batch.kept.is_empty();
        let wants_nothing = self.wants.next(&self.node.permits).is_none_or(|at| at > (self.clock)());
        let is_idle = nothing && self.queues.is_empty() && wants_nothing;
        if !is_idle && !self.settle(store, asks, batch).await? {
            self.lost.extend(lost);
        }
        self.sweep_on(store).await?;
        Ok(if self.is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Finds all that may begin: at a start, and where the server was held until now.
    async fn take_up<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        // Exchanges that died with the process before would be looked at within LOST_AFTER by themselves.
        // Callbacks may have been lost meanwhile: remotes that can be asked are asked at once.
        let now = (self.clock)();
        let found = store.exchanges(now + limits::LOST_AFTER, now + limits::POLL_PAUSE_MAX).await?;
        self.lost = found.into();
        let waiting = store.waiting_queues().await?;
        self.look_at(waiting);
        self.next_schedule = Timestamp(0);
        Ok(())
    }

    async fn read_backlog<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        let mut after = KeptKey(i64::MIN);
        loop {
            let page = store.kept(after, limits::BATCH_INPUTS_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.key;
            self.backlog.extend(page);
        }
    }

    /// When there is something to do by time alone.
    fn next(&self) -> Timestamp {
        self.wants.next(&self.node.permits).map_or(self.next_wake, |at| at.min(self.next_wake))
    }

    /// Waits for an input, or for the time at which there is something to do.
    async fn wait(&mut self) -> Waited {
        let sleep = match self.sweep.at {
            Some(_) => Duration::ZERO,
            None => {
                let schedule = self.next_schedule.since(self.shown.now());
                self.next().since((self.clock)()).min(schedule).min(LOOK_AGAIN)
            }
        };
        tokio::select! {
            biased;
            ask = self.completions.recv() => ask.map_or(Waited::Over, Waited::Ask),
            ask = self.work.recv() => ask.map_or(Waited::Over, Waited::Ask),
            () = tokio::time::sleep(sleep) => Waited::Due,
        }
    }

    /// Takes what has queued up: what moves begun work first, new work with what room is left, but never
    /// none of it.
    fn take_all(&mut self, asks: &mut Vec<Ask>) {
        let mut bytes: usize = asks.iter().map(|ask| ask.submission.bytes()).sum();
        let reserve = limits::BATCH_INPUTS_MAX / 8;
        for (channel, max, bytes_max) in [
            (&mut self.completions, limits::BATCH_INPUTS_MAX - reserve, limits::BATCH_BYTES_MAX / 8 * 7),
            (&mut self.work, limits::BATCH_INPUTS_MAX, limits::BATCH_BYTES_MAX),
        ] {
            while asks.len() < max && bytes < bytes_max {
                let Ok(ask) = channel.try_recv() else { break };
                bytes += ask.submission.bytes();
                asks.push(ask);
            }
        }
    }

    async fn take_due<S: Store>(
        &mut self,
        store: &mut S,
        max: usize,
    ) -> Result<(Vec<TaskKey>, Vec<BulkKey>), StoreError> {
        let by = (self.clock)();
        if by < self.next_wake {
            return Ok((Vec::new(), Vec::new()));
        }
        let due = match store.due(by, max).await {
            Ok(due) => due,
            // `next_wake` stays in the past, so the next round asks again.
            Err(StoreError::Conflict) => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(error),
        };
        // Those of this page write their own next time when they are decided.
        self.next_wake = due.next.unwrap_or(Timestamp::MAX);
        self.look_at(due.queues);
        if self.full.is_some() && !due.bulks.is_empty() {
            // Bulks go on when there is room: then everything that is due is looked for. They may be all that is due.
            self.next_wake = self.next_wake.max(by + LOOK_AGAIN);
            return Ok((due.tasks, Vec::new()));
        }
        Ok((due.tasks, due.bulks))
    }

    async fn take_due_schedules<S: Store>(&mut self, store: &mut S) -> Result<Vec<ScheduleKey>, StoreError> {
        let shown = self.shown.now();
        if shown < self.next_schedule {
            return Ok(Vec::new());
        }
        match store.due_schedules(shown, limits::SCHEDULES_PER_BATCH).await {
            Ok((due, next)) => {
                self.next_schedule = next.unwrap_or(Timestamp::MAX);
                Ok(due)
            }
            // `next_schedule` stays in the past, so the next round asks again.
            Err(StoreError::Conflict) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The schedules that are ahead of a clock that was set back, when it is believed.
    async fn take_ahead<S: Store>(&mut self, store: &mut S) -> Result<Vec<ScheduleKey>, StoreError> {
        if !self.shown.is_set_back() {
            return Ok(Vec::new());
        }
        let ahead = store.schedules_ahead(self.shown.now() + limits::SET_BACK_MIN).await?;
        if !ahead.is_empty() {
            tracing::warn!(
                schedules = ahead.len(),
                "the clock was set back: schedules go on from what it shows"
            );
        }
        Ok(ahead)
    }

    /// Remembers queues to look at, each once.
    fn look_at(&mut self, queues: Vec<QueueKey>) {
        let known: BTreeSet<QueueKey> = self.queues.iter().copied().collect();
        self.queues.extend(queues.into_iter().filter(|queue| !known.contains(queue)));
    }

    /// Decides a batch, answers its callers, and hands over what leaves. `false`: there was no room for it.
    async fn settle<S: Store>(
        &mut self,
        store: &mut S,
        asks: Vec<Ask>,
        batch: Batch<'_>,
    ) -> Result<bool, StoreError> {
        for permit in asks.iter().filter_map(|ask| ask.permit) {
            permit.give_back(&mut self.node.permits);
            self.wants.returned(permit, &self.node.permits, (self.clock)());
        }
        self.node.permits.closed = *self.draining.borrow();
        let submissions = asks.iter().map(|ask| &ask.submission).collect();
        let (mut queues, mut hosts, mut due) = (Vec::new(), Vec::new(), batch.due);
        // What was lost goes first: new work would take the places that it needs.
        if self.lost.is_empty() {
            queues.extend(self.queues.drain(..self.queues.len().min(limits::QUEUES_ASKED_MAX)));
            due.extend(self.wants.take_tasks(&self.node.permits, (self.clock)()));
            queues.extend(self.wants.take_queues(&self.node.permits));
            hosts = self.wants.take_hosts(&self.node.permits, (self.clock)());
        }
        self.node.shown = self.shown.now();
        self.node.full = self.full.is_some();
        let batch = Batch { submissions, due, queues, hosts, ..batch };
        let next_id = || BatchId(uuid::Uuid::now_v7().as_u128());
        let begun = Instant::now();
        match commit(store, &self.node, &batch, next_id).await {
            Ok(committed) => {
                self.metrics.committed(begun.elapsed(), &committed.tally);
                self.made_room = false;
                self.full_max = (self.full_max * 2).min(FULL_INPUTS_MAX);
                let hold = committed.hold;
                self.hand_over(asks, committed);
                if hold == Some(HoldChange::Resumed) {
                    self.take_up(store).await?;
                }
                Ok(true)
            }
            Err(StoreError::Full) => {
                // Nothing happened: what is due is found again.
                let Batch { kept, queues, hosts, ahead, .. } = batch;
                if !ahead.is_empty() {
                    self.shown.know(Timestamp::MAX);
                }
                self.next_schedule = Timestamp(0);
                self.backlog.extend(kept);
                self.look_at(queues);
                let wants = hosts.into_iter().map(Want::Host).collect();
                self.wants.add(wants, Vec::new(), &self.node.permits, (self.clock)());
                self.next_wake = (self.clock)();
                self.find_no_room(store, asks).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// A transaction found no room for these. Makes some; where that is not enough for everything, new work is refused from
    /// now on, and where it is for nothing, everybody.
    async fn find_no_room<S: Store>(&mut self, store: &mut S, asks: Vec<Ask>) -> Result<(), StoreError> {
        store.make_room().await?;
        if self.full.is_some() {
            self.refuse(asks);
            self.full_max = (self.full_max / 2).max(1);
            self.is_over = self.completions.is_closed() && self.completions.is_empty();
            tokio::time::sleep(FULL_PAUSE).await;
            return Ok(());
        }
        let is_again = std::mem::replace(&mut self.made_room, true);
        if is_again || !store.has_room().await? {
            self.is_full();
            self.full_max = FULL_INPUTS_MAX;
            let (refused, begun) = asks.into_iter().partition(|ask| ask.submission.is_new_work());
            self.refuse(refused);
            self.try_again(begun);
        } else {
            self.try_again(asks);
        }
        Ok(())
    }

    fn is_full(&mut self) {
        tracing::error!("{FULL}");
        self.full = Some(Instant::now());
        self.status.set_full_since(Some((self.clock)()));
    }

    /// Stops new work where there is no room, and goes on with everything as soon as there is some again.
    async fn look_for_room<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        if self.full.is_some_and(|since| since.elapsed() < LOOK_AGAIN) {
            return Ok(());
        }
        match (store.has_room().await?, self.full) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => self.is_full(),
            (true, Some(_)) => {
                tracing::info!("there is room on the disk again: new work is taken");
                self.full = None;
                self.node.permits.forget_silence((self.clock)());
                self.status.set_full_since(None);
                self.next_wake = Timestamp(0);
                self.take_up(store).await?;
            }
        }
        Ok(())
    }

    /// Takes the next step of a sweep, or the first one if it is time for it. Every second is looked whether it is.
    async fn sweep_on<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        let now = (self.clock)();
        let sweep = &mut self.sweep;
        sweep.batches = 0;
        if sweep.at.is_none() && now >= sweep.next {
            sweep.next = now + sweep.ages.sweep_every();
            sweep.at = Some(Place::FIRST);
        }
        let Some(at) = sweep.at else { return Ok(()) };
        match prune(store, at, &sweep.ages, || BatchId(uuid::Uuid::now_v7().as_u128())).await {
            Ok(pruned) => {
                sweep.at = pruned.next;
                sweep.taken.0 += pruned.tasks;
                sweep.taken.1 += pruned.events;
            }
            // Removing takes room too, in the log. A sweep begins anew soon: it frees what there is to be freed.
            Err(StoreError::Full) => {
                sweep.at = None;
                sweep.next = now + SWEEP_AGAIN;
                self.find_no_room(store, Vec::new()).await?;
                return Ok(());
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
        if sweep.at.is_none() && sweep.taken != (0, 0) {
            let (tasks, events) = std::mem::take(&mut sweep.taken);
            tracing::info!(tasks, events, "pruned what is older than [retention] keeps");
        }
        Ok(())
    }

    /// Answers callers that nothing has happened. A response that came has nobody to ask again, and waits.
    fn refuse(&mut self, asks: Vec<Ask>) {
        for ask in asks {
            match ask.answer {
                Some(answer) => drop(answer.send(Err(SubmitError::Full))),
                None => self.try_again(vec![ask]),
            }
        }
    }

    /// Keeps these for one of the next transactions. Their places came back with the first one.
    fn try_again(&mut self, asks: Vec<Ask>) {
        self.unsettled.extend(asks.into_iter().map(|ask| Ask { permit: None, ..ask }));
    }

    fn hand_over(&mut self, asks: Vec<Ask>, committed: Committed) {
        let now = (self.clock)();
        for dispatch in &committed.dispatches {
            if dispatch.send == 1 {
                // A task may be due before it is there.
                let due_at = dispatch.task.due_at.max(dispatch.task.created_at);
                self.metrics.dispatched(now.since(due_at));
            }
        }
        if let Some(permits) = committed.permits {
            self.status.learn(permits.changed().map(|host| (host, permits.probe_at(host))));
            self.wants.recovered(&self.node.permits, &permits);
            self.node.permits.adopt(permits);
        }
        self.wants.add(committed.wants, committed.wants_more, &self.node.permits, now);
        self.wants.settled();
        if let Some(wake) = committed.next_wake {
            self.next_wake = self.next_wake.min(wake);
        }
        if let Some(wake) = committed.next_schedule {
            self.next_schedule = self.next_schedule.min(wake);
        }
        if committed.rests {
            // What is due stays due: it is looked at again when the server may have been resumed, or have room.
            self.next_schedule = self.next_schedule.max(self.shown.now() + LOOK_AGAIN);
        }
        self.backlog.extend(committed.kept);
        let (dispatches, watch) = (self.dispatches.clone(), self.watch.clone());
        // Told over there, all callers of a batch cost one wake-up, and the next batch begins meanwhile.
        self.callers.spawn(async move {
            for (ask, receipt) in asks.into_iter().zip(committed.receipts) {
                if let Some(answer) = ask.answer {
                    // A caller that hung up has its answer stored all the same.
                    let _ = answer.send(Ok(receipt));
                }
            }
            for dispatch in committed.dispatches {
                // Where the sender is gone the process is ending: the attempt is sent again at the next start.
                let _ = dispatches.send(dispatch);
            }
            watch.tell(&committed.ended);
        });
    }
}

enum Waited {
    Ask(Ask),
    Due,
    Over,
}

/// A lane's thread, and word of its end.
#[derive(Debug)]
pub struct LaneThread {
    /// Resolves with the reason when the lane has ended.
    pub ended: oneshot::Receiver<Result<(), StoreError>>,
    thread: std::thread::JoinHandle<()>,
}

impl LaneThread {
    /// Waits for the thread itself, so that the store is closed.
    pub fn join(self) {
        let started = Instant::now();
        if self.thread.join().is_err() {
            tracing::error!(after = ?started.elapsed(), "the writer's thread panicked");
        }
    }
}

/// Runs a lane on a thread of its own: a store may block there without anybody else waiting.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn<S: Store + Send + 'static>(lane: Lane, mut store: S) -> std::io::Result<LaneThread> {
    let (tell, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("lane".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(lane.run(&mut store)),
            Err(error) => Err(StoreError::Broken(format!("no runtime for the writer: {error}"))),
        };
        drop(store);
        let _ = tell.send(result);
    })?;
    Ok(LaneThread { ended, thread })
}
