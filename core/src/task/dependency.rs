//! What the end of one task means for those that wait for it: pages of dependents, then each of them.

use crate::Context;
use crate::decision::{Change, Decision};
use crate::id::TaskKey;
use crate::input::FollowUp;
use crate::subjects::{Edge, EdgeStatus, Subjects};
use crate::task::{State, Task, commanded, steps};
use crate::unique;

/// One page of the dependents of a task that ended.
pub fn end_dependents(subjects: &Subjects, parent: TaskKey, generation: u32, after: TaskKey) -> Decision {
    let task = subjects.task(parent).filter(|task| task.generation == generation && task.state.is_terminal());
    // A task reopened since has not ended: whoever reopened it has told its dependents so.
    let Some(task) = task else { return Decision::nothing() };
    let end = task.state;
    page(
        subjects,
        (parent, after),
        |task| FollowUp::ParentEnded { task, parent, generation, end },
        |after| FollowUp::EndDependents { parent, generation, after },
    )
}

/// One page of the dependents of a task that was reopened.
pub fn reopen_dependents(subjects: &Subjects, parent: TaskKey, generation: u32, after: TaskKey) -> Decision {
    let Some(_) = subjects.task(parent).filter(|task| task.generation == generation) else {
        return Decision::nothing();
    };
    page(
        subjects,
        (parent, after),
        |task| FollowUp::ParentReopened { task, parent, generation },
        |after| FollowUp::ReopenDependents { parent, generation, after },
    )
}

fn page(
    subjects: &Subjects,
    (parent, after): (TaskKey, TaskKey),
    to_one: impl Fn(TaskKey) -> FollowUp,
    go_on: impl Fn(TaskKey) -> FollowUp,
) -> Decision {
    let page = subjects.dependents(parent, after);
    let mut decision = Decision::nothing();
    decision.follow_ups.extend(page.rows.iter().map(|child| to_one(*child)));
    match page.rows.last() {
        Some(last) if page.more => decision.then(go_on(*last)),
        _ => decision,
    }
}

/// To one dependent: a task it names has ended.
pub fn parent_ended(
    cx: &Context,
    subjects: &Subjects,
    (child, parent): (TaskKey, TaskKey),
    generation: u32,
    end: State,
) -> Decision {
    let (Some(task), Some(edge)) = (subjects.task(child), subjects.edge(parent, child)) else {
        return Decision::nothing();
    };
    let mut decision = match edge.status {
        EdgeStatus::Pending
            if generation >= edge.generation || cfg!(planted = "word_of_an_older_generation") =>
        {
            Decision::applied(child, [])
        }
        // Words may overtake each other: that of its reopening is still on the way, and this one says both.
        EdgeStatus::Broken if generation > edge.generation => {
            parent_reopened(cx, subjects, (child, parent), generation)
        }
        _ => return Decision::nothing(),
    };
    let task = decision.changes.iter().fold(task.clone(), |task, (_, change)| task.evolve(cx.now, change));
    let allowed = edge.on.allows(end);
    let ended = Change::DependencyEnded { parent, generation, end, allowed };
    let after = task.clone().evolve(cx.now, &ended);
    let mut changes = vec![ended];
    let follow_up = match task.state {
        State::Blocked if !allowed => {
            changes.push(Change::Skipped { parent });
            Some(steps::end_dependents(&task)).filter(|_| !cfg!(planted = "skip_is_not_passed_on"))
        }
        // G11: a dependent starts when its last dependency has ended as asked, and not before.
        State::Blocked if after.dependencies_pending <= u32::from(cfg!(planted = "fan_in_starts_early")) => {
            steps::start(cx, &after, &mut changes)
        }
        _ => None,
    };
    decision.changes.extend(changes.into_iter().map(|change| (child, change)));
    decision.follow_ups.extend(follow_up);
    decision
}

/// To one dependent: a task it names was reopened. One that was skipped only because of it waits again, unless another
/// task has taken its unique key meanwhile: then it stays skipped, as nobody is there who could be refused.
pub fn parent_reopened(
    cx: &Context,
    subjects: &Subjects,
    (child, parent): (TaskKey, TaskKey),
    generation: u32,
) -> Decision {
    let (Some(task), Some(edge)) = (subjects.task(child), subjects.edge(parent, child)) else {
        return Decision::nothing();
    };
    if edge.status == EdgeStatus::Met || generation <= edge.generation {
        return Decision::nothing();
    }
    let was_broken = edge.status == EdgeStatus::Broken;
    let reopened = Change::DependencyReopened { parent, generation, was_broken };
    let after = task.clone().evolve(cx.now, &reopened);
    let is_skipped_by_it = was_broken && task.state == State::Skipped && after.dependencies_broken == 0;
    if !is_skipped_by_it
        || cfg!(planted = "skipped_stays_skipped")
        || unique::other_holder(cx.now, subjects, task).is_some()
    {
        return Decision::applied(child, [reopened]);
    }
    let mut decision = commanded::reopen(cx, subjects, &after, false, true);
    decision.changes.insert(0, (child, reopened));
    decision
}

/// What a new task knows of one that it waits for.
#[must_use]
pub fn edge_to(parent: &Task, on: crate::input::On) -> Edge {
    let status = match parent.state {
        end if !end.is_terminal() => EdgeStatus::Pending,
        end if on.allows(end) => EdgeStatus::Met,
        _ => EdgeStatus::Broken,
    };
    Edge { on, status, generation: parent.generation }
}
