//! The oracle: what must hold, told from what was sent and answered alone.
//!
//! It is written from the published guarantees and the contract, and shares no code with what it judges. It is told what
//! users ask, what webhooks say and what targets answer, then each fact that a store has kept, in order. Every fact must
//! follow from what was said, and what was said must have its fact.

mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use words::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Ignored,
    Stale,
    Alive,
    Success,
    Failure { final_: bool },
    Cancel,
    Postponed(Time),
}

#[derive(Debug)]
struct Task {
    wish: Wish,
    state: State,
    created_step: u64,
    created_at: Time,
    attempt: u32,
    open: bool,
    began: Time,
    sends: u8,
    starts: u64,
    before: u32,
    used: u32,
    responses: u32,
    due: Time,
    /// How it ended, in each generation.
    ends: Vec<(u32, State)>,
    /// Of which generation of each parent it has heard that it was reopened.
    knows: BTreeMap<String, u32>,
    met: BTreeSet<String>,
    ignores: bool,
    generation: u32,
    /// Why its latest fact came about.
    last: Option<Why>,
    expect: Option<(Why, Expect)>,
    /// The last fact was the failure of an attempt; whether it is final.
    failing: Option<Expect>,
}

#[derive(Debug, Default)]
pub struct Model {
    tasks: BTreeMap<String, Task>,
    wishes: BTreeMap<String, Vec<Wish>>,
    said: BTreeMap<u64, (Said, u64)>,
    heard_at: BTreeMap<u64, Time>,
    applied: BTreeSet<u64>,
    noted: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
    answers: BTreeMap<(String, u32), Vec<Answer>>,
    commands: BTreeSet<(String, u8)>,
    externals: BTreeMap<String, (String, Option<u32>, u64, Time)>,
    queues: BTreeMap<String, Limits>,
    paused: BTreeSet<String>,
    begun: BTreeMap<(String, Option<String>), Vec<Time>>,
    seen: BTreeMap<(String, u32), u8>,
    touched: BTreeSet<String>,
    step: u64,
    starts: u64,
    /// When each node started last.
    up_since: BTreeMap<usize, Time>,
    /// The interesting things that have happened.
    pub happened: BTreeMap<&'static str, u64>,
}

fn must(holds: bool, words: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(words()) }
}

impl Model {
    pub fn queue(&mut self, name: &str, limits: Limits) {
        self.queues.insert(name.into(), limits);
    }

    /// A user asks for a task; whether it comes into being is seen later.
    pub fn asks(&mut self, id: &str, wish: Wish) {
        self.wishes.entry(id.into()).or_default().push(wish);
    }

    /// The next commit decides about a webhook, if it is made.
    pub fn hears(&mut self, event: u64, said: Said, now: Time) {
        self.heard_at.insert(event, now);
        self.said.insert(event, (said, self.step + 1));
    }

    pub fn commands(&mut self, task: &str, command: Command) {
        let number = match command {
            Command::Cancel => 0,
            Command::Trigger => 1,
            Command::Retry { ignore: false } => 2,
            Command::Retry { ignore: true } => 3,
        };
        self.commands.insert((task.into(), number));
    }

    pub fn exchange_ends(&mut self, task: &str, attempt: u32, answer: Answer) {
        self.answers.entry((task.into(), attempt)).or_default().push(answer);
    }

    /// A queue is known to be paused from now on, or may start again from now on.
    pub fn pauses(&mut self, queue: &str, paused: bool) {
        if paused {
            self.paused.insert(queue.into())
        } else {
            self.paused.remove(queue)
        };
    }

    pub fn node_starts(&mut self, node: usize, now: Time) {
        self.starts += 1;
        self.up_since.insert(node, now);
    }

    /// When a node judges what ran out at `at`. Who may have been cut off meanwhile gets 30 s from its start on.
    fn judged_at(&self, at: Time) -> impl Iterator<Item = Time> {
        let starts = self.up_since.values();
        starts.map(move |up_since| if at <= *up_since { up_since + 30_000_000 } else { at })
    }

    /// The facts of one commit, in order.
    pub fn commit(&mut self, facts: &[Fact]) -> Verdict {
        self.step += 1;
        for fact in facts {
            self.fact(fact).map_err(|error| format!("{error}: {fact:?}"))?;
        }
        for id in std::mem::take(&mut self.touched) {
            if let Some((why, expect)) = self.tasks.get(&id).and_then(|task| task.expect.clone()) {
                return Err(format!("G6: {id}: {why:?} asked for {expect:?}, and nothing came of it"));
            }
            if self.tasks[&id].failing.is_some() || self.tasks[&id].state == State::New {
                return Err(format!("G4: {id} is left half way: {:?}", self.tasks[&id]));
            }
        }
        Ok(())
    }

    /// G4: each task is in exactly one state, and none is missing.
    pub fn states<'a>(&self, states: impl Iterator<Item = (&'a str, State, u32)>) -> Verdict {
        let mut count = 0;
        for (id, state, attempt) in states {
            let task = self.tasks.get(id).ok_or_else(|| format!("G4: {id} came from nowhere"))?;
            must((task.state, task.attempt) == (state, attempt), || {
                format!("G4: {id} is {state:?} with attempt {attempt}, by its facts it is {task:?}")
            })?;
            count += 1;
        }
        must(count == self.tasks.len(), || format!("G4: {count} tasks of {}", self.tasks.len()))
    }

    /// G1, G2: an answered webhook, with what the store holds of it now.
    pub fn webhook_answered(
        &mut self,
        event: u64,
        outcome: Outcome,
        is_durable: impl Fn(u64) -> bool,
    ) -> Verdict {
        if outcome == Outcome::Refused {
            return Ok(());
        }
        must(is_durable(event), || format!("G1: webhook {event} was answered and is not there"))?;
        self.acknowledged.insert(event);
        let (said, _) = &self.said[&event];
        if let Some(claim) = said.claim
            && !matches!(outcome, Outcome::Duplicate(_))
        {
            let twin = self.acknowledged.iter().find(|other| {
                **other != event && self.said[*other].0.claim == Some(claim) && !self.is_double(**other)
            });
            must(twin.is_none(), || format!("G6: webhook {event} counts as new, as {twin:?} did before it"))?;
        }
        let counted = (self.applied.contains(&event), self.noted.contains(&event));
        match outcome {
            Outcome::Duplicate(first) => {
                self.note("a duplicate");
                must(is_durable(first), || format!("G2: {event} repeats {first}, which is not durable"))?;
                let claims = (self.said[&event].0.claim, self.said[&first].0.claim);
                must(claims.0.is_some() && claims.0 == claims.1, || format!("G2: {event} is no {first}"))?;
                must(counted == (false, false), || format!("G6: the duplicate {event} has changed something"))
            }
            Outcome::Applied => must(counted.0, || format!("G6: {event} was applied and changed nothing")),
            Outcome::Stale | Outcome::Ignored => {
                must(counted == (false, true), || format!("G6: {event} was {outcome:?}, and is {counted:?}"))
            }
            Outcome::Unmatched => {
                self.note("a webhook that waits for its task");
                if counted == (false, false) {
                    self.waiting.insert(event);
                }
                Ok(())
            }
            _ => Err(format!("{event} was answered {outcome:?}")),
        }
    }

    fn is_double(&self, event: u64) -> bool {
        !self.applied.contains(&event) && !self.noted.contains(&event) && !self.waiting.contains(&event)
    }

    /// G1: an answered creation.
    pub fn created(&mut self, ids: &[String]) -> Verdict {
        for id in ids {
            must(self.tasks.contains_key(id), || format!("G1: {id} was answered and does not exist"))?;
        }
        Ok(())
    }

    /// G1: whatever was answered is there, as after a crash.
    pub fn all_is_there(&self, is_durable: impl Fn(u64) -> bool) -> Verdict {
        let lost = self.acknowledged.iter().find(|event| !is_durable(**event));
        must(lost.is_none(), || format!("G1: the answered webhook {lost:?} is lost"))
    }

    /// G10, G11, G12: a request leaves for its target.
    pub fn sends(&mut self, id: &str, attempt: u32) -> Verdict {
        let task = self.tasks.get(id).ok_or_else(|| format!("G1: {id} is sent and does not exist"))?;
        let (known, sends) = (task.attempt, task.sends);
        let seen = self.seen.entry((id.into(), attempt)).or_default();
        *seen += 1;
        must(attempt <= known, || format!("G1: attempt {attempt} of {id} leaves before it is durable"))?;
        must(attempt < known || *seen <= sends, || format!("G10: {id} leaves {seen} times of {sends}"))?;
        must(*seen <= 4, || format!("G10: attempt {attempt} of {id} was seen {seen} times"))
    }

    fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn fact(&mut self, fact: &Fact) -> Verdict {
        let id = &fact.task;
        must(fact.what != What::Defect, || "a decision failed by a defect".into())?;
        if fact.what == What::Created {
            return self.is_created(fact);
        }
        let task = self.tasks.get(id).ok_or("G4: a fact about a task that was never created")?;
        self.touched.insert(id.clone());
        if let Some((why, expect)) = &task.expect {
            let still = *why == fact.why;
            must(still, || format!("G6: {why:?} asked for {expect:?}, and something else came"))?;
        } else if let Why::Event(event) = fact.why
            && task.last.as_ref() != Some(&fact.why)
        {
            self.is_reported(fact, event)?;
        }
        self.note_of(fact);
        self.is_legal(fact)?;
        self.evolve(fact);
        if let Some(task) = self.tasks.get_mut(id) {
            task.last = Some(fact.why.clone());
        }
        Ok(())
    }

    fn is_created(&mut self, fact: &Fact) -> Verdict {
        let id = &fact.task;
        must(!self.tasks.contains_key(id), || "G4: created twice".into())?;
        let wish =
            self.wishes.get(id).and_then(|wishes| wishes.first()).ok_or("nobody asked for it")?.clone();
        let mut met = BTreeSet::new();
        for (parent, on) in &wish.after {
            let parent_task = self.tasks.get(parent).ok_or("G11: it waits for nobody")?;
            if allows(*on, parent_task.state) {
                met.insert(parent.clone());
            }
        }
        if let Some(key) = wish.unique {
            let holder =
                self.tasks.iter().find(|(_, other)| other.wish.unique == Some(key) && !other.state.is_end());
            must(holder.is_none(), || format!("a second task under the key {key}"))?;
        }
        let due = wish.run_at;
        let task = Task {
            wish,
            state: State::New,
            created_step: self.step,
            created_at: fact.at,
            attempt: 0,
            open: false,
            began: 0,
            sends: 0,
            starts: 0,
            before: 0,
            used: 0,
            responses: 0,
            due,
            ends: Vec::new(),
            met,
            ignores: false,
            generation: 0,
            knows: BTreeMap::new(),
            last: None,
            expect: None,
            failing: None,
        };
        self.tasks.insert(id.clone(), task);
        self.touched.insert(id.clone());
        Ok(())
    }

    /// The first fact of a webhook: what it must do to its task, by the rules of the race.
    fn is_reported(&mut self, fact: &Fact, event: u64) -> Verdict {
        let (said, step) = self.said.get(&event).cloned().ok_or("nobody sent this webhook")?;
        let late_facts = self.applied.contains(&event) || self.noted.contains(&event);
        must(!late_facts, || format!("G6: webhook {event} is applied twice"))?;
        let mut attempt = said.attempt;
        let mut may_be_before = false;
        if said.task.as_ref() != Some(&fact.task) {
            let external = said.external.as_ref().ok_or("G6: a webhook about another task")?;
            let (task, of, known, _) = self.externals.get(external).ok_or("G6: nobody has this id")?;
            must(*task == fact.task, || "G6: the remote's id is that of another task".into())?;
            attempt = attempt.or(*of);
            may_be_before = of.is_none() && step <= *known;
        }
        let task = &self.tasks[&fact.task];
        let is_before = said.task.is_some() && step < task.created_step;
        may_be_before |= said.task.is_some() && step <= task.created_step;
        let mut expect = expected(task, said.kind, attempt);
        let before = !task.wish.is_external && fact.what == What::Ignored;
        if is_before && !task.wish.is_external || may_be_before && before {
            expect = Expect::Ignored;
        }
        if step < self.step {
            self.note("a webhook applied to a task that came later");
            self.waiting.remove(&event);
        }
        let set = if matches!(expect, Expect::Ignored | Expect::Stale) {
            &mut self.noted
        } else {
            &mut self.applied
        };
        set.insert(event);
        self.waiting.remove(&event);
        if said.external.is_some() && said.task.is_none() {
            self.note("a webhook by the remote's own id");
        }
        if let Some(task) = self.tasks.get_mut(&fact.task) {
            task.expect = Some((fact.why.clone(), expect));
        }
        Ok(())
    }

    fn note_of(&mut self, fact: &Fact) {
        let task = &self.tasks[&fact.task];
        let of_reply = task.responses > 0;
        let what = match (&fact.what, &fact.why) {
            (What::Succeeded(n), _) if *n < task.attempt => "a success of an older attempt",
            (What::Succeeded(_), Why::Event(_)) if task.state == State::Scheduled => {
                "a success during a back-off"
            }
            (What::Succeeded(_), Why::Event(_))
                if !of_reply && task.attempt > 0 && !task.wish.is_external =>
            {
                "a callback before its response"
            }
            (What::Resent(..), _) => "a resend after a crash",
            (What::Stale, _) => "a stale webhook",
            (What::Ignored, _) if task.state.is_end() => "a webhook after the end",
            (What::AttemptFailed(_), Why::Time) if task.sends >= 4 => "an attempt that was lost four times",
            (What::AttemptFailed(_), Why::Time) => "a time-out",
            (What::Skipped(_), _) => "a skipped task",
            (What::Reopened, Why::Parent(_)) => "a skipped task that is reopened with its parent",
            (What::Reopened, _) => "a retry by a user",
            (What::Triggered, _) => "a trigger",
            (What::Cancelled, Why::Event(_)) => "a worker that cancels",
            (What::Cancelled, _) => "a user who cancels",
            _ => return,
        };
        self.note(what);
    }

    /// Whether a fact may be true now, and follows from what was said.
    fn is_legal(&mut self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let (state, now) = (task.state, fact.at);
        let moves = !matches!(
            fact.what,
            What::Alive
                | What::Responded(..)
                | What::Ignored
                | What::Stale
                | What::Correlated(..)
                | What::DependencyEnded { .. }
                | What::DependencyReopened { .. }
                | What::Other
                | What::Reopened
        );
        must(!(moves && state.is_end()), || format!("G5: {} has ended as {state:?}", fact.task))?;
        if let Some(failing) = task.failing {
            let follows = match (&fact.what, failing) {
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
        let task = &self.tasks[&fact.task];
        let (state, now) = (task.state, fact.at);
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
                must(task.starts < self.starts, || "G10: sent again without a crash".into())
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
                    Why::Time => {
                        let times_out_at = task.wish.timeout.map(|timeout| task.began + timeout);
                        let over = times_out_at.is_some_and(|at| self.judged_at(at).any(|at| at <= now));
                        must(over || task.sends >= 4, || format!("it is not over: {task:?}"))
                    }
                    _ => Err("G5: nothing failed".into()),
                }
            }
            What::Succeeded(n) => {
                must(*n > task.before && *n <= task.attempt, || format!("G8: {task:?}"))?;
                must(expected == Some(Expect::Success), || format!("G6: it succeeds, wanted {expected:?}"))
            }
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
                let edge = task.wish.after.iter().find(|(id, _)| id == parent).ok_or("G11: a stranger")?;
                let ends = &self.tasks[parent].ends;
                must(ends.iter().any(|(_, end)| !allows(edge.1, *end)), || {
                    "G11: skipped for nothing".into()
                })?;
                must(matches!(state, State::New | State::Blocked), || "G11: skipped on its way".into())
            }
            What::DependencyEnded { parent, generation, end, allowed } => {
                let edge = task.wish.after.iter().find(|(id, _)| id == parent).ok_or("G11: a stranger")?;
                let ends = &self.tasks[parent].ends;
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

    /// G12: at no commit more attempts are open, or begun in a window, than the limits say.
    fn is_within_limits(&mut self, fact: &Fact) -> Verdict {
        let wish = &self.tasks[&fact.task].wish;
        let (queue, key) = (wish.queue.clone(), wish.key.clone());
        let limits = self.queues.get(&queue).cloned().unwrap_or_default();
        must(!self.paused.contains(&queue), || format!("{queue} is paused"))?;
        let mut all = vec![(None, limits.concurrency, limits.rate)];
        if key.is_some() {
            all.push((key, limits.key_concurrency, limits.key_rate));
        }
        for (key, concurrency, rate) in all {
            let is_counted = |task: &&Task| {
                let place = task.open && !task.wish.is_external && task.wish.queue == queue;
                place && (key.is_none() || task.wish.key == key)
            };
            if let Some(limit) = concurrency {
                let open = self.tasks.values().filter(is_counted).count();
                must(open < limit as usize, || {
                    format!("G12: {open} attempts of {limit} are open in {queue}")
                })?;
                if open + 1 == limit as usize {
                    self.note("a limit that is reached");
                }
            }
            let begun = self.begun.entry((queue.clone(), key)).or_default();
            if let Some(rate) = rate {
                let within = begun.iter().rev().take_while(|at| **at > fact.at - rate.per).count();
                let most = (rate.limit + rate.burst - 1) as usize;
                must(within < most, || format!("G12: {within} of {most} began in one window in {queue}"))?;
            }
            begun.push(fact.at);
            if rate.is_some() {
                self.note("a rate that is looked at");
            }
        }
        Ok(())
    }

    fn evolve(&mut self, fact: &Fact) {
        let starts = self.starts;
        let asked_to_ignore = self.commands.contains(&(fact.task.clone(), 3));
        if let What::Correlated(external, attempt) = &fact.what {
            self.externals.insert(external.clone(), (fact.task.clone(), *attempt, self.step, fact.at));
        }
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
            }
            What::Resent(_, send) => (task.sends, task.starts) = (*send, starts),
            What::Started => (task.state, task.expect) = (State::Running, None),
            What::Alive => task.expect = None,
            What::Ignored | What::Stale => task.expect = None,
            What::Responded(n, answer) => {
                task.responses += u32::from(*n == task.attempt);
                let expect = if task.open && *n == task.attempt { of_answer(task, *answer) } else { None };
                let moves = expect.filter(|what| task.state != State::Running || *what != Expect::Alive);
                task.expect = moves.map(|expect| (fact.why.clone(), expect));
            }
            What::AttemptFailed(_) => {
                task.open = false;
                let failing = expect.unwrap_or(Expect::Failure { final_: false });
                if matches!(failing, Expect::Failure { .. }) {
                    task.used += 1;
                }
                let over = task.used >= task.wish.attempts_max || task.wish.is_external;
                task.failing = Some(match failing {
                    Expect::Failure { final_ } => Expect::Failure { final_: final_ || over },
                    other => other,
                });
                task.expect = None;
            }
            What::RetryPlanned(at) => (task.state, task.due) = (State::Scheduled, *at),
            What::Failed => self.end(&fact.task, State::Failed),
            What::Succeeded(_) => self.end(&fact.task, State::Succeeded),
            What::Cancelled => self.end(&fact.task, State::Cancelled),
            What::Skipped(_) => self.end(&fact.task, State::Skipped),
            What::Triggered => task.due = fact.at,
            What::Reopened => {
                task.state = State::New;
                task.generation += 1;
                task.due = if task.attempt == 0 { task.wish.run_at.max(fact.at) } else { fact.at };
                (task.before, task.used, task.open) = (task.attempt, 0, false);
                task.ignores |= asked_to_ignore && fact.why == Why::Command;
            }
            What::DependencyReopened { parent, generation } => {
                task.knows.insert(parent.clone(), *generation);
            }
            What::DependencyEnded { parent, allowed, .. } => {
                if *allowed {
                    task.met.insert(parent.clone());
                }
                task.due = task.due.max(fact.at);
            }
            What::Correlated(..) | What::Other | What::Created | What::Defect => task.failing = failing,
        }
    }

    fn end(&mut self, id: &str, state: State) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        (task.state, task.open, task.expect) = (state, false, None);
        task.ends.push((task.generation, state));
    }

    /// Nothing is left to do by itself: everything has ended but what cannot, and it is known why.
    pub fn rests(&self) -> Verdict {
        for (id, task) in &self.tasks {
            let ended = |parent: &str| self.tasks[parent].state;
            let reason = match task.state {
                State::Running => task.wish.timeout.is_none(),
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
            must(reason, || format!("G14: {id} does not end: {task:?}"))?;
        }
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

    /// Without faults, nothing is late.
    pub fn is_punctual(&self, now: Time) -> Verdict {
        for (id, task) in &self.tasks {
            let late = match task.state {
                State::Scheduled => Some(task.due),
                State::Dispatching | State::Running if task.open => {
                    let timeout = task.wish.timeout;
                    timeout.and_then(|timeout| self.judged_at(task.began + timeout).max())
                }
                _ => None,
            };
            must(late.is_none_or(|at| at >= now), || format!("G14: {id} is overlooked at {now}: {task:?}"))?;
        }
        Ok(())
    }

    /// Whether everything has ended.
    pub fn is_over(&self) -> Verdict {
        let open = self.tasks.iter().find(|(_, task)| !task.state.is_end());
        must(open.is_none(), || format!("G14: it does not end: {open:?}"))
    }
}

/// What a webhook does to a task, by the contract's rules of the race.
fn expected(task: &Task, kind: Kind, attempt: Option<u32>) -> Expect {
    let named = attempt.unwrap_or(task.attempt);
    match () {
        () if attempt.is_some() && (named == 0 || named > task.attempt) => Expect::Ignored,
        () if attempt.is_some() && named <= task.before => Expect::Stale,
        () if named < task.attempt && kind != Kind::Completed => Expect::Stale,
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
