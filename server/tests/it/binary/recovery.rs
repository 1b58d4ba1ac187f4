//! G6, G10: what goes on after a crash, what is sent again and what is not, and how it is recognised.

use serde_json::json;

use crate::binary::process::RealServer;
use crate::support::{Call, Worker, task_for, with};

/// What is the same on every resend of an attempt.
fn identity(call: &Call) -> Vec<String> {
    let names =
        ["webhook-id", "idempotency-key", "taskhook-task-id", "taskhook-attempt", "taskhook-callback-url"];
    let mut identity: Vec<String> = names.iter().map(|name| call.header(name)).collect();
    identity.push(String::from_utf8_lossy(&call.body).into_owned());
    identity
}

#[tokio::test]
async fn a_crash_before_the_response_sends_the_same_attempt_again() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "1"), json!({"payload": {"image": 7}}))).await;
    let first = worker.call().await;
    server.crash_and_restart().await;

    let again = worker.call().await;
    assert_eq!(identity(&again), identity(&first));
    // The first send has an answer too, which reaches nobody.
    first.status(500);
    again.answer(200, &[("content-type", "application/json")], r#"{"done": true}"#);
    let task = server.end_of("1").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(task["result"], json!({"done": true}));
    let changes = server.changes("1").await;
    assert_eq!(changes, ["created", "queued", "dispatched", "resent", "responded", "succeeded"]);
    assert!(worker.is_idle());
}

#[tokio::test]
async fn an_attempt_is_sent_four_times_and_then_it_has_failed() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "1"), json!({"retry": {"initial": "1ms"}}))).await;
    let first = identity(&worker.call().await);
    for _ in 0..3 {
        server.crash_and_restart().await;
        assert_eq!(identity(&worker.call().await), first);
    }
    server.crash_and_restart().await;

    let next = worker.call().await;
    assert_eq!(next.header("taskhook-attempt"), "2");
    let (next_id, next_key) = (next.header("webhook-id"), next.header("idempotency-key"));
    assert!(next_id != first[0] && next_key == first[1], "{next_id} {next_key} after {first:?}");
    assert_eq!(server.task("1").await["error"]["code"], "dispatch_lost");
    next.status(200);
    assert_eq!(server.end_of("1").await["state"], "succeeded");
}

#[tokio::test]
async fn what_gave_a_sign_of_life_is_not_sent_again() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let mut calls = Vec::new();
    for (id, report) in [
        ("started", json!({"event": "task_started"})),
        ("progress", json!({"event": "task_progress", "progress": 0.5, "message": "half"})),
        ("alive", json!({"event": "task_heartbeat"})),
    ] {
        server.create(task_for(&worker, id)).await;
        let call = worker.call().await;
        let answer = server.call_back(&call.header("taskhook-callback-url"), report).await;
        assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("running")));
        calls.push((id, call));
    }
    // One that is answered 202 has given a sign of life too.
    server.create(task_for(&worker, "accepted")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    call.status(202);
    server.until_state("accepted", "running").await;
    server.crash_and_restart().await;

    // What is lost is sent before anything new is begun.
    server.create(task_for(&worker, "new")).await;
    let new = worker.call().await;
    assert_eq!(new.header("taskhook-task-id"), "new");
    new.status(200);
    server.end_of("new").await;
    assert!(worker.is_idle());
    for (id, call) in calls {
        let done = json!({"event": "task_completed", "result": id});
        let answer = server.call_back(&call.header("taskhook-callback-url"), done).await;
        assert_eq!(
            (&answer["outcome"], &answer["task_state"]),
            (&json!("applied"), &json!("succeeded")),
            "{id}"
        );
    }
    assert_eq!(server.call_back(&url, json!({"event": "task_completed"})).await["outcome"], "applied");
}

#[tokio::test]
async fn the_time_of_a_retry_survives_a_crash() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "1"), retry)).await;
    server.create(with(task_for(&worker, "2"), json!({"delay": "300ms"}))).await;
    let first = worker.call().await;
    assert_eq!(first.header("taskhook-task-id"), "1");
    first.status(500);
    let before = server.until_state("1", "scheduled").await["waiting_for"].clone();
    server.crash_and_restart().await;

    assert_eq!(server.task("1").await["waiting_for"], before);
    // One whose time comes while no server is there is due at once.
    let delayed = worker.call().await;
    assert_eq!(delayed.header("taskhook-task-id"), "2");
    delayed.status(200);
    server.send("POST", "/v1/tasks/1/trigger", &[], "").await.expect(200);
    let second = worker.call().await;
    assert_eq!(
        (second.header("taskhook-task-id").as_str(), second.header("taskhook-attempt").as_str()),
        ("1", "2")
    );
    second.status(200);
    assert_eq!(server.end_of("1").await["state"], "succeeded");
}

/// What does not fit into the transaction of its cause is kept with it, and goes on in the next ones.
#[tokio::test]
async fn a_long_consequence_is_finished_after_a_crash() {
    const LENGTH: usize = 500;
    let mut server = RealServer::start().await;
    let id = |kind: &str, number: usize| json!(format!("{kind}{number}"));
    let chain =
        (1..LENGTH).map(|number| json!({"id": id("link", number), "after": [id("link", number - 1)]}));
    let fan = (0..LENGTH).map(|number| json!({"id": id("part", number), "after": ["whole"]}));
    for (first, rest) in [("link0", chain.collect::<Vec<_>>()), ("whole", fan.collect())] {
        let tasks = [vec![json!({"id": first})], rest].concat();
        server.send("POST", "/v1/tasks/batch", &[], json!({"tasks": tasks}).to_string()).await.expect(201);
    }
    // The chain takes well over a hundred transactions, the fan a few: neither is through when it is killed.
    for (event, task) in [("task_failed", "link0"), ("task_completed", "whole")] {
        let answer = server.tell("/webhook", &[], json!({"event": event, "task_id": task})).await;
        assert_eq!(answer["outcome"], "applied");
    }
    server.crash_and_restart().await;

    let last = server.end_of(&format!("link{}", LENGTH - 1)).await;
    assert_eq!(last["state"], "skipped");
    for number in 0..LENGTH {
        server.until_state(&format!("part{number}"), "running").await;
    }
    assert_eq!(server.changes("link7").await, ["created", "blocked", "dependency_ended", "skipped"]);
    server.kill();
    assert!(server.doctor().status.success());
}
