//! One node: what a lane keeps in memory, and loses with its process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use taskhook::engine::commit::{Batch, Committed, Dispatch, Node as Known, commit, prune};
use taskhook::engine::submission::Submission;
use taskhook::engine::wants::Wants;
use taskhook::engine::{Permit, Receipt};
use taskhook::store::{BatchId, Kept, KeptKey, Store, StoreError};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{HoldChange, Permits, QueueKey, TaskKey, Timestamp, Want, limits};

use super::mortal::{Fate, Mortal};
use super::remote::Post;
use crate::{Random, ready};

/// The pause between two looks at schedules while nothing may begin.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whom an input is from, and who is answered.
#[derive(Debug, Clone)]
pub(super) enum From {
    /// The sender of a webhook; its number.
    Sender(Post, u64),
    /// A user.
    User,
    /// The end of an exchange that held this place; `None`: it is given back already.
    Exchange(Option<Permit>),
}

/// An input on its way.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) submission: Submission,
    pub(super) from: From,
}

/// What leaves a node after a commit.
#[derive(Debug)]
pub(super) enum Leaving {
    Answer(Box<(Ask, Receipt)>),
    Dispatch(Box<Dispatch>),
}

/// A process.
#[derive(Debug)]
pub(super) struct Node<S> {
    pub(super) store: Mortal<S>,
    known: Known,
    pub(super) backlog: VecDeque<Kept>,
    queues: BTreeSet<QueueKey>,
    wants: Wants,
    lost: VecDeque<TaskKey>,
    /// Exchanges that are open.
    pub(super) open: BTreeSet<u64>,
    pub(super) inbox: VecDeque<Ask>,
    pub(super) outbox: VecDeque<Leaving>,
    next_wake: Timestamp,
    next_schedule: Timestamp,
    /// Where its sweep is, if there is one.
    pub(super) sweep_at: Option<Place>,
    /// The disk was full: nothing is tried before this.
    pub(super) rests_until: Timestamp,
}

/// What became of a batch.
pub(super) enum Settled {
    /// It is durable.
    Done(Vec<Ask>, Box<Committed>),
    /// There was no room; these are to be told so.
    Refused(Vec<Ask>),
    /// The process died; perhaps it is durable.
    Died,
}

impl<S: Store> Node<S> {
    /// A process that starts on this store. What others have in hand is left to them.
    pub(super) fn start(
        store: S,
        now: Timestamp,
        permits: Permits,
        of_others: &BTreeSet<KeptKey>,
    ) -> Result<Node<S>, StoreError> {
        let mut store = Mortal { inner: store, fate: Fate::default(), saved: Vec::new() };
        let kept = ready(store.kept(KeptKey(i64::MIN), usize::MAX))?;
        let mut node = Node {
            store,
            known: Known { up_since: now, shown: now, permits, full: false },
            backlog: kept.into_iter().filter(|kept| !of_others.contains(&kept.key)).collect(),
            queues: BTreeSet::new(),
            wants: Wants::default(),
            lost: VecDeque::new(),
            open: BTreeSet::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            next_wake: Timestamp(0),
            next_schedule: Timestamp(0),
            sweep_at: None,
            rests_until: Timestamp(0),
        };
        node.takes_up(now)?;
        Ok(node)
    }

    /// Looks at all that may begin or was lost, as whoever starts or was resumed.
    fn takes_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let lost = self.store.exchanges(now + limits::LOST_AFTER, now + limits::POLL_PAUSE_MAX);
        self.lost = ready(lost)?.into();
        self.queues.extend(ready(self.store.waiting_queues())?);
        self.next_schedule = Timestamp(0);
        Ok(())
    }

    /// Takes a step of its sweep. Where there is no room for it, it is over.
    pub(super) fn sweeps(&mut self, ages: &Ages, batches: &mut u128) -> Result<(), StoreError> {
        let Some(from) = self.sweep_at.take() else { return Ok(()) };
        let next_id = || {
            *batches += 1;
            BatchId(*batches)
        };
        match ready(prune(&mut self.store, from, ages, next_id)) {
            Ok(pruned) => {
                self.sweep_at = pruned.next;
                Ok(())
            }
            Err(StoreError::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What it has to do.
    pub(super) fn words(&self) -> String {
        let Node { backlog, queues, wants, lost, inbox, outbox, next_wake, .. } = self;
        format!(
            "backlog {backlog:?}, queues {queues:?}, wants {wants:?}, lost {lost:?}, {} in, {} out, wakes at {next_wake}",
            inbox.len(),
            outbox.len()
        )
    }

    /// How many hosts are out of order, as far as it knows.
    pub(super) fn broken_hosts(&self) -> usize {
        self.known.permits.broken()
    }

    /// Whether each place that it counts as taken is that of an exchange.
    pub(super) fn counts_its_places(&self) -> bool {
        self.known.permits.open() as usize == self.open.len()
    }

    /// Whether there is something to commit now.
    pub(super) fn has_work(&self, now: Timestamp) -> bool {
        if now < self.rests_until {
            return false;
        }
        let asked = !self.inbox.is_empty() || !self.backlog.is_empty() || !self.queues.is_empty();
        let asked = asked || self.sweep_at.is_some();
        asked || !self.lost.is_empty() || self.next(now) <= now
    }

    /// When there is something to do by time alone.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let wants = self.wants.next(&self.known.permits).map(|at| at.max(now));
        let next = self.next_wake.min(self.next_schedule);
        wants.map_or(next, |at| at.min(next)).max(self.rests_until)
    }

    /// Commits some of what there is to do. With `hurry`, all of it.
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        random: &mut Random,
        hurry: bool,
        batches: &mut u128,
    ) -> Result<Settled, StoreError> {
        if !hurry && !self.backlog.is_empty() {
            // What was kept may be overtaken by anything.
            self.backlog.rotate_left(random.index(self.backlog.len()));
        }
        let mut some =
            |length: usize| if hurry { length } else { random.index(length + 1).max(length.min(1)) };
        let asks: Vec<Ask> = self.inbox.drain(..some(self.inbox.len().min(64))).collect();
        let kept: Vec<Kept> = self.backlog.drain(..some(self.backlog.len().min(256))).collect();
        for ask in &asks {
            if let From::Exchange(Some(permit)) = ask.from {
                permit.give_back(&mut self.known.permits);
                self.wants.returned(permit, &self.known.permits, now);
            }
        }
        let due = ready(self.store.due(now, some(64).max(1)))?;
        self.next_wake = due.next.unwrap_or(Timestamp::MAX);
        self.queues.extend(due.queues);
        let (schedules, next) = ready(self.store.due_schedules(now, limits::SCHEDULES_PER_BATCH))?;
        self.next_schedule = next.unwrap_or(Timestamp::MAX);
        let mut tasks = due.tasks;
        tasks.extend(std::mem::take(&mut self.lost));
        let mut queues: Vec<QueueKey> = std::mem::take(&mut self.queues).into_iter().collect();
        tasks.extend(self.wants.take_tasks(&self.known.permits, now));
        queues.extend(self.wants.take_queues(&self.known.permits));
        let hosts = self.wants.take_hosts(&self.known.permits, now);
        self.known.shown = now;
        let submissions = asks.iter().map(|ask| &ask.submission).collect();
        let batch = Batch { submissions, due: tasks, schedules, queues, hosts, kept, ..Batch::default() };
        let next_id = || {
            *batches += 1;
            BatchId(*batches)
        };
        match ready(commit(&mut self.store, &self.known, &batch, next_id)) {
            Ok(mut committed) => {
                drop(batch);
                if let Some(permits) = committed.permits.take() {
                    self.wants.recovered(&self.known.permits, &permits);
                    self.known.permits.adopt(permits);
                }
                let (wants, more) = (&mut committed.wants, &mut committed.wants_more);
                self.wants.add(std::mem::take(wants), std::mem::take(more), &self.known.permits, now);
                self.wants.settled();
                self.backlog.extend(std::mem::take(&mut committed.kept));
                self.next_wake = committed.next_wake.map_or(self.next_wake, |wake| wake.min(self.next_wake));
                self.next_schedule =
                    committed.next_schedule.unwrap_or(Timestamp::MAX).min(self.next_schedule);
                if committed.rests {
                    // What is due stays due, and is looked at again.
                    self.next_schedule = self.next_schedule.max(now + LOOK_AGAIN);
                }
                if committed.hold == Some(HoldChange::Resumed) {
                    self.takes_up(now)?;
                }
                Ok(Settled::Done(asks, Box::new(committed)))
            }
            Err(StoreError::Full) => {
                let Batch { kept, queues, hosts, .. } = batch;
                self.backlog.extend(kept);
                self.queues.extend(queues);
                let wants = hosts.into_iter().map(Want::Host).collect();
                self.wants.add(wants, Vec::new(), &self.known.permits, now);
                (self.next_wake, self.next_schedule) = (now, now);
                let lost = self.store.exchanges(now + limits::LOST_AFTER, now + limits::POLL_PAUSE_MAX);
                self.lost = ready(lost)?.into();
                self.rests_until = now + Duration::from_millis(100);
                let (replies, others): (Vec<Ask>, Vec<Ask>) =
                    asks.into_iter().partition(|ask| matches!(ask.from, From::Exchange(..)));
                // A response that came has nobody to ask again, and waits. Its place is free already.
                let waiting = replies.into_iter().map(|ask| Ask { from: From::Exchange(None), ..ask });
                self.inbox.extend(waiting);
                Ok(Settled::Refused(others))
            }
            Err(StoreError::Broken(_)) if self.store.fate.dies_in == Some(0) => Ok(Settled::Died),
            Err(error) => Err(error),
        }
    }
}

/// What is open of a node, by exchange.
pub(super) type Exchanges = BTreeMap<u64, super::remote::Exchange>;
