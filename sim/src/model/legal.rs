//! Whether a fact may be true now, and follows from what was said.

use super::*;

impl Model {
    /// Whether a fact may be true now, and follows from what was said.
    pub(super) fn is_legal(&mut self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let (state, now) = (task.state, fact.at);
        let moves = !matches!(
            fact.what,
            What::Alive
                | What::Responded(..)
                | What::Ignored
                | What::Stale
                | What::Correlated(..)
                | What::Located(..)
                | What::Told(..)
                | What::DependencyEnded { .. }
                | What::DependencyReopened { .. }
                | What::Other
                | What::Reopened
        );
        must(!(moves && state.is_end()), || format!("G5: {} has ended as {state:?}", fact.task))?;
        if let Some(failing) = task.failing {
            let follows = match (&fact.what, failing) {
                (What::DeadlinePassed, _) => self.is_past_deadline(task, now),
                (What::Failed, Expect::Failure { final_ }) => final_,
                (What::RetryPlanned(at), Expect::Failure { final_ }) => {
                    !final_ && *at - now <= task.wish.pause_max && *at >= now
                }
                (What::RetryPlanned(at), Expect::Postponed(pause)) => {
                    *at - now == pause.clamp(1_000_000, 86_400_000_000)
                }
                _ => false,
            };
            return must(follows, || format!("after {failing:?} of {task:?}"));
        }
        match &fact.what {
            What::Blocked
            | What::Scheduled
            | What::Queued
            | What::Begun(_)
            | What::Dispatched(_)
            | What::Resent(..) => self.may_begin(fact),
            What::Skipped(_)
            | What::DependencyEnded { .. }
            | What::Triggered
            | What::Reopened
            | What::Cancelled => self.may_be_asked(fact),
            _ => self.may_be_reported(fact),
        }
    }

    /// The way of a task up to a sent attempt.
    fn may_begin(&mut self, fact: &Fact) -> Verdict {
        let leaves = matches!(fact.what, What::Dispatched(_) | What::Resent(..));
        must(!(leaves && self.is_held), || "the server is held".into())?;
        let task = &self.tasks[&fact.task];
        let (state, now) = (task.state, fact.at);
        let begins = state == State::New || leaves;
        must(!begins || !task.is_over_at(now), || "it begins behind its deadline".into())?;
        let starts = |external: bool| {
            must(task.wish.is_external == external, || "it is of the other kind".into())?;
            let unmet = task.wish.after.iter().find(|(parent, _)| !task.met.contains(parent));
            must(unmet.is_none() || task.ignores, || format!("G11: it starts before {unmet:?}"))
        };
        match &fact.what {
            What::Blocked => must(state == State::New, || "G4: blocked again".into()),
            What::Scheduled => {
                must(matches!(state, State::New | State::Blocked) && task.due > now, || {
                    format!("G4: {task:?}")
                })?;
                starts(task.wish.is_external)
            }
            What::Queued => {
                let waited = matches!(state, State::New | State::Blocked | State::Scheduled);
                must(waited && task.due <= now, || format!("it starts early: {task:?}"))?;
                starts(false)
            }
            What::Begun(n) => {
                must(*n == task.attempt + 1 && !task.open, || "G4: attempts without order".into())?;
                if task.expect.is_some() {
                    return Ok(());
                }
                must(task.due <= now, || "it starts early".into())?;
                starts(true)
            }
            What::Dispatched(n) => {
                must(state == State::Queued && *n == task.attempt + 1 && !task.open, || {
                    format!("G4: {task:?}")
                })?;
                must(task.used < task.wish.attempts_max, || "more attempts than asked for".into())?;
                starts(false)?;
                self.is_within_limits(fact)
            }
            What::Resent(n, send) => {
                let current = state == State::Dispatching && *n == task.attempt && task.open;
                must(current && *send == task.sends + 1 && *send <= 4, || format!("G10: {task:?}"))?;
                must(task.starts < self.starts, || "G10: sent again without a crash".into())?;
                let has_time = task.times_out_at().is_none_or(|at| fact.at < at);
                must(has_time, || format!("G14: sent again behind its time: {task:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What workers and time do to an attempt.
    fn may_be_reported(&self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let (state, now) = (task.state, fact.at);
        let expected = task.expect.as_ref().map(|(_, expect)| *expect);
        match &fact.what {
            What::Started => must(state == State::Dispatching, || "G8: it starts twice".into()),
            What::Alive => must(expected == Some(Expect::Alive), || "nobody is alive".into()),
            What::Ignored => must(expected == Some(Expect::Ignored), || format!("G6: wanted {expected:?}")),
            What::Stale => must(expected == Some(Expect::Stale), || format!("G8: wanted {expected:?}")),
            What::Responded(n, answer) => {
                let answers = self.answers.get(&(fact.task.clone(), *n));
                let came = answers.is_some_and(|all| all.contains(answer));
                must(came && fact.why == Why::Reply(*n), || "nobody has answered so".into())
            }
            What::AttemptFailed(n) => {
                must(task.open && *n == task.attempt, || {
                    format!("G8: attempt {n} is not the open one: {task:?}")
                })?;
                match fact.why {
                    Why::Event(_) | Why::Reply(_) => {
                        let fails = matches!(expected, Some(Expect::Failure { .. } | Expect::Postponed(_)));
                        must(fails, || format!("G6: it fails, wanted {expected:?}"))
                    }
                    Why::Asked => {
                        let fails = matches!(expected, Some(Expect::Failure { .. }));
                        must(fails, || format!("G8: it fails, wanted {expected:?}"))
                    }
                    Why::Time if self.is_past_deadline(task, now) => Ok(()),
                    Why::Time => self.may_run_out(task, now),
                    _ => Err("G5: nothing failed".into()),
                }
            }
            What::Succeeded(n) => {
                must(*n > task.before && *n <= task.attempt, || format!("G8: {task:?}"))?;
                must(expected == Some(Expect::Success), || format!("G6: it succeeds, wanted {expected:?}"))
            }
            What::Located(n, named) => {
                let is_asked_for = task.wish.watch.status.is_some_and(|status| status.is_located);
                let answered = is_asked_for && fact.why == Why::Reply(*n);
                must(answered && *named == task.asking.is_located, || "no answer has named this URL".into())
            }
            What::Asks(_) | What::Told(..) | What::DeadlinePassed => self.may_be_watched(fact),
            What::RetryPlanned(_) | What::Failed | What::Created | What::Defect => {
                Err("G5: out of nothing".into())
            }
            _ => Ok(()),
        }
    }

    /// What users and other tasks do to a task.
    fn may_be_asked(&self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let state = task.state;
        let expected = task.expect.as_ref().map(|(_, expect)| *expect);
        let asked = |number: u8| self.commands.contains(&(fact.task.clone(), number));
        let by_command = fact.why == Why::Command;
        match &fact.what {
            What::Cancelled => {
                let may = expected == Some(Expect::Cancel) || (by_command && asked(0));
                must(may, || "nobody has cancelled it".into())
            }
            What::Skipped(parent) => {
                let edge = task.edge(parent).ok_or("G11: a stranger")?;
                let ends = &self.tasks[&edge.0].ends;
                must(ends.iter().any(|(_, end)| !allows(edge.1, *end)), || {
                    "G11: skipped for nothing".into()
                })?;
                must(matches!(state, State::New | State::Blocked), || "G11: skipped on its way".into())
            }
            What::DependencyEnded { parent, generation, end, allowed } => {
                let edge = task.edge(parent).ok_or("G11: a stranger")?;
                let ends = &self.tasks[&edge.0].ends;
                must(ends.contains(&(*generation, *end)), || format!("G11: {parent} never ended so"))?;
                let is_new = task.knows.get(parent).is_none_or(|known| generation >= known);
                must(is_new, || format!("G11: {parent} was reopened since, and it knows"))?;
                must(allows(edge.1, *end) == *allowed, || "G11: judged wrong".into())
            }
            What::Triggered => {
                must(state == State::Scheduled && by_command && asked(1), || "not asked".into())
            }
            What::Reopened => {
                let ended = matches!(state, State::Failed | State::Cancelled | State::Skipped);
                must(ended, || format!("G5: {state:?} is reopened"))?;
                let key = task.wish.unique;
                let holder = self
                    .tasks
                    .values()
                    .find(|other| key.is_some() && other.wish.unique == key && !other.state.is_end());
                must(holder.is_none(), || "its unique key is another's".into())?;
                match &fact.why {
                    Why::Command => must(asked(2) || asked(3), || "G5: nobody asked".into()),
                    Why::Parent(parent) => {
                        // Word of its end may come later than the reopening, so that the order says nothing.
                        let later = self.tasks.get(parent).is_some_and(|parent| parent.generation > 0);
                        must(state == State::Skipped && later, || "G5: reopened for nothing".into())
                    }
                    _ => Err("G5: it is reopened by itself".into()),
                }
            }
            _ => Ok(()),
        }
    }
}
