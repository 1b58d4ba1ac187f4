//! One schedule: what it says, how it takes in a change, and which of its instants are due.
//!
//! A schedule is due at *instants*. Each is decided once: it makes a task, or it says why it does not. `decided_until` is
//! the instant up to which everything is decided, so that nothing is decided twice whatever happens to the process. A
//! task has the name of its schedule and instant, so that an instant never makes a second one. Instants are times that
//! the machine's clock shows ([`Context::shown`](crate::Context)); a clock that is set back shows no instant that is not
//! decided.
//!
//! Decisions are grouped by cause: [`woken`] (an instant has come) and [`commanded`] (users). What they share, making one
//! task, is in `make`.

pub mod commanded;
mod make;
pub mod woken;

use std::sync::Arc;
use std::time::Duration;

use crate::cron::{BadRecurrence, Recurrence, jitter};
use crate::decision::ScheduleChange;
use crate::id::{ScheduleKey, TaskKey};
use crate::input::{Asked, Spec};
use crate::limits;
use crate::time::Timestamp;

pub use make::{end_previous, superseded};

/// One schedule, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its key.
    pub key: ScheduleKey,
    /// Its name: the ids of its tasks begin with it.
    pub name: Arc<str>,
    /// What it says.
    pub settings: Arc<Settings>,
    /// It makes no tasks by itself.
    pub paused: bool,
    /// When it was made; where an interval begins that has no other beginning.
    pub created_at: Timestamp,
    /// Every instant up to this one is decided.
    pub decided_until: Timestamp,
    /// Deciding about it failed by a defect: left alone until it is defined again.
    pub quarantined: bool,
    /// It is making up for instants that were not decided in time, and has more of them.
    pub catching_up: bool,
    /// Instants of the past that were asked for, and are not all made yet.
    pub backfill: Option<Backfill>,
    /// When it wants to be looked at again.
    pub wake_at: Option<Timestamp>,
    /// What has become of its instants so far.
    pub counts: Counts,
    /// What became of the newest ones, oldest first; at most [`limits::FATES_KEPT`].
    pub last: Vec<Fate>,
}

/// What a schedule says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// When it is due.
    pub rule: Rule,
    /// The IANA time zone of its clocks.
    pub timezone: String,
    /// The task of each instant; its `run_at` means nothing.
    pub asked: Asked,
    /// What of it no decision looks at.
    pub spec: Spec,
    /// What happens while an earlier task of it has not ended.
    pub overlap: Overlap,
    /// How far back instants count that were not decided in time.
    pub catch_up: Duration,
    /// Which of those make a task.
    pub missed: Missed,
    /// Each task starts up to this much later, drawn by its instant.
    pub jitter: Duration,
    /// No instant before this one.
    pub start_at: Option<Timestamp>,
    /// No instant after this one.
    pub end_at: Option<Timestamp>,
}

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// By a cron expression.
    Cron(String),
    /// Every so often.
    Every(Duration),
}

/// What happens at an instant while an earlier task of the schedule has not ended: the wait for its webhook is part of
/// its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overlap {
    /// No task.
    #[default]
    Skip,
    /// A task all the same.
    Allow,
    /// A task that waits for the end of the earlier one; none where one waits already.
    BufferOne,
    /// A task; the earlier ones are cancelled.
    CancelPrevious,
}

/// Which instants make a task that were not decided in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Missed {
    /// The last of them.
    #[default]
    Latest,
    /// The last [`limits::CAUGHT_UP_MAX`], one after the other unless they may overlap.
    All,
    /// None.
    Skip,
}

/// Instants of the past that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Instants behind this one are not made yet.
    pub after: Timestamp,
    /// The last one is not after this.
    pub until: Timestamp,
    /// Whether they may run at the same time; else each waits for the one before it.
    pub overlapping: bool,
    /// How many tasks it has made.
    pub made: u32,
}

/// How many instants have come to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// A task was made when they were due.
    pub fired: u64,
    /// A task was made since somebody asked for it.
    pub requested: u64,
    /// Not decided in time, and no task was made.
    pub missed: u64,
    /// An earlier task had not ended, and no task was made.
    pub overlapped: u64,
    /// The schedule was paused or changed, and no task was made.
    pub skipped: u64,
}

/// What became of an instant, or of several in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The instant, or the last of them.
    pub at: Timestamp,
    /// What became of it.
    pub what: What,
}

impl Fate {
    /// How many instants of it were not decided in time and made no task, with nobody wanting it so.
    #[must_use]
    pub fn missed(&self) -> u64 {
        match self.what {
            What::Missed { count, why, .. } if !why.is_wanted() => count,
            _ => 0,
        }
    }
}

/// What became of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// This task was made for it.
    Fired(TaskKey),
    /// The task of this instant existed.
    Existed(TaskKey),
    /// Somebody asked for this task.
    Requested(TaskKey),
    /// This task of the schedule had not ended.
    Overlapped(TaskKey),
    /// Several, since the first of them.
    Missed {
        /// The first of them.
        first: Timestamp,
        /// How many; at [`limits::INSTANTS_COUNTED_MAX`] at least so many.
        count: u64,
        /// Why no task was made.
        why: Why,
    },
}

/// Why instants that were due made no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was longer ago than `catch_up`.
    TooLate,
    /// A later one stands for them.
    Newer,
    /// The schedule says so.
    Skip,
    /// There were more than are made up for.
    TooMany,
    /// It was paused.
    Paused,
    /// It was changed before they were decided.
    Changed,
}

impl Why {
    /// Whether somebody wanted it so, rather than time having passed.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        matches!(self, Why::Paused | Why::Changed)
    }
}

impl Settings {
    /// When it is due, for a schedule made at `created_at`.
    ///
    /// # Errors
    /// If this release can no longer read it: what is stored was read when it was given.
    pub fn recurrence(&self, created_at: Timestamp) -> Result<Recurrence, BadRecurrence> {
        match &self.rule {
            Rule::Cron(expression) => Recurrence::cron(expression, &self.timezone),
            Rule::Every(interval) => {
                Recurrence::every(*interval, self.start_at.unwrap_or(created_at), &self.timezone)
            }
        }
    }

    /// Whether it has the same instants as `other`.
    fn is_due_as(&self, other: &Settings) -> bool {
        (&self.rule, &self.timezone, self.start_at, self.end_at)
            == (&other.rule, &other.timezone, other.start_at, other.end_at)
    }
}

impl Schedule {
    /// A schedule that begins its life, and knows nothing of the past.
    #[must_use]
    pub fn new(key: ScheduleKey, name: Arc<str>, settings: Arc<Settings>, shown: Timestamp) -> Schedule {
        Schedule {
            key,
            name,
            settings,
            paused: false,
            created_at: shown,
            decided_until: shown,
            quarantined: false,
            catching_up: false,
            backfill: None,
            wake_at: None,
            counts: Counts::default(),
            last: Vec::new(),
        }
    }

    /// When it is due.
    ///
    /// # Errors
    /// As [`Settings::recurrence`].
    pub fn recurrence(&self) -> Result<Recurrence, BadRecurrence> {
        self.settings.recurrence(self.created_at)
    }

    /// The instants after `after` at which it is due, its first and its last one considered.
    pub fn instants<'a>(
        &'a self,
        recurrence: &'a Recurrence,
        after: Timestamp,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let mut last = self.not_before(after);
        let end = self.settings.end_at.unwrap_or(Timestamp::MAX);
        std::iter::from_fn(move || {
            last = recurrence.next_after(last).filter(|next| *next <= end)?;
            Some(last)
        })
    }

    /// The next instant that is not decided.
    #[must_use]
    pub fn next_instant(&self) -> Option<Timestamp> {
        let recurrence = self.recurrence().ok()?;
        self.instants(&recurrence, self.decided_until).next()
    }

    /// The id of the task of an instant: whole seconds where it is one of the schedule's own, with milliseconds where
    /// somebody asked for it.
    #[must_use]
    pub fn task_id(&self, at: Timestamp) -> String {
        let text = at.to_string();
        match text.strip_suffix(".000Z") {
            Some(seconds) => format!("{}~{seconds}Z", self.name),
            None => format!("{}~{text}", self.name),
        }
    }

    /// When the task of an instant is due.
    #[must_use]
    pub fn run_at(&self, at: Timestamp) -> Timestamp {
        at + jitter(&self.name, at, self.settings.jitter)
    }

    /// How many tasks one look makes, so that no transaction grows too large.
    fn tasks_per_look(&self) -> usize {
        let bytes = usize::try_from(self.settings.asked.payload_bytes).unwrap_or(usize::MAX);
        (limits::BYTES_PER_LOOK / bytes.max(1)).clamp(1, limits::TASKS_PER_LOOK)
    }

    /// Takes in a fact. The only way in which a schedule changes.
    #[must_use]
    pub fn evolve(mut self, change: &ScheduleChange) -> Schedule {
        match change {
            ScheduleChange::Defined { settings, paused, .. } => {
                self.settings = settings.clone();
                self.paused = *paused;
                self.quarantined = false;
            }
            ScheduleChange::Paused => self.paused = true,
            ScheduleChange::Resumed => self.paused = false,
            ScheduleChange::Decided { until, fates, more } => {
                self.decided_until = *until;
                self.catching_up = *more;
                fates.iter().for_each(|fate| self.remember(*fate));
            }
            ScheduleChange::BackfillBegan { backfill } => self.backfill = Some(*backfill),
            ScheduleChange::BackfillWentOn { after, made } => {
                self.backfill = self.backfill.map(|backfill| Backfill {
                    after: *after,
                    made: backfill.made.saturating_add(*made),
                    ..backfill
                });
                self.backfill = self.backfill.filter(|backfill| backfill.after < backfill.until);
                self.counts.requested += u64::from(*made);
            }
            ScheduleChange::Quarantined => self.quarantined = true,
            ScheduleChange::Deleted => {}
        }
        self.wake_at = match self.backfill {
            _ if self.quarantined => None,
            // The next page is due as soon as there is time for it.
            Some(_) => Some(Timestamp(0)),
            None if self.paused => None,
            None => self.next_instant(),
        };
        self
    }

    fn remember(&mut self, fate: Fate) {
        let counts = &mut self.counts;
        match fate.what {
            What::Fired(_) => counts.fired += 1,
            What::Requested(_) => counts.requested += 1,
            What::Overlapped(_) => counts.overlapped += 1,
            What::Missed { count, why, .. } if why.is_wanted() => counts.skipped += count,
            What::Missed { .. } => counts.missed += fate.missed(),
            What::Existed(_) => {}
        }
        if self.last.len() == limits::FATES_KEPT {
            self.last.remove(0);
        }
        self.last.push(fate);
    }

    /// Behind `after`, and not before the schedule begins.
    fn not_before(&self, after: Timestamp) -> Timestamp {
        // The instant at which it begins is one of them.
        self.settings.start_at.map_or(after, |start| after.max(Timestamp(start.0.saturating_sub(1))))
    }
}
