//! The remote's own ids of tasks: which task one stands for.

use crate::decision::{Change, NotCorrelated};
use crate::id::{EventKey, ExternalKey, TaskKey};
use crate::input::FollowUp;
use crate::subjects::{Correlation, Subjects};
use crate::task::Task;

/// The task that this id names and that stands in the way of `task`: another one that has not ended.
#[must_use]
pub fn holder(subjects: &Subjects, external: ExternalKey, task: TaskKey) -> Option<TaskKey> {
    let Correlation { task: holder, .. } = subjects.external(external)?;
    let is_open = |key| subjects.task(key).is_some_and(|task| !task.state.is_terminal());
    Some(holder).filter(|holder| *holder != task && is_open(*holder))
}

/// A task that is reopened is known to its remote by the id that it was created with, as before: unless that has come to
/// name another one meanwhile, which has not ended.
#[must_use]
pub fn again(subjects: &Subjects, task: &Task) -> Option<Change> {
    let external = subjects.own_external(task.key)?;
    let attempt = task.attempt_number();
    Some(match holder(subjects, external.key, task.key) {
        Some(by) => {
            Change::NotCorrelated { attempt, why: NotCorrelated::Taken { id: external.id.clone(), by } }
        }
        None => Change::Correlated { attempt: None, external: external.clone() },
    })
}

/// What a newly known id asks for, if webhooks have named it already. Under one that is known already, none waits.
#[must_use]
pub fn unpark(subjects: &Subjects, correlated: &Change) -> Option<FollowUp> {
    let Change::Correlated { external, .. } = correlated else { return None };
    let waits = subjects.parked_count(external.key.into()) > 0;
    let waits = waits && !cfg!(planted = "unpark_by_own_id_is_forgotten");
    waits.then(|| FollowUp::UnparkExternal { external: external.key, after: EventKey::default() })
}
