//! What is known of a task behind a fact, and what has to come next.

use super::*;

impl Model {
    pub(super) fn evolve(&mut self, fact: &Fact) {
        let (starts, step) = (self.starts, self.step);
        let asked_to_ignore = self.commands.contains(&(fact.task.clone(), 3));
        if let What::Correlated(external, attempt) = &fact.what {
            self.externals.insert(external.clone(), (fact.task.clone(), *attempt, self.step, fact.at));
        }
        let known = &self.tasks[&fact.task];
        let is_late = fact.why == Why::Time && self.may_run_out(known, fact.at).is_err();
        let names_url = self.located.contains(&(fact.task.clone(), known.attempt));
        let Some(task) = self.tasks.get_mut(&fact.task) else { return };
        let expect = task.expect.as_ref().map(|(_, expect)| *expect);
        let failing = std::mem::take(&mut task.failing);
        match &fact.what {
            What::Blocked => task.state = State::Blocked,
            What::Scheduled => task.state = State::Scheduled,
            What::Queued => task.state = State::Queued,
            What::Begun(n) | What::Dispatched(n) => {
                let state = if task.wish.is_external { State::Running } else { State::Dispatching };
                (task.state, task.attempt, task.open, task.began) = (state, *n, true, fact.at);
                (task.sends, task.starts, task.responses) = (1, starts, 0);
                (task.alive_at, task.asking) = (fact.at, Asking::default());
            }
            What::Resent(_, send) => (task.sends, task.starts) = (*send, starts),
            What::Started => (task.state, task.expect, task.alive_at) = (State::Running, None, fact.at),
            What::Alive => (task.expect, task.alive_at) = (None, fact.at),
            What::Ignored | What::Stale => task.expect = None,
            What::Responded(n, answer) => {
                task.responses += u32::from(*n == task.attempt);
                let expect = if task.open && *n == task.attempt { of_answer(task, *answer) } else { None };
                if task.open && *n == task.attempt && (200..300).contains(&answer.status) {
                    task.asking.is_located = names_url;
                }
                let moves = expect.filter(|what| task.state != State::Running || *what != Expect::Alive);
                task.expect = moves.map(|expect| (fact.why.clone(), expect));
            }
            What::AttemptFailed(_) => {
                let by_time = if is_late { Expect::Late } else { Expect::Failure { final_: false } };
                fail(task, expect.unwrap_or(by_time));
            }
            What::RetryPlanned(at) => (task.state, task.due) = (State::Scheduled, *at),
            What::Failed => self.end(fact, State::Failed),
            What::Succeeded(_) => self.end(fact, State::Succeeded),
            What::Cancelled => {
                if fact.why == Why::Command && task.attempt > task.before && task.wish.watch.tells_cancel {
                    let call = format!("{}~cancel~{}", fact.task, task.generation);
                    self.wishes.insert(call.clone(), vec![call_wish(fact.at)]);
                    self.calls.insert(call);
                }
                self.end(fact, State::Cancelled);
            }
            What::Skipped(_) => self.end(fact, State::Skipped),
            What::Triggered => task.due = fact.at,
            What::Reopened => {
                task.state = State::New;
                task.deadline = task.deadline.filter(|deadline| *deadline > fact.at);
                (task.generation, task.reopened_step) = (task.generation + 1, step);
                task.due = if task.attempt == 0 { task.wish.run_at.max(fact.at) } else { fact.at };
                (task.before, task.used, task.open) = (task.attempt, 0, false);
                task.ignores |= asked_to_ignore && fact.why == Why::Command;
            }
            What::DependencyReopened { parent, generation } => {
                task.knows.insert(parent.clone(), *generation);
            }
            What::DependencyEnded { parent, allowed, .. } => {
                if let Some(name) = task.edge(parent).map(|(name, _)| name.clone()).filter(|_| *allowed) {
                    task.met.insert(name);
                }
                task.due = task.due.max(fact.at);
            }
            What::Asks(_) | What::Told(..) => self.is_asked(fact),
            What::DeadlinePassed => task.failing = Some(Expect::Failure { final_: true }),
            What::Correlated(..) | What::Located(..) | What::Other | What::Created | What::Defect => {
                task.failing = failing;
            }
        }
    }

    /// Its remote is asked, and answers.
    fn is_asked(&mut self, fact: &Fact) {
        let Some(task) = self.tasks.get_mut(&fact.task) else { return };
        match &fact.what {
            What::Told(_, told) => {
                task.expect = of_told(task, *told).map(|expect| (fact.why.clone(), expect));
                if task.open && matches!(told, Told::Running { .. }) {
                    task.alive_at = fact.at;
                }
                let next_at = task.before_deadline(fact.at + SECOND, fact.at + task.pause());
                let asking = &mut task.asking;
                asking.not_found = if *told == Told::NotFound { asking.not_found + 1 } else { 0 };
                (asking.is_open, asking.next_at) = (false, Some(next_at));
                asking.answers += 1;
            }
            _ => {
                let (asked, _) = self.asked.entry((fact.task.clone(), task.attempt)).or_default();
                *asked += 1;
                (task.asking.sent_at, task.asking.is_open) = (Some(fact.at), true);
                task.asking.count += 1;
            }
        }
    }

    fn end(&mut self, fact: &Fact, state: State) {
        let Some(task) = self.tasks.get_mut(&fact.task) else { return };
        (task.state, task.open, task.expect) = (state, false, None);
        task.ended_at = fact.at;
        task.ends.push((task.generation, state));
    }
}

/// The open attempt has failed, and the task is tried again or has failed too.
fn fail(task: &mut Task, failing: Expect) {
    (task.open, task.expect) = (false, None);
    task.used += u32::from(matches!(failing, Expect::Failure { .. }));
    let over = task.used >= task.wish.attempts_max || task.wish.is_external;
    task.failing = Some(match failing {
        Expect::Failure { final_ } => Expect::Failure { final_: final_ || over },
        other => other,
    });
}

/// What a webhook does to a task, by the contract's rules of the race.
pub(super) fn expected(task: &Task, kind: Kind, attempt: Option<u32>) -> Expect {
    let named = attempt.unwrap_or(task.attempt);
    match () {
        () if attempt.is_some() && (named == 0 || named > task.attempt) => Expect::Ignored,
        () if attempt.is_some() && named <= task.before => Expect::Stale,
        () if named < task.attempt && (kind != Kind::Completed || task.wish.watch.rejects_late_success) => {
            Expect::Stale
        }
        () if task.state.is_end() => Expect::Ignored,
        () if !task.wish.is_external && task.attempt == task.before => Expect::Ignored,
        () => match kind {
            Kind::Completed => Expect::Success,
            Kind::Cancelled => Expect::Cancel,
            Kind::Failed { .. } if task.wish.is_external => Expect::Failure { final_: true },
            Kind::Failed { .. } | Kind::Alive if !task.open => Expect::Ignored,
            Kind::Failed { retryable } => Expect::Failure { final_: !retryable },
            Kind::Alive => Expect::Alive,
        },
    }
}

/// What an answer does to its open attempt.
fn of_answer(task: &Task, answer: Answer) -> Option<Expect> {
    match (answer.status, answer.retry_after) {
        (0, _) if task.state == State::Running => None,
        (0, _) => Some(Expect::Failure { final_: false }),
        (200..300, _) => Some(match task.wish.completion {
            Completion::Auto if answer.status == 202 => Expect::Alive,
            Completion::Callback => Expect::Alive,
            _ => Expect::Success,
        }),
        (429 | 503, Some(pause)) => Some(Expect::Postponed(pause)),
        (408 | 409 | 423 | 425 | 429 | 500.., _) => Some(Expect::Failure { final_: false }),
        _ => Some(Expect::Failure { final_: true }),
    }
}
/// What an answer of its remote does to a task whose newest attempt it is about.
fn of_told(task: &Task, told: Told) -> Option<Expect> {
    match told {
        Told::Ended(kind) => match expected(task, kind, Some(task.attempt)) {
            Expect::Ignored if contradicts(task.state, kind) => Some(Expect::Ignored),
            Expect::Ignored | Expect::Stale => None,
            other => Some(other),
        },
        Told::Running { shows_progress: true } => {
            Some(expected(task, Kind::Alive, Some(task.attempt))).filter(|expect| *expect == Expect::Alive)
        }
        Told::NotFound if task.open && task.asking.not_found > 0 => Some(Expect::Failure { final_: false }),
        _ => None,
    }
}

impl Model {
    /// Whether a webhook says of a task that has ended that it has ended otherwise.
    pub(super) fn contradicts(&self, task: &Task, event: u64) -> bool {
        self.said.get(&event).is_some_and(|(said, _)| contradicts(task.state, said.kind))
    }
}

/// Whether a task that has ended so is said to have ended otherwise.
pub(super) fn contradicts(state: State, kind: Kind) -> bool {
    match kind {
        Kind::Completed => state == State::Failed,
        Kind::Failed { .. } | Kind::Cancelled => state == State::Succeeded,
        Kind::Alive => false,
    }
}

/// What is asked of the task that tells a remote of a cancel.
fn call_wish(now: Time) -> Wish {
    Wish {
        is_external: false,
        after: Vec::new(),
        queue: "@cancel".into(),
        key: None,
        unique: None,
        run_at: now,
        timeout: None,
        completion: Completion::Response,
        attempts_max: 8,
        pause_max: HOUR,
        watch: Watch::default(),
    }
}
