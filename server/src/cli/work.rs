//! What is to be done, as the flags of several commands say it: a task's request, queue and limits.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::cli::input;

/// The members of a JSON object, each as the text that it is sent as.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// Flags that say what a task is.
#[derive(Debug, Args)]
pub(super) struct Work {
    /// Where it is dispatched, http or https
    #[arg(value_name = "URL", value_parser = input::filled)]
    target: Option<String>,
    /// What kind of work it is, for grouping
    #[arg(long = "name", value_name = "NAME")]
    kind: Option<String>,
    /// The request's method; without it, POST
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// A header of the request; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = input::pair)]
    headers: Vec<(String, String)>,
    /// The request's body: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// The queue it waits in
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The one source whose webhooks may report on it
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// While it runs, a sign of life at least this often, else the attempt has failed
    #[arg(long, value_name = "DURATION")]
    heartbeat: Option<String>,
    /// An instant, or so long from its creation: past it the task fails, without retry
    #[arg(long, value_name = "TIME|DURATION")]
    deadline: Option<String>,
    /// Whether a success of an earlier attempt counts: accept, reject
    #[arg(long, value_name = "accept|reject")]
    late_success: Option<String>,
    /// Where its remote is asked how it is, when its callback is overdue; "location": where its response says
    #[arg(long, value_name = "URL|location")]
    status: Option<String>,
    /// How long after an attempt has begun it is asked first
    #[arg(long, value_name = "DURATION", requires = "status")]
    status_after: Option<String>,
    /// The URL that is called when it is cancelled after it was dispatched
    #[arg(long, value_name = "URL")]
    cancel_url: Option<String>,
    /// How the remote's own id of the task is found in the response, such as response.body.id
    #[arg(long, value_name = "EXPRESSION")]
    correlate: Option<String>,
    /// Tasks with one key share the queue's per-key limits, and take turns with those of other keys
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Which answers complete it
    #[arg(long, value_enum)]
    completion: Option<input::Completion>,
    /// An attempt must be complete this long after its dispatch began
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How long the HTTP exchange itself may take
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// The longest pause after the first failed attempt
    #[arg(long, value_name = "DURATION")]
    retry_initial: Option<String>,
    /// How many times longer the pause may be after each further one
    #[arg(long, value_name = "NUMBER", value_parser = input::number)]
    retry_factor: Option<f64>,
    /// The longest pause after any failed attempt
    #[arg(long, value_name = "DURATION")]
    retry_max: Option<String>,
    /// −100 to 100, higher first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// A word to find it by; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::pair)]
    labels: Vec<(String, String)>,
}

impl Work {
    /// Puts what is given among the fields of a task, and leaves the others as they are.
    ///
    /// # Errors
    /// A usage error if the payload is no JSON, or a header or label is given twice.
    pub(super) fn put_into(self, task: &mut Members) -> anyhow::Result<()> {
        put(task, "url", self.target)?;
        put(task, "name", self.kind)?;
        put(task, "method", self.method)?;
        let headers = input::each_once("--header", self.headers)?;
        put(task, "headers", (!headers.is_empty()).then_some(headers))?;
        if let Some(given) = &self.payload {
            task.insert("payload".into(), input::json("--payload", given)?);
        }
        put(task, "queue", self.queue)?;
        put(task, "source", self.source)?;
        put(task, "correlate", self.correlate)?;
        put(task, "heartbeat", self.heartbeat)?;
        put(task, "deadline", self.deadline)?;
        put(task, "late_success", self.late_success)?;
        let status = task.get("status").and_then(|raw| serde_json::from_str::<Members>(raw.get()).ok());
        let mut status = status.unwrap_or_default();
        put(&mut status, "url", self.status)?;
        put(&mut status, "after", self.status_after)?;
        put(task, "status", status.contains_key("url").then_some(status))?;
        put(task, "cancel_url", self.cancel_url)?;
        put(task, "concurrency_key", self.concurrency_key)?;
        put(task, "completion", self.completion)?;
        put(task, "timeout", self.timeout)?;
        put(task, "request_timeout", self.request_timeout)?;
        let retry = task.get("retry").map(|raw| serde_json::from_str::<Option<Members>>(raw.get()));
        let mut retry = retry.transpose()?.flatten().unwrap_or_default();
        put(&mut retry, "max_attempts", self.max_attempts)?;
        put(&mut retry, "initial", self.retry_initial)?;
        put(&mut retry, "factor", self.retry_factor)?;
        put(&mut retry, "max", self.retry_max)?;
        put(task, "retry", (!retry.is_empty()).then_some(retry))?;
        put(task, "priority", self.priority)?;
        let labels = input::each_once("--label", self.labels)?;
        put(task, "labels", (!labels.is_empty()).then_some(labels))
    }
}

/// Puts a field among others, if it is given.
///
/// # Errors
/// If it cannot be JSON.
pub(super) fn put(members: &mut Members, name: &str, value: Option<impl Serialize>) -> anyhow::Result<()> {
    if let Some(value) = value {
        members.insert(name.into(), to_raw_value(&value)?);
    }
    Ok(())
}
