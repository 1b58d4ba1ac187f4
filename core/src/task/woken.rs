//! What time does to a task.

use crate::Context;
use crate::decision::{Change, Decision, Effect};
use crate::id::TaskKey;
use crate::input::Failure;
use crate::limits;
use crate::subjects::Subjects;
use crate::task::{Attempt, State, Task, steps};

/// The task wanted to be looked at by now. A wake-up that comes early, late or twice finds nothing to do.
pub fn decide(cx: &Context, subjects: &Subjects, key: TaskKey) -> Decision {
    let Some(task) = subjects.task(key) else { return Decision::nothing() };
    if task.times_out_at().is_some_and(|at| at <= cx.now) {
        let timeout = task.plan.timeout.unwrap_or_default();
        let message = format!("no end of the attempt was reported within {timeout:?} of its dispatch");
        return steps::attempt_failed(cx, task, Failure { code: "timeout".into(), message }, true);
    }
    match (task.state, task.open_attempt()) {
        (State::Scheduled, _) if task.due_at <= cx.now => {
            let mut changes = Vec::new();
            let follow_up = steps::start_due(task, &mut changes);
            let mut decision = Decision::applied(key, changes);
            decision.follow_ups.extend(follow_up);
            decision
        }
        // The exchange began before this process did: nobody waits for its response any more.
        (State::Dispatching, Some(attempt))
            if attempt.sent_at < cx.up_since && !cfg!(planted = "lost_exchange_is_not_resent") =>
        {
            lost(cx, task, attempt)
        }
        (State::Dispatching, _) if task.wake_at.is_some_and(|at| at <= cx.now) => {
            let again = cx.now + limits::LOST_AFTER;
            let wake_at = task.times_out_at().map_or(again, |at| at.min(again));
            Decision::applied(key, [Change::Rearmed { wake_at }])
        }
        _ => Decision::nothing(),
    }
}

/// An exchange whose process died: the same attempt is sent again, with the same id, a bounded number of
/// times. G10: the target may see it twice.
fn lost(cx: &Context, task: &Task, attempt: Attempt) -> Decision {
    if attempt.sends > limits::RESENDS_MAX + u8::from(cfg!(planted = "one_resend_more")) {
        let message =
            format!("sent {} times, and each time Taskhook stopped before the response", attempt.sends);
        return steps::attempt_failed(cx, task, Failure { code: "dispatch_lost".into(), message }, true);
    }
    let allowed = task.plan.host.is_some_and(|host| cx.permits.allow(host, task.plan.payload_bytes, cx.now));
    if cx.held.is_some() || !allowed {
        // Whoever resumes looks at what is lost before this time.
        let pause = if cx.held.is_some() { limits::LOST_AFTER } else { limits::RESEND_PAUSE };
        let again = cx.now + pause;
        let wake_at = task.times_out_at().map_or(again, |at| at.min(again));
        return Decision::applied(task.key, [Change::Rearmed { wake_at }]);
    }
    let send = attempt.sends + 1;
    let mut decision = Decision::applied(task.key, [Change::Resent { attempt: attempt.number, send }]);
    decision.effects.push(Effect::Dispatch {
        task: task.key,
        attempt: attempt.number + u32::from(cfg!(planted = "resend_with_a_new_number")),
        send,
    });
    decision
}
