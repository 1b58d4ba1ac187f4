//! `taskhook queues set`: changes what is given, and keeps the rest.
//!
//! The API replaces all that a queue says. So the queue is read first, and what the server told goes back to it as it
//! was, with the changes: a setting that this program does not know is kept too.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::client::{Answer, Ask, Client};
use crate::cli::queues::get;
use crate::cli::{Code, Failed, input, out};

/// What the API tells of a queue that is not for a caller to set.
const TOLD: [&str; 6] = ["name", "has_secret", "open", "states", "waiting_for", "oldest_due_seconds"];

/// Make a queue, or change what is given of it and keep the rest
///
/// Limits apply at once; attempts that are open go on. Defaults are for tasks that are created from now on.
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook queues set images --concurrency 10 --key-concurrency 1\n\
                   taskhook queues set images --rate 100/1s+20\n\
                   taskhook queues set images --clear rate,key-concurrency",
    after_help = "The queue is read, changed and written back: what somebody else changes in between is overwritten."
)]
pub(super) struct Arguments {
    /// The queue's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// Attempts that may be open at the same time, the wait for their webhooks included
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// The same for the tasks of one concurrency key
    #[arg(long, value_name = "N")]
    key_concurrency: Option<u32>,
    /// How many attempts may begin in a span of time, and how many at once: 100/1s+20; without +BURST, one
    #[arg(long, value_name = "LIMIT/PER[+BURST]", value_parser = input::rate)]
    rate: Option<Value>,
    /// The same for the tasks of one concurrency key
    #[arg(long, value_name = "LIMIT/PER[+BURST]", value_parser = input::rate)]
    key_rate: Option<Value>,
    /// Start nothing; `taskhook queues resume` ends it
    #[arg(long)]
    paused: bool,
    /// Attempts in all, for tasks that leave it open
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// The longest pause after the first failed attempt, for tasks that leave it open
    #[arg(long, value_name = "DURATION")]
    retry_initial: Option<String>,
    /// How many times longer the pause may be after each further one, for tasks that leave it open
    #[arg(long, value_name = "NUMBER", value_parser = input::number)]
    retry_factor: Option<f64>,
    /// The longest pause after any failed attempt, for tasks that leave it open
    #[arg(long, value_name = "DURATION")]
    retry_max: Option<String>,
    /// How long an attempt may take from its dispatch to its end, for tasks that leave it open
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Which answers complete a task that leaves it open
    #[arg(long, value_enum)]
    completion: Option<input::Completion>,
    /// How long its tasks are kept after their end, or "never" to keep them for ever
    #[arg(long, value_name = "DURATION|never")]
    retention: Option<String>,
    /// The file with the secret that signs its attempts, in place of the server's own; `-` for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Take back a limit or a default; several with commas between them
    #[arg(long, value_enum, value_name = "SETTING", value_delimiter = ',')]
    clear: Vec<Setting>,
}

/// What can be set and taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Setting {
    Concurrency,
    KeyConcurrency,
    Rate,
    KeyRate,
    MaxAttempts,
    RetryInitial,
    RetryFactor,
    RetryMax,
    Timeout,
    Completion,
    Retention,
    Secret,
}

impl Setting {
    /// Where it stands in what a queue says.
    fn path(self) -> &'static [&'static str] {
        match self {
            Setting::Concurrency => &["concurrency"],
            Setting::KeyConcurrency => &["per_key", "concurrency"],
            Setting::Rate => &["rate"],
            Setting::KeyRate => &["per_key", "rate"],
            Setting::MaxAttempts => &["retry", "max_attempts"],
            Setting::RetryInitial => &["retry", "initial"],
            Setting::RetryFactor => &["retry", "factor"],
            Setting::RetryMax => &["retry", "max"],
            Setting::Timeout => &["timeout"],
            Setting::Completion => &["completion"],
            Setting::Retention => &["retention"],
            Setting::Secret => &["secret"],
        }
    }
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let changes = changes(arguments)?;
    let path = ["v1", "queues", arguments.name.as_str()];
    let mut says = match client.get(Ask { path: &path, ..Ask::default() }).await {
        Ok(answer) => settings(&answer)?,
        Err(error) if Failed::is_not_found(&error) => Map::new(),
        Err(error) => return Err(error),
    };
    for (setting, value) in changes {
        put(&mut says, setting.path(), value);
    }
    if arguments.paused {
        says.insert("paused".into(), true.into());
    }
    let body = Some(serde_json::to_vec(&says)?);
    let answer = client.put(Ask { path: &path, body, ..Ask::default() }).await?;
    if answer.is_created() {
        out::message(format_args!("queue {} is new", out::visible(&arguments.name)));
    }
    client.print(&answer, get::print)?;
    Ok(Code::Done)
}

/// What a queue says, as the server tells it.
fn settings(answer: &Answer) -> std::io::Result<Map<String, Value>> {
    let mut says: Map<String, Value> = answer.read()?;
    says.retain(|name, _| !TOLD.contains(&name.as_str()));
    Ok(says)
}

/// What is to change, in the order of the flags; null takes a setting back.
fn changes(arguments: &Arguments) -> Result<Vec<(Setting, Value)>, Failed> {
    let secret = arguments.secret_file.as_deref().map(input::secret).transpose()?;
    let given = [
        (Setting::Concurrency, arguments.concurrency.map(Value::from)),
        (Setting::KeyConcurrency, arguments.key_concurrency.map(Value::from)),
        (Setting::Rate, arguments.rate.clone()),
        (Setting::KeyRate, arguments.key_rate.clone()),
        (Setting::MaxAttempts, arguments.max_attempts.map(Value::from)),
        (Setting::RetryInitial, arguments.retry_initial.clone().map(Value::from)),
        (Setting::RetryFactor, arguments.retry_factor.map(Value::from)),
        (Setting::RetryMax, arguments.retry_max.clone().map(Value::from)),
        (Setting::Timeout, arguments.timeout.clone().map(Value::from)),
        (Setting::Completion, arguments.completion.map(|completion| json!(completion))),
        (Setting::Retention, arguments.retention.clone().map(Value::from)),
        (Setting::Secret, secret.map(Value::from)),
    ];
    let mut changes = Vec::new();
    for (setting, value) in given {
        let cleared = arguments.clear.contains(&setting);
        if cleared && value.is_some() {
            let flag = setting.to_possible_value();
            let flag = flag.as_ref().map_or("it", |flag| flag.get_name());
            let text = format!("give either --{flag} or --clear {flag}, not both");
            return Err(Failed::new(Code::Usage, text));
        }
        changes.extend(value.or(cleared.then_some(Value::Null)).map(|value| (setting, value)));
    }
    Ok(changes)
}

/// Puts a value where it belongs, and makes the objects around it where there are none.
fn put(object: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            object.insert((*name).into(), value);
        }
        [name, rest @ ..] => {
            let inner = object.entry(*name).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_everything_else_as_it_was() {
        let check = |says: Value, path: &[&str], value: Value, expected: Value| {
            let mut says = says.as_object().cloned().unwrap_or_default();
            put(&mut says, path, value);
            assert_eq!(Value::from(says), expected);
        };
        let retry = ["retry", "max"];
        check(json!({}), &["concurrency"], json!(3), json!({"concurrency": 3}));
        check(json!({"retry": null}), &retry, json!("1m"), json!({"retry": {"max": "1m"}}));
        check(
            json!({"retry": {"factor": 2.5, "max": "1h"}, "later": [1]}),
            &retry,
            Value::Null,
            json!({"retry": {"factor": 2.5, "max": null}, "later": [1]}),
        );
    }
}
