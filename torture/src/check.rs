//! Whether what is there keeps what was promised. Everything here is pure: what was promised and what was read
//! come in, what is wrong comes out in sentences.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::http::Sent;
use crate::ledger::{Event, Promised, Seen, Wrong, text};

/// How often one attempt may be sent.
pub const SENDS_MAX: usize = 4;

/// What is wrong with a task as it is read now, in a server that has promised this. `None` is a task that is
/// not there.
pub fn task(id: &str, promised: &Promised, now: Option<&Value>) -> Option<String> {
    let Some(now) = now else { return Some(format!("the task {id} is lost: {promised:?}")) };
    let broken = promised.seen.iter().find(|seen| !may_become(seen, now))?;
    Some(format!("the task {id} was {broken:?} and is {now}"))
}

/// Whether a task that was seen so may be like this later.
fn may_become(then: &Seen, now: &Value) -> bool {
    let now_state = text(&now["state"]);
    if is_end(&then.state) {
        // G5: a terminal state never changes by itself.
        let same_result = then.result.as_ref().is_none_or(|result| *result == now["result"]);
        let same_attempt = then.attempt.is_none_or(|attempt| now["attempt"] == attempt);
        return now_state == then.state && same_result && same_attempt;
    }
    if (now_state == "skipped" || now_state == "blocked") && then.state != "blocked" {
        return false;
    }
    let (Some(before), Some(attempt)) = (then.attempt, now["attempt"].as_u64()) else { return true };
    (before, phase(&then.state)) <= (attempt, phase(&now_state))
}

/// The order in which a task goes through the states that it can have while it has one number of attempts.
fn phase(state: &str) -> u8 {
    match state {
        "blocked" => 0,
        "dispatching" => 1,
        "running" => 2,
        "scheduled" => 3,
        "queued" => 4,
        _ => 5,
    }
}

/// Whether a state is terminal.
pub fn is_end(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled" | "skipped")
}

/// What is wrong with a webhook as it is kept now. `None` is one that is not there.
pub fn event(id: &str, answered: &Event, now: Option<&Value>) -> Option<String> {
    let Some(now) = now else { return Some(format!("the webhook {id} is lost: {answered:?}")) };
    let outcome = now["outcome"].as_str();
    let same = match answered.outcome.as_deref() {
        // One that came before its task has its outcome when the task comes; of the other nothing was said.
        Some("unmatched") | None => outcome.is_some_and(|outcome| outcome != "duplicate"),
        told => outcome == told,
    };
    let delivery = answered.delivery.as_deref();
    let kept = same && now["body"] == answered.body.as_str() && now["delivery_id"].as_str() == delivery;
    (!kept).then(|| format!("the webhook {id} was {answered:?} and is {now}"))
}

/// What is wrong with the answer to a delivery that had been answered before.
pub fn repeat(delivery: &str, event: &str, answer: &Value) -> Option<String> {
    let same = answer["outcome"] == "duplicate" && answer["event_id"] == event;
    (!same).then(|| format!("the delivery {delivery} was kept as {event} and is answered {answer}"))
}

/// Whether a line of its log says that something is wrong with the server itself. Where everything around it is `steady` it has
/// nothing to warn of.
#[must_use]
pub fn is_defect(line: &str, steady: bool) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    // Of what it was about to send when it was told to stop, some is left: that is in order.
    has(&["panicked", "defect"]) || steady && has(&["ERROR", "WARN"]) && !has(&["at the next start"])
}

/// What is wrong where nothing but orderly ends has come between a server and remotes that answer at once: what it had begun
/// had time to end, and nothing was to be sent again.
#[must_use]
pub fn sent_again(sends: &BTreeMap<String, BTreeMap<u64, u64>>) -> Vec<Wrong> {
    let attempts = sends.iter().flat_map(|(id, sends)| sends.iter().map(move |send| (id, send)));
    let again = attempts.filter(|(_, (_, times))| **times > 1);
    again
        .map(|(id, (attempt, times))| Wrong {
            task: Some(id.clone()),
            what: format!("attempt {attempt} of {id} was sent {times} times, though every end was orderly"),
        })
        .collect()
}

/// What is wrong with the requests that Taskhook has sent to the remote.
#[must_use]
pub fn calls<'a>(calls: impl IntoIterator<Item = &'a Sent>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut attempts: BTreeMap<(&str, u64), (&Sent, usize)> = BTreeMap::new();
    let mut attempt_ids: BTreeMap<&str, &Sent> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, &Sent> = BTreeMap::new();
    let mut keys: BTreeMap<&str, &Sent> = BTreeMap::new();
    for call in calls.into_iter().filter(|call| !call.is_copy) {
        let mut say = |what| wrong.push(Wrong { task: Some(call.task.clone()), what });
        let (first, count) = attempts.entry((&call.task, call.attempt)).or_insert((call, 0));
        *count += 1;
        if *first != call {
            say(format!("one attempt was sent as {first:?} and as {call:?}"));
        }
        if *count == SENDS_MAX + 1 {
            say(format!("the attempt of {call:?} was sent more than {SENDS_MAX} times"));
        }
        let first = attempt_ids.entry(&call.webhook_id).or_insert(call);
        if (&first.task, first.attempt) != (&call.task, call.attempt) {
            say(format!("one webhook-id was sent with {first:?} and with {call:?}"));
        }
        let first = tasks.entry(&call.task).or_insert(call);
        if first.idempotency_key != call.idempotency_key {
            say(format!("one task was sent as {first:?} and as {call:?}"));
        }
        let first = keys.entry(&call.idempotency_key).or_insert(call);
        if first.task != call.task {
            say(format!("one idempotency-key was sent with {first:?} and with {call:?}"));
        }
    }
    wrong
}

/// What is wrong with a task that should have ended by now, and with its history, when the worker saw
/// these sends of its attempts.
pub fn end(promised: &Promised, now: &Value, history: &[Value], sends: &BTreeMap<u64, u64>) -> Vec<String> {
    let id = text(&now["id"]);
    let mut wrong = Vec::new();
    if !is_end(&text(&now["state"])) {
        wrong.push(format!("the task {id} has not ended: {now}"));
    }
    if promised.parked && now["state"] != "succeeded" {
        wrong.push(format!("the task {id} was completed before it was created, and is {now}"));
    }
    let count = |change: &str| history.iter().filter(|entry| entry["change"] == change).count();
    let ends = ["succeeded", "failed", "cancelled", "skipped"].map(count).iter().sum::<usize>();
    if count("created") != 1 || ends != 1 {
        wrong.push(format!("the task {id} was not created once and ended once: {history:?}"));
    }
    let numbers = |change: &str| -> Vec<u64> {
        history
            .iter()
            .filter(|entry| entry["change"] == change)
            .filter_map(|entry| entry["attempt"].as_u64())
            .collect()
    };
    let (dispatched, resent) = (numbers("dispatched"), numbers("resent"));
    if !dispatched.iter().copied().eq(1..=dispatched.len() as u64) {
        wrong.push(format!("the attempts of {id} have the numbers {dispatched:?}"));
    }
    for (attempt, seen) in sends {
        let decided =
            [&dispatched, &resent].map(|list| list.iter().filter(|number| *number == attempt).count());
        // Nothing leaves before the commit that says so.
        if *seen > decided.iter().sum::<usize>() as u64 {
            wrong.push(format!(
                "attempt {attempt} of {id} was seen {seen} times, and decided {decided:?} times"
            ));
        }
    }
    wrong
}

/// What is wrong with the end of a task whose remote says only when it is asked how it has ended it.
#[must_use]
pub fn truth(id: &str, truth: &str, now: &Value) -> Option<String> {
    (now["state"] != truth).then(|| format!("the remote has ended {id} as {truth}, and it is {now}"))
}

/// What a queue lets happen.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts that may be open at the same time.
    pub concurrency: usize,
    /// Attempts that may begin in any second.
    pub per_second: usize,
}

/// What is wrong with the attempts of one queue, by the histories of its tasks: with how many are open at the same time,
/// and how many begin in a second. Times are in milliseconds; an attempt that ends in the millisecond in which another
/// begins has made room for it.
#[must_use]
pub fn limits(limits: Limits, histories: &BTreeMap<String, Vec<Value>>) -> Vec<Wrong> {
    let mut moments: Vec<(i64, bool, &str)> = Vec::new();
    let mut begun: Vec<(i64, &str)> = Vec::new();
    for (id, history) in histories {
        let mut open_since = None;
        for entry in history {
            let Some(at) = millis(&text(&entry["at"])) else { continue };
            match entry["change"].as_str() {
                Some("dispatched") => {
                    // One before it that has no end holds its place.
                    moments.extend(open_since.replace(at).map(|since| (since, true, id.as_str())));
                    begun.push((at, id));
                }
                Some("attempt_failed" | "succeeded" | "failed" | "cancelled" | "skipped") => {
                    // One that begins and ends in the same millisecond is open beside nobody for certain.
                    if let Some(since) = open_since.take().filter(|since| *since < at) {
                        moments.extend([(since, true, id.as_str()), (at, false, id.as_str())]);
                    }
                }
                _ => {}
            }
        }
        moments.extend(open_since.map(|since| (since, true, id.as_str())));
    }
    moments.sort_unstable();
    begun.sort_unstable();
    let mut wrong = Vec::new();
    let mut say = |id: &str, what| wrong.push(Wrong { task: Some(id.into()), what });
    let mut open = 0_usize;
    for (_, begins, id) in moments {
        open = if begins { open + 1 } else { open - 1 };
        if begins && open > limits.concurrency {
            say(id, format!("with {id} {open} attempts are open, and {} may be", limits.concurrency));
        }
    }
    for (before, (at, id)) in begun.iter().zip(begun.iter().skip(limits.per_second)) {
        // Both ends of the window are cut to milliseconds.
        if at - before.0 < 999 {
            say(id, format!("with {id} more than {} attempts begin in a second", limits.per_second));
        }
    }
    wrong
}

/// The milliseconds of a day at which `2026-01-01T12:30:00.250Z` is, and of days of a month before: enough to compare
/// what is no month apart.
fn millis(at: &str) -> Option<i64> {
    let part = |from: usize, to: usize| at.get(from..to)?.parse::<i64>().ok();
    let (day, hour, minute, second) = (part(8, 10)?, part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let digits: String = at.get(20..).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let thousandths = format!("{digits:0<3}").get(..3)?.parse::<i64>().ok()?;
    Some((((day * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + thousandths)
}

/// What is wrong between tasks and those they wait for. `begun` gives when a task was first dispatched.
#[must_use]
pub fn dependencies(tasks: &BTreeMap<String, Value>, begun: &BTreeMap<String, String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (id, task) in tasks {
        let mut say = |what| wrong.push(Wrong { task: Some(id.clone()), what });
        let after = task["after"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parents = after.iter().map(|edge| (tasks.get(&text(&edge["task"])), text(&edge["on"])));
        let parents: Vec<_> = parents.filter_map(|(parent, on)| Some((parent?, on))).collect();
        let unmet = parents.iter().find(|(parent, on)| !allows(on, &text(&parent["state"])));
        match (task["state"].as_str(), unmet) {
            (Some("cancelled"), _) => {}
            (Some("skipped"), None) => say(format!("{id} was skipped for no reason: {task}")),
            // An external task takes its end from whoever reports it, whatever it waits for.
            (Some(state), Some((parent, _))) if state != "skipped" && !task["url"].is_null() => {
                say(format!("{id} is {state} although {parent} ended so: {task}"));
            }
            _ => {}
        }
        let Some(begun) = begun.get(id) else { continue };
        // Times of this form are ordered as their texts.
        for (parent, _) in parents.iter().filter(|(parent, _)| text(&parent["ended_at"]) > *begun) {
            say(format!("{id} was dispatched at {begun}, before {parent} had ended"));
        }
    }
    wrong
}

/// What is wrong with the list of all tasks, when everything that was asked for was answered in the end.
pub fn census(answered: &BTreeSet<String>, listed: &[String]) -> Vec<String> {
    let mut left = answered.clone();
    let nobodys = |id: &&String| !left.remove(*id);
    let mut wrong: Vec<String> = listed
        .iter()
        .filter(nobodys)
        .map(|id| format!("the task {id} is listed, but nobody was told of it, or twice"))
        .collect();
    wrong.extend(left.iter().map(|id| format!("the task {id} is not listed")));
    wrong
}

/// What is wrong with the list of all webhooks: of each that was to be taken in once more there is one replay.
pub fn replays(answered: &BTreeMap<String, String>, listed: &[Value]) -> Vec<String> {
    let of = |original: &str| -> Vec<String> {
        let replays = listed.iter().filter(|event| event["replay_of"] == original);
        replays.map(|event| text(&event["id"])).collect()
    };
    let wrong = answered.iter().filter(|(original, replay)| of(original) != [replay.as_str()]);
    wrong
        .map(|(original, replay)| format!("{original} became {replay}, and is listed as {:?}", of(original)))
        .collect()
}

fn allows(on: &str, end: &str) -> bool {
    match on {
        "finished" => is_end(end),
        "not_failed" => matches!(end, "succeeded" | "skipped"),
        _ => on == end,
    }
}

#[cfg(test)]
mod tests;
