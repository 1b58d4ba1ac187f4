//! Which of the tasks that are due may start: a visit of one queue.
//!
//! Everything that holds a task back is looked at here and nowhere else: whether the server is held, the queue itself,
//! its limits and those of the key, the places with the target host, the places of this node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Context;
use crate::decision::{Cause, Change, Decision, Effect, QueueChange, Want};
use crate::id::{ConcurrencyKey, HostKey, QueueKey};
use crate::input::FollowUp;
use crate::limits;
use crate::permits::Permits;
use crate::queue::{Closed, KeyUse, Line, Queue, Shut};
use crate::subjects::Subjects;
use crate::task::{State, woken};
use crate::time::Timestamp;

/// Why a task that starts did so.
pub const CAUSE: Cause = Cause::Queue;

/// What is loaded for a visit of a queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Visit {
    /// Open lines: higher priority first, within one priority in the order of their turns.
    pub lines: Vec<Standing>,
    /// There may be more open lines behind them.
    pub more: bool,
    /// What the keys of these lines have used.
    pub keys: BTreeMap<ConcurrencyKey, KeyUse>,
    /// Lines closed for their key's sake whose key has room again.
    pub freed: Vec<Line>,
    /// When the first of the keys that are at their rate has room again.
    pub next_free: Option<Timestamp>,
}

/// The head of a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The line.
    pub line: Line,
    /// Its first tasks whose host has a free place, in order.
    pub tasks: Vec<crate::TaskKey>,
    /// Other tasks of it may stand behind them.
    pub more: bool,
    /// Hosts without a free place for which tasks of it wait.
    pub blocked: Vec<HostKey>,
}

/// How many tasks a visit wants to see: as many as could start, and no more than it may look at.
#[must_use]
pub fn wanted(cx: &Context, queue: &Queue) -> usize {
    match queue.room(cx.now) {
        Err(Shut::Paused | Shut::Concurrency(_)) => 0,
        // Whether anything waits at all.
        Err(Shut::Rate(_)) => 1,
        Ok(_) if cx.rests() => 1,
        // Without a free place for an exchange, whether anything waits at all.
        Ok(room) => count(room.min(cx.permits.free)).clamp(1, limits::CANDIDATES_MAX),
    }
}

/// How many lines a visit looks at that wants to see so many tasks.
#[must_use]
pub fn lines_wanted(wanted: usize) -> usize {
    wanted.min(limits::LINES_PER_VISIT)
}

/// How many tasks a visit wants to see of a line whose key has used this, where it wants so many of `lines` lines.
#[must_use]
pub fn wanted_of_line(
    cx: &Context,
    queue: &Queue,
    key: ConcurrencyKey,
    used: KeyUse,
    (wanted, lines): (usize, usize),
) -> usize {
    let each = wanted.div_ceil(lines.max(1));
    let room = queue.settings.key_room(key, used, cx.now).unwrap_or(0);
    // One more shows whether anybody waits behind those that may start.
    each.min(count(room).saturating_add(1))
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Starts as many of the queue's tasks as all limits allow, each line in its turn. The others stay `queued`.
pub fn decide(cx: &Context, subjects: &Subjects, key: QueueKey) -> Decision {
    let Some(visit) = subjects.visit(key) else {
        // What was loaded was used up by an earlier look of the same round.
        return Decision::nothing().then(FollowUp::Look(key));
    };
    let Some(queue) = subjects.queue(key) else { return Decision::nothing() };
    if !visit.freed.is_empty() {
        // They take their turn with the others, so they are opened before anybody starts.
        let mut decision = Decision::nothing();
        decision.queues.extend(visit.freed.iter().map(|line| (key, QueueChange::LineOpened { line: *line })));
        return decision.then(FollowUp::Look(key));
    }
    let mut admission = Admission::new(cx, subjects, queue.clone(), visit);
    admission.run();
    admission.finish()
}

/// A host has free places again: the lines that wait for it are opened, higher priorities first, and then those
/// that wait longest.
pub fn host_free(subjects: &Subjects, host: HostKey) -> Decision {
    let page = subjects.waiting_for_host(host);
    let mut decision = Decision::nothing();
    let mut queues = BTreeSet::new();
    for line in &page.rows {
        decision.queues.push((line.queue, QueueChange::LineOpened { line: *line }));
        queues.insert(line.queue);
    }
    decision.follow_ups.extend(queues.into_iter().map(FollowUp::Look));
    if page.more {
        decision.wants.push(Want::Host(host));
    }
    decision
}

/// One visit as it goes on.
struct Admission<'a> {
    cx: &'a Context,
    subjects: &'a Subjects,
    visit: &'a Visit,
    queue: Queue,
    permits: Permits,
    keys: BTreeMap<ConcurrencyKey, KeyUse>,
    /// For each line, the place of the next task to look at.
    next: Vec<usize>,
    /// For each line, the hosts for which tasks of it wait.
    blocked: Vec<BTreeSet<HostKey>>,
    /// For each line, whether a task of it is too large for what this node may still hold.
    too_large: Vec<bool>,
    /// Lines that are closed since.
    closed: BTreeSet<Line>,
    /// The earliest instant at which a rate lets something begin again.
    wake_at: Option<Timestamp>,
    /// Tasks stand behind those that were loaded of a line.
    behind: bool,
    /// A task that was loaded waits no more, or its host has no place any more.
    gone: bool,
    decision: Decision,
}

/// What came of a line's turn.
enum Turn {
    /// An attempt has begun.
    Began,
    /// The line has nothing more to start in this visit.
    Over,
    /// Nothing may start at all.
    Shut,
}

impl<'a> Admission<'a> {
    fn new(cx: &'a Context, subjects: &'a Subjects, queue: Queue, visit: &'a Visit) -> Admission<'a> {
        let blocked = visit.lines.iter().map(|standing| standing.blocked.iter().copied().collect());
        Admission {
            cx,
            subjects,
            visit,
            queue,
            permits: cx.permits.clone(),
            keys: visit.keys.clone(),
            next: vec![0; visit.lines.len()],
            blocked: blocked.collect(),
            closed: BTreeSet::new(),
            too_large: vec![false; visit.lines.len()],
            wake_at: visit.next_free,
            behind: false,
            gone: false,
            decision: Decision::nothing(),
        }
    }

    fn run(&mut self) {
        let mut from = 0;
        while let Some(first) = self.visit.lines.get(from) {
            let priority = first.line.priority;
            let same = |standing: &Standing| standing.line.priority == priority;
            let until = from + self.visit.lines[from..].iter().take_while(|standing| same(standing)).count();
            let mut turns: VecDeque<usize> = (from..until).collect();
            while let Some(at) = turns.pop_front() {
                match self.turn(at) {
                    Turn::Began => turns.push_back(at),
                    Turn::Over => {}
                    Turn::Shut => return,
                }
            }
            if self.behind {
                // What stands behind the tasks of this priority goes before those of the next.
                return;
            }
            from = until;
        }
    }

    /// One line's turn: its first task that may start does.
    fn turn(&mut self, at: usize) -> Turn {
        let standing = &self.visit.lines[at];
        let line = standing.line;
        if self.cx.rests() {
            // The lines stay open, so that whoever resumes finds them.
            return Turn::Shut;
        }
        let room = match self.queue.room(self.cx.now) {
            Err(shut) => {
                if let Shut::Rate(free_at) = shut {
                    self.wake(free_at);
                }
                return Turn::Shut;
            }
            Ok(room) => room,
        };
        debug_assert!(room > 0, "a queue with no room says why");
        if self.permits.is_exhausted() {
            self.decision.wants.push(Want::Queue(line.queue));
            return Turn::Shut;
        }
        loop {
            let Some(key) = standing.tasks.get(self.next[at]).copied() else { return self.over(at) };
            // An input decided before this one may have cancelled it.
            let Some(task) = self.subjects.task(key).filter(|task| task.state == State::Queued) else {
                self.gone = true;
                self.next[at] += 1;
                continue;
            };
            // Its own wake-up would end it, and may stand behind this look.
            if task.is_behind_its_deadline(self.cx.now) {
                if self.decision.follow_ups.len() == limits::LATE_PER_VISIT {
                    (self.behind, self.gone) = (true, true);
                    return Turn::Over;
                }
                let ended = woken::deadline_passed(task, woken::past_deadline());
                self.decision.changes.extend(ended.changes);
                self.decision.follow_ups.extend(ended.follow_ups);
                self.gone = true;
                self.next[at] += 1;
                continue;
            }
            let used = self.keys.get(&line.key).copied().unwrap_or_default();
            if let Err(why) = self.queue.settings.key_room(line.key, used, self.cx.now) {
                return self.close(line, why);
            }
            self.next[at] += 1;
            let (Some(host), bytes) = (task.plan.host, task.plan.payload_bytes) else { continue };
            if self.permits.free_with(host, self.cx.now) == 0 {
                self.blocked[at].insert(host);
                // It had a place as this was loaded: the next visit sees those that stand behind its tasks.
                self.gone |= standing.more && !cfg!(planted = "filled_host_hides_a_line");
                continue;
            }
            if !self.permits.allow(host, bytes, self.cx.now) {
                // Too large for the bytes that are left: smaller ones pass it until some come back.
                self.decision.wants.push(Want::Queue(line.queue));
                self.too_large[at] = true;
                continue;
            }
            self.begin(line, key, host, bytes);
            return Turn::Began;
        }
    }

    fn begin(&mut self, line: Line, key: crate::TaskKey, host: HostKey, bytes: u32) {
        self.permits.take(host, bytes, self.cx.now);
        let attempt = self.subjects.task(key).map_or(0, crate::Task::attempt_number) + 1;
        let began = QueueChange::Began { line };
        let used = self.keys.entry(line.key).or_default();
        *used = self.queue.settings.key_taken(*used, self.cx.now);
        self.queue = self.queue.clone().evolve(self.cx.now, &began);
        self.decision.queues.push((line.queue, began));
        self.decision.changes.push((key, Change::Dispatched { attempt }));
        self.decision.effects.push(Effect::Dispatch { task: key, attempt, send: 1 });
    }

    /// A line whose loaded tasks are used up.
    fn over(&mut self, at: usize) -> Turn {
        let standing = &self.visit.lines[at];
        let blocked = std::mem::take(&mut self.blocked[at]);
        match (standing.more, blocked.is_empty()) {
            (true, _) => {
                self.behind = true;
                Turn::Over
            }
            (false, _) if self.too_large[at] => Turn::Over,
            (false, true) => self.close(standing.line, Closed::Empty),
            (false, false) => self.close(standing.line, Closed::Hosts(blocked.into_iter().collect())),
        }
    }

    fn close(&mut self, line: Line, why: Closed) -> Turn {
        match &why {
            Closed::KeyRate(free_at) => self.wake(*free_at),
            Closed::Hosts(hosts) => self.decision.wants.extend(hosts.iter().copied().map(Want::Host)),
            Closed::Empty | Closed::KeyLimit => {}
        }
        self.closed.insert(line);
        self.decision.queues.push((line.queue, QueueChange::LineClosed { line, why }));
        Turn::Over
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }

    fn finish(mut self) -> Decision {
        for (at, standing) in self.visit.lines.iter().enumerate() {
            let over = self.next[at] == standing.tasks.len() && !standing.more && !self.too_large[at];
            if over && self.blocked[at].is_empty() && !self.closed.contains(&standing.line) {
                // Nobody is left in it, whether or not it would have had another turn.
                self.close(standing.line, Closed::Empty);
            }
        }
        let key = self.queue.key;
        let wake_at = if self.queue.paused { None } else { self.wake_at };
        // Without a change another visit would find just the same.
        let progress = !self.decision.queues.is_empty();
        if wake_at != self.queue.wake_at {
            self.decision.queues.push((key, QueueChange::Rearmed { wake_at }));
        }
        let may_start =
            !self.cx.rests() && self.queue.room(self.cx.now).is_ok() && !self.permits.is_exhausted();
        let again = self.gone || ((self.behind || self.visit.more) && progress);
        if again && may_start {
            return self.decision.then(FollowUp::Look(key));
        }
        self.decision
    }
}
