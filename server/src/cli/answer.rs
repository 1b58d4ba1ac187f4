//! The API's answers, as far as tables and sentences need them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

/// A task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) state: String,
    pub(super) attempt: u32,
    pub(super) url: Option<String>,
    pub(super) method: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) payload: Option<Box<RawValue>>,
    pub(super) queue: String,
    pub(super) unique: Option<Unique>,
    pub(super) priority: i64,
    pub(super) run_at: String,
    pub(super) after: Vec<Dependency>,
    pub(super) completion: String,
    pub(super) timeout: Option<String>,
    pub(super) request_timeout: String,
    pub(super) heartbeat: Option<String>,
    pub(super) deadline: Option<String>,
    pub(super) late_success: String,
    pub(super) status: Option<Status>,
    pub(super) cancel_url: Option<String>,
    pub(super) retry: Retry,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) result: Option<Box<RawValue>>,
    pub(super) error: Option<Error>,
    pub(super) progress: Option<f64>,
    pub(super) message: Option<String>,
    pub(super) waiting_for: Option<Waiting>,
    pub(super) warnings: Vec<Warning>,
    pub(super) created_at: String,
    pub(super) ended_at: Option<String>,
}

/// Where a task's remote is asked.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) url: String,
    pub(super) location: Option<String>,
    pub(super) after: Option<String>,
}

/// An API key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) hint: String,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    /// The key itself, where it was made just now.
    pub(super) key: Option<String>,
    pub(super) closes_the_server: bool,
}

/// A secret of the server.
#[derive(Debug, Deserialize)]
pub(super) struct ServerSecret {
    pub(super) secret: String,
    pub(super) old_signs_until: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuditEntry {
    pub(super) at: String,
    pub(super) action: String,
    pub(super) subject: String,
    pub(super) count: u64,
    pub(super) key: Option<Key>,
    pub(super) address: String,
}

/// A task that another one waits for.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) task: String,
    pub(super) on: String,
}

/// A key that the task holds, and until when.
#[derive(Debug, Deserialize)]
pub(super) struct Unique {
    pub(super) key: String,
    pub(super) until: String,
}

/// How failed attempts are tried again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retry {
    pub(super) max_attempts: u32,
}

/// Why an attempt failed.
#[derive(Debug, Deserialize)]
pub(super) struct Error {
    pub(super) code: String,
    pub(super) message: String,
}

/// Why a task is not further.
#[derive(Debug, Deserialize)]
pub(super) struct Waiting {
    pub(super) text: String,
    pub(super) until: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
}

/// Something that the owner of a task should know.
#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) detail: String,
}

/// One decision about a task.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    pub(super) at: String,
    pub(super) text: String,
}

/// A received webhook.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) name: Option<String>,
    pub(super) task: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) delivery_id: Option<String>,
    pub(super) received_at: String,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) duplicate_of: Option<String>,
    pub(super) replay_of: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// A queue.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) concurrency: Option<u32>,
    pub(super) per_key: Option<PerKey>,
    pub(super) rate: Option<Rate>,
    pub(super) paused: bool,
    pub(super) retry: Option<RetryDefault>,
    pub(super) timeout: Option<String>,
    pub(super) completion: Option<String>,
    pub(super) retention: Option<String>,
    pub(super) open: u32,
    pub(super) waiting_for: BTreeMap<String, u64>,
    pub(super) oldest_due_seconds: Option<f64>,
}

/// What the tasks of one key share.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PerKey {
    pub(super) concurrency: Option<u32>,
    pub(super) rate: Option<Rate>,
}

/// How many attempts may begin in a span of time.
#[derive(Debug, Deserialize)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) per: String,
    pub(super) burst: u32,
}

/// A command to many tasks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bulk {
    pub(super) id: String,
    pub(super) action: String,
    pub(super) state: String,
    pub(super) matched: u64,
    pub(super) applied: u64,
    pub(super) refused: u64,
    pub(super) began_at: String,
}

/// How many tasks a bulk would find.
#[derive(Debug, Deserialize)]
pub(super) struct Counted {
    pub(super) matched: u64,
    pub(super) complete: bool,
}

/// A retry policy of which parts may be left open.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RetryDefault {
    pub(super) max_attempts: Option<u32>,
    pub(super) initial: Option<String>,
    pub(super) factor: Option<f64>,
    pub(super) max: Option<String>,
}

/// A schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) cron: Option<String>,
    pub(super) every: Option<String>,
    pub(super) timezone: String,
    pub(super) task: Template,
    pub(super) overlap: String,
    pub(super) catch_up: String,
    pub(super) missed: String,
    pub(super) jitter: String,
    pub(super) start_at: Option<String>,
    pub(super) end_at: Option<String>,
    pub(super) paused: bool,
    pub(super) next: Vec<Instant>,
    pub(super) last: Vec<Fate>,
    pub(super) counts: Counts,
    pub(super) backfill: Option<Backfill>,
    pub(super) note: Option<String>,
}

/// The task of each instant of a schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) method: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) payload: Option<Box<RawValue>>,
    pub(super) queue: String,
    pub(super) concurrency_key: Option<String>,
    pub(super) priority: i64,
    pub(super) completion: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) request_timeout: Option<String>,
    pub(super) retry: Option<RetryDefault>,
    pub(super) labels: BTreeMap<String, String>,
}

/// The instants of a preview.
#[derive(Debug, Deserialize)]
pub(super) struct Preview {
    pub(super) data: Vec<Instant>,
}

/// An instant of a schedule.
#[derive(Debug, Deserialize)]
pub(super) struct Instant {
    pub(super) at: String,
    pub(super) local: String,
    pub(super) note: Option<String>,
}

/// What became of an instant.
#[derive(Debug, Deserialize)]
pub(super) struct Fate {
    pub(super) at: String,
    pub(super) outcome: String,
    pub(super) task: Option<String>,
    pub(super) text: String,
}

/// How many instants have come to what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) fired: u64,
    pub(super) requested: u64,
    pub(super) missed: u64,
    pub(super) overlapped: u64,
    pub(super) skipped: u64,
}

/// Instants of the past that are being made.
#[derive(Debug, Deserialize)]
pub(super) struct Backfill {
    pub(super) made_until: String,
    pub(super) until: String,
    pub(super) made: u32,
}

/// The answer to a webhook.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) event_id: String,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) task_state: Option<String>,
}

impl fmt::Display for Rate {
    /// As `taskhook queues set --rate` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, self.per)?;
        if self.burst > 1 { write!(f, "+{}", self.burst) } else { Ok(()) }
    }
}

impl Bulk {
    /// How far it is, in one sentence.
    pub(super) fn sentence(&self) -> String {
        let Bulk { id, action, state, matched, applied, refused, .. } = self;
        let state = match state.as_str() {
            "cancelled" => "was stopped".to_string(),
            state => format!("is {state}"),
        };
        format!("{id} ({action}) {state}: {matched} matched, {applied} changed, {refused} refused")
    }
}

impl Counted {
    /// How many there are, in one sentence.
    pub(super) fn sentence(&self) -> String {
        match (self.complete, self.matched) {
            (true, 1) => "1 task matches".into(),
            (true, matched) => format!("{matched} tasks match"),
            (false, matched) => format!("at least {matched} tasks match; there was no time to count all"),
        }
    }
}

impl Schedule {
    /// When it is due, in words.
    pub(super) fn when(&self) -> String {
        match (&self.cron, &self.every) {
            (Some(cron), _) => format!("{cron} ({})", self.timezone),
            (None, Some(every)) => format!("every {every}"),
            (None, None) => String::new(),
        }
    }
}

impl Task {
    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled" | "skipped")
    }

    /// Where it stands, in one sentence.
    pub(super) fn sentence(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let task = format!("task {}{name}", self.id);
        let at = self.ended_at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        match (self.state.as_str(), &self.waiting_for, &self.error) {
            ("succeeded", _, _) => format!("{task} succeeded{at}"),
            ("failed", _, Some(error)) => format!("{task} failed{at}: {} ({})", error.message, error.code),
            ("failed", _, None) => format!("{task} failed{at}"),
            (state @ ("cancelled" | "skipped"), _, _) => format!("{task} was {state}{at}"),
            (state, Some(waiting), _) => format!("{task} is {state}: it waits for {}", waiting.text),
            (state, None, _) => format!("{task} is {state}"),
        }
    }
}

/// A source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) verify: Option<Verify>,
    pub(super) map: SourceMap,
    pub(super) response: Option<SourceAnswer>,
    pub(super) retention: Option<String>,
}

/// How requests prove themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verify {
    pub(super) scheme: String,
    pub(super) tolerance: Option<String>,
    pub(super) header: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) signed: Option<String>,
    pub(super) timestamp_header: Option<String>,
    pub(super) url: Option<String>,
    pub(super) secrets: Vec<Secret>,
}

/// A secret, without what it is.
#[derive(Debug, Deserialize)]
pub(super) struct Secret {
    pub(super) id: String,
    pub(super) added_at: String,
    pub(super) until: Option<String>,
    pub(super) last_used_at: Option<String>,
}

/// What the requests of a source mean.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SourceMap {
    pub(super) event: EventMap,
    /// Expressions, by what they say.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, String>,
}

/// What the events of a source mean: by their names, or by an expression.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum EventMap {
    Names(BTreeMap<String, String>),
    Expression(String),
}

impl Default for EventMap {
    fn default() -> EventMap {
        EventMap::Names(BTreeMap::new())
    }
}

/// What a webhook that was taken in is answered.
#[derive(Debug, Deserialize)]
pub(super) struct SourceAnswer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// What a request to a source would do.
#[derive(Debug, Deserialize)]
pub(super) struct SourceTest {
    pub(super) verified: bool,
    pub(super) reason: Option<String>,
    pub(super) secret: Option<String>,
    #[serde(rename = "type")]
    pub(super) name: Option<String>,
    pub(super) event: Option<String>,
    pub(super) task: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) delivery_id: Option<String>,
}
