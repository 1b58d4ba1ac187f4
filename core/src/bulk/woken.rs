//! What it means that a bulk's time has come, and what it does to each task.

use crate::Context;
use crate::decision::{BulkChange, Decision, Outcome};
use crate::id::{BulkKey, TaskKey};
use crate::input::FollowUp;
use crate::subjects::Subjects;
use crate::task::commanded;

/// A bulk is looked at: the matches of the next page are told.
pub fn decide(cx: &Context, subjects: &Subjects, key: BulkKey) -> Decision {
    let Some(bulk) = subjects.bulk(key).filter(|bulk| bulk.is_running()) else {
        return Decision::nothing();
    };
    let mut decision = Decision::answer(Outcome::Applied);
    // An earlier input of the round may have looked at the same page, or have made it wait.
    let may_look = bulk.look(cx.now).is_some();
    let Some(look) = subjects.look(key).filter(|look| may_look && look.after == bulk.after) else {
        decision.bulks.push((key, BulkChange::Rearmed));
        return decision;
    };
    decision.follow_ups.extend(look.tasks.iter().map(|task| FollowUp::Bulk { bulk: key, task: *task }));
    decision.bulks.push((
        key,
        BulkChange::Looked {
            last: if look.more { look.last } else { bulk.until },
            matched: u32::try_from(look.tasks.len()).unwrap_or(u32::MAX),
        },
    ));
    decision
}

/// To one task that matched: what the bulk is for, as if its user had said it to this task alone.
pub fn tell(cx: &Context, subjects: &Subjects, key: BulkKey, task: TaskKey) -> Decision {
    let Some(bulk) = subjects.bulk(key).filter(|bulk| bulk.is_running()) else {
        return Decision::nothing();
    };
    let mut decision = commanded::decide(cx, subjects, task, bulk.settings.command);
    let told = match decision.outcome {
        Outcome::Applied => BulkChange::Applied,
        _ => BulkChange::Refused,
    };
    decision.bulks.push((key, told));
    decision
}
