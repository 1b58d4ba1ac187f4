//! Everything that can happen, and the plain data that comes with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::AccessCommand;
use crate::bulk;
use crate::hold::HoldCommand;
use crate::id::{
    BulkKey, ClaimKey, ConcurrencyKey, EventId, EventKey, ExternalKey, HostKey, QueueKey, ScheduleKey,
    SourceKey, TaskKey,
};
use crate::limits;
use crate::oversight::{Location, Oversight, OversightAsked, StatusRequest};
use crate::queue::{SecretAsked, Settings};
use crate::schedule::{self, Overlap};
use crate::source::SourceCommand;
use crate::task::{Completion, State};
use crate::time::Timestamp;
use crate::unique::Unique;

/// Anything that can happen to one subject.
///
/// There is no other way in: a webhook, a call of the API, the end of an HTTP exchange, a timer and the
/// consequence of another decision are all one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// New tasks, one or a batch: all of them, or none.
    Create(Create),
    /// A received webhook, verified and mapped.
    Event(Box<Event>),
    /// A user's command to one task.
    Command(TaskKey, Command),
    /// A user's command to one queue.
    Queue(QueueKey, QueueCommand),
    /// A user's command to one schedule.
    Schedule(ScheduleKey, ScheduleCommand),
    /// A user's command to one source.
    Source(SourceKey, SourceCommand),
    /// A user's command to one bulk.
    Bulk(BulkKey, BulkCommand),
    /// A command about who may do what.
    Access(AccessCommand),
    /// A user's command to the server.
    Hold(HoldCommand),
    /// The HTTP exchange of a dispatch has ended.
    Reply(Box<Reply>),
    /// The remote was asked how a task is.
    Polled(Box<Polled>),
    /// The time of a task's `wake_at` has come. It means nothing by itself: the decision looks at the task
    /// and at the time.
    Wake(TaskKey),
    /// The time of a schedule's `wake_at` has come.
    WakeSchedule(ScheduleKey),
    /// The time of a bulk's `wake_at` has come.
    WakeBulk(BulkKey),
    /// What an earlier decision means for another subject.
    FollowUp(FollowUp),
    /// An input that happens at most once under its key, however often it is sent.
    Once(Once, Box<Input>),
    /// The answer that a repeat of such an input is to get.
    Answered(Box<Answered>),
}

/// The key of a request that happens at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// A hash of the caller's key and the route.
    pub claim: ClaimKey,
    /// A hash of the request, to tell a repeat from another request with the same key.
    pub request: [u8; 16],
}

/// The answer to a request that happens at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The request's key.
    pub once: Once,
    /// The HTTP status.
    pub status: u16,
    /// The body; `None`: it is too large to keep, and is made again from what the request created or changed.
    pub body: Option<Vec<u8>>,
}

/// The consequence of a decision for another subject. Small and closed, so that what does not fit into a
/// transaction can be kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FollowUp {
    /// Look at a queue again: a task became ready, or a permit was returned.
    Look(QueueKey),
    /// A target host has free places again: open the lines that wait for it, a page at a time.
    HostFree(HostKey),
    /// Apply the webhooks that came before their task, a page at a time.
    Unpark {
        /// The task that now exists.
        task: TaskKey,
        /// The last webhook already applied.
        after: EventKey,
    },
    /// Apply the webhooks that came before it was known which task they name, a page at a time.
    UnparkExternal {
        /// What they name it.
        external: ExternalKey,
        /// The last webhook already applied.
        after: EventKey,
    },
    /// Tell the dependents of a task that has ended, a page at a time.
    EndDependents {
        /// The task that ended.
        parent: TaskKey,
        /// Its generation when it ended: a task reopened since has not ended.
        generation: u32,
        /// The last dependent already told.
        after: TaskKey,
    },
    /// Tell the dependents of a task that was reopened, a page at a time.
    ReopenDependents {
        /// The task that was reopened.
        parent: TaskKey,
        /// Its generation since.
        generation: u32,
        /// The last dependent already told.
        after: TaskKey,
    },
    /// To one dependent: a task it names has ended.
    ParentEnded {
        /// The dependent.
        task: TaskKey,
        /// The task it names.
        parent: TaskKey,
        /// The parent's generation when it ended.
        generation: u32,
        /// How the parent ended.
        end: State,
    },
    /// A schedule has made the task `by`, which takes the place of its earlier ones: cancel them, a page at a time.
    EndPrevious {
        /// The task that takes their place.
        by: TaskKey,
        /// The last of them already cancelled.
        after: TaskKey,
    },
    /// To one task: a bulk is about it.
    Bulk {
        /// The bulk.
        bulk: BulkKey,
        /// The task.
        task: TaskKey,
    },
    /// A task was cancelled by a user: make the task that tells its remote.
    CallCancel {
        /// The task.
        task: TaskKey,
        /// Its generation when it was cancelled.
        generation: u32,
    },
    /// To one task: its schedule has made `by`, which takes its place.
    Supersede {
        /// The task.
        task: TaskKey,
        /// What takes its place.
        by: TaskKey,
    },
    /// To one dependent: a task it names was reopened.
    ParentReopened {
        /// The dependent.
        task: TaskKey,
        /// The task it names.
        parent: TaskKey,
        /// The parent's generation since.
        generation: u32,
    },
}

/// New tasks, in the order they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// The tasks; never empty.
    pub tasks: Vec<Arc<NewTask>>,
}

/// One task to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// The key under which its name is known.
    pub key: TaskKey,
    /// What decisions need to know of it.
    pub asked: Asked,
    /// What only people and the dispatcher need.
    pub spec: Spec,
    /// The tasks it waits for.
    pub after: Vec<Dependency>,
    /// The id that its remote is known to give it.
    pub external: Option<External>,
    /// A hash of the request's JSON value, to tell the same creation from another with the same id.
    pub content: [u8; 16],
}

/// A remote's own id of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The key of this name; filled in where names get their keys.
    pub key: ExternalKey,
    /// The name of the source whose webhooks speak of it.
    pub source: Arc<str>,
    /// The id.
    pub id: Arc<str>,
}

/// What a caller asks of decisions. What is left open (`None`), its queue says, or else the product.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The host it is dispatched to; `None` for an external task, which is only tracked.
    pub host: Option<HostKey>,
    /// Its queue.
    pub queue: QueueKey,
    /// The one source whose webhooks may report on it.
    pub source: SourceKey,
    /// Whose limits it shares within the queue.
    pub concurrency_key: ConcurrencyKey,
    /// The key that it holds, so that no second task comes into being under it.
    pub unique: Option<Unique>,
    /// −100 to 100, higher first.
    pub priority: i16,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Which answers complete it.
    pub completion: Option<Completion>,
    /// From the beginning of an attempt to its end; `Some(None)`: no bound.
    pub timeout: Option<Option<Duration>>,
    /// Bound of the HTTP exchange alone.
    pub request_timeout: Option<Duration>,
    /// What happens after a failed attempt.
    pub retry: RetryAsked,
    /// How it is watched over.
    pub oversight: OversightAsked,
    /// Bytes of the request's body.
    pub payload_bytes: u32,
    /// The instant of a schedule that it is the task of.
    pub scheduled: Option<Scheduled>,
}

/// An instant of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// The schedule.
    pub schedule: ScheduleKey,
    /// The instant.
    pub at: Timestamp,
}

impl From<&Plan> for Asked {
    /// The same again, with nothing left open.
    fn from(plan: &Plan) -> Asked {
        let retry = plan.retry;
        Asked {
            host: plan.host,
            queue: plan.queue,
            source: plan.source,
            concurrency_key: plan.concurrency_key,
            unique: plan.unique,
            priority: plan.priority,
            run_at: plan.run_at,
            completion: Some(plan.completion),
            timeout: Some(plan.timeout),
            request_timeout: Some(plan.request_timeout),
            retry: RetryAsked {
                max_attempts: Some(retry.max_attempts),
                initial: Some(retry.initial),
                factor: Some(retry.factor),
                max: Some(retry.max),
            },
            oversight: OversightAsked::from(&plan.oversight),
            payload_bytes: plan.payload_bytes,
            scheduled: plan.scheduled,
        }
    }
}

/// A retry policy of which any part may be left open.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RetryAsked {
    /// Attempts in all.
    pub max_attempts: Option<u32>,
    /// Bound of the first pause.
    pub initial: Option<Duration>,
    /// By how much the bound grows with each attempt.
    pub factor: Option<f64>,
    /// The bound never grows beyond this.
    pub max: Option<Duration>,
}

impl RetryAsked {
    /// The policy, with `default` for what is left open.
    #[must_use]
    pub fn or(self, default: RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(default.max_attempts),
            initial: self.initial.unwrap_or(default.initial),
            factor: self.factor.unwrap_or(default.factor),
            max: self.max.unwrap_or(default.max),
        }
    }
}

/// The part of a task's definition that decisions look at. It never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The host it is dispatched to; `None` for an external task, which is only tracked.
    pub host: Option<HostKey>,
    /// Its queue.
    pub queue: QueueKey,
    /// The one source whose webhooks may report on it.
    pub source: SourceKey,
    /// Whose limits it shares within the queue.
    pub concurrency_key: ConcurrencyKey,
    /// The key that it holds, so that no second task comes into being under it.
    pub unique: Option<Unique>,
    /// −100 to 100, higher first.
    pub priority: i16,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Which answers complete it.
    pub completion: Completion,
    /// From the beginning of an attempt to its end; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Bound of the HTTP exchange alone.
    pub request_timeout: Duration,
    /// What happens after a failed attempt.
    pub retry: RetryPolicy,
    /// How it is watched over.
    pub oversight: Oversight,
    /// Bytes of the request's body.
    pub payload_bytes: u32,
    /// The instant of a schedule that it is the task of.
    pub scheduled: Option<Scheduled>,
}

impl Plan {
    /// What is asked at `now`, with what its queue says for what is left open.
    #[must_use]
    pub fn of(asked: &Asked, queue: &Settings, now: Timestamp) -> Plan {
        let completion = asked.completion.or(queue.completion).unwrap_or_default();
        // Whoever gives signs of life may take as long as it gives them.
        let by_default = asked.oversight.heartbeat.is_none().then_some(limits::TIMEOUT_DEFAULT);
        // Nobody dispatches an external task, so no attempt of it begins that could take too long.
        let of_queue = asked.host.and(queue.timeout.or(by_default));
        let timeout = asked.timeout.unwrap_or(of_queue);
        let request_timeout = asked.request_timeout.unwrap_or(match completion {
            Completion::Callback => limits::REQUEST_TIMEOUT_WITH_CALLBACK,
            Completion::Auto | Completion::Response => limits::REQUEST_TIMEOUT_DEFAULT,
        });
        Plan {
            host: asked.host,
            queue: asked.queue,
            source: asked.source,
            concurrency_key: asked.concurrency_key,
            unique: asked.unique,
            priority: asked.priority,
            run_at: asked.run_at,
            completion,
            timeout,
            request_timeout: timeout.map_or(request_timeout, |timeout| request_timeout.min(timeout)),
            retry: asked.retry.or(queue.retry.or(RetryPolicy::default())),
            oversight: Oversight::of(&asked.oversight, timeout, now),
            payload_bytes: asked.payload_bytes,
            scheduled: asked.scheduled,
        }
    }
}

/// The part of a task's definition that no decision looks at. It never changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spec {
    /// What kind of work it is.
    pub name: Option<String>,
    /// `concurrency_key` as the caller gave it.
    pub concurrency_key: Option<String>,
    /// The key of `unique` as the caller gave it.
    pub unique_key: Option<String>,
    /// What is sent, where; `None` for an external task.
    pub request: Option<Arc<Request>>,
    /// How its remote's own id of it is found, as the caller gave it.
    pub correlate: Option<String>,
    /// Where its remote is asked how it is, and what its answers mean.
    pub status: Option<Arc<StatusRequest>>,
    /// The URL that is called when it is cancelled.
    pub cancel_url: Option<String>,
    /// The queue whose secret signs its requests; `None`: its own.
    pub signer: Option<QueueKey>,
    /// Free words to find it by.
    pub labels: BTreeMap<String, String>,
    /// `after` as the caller gave it: the names of the tasks it waits for, and what they must end in.
    pub after: Vec<(String, On)>,
}

/// The HTTP request of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// An absolute http or https URL.
    pub url: String,
    /// Header names and values, as given.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte as given; `None`: an empty body.
    pub payload: Option<Vec<u8>>,
}

/// The right to pass of one edge between two tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// The task that must end first.
    pub parent: TaskKey,
    /// Which end lets the dependent start.
    pub on: On,
}

/// Which end of a dependency lets the dependent start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum On {
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It succeeded or was skipped.
    NotFailed,
    /// It ended, however.
    Finished,
}

impl On {
    /// Whether a dependency that ended as `end` lets the dependent start.
    #[must_use]
    pub fn allows(self, end: State) -> bool {
        match self {
            On::Succeeded => {
                end == State::Succeeded
                    || (cfg!(planted = "failure_lets_dependents_start") && end == State::Failed)
            }
            On::Failed => end == State::Failed,
            On::NotFailed => matches!(end, State::Succeeded | State::Skipped),
            On::Finished => end.is_terminal(),
        }
    }
}

/// How failed attempts are tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, 1 to 100.
    pub max_attempts: u32,
    /// Bound of the first pause.
    pub initial: Duration,
    /// By how much the bound grows with each attempt; at least 1.
    pub factor: f64,
    /// The bound never grows beyond this.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            max_attempts: 8,
            initial: Duration::from_secs(5),
            factor: 4.0,
            max: Duration::from_secs(3_600),
        }
    }
}

/// A received webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its key in the store.
    pub key: EventKey,
    /// The source that has sent it.
    pub source: SourceKey,
    /// It came with a key that may report on any task.
    pub by_key: bool,
    /// Under which a repeat of the same delivery is recognised; `None`: every request is a new event.
    pub claim: Option<ClaimKey>,
    /// The task it is about, by the key of its name; `None`: it names none.
    pub task: Option<TaskKey>,
    /// What it names in the place of a task: a remote's own id of one.
    pub external: Option<ExternalKey>,
    /// The attempt it names; `None` means the current one.
    pub attempt: Option<u32>,
    /// It came by a callback token, which names task and attempt.
    pub callback: Option<Callback>,
    /// What it says.
    pub kind: EventKind,
    /// The request as it came, for the record.
    pub received: Arc<Received>,
}

/// A webhook that came by a callback token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callback {
    /// Its body names another task than its token does.
    pub names_another_task: bool,
}

/// What a webhook says about its task.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// `task_started`.
    Started,
    /// `task_progress`: a fraction from 0 to 1, and a few words.
    Progress(Option<f64>, Option<String>),
    /// `task_heartbeat`.
    Heartbeat,
    /// `task_completed`, with the JSON text of its result.
    Completed(Option<Arc<[u8]>>),
    /// `task_failed`; `retryable: false` rules a retry out.
    Failed(Failure, bool),
    /// `task_cancelled`.
    Cancelled,
    /// The request was refused, for this reason; it is kept for whoever looks for it.
    Rejected(Arc<str>),
    /// Any other name, or none; the reason why it is about no task, where it looks like one that should be.
    Other(Option<&'static str>),
}

/// A webhook's request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The public id under which it is kept.
    pub id: EventId,
    /// The source it was sent to.
    pub source: String,
    /// The event name in its body, as written.
    pub name: Option<String>,
    /// The task it names, as written; a callback names it by its token.
    pub task_name: Option<String>,
    /// The remote's own id of the task, as written, where it names no other.
    pub external_id: Option<String>,
    /// The delivery id, as written.
    pub delivery_id: Option<String>,
    /// The secret of its source that proved it.
    pub secret: Option<[u8; 16]>,
    /// The query of its URL, without tokens.
    pub query: Option<String>,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
    /// The event that this one replays.
    pub replay_of: Option<EventId>,
}

impl Received {
    /// A request of which nothing is known yet but its body.
    #[must_use]
    pub fn unread(id: EventId, body: &[u8]) -> Received {
        Received {
            id,
            source: "default".into(),
            name: None,
            task_name: None,
            external_id: None,
            delivery_id: None,
            secret: None,
            query: None,
            headers: Vec::new(),
            body: body.to_vec(),
            replay_of: None,
        }
    }
}

/// Why an attempt, or a task, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for programs: `timeout`, `http_503`, `connect` …, or what the worker gave.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// A user's command to one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End it as cancelled, now.
    Cancel,
    /// Reopen a task that failed, was cancelled or skipped.
    Retry {
        /// Start it even if its dependencies are unmet.
        ignore_dependencies: bool,
    },
    /// Make a scheduled task due now.
    Trigger,
}

/// A user's command to one queue.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueCommand {
    /// Make it, or replace what it says.
    Define {
        /// What it says from now on.
        settings: Arc<Settings>,
        /// Whether it starts nothing.
        paused: bool,
        /// What is to become of its secret; that of `settings` does not count.
        secret: SecretAsked,
    },
    /// Start nothing more; what runs is finished.
    Pause,
    /// Start again, at once.
    Resume,
}

/// A user's command to one schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleCommand {
    /// Make it, or replace what it says.
    Define {
        /// Its name.
        name: Arc<str>,
        /// What it says from now on.
        settings: Arc<schedule::Settings>,
        /// Whether it makes no tasks by itself.
        paused: bool,
    },
    /// Make no tasks by itself.
    Pause,
    /// Make tasks again, from now on.
    Resume,
    /// Make nothing any more; its tasks stay.
    Delete,
    /// Make a task now.
    Trigger {
        /// The instant of the task: in no second that is the schedule's own.
        at: Timestamp,
        /// What happens while an earlier task has not ended; `None`: what the schedule says.
        overlap: Option<Overlap>,
    },
    /// Make the tasks of instants of the past.
    Backfill {
        /// Those behind this one,
        after: Timestamp,
        /// and not after this one.
        until: Timestamp,
        /// Whether they may run at the same time; `None`: if the schedule says so.
        overlapping: Option<bool>,
    },
    /// The machine's clock was set back: a time that was decided long before it has come is open again.
    ClockSetBack,
}

impl ScheduleCommand {
    /// Whether tasks may come of it.
    #[must_use]
    pub fn brings_work(&self) -> bool {
        match self {
            Self::Define { .. } | Self::Trigger { .. } | Self::Backfill { .. } => true,
            Self::Pause | Self::Resume | Self::Delete | Self::ClockSetBack => false,
        }
    }
}

/// A user's command to one bulk.
#[derive(Debug, Clone, PartialEq)]
pub enum BulkCommand {
    /// Do this to these tasks.
    Begin(Arc<bulk::Settings>),
    /// Go no further.
    Cancel,
}

/// The end of a dispatch's HTTP exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The task that was dispatched.
    pub task: TaskKey,
    /// The attempt's number.
    pub attempt: u32,
    /// What came.
    pub kind: ReplyKind,
    /// The id that the target gives the task, where it was looked for; or why none was found.
    pub external: Option<Result<External, Arc<str>>>,
    /// Where it says that the task can be asked for, where that was looked for; or why it says nothing.
    pub location: Option<Result<Location, Arc<str>>>,
}

/// The end of a poll: a task's remote was asked how it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Polled {
    /// The task.
    pub task: TaskKey,
    /// The attempt it was about.
    pub attempt: u32,
    /// The host that was asked.
    pub host: HostKey,
    /// What came.
    pub answer: PollAnswer,
}

/// What a task's remote says of it.
#[derive(Debug, Clone, PartialEq)]
pub enum PollAnswer {
    /// What a webhook of this kind would say: `Progress` is "it runs".
    Says(EventKind),
    /// It has no such task.
    NotFound,
    /// Nothing that could be read: why, as the end of a sentence.
    Unclear(Arc<str>),
    /// There was no answer.
    Lost(Failure),
}

/// What ended a dispatch's HTTP exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyKind {
    /// The target answered.
    Response(Arc<Response>),
    /// There was no answer: refused, broken or timed out.
    Lost(Failure),
    /// The target may not be called at all; calling again cannot help.
    NotAllowed(Failure),
}

/// A target's answer, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers of interest.
    pub headers: Vec<(String, String)>,
    /// The first [`RESPONSE_BYTES_KEPT`](crate::limits::RESPONSE_BYTES_KEPT) bytes of the body.
    pub body: Vec<u8>,
    /// Whether the body was longer than what is kept.
    pub truncated: bool,
    /// The body where it is JSON of at most [`BODY_BYTES_MAX`](crate::limits::BODY_BYTES_MAX): the result of
    /// a task that this response completes.
    pub result: Option<Arc<[u8]>>,
    /// The answer carried `taskhook-no-retry: true`.
    pub no_retry: bool,
    /// The pause that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

impl Response {
    /// Whether the target has taken the attempt on: what the response names then belongs to it.
    #[must_use]
    pub fn is_taken_on(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
