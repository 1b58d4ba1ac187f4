//! What requests may hold, for the OpenAPI document: they are read by hand (`fields.rs`), so that every fault is found and
//! said at once. A test that reads what is not described here fails, and another one asks for all that is.
#![expect(dead_code, reason = "only their names are read: see `Fields::of`")]

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

/// A task to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRequest {
    /// Your own id: `[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}`. The same id with the same content gives the existing
    /// task. Default: generated.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
    id: Option<String>,
    /// What kind of work it is, for grouping.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Where it is dispatched, http or https. Absent: an external task, which is only tracked.
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Default: `POST`.
    method: Option<String>,
    /// Request headers. `host`, `content-length`, `transfer-encoding`, `connection`, `webhook-*` and
    /// `taskhook-*` are Taskhook's own to set.
    headers: Option<BTreeMap<String, String>>,
    /// Any JSON, sent byte for byte as given as the request's body. Absent: an empty body.
    payload: Option<serde_json::Value>,
    /// The queue, which must exist. Default: `default`.
    queue: Option<String>,
    /// The one source, besides callback URLs, whose webhooks may report on it; it must exist. Default: `default`.
    source: Option<String>,
    /// Tasks with one key share the queue's per-key limits, and take turns with those of other keys.
    #[schema(min_length = 1, max_length = 128)]
    concurrency_key: Option<String>,
    /// While a task holds this key, a second one that asks for it is not created: the answer is the first (200).
    unique: Option<UniqueRequest>,
    /// −100 to 100, higher first. Default: 0.
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i16>,
    /// Not before this instant, RFC 3339. Default: now.
    #[schema(format = DateTime)]
    run_at: Option<String>,
    /// Not before this long from now: `"250ms"`, `"30s"`, `"1h 30m"`, `"PT30S"`. In place of `run_at`.
    delay: Option<String>,
    /// The tasks that it waits for.
    #[schema(max_items = 1000)]
    after: Option<Vec<DependencyRequest>>,
    /// `auto`: 202 waits for a webhook, any other 2xx is success. `response`: every 2xx is success. `callback`:
    /// every 2xx waits for a webhook. Default: the queue's, else `auto`.
    completion: Option<String>,
    /// An attempt must be complete this long after its dispatch began. Default: the queue's, else `"1h"`, but none where
    /// `heartbeat` is set; none for external tasks.
    timeout: Option<String>,
    /// The HTTP exchange itself, never beyond `timeout`. Default: `"5m"`; `"30s"` with `callback`.
    request_timeout: Option<String>,
    /// How failed attempts are tried again. What is left open, the queue says.
    retry: Option<RetryRequest>,
    /// While it runs, a sign of life at least this often, longer than nothing: `task_heartbeat`, `task_progress`, or
    /// `running` in answer to `status`. Else the attempt has failed with the code `heartbeat`, and `retry` decides.
    /// Default: none is expected.
    heartbeat: Option<String>,
    /// By then it has ended, whatever it waits for, or it fails with the code `deadline` and without retry: an instant,
    /// RFC 3339, which may be over, or a duration from its creation, longer than nothing, such as `"2h"`. The task of a
    /// schedule has a duration (else 422 `not_for_schedules`). Who retries a task past its deadline has lifted it. Default:
    /// none.
    deadline: Option<String>,
    /// `accept`: a success of any attempt since the last explicit retry completes the task; `reject`: only one of the newest
    /// attempt, even if it has failed, until the next one begins. Default: `accept`.
    late_success: Option<String>,
    /// Where its remote is asked how it is: when a callback is overdue, at once where it is so after a downtime, once more
    /// before a time-out is declared, and for the last time 30 seconds before a `deadline`, or with a quarter of the
    /// attempt's time for it left. Default: it is not asked.
    status: Option<StatusRequest>,
    /// An http or https URL that is called when the task is cancelled after it was dispatched, not by its worker: `POST`
    /// with `{"event": "task_cancelled", "task_id", "attempt"}`, by a task of its own in the queue `@cancel`, whose id is in
    /// the header `taskhook-task-id`. `headers` go with it where it is on the same server as `url`. Without a `url` it is
    /// refused (422 `needs_url`). Default: nobody is told.
    #[schema(max_length = 2048)]
    cancel_url: Option<String>,
    /// How the remote's own id of the task is found, by which webhooks of its source may name it (`map.external_id`): an
    /// expression (CEL, up to 4,096 bytes) over the `response` to its dispatch (`status`, `headers`, `body`), or in quotes
    /// the id itself, such as `'pi_123'`; without a `url` the id as it is. An id is a string or an integer, of 1 to 256
    /// bytes without control characters (else 422 `not_an_id`, or `not_an_expression`). One task at a time has it: one that
    /// is given here and taken is refused (409 `external_id_taken`). One that is not found fails nothing: the history says
    /// why. The task of a schedule has an expression (else 422 `not_for_schedules`). Default: there is none.
    correlate: Option<String>,
    /// Up to 32 short words to find it by.
    labels: Option<BTreeMap<String, String>>,
}

/// A key that one task holds at a time, whatever its queue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UniqueRequest {
    /// What makes tasks the same.
    #[schema(min_length = 1, max_length = 128)]
    key: String,
    /// `finished`: until the task has ended, and again when it is retried. A duration: this long from the creation,
    /// whatever becomes of the task, and no longer than it is kept. Default: `finished`.
    until: Option<String>,
}

/// Where the remote is asked how a task is.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum StatusRequest {
    /// An http or https URL (else 422 `not_a_url`); or `location`: the `Location` of the response to the dispatch, which may
    /// be relative. For `location` the task must have a `url` (else 422 `needs_url`).
    Url(String),
    /// The same, and more.
    Object(StatusObject),
}

/// Where the remote is asked how a task is, and how. It is asked with `GET`, and has 30 seconds to answer.
///
/// The request has the headers that name task and attempt, and is signed; it has no `taskhook-callback-url`. What is
/// understood is `{"status": "running" | "completed" | "failed" | "cancelled", "result", "error", "progress"}`, answered with
/// 2xx, up to 1 MiB: it counts as the webhook would that says so. 404 twice in a row fails the attempt with the code
/// `not_found`. Any other answer says nothing; the history of the task says what was wrong with it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusObject {
    /// An http or https URL, or `location`: the `Location` of the response to the dispatch.
    #[schema(max_length = 2048)]
    url: String,
    /// Headers that the question has beside Taskhook's own, at most 32 with 8 KiB in all; those of the task do not go with
    /// it. What `headers` of a task may not set, these may not (422 `own_header`), and with `location` there are none (422
    /// `conflict`). Credentials are shown as `[redacted]`. Default: none.
    headers: Option<BTreeMap<String, String>>,
    /// How long after an attempt has begun it is asked first, longer than nothing. The next pauses begin with the same, but
    /// with a second at least, and double up to 5 minutes. Default: `"1m"`, or a quarter of `timeout` if that is less.
    after: Option<String>,
    /// Where in an answer its meaning is found. Default: in the fields of these names.
    map: Option<StatusMapRequest>,
}

/// Where in an answer 2xx of a status URL its meaning is found: expressions (CEL, up to 4,096 bytes each, else 422
/// `not_an_expression`) over `response` (`status`, `headers`, `body`). What is left out is found under its own name.
///
/// What is not there is null. An expression that fails otherwise, as by a mix of kinds of numbers, makes the answer say
/// nothing, but for `progress`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusMapRequest {
    /// Is worth `running`, `completed`, `failed` or `cancelled`.
    status: Option<String>,
    /// The result of what has completed; null where it is not there.
    result: Option<String>,
    /// The error of what has failed: a string, or an object with `message`, `code` and `retryable`.
    error: Option<String>,
    /// The progress of what runs, a number that is taken as from 0 to 1. One that cannot be worked out is left out, and the
    /// task's `message` says why.
    progress: Option<String>,
}

/// A task to wait for: its id, or its id and how it must end.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum DependencyRequest {
    /// It must succeed.
    Id(String),
    /// It must end as `on` says: `succeeded`, `failed`, `not_failed` (succeeded or skipped) or `finished`.
    On {
        /// Its id.
        task: String,
        /// How it must end. Default: `succeeded`.
        on: Option<String>,
    },
}

/// A pause is drawn between 0 and `min(max, initial·factorⁿ)`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// Attempts in all. Default: 8.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    /// Bound of the first pause. Default: `"5s"`.
    initial: Option<String>,
    /// By how much the bound grows. Default: 4.
    #[schema(minimum = 1, maximum = 100)]
    factor: Option<f64>,
    /// The bound never grows beyond this, at most `"24h"`. Default: `"1h"`.
    max: Option<String>,
}

/// Tasks to be created together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// The tasks.
    #[schema(min_items = 1, max_items = 1000)]
    tasks: Vec<TaskRequest>,
}

/// How a task is reopened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReopenRequest {
    /// Start it even if its dependencies are unmet. Default: false.
    ignore_dependencies: Option<bool>,
}

/// What a queue says. An absent limit is no limit; `PUT` replaces all of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueRequest {
    /// Attempts that may be open at the same time, the wait for their webhooks included.
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency: Option<u32>,
    /// Limits that the tasks of one `concurrency_key` share.
    per_key: Option<PerKeyRequest>,
    /// How many attempts may begin in a span of time.
    rate: Option<RateRequest>,
    /// Start nothing; what runs is finished. Default: false.
    paused: Option<bool>,
    /// For tasks that leave parts of it open.
    retry: Option<RetryRequest>,
    /// For tasks with a `url` that leave it open.
    timeout: Option<String>,
    /// For tasks that leave it open.
    completion: Option<String>,
    /// How long its tasks are kept after their end, or `"never"`, which keeps them for ever. Default: the server's
    /// `[retention] tasks`.
    retention: Option<String>,
    /// With what its attempts are signed, in place of the server's own secret: `whsec_` and 24 to 64 bytes in base64, as
    /// Standard Webhooks libraries take it. Left out, it stays; null takes it away. It is never shown.
    secret: Option<String>,
}

/// Limits that the tasks of one `concurrency_key` share.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PerKeyRequest {
    /// Attempts that may be open at the same time.
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency: Option<u32>,
    /// How many attempts may begin in a span of time.
    rate: Option<RateRequest>,
}

/// In any window of `per`, at most `limit + burst − 1` attempts begin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RateRequest {
    /// Attempts in each `per`.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit: u32,
    /// The span of time, such as `"1s"`.
    per: String,
    /// Attempts that may begin at once. Default: 1.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
}

/// What a schedule says. `PUT` replaces all of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleRequest {
    /// When it is due: 5 fields, or 6 with seconds first, with names, `L`, `W`, `#`; or `@daily` and the like.
    #[schema(max_length = 256)]
    cron: Option<String>,
    /// In place of `cron`: how often it is due, in whole seconds, counted from `start_at`, else from when it was made;
    /// for the first time one interval later.
    every: Option<String>,
    /// The IANA time zone of its clocks. Default: `UTC`.
    timezone: Option<String>,
    /// The task of each instant; without `id`, `run_at`, `delay`, `after` and `unique`, since the schedule says which task it
    /// is and when. A `deadline` is a duration, and `correlate` an expression.
    task: TaskRequest,
    /// What happens while an earlier task of it has not ended, the wait for its webhook included. `skip`: no task.
    /// `allow`: a task all the same. `buffer_one`: a task that waits for the end of the earlier one, and none where one
    /// waits already. `cancel_previous`: a task, and the earlier ones are cancelled. Default: `skip`.
    overlap: Option<String>,
    /// How far back instants count that were not decided in time, since Taskhook was down or the clock was set forward.
    /// Within a minute they always count. Default: `"1h"`.
    catch_up: Option<String>,
    /// Which of those make a task. `latest`: the last of them. `all`: the newest 100, one after the other unless they
    /// may overlap. `skip`: none. Default: `latest`.
    missed: Option<String>,
    /// Each task starts up to this much later than its instant, always the same for the same instant. Default: `"0s"`.
    jitter: Option<String>,
    /// No instant before this one, RFC 3339.
    #[schema(format = DateTime)]
    start_at: Option<String>,
    /// No instant after this one, RFC 3339.
    #[schema(format = DateTime)]
    end_at: Option<String>,
    /// Make no tasks by itself. Default: false.
    paused: Option<bool>,
}

/// How a task of a schedule is made now.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerRequest {
    /// What happens while an earlier task has not ended. Default: what the schedule says.
    overlap: Option<String>,
}

/// Which tasks of the past are made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillRequest {
    /// Instants from this one on, RFC 3339.
    #[schema(format = DateTime)]
    from: String,
    /// Instants before this one, which is not in the future. At most 10,000 instants.
    #[schema(format = DateTime)]
    to: String,
    /// `allow`: all at once. `skip`: each after the end of the one before. Default: at once if the schedule's own
    /// `overlap` is `allow`.
    overlap: Option<String>,
    /// Only say how many there are. Default: false.
    dry_run: Option<bool>,
}

/// What is done to which tasks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkRequest {
    /// `cancel`: tasks that have not ended. `retry`: those that failed, were cancelled or skipped. `trigger`: those that
    /// are scheduled. Other tasks do not match, whatever the filter says.
    action: String,
    /// Which tasks; at least one condition.
    filter: BulkFilterRequest,
    /// At most so many tasks in a span of time. Default: as many as there is time for.
    rate: Option<RateRequest>,
    /// With `retry`: start tasks even if their dependencies are unmet. Default: false.
    ignore_dependencies: Option<bool>,
    /// Only count the tasks that match now. Default: false.
    dry_run: Option<bool>,
}

/// Which tasks: the names of the task list's query parameters. Every condition that is given must hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkFilterRequest {
    /// One or more states, with commas between them, or a list of states.
    state: Option<WordsRequest>,
    /// The queue, which must exist.
    queue: Option<String>,
    /// What kind of work it is.
    name: Option<String>,
    /// `key:value`, or a list of such.
    label: Option<WordsRequest>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_after: Option<String>,
}

/// One word, or a list of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum WordsRequest {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// What a source says; `PUT` replaces all of it, but for secrets that are left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceRequest {
    /// How its requests prove themselves. Only `default` may leave it out.
    verify: Option<VerifyRequest>,
    /// What its requests mean.
    map: Option<MapRequest>,
    /// What a webhook that was taken in is answered, in the place of the usual JSON.
    response: Option<ResponseRequest>,
    /// How long its webhooks are kept after their receipt, or `"never"`, which keeps them for ever. Default: the server's
    /// `[retention] events`. It is not for those that were rejected, nor for delivery ids.
    retention: Option<String>,
}

/// How requests prove themselves.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// `standard-webhooks`, `github`, `gitlab`, `bitbucket`, `stripe`, `slack`, `shopify`, `twilio`, `linear`,
    /// `pagerduty`, `discord`, `zoom`, `square`, `paddle`, `meta`, `azure-event-grid`, `cloudevents`, `hmac`, `ed25519`,
    /// `bearer`, `basic`, `header`, `jwt`, `none`.
    scheme: String,
    /// Up to eight, of which any may prove a request. Never shown; left out, they stay; null takes them away.
    secrets: Option<Vec<String>>,
    /// How far from now a request may have been signed, where its scheme says when. Default: the scheme's.
    tolerance: Option<String>,
    /// With `hmac`, `ed25519`, `header`: the header with the proof.
    header: Option<String>,
    /// With `hmac`: `sha1`, `sha256` or `sha512`. Default: `sha256`.
    algorithm: Option<String>,
    /// With `hmac`, `ed25519`: `hex`, in lower case, or `base64`, with padding. Default: `hex`.
    encoding: Option<String>,
    /// With `hmac`, `ed25519`, `header`: what stands before the proof. Default: nothing.
    prefix: Option<String>,
    /// With `hmac`, `ed25519`: what is signed, text with `{body}`, `{timestamp}`, `{url}` and `{header:NAME}`. Default:
    /// `{body}`; where `timestamp_header` is given too, with `ed25519` `{timestamp}{body}`.
    signed: Option<String>,
    /// With `hmac`, `ed25519`: the header that says when it was signed, in seconds or milliseconds since 1970.
    timestamp_header: Option<String>,
    /// With `jwt`: the public keys of who signs the tokens, `{"keys": […]}`.
    jwks: Option<serde_json::Value>,
    /// With `jwt`: whom the tokens are for, their `aud`.
    audience: Option<String>,
    /// With `jwt`: who gives them, their `iss`. Default: anybody with one of the keys.
    issuer: Option<String>,
    /// With `meta`: the token that its question must know. Never shown; left out, it stays.
    verify_token: Option<String>,
    /// Where a URL is signed: the one that the sender knows, if it does not begin with `public_url`.
    url: Option<String>,
}

/// What the requests of a source mean.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MapRequest {
    /// Names of its events, and which of the six events about tasks each of them means; or an expression (CEL) over `body`,
    /// `headers` and `query` that says so.
    event: Option<EventMap>,
    /// An expression for the task's id, in place of `task_id` and `data.task_id`. What is null or not there, is not found.
    task_id: Option<String>,
    /// An expression for the remote's own id of a task, where the task is not named by its id: see `correlate` of tasks.
    external_id: Option<String>,
    /// An expression for the attempt's number.
    attempt: Option<String>,
    /// An expression for the result.
    result: Option<String>,
    /// An expression for the error: a string, or an object with `message`, `code` and `retryable`.
    error: Option<String>,
    /// An expression for the progress, 0 to 1.
    progress: Option<String>,
    /// An expression for the delivery id, in place of what its sender is known to say.
    delivery_id: Option<String>,
}

/// Names of events, or an expression.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EventMap {
    /// What each name means.
    Names(BTreeMap<String, String>),
    /// An expression that says what an event means.
    Expression(String),
}

/// What a webhook that was taken in is answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseRequest {
    /// 200 to 299. Default: 200.
    status: Option<u16>,
    /// Up to 4,096 bytes. Default: nothing.
    body: Option<String>,
    /// Its media type. Default: plain text.
    content_type: Option<String>,
}

/// A new API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// `read`, `write` or `admin`.
    role: String,
    /// What it is called; no two keys have the same name. Default: its id.
    name: Option<String>,
    /// From when on it is of no use. Default: it does not expire.
    expires_at: Option<String>,
    /// The same, as a duration from now.
    expires_in: Option<String>,
}

/// A new secret for dispatches.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepRequest {
    /// How long the old one signs too. Default: `24h`.
    keep: Option<String>,
}

/// One more secret of a source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// The new secret.
    secret: String,
    /// How long the others go on. Default: `24h`.
    keep: Option<String>,
}

/// A request as it would come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestRequest {
    /// The raw body.
    body: Option<String>,
    /// Its headers.
    headers: Option<BTreeMap<String, String>>,
    /// The URL that it would be sent to. Default: that of the source.
    url: Option<String>,
}
