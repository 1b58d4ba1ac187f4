//! Webhooks that come before their task (contract, section 3: `unmatched`).

use serde_json::{Value, json};

use crate::support::{TestServer, Worker, task_for, with};

async fn park(server: &TestServer, body: Value) -> String {
    let answer = server.webhook(body).await;
    assert_eq!(answer["outcome"], "unmatched", "{answer}");
    answer["event_id"].as_str().expect("an id").to_string()
}

async fn outcome(server: &TestServer, event: &str) -> (String, Value) {
    let event = server.get(&format!("/v1/events/{event}")).await.expect(200);
    (event["outcome"].as_str().expect("an outcome").to_string(), event["reason"].clone())
}

fn applied() -> (String, Value) {
    ("applied".into(), Value::Null)
}

fn ignored(reason: &str) -> (String, Value) {
    ("ignored".into(), reason.into())
}

#[tokio::test]
async fn what_came_before_an_external_task_is_applied_when_it_is_created_in_order() {
    let server = TestServer::start().await;
    let first = park(&server, json!({"event": "task_progress", "task_id": "123", "progress": 0.5})).await;
    let second = park(&server, json!({"event": "task_progress", "task_id": "123", "progress": 0.25})).await;
    let end = park(&server, json!({"event": "task_completed", "task_id": "123", "result": "done"})).await;
    let late = park(&server, json!({"event": "task_failed", "task_id": "123"})).await;
    let task = server.create(json!({"id": "123"})).await;
    assert_eq!(
        (&task["state"], &task["result"], &task["progress"]),
        (&json!("succeeded"), &json!("done"), &json!(0.25))
    );
    for event in [first, second, end] {
        assert_eq!(outcome(&server, &event).await, applied());
    }
    assert_eq!(outcome(&server, &late).await, ignored("contradiction"));
    let changes = server.changes("123").await;
    assert_eq!(changes, ["created", "begun", "alive", "alive", "succeeded", "event_ignored"]);
    server.stop().await;
}

#[tokio::test]
async fn what_came_before_a_task_with_a_url_cannot_be_about_its_dispatch() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let unnamed = park(&server, json!({"event": "task_completed", "task_id": "123"})).await;
    let named = park(&server, json!({"event": "task_completed", "task_id": "123", "attempt": 1})).await;
    server.create(task_for(&worker, "123")).await;
    worker.call().await.status(200);
    server.end_of("123").await;
    assert_eq!(outcome(&server, &unnamed).await, ignored("not_started"));
    assert_eq!(outcome(&server, &named).await, ignored("unknown_attempt"));
    let task = server.task("123").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn it_is_applied_in_a_batch_too_and_releases_what_waits() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let event = park(&server, json!({"event": "task_completed", "task_id": "a"})).await;
    let child = with(task_for(&worker, "b"), json!({"after": ["a"]}));
    let made = server.post("/v1/tasks/batch", json!({"tasks": [child, {"id": "a"}]})).await.expect(201);
    assert_eq!(made["data"][1]["state"], "succeeded");
    assert_eq!(outcome(&server, &event).await, applied());
    worker.call().await.status(200);
    server.end_of("b").await;
    server.stop().await;
}

#[tokio::test]
async fn a_task_that_waits_takes_its_end_from_before_too() {
    let server = TestServer::start().await;
    server.create(json!({"id": "parent"})).await;
    for (id, fields) in [("blocked", json!({"after": ["parent"]})), ("scheduled", json!({"delay": "1h"}))] {
        let early = park(&server, json!({"event": "task_heartbeat", "task_id": id})).await;
        let end = park(&server, json!({"event": "task_failed", "task_id": id, "error": "no"})).await;
        let task = server.create(with(json!({"id": id}), fields)).await;
        assert_eq!(task["state"], "failed", "{task}");
        assert_eq!(outcome(&server, &early).await, ignored("not_started"));
        assert_eq!(outcome(&server, &end).await, applied());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_repeat_of_a_parked_webhook_is_a_duplicate_before_and_after_its_task_is_created() {
    let server = TestServer::start().await;
    let send = async || {
        let body = json!({"event": "task_completed", "task_id": "123"}).to_string();
        server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body).await.expect(200)
    };
    let first = send().await;
    assert_eq!(first["outcome"], "unmatched");
    assert_eq!(send().await["outcome"], "duplicate");
    assert_eq!(server.create(json!({"id": "123"})).await["state"], "succeeded");
    let after = send().await;
    assert_eq!((&after["outcome"], &after["event_id"]), (&json!("duplicate"), &first["event_id"]));
    server.stop().await;
}

#[tokio::test]
async fn parked_webhooks_survive_a_restart_with_all_they_say() {
    let server = TestServer::start().await;
    for (id, body) in [
        ("a", json!({"event": "task_completed", "result": {"pages": [1, 2]}})),
        ("b", json!({"event": "task_failed", "error": {"code": "E1", "message": "no"}})),
        ("c", json!({"event": "task_progress", "progress": 0.5, "message": "half"})),
        ("d", json!({"event": "task_cancelled"})),
    ] {
        park(&server, with(body, json!({"task_id": id}))).await;
    }
    let server = server.restart().await;
    let tasks: Vec<Value> = ["a", "b", "c", "d"].into_iter().map(|id| json!({"id": id})).collect();
    let made = server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    let [a, b, c, d] = [0, 1, 2, 3].map(|position| made["data"][position].clone());
    assert_eq!((&a["state"], &a["result"]), (&json!("succeeded"), &json!({"pages": [1, 2]})));
    assert_eq!((&b["state"], &b["error"]), (&json!("failed"), &json!({"code": "E1", "message": "no"})));
    assert_eq!((&c["progress"], &c["message"]), (&json!(0.5), &json!("half")));
    assert_eq!(d["state"], "cancelled");
    server.stop().await;
}

#[tokio::test]
async fn when_too_many_wait_for_one_task_the_sender_is_told_to_come_back() {
    let server = TestServer::start().await;
    for number in 0..64 {
        park(&server, json!({"event": "task_progress", "task_id": "123", "message": number})).await;
    }
    let body = json!({"event": "task_completed", "task_id": "123"}).to_string();
    let answer = server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body.clone()).await;
    answer.problem(429, "parking_full");
    assert!(
        answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|it| it > 0))
    );
    park(&server, json!({"event": "task_completed", "task_id": "124"})).await;

    // The task takes them all, in order, and the refused one claimed nothing.
    let task = server.create(json!({"id": "123"})).await;
    assert_eq!(task["state"], "running");
    server.until("123", |task| task["message"] == "63").await;
    let again = server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body).await.expect(200);
    assert_eq!((&again["outcome"], &again["task_state"]), (&json!("applied"), &json!("succeeded")));
    server.stop().await;
}
