//! One bulk: a command to every task that a filter lets through, however many there are.
//!
//! It looks at the tasks in the order of their keys, a page at a time, and never turns back: no task is touched twice,
//! and none that was created after the bulk began. Each match is a follow-up to that task. The next page waits until
//! those of the last one are decided, so that what a bulk has under way is bounded, and until its rate has room.
//!
//! Decisions are grouped by cause: [`woken`] (its time has come) and [`commanded`] (users). Which tasks match is found
//! where the rows are, by [`Settings::wants`]; the same for every store.

pub mod commanded;
pub mod filter;
pub mod woken;

use std::sync::Arc;

pub use filter::{Facts, Filter, applies_to};

use crate::decision::BulkChange;
use crate::id::{BulkKey, TaskKey};
use crate::input::Command;
use crate::limits;
use crate::rate::Rate;
use crate::time::Timestamp;

/// One bulk, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bulk {
    /// Its key.
    pub key: BulkKey,
    /// What it does, and to which tasks.
    pub settings: Arc<Settings>,
    /// Where it is in its life.
    pub state: State,
    /// When it began: no task is touched that was created later.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The newest task there was when it began, which is the last one that it looks at.
    pub until: TaskKey,
    /// Every task up to this one was looked at.
    pub after: TaskKey,
    /// What has become of those that matched.
    pub counts: Counts,
    /// The state of its rate.
    pub paced: Timestamp,
    /// When it wants to be looked at again.
    pub wake_at: Option<Timestamp>,
}

/// What a bulk does, and to which tasks. It never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What each of the tasks is told.
    pub command: Command,
    /// Which tasks.
    pub filter: Filter,
    /// How many of them in a span of time; `None`: as many as there is time for.
    pub rate: Option<Rate>,
}

impl Settings {
    /// Whether a task matches: the filter lets it through, and the command can be applied to it.
    #[must_use]
    pub fn wants(&self, facts: &Facts<'_>) -> bool {
        applies_to(self.command, facts.state) && self.filter.lets_through(facts)
    }
}

/// Where a bulk is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It has tasks to look at, or waits for what was begun.
    Running,
    /// It has looked at every task, and each that matched has heard of it.
    Done,
    /// A user has stopped it: tasks that had not heard of it are left as they are.
    Cancelled,
    /// Deciding about it failed by a defect: it stopped where it was.
    Failed,
}

impl State {
    /// All of them, in the order of a bulk's life.
    pub const ALL: [State; 4] = [State::Running, State::Done, State::Cancelled, State::Failed];

    /// The contract's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
        }
    }
}

/// What has become of the tasks that a bulk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tasks that matched when they were looked at.
    pub matched: u64,
    /// Those of them that were changed.
    pub applied: u64,
    /// Those of them that could not be changed: another change came first, or something is in the way.
    pub refused: u64,
}

/// What one look at a bulk has found: the next tasks in the order of their keys. Every store fills one in with
/// [`take`](Look::take).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// It begins behind this task.
    pub after: TaskKey,
    /// The last task that was looked at.
    pub last: TaskKey,
    /// Those that match.
    pub tasks: Vec<TaskKey>,
    /// Whether there are tasks behind the last one.
    pub more: bool,
    looked_at: usize,
    matches_max: usize,
}

impl Look {
    /// Takes in the next task and whether it matches; answers whether the look goes on. One that was not taken in
    /// belongs to the next look.
    pub fn take(&mut self, task: TaskKey, matches: bool) -> bool {
        if self.looked_at == limits::BULK_LOOKS || self.tasks.len() == self.matches_max {
            self.more = true;
            return false;
        }
        self.looked_at += 1;
        self.last = task;
        if matches {
            self.tasks.push(task);
        }
        true
    }
}

impl Bulk {
    /// A bulk that begins its life. `until` is the newest task there is; `None`: there is none.
    #[must_use]
    pub fn begun(key: BulkKey, settings: Arc<Settings>, until: Option<TaskKey>, at: Timestamp) -> Bulk {
        let bulk = Bulk {
            key,
            settings,
            state: State::Running,
            began_at: at,
            ended_at: None,
            until: until.unwrap_or(TaskKey(i64::MIN)),
            after: TaskKey(i64::MIN),
            counts: Counts::default(),
            paced: Timestamp(i64::MIN),
            wake_at: None,
        };
        bulk.settled(at)
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// How many tasks matched and have not heard of it.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.counts.matched - self.counts.applied - self.counts.refused
    }

    /// The look that it may take at `now`, still empty; `None` while it has to wait, or has ended.
    #[must_use]
    pub fn look(&self, now: Timestamp) -> Option<Look> {
        let matches_max = match self.settings.rate {
            None => limits::BULK_PAGE,
            Some(rate) => {
                let room = usize::try_from(rate.room(self.paced_at(rate, now), now)).unwrap_or(usize::MAX);
                room.min(limits::BULK_PAGE)
            }
        };
        (self.is_running() && self.under_way() == 0 && matches_max > 0).then(|| Look {
            after: self.after,
            last: self.after,
            tasks: Vec::new(),
            more: false,
            looked_at: 0,
            matches_max,
        })
    }

    /// Takes in a fact. The only way in which a bulk changes.
    #[must_use]
    pub fn evolve(mut self, at: Timestamp, change: &BulkChange) -> Bulk {
        match change {
            BulkChange::Began { .. } | BulkChange::Rearmed => {}
            BulkChange::Looked { last, matched } => {
                self.after = *last;
                self.counts.matched += u64::from(*matched);
                if let Some(rate) = self.settings.rate {
                    let paced = self.paced_at(rate, at);
                    self.paced = (0..*matched).fold(paced, |paced, _| rate.take(paced, at));
                }
            }
            BulkChange::Applied => self.counts.applied += 1,
            BulkChange::Refused => self.counts.refused += 1,
            BulkChange::Cancelled => self.end(State::Cancelled, at),
            BulkChange::Failed => self.end(State::Failed, at),
        }
        self.settled(at)
    }

    fn settled(mut self, at: Timestamp) -> Bulk {
        if self.is_running() && self.under_way() == 0 && self.after >= self.until {
            self.end(State::Done, at);
        }
        self.wake_at = match self.settings.rate {
            _ if !self.is_running() => None,
            // What is under way comes by itself; this is for the case that it does not.
            _ if self.under_way() > 0 => Some(at + limits::BULK_LOOK_AGAIN),
            Some(rate) => Some(rate.free_at(self.paced_at(rate, at), at)),
            None => Some(at),
        };
        self
    }

    fn end(&mut self, state: State, at: Timestamp) {
        self.state = state;
        self.ended_at = Some(at);
    }

    /// The state of its rate. A clock that was set back does not hold it up.
    fn paced_at(&self, rate: Rate, now: Timestamp) -> Timestamp {
        self.paced.min(rate.furthest(now))
    }
}
