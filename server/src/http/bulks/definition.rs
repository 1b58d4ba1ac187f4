//! Reading what a bulk is to do, and to which tasks.

use serde::Deserialize;
use taskhook_core::bulk::{Filter, Settings, applies_to};
use taskhook_core::{Command, State};

use crate::http::asked::{BulkFilterRequest, BulkRequest};
use crate::http::fields::Fields;
use crate::http::filter::NAMES;
use crate::http::problem::{Problem, hint};
use crate::http::queues;
use crate::json::{self, Members};

/// A bulk as it is asked for.
pub(super) struct Asked {
    /// What it does, and to which tasks; the queue of its filter is only named.
    pub(super) settings: Settings,
    /// The name of that queue.
    pub(super) queue: Option<String>,
    /// Only count.
    pub(super) dry_run: bool,
}

/// One word, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

/// Reads a bulk.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Asked, Problem> {
    let mut fields = Fields::of::<BulkRequest>(json::object(bytes).map_err(Problem::malformed)?, "");
    let command = command(&mut fields);
    let rate = queues::rate(&mut fields, "");
    let dry_run = fields.take::<bool>("dry_run", "true or false").unwrap_or(false);
    let (filter, queue) = filter(&mut fields, command);
    let errors = fields.finish();
    match command.filter(|_| errors.is_empty()) {
        Some(command) => Ok(Asked { settings: Settings { command, filter, rate }, queue, dry_run }),
        None => Err(Problem::invalid(errors)),
    }
}

fn command(fields: &mut Fields<'_>) -> Option<Command> {
    const ACTIONS: [&str; 3] = ["cancel", "retry", "trigger"];
    if !fields.has("action") {
        fields.wrong("action", "missing", "says what is done: cancel, retry or trigger");
    }
    let action: Option<String> = fields.take("action", "cancel, retry or trigger");
    let ignore = fields.take::<bool>("ignore_dependencies", "true or false");
    let ignore_dependencies = ignore.unwrap_or(false);
    let command = match action.as_deref()? {
        "cancel" => Command::Cancel,
        "retry" => Command::Retry { ignore_dependencies },
        "trigger" => Command::Trigger,
        other => {
            let hint = hint(other, &ACTIONS);
            fields.wrong("action", "unknown_value", format!("must be {}{hint}", ACTIONS.join(", ")));
            return None;
        }
    };
    if ignore_dependencies && !matches!(command, Command::Retry { .. }) {
        fields.wrong("ignore_dependencies", "conflict", "means something only where the action is retry");
    }
    Some(command)
}

fn filter(fields: &mut Fields<'_>, command: Option<Command>) -> (Filter, Option<String>) {
    let nothing = (Filter::default(), None);
    if !fields.has("filter") {
        fields.wrong("filter", "missing", "says which tasks, such as {\"state\": \"failed\"}");
    }
    let Some(raw) = fields.raw("filter") else { return nothing };
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("filter", "wrong_type", format!("must be an object with {}", NAMES.join(", ")));
        return nothing;
    };
    if members.values().all(|value| value.get() == "null") {
        // All tasks are named by a state that the action can be applied to, not by silence.
        let detail = format!("names no condition; give at least one of {}", NAMES.join(", "));
        fields.wrong("filter", "empty", detail);
        return nothing;
    }
    let mut inner = Fields::of::<BulkFilterRequest>(members, "/filter");
    let queue: Option<String> = inner.take("queue", "a queue's name");
    let filter = Filter {
        states: states(&mut inner, command),
        queue: None,
        name: inner.take("name", "what kind of work it is"),
        labels: labels(&mut inner),
        created_after: inner.instant("created_after"),
    };
    fields.errors.extend(inner.finish());
    (filter, queue)
}

fn states(fields: &mut Fields<'_>, command: Option<Command>) -> Vec<State> {
    let wanted = "a state, several with commas between them, or a list of states";
    let names: Vec<String> = match fields.take("state", wanted) {
        None => return Vec::new(),
        Some(Words::One(names)) => names.split(',').map(|name| name.trim().to_string()).collect(),
        Some(Words::Many(names)) => names,
    };
    let known = State::ALL.map(State::name);
    let mut states = Vec::new();
    for name in &names {
        match State::from_name(name) {
            Some(state) => states.push(state),
            None => {
                let hint = hint(name, &known);
                let detail = format!("{name:?} is no state{hint}; the states are {}", known.join(", "));
                fields.wrong("state", "unknown_value", detail);
                return Vec::new();
            }
        }
    }
    if states.is_empty() {
        fields.wrong("state", "empty", "names no state; leave it out, or name one");
    }
    let never = |command: &Command| !states.iter().any(|state| applies_to(*command, *state));
    if let Some(command) = command.filter(never).filter(|_| !states.is_empty()) {
        fields.wrong("state", "never_applies", only(command));
    }
    states
}

fn only(command: Command) -> &'static str {
    match command {
        Command::Cancel => "leaves nothing to do: a task that has ended cannot be cancelled",
        Command::Retry { .. } => {
            "leaves nothing to do: only a failed, cancelled or skipped task can be retried"
        }
        Command::Trigger => "leaves nothing to do: only a scheduled task can be triggered",
    }
}

fn labels(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let texts: Vec<String> = match fields.take("label", "\"key:value\", or a list of such") {
        None => return Vec::new(),
        Some(Words::One(text)) => vec![text],
        Some(Words::Many(texts)) => texts,
    };
    if texts.is_empty() {
        fields.wrong("label", "empty", "names no label; leave it out, or name one");
    }
    let mut labels = Vec::new();
    for text in &texts {
        match text.split_once(':') {
            Some((name, value)) => labels.push((name.to_string(), value.to_string())),
            None => fields.wrong("label", "not_a_label", format!("{text:?} must be key:value")),
        }
    }
    labels
}
