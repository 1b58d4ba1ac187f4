//! What a webhook does to a task: the rules of the race.

use crate::Context;
use crate::decision::{Change, Decision, Ignored, Outcome, RecordedEvent, Refused};
use crate::id::{EventKey, TaskKey};
use crate::input::{Event, EventKind, FollowUp};
use crate::limits;
use crate::subjects::Subjects;
use crate::task::{State, Task, steps};

/// A received webhook: its record, and what it does to its task.
pub fn decide(cx: &Context, subjects: &Subjects, event: &Event) -> Decision {
    // G6: a delivery counts once, whatever it says the second time.
    if let Some(first) = event.claim.and_then(|claim| subjects.claimed(claim)) {
        let mut decision = Decision::answer(Outcome::Duplicate(first));
        decision.event = Some(RecordedEvent { event: Box::new(event.clone()), parked: false, claim: None });
        return decision;
    }
    if event.callback.is_some_and(|callback| callback.names_another_task) {
        return Decision::answer(Outcome::Refused(Refused::NamesAnotherTask));
    }
    let mut decision = match (event.task, &event.kind) {
        // A token is made for a task that exists: this one has been pruned since.
        (Some(key), _) if event.callback.is_some() && subjects.task(key).is_none() => {
            return Decision::answer(Outcome::Refused(Refused::Gone));
        }
        (_, EventKind::Rejected(reason)) => Decision::answer(Outcome::Rejected(reason.clone())),
        (_, EventKind::Other(reason)) => Decision::answer(Outcome::Recorded(*reason)),
        (None, _) => Decision::answer(Outcome::Recorded(Some("it names no task"))),
        (Some(key), _) => match subjects.task(key) {
            Some(task) => about(cx, task, event),
            None if subjects.parked_count(key) >= limits::PARKED_PER_TASK_MAX => {
                return Decision::answer(Outcome::Refused(Refused::ParkingFull));
            }
            None => Decision::answer(Outcome::Unmatched),
        },
    };
    decision.event = Some(RecordedEvent {
        event: Box::new(event.clone()),
        parked: decision.outcome == Outcome::Unmatched,
        claim: event.claim,
    });
    decision
}

/// A webhook that came before its task: one at a time, in the order of their receipt, so that what each of
/// them changes names it as its cause.
pub fn unpark(cx: &Context, subjects: &Subjects, key: TaskKey, after: EventKey) -> Decision {
    let Some(task) = subjects.task(key) else { return Decision::nothing() };
    let page = subjects.parked(key, after);
    let Some(first) = page.rows.first() else { return Decision::nothing() };
    let mut decision = match first.at + limits::PARKED_FOR < task.created_at {
        // It waited as long as it may: it stays unmatched, for good.
        true => {
            let mut decision = Decision::nothing();
            decision.unparked.push((first.event.key, Outcome::Unmatched));
            decision
        }
        false => {
            let mut decision = before_its_task(cx, task, &first.event);
            decision.unparked.push((first.event.key, decision.outcome.clone()));
            decision
        }
    };
    if page.more || page.rows.len() > 1 {
        decision = decision.then(FollowUp::Unpark { task: key, after: first.event.key });
    }
    decision
}

/// What a webhook does to a task that came after it. It cannot be about a dispatch, even if one has begun in
/// the meantime.
fn before_its_task(cx: &Context, task: &Task, event: &Event) -> Decision {
    match event.attempt {
        _ if task.is_external() || !may_report(task, event) => about(cx, task, event),
        Some(_) => ignored(task, Ignored::UnknownAttempt),
        None => ignored(task, Ignored::NotStarted),
    }
}

/// What a webhook does to the task it is about.
fn about(cx: &Context, task: &Task, event: &Event) -> Decision {
    if !may_report(task, event) {
        return ignored(task, Ignored::SourceNotAllowed);
    }
    let newest = task.attempt_number();
    let named = event.attempt.unwrap_or(newest);
    if event.attempt.is_some_and(|number| number == 0 || number > newest) {
        return ignored(task, Ignored::UnknownAttempt);
    }
    // Attempts from before an explicit retry are history, even their successes; of later ones that are no
    // longer current, all but their successes.
    let before_retry = event.attempt.is_some_and(|number| number <= task.attempts_before);
    if before_retry || (named < newest && !matches!(event.kind, EventKind::Completed(_))) {
        return noted(task, Outcome::Stale);
    }
    if task.state.is_terminal() {
        return ignored(task, why_too_late(task, &event.kind, named < newest));
    }
    if !task.is_external() && newest == task.attempts_before {
        return ignored(task, Ignored::NotStarted);
    }
    match &event.kind {
        // G8: a success counts for the task, whichever of its attempts it is about.
        EventKind::Completed(result) => {
            let begun = begun_by_report(task);
            let attempt = if begun.is_some() { newest + 1 } else { named };
            let succeeded = Change::Succeeded { attempt, result: result.clone(), by_response: false };
            steps::end(task, begun.into_iter().chain([succeeded]))
        }
        EventKind::Cancelled => steps::end(task, [Change::Cancelled]),
        // An external task that has not begun takes its end, but nothing on the way there.
        EventKind::Failed(failure, _) if task.is_external() => {
            let begun = begun_by_report(task);
            let attempt = newest + u32::from(begun.is_some());
            let failed = Change::AttemptFailed { attempt, failure: failure.clone(), counted: true };
            steps::end(task, begun.into_iter().chain([failed, Change::Failed]))
        }
        _ if task.is_external() && task.open_attempt().is_none() => ignored(task, Ignored::NotStarted),
        _ if task.open_attempt().is_none() => ignored(task, Ignored::AttemptEnded),
        EventKind::Failed(failure, retryable) => steps::attempt_failed(cx, task, failure.clone(), *retryable),
        EventKind::Started | EventKind::Heartbeat => alive(task, None, None),
        EventKind::Progress(progress, message) => alive(task, *progress, message.clone()),
        EventKind::Rejected(_) | EventKind::Other(_) => Decision::answer(Outcome::Recorded(None)),
    }
}

/// Whether an event's sender may report on this task: its source, its callback's holder, or whoever has a key for it.
fn may_report(task: &Task, event: &Event) -> bool {
    event.by_key || event.callback.is_some() || event.source == task.plan.source
}

/// The end of an external task that has not begun is the end of an attempt that nobody announced.
fn begun_by_report(task: &Task) -> Option<Change> {
    let unannounced = task.is_external() && task.open_attempt().is_none();
    unannounced.then(|| Change::Begun { attempt: task.attempt_number() + 1 })
}

fn alive(task: &Task, progress: Option<f64>, message: Option<String>) -> Decision {
    let mut changes = vec![Change::Alive { progress, message }];
    if task.state == State::Dispatching {
        changes.push(Change::Started { attempt: task.attempt_number() });
    }
    Decision::applied(task.key, changes)
}

fn why_too_late(task: &Task, kind: &EventKind, of_older_attempt: bool) -> Ignored {
    match (task.state, kind) {
        (State::Succeeded, EventKind::Failed(..) | EventKind::Cancelled) => Ignored::Contradiction,
        (State::Failed, EventKind::Completed(_)) => Ignored::Contradiction,
        (State::Succeeded, _) if task.completed_by_response && !of_older_attempt => {
            Ignored::CompletedByResponse
        }
        _ => Ignored::Terminal,
    }
}

fn ignored(task: &Task, why: Ignored) -> Decision {
    noted(task, Outcome::Ignored(why))
}

/// A webhook that changes nothing is still part of the task's story.
fn noted(task: &Task, outcome: Outcome) -> Decision {
    let mut decision = Decision::applied(task.key, [Change::EventIgnored { outcome: outcome.clone() }]);
    decision.outcome = outcome;
    decision
}
