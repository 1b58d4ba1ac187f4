//! What a webhook does to a task: the rules of the race.

use std::borrow::Cow;

use crate::Context;
use crate::decision::{Change, Decision, Ignored, Outcome, RecordedEvent, Refused, Unparked};
use crate::id::{EventKey, ExternalKey, NameKey, TaskKey};
use crate::input::{Event, EventKind, FollowUp};
use crate::limits;
use crate::subjects::{Correlation, Page, Parked, Subjects};
use crate::task::{State, Task, steps};
use crate::time::Timestamp;

/// A received webhook: its record, and what it does to its task.
pub fn decide(cx: &Context, subjects: &Subjects, event: &Event) -> Decision {
    let event = &*resolved(subjects, event);
    // G6: a delivery counts once, whatever it says the second time.
    if let Some(first) =
        event.claim.and_then(|claim| subjects.claimed(claim)).filter(|_| !cfg!(planted = "duplicate_counts"))
    {
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
        (Some(key), _) => match subjects.task(key) {
            Some(task) => about(cx, task, event),
            None => unmatched(subjects, key.into()),
        },
        (None, _) => match event.external {
            Some(external) => unmatched(subjects, external.into()),
            None => Decision::answer(Outcome::Recorded(Some("it names no task"))),
        },
    };
    if matches!(decision.outcome, Outcome::Refused(_)) {
        return decision;
    }
    decision.event = Some(RecordedEvent {
        event: Box::new(event.clone()),
        parked: decision.outcome == Outcome::Unmatched,
        claim: event.claim.filter(|_| !cfg!(planted = "claim_is_forgotten")),
    });
    decision
}

/// A webhook that names a task by the remote's own id of it, once it is known which task, and which attempt, that is.
fn resolved<'a>(subjects: &Subjects, event: &'a Event) -> Cow<'a, Event> {
    match event.external.and_then(|external| subjects.external(external)) {
        Some(Correlation { task, attempt, .. }) => {
            Cow::Owned(Event { task: Some(task), attempt: event.attempt.or(attempt), ..event.clone() })
        }
        None => Cow::Borrowed(event),
    }
}

/// It waits until it is known what this name stands for.
fn unmatched(subjects: &Subjects, name: NameKey) -> Decision {
    let is_full = subjects.parked_count(name) >= limits::PARKED_PER_TASK_MAX;
    Decision::answer(if is_full { Outcome::Refused(Refused::ParkingFull) } else { Outcome::Unmatched })
}

/// Webhooks that came before their task.
pub fn unpark(cx: &Context, subjects: &Subjects, key: TaskKey, after: EventKey) -> Decision {
    let Some(task) = subjects.task(key) else { return Decision::nothing() };
    let page = subjects.parked(key.into(), after);
    let decision = unpark_first(page, task, task.created_at, |event| before_its_task(cx, task, event));
    with_next(decision, page, |after| FollowUp::Unpark { task: key, after })
}

/// Webhooks that came before it was known which task they name.
pub fn unpark_external(cx: &Context, subjects: &Subjects, key: ExternalKey, after: EventKey) -> Decision {
    let Some(correlation) = subjects.external(key) else { return Decision::nothing() };
    let Some(task) = subjects.task(correlation.task) else { return Decision::nothing() };
    let page = subjects.parked(key.into(), after);
    let decision = unpark_first(page, task, correlation.known_at, |event| {
        let event = resolved(subjects, event);
        match correlation.attempt {
            // The remote was asked before it said anything.
            Some(_) => about(cx, task, &event),
            None => before_its_task(cx, task, &event),
        }
    });
    with_next(decision, page, |after| FollowUp::UnparkExternal { external: key, after })
}

/// One at a time, in the order of their receipt, so that what each of them changes names it as its cause.
fn unpark_first(
    page: &Page<Parked>,
    task: &Task,
    known_at: Timestamp,
    does: impl FnOnce(&Event) -> Decision,
) -> Decision {
    let Some(first) = page.rows.first() else { return Decision::nothing() };
    // One that has waited as long as it may stays unmatched, for good.
    let is_late = first.at + limits::PARKED_FOR < known_at;
    let mut decision = if is_late { Decision::nothing() } else { does(&first.event) };
    decision.unparked.push(Unparked {
        event: first.event.key,
        outcome: if is_late { Outcome::Unmatched } else { decision.outcome.clone() },
        task: task.key,
    });
    decision
}

fn with_next(decision: Decision, page: &Page<Parked>, next: impl FnOnce(EventKey) -> FollowUp) -> Decision {
    match page.rows.first() {
        Some(first) if page.more || page.rows.len() > 1 => decision.then(next(first.event.key)),
        _ => decision,
    }
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
    said(cx, task, event.attempt, &event.kind)
}

/// What it means for a task that this was said of it, or of this attempt: by a webhook, or by its remote when asked.
pub(super) fn said(cx: &Context, task: &Task, attempt: Option<u32>, kind: &EventKind) -> Decision {
    let newest = task.attempt_number();
    let named = attempt.unwrap_or(newest);
    if attempt.is_some_and(|number| number == 0 || number > newest) {
        return ignored(task, Ignored::UnknownAttempt);
    }
    // Attempts from before an explicit retry are history, even their successes; of later ones that are no
    // longer current, all but their successes, and those too where the task says so.
    let before_retry = attempt.is_some_and(|number| {
        number <= task.attempts_before && !cfg!(planted = "success_before_retry_counts")
    });
    let is_refused =
        task.plan.oversight.rejects_late_success && !cfg!(planted = "late_success_is_never_refused");
    let counts = matches!(kind, EventKind::Completed(_)) && !is_refused;
    if before_retry || (named < newest && !counts && !cfg!(planted = "stale_failure_counts")) {
        return noted(task, Outcome::Stale);
    }
    if task.state.is_terminal() && !cfg!(planted = "report_changes_an_end") {
        return ignored(task, why_too_late(task, kind, named < newest));
    }
    if !task.is_external()
        && newest == task.attempts_before
        && !cfg!(planted = "report_before_the_first_attempt")
    {
        return ignored(task, Ignored::NotStarted);
    }
    match kind {
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
