//! Whether what is there keeps what was promised. Everything here is pure: what was promised and what was read
//! come in, what is wrong comes out in sentences.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::binary::crash::ledger::{Event, Promised, Seen, Sent, text};

/// Sends of one attempt beyond the first.
const RESENDS_MAX: usize = 3;

/// What is wrong with a task as it is read now, in a server that has promised this. `None` is a task that is
/// not there.
pub(crate) fn task(id: &str, promised: &Promised, now: Option<&Value>) -> Option<String> {
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
pub(crate) fn is_end(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled" | "skipped")
}

/// What is wrong with a webhook as it is kept now. `None` is one that is not there.
pub(crate) fn event(id: &str, answered: &Event, now: Option<&Value>) -> Option<String> {
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
pub(crate) fn repeat(delivery: &str, event: &str, answer: &Value) -> Option<String> {
    let same = answer["outcome"] == "duplicate" && answer["event_id"] == event;
    (!same).then(|| format!("the delivery {delivery} was kept as {event} and is answered {answer}"))
}

/// What is wrong with the requests that the worker got.
pub(crate) fn calls(calls: &[Sent]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut attempts: BTreeMap<(&str, u64), (&Sent, usize)> = BTreeMap::new();
    let mut attempt_ids: BTreeMap<&str, &Sent> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, &Sent> = BTreeMap::new();
    let mut keys: BTreeMap<&str, &Sent> = BTreeMap::new();
    for call in calls {
        let (first, count) = attempts.entry((&call.task, call.attempt)).or_insert((call, 0));
        *count += 1;
        if *first != call {
            wrong.push(format!("one attempt was sent as {first:?} and as {call:?}"));
        }
        if *count == RESENDS_MAX + 2 {
            wrong.push(format!("the attempt of {call:?} was sent more than {} times", RESENDS_MAX + 1));
        }
        let first = attempt_ids.entry(&call.webhook_id).or_insert(call);
        if (&first.task, first.attempt) != (&call.task, call.attempt) {
            wrong.push(format!("one webhook-id was sent with {first:?} and with {call:?}"));
        }
        let first = tasks.entry(&call.task).or_insert(call);
        if first.idempotency_key != call.idempotency_key {
            wrong.push(format!("one task was sent as {first:?} and as {call:?}"));
        }
        let first = keys.entry(&call.idempotency_key).or_insert(call);
        if first.task != call.task {
            wrong.push(format!("one idempotency-key was sent with {first:?} and with {call:?}"));
        }
    }
    wrong
}

/// What is wrong with a task that should have ended by now, and with its history, when the worker saw
/// these sends of its attempts.
pub(crate) fn end(
    promised: &Promised,
    now: &Value,
    history: &[Value],
    sends: &BTreeMap<u64, u64>,
) -> Vec<String> {
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

/// What is wrong between tasks and those they wait for. `begun` gives when a task was first dispatched.
pub(crate) fn dependencies(tasks: &BTreeMap<String, Value>, begun: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, task) in tasks {
        let after = task["after"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parents = after.iter().map(|edge| (tasks.get(&text(&edge["task"])), text(&edge["on"])));
        let parents: Vec<_> = parents.filter_map(|(parent, on)| Some((parent?, on))).collect();
        let unmet = parents.iter().find(|(parent, on)| !allows(on, &text(&parent["state"])));
        match (task["state"].as_str(), unmet) {
            (Some("cancelled"), _) => {}
            (Some("skipped"), None) => wrong.push(format!("{id} was skipped for no reason: {task}")),
            // An external task takes its end from whoever reports it, whatever it waits for.
            (Some(state), Some((parent, _))) if state != "skipped" && !task["url"].is_null() => {
                wrong.push(format!("{id} is {state} although {parent} ended so: {task}"));
            }
            _ => {}
        }
        let Some(begun) = begun.get(id) else { continue };
        // Times of this form are ordered as their texts.
        for (parent, _) in parents.iter().filter(|(parent, _)| text(&parent["ended_at"]) > *begun) {
            wrong.push(format!("{id} was dispatched at {begun}, before {parent} had ended"));
        }
    }
    wrong
}

/// What is wrong with the list of all tasks, when everything that was asked for was answered in the end.
pub(crate) fn census(answered: &BTreeSet<String>, listed: &[String]) -> Vec<String> {
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
pub(crate) fn replays(answered: &BTreeMap<String, String>, listed: &[Value]) -> Vec<String> {
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
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(state: &str, attempt: Option<u64>) -> Promised {
        Promised { seen: vec![Seen { state: state.into(), attempt, result: None }], ..Promised::default() }
    }

    #[test]
    fn a_forged_task_is_found() {
        let now =
            |state: &str, attempt: u64| json!({"id": "t", "state": state, "attempt": attempt, "result": 1});
        let check = |promised: &Promised, now: Value| task("t", promised, Some(&now));
        assert!(task("t", &seen("queued", Some(0)), None).unwrap().contains("is lost"));
        for (then, attempt, later, attempt_later) in [
            ("succeeded", Some(1), "running", 1),
            ("succeeded", None, "failed", 1),
            ("succeeded", Some(1), "succeeded", 2),
            ("running", None, "blocked", 0),
            ("running", Some(1), "skipped", 1),
            ("running", Some(2), "queued", 1),
            ("running", Some(1), "dispatching", 1),
            ("queued", Some(1), "running", 1),
        ] {
            let found = check(&seen(then, attempt), now(later, attempt_later));
            assert!(found.is_some(), "{then} {attempt:?} to {later} {attempt_later}");
        }
        let mut promised = seen("succeeded", None);
        promised.seen[0].result = Some(json!(2));
        assert!(check(&promised, now("succeeded", 1)).is_some());
        for (then, attempt, later, attempt_later) in [
            ("blocked", Some(0), "skipped", 0),
            ("queued", Some(0), "running", 1),
            ("running", Some(1), "scheduled", 1),
            ("running", None, "queued", 4),
            ("dispatching", Some(3), "succeeded", 3),
            ("cancelled", Some(1), "cancelled", 1),
        ] {
            assert_eq!(check(&seen(then, attempt), now(later, attempt_later)), None);
        }
    }

    #[test]
    fn a_forged_webhook_is_found() {
        let kept = |outcome: &str| json!({"outcome": outcome, "delivery_id": "d", "body": "{}"});
        let answered = |outcome: &str| Event {
            outcome: Some(outcome.into()),
            delivery: Some("d".into()),
            body: "{}".into(),
        };
        assert_eq!(event("e", &answered("applied"), Some(&kept("applied"))), None);
        assert_eq!(event("e", &answered("unmatched"), Some(&kept("applied"))), None);
        assert_eq!(event("e", &Event { outcome: None, ..answered("") }, Some(&kept("applied"))), None);
        assert!(event("e", &answered("applied"), None).unwrap().contains("is lost"));
        assert!(event("e", &answered("applied"), Some(&kept("ignored"))).is_some());
        assert!(
            event("e", &Event { body: "{1}".into(), ..answered("applied") }, Some(&kept("applied")))
                .is_some()
        );
        assert!(
            event("e", &Event { delivery: None, ..answered("applied") }, Some(&kept("applied"))).is_some()
        );

        assert_eq!(repeat("d", "e", &json!({"outcome": "duplicate", "event_id": "e"})), None);
        assert!(repeat("d", "e", &json!({"outcome": "applied", "event_id": "e"})).is_some());
        assert!(repeat("d", "e", &json!({"outcome": "duplicate", "event_id": "f"})).is_some());
    }

    #[test]
    fn a_forged_call_is_found() {
        let sent = |task: &str, attempt: u64, id: &str| Sent {
            task: task.into(),
            attempt,
            webhook_id: id.into(),
            idempotency_key: format!("key of {task}"),
            callback_url: format!("callback of {id}"),
        };
        let one = sent("a", 1, "x");
        assert_eq!(calls(&[one.clone(), sent("a", 2, "y"), sent("b", 1, "z"), one.clone()]), [""; 0]);
        let found = |list: &[Sent], words: &str| {
            let found = calls(list);
            assert!(found.iter().any(|sentence| sentence.contains(words)), "{words} is not in {found:?}");
        };
        found(&vec![one.clone(); 5], "more than 4 times");
        found(&[one.clone(), sent("a", 1, "y")], "one attempt");
        found(&[one.clone(), sent("a", 2, "x")], "one webhook-id");
        found(&[one.clone(), sent("b", 1, "x")], "one webhook-id");
        found(&[one.clone(), Sent { idempotency_key: "other".into(), ..sent("a", 2, "y") }], "one task");
        found(
            &[one.clone(), Sent { idempotency_key: one.idempotency_key, ..sent("b", 1, "y") }],
            "one idempotency-key",
        );
    }

    #[test]
    fn a_forged_end_is_found() {
        let entry = |change: &str, attempt: u64| json!({"change": change, "attempt": attempt});
        let history =
            [entry("created", 0), entry("dispatched", 1), entry("resent", 1), entry("succeeded", 1)];
        let done = json!({"id": "t", "state": "succeeded"});
        let check = |now: &Value, history: &[Value], seen: u64| {
            end(&seen_parked(), now, history, &BTreeMap::from([(1, seen)]))
        };
        assert_eq!(check(&done, &history, 2), [""; 0]);
        assert!(check(&done, &history, 3)[0].contains("decided [1, 1] times"));
        assert!(check(&done, &history[..3], 2)[0].contains("ended once"));
        assert!(check(&done, &[&history[..], &[entry("failed", 1)]].concat(), 2)[0].contains("ended once"));
        assert!(check(&done, &[&history[..], &[entry("dispatched", 3)]].concat(), 2)[0].contains("[1, 3]"));
        assert!(check(&json!({"id": "t", "state": "running"}), &history, 2)[0].contains("has not ended"));
        assert!(
            check(&json!({"id": "t", "state": "failed"}), &history, 2)[0].contains("before it was created")
        );
    }

    fn seen_parked() -> Promised {
        Promised { parked: true, ..seen("running", None) }
    }

    #[test]
    fn a_forged_list_is_found() {
        let ids = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let check = |listed: &str| census(&ids("a b c").into_iter().collect(), &ids(listed)).len();
        assert_eq!(check("c a b"), 0);
        assert_eq!(check("a b"), 1);
        assert_eq!(check("a b c d"), 1);
        assert_eq!(check("a b c a"), 1);
    }

    #[test]
    fn a_forged_replay_is_found() {
        let listed = |ids: &[&str]| -> Vec<Value> {
            ids.iter().map(|id| json!({"id": id, "replay_of": "original"})).collect()
        };
        let answered = BTreeMap::from([("original".into(), "replay".into())]);
        assert_eq!(replays(&answered, &listed(&["replay"])), [""; 0]);
        for wrong in [&[][..], &["other"], &["replay", "other"]] {
            assert_eq!(replays(&answered, &listed(wrong)).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn a_forged_dependency_is_found() {
        let parent = |state: &str| json!({"state": state, "ended_at": "2026-01-01T00:00:02.000Z"});
        let after = |on: &str| json!([{"task": "p", "on": on}]);
        let child = |state: &str, on: &str| json!({"state": state, "url": "http://w", "after": after(on)});
        let check = |end: &str, state: &str, on: &str, begun: &str| {
            let tasks = BTreeMap::from([("p".into(), parent(end)), ("c".into(), child(state, on))]);
            dependencies(&tasks, &BTreeMap::from([("c".into(), begun.into())])).len()
        };
        let (early, late) = ("2026-01-01T00:00:01.999Z", "2026-01-01T00:00:02.000Z");
        assert_eq!(check("succeeded", "succeeded", "succeeded", late), 0);
        assert_eq!(check("failed", "skipped", "succeeded", late), 0);
        assert_eq!(check("failed", "cancelled", "succeeded", late), 0);
        assert_eq!(check("cancelled", "failed", "finished", late), 0);
        assert_eq!(check("succeeded", "succeeded", "succeeded", early), 1);
        assert_eq!(check("failed", "succeeded", "succeeded", late), 1);
        assert_eq!(check("running", "succeeded", "finished", late), 1);
        assert_eq!(check("succeeded", "skipped", "succeeded", late), 1);
    }
}
