//! Which of the tasks that are due may start.

use crate::Context;
use crate::decision::{Cause, Change, Decision, Effect};
use crate::id::QueueKey;
use crate::input::FollowUp;
use crate::limits;
use crate::subjects::Subjects;
use crate::task::State;

/// Why a task that starts did so.
pub const CAUSE: Cause = Cause::Queue;

/// Starts as many of the queue's ready tasks as there are permits. The others stay `queued`; a returned
/// permit asks again.
pub fn decide(cx: &Context, subjects: &Subjects, queue: QueueKey) -> Decision {
    let mut permits = cx.permits.clone();
    let mut decision = Decision::nothing();
    let ready = subjects.ready(queue);
    let mut gone = false;
    for key in ready.iter().take(limits::CANDIDATES_MAX) {
        // An input decided before this one may have cancelled a candidate, or an earlier look started it.
        let Some(task) = subjects.task(*key).filter(|task| task.state == State::Queued) else {
            gone = true;
            continue;
        };
        let Some(host) = task.plan.host else { continue };
        if !permits.allow(host, task.plan.payload_bytes) {
            continue;
        }
        permits.take(host, task.plan.payload_bytes);
        let attempt = task.attempt_number() + 1;
        decision.changes.push((*key, Change::Dispatched { attempt }));
        decision.effects.push(Effect::Dispatch { task: *key, attempt, send: 1 });
    }
    // More may be ready than one visit starts, or stand behind a candidate that is gone, and no permit that
    // returns would ask for them.
    let more = ready.len() >= limits::CANDIDATES_MAX && !decision.effects.is_empty();
    if (more || gone) && permits.free > 0 { decision.then(FollowUp::Look(queue)) } else { decision }
}
