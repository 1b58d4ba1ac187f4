//! What comes out of a decision: the answer, facts, effects and follow-ups.

use std::sync::Arc;

use crate::access::AccessChange;
use crate::bulk;
use crate::hold::HoldChange;
use crate::id::{
    BulkKey, ClaimKey, EventId, EventKey, HostKey, NameKey, QueueKey, ScheduleKey, SourceKey, TaskKey,
};
use crate::input::{Answered, Event, External, Failure, FollowUp, NewTask, Once, Plan, PollAnswer, Response};
use crate::oversight::Location;
use crate::queue::{Closed, Line, Settings};
use crate::schedule::{self, Backfill, Fate};
use crate::source::SourceChange;
use crate::subjects::Edge;
use crate::task::State;
use crate::time::Timestamp;

/// Everything that follows from one input.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The answer to whoever sent the input.
    pub outcome: Outcome,
    /// What has become true of tasks, in order.
    pub changes: Vec<(TaskKey, Change)>,
    /// What has become true of queues, in order.
    pub queues: Vec<(QueueKey, QueueChange)>,
    /// What has become true of schedules, in order.
    pub schedules: Vec<(ScheduleKey, ScheduleChange)>,
    /// What has become true of sources, in order.
    pub sources: Vec<(SourceKey, SourceChange)>,
    /// What has become true of bulks, in order.
    pub bulks: Vec<(BulkKey, BulkChange)>,
    /// What has become true of who may do what, in order.
    pub access: Vec<AccessChange>,
    /// What has become true of the server.
    pub hold: Option<HoldChange>,
    /// What leaves after the commit.
    pub effects: Vec<Effect>,
    /// Who is to be asked again when this node has places for exchanges again.
    pub wants: Vec<Want>,
    /// What it means for other subjects.
    pub follow_ups: Vec<FollowUp>,
    /// The webhook to be kept, with what it did.
    pub event: Option<RecordedEvent>,
    /// The key under which the input happened.
    pub once: Option<Once>,
    /// The answer to be given to repeats.
    pub answered: Option<Box<Answered>>,
    /// Webhooks kept earlier whose outcome is now known: no longer parked.
    pub unparked: Vec<Unparked>,
}

/// A webhook that no longer waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Unparked {
    /// The webhook.
    pub event: EventKey,
    /// What became of it.
    pub outcome: Outcome,
    /// The task it is about.
    pub task: TaskKey,
}

/// A webhook as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// The webhook.
    pub event: Box<Event>,
    /// It waits for its task.
    pub parked: bool,
    /// The delivery id that it claims from now on.
    pub claim: Option<ClaimKey>,
}

impl RecordedEvent {
    /// The name under which it waits until it is known what that stands for; `None`: it waits for nothing.
    #[must_use]
    pub fn waits_under(&self) -> Option<NameKey> {
        let task = self.event.task.map(NameKey::from);
        task.or(self.event.external.map(NameKey::from)).filter(|_| self.parked)
    }
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It changed its subject, or its follow-ups will change others.
    Applied,
    /// This delivery was seen before, as this event.
    Duplicate(EventId),
    /// It names an attempt that is no longer the current one.
    Stale,
    /// It cannot change the task.
    Ignored(Ignored),
    /// Its task does not exist yet: it waits for it.
    Unmatched,
    /// It is not about a task; the reason, where one might think it is.
    Recorded(Option<&'static str>),
    /// The request was refused, for this reason.
    Rejected(Arc<str>),
    /// New tasks exist under these keys; `false` marks those that existed before with the same content.
    Created(Vec<(TaskKey, bool)>),
    /// A named thing says what was asked; whether it is new.
    Defined { new: bool },
    /// Nothing had to change.
    Unchanged,
    /// A request with this key has happened already.
    Repeated,
    /// The caller asked for something that cannot be.
    Refused(Refused),
    /// Deciding failed by a defect of Taskhook. The input is kept, its subject is left alone.
    Quarantined,
}

/// Why a webhook cannot change its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// The task takes reports of another source only.
    SourceNotAllowed,
    /// The task has ended.
    Terminal,
    /// The task has ended, and the webhook says it ended otherwise.
    Contradiction,
    /// The task has not been dispatched yet.
    NotStarted,
    /// The dispatch's response has completed the task already.
    CompletedByResponse,
    /// No attempt has that number.
    UnknownAttempt,
    /// The attempt has ended.
    AttemptEnded,
}

impl Ignored {
    /// The contract's word for it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Ignored::SourceNotAllowed => "source_not_allowed",
            Ignored::Terminal => "terminal",
            Ignored::Contradiction => "contradiction",
            Ignored::NotStarted => "not_started",
            Ignored::CompletedByResponse => "completed_by_response",
            Ignored::UnknownAttempt => "unknown_attempt",
            Ignored::AttemptEnded => "attempt_ended",
        }
    }
}

/// Why a request is refused. Positions count the tasks of a creation from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such task.
    NotFound,
    /// The id is taken by a task with other content.
    IdTaken { position: usize },
    /// A dependency does not exist: the task's position, and that of the dependency in its `after`.
    NoSuchDependency { position: usize, dependency: usize },
    /// The tasks wait for each other in a circle: their positions, in order.
    Cycle(Vec<usize>),
    /// The task has ended as this, so it cannot be cancelled.
    Ended(State),
    /// Only a scheduled task can be triggered; this one is in another state.
    NotScheduled(State),
    /// Only a failed, cancelled or skipped task can be retried; this one is in another state.
    NotRetryable(State),
    /// Tasks that it waits for did not end as it asks.
    DependenciesUnmet,
    /// The task of this callback token is no longer there.
    Gone,
    /// The webhook names another task than its callback token.
    NamesAnotherTask,
    /// Too many webhooks wait for this task.
    ParkingFull,
    /// No queue has this name: the position of the task that names it, or 0.
    NoSuchQueue { position: usize },
    /// No schedule has this name.
    NoSuchSchedule,
    /// This task of the schedule has not ended.
    Overlaps { task: TaskKey },
    /// No source has this name: the position of the task that names it, or 0.
    NoSuchSource { position: usize },
    /// No API key has this id.
    NoSuchKey,
    /// Another API key has this name.
    KeyNameTaken,
    /// The first API key must be able to make others.
    AdminKeyFirst,
    /// Without this API key, nobody could administer the server.
    LastAdminKey,
    /// No bulk has this id.
    NoSuchBulk,
    /// The bulk has ended by itself, so it cannot be cancelled.
    BulkEnded,
    /// The schedule is still making the tasks of an earlier backfill.
    BackfillGoesOn,
    /// A dependency names a task of the same batch that is not made, since another one holds its unique key: the
    /// position of the task that names it, and of the dependency in its `after`.
    DependsOnReplaced { position: usize, dependency: usize },
    /// The id of a remote that the task at this position says it has belongs to another one, which has not ended.
    ExternalTaken { position: usize },
    /// This task holds the unique key that the reopened task would take again.
    KeyHeld { holder: TaskKey },
    /// So many of these exist as may: what they are, and how many may be.
    TooMany { what: &'static str, max: usize },
}

/// What caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A call that created the task.
    Creation,
    /// A command through the API.
    Command,
    /// A webhook.
    Event(EventKey),
    /// The end of the HTTP exchange of this attempt.
    Reply(u32),
    /// The remote was asked, and has said so.
    Reconciliation,
    /// A time that has come.
    Time,
    /// The end, or the reopening, of a task it waits for.
    Parent(TaskKey),
    /// Its queue had a free place.
    Queue,
    /// An instant of its schedule has come.
    Schedule(ScheduleKey),
    /// A bulk is about it.
    Bulk(BulkKey),
}

/// What leaves after the commit. It comes back as an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the request of this attempt, the `send`-th time (1, or more after a crash).
    Dispatch { task: TaskKey, attempt: u32, send: u8 },
    /// Ask the remote how this attempt is. The task may go on in the same transaction: whom to ask is as it was when it was
    /// decided.
    Poll {
        task: TaskKey,
        attempt: u32,
        host: HostKey,
        /// The URL that its response has named, for a task that names none.
        location: Option<Location>,
    },
}

impl Effect {
    /// The task it is about.
    #[must_use]
    pub fn task(&self) -> TaskKey {
        match self {
            Effect::Dispatch { task, .. } | Effect::Poll { task, .. } => *task,
        }
    }
}

/// A fact about one task, in the past tense.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It exists, and knows this of the tasks that it waits for.
    Created { new: Arc<NewTask>, plan: Arc<Plan>, edges: Vec<(TaskKey, Edge)> },
    /// Some of the tasks it waits for have not ended.
    Blocked,
    /// A task it waits for has ended.
    DependencyEnded { parent: TaskKey, generation: u32, end: State, allowed: bool },
    /// A task it waits for was reopened.
    DependencyReopened { parent: TaskKey, generation: u32, was_broken: bool },
    /// It is not due yet.
    Scheduled,
    /// It is due, and waits for capacity.
    Queued,
    /// It is due and external: attempt `attempt` waits for its webhook.
    Begun { attempt: u32 },
    /// Attempt `attempt` is being sent.
    Dispatched { attempt: u32 },
    /// The same attempt is being sent once more, since its process died.
    Resent { attempt: u32, send: u8 },
    /// The worker has the task; its webhook is awaited.
    Started { attempt: u32 },
    /// A sign of life, perhaps with progress.
    Alive { progress: Option<f64>, message: Option<String> },
    /// It is known which id its remote gives it; of which attempt, where that is known too.
    Correlated { attempt: Option<u32>, external: External },
    /// Its remote's own id of it could not be found in the response, or names another task: why.
    NotCorrelated { attempt: u32, why: NotCorrelated },
    /// The target answered, or did not.
    Responded { attempt: u32, response: Result<Arc<Response>, Failure> },
    /// The response has named the URL under which the attempt can be asked for; or why it has not.
    Located { attempt: u32, location: Result<Location, Arc<str>> },
    /// The remote is being asked how the attempt is.
    PollSent { attempt: u32 },
    /// No answer had come to the last poll when it was asked anew: the process that had asked is gone, or has lost it.
    PollLost { attempt: u32 },
    /// It has answered, or has not.
    Polled { attempt: u32, answer: PollAnswer },
    /// It has not ended by its deadline.
    DeadlinePassed,
    /// The attempt has failed; whether it counts towards `max_attempts`.
    AttemptFailed { attempt: u32, failure: Failure, counted: bool },
    /// There will be another attempt, not before this instant.
    RetryPlanned { at: Timestamp },
    /// It is done; by which attempt, with what result, by the response itself or by a webhook.
    Succeeded { attempt: u32, result: Option<Arc<[u8]>>, by_response: bool },
    /// It has failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It will not run, because of how this task ended.
    Skipped { parent: TaskKey },
    /// It was made due now.
    Triggered,
    /// It was reopened; whether its dependencies no longer matter.
    Reopened { ignore_dependencies: bool },
    /// A webhook could not change it.
    EventIgnored { outcome: Outcome },
    /// Looked at, with nothing to do; looked at again at this instant.
    Rearmed { wake_at: Timestamp },
    /// Deciding about it failed by a defect: left alone until somebody looks.
    Quarantined,
}

/// Why no remote's own id of a task is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCorrelated {
    /// It was not found: the end of a sentence.
    NotFound(Arc<str>),
    /// The id names this task, which has not ended.
    Taken {
        /// The id.
        id: Arc<str>,
        /// The task.
        by: TaskKey,
    },
}

/// A fact about one queue, in the past tense.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueChange {
    /// It says this from now on.
    Defined {
        /// What it says.
        settings: Arc<Settings>,
        /// Whether it starts nothing.
        paused: bool,
    },
    /// It starts nothing more.
    Paused,
    /// It starts tasks again.
    Resumed,
    /// An attempt of this line has begun: the turn is the next line's.
    Began {
        /// The line.
        line: Line,
    },
    /// No task of this line can start for now.
    LineClosed {
        /// The line.
        line: Line,
        /// Until what happens.
        why: Closed,
    },
    /// A task of this line may be able to start.
    LineOpened {
        /// The line.
        line: Line,
    },
    /// It wants to be looked at again at this instant.
    Rearmed {
        /// When; `None`: only when something happens.
        wake_at: Option<Timestamp>,
    },
}

/// A fact about one schedule, in the past tense.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleChange {
    /// It says this from now on.
    Defined {
        /// Its name.
        name: Arc<str>,
        /// What it says.
        settings: Arc<schedule::Settings>,
        /// Whether it makes no tasks by itself.
        paused: bool,
        /// What the clock showed: a new schedule knows no instant before.
        shown: Timestamp,
    },
    /// It makes no tasks by itself any more.
    Paused,
    /// It makes tasks again.
    Resumed,
    /// Its instants are decided.
    Decided {
        /// Up to this one.
        until: Timestamp,
        /// What became of them.
        fates: Vec<Fate>,
        /// More of those that were not decided in time are made up for at the next look.
        more: bool,
    },
    /// Instants of the past were asked for.
    BackfillBegan {
        /// Which.
        backfill: Backfill,
    },
    /// Some of them are made.
    BackfillWentOn {
        /// Up to this one.
        after: Timestamp,
        /// How many tasks that were.
        made: u32,
    },
    /// Deciding about it failed by a defect: left alone until it is defined again.
    Quarantined,
    /// It is no more.
    Deleted,
}

/// A fact about one bulk, in the past tense.
#[derive(Debug, Clone, PartialEq)]
pub enum BulkChange {
    /// It exists.
    Began {
        /// What it does, and to which tasks.
        settings: Arc<bulk::Settings>,
        /// The newest task there was; `None`: there was none.
        until: Option<TaskKey>,
    },
    /// It has looked at more tasks.
    Looked {
        /// Up to this one.
        last: TaskKey,
        /// How many of them matched.
        matched: u32,
    },
    /// A task that matched was changed.
    Applied,
    /// A task that matched could not be changed.
    Refused,
    /// A user has stopped it.
    Cancelled,
    /// Looked at, with nothing to do yet.
    Rearmed,
    /// Deciding about it failed by a defect: it stops where it is.
    Failed,
}

/// Who waits for a free place for an exchange with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// A queue, for any place.
    Queue(QueueKey),
    /// Lines, for a place with this host.
    Host(HostKey),
    /// A task whose exchange with this host was lost, to send its attempt again.
    Resend(HostKey, TaskKey),
    /// A running task, to ask this host how it is.
    Poll(HostKey, TaskKey),
}

impl Change {
    /// Whether the task has ended with it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Change::Succeeded { .. } | Change::Failed | Change::Cancelled | Change::Skipped { .. })
    }

    /// Whether the change is only a note: it moves the task to no other state.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Change::Alive { .. }
                | Change::EventIgnored { .. }
                | Change::Responded { .. }
                | Change::Correlated { .. }
                | Change::NotCorrelated { .. }
                | Change::Located { .. }
                | Change::PollLost { .. }
                | Change::Polled { .. }
                | Change::DependencyEnded { .. }
        )
    }

    /// Whether it is a note of which a task may have any number. Of the others, the end of an exchange or of a dependency, there
    /// are as many as there are of those.
    #[must_use]
    pub fn is_unbounded_note(&self) -> bool {
        matches!(
            self,
            Change::Alive { .. }
                | Change::EventIgnored { .. }
                | Change::PollLost { .. }
                | Change::Polled { .. }
        )
    }
}

impl Decision {
    /// Only an answer: nothing changes.
    pub fn answer(outcome: Outcome) -> Decision {
        Decision {
            outcome,
            changes: Vec::new(),
            queues: Vec::new(),
            schedules: Vec::new(),
            sources: Vec::new(),
            bulks: Vec::new(),
            access: Vec::new(),
            hold: None,
            effects: Vec::new(),
            wants: Vec::new(),
            follow_ups: Vec::new(),
            event: None,
            once: None,
            answered: None,
            unparked: Vec::new(),
        }
    }

    /// Changes of one task.
    pub fn applied(task: TaskKey, changes: impl IntoIterator<Item = Change>) -> Decision {
        let mut decision = Decision::answer(Outcome::Applied);
        decision.changes = changes.into_iter().map(|change| (task, change)).collect();
        decision
    }

    /// Nothing to do: what a follow-up or a wake-up that comes too late finds.
    pub fn nothing() -> Decision {
        Decision::answer(Outcome::Unchanged)
    }

    /// The key of what it changed first, a task or else a bulk: from it the answer can be made again.
    #[must_use]
    pub fn first_changed(&self) -> Option<i64> {
        let task = self.changes.first().map(|(task, _)| task.0);
        task.or_else(|| self.bulks.first().map(|(bulk, _)| bulk.0))
    }

    /// The same, with one more follow-up.
    pub fn then(mut self, follow_up: FollowUp) -> Decision {
        self.follow_ups.push(follow_up);
        self
    }
}
