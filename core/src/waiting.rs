//! Why a task that has not ended is not further: one code and one exact sentence.

use crate::limits;
use crate::queue::{Closed, Shut};
use crate::task::ends::{End, Kind};
use crate::task::{State, Task};
use crate::time::Timestamp;

/// The answer to "why does this task wait?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The contract's word: `dependency`, `time`, `retry`, `held`, `disk_full`, `paused`, `breaker`, `key_limit`, `concurrency`,
    /// `rate`, `capacity`, `response`, `callback`.
    pub code: &'static str,
    /// One exact sentence, without a subject: "the completion webhook of attempt 2, until 14:03:20Z".
    pub text: String,
    /// When the waiting ends by itself.
    pub until: Option<Timestamp>,
    /// The id of what it waits for, where that has one.
    pub reference: Option<String>,
}

/// What holds up the tasks of a queue that are due, as far as it concerns one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldUp {
    /// The queue's name.
    pub queue: String,
    /// Nothing of the server may start, since this instant.
    pub held: Option<Timestamp>,
    /// Nothing may start because the disk is full, since this instant.
    pub full: Option<Timestamp>,
    /// Since when the node has been up that judges what runs out.
    pub up_since: Timestamp,
    /// When this is asked: what was to happen before waits for a place.
    pub now: Timestamp,
    /// Nothing of the queue may start.
    pub shut: Option<Shut>,
    /// Nothing of the task's key may start: what it waits for, and how many attempts of one key may be open.
    pub key: Option<(Closed, u32)>,
    /// The target is out of order; the next attempt is sent to it at this instant, or when there is a place behind it.
    pub breaker: Option<Timestamp>,
}

/// What `task` waits for; `None` once it has ended. `dependency` is the name of the first task that it waits
/// for and that has not ended; `held_up` is about one that has begun and not ended.
#[must_use]
pub fn waiting_for(task: &Task, dependency: Option<&str>, held_up: &HeldUp) -> Option<Waiting> {
    let attempt = task.attempt_number();
    let code = code_of(task.state, task.attempts_before < attempt, held_up)?;
    let deadline = first_end(task, held_up, |kind| kind == Kind::Deadline).map(|end| end.judged_at);
    let (text, until) = match task.state {
        State::Blocked => (with_deadline(dependencies(task, dependency), deadline), deadline),
        State::Scheduled => {
            let deadline = deadline.filter(|deadline| *deadline < task.due_at);
            let due = match task.attempts_before < attempt {
                true => {
                    let (max, used) = (task.plan.retry.max_attempts, task.attempts_used);
                    format!(
                        "its next attempt, at {} ({used} of {max} attempts used up)",
                        task.due_at.time_of_day()
                    )
                }
                false => format!("its time, {}", task.due_at),
            };
            let sooner = deadline.map(|deadline| format!("; its deadline, {deadline}, comes sooner"));
            (due + &sooner.unwrap_or_default(), Some(deadline.unwrap_or(task.due_at)))
        }
        State::Queued => {
            let obstacle = held_up.obstacle();
            let until = obstacle.until().into_iter().chain(deadline).min();
            let text = obstacle.text(&held_up.queue, attempt + 1);
            (with_deadline(text, deadline.filter(|deadline| Some(*deadline) == until)), until)
        }
        State::Dispatching => dispatching(task, held_up),
        State::Running => running(task, held_up),
        State::Succeeded | State::Failed | State::Cancelled | State::Skipped => return None,
    };
    let reference = dependency.filter(|_| task.state == State::Blocked).map(ToString::to_string);
    Some(Waiting { code, text, until, reference })
}

/// What it waits for, but for no longer than its deadline, if that comes first.
fn with_deadline(text: String, deadline: Option<Timestamp>) -> String {
    match deadline {
        Some(deadline) => format!("{text}; its deadline is {deadline}"),
        None => text,
    }
}

/// The first of these ends to be judged, if nothing comes.
fn first_end(task: &Task, held_up: &HeldUp, is_meant: impl Fn(Kind) -> bool) -> Option<End> {
    task.ends(held_up.up_since).filter(|end| is_meant(end.kind)).min_by_key(|end| end.judged_at)
}

fn dispatching(task: &Task, held_up: &HeldUp) -> (String, Option<Timestamp>) {
    let number = task.attempt_number();
    let response = format!("the response to attempt {number}");
    let ending = first_end(task, held_up, |_| true);
    let gives_up_at = ending.map(|end| end.judged_at);
    let sent_at = task.attempt.map(|attempt| attempt.sent_at);
    // Its exchange died with an earlier process: it is to be sent again, while there is time.
    let has_died = sent_at < Some(held_up.up_since);
    let is_lost = has_died && !task.is_behind_its_time(held_up.now);
    match held_up.rest().filter(|_| is_lost) {
        Some(rest) => (with_end(format!("{rest}, and then {response}"), gives_up_at, ending), gives_up_at),
        None if is_lost => {
            let text = format!("a free exchange with its target, to be sent again, and then {response}");
            (with_end(text, gives_up_at, ending), gives_up_at)
        }
        None if has_died => {
            let why = task.ends(held_up.up_since).find(End::is_put_off).map_or_else(String::new, ran_out);
            let webhook = format!("the completion webhook of attempt {number}");
            (with_end(webhook, gives_up_at, ending) + &why, gives_up_at)
        }
        None => {
            let answered_by = sent_at.map(|at| at + task.plan.request_timeout);
            let until = gives_up_at.into_iter().chain(answered_by).min();
            (with_end(response, until, ending), until)
        }
    }
}

fn running(task: &Task, held_up: &HeldUp) -> (String, Option<Timestamp>) {
    let number = task.attempt_number();
    let webhook = format!("the completion webhook of attempt {number}");
    let deadline_end = first_end(task, held_up, |kind| kind == Kind::Deadline);
    let deadline = deadline_end.map(|end| end.judged_at);
    let attempt_end = first_end(task, held_up, |kind| kind != Kind::Deadline);
    let of_attempt = attempt_end.map(|end| end.judged_at);
    let polling = task.open_attempt().map(|attempt| attempt.polling).filter(|_| task.status_host().is_some());
    // An answer that an earlier process has asked for comes to nobody.
    let is_awaited = |at: &Timestamp| *at >= held_up.up_since;
    let asked_at =
        polling.filter(|polling| polling.open).and_then(|polling| polling.sent_at).filter(is_awaited);
    // What runs out is judged behind an answer that is awaited.
    let answered_by = asked_at.map(|at| at + limits::POLL_TIMEOUT);
    let over_at = of_attempt.map(|at| answered_by.map_or(at, |by| at.max(by)));
    let until = over_at.into_iter().chain(deadline).min();
    if let Some(at) = asked_at.filter(|at| of_attempt.is_some_and(|judged_at| judged_at <= *at)) {
        let text =
            format!("the last word of its remote, asked at {} about attempt {number}", at.time_of_day());
        return (with_end(text, until, deadline_end), until);
    }
    if let (Some(rest), Some(_)) = (held_up.rest(), polling) {
        // A deadline waits for no last word.
        let late = deadline_end.into_iter().chain(attempt_end).find(End::is_put_off);
        let why = match (late, attempt_end.filter(|end| end.at <= held_up.now)) {
            (Some(end), _) => ran_out(end),
            (None, Some(end)) => {
                let (what, at) = (what_runs_out(end.kind), end.at.time_of_day());
                format!(": {what} ran out at {at}, and its remote is asked first")
            }
            (None, None) => ": before its time is over, its remote is asked".into(),
        };
        return (with_end(format!("{webhook}, or {rest}"), deadline, deadline_end) + &why, deadline);
    }
    if over_at.is_some_and(|at| at <= held_up.now) && polling.is_some() {
        let text = format!("a free exchange with its remote, for the last question about attempt {number}");
        return (with_end(text, deadline, deadline_end), deadline);
    }
    // Of two at one instant the deadline is judged first, and waits for no word.
    let is_by_deadline = deadline.is_some() && until == deadline;
    let ending = if is_by_deadline { deadline_end } else { attempt_end };
    // Its time is over before the answer that is awaited has to be there.
    let awaited_since =
        asked_at.filter(|_| ending.is_some_and(|end| !end.is_put_off() && until > Some(end.judged_at)));
    let webhook = match ending.map(|end| end.kind) {
        Some(Kind::Heartbeat) => format!("{webhook}, or a sign of life of its worker"),
        Some(Kind::Timeout | Kind::Deadline) | None => webhook,
    };
    let last_word = match polling {
        Some(_) if until.is_some() && !is_by_deadline => ", and then the last word of its remote",
        _ => "",
    };
    let why = ending.map_or_else(String::new, |end| {
        let runs = if end.at <= held_up.now { "ran" } else { "runs" };
        match awaited_since {
            _ if end.is_put_off() => ran_out(end),
            Some(since) => format!(
                ": {} {runs} out at {}, but its remote was asked at {} and may still answer",
                what_runs_out(end.kind),
                end.at.time_of_day(),
                since.time_of_day()
            ),
            None => String::new(),
        }
    });
    let asked = match (asked_at, polling.and_then(|polling| polling.next_at)) {
        (Some(_), _) if awaited_since.is_some() => String::new(),
        (Some(at), _) => format!("; its remote was asked at {}, and has not answered yet", at.time_of_day()),
        (None, Some(at)) if at <= held_up.now => {
            "; its remote is asked as soon as an exchange is free".into()
        }
        (None, Some(at)) if until.is_none_or(|until| at < until) => {
            format!("; its remote is asked at {}", at.time_of_day())
        }
        (None, _) => String::new(),
    };
    (with_end(webhook, until, deadline_end) + last_word + &why + &asked, until)
}

fn ran_out(end: End) -> String {
    let (what, at) = (what_runs_out(end.kind), end.at.time_of_day());
    format!(": {what} ran out at {at}, before the server's last start")
}

fn what_runs_out(kind: Kind) -> &'static str {
    match kind {
        Kind::Timeout => "its time",
        Kind::Heartbeat => "its heartbeat",
        Kind::Deadline => "its deadline",
    }
}

/// Of all that holds up a task that is due, what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Held(Timestamp),
    Full(Timestamp),
    Paused,
    Breaker(Timestamp),
    KeyRate(Timestamp),
    KeyLimit(u32),
    Concurrency(u32),
    Rate(Timestamp),
    Capacity,
}

impl HeldUp {
    /// What the server waits for that sends nothing.
    fn rest(&self) -> Option<String> {
        let full = self.full.map(|since| Obstacle::Full(since).text("", 0));
        self.held.map(to_be_resumed).or(full)
    }

    fn obstacle(&self) -> Obstacle {
        if let Some(since) = self.held {
            return Obstacle::Held(since);
        }
        if let Some(since) = self.full {
            return Obstacle::Full(since);
        }
        if self.shut == Some(Shut::Paused) {
            return Obstacle::Paused;
        }
        if let Some(at) = self.breaker.filter(|at| *at > self.now) {
            return Obstacle::Breaker(at);
        }
        match (&self.key, self.shut) {
            (Some((Closed::KeyRate(at), _)), _) => Obstacle::KeyRate(*at),
            (Some((_, limit)), _) => Obstacle::KeyLimit(*limit),
            (None, Some(Shut::Concurrency(limit))) => Obstacle::Concurrency(limit),
            (None, Some(Shut::Rate(at))) => Obstacle::Rate(at),
            (None, _) => Obstacle::Capacity,
        }
    }
}

impl Obstacle {
    fn code(self) -> &'static str {
        match self {
            Obstacle::Held(_) => "held",
            Obstacle::Full(_) => "disk_full",
            Obstacle::Paused => "paused",
            Obstacle::Breaker(_) => "breaker",
            Obstacle::KeyRate(_) | Obstacle::KeyLimit(_) => "key_limit",
            Obstacle::Concurrency(_) => "concurrency",
            Obstacle::Rate(_) => "rate",
            Obstacle::Capacity => "capacity",
        }
    }

    fn until(self) -> Option<Timestamp> {
        match self {
            Obstacle::Breaker(at) | Obstacle::KeyRate(at) | Obstacle::Rate(at) => Some(at),
            _ => None,
        }
    }

    /// The sentence, for a task of `queue` whose attempt `next` has not begun.
    fn text(self, queue: &str, next: u32) -> String {
        match self {
            Obstacle::Held(since) => to_be_resumed(since),
            Obstacle::Full(since) => format!("room on the disk of the server, which is full since {since}"),
            Obstacle::Paused => format!("queue {queue} to be resumed"),
            Obstacle::Breaker(at) => format!(
                "its target to answer again: {} attempts in a row failed, and the next one begins at {}",
                limits::BREAKER_FAILURES,
                at.time_of_day()
            ),
            Obstacle::KeyRate(at) => {
                format!("the rate of its key in queue {queue}, until {}", at.time_of_day())
            }
            Obstacle::KeyLimit(limit) => {
                let others = if limit == 1 { "an attempt" } else { "one of the attempts" };
                format!("the end of {others} with its key in queue {queue}, of which {limit} may be open")
            }
            Obstacle::Concurrency(limit) => {
                let attempts = if limit == 1 { "one attempt".into() } else { format!("{limit} attempts") };
                format!("a place in queue {queue}, where {attempts} may be open")
            }
            Obstacle::Rate(at) => format!("the rate of queue {queue}, until {}", at.time_of_day()),
            Obstacle::Capacity => format!("a free exchange with its target, for attempt {next}"),
        }
    }
}

/// The code alone of what a task in this state waits for, for whoever counts many. `retries`: where it is scheduled,
/// it is for another attempt; `held_up` is about one that is queued.
#[must_use]
pub fn code_of(state: State, retries: bool, held_up: &HeldUp) -> Option<&'static str> {
    match state {
        State::Blocked => Some("dependency"),
        State::Scheduled if retries => Some("retry"),
        State::Scheduled => Some("time"),
        State::Queued => Some(held_up.obstacle().code()),
        State::Dispatching => Some("response"),
        State::Running => Some("callback"),
        State::Succeeded | State::Failed | State::Cancelled | State::Skipped => None,
    }
}

fn to_be_resumed(since: Timestamp) -> String {
    format!("the server to be resumed, which is held since {since}")
}

fn dependencies(task: &Task, first: Option<&str>) -> String {
    let others = task.dependencies_pending.saturating_sub(1);
    let first = first.map_or_else(|| "another task".into(), |name| format!("task {name}"));
    match others {
        0 => format!("the end of {first}"),
        1 => format!("the end of {first} and of one other task"),
        _ => format!("the end of {first} and of {others} other tasks"),
    }
}

/// The text, and until when, with a word where that is the deadline. Of one that passed before the server's last start, its
/// time is said elsewhere.
fn with_end(text: String, until: Option<Timestamp>, end: Option<End>) -> String {
    let is_deadline =
        end.is_some_and(|end| end.kind == Kind::Deadline && !end.is_put_off() && until == Some(end.at));
    let deadline = if is_deadline { ", its deadline" } else { "" };
    match until {
        Some(until) => format!("{text}, until {}{deadline}", until.time_of_day()),
        None => text,
    }
}
