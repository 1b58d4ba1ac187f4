//! G6, G7, G8: the races, with the real binary.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::task::JoinSet;

use crate::binary::process::RealServer;
use crate::support::{Api, Worker, task_for, with};

#[tokio::test]
async fn a_callback_before_the_response_counts() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "first")).await;
    server.create(with(task_for(&worker, "second"), json!({"after": ["first"]}))).await;
    let first = worker.call().await;

    let done = json!({"event": "task_completed", "result": {"by": "callback"}});
    let answer = server.call_back(&first.header("taskhook-callback-url"), done).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
    // What follows does not wait for the response either.
    let second = worker.call().await;
    assert_eq!(second.header("taskhook-task-id"), "second");

    // The response is only recorded. The place it held is free, and the second response comes after it.
    first.status(500);
    second.status(200);
    assert_eq!(server.end_of("second").await["state"], "succeeded");
    let task = server.until_change("first", "responded").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!({"by": "callback"})));
    assert_eq!((&task["attempt"], &task["error"]), (&json!(1), &json!(null)));
    let changes = server.changes("first").await;
    assert_eq!(changes, ["created", "queued", "dispatched", "succeeded", "responded"]);
}

#[tokio::test]
async fn a_callback_before_its_task_counts() {
    let server = RealServer::start().await;
    let done = json!({"event": "task_completed", "task_id": "123", "result": 7});
    let answer = server.tell("/webhook", &[("webhook-id", "d1")], done.clone()).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("unmatched"), &json!(null)));

    server.create(json!({"id": "123"})).await;
    let task = server.end_of("123").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!(7)));
    let event = server.get(&format!("/v1/events/{}", answer["event_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(event["outcome"], "applied");

    let again = server.tell("/webhook", &[("webhook-id", "d1")], done).await;
    assert_eq!((&again["outcome"], &again["event_id"]), (&json!("duplicate"), &answer["event_id"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_100_deliveries_at_once_one_is_applied() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "external"})).await;
    server.create(task_for(&worker, "dispatched")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    call.status(202);
    server.until_state("dispatched", "running").await;

    for (path, id) in [("/webhook", "external"), (server.path_of(&url), "dispatched")] {
        let body = json!({"event": "task_completed", "task_id": id, "result": {"of": id}});
        let mut senders = JoinSet::new();
        for _ in 0..100 {
            // Each over a connection of its own.
            let (api, path, body) = (Api::new(server.url.clone()), path.to_string(), body.clone());
            senders.spawn(async move { api.tell(&path, &[("webhook-id", "d1")], body).await });
        }
        let answers = senders.join_all().await;
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for answer in &answers {
            *outcomes.entry(answer["outcome"].as_str().unwrap()).or_default() += 1;
            assert_eq!(answer["event_id"], answers[0]["event_id"]);
            // G2: a duplicate is answered after its original, so it sees what that has done.
            assert_eq!(
                (&answer["message"], &answer["task_state"]),
                (&json!("Webhook received"), &json!("succeeded"))
            );
        }
        assert_eq!(outcomes, BTreeMap::from([("applied", 1), ("duplicate", 99)]));
        let changes = server.changes(id).await;
        assert_eq!(changes.iter().filter(|change| *change == "succeeded").count(), 1, "{changes:?}");
        assert_eq!(server.task(id).await["result"], json!({"of": id}));
    }
}

#[tokio::test]
async fn of_an_older_attempt_only_a_success_counts() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "1"), json!({"retry": {"initial": "1ms"}}))).await;
    let first = worker.call().await;
    let older = first.header("taskhook-callback-url");
    first.status(500);
    let second = worker.call().await;
    assert_eq!(second.header("taskhook-attempt"), "2");

    for late in [
        json!({"event": "task_failed", "error": {"message": "late", "retryable": false}}),
        json!({"event": "task_progress", "progress": 0.9}),
        json!({"event": "task_heartbeat"}),
        json!({"event": "task_started"}),
    ] {
        let answer = server.call_back(&older, late).await;
        assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("stale"), &json!("dispatching")));
    }
    let task = server.task("1").await;
    assert_eq!((&task["attempt"], &task["progress"]), (&json!(2), &json!(null)));

    let answer = server.call_back(&older, json!({"event": "task_completed", "result": "late"})).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
    // The newer attempt is given up: whatever comes of it changes nothing.
    let newer = second.header("taskhook-callback-url");
    second.status(500);
    let answer = server.call_back(&newer, json!({"event": "task_failed", "error": "no"})).await;
    assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("ignored"), &json!("contradiction")));
    let task = server.until_change("1", "responded").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!("late")));
}

#[tokio::test]
async fn a_late_success_counts_during_the_back_off() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "1"), json!({"retry": {"initial": "24h", "max": "24h"}}))).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    call.hang_up();
    server.until_state("1", "scheduled").await;
    let answer = server.call_back(&url, json!({"event": "task_failed", "error": "no"})).await;
    assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("ignored"), &json!("attempt_ended")));
    let answer = server.call_back(&url, json!({"event": "task_completed"})).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
    assert!(worker.is_idle());
}

#[tokio::test]
async fn a_worker_that_says_started_and_then_answers_200_is_done() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "1")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    let answer = server.call_back(&url, json!({"event": "task_started"})).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("running")));
    call.answer(200, &[("content-type", "application/json")], r#"{"pages": 3}"#);
    let task = server.end_of("1").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!({"pages": 3})));
    assert_eq!(task["warnings"], json!([]));

    // A webhook that comes all the same is told so, and so is the task's owner.
    let answer = server.call_back(&url, json!({"event": "task_completed", "result": 4})).await;
    assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("ignored"), &json!("completed_by_response")));
    let task = server.task("1").await;
    assert_eq!((&task["result"], task["warnings"].as_array().unwrap().len()), (&json!({"pages": 3}), 1));
}

#[tokio::test]
async fn a_worker_that_says_started_and_hangs_up_is_waited_for() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "1")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    server.call_back(&url, json!({"event": "task_started"})).await;
    call.hang_up();
    let task = server.until_change("1", "responded").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(1)));
    let answer = server.call_back(&url, json!({"event": "task_completed"})).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
}
