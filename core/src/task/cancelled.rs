//! What a user's cancel means for the remote: it is told, by a task of its own in the system queue `@cancel`.

use std::sync::Arc;

use crate::Context;
use crate::create::Creating;
use crate::decision::{Change, Decision};
use crate::id::{ConcurrencyKey, QueueKey, SourceKey, TaskKey};
use crate::input::{Asked, FollowUp, NewTask, Request, RetryAsked, Spec};
use crate::oversight::OversightAsked;
use crate::subjects::{CancelCall, Subjects};
use crate::task::{Completion, Task, steps};

/// The end of a task that a user cancels. Its remote is told if it ever heard of it.
pub(crate) fn by_user(task: &Task) -> Decision {
    let decision = steps::end(task, [Change::Cancelled]);
    let was_dispatched =
        task.attempt_number() > task.attempts_before && !cfg!(planted = "cancel_is_not_told");
    match task.plan.oversight.cancel_host {
        Some(_) if was_dispatched => {
            decision.then(FollowUp::CallCancel { task: task.key, generation: task.generation })
        }
        _ => decision,
    }
}

/// The ids that the task may have which tells a remote that `id` was cancelled in this generation. The second is for where the
/// first is taken, as by that for an earlier task with this id, which was pruned before.
#[must_use]
pub fn call_ids(id: &str, task: TaskKey, generation: u32) -> [String; 2] {
    let first = format!("{id}~cancel~{generation}");
    let second = format!("{first}~{}", task.0);
    [first, second]
}

/// Makes the task that calls the `cancel_url` of a cancelled one.
pub fn call(cx: &Context, subjects: &Subjects, key: TaskKey, generation: u32) -> Decision {
    let Some((task, call)) = subjects.task(key).zip(subjects.cancel_call(key, generation)) else {
        // It has been pruned since.
        return Decision::nothing();
    };
    let CancelCall { keys, of, url, headers } = call;
    let Some(key) = keys.iter().find(|key| subjects.task(**key).is_none()) else {
        return Decision::nothing();
    };
    let attempt = task.attempt_number();
    // Ids of tasks need no escapes.
    let payload = format!(r#"{{"event":"task_cancelled","task_id":"{of}","attempt":{attempt}}}"#);
    let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let request = Request {
        method: "POST".into(),
        url: url.to_string(),
        headers: headers.clone(),
        payload: Some(payload.into_bytes()),
    };
    let new = NewTask {
        key: *key,
        asked: Asked {
            host: task.plan.oversight.cancel_host,
            queue: QueueKey::CANCEL,
            source: SourceKey::DEFAULT,
            concurrency_key: ConcurrencyKey::NONE,
            unique: None,
            priority: 0,
            run_at: cx.now,
            completion: Some(Completion::Response),
            timeout: None,
            request_timeout: None,
            retry: RetryAsked::default(),
            oversight: OversightAsked::default(),
            payload_bytes,
            scheduled: None,
        },
        // Its remote knows the secret of the task's queue.
        spec: Spec { request: Some(Arc::new(request)), signer: Some(task.plan.queue), ..Spec::default() },
        after: Vec::new(),
        external: None,
        content: [0; 16],
    };
    let mut creating = Creating::new(cx, subjects);
    creating.add(&Arc::new(new));
    creating.decision
}
