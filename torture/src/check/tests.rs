//! What is wrong is found: each kind of contradiction between what was promised and what is there.

use serde_json::json;

use super::*;

fn seen(state: &str, attempt: Option<u64>) -> Promised {
    Promised { seen: vec![Seen { state: state.into(), attempt, result: None }], ..Promised::default() }
}

#[test]
fn a_forged_task_is_found() {
    let now = |state: &str, attempt: u64| json!({"id": "t", "state": state, "attempt": attempt, "result": 1});
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
        event("e", &Event { body: "{1}".into(), ..answered("applied") }, Some(&kept("applied"))).is_some()
    );
    assert!(event("e", &Event { delivery: None, ..answered("applied") }, Some(&kept("applied"))).is_some());

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
        is_copy: false,
    };
    let one = sent("a", 1, "x");
    assert_eq!(calls(&[one.clone(), sent("a", 2, "y"), sent("b", 1, "z"), one.clone()]), []);
    let found = |list: &[Sent], words: &str| {
        let found = calls(list);
        assert!(found.iter().any(|wrong| wrong.what.contains(words)), "{words} is not in {found:?}");
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
    let history = [entry("created", 0), entry("dispatched", 1), entry("resent", 1), entry("succeeded", 1)];
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
    assert!(check(&json!({"id": "t", "state": "failed"}), &history, 2)[0].contains("before it was created"));
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

#[test]
fn a_copy_that_the_proxy_made_is_not_taskhook_s() {
    let one = Sent {
        task: "a".into(),
        attempt: 1,
        webhook_id: "x".into(),
        idempotency_key: "k".into(),
        callback_url: "c".into(),
        is_copy: false,
    };
    let copy = Sent { is_copy: true, ..one.clone() };
    assert_eq!(calls(&[vec![one; 4], vec![copy; 4]].concat()), []);
}

#[test]
fn a_defect_is_found_in_the_log() {
    let stopping = "WARN attempts without a response are sent again at the next start unsent=0 open=1";
    let full = "ERROR the disk is full";
    assert!(!is_defect("INFO taskhook listens on http://127.0.0.1:1", true));
    assert_eq!([true, false].map(|steady| is_defect(stopping, steady)), [false, false]);
    assert_eq!([true, false].map(|steady| is_defect(full, steady)), [true, false]);
    for line in ["thread 'writer' panicked at", "ERROR a decision failed: its input is quarantined defect=x"]
    {
        assert_eq!([true, false].map(|steady| is_defect(line, steady)), [true, true]);
    }
}

#[test]
fn an_attempt_that_was_sent_again_is_found() {
    let check =
        |times: u64| sent_again(&BTreeMap::from([("t".into(), BTreeMap::from([(1, 1), (2, times)]))]));
    assert_eq!(check(1), []);
    assert!(check(2)[0].what.contains("attempt 2 of t was sent 2 times"));
}

#[test]
fn a_forged_truth_is_found() {
    assert_eq!(truth("t", "failed", &json!({"state": "failed"})), None);
    assert!(truth("t", "failed", &json!({"state": "succeeded"})).unwrap().contains("as failed"));
}

#[test]
fn an_attempt_too_many_is_found() {
    let entry = |change: &str, at: &str| json!({"change": change, "at": format!("2026-01-01T00:00:{at}Z")});
    let whole =
        |from: &str, to: &str| vec![entry("dispatched", from), entry("resent", to), entry("succeeded", to)];
    let check = |concurrency: usize, per_second: usize, stories: &[Vec<Value>]| {
        let names = (0..).map(|number: u32| number.to_string());
        limits(Limits { concurrency, per_second }, &names.zip(stories.iter().cloned()).collect()).len()
    };
    let one_by_one = [whole("01.000", "02.500"), whole("02.500", "03.000"), whole("03.7", "04.000")];
    assert_eq!(check(1, 9, &one_by_one), 0);
    assert_eq!(check(1, 9, &[whole("01.000", "02.501"), whole("02.500", "03.000")]), 1);
    assert_eq!(check(2, 9, &[whole("01.000", "02.501"), whole("02.500", "03.000")]), 0);
    // One of no length leaves nothing behind.
    assert_eq!(check(1, 9, &[whole("01.000", "01.000"), whole("02.500", "03.000")]), 0);
    // What is never ended holds its place.
    assert_eq!(check(1, 9, &[vec![entry("dispatched", "01.000")], whole("30.000", "31.000")]), 1);
    let again =
        vec![entry("dispatched", "01.000"), entry("attempt_failed", "01.100"), entry("dispatched", "01.200")];
    assert_eq!((check(1, 2, std::slice::from_ref(&again)), check(1, 1, &[again])), (0, 1));
    assert_eq!(check(1, 1, &one_by_one), 0);
}
