//! `taskhook send`: a webhook by hand.

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::answer::Receipt;
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Remote, input, table};

/// Send a webhook, and say what became of it
#[derive(Debug, Args)]
#[command(before_help = "taskhook send task_completed 123 --result '{\"width\": 640}'\n\
                         taskhook send task_failed 123 --error 'no such image'\n\
                         taskhook send order_paid --data @order.json")]
pub(super) struct Arguments {
    /// The event's name: task_started, task_progress, task_heartbeat, task_completed, task_failed, task_cancelled, or
    /// one of your own
    #[arg(value_parser = input::filled)]
    event: String,
    /// The id of the task it is about
    #[arg(value_parser = input::filled)]
    task: Option<String>,
    /// What the task came to: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    /// Why the task failed
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The attempt it is about; without it, the current one
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The delivery id: sent twice with the same one, it counts once
    #[arg(long, value_name = "DELIVERY_ID", value_parser = input::filled)]
    id: Option<String>,
    /// Anything else, kept with the event as its `data`: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize)]
struct Body {
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let client = Client::new(&arguments.remote)?;
    let body = Body {
        event: arguments.event,
        task_id: arguments.task.clone(),
        attempt: arguments.attempt,
        result: arguments.result.map(|given| input::json("--result", &given)).transpose()?,
        error: arguments.error,
        data: arguments.data.map(|given| input::json("--data", &given)).transpose()?,
    };
    let headers = arguments.id.map(|id| ("webhook-id", id)).into_iter().collect();
    let body = Some(serde_json::to_vec(&body)?);
    let answer = client.post(Ask { path: &["webhook"], headers, body, ..Ask::default() }).await?;
    client.print(&answer, |receipt: Receipt| table::pairs(receipt.pairs(arguments.task.as_deref())))?;
    Ok(Code::Done)
}

impl Receipt {
    /// What became of a webhook about `task`, for a table.
    pub(super) fn pairs(self, task: Option<&str>) -> [(&'static str, String); 3] {
        let reason = self.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let outcome = match self.outcome.as_str() {
            "unmatched" => "unmatched: kept until its task is created, at most a day".into(),
            "duplicate" => "duplicate: it came before, and counted then".into(),
            "stale" => "stale: it is about an attempt that is no longer the current one".into(),
            outcome => format!("{outcome}{reason}"),
        };
        let task = self.task_state.map(|state| match task {
            Some(task) => format!("{task} is {state}"),
            None => format!("it is {state}"),
        });
        [("outcome", outcome), ("task", task.unwrap_or_default()), ("event", self.event_id)]
    }
}
