//! The stored shapes, with explicit numbers: renaming something inside never changes a file on disk.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use taskhook_core::access::Role;
use taskhook_core::queue::{QueueSecret, Settings};
use taskhook_core::{
    BulkKey, Cause, Change, Completion, EdgeStatus, EventKey, EventKind, ExternalKey, Failure, FollowUp,
    HostKey, Ignored, NotCorrelated, On, Outcome, PollAnswer, QueueKey, Rate, RetryAsked, ScheduleKey, State,
    Task, TaskKey, Timestamp,
};

/// Pairs each value of an enum with its stored number, both ways.
macro_rules! numbered {
    ($to:ident, $from:ident, $type:ty, { $($number:literal => $value:path),+ $(,)? }) => {
        /// The stored number.
        #[must_use]
        pub fn $to(value: $type) -> i64 {
            match value { $($value => $number),+ }
        }

        /// The value with this stored number.
        #[must_use]
        pub fn $from(number: i64) -> Option<$type> {
            match number { $($number => Some($value),)+ _ => None }
        }
    };
}

pub mod bulks;
pub mod oversight;
pub mod schedules;
pub mod sources;

numbered!(state_number, state_of, State, {
    1 => State::Blocked, 2 => State::Scheduled, 3 => State::Queued, 4 => State::Dispatching, 5 => State::Running,
    6 => State::Succeeded, 7 => State::Failed, 8 => State::Cancelled, 9 => State::Skipped,
});
numbered!(role_number, role_of, Role, { 1 => Role::Read, 2 => Role::Write, 3 => Role::Admin });
numbered!(completion_number, completion_of, Completion, {
    1 => Completion::Auto, 2 => Completion::Response, 3 => Completion::Callback,
});
numbered!(on_number, on_of, On, {
    1 => On::Succeeded, 2 => On::Failed, 3 => On::NotFailed, 4 => On::Finished,
});
numbered!(edge_status_number, edge_status_of, EdgeStatus, {
    1 => EdgeStatus::Pending, 2 => EdgeStatus::Met, 3 => EdgeStatus::Broken,
});
numbered!(ignored_number, ignored_of, Ignored, {
    7 => Ignored::SourceNotAllowed,
    1 => Ignored::Terminal, 2 => Ignored::Contradiction, 3 => Ignored::NotStarted, 4 => Ignored::CompletedByResponse,
    5 => Ignored::UnknownAttempt, 6 => Ignored::AttemptEnded,
});

/// Outcome of a kept webhook: number, and its reason in words where it has one.
#[must_use]
pub fn outcome_columns(outcome: &Outcome) -> (i64, Option<&str>) {
    match outcome {
        Outcome::Applied => (1, None),
        Outcome::Duplicate(_) => (2, None),
        Outcome::Stale => (3, None),
        Outcome::Ignored(why) => (4, Some(why.code())),
        Outcome::Unmatched => (5, None),
        Outcome::Recorded(reason) => (6, *reason),
        Outcome::Rejected(reason) => (7, Some(reason)),
        Outcome::Quarantined => (8, Some("deciding about it failed by a defect of Taskhook")),
        // No webhook is kept with one of these.
        Outcome::Created(_)
        | Outcome::Defined { .. }
        | Outcome::Unchanged
        | Outcome::Repeated
        | Outcome::Refused(_) => (0, None),
    }
}

/// The contract's word for a stored outcome.
#[must_use]
pub fn outcome_name(number: i64) -> &'static str {
    match number {
        1 => "applied",
        2 => "duplicate",
        3 => "stale",
        4 => "ignored",
        5 => "unmatched",
        6 => "recorded",
        7 => "rejected",
        _ => "quarantined",
    }
}

/// A duration as stored, in microseconds.
#[must_use]
pub fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// A stored duration.
#[must_use]
pub fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// As which state a task is counted: what waits for a retry apart from what waits for its time.
#[must_use]
pub fn counted_state(task: &Task) -> i64 {
    match task.state {
        State::Scheduled if task.attempts_before < task.attempt_number() => COUNTED_RETRY,
        state => state_number(state),
    }
}

/// The number under which tasks that are scheduled for a retry are counted.
pub const COUNTED_RETRY: i64 = 10;

/// The flags of a task and of its newest attempt, as bits.
pub mod flag {
    /// `dependencies_ignored`
    pub const DEPENDENCIES_IGNORED: i64 = 1;
    /// `completed_by_response`
    pub const COMPLETED_BY_RESPONSE: i64 = 2;
    /// `answered_too_early`
    pub const ANSWERED_TOO_EARLY: i64 = 4;
    /// `contradicted`
    pub const CONTRADICTED: i64 = 8;
    /// `quarantined`
    pub const QUARANTINED: i64 = 16;
    /// The newest attempt is open.
    pub const ATTEMPT_OPEN: i64 = 32;
    /// The newest attempt's response is recorded.
    pub const ATTEMPT_REPLIED: i64 = 64;
    /// It was reopened past its deadline. 128 was another one, which told nobody anything.
    pub const DEADLINE_LIFTED: i64 = 256;
    /// `has_external`
    pub const HAS_EXTERNAL: i64 = 512;
}

/// A cause as stored: its number, and the key of what it names.
#[must_use]
pub fn cause_columns(cause: Cause) -> (i64, Option<i64>) {
    match cause {
        Cause::Creation => (1, None),
        Cause::Command => (2, None),
        Cause::Event(event) => (3, Some(event.0)),
        Cause::Reply(attempt) => (4, Some(i64::from(attempt))),
        Cause::Time => (5, None),
        Cause::Parent(task) => (6, Some(task.0)),
        Cause::Queue => (7, None),
        Cause::Schedule(schedule) => (8, Some(schedule.0)),
        Cause::Bulk(bulk) => (9, Some(bulk.0)),
        Cause::Reconciliation => (10, None),
    }
}

/// The cause with these columns; `None`: this version does not know it.
#[must_use]
pub fn cause_of(number: i64, key: Option<i64>) -> Option<Cause> {
    Some(match (number, key) {
        (1, _) => Cause::Creation,
        (2, _) => Cause::Command,
        (3, Some(event)) => Cause::Event(EventKey(event)),
        (4, Some(attempt)) => Cause::Reply(u32::try_from(attempt).ok()?),
        (5, _) => Cause::Time,
        (6, Some(task)) => Cause::Parent(TaskKey(task)),
        (7, _) => Cause::Queue,
        (8, Some(schedule)) => Cause::Schedule(ScheduleKey(schedule)),
        (9, Some(bulk)) => Cause::Bulk(BulkKey(bulk)),
        (10, _) => Cause::Reconciliation,
        _ => return None,
    })
}

/// What is stored of a change beside its kind. Fields that a kind has no use for are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// The other task: the dependency that ended or was reopened, or the one because of which it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<i64>,
    /// The generation of that one, which a retry has raised; `None`: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// How that one ended, by state number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// Whether that lets this one start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// A failure's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A failure's or a progress report's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the attempt counts towards `max_attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
    /// Whether the failure that a remote told of may pass; `None`: it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// The time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Progress, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The response's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The response's headers of interest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Whether the response's body was longer than what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// The response completed the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_response: Option<bool>,
    /// How often the attempt was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<u8>,
    /// The outcome of a webhook that changed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<i64>,
    /// Why it changed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Dependencies no longer matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_dependencies: Option<bool>,
    /// The remote's own id of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The URL that the response has named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the remote said when it was asked, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// A change as stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeRow {
    /// The number of its kind.
    pub kind: i64,
    /// The attempt it is about.
    pub attempt: Option<u32>,
    /// What else there is to say.
    pub detail: Option<Detail>,
    /// A result, or a response's body.
    pub body: Option<Vec<u8>>,
}

/// The names of the kinds of change, by number: the contract of a task's history.
pub const CHANGE_NAMES: [(i64, &str); 27] = [
    (1, "created"),
    (2, "blocked"),
    (3, "dependency_ended"),
    (4, "dependency_reopened"),
    (5, "scheduled"),
    (6, "queued"),
    (7, "begun"),
    (8, "dispatched"),
    (9, "resent"),
    (10, "started"),
    (11, "alive"),
    (12, "responded"),
    (13, "attempt_failed"),
    (14, "retry_planned"),
    (15, "succeeded"),
    (16, "failed"),
    (17, "cancelled"),
    (18, "skipped"),
    (19, "triggered"),
    (20, "reopened"),
    (21, "event_ignored"),
    (23, "correlated"),
    (24, "not_correlated"),
    (25, "located"),
    (26, "polled"),
    (27, "deadline_passed"),
    (28, "poll_lost"),
];

/// A task was found to break Taskhook's own decisions.
pub const QUARANTINED: i64 = 22;

/// The name of a kind of change.
#[must_use]
pub fn change_name(kind: i64) -> &'static str {
    CHANGE_NAMES.iter().find(|(number, _)| *number == kind).map_or("quarantined", |(_, name)| name)
}

/// A change as it is stored; `None` for one that is no part of a task's story.
#[must_use]
pub fn change_row(change: &Change) -> Option<ChangeRow> {
    let plain = |kind| ChangeRow { kind, ..ChangeRow::default() };
    let of = |kind, attempt: u32| ChangeRow { kind, attempt: Some(attempt), ..ChangeRow::default() };
    let with = |row: ChangeRow, detail| ChangeRow { detail: Some(detail), ..row };
    Some(match change {
        Change::Created { .. } => plain(1),
        Change::Blocked => plain(2),
        Change::DependencyEnded { parent, generation, end, allowed } => with(
            plain(3),
            Detail {
                task: Some(parent.0),
                generation: Some(*generation).filter(|generation| *generation > 0),
                end: Some(state_number(*end)),
                allowed: Some(*allowed),
                ..Detail::default()
            },
        ),
        Change::DependencyReopened { parent, generation, .. } => with(
            plain(4),
            Detail { task: Some(parent.0), generation: Some(*generation), ..Detail::default() },
        ),
        Change::Scheduled => plain(5),
        Change::Queued => plain(6),
        Change::Begun { attempt } => of(7, *attempt),
        Change::Dispatched { attempt } => of(8, *attempt),
        Change::Resent { attempt, send } => {
            with(of(9, *attempt), Detail { send: Some(*send), ..Detail::default() })
        }
        Change::Started { attempt } => of(10, *attempt),
        Change::Alive { progress, message } => {
            with(plain(11), Detail { progress: *progress, message: message.clone(), ..Detail::default() })
        }
        Change::Responded { attempt, response } => responded(of(12, *attempt), response),
        Change::AttemptFailed { attempt, failure, counted } => {
            with(of(13, *attempt), Detail { counted: Some(*counted), ..failure_detail(failure) })
        }
        Change::RetryPlanned { at } => with(plain(14), Detail { at: Some(at.0), ..Detail::default() }),
        Change::Succeeded { attempt, result, by_response } => ChangeRow {
            body: result.as_ref().map(|result| result.to_vec()),
            ..with(of(15, *attempt), Detail { by_response: Some(*by_response), ..Detail::default() })
        },
        Change::Failed => plain(16),
        Change::Cancelled => plain(17),
        Change::Skipped { parent } => with(plain(18), Detail { task: Some(parent.0), ..Detail::default() }),
        Change::Triggered => plain(19),
        Change::Reopened { ignore_dependencies } => {
            with(plain(20), Detail { ignore_dependencies: Some(*ignore_dependencies), ..Detail::default() })
        }
        Change::EventIgnored { outcome } => {
            let (number, reason) = outcome_columns(outcome);
            let reason = reason.map(ToString::to_string);
            with(plain(21), Detail { outcome: Some(number), reason, ..Detail::default() })
        }
        Change::Correlated { attempt, external } => ChangeRow {
            kind: 23,
            attempt: *attempt,
            detail: Some(Detail { external_id: Some(external.id.to_string()), ..Detail::default() }),
            body: None,
        },
        Change::NotCorrelated { attempt, why } => with(of(24, *attempt), not_correlated(why)),
        Change::Quarantined => plain(QUARANTINED),
        Change::Located { attempt, location } => with(
            of(25, *attempt),
            match location {
                Ok(location) => Detail { url: Some(location.url.to_string()), ..Detail::default() },
                Err(why) => Detail { reason: Some(why.to_string()), ..Detail::default() },
            },
        ),
        Change::Polled { attempt, answer } => with(of(26, *attempt), polled(answer)),
        Change::DeadlinePassed => plain(27),
        Change::PollLost { attempt } => of(28, *attempt),
        Change::Rearmed { .. } | Change::PollSent { .. } => return None,
    })
}

/// What a remote said: one word, and what there is to say beside it.
fn polled(answer: &PollAnswer) -> Detail {
    let said = |word: &str| Detail { said: Some(word.into()), ..Detail::default() };
    match answer {
        PollAnswer::Says(EventKind::Progress(progress, _)) => {
            Detail { progress: *progress, ..said("running") }
        }
        PollAnswer::Says(EventKind::Completed(_)) => said("completed"),
        PollAnswer::Says(EventKind::Failed(failure, retryable)) => Detail {
            said: Some("failed".into()),
            retryable: Some(false).filter(|_| !retryable),
            ..failure_detail(failure)
        },
        PollAnswer::Says(EventKind::Cancelled) => said("cancelled"),
        PollAnswer::Says(_) => said("running"),
        PollAnswer::NotFound => said("not_found"),
        PollAnswer::Unclear(why) => Detail { reason: Some(why.to_string()), ..said("unclear") },
        PollAnswer::Lost(failure) => Detail { said: Some("no_answer".into()), ..failure_detail(failure) },
    }
}

fn not_correlated(why: &NotCorrelated) -> Detail {
    match why {
        NotCorrelated::NotFound(why) => Detail { reason: Some(why.to_string()), ..Detail::default() },
        NotCorrelated::Taken { id, by } => {
            Detail { external_id: Some(id.to_string()), task: Some(by.0), ..Detail::default() }
        }
    }
}

fn failure_detail(failure: &Failure) -> Detail {
    Detail { code: Some(failure.code.clone()), message: Some(failure.message.clone()), ..Detail::default() }
}

fn responded(
    row: ChangeRow,
    response: &Result<std::sync::Arc<taskhook_core::Response>, Failure>,
) -> ChangeRow {
    match response {
        Err(failure) => ChangeRow { detail: Some(failure_detail(failure)), ..row },
        Ok(response) => ChangeRow {
            detail: Some(Detail {
                status: Some(response.status),
                headers: response.headers.clone(),
                truncated: response.truncated.then_some(true),
                ..Detail::default()
            }),
            body: Some(response.body.clone()).filter(|body| !body.is_empty()),
            ..row
        },
    }
}

/// A follow-up as stored: kind, subject, other, generation, end.
#[must_use]
pub fn follow_up_columns(follow_up: &FollowUp) -> (i64, i64, i64, i64, i64) {
    match *follow_up {
        FollowUp::Look(queue) => (1, queue.0, 0, 0, 0),
        FollowUp::HostFree(host) => (7, host.0, 0, 0, 0),
        FollowUp::Unpark { task, after } => (2, task.0, after.0, 0, 0),
        FollowUp::UnparkExternal { external, after } => (11, external.0, after.0, 0, 0),
        FollowUp::EndDependents { parent, generation, after } => (3, parent.0, after.0, generation.into(), 0),
        FollowUp::ReopenDependents { parent, generation, after } => {
            (4, parent.0, after.0, generation.into(), 0)
        }
        FollowUp::ParentEnded { task, parent, generation, end } => {
            (5, task.0, parent.0, generation.into(), state_number(end))
        }
        FollowUp::ParentReopened { task, parent, generation } => (6, task.0, parent.0, generation.into(), 0),
        FollowUp::EndPrevious { by, after } => (8, by.0, after.0, 0, 0),
        FollowUp::Supersede { task, by } => (9, task.0, by.0, 0, 0),
        FollowUp::Bulk { bulk, task } => (10, task.0, bulk.0, 0, 0),
        FollowUp::CallCancel { task, generation } => (12, task.0, 0, generation.into(), 0),
    }
}

/// The follow-up with these columns.
#[must_use]
pub fn follow_up_of(kind: i64, subject: i64, other: i64, generation: i64, end: i64) -> Option<FollowUp> {
    let generation = u32::try_from(generation).ok()?;
    Some(match kind {
        1 => FollowUp::Look(QueueKey(subject)),
        7 => FollowUp::HostFree(HostKey(subject)),
        2 => FollowUp::Unpark { task: TaskKey(subject), after: EventKey(other) },
        3 => FollowUp::EndDependents { parent: TaskKey(subject), generation, after: TaskKey(other) },
        4 => FollowUp::ReopenDependents { parent: TaskKey(subject), generation, after: TaskKey(other) },
        5 => FollowUp::ParentEnded {
            task: TaskKey(subject),
            parent: TaskKey(other),
            generation,
            end: state_of(end)?,
        },
        6 => FollowUp::ParentReopened { task: TaskKey(subject), parent: TaskKey(other), generation },
        8 => FollowUp::EndPrevious { by: TaskKey(subject), after: TaskKey(other) },
        9 => FollowUp::Supersede { task: TaskKey(subject), by: TaskKey(other) },
        10 => FollowUp::Bulk { bulk: BulkKey(other), task: TaskKey(subject) },
        12 => FollowUp::CallCancel { task: TaskKey(subject), generation },
        11 => FollowUp::UnparkExternal { external: ExternalKey(subject), after: EventKey(other) },
        _ => return None,
    })
}

/// What a queue says, as stored. Durations are microseconds; what is absent is no limit, or left to the product.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsRow {
    /// Open attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Begun attempts: how many, in how long, how many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<(u32, i64, u32)>,
    /// Open attempts of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_concurrency: Option<u32>,
    /// Begun attempts of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rate: Option<(u32, i64, u32)>,
    /// `retry.max_attempts`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_max_attempts: Option<u32>,
    /// `retry.initial`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_initial: Option<i64>,
    /// `retry.factor`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_factor: Option<f64>,
    /// `retry.max`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_max: Option<i64>,
    /// `timeout`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// `completion`, by number
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<i64>,
    /// `retention`; negative: for ever
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<i64>,
    /// `secret`, sealed, in base64
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The one before, and until when it signs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_before: Option<(String, i64)>,
}

impl SettingsRow {
    /// The stored form.
    #[must_use]
    pub fn of(settings: &Settings) -> SettingsRow {
        let rate = |rate: Rate| (rate.limit, micros(rate.per), rate.burst);
        let secret = settings.secret.as_ref();
        let before = secret.and_then(|secret| secret.before.as_ref());
        SettingsRow {
            concurrency: settings.concurrency,
            rate: settings.rate.map(rate),
            key_concurrency: settings.key_concurrency,
            key_rate: settings.key_rate.map(rate),
            retry_max_attempts: settings.retry.max_attempts,
            retry_initial: settings.retry.initial.map(micros),
            retry_factor: settings.retry.factor,
            retry_max: settings.retry.max.map(micros),
            timeout: settings.timeout.map(micros),
            completion: settings.completion.map(completion_number),
            retention: settings.retention.map(|age| age.map_or(-1, micros)),
            secret: secret.map(|secret| STANDARD.encode(&secret.sealed)),
            secret_before: before.map(|(sealed, until)| (STANDARD.encode(sealed), until.0)),
        }
    }

    /// What it says.
    #[must_use]
    pub fn settings(self) -> Settings {
        let rate = |(limit, per, burst)| Rate { limit, per: span(per), burst };
        // One that cannot be read opens as little as one that was damaged, and is told of where it is opened.
        let bytes = |text: String| STANDARD.decode(text).unwrap_or_default().into();
        let secret = self.secret.map(bytes);
        let before = self.secret_before.map(|(text, until)| (bytes(text), Timestamp(until)));
        Settings {
            concurrency: self.concurrency,
            rate: self.rate.map(rate),
            key_concurrency: self.key_concurrency,
            key_rate: self.key_rate.map(rate),
            retry: RetryAsked {
                max_attempts: self.retry_max_attempts,
                initial: self.retry_initial.map(span),
                factor: self.retry_factor,
                max: self.retry_max.map(span),
            },
            timeout: self.timeout.map(span),
            completion: self.completion.and_then(completion_of),
            retention: self.retention.map(|age| (age >= 0).then(|| span(age))),
            secret: secret.map(|sealed| QueueSecret { sealed, before }),
        }
    }
}

/// What a parked webhook says, as stored until its task exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mapped {
    /// `task_started`
    #[serde(rename = "started")]
    Started,
    /// `task_progress`
    #[serde(rename = "progress")]
    Progress(Option<f64>, Option<String>),
    /// `task_heartbeat`
    #[serde(rename = "heartbeat")]
    Heartbeat,
    /// `task_completed`, with the JSON text of its result
    #[serde(rename = "completed")]
    Completed(Option<String>),
    /// `task_failed`: code, message, retryable
    #[serde(rename = "failed")]
    Failed(String, String, bool),
    /// `task_cancelled`
    #[serde(rename = "cancelled")]
    Cancelled,
}

impl Mapped {
    /// The stored form; `None` for a kind that is never parked.
    #[must_use]
    pub fn of(kind: &EventKind) -> Option<Mapped> {
        Some(match kind {
            EventKind::Started => Mapped::Started,
            EventKind::Progress(progress, message) => Mapped::Progress(*progress, message.clone()),
            EventKind::Heartbeat => Mapped::Heartbeat,
            EventKind::Completed(result) => {
                Mapped::Completed(result.as_ref().map(|json| String::from_utf8_lossy(json).into_owned()))
            }
            EventKind::Failed(failure, retryable) => {
                Mapped::Failed(failure.code.clone(), failure.message.clone(), *retryable)
            }
            EventKind::Cancelled => Mapped::Cancelled,
            EventKind::Rejected(_) | EventKind::Other(_) => return None,
        })
    }

    /// What it says.
    #[must_use]
    pub fn kind(self) -> EventKind {
        match self {
            Mapped::Started => EventKind::Started,
            Mapped::Progress(progress, message) => EventKind::Progress(progress, message),
            Mapped::Heartbeat => EventKind::Heartbeat,
            Mapped::Completed(result) => EventKind::Completed(result.map(|json| json.into_bytes().into())),
            Mapped::Failed(code, message, retryable) => {
                EventKind::Failed(Failure { code, message }, retryable)
            }
            Mapped::Cancelled => EventKind::Cancelled,
        }
    }
}

/// A stored time.
#[must_use]
pub fn time(micros: i64) -> Timestamp {
    Timestamp(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_follow_up_survives_storage() {
        let (task, parent) = (TaskKey(7), TaskKey(i64::MIN));
        for follow_up in [
            FollowUp::Look(QueueKey(1)),
            FollowUp::HostFree(HostKey(9)),
            FollowUp::Unpark { task, after: EventKey(3) },
            FollowUp::UnparkExternal { external: ExternalKey(8), after: EventKey(3) },
            FollowUp::CallCancel { task, generation: 4 },
            FollowUp::EndDependents { parent: task, generation: 2, after: parent },
            FollowUp::ReopenDependents { parent: task, generation: 2, after: parent },
            FollowUp::ParentEnded { task, parent, generation: u32::MAX, end: State::Skipped },
            FollowUp::ParentReopened { task, parent, generation: 0 },
            FollowUp::EndPrevious { by: task, after: parent },
            FollowUp::Supersede { task, by: parent },
            FollowUp::Bulk { bulk: BulkKey(3), task },
        ] {
            let (kind, subject, other, generation, end) = follow_up_columns(&follow_up);
            assert_eq!(follow_up_of(kind, subject, other, generation, end), Some(follow_up));
        }
        assert_eq!(follow_up_of(99, 0, 0, 0, 0), None);
    }

    #[test]
    fn every_cause_survives_storage() {
        for cause in [
            Cause::Creation,
            Cause::Command,
            Cause::Event(EventKey(3)),
            Cause::Reply(u32::MAX),
            Cause::Time,
            Cause::Parent(TaskKey(i64::MIN)),
            Cause::Queue,
            Cause::Schedule(ScheduleKey(5)),
            Cause::Bulk(BulkKey(6)),
            Cause::Reconciliation,
        ] {
            let (number, key) = cause_columns(cause);
            assert_eq!(cause_of(number, key), Some(cause));
        }
        assert_eq!([cause_of(99, None), cause_of(4, Some(-1)), cause_of(3, None)], [None; 3]);
    }

    #[test]
    fn every_state_survives_storage() {
        for state in State::ALL {
            assert_eq!(state_of(state_number(state)), Some(state));
        }
        assert_eq!(state_number(State::Queued), 3, "the index task_ready names this number");
    }
}
