//! The task of one instant: whether there is one, and what it waits for.

use std::sync::Arc;

use crate::Context;
use crate::create::Creating;
use crate::decision::Decision;
use crate::id::TaskKey;
use crate::input::{Asked, Dependency, FollowUp, NewTask, On, Scheduled};
use crate::schedule::{Overlap, Schedule, What};
use crate::subjects::{OpenTask, Subjects};
use crate::task::cancelled;
use crate::time::Timestamp;

/// What happens while an earlier task has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What the schedule says.
    By(Overlap),
    /// It waits for the newest of them: what is made up for never runs two at a time.
    InOrder,
}

/// Makes the tasks of one schedule, one instant after the other.
pub(super) struct Making<'a> {
    subjects: &'a Subjects,
    schedule: &'a Schedule,
    creating: Creating<'a>,
    /// Its tasks that have not ended, oldest first.
    open: Vec<OpenTask>,
    /// There are older ones.
    more: bool,
}

impl<'a> Making<'a> {
    pub(super) fn new(cx: &'a Context, subjects: &'a Subjects, schedule: &'a Schedule) -> Making<'a> {
        let page = subjects.open_tasks(schedule.key);
        // One that was open when it was loaded may have ended since.
        let is_open =
            |open: &&OpenTask| subjects.task(open.key).is_some_and(|task| !task.state.is_terminal());
        let open = page.rows.iter().filter(is_open).cloned().collect();
        Making { subjects, schedule, creating: Creating::new(cx, subjects), open, more: page.more }
    }

    /// Makes the task of an instant, which is due at `run_at`; or says why there is none.
    pub(super) fn make(&mut self, at: Timestamp, run_at: Timestamp, turn: Turn) -> What {
        let key = self.subjects.task_of_instant(self.schedule.key, at);
        if self.subjects.task(key).is_some() || self.creating.has_made(key) {
            return What::Existed(key);
        }
        let previous = self.open.last().cloned();
        let after = match (turn, previous) {
            (Turn::By(Overlap::Skip), Some(previous)) if !cfg!(planted = "overlap_is_overlooked") => {
                return What::Overlapped(previous.key);
            }
            (Turn::By(Overlap::BufferOne), Some(previous)) if self.more || self.open.len() > 1 => {
                return What::Overlapped(previous.key);
            }
            (Turn::By(Overlap::BufferOne) | Turn::InOrder, previous) => previous,
            (Turn::By(Overlap::CancelPrevious), Some(_)) => {
                let end = FollowUp::EndPrevious { by: key, after: TaskKey(i64::MIN) };
                self.creating.decision.follow_ups.push(end);
                None
            }
            (Turn::By(_), _) => None,
        };
        self.create(key, at, run_at, after);
        What::Fired(key)
    }

    fn create(&mut self, key: TaskKey, at: Timestamp, run_at: Timestamp, previous: Option<OpenTask>) {
        let settings = &self.schedule.settings;
        let mut spec = settings.spec.clone();
        spec.after.extend(previous.iter().map(|previous| (previous.id.to_string(), On::Finished)));
        let scheduled = Some(Scheduled { schedule: self.schedule.key, at });
        let asked = Asked { run_at, scheduled, ..settings.asked.clone() };
        let after = previous.iter().map(|previous| Dependency { parent: previous.key, on: On::Finished });
        // Nobody else can choose its id, so its content is never compared.
        let new = NewTask { key, asked, spec, after: after.collect(), external: None, content: [0; 16] };
        self.creating.add(&Arc::new(new));
        self.open.push(OpenTask { key, id: self.schedule.task_id(at).into() });
    }

    pub(super) fn decision(self) -> Decision {
        self.creating.decision
    }
}

/// One page of the earlier tasks of a schedule whose newest one, `by`, takes their place.
pub fn end_previous(subjects: &Subjects, by: TaskKey, after: TaskKey) -> Decision {
    let page = subjects.previous(by, after);
    let mut decision = Decision::nothing();
    decision.follow_ups.extend(page.rows.iter().map(|task| FollowUp::Supersede { task: *task, by }));
    match page.rows.last() {
        Some(last) if page.more => decision.then(FollowUp::EndPrevious { by, after: *last }),
        _ => decision,
    }
}

/// A task whose schedule has begun the next one.
pub fn superseded(subjects: &Subjects, task: TaskKey) -> Decision {
    match subjects.task(task).filter(|task| !task.state.is_terminal()) {
        Some(task) => cancelled::by_user(task),
        None => Decision::nothing(),
    }
}
