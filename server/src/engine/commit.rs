//! One batch, one transaction: the only place that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taskhook_core::retention::{Ages, Place};
use taskhook_core::{
    BulkKey, Change, Context, Decided, Decision, Effect, FollowUp, HoldChange, HostKey, Input, Outcome,
    Permits, QueueKey, Request, ScheduleChange, ScheduleCommand, ScheduleKey, Subjects, Task, TaskKey,
    Timestamp, Want, decide_all, limits, schedule,
};

use crate::engine::audit;
use crate::engine::submission::{self, Submission};
use crate::engine::{Permit, Receipt};
use crate::store::row;
use crate::store::row::oversight::poll_request;
use crate::store::{BatchId, Correlate, Kept, KeptKey, Outgoing, Pruned, Store, StoreError, Transaction};

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// From the edge.
    pub submissions: Vec<&'a Submission>,
    /// Tasks that want to be looked at.
    pub due: Vec<TaskKey>,
    /// Schedules that want to be looked at.
    pub schedules: Vec<ScheduleKey>,
    /// Bulks that want to be looked at.
    pub bulks: Vec<BulkKey>,
    /// Schedules whose instants are decided for a time that has not come: the clock was set back.
    pub ahead: Vec<ScheduleKey>,
    /// Queues to look at: because of the time, or of permits that are free.
    pub queues: Vec<QueueKey>,
    /// Hosts that have free places for lines that wait for one.
    pub hosts: Vec<HostKey>,
    /// Follow-ups that an earlier transaction has kept.
    pub kept: Vec<Kept>,
}

/// What one transaction has made true, and what is to be done now.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each submission, in order.
    pub receipts: Vec<Receipt>,
    /// What leaves.
    pub dispatches: Vec<Dispatch>,
    /// Follow-ups that did not fit: they are kept, and go on in the next transaction.
    pub kept: Vec<Kept>,
    /// The earliest time at which a task, a queue or a bulk of this batch wants to be looked at.
    pub next_wake: Option<Timestamp>,
    /// The earliest time of the machine's clock at which a schedule of this batch does.
    pub next_schedule: Option<Timestamp>,
    /// The node's permits, without those that the dispatches take, and what was learnt of hosts.
    pub permits: Option<Permits>,
    /// Who is to be asked again when there are places.
    pub wants: Vec<Want>,
    /// The same of those who were given something, and want more: they have had their turn.
    pub wants_more: Vec<Want>,
    /// The tasks that ended.
    pub ended: Vec<TaskKey>,
    /// What has become of the server: once it is resumed, all that may begin is to be looked at.
    pub hold: Option<HoldChange>,
    /// Nothing was sent and no schedule fired, nor will any: the server is held, or its disk is full.
    pub rests: bool,
    /// What is counted of it.
    pub tally: Tally,
}

/// What is counted of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Inputs decided.
    pub decisions: usize,
    /// Attempts that succeeded, failed, and were asked to wait, by queue.
    pub attempts: BTreeMap<QueueKey, [u64; 3]>,
    /// Webhooks, by the number of their outcome.
    pub events: BTreeMap<i64, u64>,
    /// Instants of schedules that were not decided in time and made no task.
    pub missed: u64,
}

/// An attempt to be sent, with all that the sender needs.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The task as the transaction leaves it.
    pub task: Task,
    /// Its public id.
    pub id: String,
    /// The attempt's number.
    pub attempt: u32,
    /// How often it was sent, with this time; 0: it is a poll.
    pub send: u8,
    /// What is sent.
    pub request: Arc<Request>,
    /// How the remote's own id of the task is found in the response.
    pub correlate: Option<Correlate>,
    /// The queue whose secret signs it.
    pub signer: QueueKey,
    /// It asks the remote how the attempt is.
    pub poll: Option<Question>,
}

/// What a poll asks.
#[derive(Debug, Clone)]
pub struct Question {
    /// The host that is asked.
    pub host: HostKey,
    /// Where in the answer is found how the attempt is.
    pub map: Arc<BTreeMap<String, String>>,
}

impl Dispatch {
    /// The place that its exchange holds; `None` where nobody is to be called.
    #[must_use]
    pub fn permit(&self) -> Option<Permit> {
        match &self.poll {
            Some(question) => Some(Permit { host: question.host, bytes: 0, poll: true }),
            None => {
                let bytes = self.task.plan.payload_bytes;
                self.task.plan.host.map(|host| Permit { host, bytes, poll: false })
            }
        }
    }
}

/// What a transaction may know of its node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Since when it has been up.
    pub up_since: Timestamp,
    /// What the machine's clock shows.
    pub shown: Timestamp,
    /// Its free exchanges.
    pub permits: Permits,
    /// There is no room on its disk but for what moves begun work.
    pub full: bool,
}

/// Decides a batch and makes it durable, however often another transaction is in the way.
///
/// # Errors
/// [`StoreError::Full`] or [`StoreError::Broken`]: nothing of the batch has happened as far as anybody may be
/// told.
pub async fn commit<S: Store>(
    store: &mut S,
    node: &Node,
    batch: &Batch<'_>,
    mut next_id: impl FnMut() -> BatchId,
) -> Result<Committed, StoreError> {
    loop {
        let id = next_id();
        match commit_once(store, node, batch, id).await {
            Ok((committed, Ok(()))) => return Ok(committed),
            #[cfg(planted = "answer_before_commit")]
            Ok((committed, _)) => return Ok(committed),
            #[cfg(planted = "effects_without_commit")]
            Ok((committed, Err(StoreError::Conflict))) if !committed.dispatches.is_empty() => {
                return Ok(committed);
            }
            // The connection was lost during COMMIT. What was decided stands if it turns out to be stored.
            Ok((committed, Err(StoreError::Unknown))) => {
                if (store.was_committed(id).await? || cfg!(planted = "unknown_is_committed"))
                    && !cfg!(planted = "unknown_is_not_committed")
                {
                    return Ok(committed);
                }
            }
            // Deciding is pure, so deciding again is free.
            Ok((_, Err(StoreError::Conflict))) | Err(StoreError::Conflict) => {}
            Ok((_, Err(error))) | Err(error) => return Err(error),
        }
    }
}

/// Takes one step of a sweep, in a transaction of its own.
///
/// # Errors
/// As [`commit`]: then nothing was taken away.
pub async fn prune<S: Store>(
    store: &mut S,
    from: Place,
    ages: &Ages,
    mut next_id: impl FnMut() -> BatchId,
) -> Result<Pruned, StoreError> {
    loop {
        let id = next_id();
        let mut tx = store.begin(id).await?;
        let pruned = tx.prune(from, ages, limits::PRUNED_ROWS_MAX).await?;
        match tx.commit().await {
            Ok(()) => return Ok(pruned),
            Err(StoreError::Unknown) if store.was_committed(id).await? => return Ok(pruned),
            Err(StoreError::Unknown | StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn commit_once<S: Store>(
    store: &mut S,
    node: &Node,
    batch: &Batch<'_>,
    id: BatchId,
) -> Result<(Committed, Result<(), StoreError>), StoreError> {
    let mut tx = store.begin(id).await?;
    let (held, permits) = (tx.held().await?, node.permits.clone());
    let mut cx =
        Context { now: tx.now(), shown: node.shown, up_since: node.up_since, held, full: node.full, permits };
    let mut subjects = Subjects::default();
    let mut done = Progress::default();

    let mut round = submission::resolve(&mut tx, &batch.submissions).await?;
    round.extend(batch.due.iter().map(|task| Input::Wake(*task)));
    let set_back = |schedule: &ScheduleKey| Input::Schedule(*schedule, ScheduleCommand::ClockSetBack);
    round.extend(batch.ahead.iter().map(set_back));
    round.extend(batch.schedules.iter().map(|schedule| Input::WakeSchedule(*schedule)));
    round.extend(batch.bulks.iter().map(|bulk| Input::WakeBulk(*bulk)));
    round.extend(batch.queues.iter().map(|queue| Input::FollowUp(FollowUp::Look(*queue))));
    round.extend(batch.hosts.iter().map(|host| Input::FollowUp(FollowUp::HostFree(*host))));
    round.extend(batch.kept.iter().map(|kept| Input::FollowUp(kept.follow_up)));
    // A kept follow-up is taken in the transaction that decides it, or it stays.
    let first_kept = round.len() - batch.kept.len();
    let mut still_kept: Vec<Kept> = Vec::new();
    let mut left: BTreeSet<FollowUp> = BTreeSet::new();
    for number in 0..limits::ROUNDS_MAX {
        let locked = tx.load(&cx, &round, &mut subjects).await?;
        if number == 0 {
            let mut taken: Vec<KeptKey> = Vec::new();
            for (at, kept) in batch.kept.iter().enumerate() {
                match locked.contains(&(first_kept + at)) {
                    true => still_kept.push(*kept),
                    false => taken.push(kept.key),
                }
            }
            tx.take(&taken).await?;
        }
        let is_kept = |at: usize| number == 0 && at >= first_kept;
        left.extend(locked.iter().filter(|at| !is_kept(**at)).filter_map(|at| follow_up(&round[*at])));
        #[cfg(planted = "locked_is_dropped")]
        left.clear();
        let free = without(round, &locked);
        let decided = decide_all(&mut cx, &mut subjects, &free);
        report_defects(&mut tx, &free, &decided).await?;
        tx.save(&decided, &subjects).await?;
        if number == 0 {
            // Only follow-ups are ever locked, so the submissions stand where they stood.
            tx.audit(&audit::entries(&batch.submissions, &decided)).await?;
        }
        round = done.add(&free, decided, &subjects);
        // A wide round would make every caller of the batch wait for it.
        let beyond = round.split_off(round.len().min(limits::ROUND_INPUTS_MAX));
        left.extend(beyond.iter().filter_map(follow_up));
        if round.is_empty() {
            break;
        }
    }
    left.extend(round.iter().filter_map(follow_up).filter(|_| !cfg!(planted = "last_round_is_dropped")));
    let mut committed = gather(&mut tx, done, &subjects, left, batch.submissions.len()).await?;
    committed.kept.extend(still_kept);
    committed.rests = cx.rests();
    committed.permits = Some(cx.permits);
    let result = tx.commit().await;
    Ok((committed, result))
}

/// Keeps what is left, and gathers what leaves after the commit.
async fn gather(
    tx: &mut impl Transaction,
    done: Progress,
    subjects: &Subjects,
    left: BTreeSet<FollowUp>,
    submissions: usize,
) -> Result<Committed, StoreError> {
    let left: Vec<FollowUp> = left.into_iter().collect();
    let keys = tx.keep(if cfg!(planted = "kept_in_memory_alone") { &[] } else { &left }).await?;
    let dispatches = leaving(tx, &done.effects, subjects).await?;
    let tasks = subjects.tasks().filter_map(|task| task.wake_at);
    let queues = subjects.queues().filter_map(|queue| queue.wake_at);
    let bulks = subjects.bulks().filter_map(|bulk| bulk.wake_at);
    let next_wake = tasks.chain(queues).chain(bulks).min();
    let mut receipts = done.receipts;
    receipts.truncate(submissions);
    Ok(Committed {
        receipts,
        dispatches,
        kept: keys.into_iter().zip(left).map(|(key, follow_up)| Kept { key, follow_up }).collect(),
        next_wake,
        next_schedule: subjects.schedules().filter_map(|schedule| schedule.wake_at).min(),
        permits: None,
        wants: done.wants,
        wants_more: done.wants_more,
        ended: done.ended,
        hold: done.hold,
        rests: false,
        tally: done.tally,
    })
}

/// What leaves after the commit, in the order in which it was decided.
async fn leaving(
    tx: &mut impl Transaction,
    effects: &[Effect],
    subjects: &Subjects,
) -> Result<Vec<Dispatch>, StoreError> {
    let (polls, sends): (Vec<&Effect>, Vec<&Effect>) =
        effects.iter().partition(|effect| matches!(effect, Effect::Poll { .. }));
    let keys = |effects: &[&Effect]| effects.iter().map(|effect| effect.task()).collect::<Vec<TaskKey>>();
    let mut leaving = Vec::with_capacity(effects.len());
    for (effect, outgoing) in sends.iter().zip(tx.requests(&keys(&sends)).await?) {
        let Effect::Dispatch { attempt, send, .. } = **effect else { continue };
        let Some(task) = subjects.task(effect.task()).cloned() else { continue };
        let Outgoing { id, request, correlate, signer } = outgoing;
        let signer = signer.unwrap_or(task.plan.queue);
        leaving.push(Dispatch { task, id, attempt, send, request, correlate, signer, poll: None });
    }
    for (effect, (id, status)) in polls.iter().zip(tx.statuses(&keys(&polls)).await?) {
        let Effect::Poll { attempt, host, ref location, .. } = **effect else { continue };
        let Some(task) = subjects.task(effect.task()).cloned() else { continue };
        let Some(request) = poll_request(&status, location.as_ref()) else { continue };
        let poll = Some(Question { host, map: Arc::new(status.map) });
        let signer = task.plan.queue;
        leaving.push(Dispatch { task, id, attempt, send: 0, request, correlate: None, signer, poll });
    }
    Ok(leaving)
}

/// What the rounds of one transaction have come to.
#[derive(Debug, Default)]
struct Progress {
    receipts: Vec<Receipt>,
    effects: Vec<Effect>,
    wants: Vec<Want>,
    wants_more: Vec<Want>,
    ended: Vec<TaskKey>,
    hold: Option<HoldChange>,
    tally: Tally,
}

impl Progress {
    /// Takes in a round, and gives the next one: its follow-ups, each once.
    fn add(&mut self, round: &[Input], decided: Vec<Decided>, subjects: &Subjects) -> Vec<Input> {
        let first = self.tally.decisions == 0;
        self.tally.decisions += decided.len();
        let mut seen = BTreeSet::new();
        let mut next = Vec::new();
        for (input, Decided { decision, .. }) in round.iter().zip(decided) {
            self.tally.count(&decision, subjects);
            let ended = decision.changes.iter().filter(|(_, change)| change.is_end()).map(|(task, _)| *task);
            self.ended.extend(ended);
            self.hold = decision.hold.or(self.hold);
            let wants = if decision.effects.is_empty() { &mut self.wants } else { &mut self.wants_more };
            wants.extend(decision.wants);
            self.effects.extend(decision.effects);
            if first {
                self.receipts.push(receipt(input, decision.outcome, subjects));
            }
            for follow_up in decision.follow_ups {
                if seen.insert(follow_up) {
                    next.push(follow_up);
                }
            }
        }
        // Tasks first, queues last: one look then sees everything that this round made ready.
        next.sort_by_key(|follow_up| matches!(follow_up, FollowUp::Look(_)));
        next.into_iter().map(Input::FollowUp).collect()
    }
}

impl Tally {
    fn count(&mut self, decision: &Decision, subjects: &Subjects) {
        for (task, change) in &decision.changes {
            let result = match change {
                Change::Succeeded { .. } => 0,
                Change::AttemptFailed { counted: true, .. } => 1,
                Change::AttemptFailed { counted: false, .. } => 2,
                _ => continue,
            };
            if let Some(task) = subjects.task(*task) {
                self.attempts.entry(task.plan.queue).or_default()[result] += 1;
            }
        }
        for (_, change) in &decision.schedules {
            let ScheduleChange::Decided { fates, .. } = change else { continue };
            self.missed += fates.iter().map(schedule::Fate::missed).sum::<u64>();
        }
        let outcomes = decision.unparked.iter().map(|unparked| &unparked.outcome);
        let outcomes = outcomes.chain(decision.event.as_ref().map(|_| &decision.outcome));
        for outcome in outcomes {
            *self.events.entry(row::outcome_columns(outcome).0).or_insert(0) += 1;
        }
    }
}

fn receipt(input: &Input, outcome: Outcome, subjects: &Subjects) -> Receipt {
    let (event, task) = match input {
        Input::Event(event) => {
            let known = event.external.and_then(|external| subjects.external(external));
            (Some(event.received.id), event.task.or(known.map(|correlation| correlation.task)))
        }
        Input::Command(task, _) => (None, Some(*task)),
        Input::Once(_, inner) => return receipt(inner, outcome, subjects),
        _ => (None, None),
    };
    let event = match outcome {
        Outcome::Duplicate(first) => Some(first),
        _ => event,
    };
    let task = task.and_then(|key| Some((key, subjects.task(key)?.state)));
    Receipt { outcome, event, task }
}

fn follow_up(input: &Input) -> Option<FollowUp> {
    match input {
        Input::FollowUp(follow_up) => Some(*follow_up),
        _ => None,
    }
}

fn without(round: Vec<Input>, locked: &[usize]) -> Vec<Input> {
    if locked.is_empty() {
        return round;
    }
    let free = round.into_iter().enumerate().filter(|(at, _)| !locked.contains(at));
    free.map(|(_, input)| input).collect()
}

/// A decision that panicked is a defect of ours: said loudly, and a follow-up is left aside, never lost.
async fn report_defects(
    tx: &mut impl Transaction,
    round: &[Input],
    decided: &[Decided],
) -> Result<(), StoreError> {
    for (input, decided) in round.iter().zip(decided) {
        let Some(message) = &decided.defect else { continue };
        tracing::error!(defect = message, ?input, "a decision failed: its input is quarantined");
        if let Some(follow_up) = follow_up(input) {
            tx.quarantine(&follow_up).await?;
        }
    }
    Ok(())
}
