//! Queues with the real binary: limits hold at every moment as the target sees them, whoever comes first and whenever
//! the server is killed; nobody starves; a rate is kept; a host that is out of order is left alone.

mod counter;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskhook_core::limits::{BREAKER_FAILURES, RESENDS_MAX};
use tokio::net::TcpSocket;

use crate::binary::process::RealServer;
use crate::support::{Api, Worker, task_for, with};
use counter::Counter;

/// Makes the queue `work`.
async fn define(server: &Api, settings: Value) {
    let headers = [("content-type", "application/json")];
    server.send("PUT", "/v1/queues/work", &headers, settings.to_string()).await.expect(201);
}

/// Checks the counts of the queue `work`, all of whose tasks have succeeded.
async fn all_have_succeeded(server: &Api, ids: impl Iterator<Item = String>) {
    let mut count = 0;
    for id in ids {
        assert_eq!(server.end_of(&id).await["state"], "succeeded", "{id}");
        count += 1;
    }
    let queue = server.get("/v1/queues/work").await.expect(200);
    assert_eq!((&queue["open"], &queue["states"]), (&json!(0), &json!({"succeeded": count})), "{queue}");
    assert_eq!(queue["waiting_for"], json!({}), "{queue}");
}

fn ids(key: &'static str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{key}-{number}"))
}

#[tokio::test]
async fn a_flood_of_one_key_delays_no_other_beyond_its_turn() {
    for (concurrency, per_key) in [(2, 2), (3, 1), (4, 3)] {
        let mut server = RealServer::start().await;
        let mut counter = Counter::start(concurrency, per_key).await;
        define(&server, counter.limits()).await;
        counter.create(&server, &["flood"], 300).await;
        counter.fill().await;
        counter.create(&server, &["a", "b"], 5).await;
        counter.finish(&server).await;
        // Between two turns of a key, each of the two others has one.
        assert!(counter.passed_most <= 2, "a key was passed {} times", counter.passed_most);
        assert!(counter.worker.is_idle());
        all_have_succeeded(&server, ids("flood", 300).chain(ids("a", 5)).chain(ids("b", 5))).await;
        server.kill();
        assert!(server.doctor().status.success());
    }
}

#[tokio::test]
async fn limits_hold_through_kill_9() {
    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    const COUNT: usize = 15;
    let mut server = RealServer::start().await;
    let mut counter = Counter::start(3, 1).await;
    define(&server, counter.limits()).await;
    counter.create(&server, &KEYS, COUNT).await;
    // An attempt that is open through more crashes than these is given up, and another one begins.
    for _ in 0..RESENDS_MAX {
        for _ in 0..10 {
            counter.fill().await;
            counter.end_one(&server).await;
        }
        // At once after an end: the next attempt may have begun, or the end may not even be recorded.
        server.crash_and_restart().await;
    }
    counter.finish(&server).await;
    all_have_succeeded(&server, KEYS.into_iter().flat_map(|key| ids(key, COUNT))).await;
    server.kill();
    let found = server.doctor();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));
}

/// When the attempts of these tasks began, in milliseconds, in order.
async fn beginnings(server: &Api, ids: impl Iterator<Item = String>) -> Vec<i64> {
    let mut beginnings = Vec::new();
    for id in ids {
        let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200);
        let entries = history["data"].as_array().expect("a list");
        let began = entries.iter().filter(|entry| entry["change"] == "dispatched");
        beginnings.extend(began.map(|entry| {
            let at: jiff::Timestamp =
                entry["at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
            at.as_millisecond()
        }));
    }
    beginnings.sort_unstable();
    beginnings
}

/// Checks that in any window of `per_ms` at most `limit + burst − 1` attempts began.
fn check_rate(beginnings: &[i64], limit: usize, burst: usize, per_ms: i64) {
    for window in beginnings.windows(limit + burst) {
        let took = window[window.len() - 1] - window[0];
        assert!(took >= per_ms, "{} attempts began within {took} ms: {beginnings:?}", window.len());
    }
}

#[tokio::test]
async fn a_rate_is_kept_in_every_window() {
    const LIMIT: usize = 20;
    const BURST: usize = 4;
    const COUNT: usize = 60;
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    define(&server, json!({"rate": {"limit": LIMIT, "per": "1s", "burst": BURST}})).await;
    let task = json!({"url": format!("{}/work", worker.url), "queue": "work"});
    let tasks: Vec<Value> = ids("task", COUNT).map(|id| with(task.clone(), json!({"id": id}))).collect();
    let began = Instant::now();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        let call = worker.call().await;
        if !seen.insert(call.header("webhook-id")) {
            // Its answer was lost in the crash.
            call.status(200);
            continue;
        }
        let came = seen.len();
        // However late a request comes here, it cannot come early.
        let beyond_burst = u32::try_from(came.saturating_sub(BURST)).unwrap();
        let due = Duration::from_secs(1) * beyond_burst / u32::try_from(LIMIT).unwrap();
        let after = began.elapsed() + Duration::from_millis(2); // the server's clock is not this one
        assert!(after >= due, "the {came}th came after {after:?} instead of {due:?}");
        call.status(200);
        if came == COUNT / 2 {
            // What was used up is not forgotten.
            server.crash_and_restart().await;
        }
    }
    all_have_succeeded(&server, ids("task", COUNT)).await;
    let beginnings = beginnings(&server, ids("task", COUNT)).await;
    assert_eq!(beginnings.len(), COUNT);
    check_rate(&beginnings, LIMIT, BURST, 1_000);
}

#[tokio::test]
async fn a_rate_of_each_key_is_kept_in_every_window() {
    const LIMIT: usize = 10;
    const BURST: usize = 2;
    const COUNT: usize = 20;
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    define(&server, json!({"per_key": {"rate": {"limit": LIMIT, "per": "1s", "burst": BURST}}})).await;
    let task = json!({"url": format!("{}/work", worker.url), "queue": "work"});
    let of_key = |key| {
        ids(key, COUNT).map(move |id| json!({"id": id, "concurrency_key": key})).collect::<Vec<Value>>()
    };
    let tasks: Vec<Value> =
        ["a", "b"].into_iter().flat_map(of_key).map(|fields| with(task.clone(), fields)).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    let mut seen = BTreeSet::new();
    while seen.len() < 2 * COUNT {
        let call = worker.call().await;
        let is_new = seen.insert(call.header("webhook-id"));
        call.status(200);
        if is_new && seen.len() == COUNT {
            // What each key has used up is not forgotten.
            server.crash_and_restart().await;
        }
    }
    all_have_succeeded(&server, ids("a", COUNT).chain(ids("b", COUNT))).await;
    for key in ["a", "b"] {
        check_rate(&beginnings(&server, ids(key, COUNT)).await, LIMIT, BURST, 1_000);
    }
}

/// A queue that starts one task after the other, and a failed one again tomorrow if nobody does so before.
fn one_by_one() -> Value {
    json!({"concurrency": 1, "retry": {"initial": "24h", "max": "24h"}})
}

/// Creates tasks for `url` in the queue `work`, more than a host may fail.
async fn create_for_broken(server: &Api, url: &str) -> usize {
    let count = usize::try_from(BREAKER_FAILURES).unwrap() + 5;
    let task = json!({"url": url, "queue": "work"});
    let tasks: Vec<Value> = ids("task", count).map(|id| with(task.clone(), json!({"id": id}))).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    count
}

/// Checks that a host's tasks wait, but for those that have failed so often.
async fn is_broken(server: &Api, count: usize) {
    let failures = usize::try_from(BREAKER_FAILURES).unwrap();
    let waits = |task: &Value| task["waiting_for"]["code"] == "breaker";
    for id in ids("task", count).skip(failures) {
        let task = server.until(&id, waits).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("queued"), &json!(0)), "{task}");
    }
    for id in ids("task", failures) {
        let task = server.task(&id).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("scheduled"), &json!(1)), "{task}");
    }
    let queue = server.get("/v1/queues/work").await.expect(200);
    let expected = json!({"breaker": count - failures, "retry": failures});
    assert_eq!(queue["waiting_for"], expected, "{queue}");
}

#[tokio::test]
async fn a_host_that_fails_is_left_alone_and_holds_up_nobody_else() {
    let mut server = RealServer::start().await;
    let (mut broken, mut other) = (Worker::start().await, Worker::start().await);
    define(&server, one_by_one()).await;
    let count = create_for_broken(&server, &format!("{}/work", broken.url)).await;
    for _ in 0..BREAKER_FAILURES {
        broken.call().await.status(500);
    }
    is_broken(&server, count).await;
    // One that is to be tried again waits too, and keeps its number.
    server.send("POST", "/v1/tasks/task-0/trigger", &[], "").await.expect(200);
    let task = server.until("task-0", |task| task["waiting_for"]["code"] == "breaker").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("queued"), &json!(1)));

    let fields = json!({"id": "other", "url": format!("{}/work", other.url), "queue": "work"});
    server.create(fields).await;
    other.call().await.status(200);
    assert_eq!(server.end_of("other").await["state"], "succeeded");
    assert!(broken.is_idle());

    // A new process knows nothing of it and asks again: the host is back.
    server.crash_and_restart().await;
    let failures = usize::try_from(BREAKER_FAILURES).unwrap();
    let back: Vec<String> =
        std::iter::once("task-0".into()).chain(ids("task", count).skip(failures)).collect();
    for _ in &back {
        broken.call().await.status(200);
    }
    for id in &back {
        let task = server.end_of(id).await;
        let attempt = if id == "task-0" { 2 } else { 1 };
        assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(attempt)), "{task}");
    }
    assert!(broken.is_idle());
    server.kill();
    assert!(server.doctor().status.success());
}

#[tokio::test]
async fn a_host_that_refuses_connections_is_left_alone() {
    let server = RealServer::start().await;
    define(&server, one_by_one()).await;
    // Bound, so that nobody else listens there; it does not listen itself.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let count = create_for_broken(&server, &format!("http://{}/work", nobody.local_addr().unwrap())).await;
    is_broken(&server, count).await;
    assert_eq!(server.task("task-0").await["error"]["code"], "connect");
}

#[tokio::test]
async fn a_host_that_is_out_of_order_is_left_alone_but_for_a_probe_after_thirty_seconds() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.send("PUT", "/v1/queues/one", &[], r#"{"concurrency": 1}"#).await.expect(201);
    for number in 1..=22 {
        let task = json!({"queue": "one", "retry": {"max_attempts": 1}});
        server.create(with(task_for(&worker, &number.to_string()), task)).await;
    }
    for _ in 0..20 {
        worker.call().await.status(503);
    }
    server.end_of("20").await;
    let broken = Instant::now();
    for id in ["21", "22"] {
        let task = server.task(id).await;
        assert_eq!(
            (&task["attempt"], &task["waiting_for"]["code"]),
            (&json!(0), &json!("breaker")),
            "{task}"
        );
    }
    // real time: the probe of the real binary, by the real clock.
    let probe = worker.call().await;
    let after = broken.elapsed();
    assert!((Duration::from_secs(28)..Duration::from_secs(45)).contains(&after), "{after:?}");
    assert_eq!(probe.header("taskhook-task-id"), "21");
    assert_eq!(server.task("22").await["waiting_for"]["code"], "breaker", "one at a time");
    probe.status(200);
    worker.call().await.status(200);
    for id in ["21", "22"] {
        let task = server.end_of(id).await;
        assert_eq!(
            (&task["state"], &task["attempt"]),
            (&json!("succeeded"), &json!(1)),
            "no attempt was used up"
        );
    }
    server.stop().await;
}
