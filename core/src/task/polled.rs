//! What a task's remote says when it is asked how an attempt is: callbacks get lost, and this finds them.

use std::time::Duration;

use crate::Context;
use crate::decision::{Change, Decision, Ignored, Outcome};
use crate::input::{EventKind, Failure, PollAnswer, Polled};
use crate::limits;
use crate::subjects::Subjects;
use crate::task::{Attempt, Task, reported, steps};
use crate::time::Timestamp;

/// The remote has answered, or has not. What it says counts as a webhook would that names the attempt: a callback that was
/// faster has made its transition already, and there is no second one.
pub fn decide(cx: &Context, subjects: &Subjects, polled: &Polled) -> Decision {
    let Some(task) = subjects.task(polled.task) else {
        // It has ended and was pruned meanwhile.
        return Decision::nothing();
    };
    let attempt = polled.attempt;
    let answered = Change::Polled { attempt, answer: polled.answer.clone() };
    // Of an attempt that is no longer the newest, nothing is awaited any more.
    let is_newest = task.attempt_number() == attempt;
    let mut decision = match &polled.answer {
        // A sign of life is in the answer itself, and "it runs" is no progress.
        PollAnswer::Says(EventKind::Progress(None, None)) => Decision::answer(Outcome::Applied),
        PollAnswer::Says(kind) => {
            let about = Some(attempt).filter(|_| !cfg!(planted = "poll_of_an_older_attempt_counts"));
            reported::said(cx, task, about, kind)
        }
        PollAnswer::NotFound if is_newest && is_gone(task) => {
            let message = "the remote answered 404 twice in a row: it has no such task".into();
            steps::attempt_failed(cx, task, Failure { code: "not_found".into(), message }, true)
        }
        PollAnswer::NotFound | PollAnswer::Unclear(_) | PollAnswer::Lost(_) => {
            Decision::answer(Outcome::Applied)
        }
    };
    // What changes nothing is told by the answer alone, unless it says that the task ended otherwise.
    let is_told = |outcome: &Outcome| *outcome == Outcome::Ignored(Ignored::Contradiction);
    decision
        .changes
        .retain(|(_, change)| !matches!(change, Change::EventIgnored { outcome } if !is_told(outcome)));
    if is_newest {
        decision.changes.insert(0, (task.key, answered));
    }
    decision.outcome = Outcome::Applied;
    decision
}

/// Whether one more 404 is the last one. An external task was dispatched by nobody, but its remote has lost it all the same.
fn is_gone(task: &Task) -> bool {
    let before =
        |attempt: Attempt| attempt.polling.not_found + u8::from(cfg!(planted = "not_found_once_is_enough"));
    task.open_attempt().is_some_and(|attempt| before(attempt) + 1 >= limits::NOT_FOUND_MAX)
}

/// When the remote is asked next, where that is planned for `next_at` and is to happen by `last_at`, unless that is before
/// `earliest`.
#[must_use]
pub fn in_time(earliest: Timestamp, next_at: Timestamp, last_at: Option<Timestamp>) -> Timestamp {
    last_at.filter(|last_at| earliest <= *last_at).map_or(next_at, |last_at| next_at.min(last_at))
}

/// The pause behind the `count`-th poll: it begins with the time after which the remote was asked first, and doubles.
#[must_use]
pub fn pause(after: Duration, count: u32) -> Duration {
    let first = after.clamp(limits::POLL_PAUSE_MIN, limits::POLL_PAUSE_MAX);
    let doublings = count.saturating_sub(1).min(16);
    (first * 2_u32.pow(doublings)).min(limits::POLL_PAUSE_MAX)
}
