//! What the end of a dispatch's HTTP exchange does to its task.

use std::time::Duration;

use crate::Context;
use crate::decision::{Change, Decision, NotCorrelated, Outcome};
use crate::input::{Failure, Reply, ReplyKind, Response};
use crate::limits;
use crate::permits::Health;
use crate::subjects::Subjects;
use crate::task::{Completion, State, Task, correlation, steps};

/// The exchange has ended. Its permit is free again, and whoever gave it out asks those who wait for one; a place in the
/// queue that is given back is noticed where the task is seen to change.
pub fn decide(cx: &Context, subjects: &Subjects, reply: &Reply) -> Decision {
    let Some(task) = subjects.task(reply.task) else {
        // It has ended and was pruned meanwhile.
        return Decision::nothing();
    };
    let recorded = Change::Responded {
        attempt: reply.attempt,
        response: match &reply.kind {
            ReplyKind::Response(response) => Ok(response.clone()),
            ReplyKind::Lost(failure) | ReplyKind::NotAllowed(failure) => Err(failure.clone()),
        },
    };
    let correlated = correlated(subjects, task, reply);
    if task.open_attempt().is_none_or(|attempt| {
        attempt.number != reply.attempt && !cfg!(planted = "late_response_counts_for_the_next_attempt")
    }) {
        // A webhook, a time-out or a cancel was faster: the response is only recorded.
        return with_correlation(subjects, Decision::applied(task.key, [recorded]), task, correlated);
    }
    let mut decision = match &reply.kind {
        ReplyKind::Response(response) if response.is_taken_on() => accepted(task, response),
        ReplyKind::Response(response) => rejected(cx, task, response),
        // The worker is known to have the task: only its webhook or the time-out can end the attempt.
        ReplyKind::Lost(_)
            if task.state == State::Running && !cfg!(planted = "broken_connection_ends_running") =>
        {
            Decision::answer(Outcome::Applied)
        }
        ReplyKind::Lost(failure) => steps::attempt_failed(cx, task, failure.clone(), true),
        ReplyKind::NotAllowed(failure) => steps::attempt_failed(cx, task, failure.clone(), false),
    };
    decision.changes.insert(0, (task.key, recorded));
    if let Some(located) = located(task, reply) {
        decision.changes.insert(1, (task.key, located));
    }
    with_correlation(subjects, decision, task, correlated)
}

/// Where the attempt can be asked for, if its task asks the response for that.
fn located(task: &Task, reply: &Reply) -> Option<Change> {
    task.plan.oversight.status.filter(|status| status.host.is_none())?;
    Some(Change::Located { attempt: reply.attempt, location: reply.location.clone()? })
}

/// What is known now of the remote's own id of the task.
fn correlated(subjects: &Subjects, task: &Task, reply: &Reply) -> Option<Change> {
    let attempt = reply.attempt;
    Some(match reply.external.clone()? {
        Ok(external) => match correlation::holder(subjects, external.key, task.key) {
            // An id that names one open task never comes to name another: who answers one must not hear of the other.
            Some(by) => Change::NotCorrelated { attempt, why: NotCorrelated::Taken { id: external.id, by } },
            None => Change::Correlated { attempt: Some(attempt), external },
        },
        Err(why) => Change::NotCorrelated { attempt, why: NotCorrelated::NotFound(why) },
    })
}

/// Directly behind the response in which it was found: what waits for it is told after what the response did.
fn with_correlation(
    subjects: &Subjects,
    mut decision: Decision,
    task: &Task,
    correlated: Option<Change>,
) -> Decision {
    let Some(correlated) = correlated else { return decision };
    decision.follow_ups.extend(correlation::unpark(subjects, &correlated));
    decision.changes.insert(1, (task.key, correlated));
    decision
}

/// What the end of an exchange says about the target host: an outage is one of the host, not of its tasks.
#[must_use]
pub fn health(reply: &Reply) -> Health {
    match &reply.kind {
        ReplyKind::Lost(_) => Health::Failed,
        // One that says when to come back is in order, and is asked again then.
        ReplyKind::Response(response)
            if matches!(response.status, 429 | 503) && response.retry_after.is_some() =>
        {
            Health::Unknown
        }
        ReplyKind::Response(response) if response.status >= 500 => Health::Failed,
        ReplyKind::Response(_) => Health::Answered,
        ReplyKind::NotAllowed(_) => Health::Unknown,
    }
}

/// A 2xx: the work is done, or the worker will call back.
fn accepted(task: &Task, response: &Response) -> Decision {
    let done = match task.plan.completion {
        Completion::Auto => response.status != 202 || cfg!(planted = "accepted_is_done"),
        Completion::Response => true,
        Completion::Callback => false,
    };
    let attempt = task.attempt_number();
    if done {
        return steps::end(
            task,
            [Change::Succeeded { attempt, result: response.result.clone(), by_response: true }],
        );
    }
    let started = (task.state == State::Dispatching).then_some(Change::Started { attempt });
    Decision::applied(task.key, started)
}

/// Anything but a 2xx.
fn rejected(cx: &Context, task: &Task, response: &Response) -> Decision {
    let status = response.status;
    let failure = |message| Failure { code: format!("http_{status}"), message };
    if response.no_retry {
        let message = format!("the target answered {status} and asked for no retry");
        return steps::attempt_failed(cx, task, failure(message), false);
    }
    match (status, response.retry_after) {
        (429 | 503, Some(pause)) if task.postponements() < limits::POSTPONEMENTS_MAX => {
            postponed(cx, task, failure(format!("the target answered {status} and asked to wait")), pause)
        }
        (408 | 409 | 423 | 425 | 429 | 500.., _) => {
            steps::attempt_failed(cx, task, failure(format!("the target answered {status}")), true)
        }
        (300..400, _) => {
            let message = format!("the target answered {status}, and redirects are not followed");
            steps::attempt_failed(cx, task, failure(message), false)
        }
        _ => {
            let message = format!("the target answered {status}, which a retry cannot mend");
            steps::attempt_failed(cx, task, failure(message), false)
        }
    }
}

/// The target asks to be called later: that uses up no attempt.
fn postponed(cx: &Context, task: &Task, failure: Failure, pause: Duration) -> Decision {
    let at = cx.now + pause.clamp(limits::POSTPONE_MIN, limits::RETRY_PAUSE_MAX);
    let failed = Change::AttemptFailed {
        attempt: task.attempt_number(),
        failure,
        counted: cfg!(planted = "postponement_uses_an_attempt_up"),
    };
    Decision::applied(task.key, [failed, Change::RetryPlanned { at }])
}
