//! The steps that several causes share: how a task starts, how an attempt fails, how a task ends.

use crate::Context;
use crate::decision::{Change, Decision};
use crate::id::TaskKey;
use crate::input::{Failure, FollowUp};
use crate::retry;
use crate::task::Task;

/// A task whose dependencies are settled: it waits for its time, or it is due.
pub(crate) fn start(cx: &Context, task: &Task, changes: &mut Vec<Change>) -> Option<FollowUp> {
    if task.due_at > cx.now && !cfg!(planted = "start_before_its_time") {
        changes.push(Change::Scheduled);
        return None;
    }
    start_due(task, changes)
}

/// A task that is due: it waits for capacity, or, where it is external, for its webhook.
pub(crate) fn start_due(task: &Task, changes: &mut Vec<Change>) -> Option<FollowUp> {
    if task.is_external() {
        changes.push(Change::Begun { attempt: task.attempt_number() + 1 });
        return None;
    }
    changes.push(Change::Queued);
    Some(FollowUp::Look(task.plan.queue))
}

/// The open attempt has failed: the task is tried again, or fails.
pub(crate) fn attempt_failed(cx: &Context, task: &Task, failure: Failure, retryable: bool) -> Decision {
    let attempt = task.attempt_number();
    let used = task.attempts_used + 1;
    let failed = Change::AttemptFailed { attempt, failure, counted: true };
    // An external task is not dispatched, so there is nothing to try again.
    if retryable
        && !task.is_external()
        && used < task.plan.retry.max_attempts + u32::from(cfg!(planted = "one_attempt_more"))
    {
        let at = cx.now + retry::pause(&task.plan.retry, used, task.key, attempt);
        return Decision::applied(task.key, [failed, Change::RetryPlanned { at }]);
    }
    end(task, [failed, Change::Failed])
}

/// The last changes of a task, and word of its end to its dependents.
pub(crate) fn end(task: &Task, changes: impl IntoIterator<Item = Change>) -> Decision {
    Decision::applied(task.key, changes).then(end_dependents(task))
}

/// Word of a task's end to its dependents, from the first on.
pub(crate) fn end_dependents(task: &Task) -> FollowUp {
    FollowUp::EndDependents { parent: task.key, generation: task.generation, after: TaskKey(i64::MIN) }
}
