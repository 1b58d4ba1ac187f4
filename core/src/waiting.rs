//! Why a task that has not ended is not further: one code and one exact sentence.

use crate::task::{State, Task};
use crate::time::Timestamp;

/// The answer to "why does this task wait?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The contract's word: `dependency`, `time`, `retry`, `capacity`, `response`, `callback`.
    pub code: &'static str,
    /// One exact sentence, without a subject: "the completion webhook of attempt 2, until 14:03:20Z".
    pub text: String,
    /// When the waiting ends by itself.
    pub until: Option<Timestamp>,
    /// The id of what it waits for, where that has one.
    pub reference: Option<String>,
}

/// What `task` waits for; `None` once it has ended. `dependency` is the name of the first task that it waits
/// for and that has not ended.
#[must_use]
pub fn waiting_for(task: &Task, dependency: Option<&str>) -> Option<Waiting> {
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
        State::Queued => ("capacity", format!("a free exchange with its target, for attempt {next}"), None),
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
