//! The remote's own ids of tasks: which task one stands for.

use crate::decision::Change;
use crate::id::{EventKey, ExternalKey, TaskKey};
use crate::input::FollowUp;
use crate::subjects::{Correlation, Subjects};

/// The task that this id names and that stands in the way of `task`: another one that has not ended.
#[must_use]
pub fn holder(subjects: &Subjects, external: ExternalKey, task: TaskKey) -> Option<TaskKey> {
    let Correlation { task: holder, .. } = subjects.external(external)?;
    let is_open = |key| subjects.task(key).is_some_and(|task| !task.state.is_terminal());
    Some(holder).filter(|holder| *holder != task && is_open(*holder))
}

/// What a newly known id asks for: the webhooks that have named it already.
#[must_use]
pub fn unpark(correlated: &Change) -> Option<FollowUp> {
    match correlated {
        Change::Correlated { external, .. } if !cfg!(planted = "unpark_by_own_id_is_forgotten") => {
            Some(FollowUp::UnparkExternal { external: external.key, after: EventKey::default() })
        }
        _ => None,
    }
}
