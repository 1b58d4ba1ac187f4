//! The oracle: what must hold, told from what was sent and answered alone.
//!
//! It is written from the published guarantees and the contract, and shares no code with what it judges. It is told what
//! users ask, what webhooks say and what targets answer, then each fact that a store has kept, in order. Every fact must
//! follow from what was said, and what was said must have its fact.

mod evolve;
mod gone;
mod instants;
mod legal;
mod limits;
mod rest;
mod watch;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use words::*;

use evolve::expected;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Ignored,
    Stale,
    Alive,
    Success,
    Failure {
        final_: bool,
    },
    Cancel,
    Postponed(Time),
    /// The deadline has passed, and that is to be told.
    Late,
}

#[derive(Debug)]
struct Task {
    wish: Wish,
    timeout: Option<Time>,
    /// Past which it is over; none once it was reopened behind it.
    deadline: Option<Time>,
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
    /// When its worker gave the last sign of life.
    alive_at: Time,
    asking: Asking,
    due: Time,
    ended_at: Time,
    /// It was taken away after its time. Others still know of it.
    is_gone: bool,
    /// How it ended, in each generation.
    ends: Vec<(u32, State)>,
    /// Of which generation of each parent it has heard that it was reopened.
    knows: BTreeMap<String, u32>,
    met: BTreeSet<String>,
    ignores: bool,
    generation: u32,
    /// The commit in which it was reopened last.
    reopened_step: u64,
    /// Why its latest fact came about.
    last: Option<Why>,
    expect: Option<(Why, Expect)>,
    /// The last fact was the failure of an attempt; whether it is final.
    failing: Option<Expect>,
}

/// What came of asking how the newest attempt is.
#[derive(Debug, Clone, Copy, Default)]
struct Asking {
    /// The answer to the dispatch has named the URL.
    is_located: bool,
    sent_at: Option<Time>,
    count: u32,
    answers: u32,
    /// When it is to be asked again, since the last answer.
    next_at: Option<Time>,
    is_open: bool,
    /// How often in a row the remote had no such task.
    not_found: u32,
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
    /// Attempts whose answers have named a status URL.
    located: BTreeSet<(String, u32)>,
    told: BTreeMap<(String, u32), Vec<Told>>,
    /// How often each attempt was to be asked about, and was.
    asked: BTreeMap<(String, u32), (u32, u32)>,
    /// The tasks that are to tell a remote of a cancel and are not there yet.
    calls: BTreeSet<String>,
    schedules: BTreeMap<String, instants::Schedule>,
    commands: BTreeSet<(String, u8)>,
    externals: BTreeMap<String, (String, Option<u32>, u64, Time)>,
    queues: BTreeMap<String, Limits>,
    paused: BTreeSet<String>,
    /// The server sends nothing.
    is_held: bool,
    /// How long what has ended is kept.
    age: Option<Time>,
    /// When a sweep has taken its last step.
    swept_at: Time,
    /// The keys of requests that happen once, by the tasks they ask for.
    keys: BTreeMap<String, u64>,
    begun: BTreeMap<(String, Option<String>), Vec<Time>>,
    seen: BTreeMap<(String, u32), u8>,
    touched: BTreeSet<String>,
    step: u64,
    starts: u64,
    /// When each node started last.
    up_since: BTreeMap<usize, Time>,
    /// Until when no node was up, the last time.
    down_until: Time,
    /// When a node learned that a host had left its question without an answer, and has learned of no answer since.
    silent: BTreeMap<(usize, String), Time>,
    /// The interesting things that have happened.
    pub happened: BTreeMap<&'static str, u64>,
}

const SECOND: Time = 1_000_000;
const HOUR: Time = 3_600 * SECOND;

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

    pub fn exchange_ends(&mut self, task: &str, attempt: u32, answer: Answer, names_url: bool) {
        self.answers.entry((task.into(), attempt)).or_default().push(answer);
        if names_url {
            self.located.insert((task.into(), attempt));
        }
    }

    /// A remote was asked how an attempt is, and this comes of it.
    pub fn poll_ends(&mut self, task: &str, attempt: u32, told: Told) {
        self.told.entry((task.into(), attempt)).or_default().push(told);
    }

    /// A node learns that a host has answered its question, or has not.
    pub fn host_is_heard(&mut self, node_and_host: (usize, String), is_answered: bool, now: Time) {
        match is_answered {
            true => drop(self.silent.remove(&node_and_host)),
            false => drop(self.silent.insert(node_and_host, now)),
        }
    }

    /// A queue is known to be paused from now on, or may start again from now on.
    pub fn pauses(&mut self, queue: &str, paused: bool) {
        if paused {
            self.paused.insert(queue.into())
        } else {
            self.paused.remove(queue)
        };
    }

    /// The server is known to be held from now on, or may go on from now on.
    pub fn holds(&mut self, is_held: bool) {
        if is_held {
            self.note("a server that is held");
        }
        self.is_held = is_held;
    }

    /// `is_alone`: no other node is up.
    pub fn node_starts(&mut self, node: usize, is_alone: bool, now: Time) {
        self.starts += 1;
        self.up_since.insert(node, now);
        if is_alone {
            self.down_until = now;
        }
        self.forgets_silence(node);
    }

    /// A node does not count on what it knew of hosts that had answered no question.
    pub fn forgets_silence(&mut self, node: usize) {
        self.silent.retain(|(of, _), _| *of != node);
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
        let expected = self.tasks.values().filter(|task| !task.is_gone).count();
        must(count == expected, || format!("G4: {count} tasks of {expected}"))
    }

    /// G1, G2: an answered webhook, with what the store holds of it now.
    pub fn webhook_answered(
        &mut self,
        event: u64,
        outcome: Outcome,
        is_there: impl Fn(u64) -> bool,
    ) -> Verdict {
        if outcome == Outcome::Refused {
            return Ok(());
        }
        let is_durable = |model: &Model, event| is_there(event) || model.may_be_gone(event);
        must(is_durable(self, event), || format!("G1: webhook {event} was answered and is not there"))?;
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
                must(is_durable(self, first), || {
                    format!("G2: {event} repeats {first}, which is not durable")
                })?;
                self.note("a duplicate");
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
            let was_there = self.tasks.contains_key(id) || self.was_there(id);
            must(was_there, || format!("G1: {id} was answered and does not exist"))?;
        }
        Ok(())
    }

    /// G1: whatever was answered is there, as after a crash.
    pub fn all_is_there(&self, is_there: impl Fn(u64) -> bool) -> Verdict {
        let is_lost = |event: &&u64| !is_there(**event) && !self.may_be_gone(**event);
        let lost = self.acknowledged.iter().find(is_lost);
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

    /// A question leaves for its remote.
    pub fn polls(&mut self, id: &str, attempt: u32) -> Verdict {
        let (sent, left) = self.asked.entry((id.into(), attempt)).or_default();
        *left += 1;
        must(left <= sent, || format!("G1: {id} is asked about {left} times of {sent}"))
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
        let task = self.tasks.get(id).ok_or("G4: a fact about a task that is not there")?;
        self.touched.insert(id.clone());
        if let Some((why, expect)) = &task.expect {
            let still = *why == fact.why;
            must(still, || format!("G6: {why:?} asked for {expect:?}, and something else came"))?;
        } else if let Why::Event(event) = fact.why
            && task.last.as_ref() != Some(&fact.why)
        {
            self.is_reported(fact, event)?;
        } else if fact.why == Why::Asked && task.failing.is_none() && !matches!(fact.what, What::Told(..)) {
            self.is_told_of_an_older_attempt(fact)?;
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
        self.is_first_under_its_key(fact)?;
        if self.was_there(id) {
            self.note("an id that is given again");
        }
        let call = self.call_of(id);
        let asked = self.wishes.get(call.as_ref().unwrap_or(id)).and_then(|wishes| wishes.first()).cloned();
        let wish = match asked {
            Some(wish) => wish,
            None => self.of_instant(fact)?.ok_or("nobody asked for it")?,
        };
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
        let is_watched = wish.is_external || wish.watch.heartbeat.is_some();
        let timeout = wish.timeout.unwrap_or((!is_watched).then_some(HOUR));
        let deadline = wish.watch.deadline.map(|deadline| match deadline {
            Deadline::At(at) => at,
            Deadline::After(span) => fact.at + span,
        });
        if let Some(call) = call {
            self.calls.remove(&call);
            self.wishes.remove(&call);
            self.note("a remote that is told of a cancel");
        }
        let task = Task {
            wish,
            timeout,
            deadline,
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
            alive_at: 0,
            asking: Asking::default(),
            due,
            ended_at: 0,
            is_gone: false,
            ends: Vec::new(),
            met,
            ignores: false,
            generation: 0,
            reopened_step: 0,
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
        if expect == Expect::Stale && said.kind == Kind::Completed && attempt.is_some_and(|n| n > task.before)
        {
            self.note("a late success that is refused");
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
            (What::Succeeded(_), Why::Asked) => "a lost callback that is found",
            (What::AttemptFailed(_), Why::Asked) if task.asking.not_found > 1 => {
                "a remote that has no such task"
            }
            (What::Told(..), _) if !task.open => "a callback that is faster than an answer",
            (What::Told(_, Told::NotFound), _) if task.asking.not_found == 0 => {
                "a remote that knows nothing once"
            }
            (What::Located(_, true), _) => "a status URL in an answer",
            (What::DeadlinePassed, _) => "a deadline that has passed",
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
            (What::Ignored, Why::Event(event)) if self.contradicts(task, *event) => "a contradiction",
            (What::Ignored, _) if task.state.is_end() => "a webhook after the end",
            (What::AttemptFailed(_), Why::Time) if task.sends >= 4 => "an attempt that was lost four times",
            (What::AttemptFailed(_), Why::Time) => self.why_over(task, fact.at),
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
}
