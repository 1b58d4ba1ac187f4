//! Why a task that has not ended is not further: one code and one exact sentence.

use crate::limits;
use crate::queue::{Closed, Shut};
use crate::task::{State, Task};
use crate::time::Timestamp;

/// The answer to "why does this task wait?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The contract's word: `dependency`, `time`, `retry`, `paused`, `breaker`, `key_limit`, `concurrency`,
    /// `rate`, `capacity`, `response`, `callback`.
    pub code: &'static str,
    /// One exact sentence, without a subject: "the completion webhook of attempt 2, until 14:03:20Z".
    pub text: String,
    /// When the waiting ends by itself.
    pub until: Option<Timestamp>,
    /// The id of what it waits for, where that has one.
    pub reference: Option<String>,
}

/// What holds up the tasks of a queue that are due, as far as it concerns one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldUp {
    /// The queue's name.
    pub queue: String,
    /// Nothing of the queue may start.
    pub shut: Option<Shut>,
    /// Nothing of the task's key may start: what it waits for, and how many attempts of one key may be open.
    pub key: Option<(Closed, u32)>,
    /// The target is out of order; the next exchange with it begins at this instant.
    pub breaker: Option<Timestamp>,
}

/// What `task` waits for; `None` once it has ended. `dependency` is the name of the first task that it waits
/// for and that has not ended; `held_up` is about one that is queued.
#[must_use]
pub fn waiting_for(task: &Task, dependency: Option<&str>, held_up: &HeldUp) -> Option<Waiting> {
    let attempt = task.attempt_number();
    let next = attempt + 1;
    let (code, text, until) = match task.state {
        State::Blocked => ("dependency", dependencies(task, dependency), None),
        State::Scheduled if task.attempts_before < attempt => {
            let max = task.plan.retry.max_attempts;
            let used = task.attempts_used;
            let text = format!(
                "its next attempt, at {} ({used} of {max} attempts used up)",
                task.due_at.time_of_day()
            );
            ("retry", text, Some(task.due_at))
        }
        State::Scheduled => ("time", format!("its time, {}", task.due_at), Some(task.due_at)),
        State::Queued => queued(next, held_up),
        State::Dispatching => {
            let until = task.attempt.map(|attempt| attempt.sent_at + task.plan.request_timeout);
            let until = until.min(task.times_out_at().or(until));
            ("response", with_end(format!("the response to attempt {attempt}"), until), until)
        }
        State::Running => {
            let until = task.times_out_at();
            ("callback", with_end(format!("the completion webhook of attempt {attempt}"), until), until)
        }
        State::Succeeded | State::Failed | State::Cancelled | State::Skipped => return None,
    };
    let reference = dependency.filter(|_| task.state == State::Blocked).map(ToString::to_string);
    Some(Waiting { code, text, until, reference })
}

/// Why a task that is due has not started.
fn queued(next: u32, held_up: &HeldUp) -> (&'static str, String, Option<Timestamp>) {
    let queue = &held_up.queue;
    if held_up.shut == Some(Shut::Paused) {
        return ("paused", format!("queue {queue} to be resumed"), None);
    }
    if let Some(at) = held_up.breaker {
        let failures = limits::BREAKER_FAILURES;
        let text = format!(
            "its target to answer again: {failures} exchanges in a row failed, and the next one begins at {}",
            at.time_of_day()
        );
        return ("breaker", text, Some(at));
    }
    match (&held_up.key, held_up.shut) {
        (Some((Closed::KeyRate(at), _)), _) => {
            let at = *at;
            let text = format!("the rate of its key in queue {queue}, until {}", at.time_of_day());
            ("key_limit", text, Some(at))
        }
        (Some((_, limit)), _) => {
            let others = if *limit == 1 { "an attempt" } else { "one of the attempts" };
            let text =
                format!("the end of {others} with its key in queue {queue}, of which {limit} may be open");
            ("key_limit", text, None)
        }
        (None, Some(Shut::Concurrency(limit))) => {
            let attempts = if limit == 1 { "one attempt".into() } else { format!("{limit} attempts") };
            ("concurrency", format!("a place in queue {queue}, where {attempts} may be open"), None)
        }
        (None, Some(Shut::Rate(at))) => {
            ("rate", format!("the rate of queue {queue}, until {}", at.time_of_day()), Some(at))
        }
        (None, _) => ("capacity", format!("a free exchange with its target, for attempt {next}"), None),
    }
}

fn dependencies(task: &Task, first: Option<&str>) -> String {
    let others = task.dependencies_pending.saturating_sub(1);
    let first = first.map_or_else(|| "another task".into(), |name| format!("task {name}"));
    match others {
        0 => format!("the end of {first}"),
        1 => format!("the end of {first} and of one other task"),
        _ => format!("the end of {first} and of {others} other tasks"),
    }
}

fn with_end(text: String, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("{text}, until {}", until.time_of_day()),
        None => text,
    }
}
