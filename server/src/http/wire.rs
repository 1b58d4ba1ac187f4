//! The public shapes. Renaming something inside never changes an answer.

pub mod access;
pub mod bulks;
pub mod schedules;
pub mod sources;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use taskhook_core::access::ApiKeyId;
use taskhook_core::unique::Until;
use taskhook_core::{
    Attempt, Completion, Location, On, Rate, RetryAsked, State, StatusRequest, Task, Timestamp, limits,
};
use utoipa::ToSchema;

use crate::http::duration::show;
use crate::report::joined;
use crate::secrets::credentials;
use crate::store::read::{EventView, HistoryEntry, QueueView, TaskView};

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskBody {
    /// Its id.
    pub id: String,
    /// What kind of work it is.
    pub name: Option<String>,
    /// Where it is in its life.
    #[schema(value_type = String, example = "running")]
    pub state: &'static str,
    /// The newest attempt's number; 0 before the first.
    pub attempt: u32,
    /// Where it is dispatched; null for an external task.
    pub url: Option<String>,
    /// The method of its request.
    pub method: Option<String>,
    /// The headers of its request, with `[redacted]` in the place of credentials.
    pub headers: BTreeMap<String, String>,
    /// The body of its request.
    #[schema(value_type = serde_json::Value)]
    pub payload: Option<Box<RawValue>>,
    /// Its queue.
    pub queue: String,
    /// The one source, besides callback URLs, whose webhooks may report on it.
    pub source: String,
    /// Whose limits it shares within its queue.
    pub concurrency_key: Option<String>,
    /// The key under which no second task is created while this one holds it.
    pub unique: Option<UniqueBody>,
    /// −100 to 100, higher first.
    pub priority: i16,
    /// Not before this instant.
    pub run_at: String,
    /// The tasks it waits for.
    pub after: Vec<DependencyBody>,
    /// Which answers complete it: `auto`, `response`, `callback`.
    #[schema(value_type = String)]
    pub completion: &'static str,
    /// An attempt must be complete this long after its dispatch began.
    pub timeout: Option<String>,
    /// The HTTP exchange itself.
    pub request_timeout: String,
    /// How failed attempts are tried again.
    pub retry: RetryBody,
    /// While it runs, a sign of life at least this often, else the attempt has failed.
    pub heartbeat: Option<String>,
    /// By then it has ended, or fails without retry.
    pub deadline: Option<String>,
    /// `accept`: a success of any attempt since the last explicit retry completes the task; `reject`: only of the current one.
    #[schema(value_type = String)]
    pub late_success: &'static str,
    /// Where its remote is asked how it is, when a callback is overdue.
    pub status: Option<StatusBody>,
    /// The URL that is called when it is cancelled after it was dispatched.
    pub cancel_url: Option<String>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// How its remote's own id of it is found in the response to its dispatch, or that id.
    pub correlate: Option<String>,
    /// The id that its remote gave it last: webhooks of its source may name it so.
    pub external_id: Option<String>,
    /// The schedule that made it.
    pub schedule: Option<String>,
    /// The instant of the schedule that it is the task of.
    pub scheduled_for: Option<String>,
    /// What it came to.
    #[schema(value_type = serde_json::Value)]
    pub result: Option<Box<RawValue>>,
    /// Why its latest failed attempt failed.
    pub error: Option<ErrorBody>,
    /// Latest progress, 0 to 1.
    pub progress: Option<f64>,
    /// Latest words of the worker.
    pub message: Option<String>,
    /// Why it is not further; null once it has ended.
    pub waiting_for: Option<WaitingBody>,
    /// What its owner should know.
    pub warnings: Vec<WarningBody>,
    /// When it was created.
    pub created_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}

/// Where a task's remote is asked how it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusBody {
    /// The URL; `location`: the response to the dispatch names it.
    pub url: String,
    /// The URL that the response of the newest attempt has named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The headers that are sent, with `[redacted]` in the place of credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long after an attempt has begun it is asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where in an answer `status`, `result`, `error` and `progress` are found, by expressions over `response`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, String>,
}

impl StatusBody {
    /// As it is shown.
    #[must_use]
    pub fn of(status: &StatusRequest, after: Option<Duration>, location: Option<&Location>) -> StatusBody {
        let request = status.request.as_ref();
        let headers = request.map(|request| request.headers.clone()).unwrap_or_default();
        StatusBody {
            url: request.map_or_else(|| "location".into(), |request| request.url.clone()),
            location: location.map(|location| location.url.to_string()),
            headers: headers.into_iter().map(credentials::shown).collect(),
            after: after.map(show),
            map: status.map.clone(),
        }
    }
}

/// The contract's word for which successes count.
pub(super) fn late_success_name(rejects: bool) -> &'static str {
    if rejects { "reject" } else { "accept" }
}

/// A key that one task holds at a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct UniqueBody {
    /// The key.
    pub key: String,
    /// `finished`, or for how long from the creation.
    pub until: String,
}

/// A task that another one waits for.
#[derive(Debug, Serialize, ToSchema)]
pub struct DependencyBody {
    /// Its id.
    pub task: String,
    /// Which end lets the dependent start: `succeeded`, `failed`, `not_failed`, `finished`.
    #[schema(value_type = String)]
    pub on: &'static str,
}

/// How failed attempts are tried again: a pause is drawn between 0 and `min(max, initial·factorⁿ)`.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetryBody {
    /// Attempts in all.
    pub max_attempts: u32,
    /// Bound of the first pause.
    pub initial: String,
    /// By how much the bound grows.
    pub factor: f64,
    /// The bound never grows beyond this.
    pub max: String,
}

/// Why an attempt failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word: `timeout`, `http_503`, `connect` …, or what the worker gave.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// Why a task is not further.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingBody {
    /// `dependency`, `time`, `retry`, `held`, `disk_full`, `paused`, `breaker`, `key_limit`, `concurrency`, `rate`,
    /// `capacity`, `response`, `callback`.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What it waits for, exactly.
    pub text: String,
    /// When the waiting ends by itself.
    pub until: Option<String>,
    /// The id of what it waits for.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

/// Something that the owner of a task should know.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarningBody {
    /// A stable word.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What was noticed, and what to do.
    #[schema(value_type = String)]
    pub detail: &'static str,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListBody<T: ToSchema> {
    /// The rows.
    pub data: Vec<T>,
    /// For the next page: give it as `cursor`; null at the end.
    pub next_cursor: Option<String>,
}

/// What the owner of a task should know.
fn warnings(task: &Task, given_up: bool, up_since: Timestamp) -> Vec<WarningBody> {
    let mut warnings = Vec::new();
    if task.answered_too_early {
        warnings.push(WarningBody {
            code: "answered_too_early",
            detail: "a webhook reported on this task after its response had completed it; \
                     answer 202, or create it with completion: \"callback\"",
        });
    }
    if task.contradicted {
        warnings.push(WarningBody {
            code: "contradicted",
            detail: "a webhook, or its remote when it was asked, says that this task ended otherwise; see its \
                     history",
        });
    }
    // Its end may be another than its remote knows.
    let asked = task.attempt.filter(|attempt| match task.state {
        State::Running => true,
        State::Failed => attempt.number > task.attempts_before && given_up,
        _ => false,
    });
    if asked.is_some_and(|attempt| attempt.polling.unanswered >= limits::UNANSWERED_MIN) {
        warnings.push(WarningBody {
            code: "unanswered",
            detail: "asking its remote how it is came to nothing, twice in a row or more; its history says why",
        });
    }
    let asks = task.plan.oversight.status.is_some() && task.state == State::Running;
    let is_answered = |attempt: Attempt| attempt.replied || attempt.sent_at < up_since;
    if asks && task.status_host().is_none() && task.attempt.is_some_and(is_answered) {
        warnings.push(WarningBody {
            code: "no_status_url",
            detail: "its remote cannot be asked how it is: no response to its dispatch has come with a `Location` \
                     that can be asked, as `status: location` wants",
        });
    }
    if task.notes > limits::NOTES_PER_TASK_MAX {
        warnings.push(WarningBody {
            code: "history_cut",
            detail: "it has had more than 1,000 signs of life, polls and ignored webhooks; its history has the first of \
                     them, and GET /v1/events?task=ID has its webhooks",
        });
    }
    if task.quarantined {
        warnings.push(WarningBody {
            code: "quarantined",
            detail: "deciding about this task failed by a defect of Taskhook; it is left alone",
        });
    }
    warnings
}

impl TaskBody {
    /// A task as it is shown.
    #[must_use]
    pub fn of(view: TaskView) -> TaskBody {
        let TaskView {
            id,
            task,
            spec,
            result,
            error,
            given_up,
            waits_for,
            held_up,
            source,
            schedule,
            external_id,
        } = view;
        let waiting = taskhook_core::waiting::waiting_for(&task, waits_for.as_deref(), &held_up);
        let warnings = warnings(&task, given_up, held_up.up_since);
        TaskBody {
            id,
            name: spec.name,
            state: task.state.name(),
            attempt: task.attempt_number(),
            url: spec.url,
            method: spec.method,
            headers: spec.headers.into_iter().map(credentials::shown).collect(),
            payload: raw(spec.payload),
            queue: held_up.queue,
            source,
            concurrency_key: spec.concurrency_key,
            unique: spec
                .unique_key
                .zip(task.plan.unique)
                .map(|(key, unique)| UniqueBody { key, until: until(unique.until) }),
            priority: task.plan.priority,
            run_at: task.plan.run_at.to_string(),
            after: spec
                .after
                .into_iter()
                .map(|(task, on)| DependencyBody { task, on: on_name(on) })
                .collect(),
            completion: completion_name(task.plan.completion),
            timeout: task.plan.timeout.map(show),
            request_timeout: show(task.plan.request_timeout),
            retry: RetryBody {
                max_attempts: task.plan.retry.max_attempts,
                initial: show(task.plan.retry.initial),
                factor: task.plan.retry.factor,
                max: show(task.plan.retry.max),
            },
            heartbeat: task.plan.oversight.heartbeat.map(show),
            deadline: task.plan.oversight.deadline.map(|at| at.to_string()),
            late_success: late_success_name(task.plan.oversight.rejects_late_success),
            status: spec.status.map(|request| {
                StatusBody::of(
                    &request,
                    task.plan.oversight.status.map(|status| status.after),
                    task.location.as_ref(),
                )
            }),
            cancel_url: spec.cancel_url,
            labels: spec.labels,
            correlate: spec.correlate,
            external_id,
            schedule,
            scheduled_for: task.plan.scheduled.map(|scheduled| scheduled.at.to_string()),
            result: raw(result),
            error: error.map(|error| ErrorBody { code: error.code, message: error.message }),
            progress: task.progress,
            message: task.message,
            waiting_for: waiting.map(|waiting| WaitingBody {
                code: waiting.code,
                text: waiting.text,
                until: waiting.until.map(|until| until.to_string()),
                reference: waiting.reference,
            }),
            warnings,
            created_at: task.created_at.to_string(),
            ended_at: task.ended_at.map(|at| at.to_string()),
        }
    }
}

/// How long a unique key is held.
fn until(until: Until) -> String {
    match until {
        Until::Finished => "finished".into(),
        Until::For(span) => show(span),
    }
}

/// The contract's word for which answers complete a task.
fn completion_name(completion: Completion) -> &'static str {
    match completion {
        Completion::Auto => "auto",
        Completion::Response => "response",
        Completion::Callback => "callback",
    }
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueBody {
    /// Its name.
    pub name: String,
    /// Attempts that may be open at the same time; null: no limit.
    pub concurrency: Option<u32>,
    /// Limits that the tasks of one `concurrency_key` share.
    pub per_key: Option<PerKeyBody>,
    /// How many attempts may begin in a span of time; null: no limit.
    pub rate: Option<RateBody>,
    /// It starts nothing; what runs is finished.
    pub paused: bool,
    /// For tasks that leave parts of it open; null: the product's own.
    pub retry: Option<RetryDefaultBody>,
    /// For tasks that leave it open.
    pub timeout: Option<String>,
    /// For tasks that leave it open.
    #[schema(value_type = Option<String>)]
    pub completion: Option<&'static str>,
    /// How long its tasks are kept after their end; null: as the server says.
    pub retention: Option<String>,
    /// Its attempts are signed with a secret of its own.
    pub has_secret: bool,
    /// Attempts that are open, the wait for their webhooks included.
    pub open: u32,
    /// How many of its tasks are in each state that occurs.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub states: BTreeMap<&'static str, u64>,
    /// How many of its tasks wait, by the code of what they wait for.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub waiting_for: BTreeMap<&'static str, u64>,
    /// For how long the oldest task has been due that nothing but its turn holds up, in seconds.
    pub oldest_due_seconds: Option<f64>,
}

/// Limits that the tasks of one `concurrency_key` share.
#[derive(Debug, Serialize, ToSchema)]
pub struct PerKeyBody {
    /// Attempts that may be open at the same time; null: no limit.
    pub concurrency: Option<u32>,
    /// How many attempts may begin in a span of time; null: no limit.
    pub rate: Option<RateBody>,
}

/// In any window of `per`, at most `limit + burst − 1` attempts begin.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateBody {
    /// Attempts in each `per`.
    pub limit: u32,
    /// The span of time.
    pub per: String,
    /// Attempts that may begin at once.
    pub burst: u32,
}

/// A retry policy of which parts may be left open.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetryDefaultBody {
    /// Attempts in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Bound of the first pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// By how much the bound grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The bound never grows beyond this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

impl RetryDefaultBody {
    fn of(retry: RetryAsked) -> RetryDefaultBody {
        RetryDefaultBody {
            max_attempts: retry.max_attempts,
            initial: retry.initial.map(show),
            factor: retry.factor,
            max: retry.max.map(show),
        }
    }
}

impl QueueBody {
    /// A queue as it is shown at `now`.
    #[must_use]
    pub fn of(view: QueueView, now: Timestamp) -> QueueBody {
        let settings = &view.queue.settings;
        let rate = |rate: Rate| RateBody { limit: rate.limit, per: show(rate.per), burst: rate.burst };
        let per_key = PerKeyBody { concurrency: settings.key_concurrency, rate: settings.key_rate.map(rate) };
        let has_per_key = per_key.concurrency.is_some() || per_key.rate.is_some();
        let retry = settings.retry;
        QueueBody {
            concurrency: settings.concurrency,
            per_key: has_per_key.then_some(per_key),
            rate: settings.rate.map(rate),
            paused: view.queue.paused,
            retry: (retry != RetryAsked::default()).then(|| RetryDefaultBody::of(retry)),
            timeout: settings.timeout.map(show),
            completion: settings.completion.map(completion_name),
            retention: settings.retention.map(|age| age.map_or_else(|| "never".into(), show)),
            has_secret: settings.secret.is_some(),
            open: view.queue.open,
            states: view
                .counts
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(state, count)| (state.name(), *count))
                .collect(),
            waiting_for: view.waiting.iter().map(|waiting| (waiting.code, waiting.count)).collect(),
            oldest_due_seconds: view.oldest_due.map(|due| now.since(due).as_secs_f64()),
            name: view.name,
        }
    }
}

fn raw(json: Option<String>) -> Option<Box<RawValue>> {
    json.and_then(|json| RawValue::from_string(json).ok())
}

/// The contract's word for an end that is waited for.
#[must_use]
pub fn on_name(on: On) -> &'static str {
    match on {
        On::Succeeded => "succeeded",
        On::Failed => "failed",
        On::NotFailed => "not_failed",
        On::Finished => "finished",
    }
}

/// One decision about a task.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryBody {
    /// When it was made.
    pub at: String,
    /// What became true.
    #[schema(value_type = String, example = "attempt_failed")]
    pub change: &'static str,
    /// The attempt it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What caused it.
    pub cause: CauseBody,
    /// The same in one sentence.
    pub text: String,
    /// What else is known, by change.
    #[schema(value_type = serde_json::Value)]
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// What caused a decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct CauseBody {
    /// `creation`, `command`, `event`, `response`, `time`, `task`, `queue`, `schedule`, `bulk`, `reconciliation`.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// The id of the event, task or bulk, the name of the schedule, or the attempt of the response.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl HistoryBody {
    /// An entry as it is shown.
    #[must_use]
    pub fn of(entry: HistoryEntry) -> HistoryBody {
        HistoryBody {
            text: crate::http::story::sentence(&entry),
            detail: crate::http::story::detail(&entry),
            at: entry.at.to_string(),
            change: entry.change,
            attempt: entry.attempt,
            cause: CauseBody {
                kind: crate::http::story::cause_kind(entry.cause),
                reference: entry.cause_ref,
            },
        }
    }
}

/// A received webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventBody {
    /// Its id.
    pub id: String,
    /// The source it was sent to.
    pub source: String,
    /// The event name in its body.
    #[serde(rename = "type")]
    pub name: Option<String>,
    /// The task it is about.
    pub task: Option<String>,
    /// The remote's own id of the task, where it named no other.
    pub external_id: Option<String>,
    /// The attempt it names.
    pub attempt: Option<u32>,
    /// Its delivery id.
    pub delivery_id: Option<String>,
    /// The secret of its source that proved it.
    pub secret: Option<String>,
    /// The API key that it came with, in place of a proof.
    pub key: Option<String>,
    /// When it was received.
    pub received_at: String,
    /// What became of it.
    #[schema(value_type = String, example = "applied")]
    pub outcome: &'static str,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// The event it repeats.
    pub duplicate_of: Option<String>,
    /// The event it replays.
    pub replay_of: Option<String>,
    /// The query of its URL; credentials are not kept.
    pub query: Option<String>,
    /// The request's headers; the values of one that was repeated are joined with commas, in order. Credentials are
    /// not kept.
    pub headers: BTreeMap<String, String>,
    /// The raw body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl EventBody {
    /// A webhook as it is shown.
    #[must_use]
    pub fn of(view: EventView) -> EventBody {
        EventBody {
            id: view.id.to_string(),
            source: view.source,
            name: view.name,
            task: view.task,
            external_id: view.external_id,
            attempt: view.attempt,
            delivery_id: view.delivery_id,
            secret: view.secret.as_ref().filter(|_| !view.may_report).map(sources::secret_id),
            key: view.secret.filter(|_| view.may_report).map(|id| ApiKeyId(id).to_string()),
            received_at: view.received_at.to_string(),
            outcome: view.outcome,
            reason: view.reason,
            duplicate_of: view.duplicate_of.map(|id| id.to_string()),
            replay_of: view.replay_of.map(|id| id.to_string()),
            query: view.query,
            headers: joined(view.headers),
            body: String::from_utf8_lossy(&view.body).into_owned(),
        }
    }
}
