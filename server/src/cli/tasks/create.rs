//! `taskhook tasks create`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::client::{Ask, Client};
use crate::cli::tasks::wait;
use crate::cli::{Code, answer, input, out};

/// Create a task: one that is dispatched to URL or, without it, one that is only tracked
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook tasks create https://worker.example/resize --payload '{\"image\": 7}' --wait\n\
                         taskhook tasks create https://worker.example/images/7 --method PUT --header x-team=web\n\
                         taskhook tasks create --id 123\n\
                         taskhook tasks create https://worker.example/notify --after 123 --delay 10m"
)]
pub(super) struct Arguments {
    /// Where it is dispatched, http or https
    #[arg(value_name = "URL", value_parser = input::filled)]
    target: Option<String>,
    /// Its id; the same id with the same content creates nothing twice
    #[arg(long)]
    id: Option<String>,
    /// What kind of work it is, for grouping
    #[arg(long)]
    name: Option<String>,
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
    /// Tasks with one key share the queue's per-key limits, and take turns with those of other keys
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// While a task holds this key, that one is shown and none is created
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// How long it holds the key: until it has "finished", as without this, or so long from now
    #[arg(long, value_name = "finished|DURATION", requires = "unique")]
    unique_until: Option<String>,
    /// Not before so much time has passed: 30s, 1h 30m
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,
    /// Not before this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Only when that task has ended: ID, or ID:failed, ID:not_failed, ID:finished; may be repeated
    #[arg(long, value_name = "ID[:ON]", value_parser = dependency)]
    after: Vec<Dependency>,
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
    /// Wait until it has ended; fails unless it succeeded
    #[arg(long)]
    wait: bool,
}

/// The request's body. What is not given is left to the server.
#[derive(Debug, Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<Unique>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<Dependency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<input::Completion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Unique {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Retry {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Dependency {
    task: String,
    on: &'static str,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    let (wait, asked_for) = (arguments.wait, arguments.id.clone());
    let body = serde_json::to_vec(&body(arguments)?)?;
    let answer = client.post(Ask { path: &["v1", "tasks"], body: Some(body), ..Ask::default() }).await?;
    let task: answer::Task = answer.read()?;
    if !answer.is_created() {
        // A task that was not asked for by its id is there for its key.
        let why = match asked_for.as_ref() == Some(&task.id) {
            true => "exists already, with the same content",
            false => "holds the unique key, so none is created",
        };
        out::message(format_args!("task {} {why}", out::visible(&task.id)));
    }
    if wait {
        return wait::until_ended(client, &task.id, None).await;
    }
    client.print(&answer, |task: answer::Task| out::data(out::visible(&task.sentence())))?;
    Ok(Code::Done)
}

fn body(arguments: Arguments) -> anyhow::Result<Body> {
    let payload = arguments.payload.map(|given| input::json("--payload", &given)).transpose()?;
    let retry = Retry {
        max_attempts: arguments.max_attempts,
        initial: arguments.retry_initial,
        factor: arguments.retry_factor,
        max: arguments.retry_max,
    };
    Ok(Body {
        id: arguments.id,
        name: arguments.name,
        url: arguments.target,
        method: arguments.method,
        headers: input::each_once("--header", arguments.headers)?,
        payload,
        queue: arguments.queue,
        concurrency_key: arguments.concurrency_key,
        unique: arguments.unique.map(|key| Unique { key, until: arguments.unique_until }),
        priority: arguments.priority,
        run_at: arguments.run_at,
        delay: arguments.delay,
        after: arguments.after,
        completion: arguments.completion,
        timeout: arguments.timeout,
        request_timeout: arguments.request_timeout,
        retry: Some(retry).filter(|retry| *retry != Retry::default()),
        labels: input::each_once("--label", arguments.labels)?,
    })
}

/// `ID` or `ID:ON`. An id may have colons of its own, so only a known word behind the last one is a condition.
fn dependency(text: &str) -> Result<Dependency, String> {
    const ONS: [&str; 4] = ["succeeded", "failed", "not_failed", "finished"];
    let known = text
        .rsplit_once(':')
        .and_then(|(task, on)| Some((task, ONS.into_iter().find(|known| *known == on)?)));
    let (task, on) = known.unwrap_or((text, "succeeded"));
    Ok(Dependency { task: input::filled(task)?, on })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_an_id_and_maybe_a_condition() {
        let check = |text: &str, task: &str, on| {
            assert_eq!(dependency(text), Ok(Dependency { task: task.into(), on }), "{text}");
        };
        check("122", "122", "succeeded");
        check("122:failed", "122", "failed");
        check("job:122:not_failed", "job:122", "not_failed");
        check("job:122", "job:122", "succeeded");
        check("job:failed:succeeded", "job:failed", "succeeded");
        assert!(dependency(":finished").is_err());
    }
}
