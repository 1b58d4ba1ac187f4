//! One task: its states, how it takes in a change, and who decides about it.
//!
//! Decisions are grouped by *cause*, one file each: [`reported`] (webhooks), [`replied`] (the end of an HTTP
//! exchange), [`polled`] (what a remote says when it is asked), [`woken`] (time), [`commanded`] and [`cancelled`] (users)
//! and [`dependency`] (other tasks). What they share — how
//! a task starts, ends and is tried again — is in `steps`.

pub mod cancelled;
pub mod commanded;
pub mod correlation;
pub mod dependency;
pub mod ends;
pub mod polled;
pub mod replied;
pub mod reported;
pub(crate) mod steps;
pub mod woken;

use std::sync::Arc;

use crate::decision::{Change, Ignored, Outcome};
use crate::id::{HostKey, TaskKey};
use crate::input::{EventKind, Plan, PollAnswer};
use crate::limits;
use crate::oversight::Location;
use crate::subjects::EdgeStatus;
use crate::task::ends::{End, Kind};
use crate::time::Timestamp;

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waits for other tasks. Left when all of them ended as asked (`scheduled`, `queued`, or `running` where
    /// it is external), when one ended otherwise (`skipped`), or by `cancel`.
    Blocked,
    /// Not due: before its `run_at`, or between two attempts. Left when the time comes, or by `trigger`.
    Scheduled,
    /// Due, and waiting for a free exchange. Left when its queue is looked at and there is one.
    Queued,
    /// Its request is in flight. Left by the response, by a webhook, or by the time-out.
    Dispatching,
    /// The worker has it; the webhook is awaited. Left by the webhook or by the time-out.
    Running,
    /// Done. Final.
    Succeeded,
    /// No attempt succeeded. Only `retry` reopens it.
    Failed,
    /// Cancelled by a user or by the worker. Only `retry` reopens it.
    Cancelled,
    /// Not run, since a task it waited for ended otherwise. Reopened by `retry`, of it or of that task.
    Skipped,
}

impl State {
    /// Every state, in the order of a task's life.
    pub const ALL: [State; 9] = [
        State::Blocked,
        State::Scheduled,
        State::Queued,
        State::Dispatching,
        State::Running,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
        State::Skipped,
    ];

    /// Whether it is an end: such a state never changes by itself.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled | State::Skipped)
    }

    /// The contract's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Blocked => "blocked",
            State::Scheduled => "scheduled",
            State::Queued => "queued",
            State::Dispatching => "dispatching",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Skipped => "skipped",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Which answers to a dispatch complete a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Completion {
    /// 202 waits for a webhook, any other 2xx is success.
    #[default]
    Auto,
    /// Every 2xx is success.
    Response,
    /// Every 2xx waits for a webhook.
    Callback,
}

/// One task, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its key.
    pub key: TaskKey,
    /// What was asked.
    pub plan: Arc<Plan>,
    /// A hash of what was asked, to recognise the same creation.
    pub content: [u8; 16],
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: State,
    /// Not before this instant: `run_at`, or the time of the next attempt.
    pub due_at: Timestamp,
    /// When it wants to be looked at again. May be early, never late.
    pub wake_at: Option<Timestamp>,
    /// How often it was reopened.
    pub generation: u32,
    /// Tasks it waits for that have not ended.
    pub dependencies_pending: u32,
    /// Tasks it waited for that ended otherwise.
    pub dependencies_broken: u32,
    /// It was retried with `ignore_dependencies`.
    pub dependencies_ignored: bool,
    /// It was reopened past its deadline.
    pub deadline_lifted: bool,
    /// The newest attempt.
    pub attempt: Option<Attempt>,
    /// It was created with an id that its remote knows it by.
    pub has_external: bool,
    /// The URL under which the newest attempt can be asked for, where its response has named one.
    pub location: Option<Location>,
    /// Attempts up to this number were made before the last explicit retry.
    pub attempts_before: u32,
    /// Attempts since then that count towards `max_attempts`.
    pub attempts_used: u32,
    /// The response of the last attempt, not a webhook, completed it.
    pub completed_by_response: bool,
    /// A webhook came for a task that its response had completed: the worker should answer 202.
    pub answered_too_early: bool,
    /// A report contradicts how it ended.
    pub contradicted: bool,
    /// Deciding about it failed: left alone.
    pub quarantined: bool,
    /// Latest progress, 0 to 1.
    pub progress: Option<f64>,
    /// Latest words of the worker.
    pub message: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// History entries that changed no state.
    pub notes: u32,
}

/// The newest attempt of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1 over the task's whole life.
    pub number: u32,
    /// When it was first sent; its time-out runs from here.
    pub began_at: Timestamp,
    /// When it was last sent.
    pub sent_at: Timestamp,
    /// How often it was sent.
    pub sends: u8,
    /// Nothing has ended it yet.
    pub open: bool,
    /// Its response, or the lack of one, is recorded.
    pub replied: bool,
    /// When the worker gave its last sign of life, or else when the attempt began. Kept where the task is watched over.
    pub alive_at: Timestamp,
    /// What has come of asking the remote how it is.
    pub polling: Polling,
}

/// What has come of asking a remote how an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polling {
    /// When it is asked next; `None`: it is not asked.
    pub next_at: Option<Timestamp>,
    /// When it was asked last.
    pub sent_at: Option<Timestamp>,
    /// The answer to that is awaited.
    pub open: bool,
    /// How often it was asked.
    pub count: u32,
    /// How often in a row it had no such task.
    pub not_found: u8,
    /// How often in a row it did not answer, or nothing that says anything.
    pub unanswered: u32,
}

impl Task {
    /// A task that begins its life.
    ///
    /// # Panics
    /// If the change is not a creation: a task has no other beginning.
    #[must_use]
    pub fn born(at: Timestamp, change: &Change) -> Task {
        let Change::Created { new, plan, edges } = change else {
            panic!("a task begins with its creation: {change:?}")
        };
        let count = |status| u32::try_from(edges.iter().filter(|(_, edge)| edge.status == status).count());
        Task {
            key: new.key,
            plan: plan.clone(),
            content: new.content,
            created_at: at,
            state: State::Blocked,
            due_at: plan.run_at,
            wake_at: None,
            generation: 0,
            dependencies_pending: count(EdgeStatus::Pending).unwrap_or(u32::MAX),
            dependencies_broken: count(EdgeStatus::Broken).unwrap_or(u32::MAX),
            dependencies_ignored: false,
            deadline_lifted: false,
            has_external: new.external.is_some(),
            attempt: None,
            location: None,
            attempts_before: 0,
            attempts_used: 0,
            completed_by_response: false,
            answered_too_early: false,
            contradicted: false,
            quarantined: false,
            progress: None,
            message: None,
            ended_at: None,
            notes: 0,
        }
    }

    /// Whether Taskhook only tracks it, and calls nobody.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.plan.host.is_none()
    }

    /// The newest attempt's number; 0 before the first.
    #[must_use]
    pub fn attempt_number(&self) -> u32 {
        self.attempt.map_or(0, |attempt| attempt.number)
    }

    /// How many of its attempts since the last explicit retry have ended without being used up: the target asked to
    /// be called later.
    #[must_use]
    pub fn postponements(&self) -> u32 {
        let begun = self.attempt_number() - self.attempts_before;
        begun.saturating_sub(self.attempts_used + u32::from(self.open_attempt().is_some()))
    }

    /// The open attempt of this generation.
    #[must_use]
    pub fn open_attempt(&self) -> Option<Attempt> {
        self.attempt.filter(|attempt| attempt.open && attempt.number > self.attempts_before)
    }

    /// Whether it counts towards the limits of its queue: from the dispatch of an attempt to its end.
    #[must_use]
    pub fn holds_a_place(&self) -> bool {
        !self.is_external() && self.open_attempt().is_some()
    }

    /// When the open attempt times out.
    #[must_use]
    pub fn times_out_at(&self) -> Option<Timestamp> {
        let attempt = self.open_attempt()?;
        let is_extended = cfg!(planted = "running_extends_the_timeout");
        Some(if is_extended { attempt.alive_at } else { attempt.began_at } + self.plan.timeout?)
    }

    /// The host that is asked how the open attempt is; `None` where nobody can be asked.
    #[must_use]
    pub fn status_host(&self) -> Option<HostKey> {
        let status = self.plan.oversight.status?;
        status.host.or(self.location.as_ref().map(|location| location.host))
    }

    /// By when the open attempt must give its next sign of life.
    #[must_use]
    pub fn beats_until(&self) -> Option<Timestamp> {
        let is_watched = self.state == State::Running && !cfg!(planted = "heartbeat_is_overlooked");
        let attempt = self.open_attempt().filter(|_| is_watched)?;
        Some(attempt.alive_at + self.plan.oversight.heartbeat?)
    }

    /// By when it is over, whatever happens. Whoever reopens it later than that has decided otherwise.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let is_forgotten = cfg!(planted = "deadline_is_forgotten_on_retry") && self.attempts_used > 0;
        self.plan.oversight.deadline.filter(|_| !self.deadline_lifted && !is_forgotten)
    }

    /// Whether its deadline is not after `now`: nothing is begun for it any more.
    #[must_use]
    pub fn is_behind_its_deadline(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether the time of its open attempt, or of all of it, is over: nothing is sent again for it. Whoever had it before a
    /// downtime may still report, until that is judged.
    #[must_use]
    pub fn is_behind_its_time(&self, now: Timestamp) -> bool {
        let is_over =
            self.times_out_at().is_some_and(|at| at <= now) && !cfg!(planted = "over_is_sent_again");
        is_over || self.is_behind_its_deadline(now)
    }

    /// Takes in a fact. The only way in which a task changes.
    ///
    /// # Panics
    /// If the fact cannot be true of this task: a decision contradicts the state it was made on.
    #[must_use]
    pub fn evolve(mut self, at: Timestamp, change: &Change) -> Task {
        if change.is_note() {
            self.notes = self.notes.saturating_add(1);
        }
        match change {
            Change::Created { .. } => panic!("task {} was created twice", self.key.0),
            Change::DependencyEnded { allowed, .. } => {
                self.dependencies_pending -= 1;
                self.dependencies_broken += u32::from(!allowed);
                // It could not have run before this.
                self.due_at = self.due_at.max(at);
            }
            Change::DependencyReopened { was_broken, .. } => {
                self.dependencies_broken -= u32::from(*was_broken);
                self.dependencies_pending += u32::from(*was_broken);
            }
            Change::Blocked => self.enter(State::Blocked),
            Change::Scheduled => self.enter(State::Scheduled),
            Change::Queued => self.enter(State::Queued),
            Change::Begun { attempt } => {
                self.begin(*attempt, at);
                self.enter(State::Running);
                self.runs_since(at);
            }
            Change::Dispatched { attempt } => {
                self.begin(*attempt, at);
                self.enter(State::Dispatching);
            }
            Change::Resent { send, .. } => self.with_attempt(|attempt| {
                attempt.sends = *send;
                attempt.sent_at = at;
            }),
            Change::Started { .. } => {
                self.enter(State::Running);
                self.runs_since(at);
            }
            Change::Alive { progress, message } => {
                self.give_sign(at);
                self.progress = progress.or(self.progress);
                if message.is_some() {
                    self.message.clone_from(message);
                }
            }
            Change::Correlated { .. } | Change::NotCorrelated { .. } => {}
            Change::Responded { attempt: number, .. } => self.with_attempt(|attempt| {
                attempt.replied |= attempt.number == *number;
            }),
            Change::Located { location, .. } => self.location = location.clone().ok(),
            Change::PollSent { .. } => self.with_polling(|polling| {
                (polling.sent_at, polling.open, polling.count) =
                    (Some(at), true, polling.count.saturating_add(1));
            }),
            Change::Polled { answer, .. } => self.take_answer(answer, at),
            Change::PollLost { .. } | Change::DeadlinePassed => {}
            Change::AttemptFailed { counted, .. } => {
                self.with_attempt(|attempt| (attempt.open, attempt.polling.next_at) = (false, None));
                self.attempts_used += u32::from(*counted);
            }
            Change::RetryPlanned { at } => {
                self.due_at = *at;
                self.enter(State::Scheduled);
            }
            Change::Succeeded { by_response, .. } => {
                self.completed_by_response = *by_response;
                self.end(State::Succeeded, at);
            }
            Change::Failed => self.end(State::Failed, at),
            Change::Cancelled => self.end(State::Cancelled, at),
            Change::Skipped { .. } => self.end(State::Skipped, at),
            Change::Triggered => self.due_at = at,
            Change::Reopened { ignore_dependencies } => self.reopen(*ignore_dependencies, at),
            Change::EventIgnored { outcome } => {
                let contradicts = *outcome == Outcome::Ignored(Ignored::Contradiction);
                let late = *outcome == Outcome::Ignored(Ignored::CompletedByResponse);
                self.contradicted |= contradicts;
                self.answered_too_early |= late || (contradicts && self.completed_by_response);
            }
            Change::Rearmed { .. } => {}
            Change::Quarantined => self.quarantined = true,
        }
        self.wake_at = match change {
            Change::Rearmed { wake_at } => Some(*wake_at),
            Change::Polled { .. } | Change::Located { .. } => self.next_wake(at),
            // The look may have been put off for a last word that is no longer needed.
            Change::Alive { .. } => self.wake_at.into_iter().chain(self.beats_until()).min(),
            // A note moves nothing: a stream of them must not put off the look at a lost exchange for ever.
            note if note.is_note() => self.wake_at,
            _ => self.next_wake(at),
        };
        self
    }

    /// When a task in this state wants to be looked at again, as seen at `at`.
    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        if self.quarantined {
            return None;
        }
        let own = match self.state {
            #[cfg(planted = "wake_is_late")]
            State::Scheduled => Some(self.due_at + std::time::Duration::from_secs(1)),
            #[cfg(not(planted = "wake_is_late"))]
            State::Scheduled => Some(self.due_at),
            // The exchange may die with its process: look again soon.
            State::Dispatching => Some(at + limits::LOST_AFTER),
            State::Running => self.polls_at(),
            State::Blocked | State::Queued => None,
            State::Succeeded | State::Failed | State::Cancelled | State::Skipped => return None,
        };
        // What has run out already waits for the remote's last word; a deadline waits for nobody.
        let is_asked = self.open_attempt().is_some_and(|attempt| attempt.polling.open);
        let counts = |end: &End| end.kind == Kind::Deadline || !is_asked || end.at > at;
        // Each process puts off by itself what ran out before its start.
        let ends = self.ends(Timestamp(i64::MIN)).filter(counts);
        own.into_iter().chain(ends.map(|end| end.at.max(at))).min()
    }

    /// When its remote is to be asked next, or when an answer that is awaited must have come.
    pub(crate) fn polls_at(&self) -> Option<Timestamp> {
        let polling = self.open_attempt()?.polling;
        self.status_host()?;
        match polling.sent_at.filter(|_| polling.open) {
            Some(sent_at) => Some(sent_at + limits::LAST_POLL_WITHIN),
            None => polling.next_at,
        }
    }

    fn enter(&mut self, state: State) {
        // G5: an end is left by `reopen` alone.
        assert!(
            !self.state.is_terminal(),
            "task {} cannot go from {} to {}",
            self.key.0,
            self.state.name(),
            state.name()
        );
        self.state = state;
    }

    fn end(&mut self, state: State, at: Timestamp) {
        self.enter(state);
        self.ended_at = Some(at);
        let is_open = cfg!(planted = "end_keeps_its_place");
        self.with_attempt(|attempt| (attempt.open, attempt.polling.next_at) = (is_open, None));
    }

    fn begin(&mut self, number: u32, at: Timestamp) {
        assert!(number == self.attempt_number() + 1, "attempts are numbered without gaps");
        self.attempt = Some(Attempt {
            number,
            began_at: at,
            sent_at: at,
            sends: 1,
            open: true,
            replied: false,
            alive_at: at,
            polling: Polling::default(),
        });
        self.location = None;
        self.progress = None;
        self.message = None;
    }

    fn reopen(&mut self, ignore_dependencies: bool, at: Timestamp) {
        assert!(
            self.state.is_terminal() && self.state != State::Succeeded,
            "only an unsuccessful end is reopened"
        );
        self.state = State::Blocked;
        self.generation += 1;
        self.dependencies_ignored |= ignore_dependencies;
        self.deadline_lifted |= self.plan.oversight.deadline.is_some_and(|deadline| deadline <= at);
        self.attempts_before = self.attempt_number();
        self.attempts_used = 0;
        // Whoever had an attempt was due before, if only by a `trigger`.
        self.due_at = if self.attempt.is_none() { self.plan.run_at.max(at) } else { at };
        self.completed_by_response = false;
        self.contradicted = false;
        self.quarantined = false;
        self.ended_at = None;
        self.progress = None;
        self.message = None;
    }

    /// The worker has the open attempt from now on: its signs of life count, and it is asked when that is overdue.
    fn runs_since(&mut self, at: Timestamp) {
        self.give_sign(at);
        let (after, last_at) = (self.plan.oversight.status.map(|status| status.after), self.last_asked_at());
        self.with_attempt(|attempt| {
            let first_at = after.map(|after| attempt.began_at + after);
            attempt.polling.next_at = first_at.map(|at| polled::in_time(attempt.began_at, at, last_at));
        });
    }

    /// When the remote is asked about the open attempt for the last time before the deadline, which waits for no answer.
    fn last_asked_at(&self) -> Option<Timestamp> {
        let (attempt, deadline) = self.open_attempt().zip(self.deadline())?;
        let before = (deadline.since(attempt.began_at) / 4).min(limits::POLL_TIMEOUT);
        Some(deadline - before).filter(|_| !cfg!(planted = "deadline_comes_unasked"))
    }

    fn give_sign(&mut self, at: Timestamp) {
        if self.plan.oversight.keeps_watch() && !cfg!(planted = "sign_of_life_is_not_counted") {
            self.with_attempt(|attempt| attempt.alive_at = at);
        }
    }

    /// What the remote has said of an attempt, which may have ended meanwhile.
    fn take_answer(&mut self, answer: &PollAnswer, at: Timestamp) {
        let is_open = self.open_attempt().is_some();
        if is_open && matches!(answer, PollAnswer::Says(EventKind::Progress(..))) {
            self.give_sign(at);
        }
        let Some(status) = self.plan.oversight.status else { return };
        let last_at = self.last_asked_at();
        self.with_polling(|polling| {
            polling.open = false;
            polling.not_found =
                if *answer == PollAnswer::NotFound { polling.not_found.saturating_add(1) } else { 0 };
            polling.unanswered = match answer {
                PollAnswer::Unclear(_) | PollAnswer::Lost(_) => polling.unanswered.saturating_add(1),
                PollAnswer::Says(_) | PollAnswer::NotFound => 0,
            };
            let next_at = at + polled::pause(status.after, polling.count);
            polling.next_at = is_open.then(|| polled::in_time(at + limits::POLL_PAUSE_MIN, next_at, last_at));
        });
    }

    fn with_polling(&mut self, change: impl FnOnce(&mut Polling)) {
        self.with_attempt(|attempt| change(&mut attempt.polling));
    }

    fn with_attempt(&mut self, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = &mut self.attempt {
            change(attempt);
        }
    }
}
