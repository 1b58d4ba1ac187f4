//! The words in which the oracle is told what was said and what has become true: plain data, and no judgement.

/// Microseconds.
pub type Time = i64;
/// What is wrong, in words.
pub type Verdict = Result<(), String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    New,
    Blocked,
    Scheduled,
    Queued,
    Dispatching,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Skipped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Succeeded,
    Failed,
    NotFailed,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    Auto,
    Response,
    Callback,
}

#[derive(Debug, Clone)]
pub struct Wish {
    pub is_external: bool,
    pub after: Vec<(String, On)>,
    pub queue: String,
    pub key: Option<String>,
    pub unique: Option<u8>,
    pub run_at: Time,
    /// `None`: nothing is said of it.
    pub timeout: Option<Option<Time>>,
    pub completion: Completion,
    pub attempts_max: u32,
    pub pause_max: Time,
    pub watch: Watch,
}

/// How a task is watched over.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    pub heartbeat: Option<Time>,
    pub deadline: Option<Deadline>,
    pub rejects_late_success: bool,
    pub status: Option<Status>,
    /// Its remote is told when it is cancelled.
    pub tells_cancel: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Deadline {
    At(Time),
    After(Time),
}

/// Where a task's remote is asked how it is.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// How long after the beginning of an attempt, where that is said.
    pub after: Option<Time>,
    /// The answer to the dispatch names the URL.
    pub is_located: bool,
    /// The host of the URL.
    pub host: &'static str,
}

impl Status {
    /// Its host is that of tasks, whose places it takes.
    pub fn is_shared(&self) -> bool {
        self.host.starts_with('h')
    }
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    /// No instant before this one; intervals are counted from it.
    pub from: Time,
    pub every: Every,
    /// No instant behind this one.
    pub until: Time,
    pub missed: Missed,
    /// An instant makes no task while an earlier one has not ended.
    pub skips: bool,
    /// Of each of its tasks.
    pub wish: Wish,
}

#[derive(Debug, Clone, Copy)]
pub enum Every {
    Span(Time),
    /// In each minute of the hour that can be divided by this.
    Minutes(Time),
}

/// Which instants make a task that were not looked at in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    Latest,
    All,
    None,
}

/// What a remote says when it is asked how an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Running {
        shows_progress: bool,
    },
    Ended(Kind),
    /// It has no such task.
    NotFound,
    /// Nothing that could be understood, or nothing at all.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Alive,
    Completed,
    Failed { retryable: bool },
    Cancelled,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Said {
    pub task: Option<String>,
    pub external: Option<String>,
    pub attempt: Option<u32>,
    pub kind: Kind,
    pub claim: Option<u64>,
}

/// The end of an exchange; `status` 0: there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Time>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    pub limit: u32,
    pub per: Time,
    pub burst: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub concurrency: Option<u32>,
    pub rate: Option<Rate>,
    pub key_concurrency: Option<u32>,
    pub key_rate: Option<Rate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Cancel,
    Retry { ignore: bool },
    Trigger,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    Creation,
    Command,
    Event(u64),
    Reply(u32),
    Time,
    Parent(String),
    Queue,
    /// A remote was asked.
    Asked,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Created,
    Blocked,
    Scheduled,
    Queued,
    Begun(u32),
    Dispatched(u32),
    Resent(u32, u8),
    Started,
    Alive,
    Responded(u32, Answer),
    AttemptFailed(u32),
    RetryPlanned(Time),
    Succeeded(u32),
    Failed,
    Cancelled,
    Skipped(String),
    Triggered,
    Reopened,
    Ignored,
    Stale,
    Correlated(String, Option<u32>),
    /// The answer has named the status URL, or has not.
    Located(u32, bool),
    Asks(u32),
    Told(u32, Told),
    DeadlinePassed,
    DependencyEnded {
        parent: String,
        generation: u32,
        end: State,
        allowed: bool,
    },
    DependencyReopened {
        parent: String,
        generation: u32,
    },
    Defect,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub at: Time,
    pub task: String,
    pub why: Why,
    pub what: What,
}

/// How a webhook was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Duplicate(u64),
    Stale,
    Ignored,
    Unmatched,
    Refused,
    Other,
}

impl State {
    /// Whether it is an end.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled | State::Skipped)
    }
}

/// Whether a dependency that ended so lets its dependent start.
#[must_use]
pub fn allows(on: On, end: State) -> bool {
    match on {
        On::Succeeded => end == State::Succeeded,
        On::Failed => end == State::Failed,
        On::NotFailed => matches!(end, State::Succeeded | State::Skipped),
        On::Finished => end.is_end(),
    }
}
