//! What a user's command does to a task.

use crate::Context;
use crate::decision::{Change, Decision, Outcome, Refused};
use crate::id::TaskKey;
use crate::input::{Command, FollowUp};
use crate::subjects::Subjects;
use crate::task::{State, Task, cancelled, correlation, steps};
use crate::unique;

/// A command through the API.
pub fn decide(cx: &Context, subjects: &Subjects, key: TaskKey, command: Command) -> Decision {
    let Some(task) = subjects.task(key) else { return Decision::answer(Outcome::Refused(Refused::NotFound)) };
    match command {
        Command::Cancel => cancel(task),
        Command::Trigger => trigger(cx, task),
        Command::Retry { ignore_dependencies } => retry(cx, subjects, task, ignore_dependencies),
    }
}

fn cancel(task: &Task) -> Decision {
    match task.state {
        State::Cancelled => Decision::nothing(),
        state if state.is_terminal() => Decision::answer(Outcome::Refused(Refused::Ended(state))),
        _ => cancelled::by_user(task),
    }
}

fn trigger(cx: &Context, task: &Task) -> Decision {
    if task.state != State::Scheduled {
        return Decision::answer(Outcome::Refused(Refused::NotScheduled(task.state)));
    }
    let mut changes = vec![Change::Triggered];
    let due = task.clone().evolve(cx.now, &Change::Triggered);
    let follow_up = steps::start_due(&due, &mut changes);
    let mut decision = Decision::applied(task.key, changes);
    decision.follow_ups.extend(follow_up);
    decision
}

fn retry(cx: &Context, subjects: &Subjects, task: &Task, ignore_dependencies: bool) -> Decision {
    if !matches!(task.state, State::Failed | State::Cancelled | State::Skipped)
        && !cfg!(planted = "retry_of_a_success")
    {
        return Decision::answer(Outcome::Refused(Refused::NotRetryable(task.state)));
    }
    let ignored = ignore_dependencies || task.dependencies_ignored;
    let unmet =
        task.dependencies_broken > 0 || (task.state == State::Skipped && task.dependencies_pending > 0);
    if unmet && !ignored {
        return Decision::answer(Outcome::Refused(Refused::DependenciesUnmet));
    }
    if let Some(holder) = unique::other_holder(cx.now, subjects, task) {
        return Decision::answer(Outcome::Refused(Refused::KeyHeld { holder }));
    }
    if let Some(external) = subjects.own_external(task.key)
        && correlation::holder(subjects, external.key, task.key).is_some()
    {
        return Decision::answer(Outcome::Refused(Refused::ExternalTaken { position: 0 }));
    }
    reopen(cx, subjects, task, ignore_dependencies, task.dependencies_pending > 0 && !ignored)
}

/// Reopens an ended task, and tells those that it made end.
pub(crate) fn reopen(
    cx: &Context,
    subjects: &Subjects,
    task: &Task,
    ignore_dependencies: bool,
    blocked: bool,
) -> Decision {
    let reopened = Change::Reopened { ignore_dependencies };
    let open = task.clone().evolve(cx.now, &reopened);
    let mut changes = vec![reopened];
    let correlated = correlation::again(subjects, task);
    let unparked = correlated.as_ref().and_then(|correlated| correlation::unpark(subjects, correlated));
    changes.extend(correlated);
    let follow_up = if blocked {
        changes.push(Change::Blocked);
        None
    } else {
        steps::start(cx, &open, &mut changes)
    };
    let mut decision = Decision::applied(task.key, changes);
    decision.follow_ups.extend(follow_up.into_iter().chain(unparked));
    decision.then(FollowUp::ReopenDependents {
        parent: task.key,
        generation: open.generation,
        after: TaskKey(i64::MIN),
    })
}
