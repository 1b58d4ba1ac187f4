//! What must have come to an end, and when.

use super::*;

impl Model {
    /// Nothing is left to do by itself: everything has ended but what cannot, and it is known why.
    pub fn rests(&self) -> Verdict {
        for (id, task) in self.tasks.iter().filter(|(_, task)| !task.is_gone) {
            let ended = |parent: &str| self.tasks[parent].state;
            let reason = match task.state {
                State::Running => {
                    let ends = task.times_out_at().is_some() || task.beats_until().is_some();
                    !ends && task.can_be_asked().is_none()
                }
                State::Blocked => task.wish.after.iter().any(|(parent, _)| !ended(parent).is_end()),
                // Somebody has its place, and will not give it back by itself.
                State::Queued => self.tasks.values().any(|other| {
                    other.state == State::Running
                        && !other.wish.is_external
                        && other.wish.queue == task.wish.queue
                }),
                State::Skipped => {
                    task.wish
                        .after
                        .iter()
                        .any(|(parent, on)| ended(parent).is_end() && !allows(*on, ended(parent)))
                        || task.wish.unique.is_some()
                }
                State::New | State::Scheduled | State::Dispatching => false,
                _ => true,
            };
            let is_over = task.state.is_end() || task.deadline.is_none();
            must(reason && is_over, || format!("G14: {id} does not end: {task:?}"))?;
        }
        must(self.calls.is_empty(), || format!("remotes are not told of a cancel: {:?}", self.calls))?;
        for event in &self.waiting {
            let (said, _) = &self.said[event];
            let in_time = |task: &Task| task.created_at - self.heard_at[event] <= 86_400_000_000;
            let task = said.task.as_ref().is_some_and(|task| self.tasks.get(task).is_some_and(in_time));
            let known = said.external.as_ref().and_then(|id| self.externals.get(id));
            let external = known.is_some_and(|(.., at)| at - self.heard_at[event] <= 86_400_000_000);
            must(!task && !external, || format!("G7: webhook {event} still waits for its task: {said:?}"))?;
        }
        Ok(())
    }

    /// Without faults, nothing is late: what is due before anything happens `next` is overlooked; `None`: nothing happens any
    /// more. `has_places`: exchanges never wait for one.
    pub fn is_punctual(&self, now: Time, next: Option<Time>, has_places: bool) -> Verdict {
        let until = next.unwrap_or(Time::MAX);
        for (id, task) in self.tasks.iter().filter(|(_, task)| !task.state.is_end()) {
            let due = Some(task.due).filter(|_| task.state == State::Scheduled);
            let late = due.into_iter().chain(self.is_due(task, has_places)).min();
            must(late.is_none_or(|at| at >= until), || {
                format!("G14: {id} is overlooked at {now}: {task:?}")
            })?;
        }
        self.decides_instants(next.unwrap_or(now))
    }

    /// Whether everything has ended.
    pub fn is_over(&self) -> Verdict {
        let open = self.tasks.iter().find(|(_, task)| !task.state.is_end());
        must(open.is_none(), || format!("G14: it does not end: {open:?}"))
    }
}
