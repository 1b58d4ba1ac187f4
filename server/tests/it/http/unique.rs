//! Unique keys over HTTP (contract, section 4).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, with};

fn fault(pointer: &str, code: &str) -> (String, String) {
    (pointer.into(), code.into())
}

fn held(id: &str) -> Value {
    json!({"id": id, "unique": {"key": "import of today"}})
}

async fn batch(server: &Api, tasks: Value) -> Answer {
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await
}

/// The ids of a list, in its order.
fn ids(list: &Value) -> Vec<&str> {
    let rows = list["data"].as_array().expect("a list").iter();
    rows.map(|task| task["id"].as_str().expect("an id")).collect()
}

async fn count(server: &Api) -> usize {
    ids(&server.get("/v1/tasks").await.expect(200)).len()
}

#[tokio::test]
async fn a_second_task_with_a_key_returns_the_first() {
    let server = RealServer::start().await;
    let first = server.create(held("a")).await;
    assert_eq!(first["unique"], json!({"key": "import of today", "until": "finished"}));
    assert_eq!(server.post("/v1/tasks", held("b")).await.expect(200), first);
    let other =
        with(held("b"), json!({"url": "http://127.0.0.1:9/", "queue": "no-such", "after": ["nobody"]}));
    assert_eq!(server.post("/v1/tasks", other).await.expect(200), first, "whatever else is asked");
    let nameless = json!({"unique": {"key": "import of today", "until": "1h"}});
    assert_eq!(server.post("/v1/tasks", nameless).await.expect(200), first);
    server.get("/v1/tasks/b").await.expect(404);

    // An id is looked at first.
    assert_eq!(server.post("/v1/tasks", held("a")).await.expect(200), first);
    server.post("/v1/tasks", with(held("a"), json!({"name": "x"}))).await.problem(409, "id_taken");
    assert_eq!(count(&server).await, 1);

    let server = server.restart().await;
    assert_eq!(server.post("/v1/tasks", held("b")).await.expect(200), first);
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    let second = server.post("/v1/tasks", held("b")).await.expect(201);
    assert_eq!((&second["id"], &second["state"]), (&json!("b"), &json!("running")));
    server.stop().await;
}

#[tokio::test]
async fn a_key_may_be_held_for_a_time() {
    let server = RealServer::start().await;
    let task = json!({"id": "a", "unique": {"key": "k", "until": "PT90M"}});
    let first = server.create(task).await;
    assert_eq!(first["unique"], json!({"key": "k", "until": "1h 30m"}));
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    let again = server.post("/v1/tasks", json!({"unique": {"key": "k"}})).await.expect(200);
    assert_eq!((&again["id"], &again["state"]), (&json!("a"), &json!("succeeded")));
    server.post("/v1/tasks", json!({"unique": {"key": "K"}})).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn of_many_at_the_same_time_one_is_created() {
    let server = Arc::new(RealServer::start().await);
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..60 {
        let server = server.clone();
        posts.spawn(async move {
            let id = format!("t{number}");
            match number % 3 {
                0 => batch(&server, json!([{"id": format!("other{number}")}, held(&id)])).await,
                _ => server.post("/v1/tasks", held(&id)).await,
            }
        });
    }
    let (mut created, mut holders) = (0, Vec::new());
    while let Some(answer) = posts.join_next().await {
        let answer = answer.expect("an answer");
        let body = answer.json();
        let task = body["data"].as_array().map_or(&body, |tasks| &tasks[1]);
        created += usize::from(answer.status == 201 && body["data"].is_null());
        holders.push(task["id"].as_str().expect("an id").to_string());
    }
    holders.dedup();
    assert_eq!(holders.len(), 1, "{holders:?}");
    let is_single = holders[0][1..].parse::<usize>().expect("a number") % 3 != 0;
    assert_eq!(created, usize::from(is_single));
    assert_eq!(count(&server).await, 21, "one, and the twenty others");
}

#[tokio::test]
async fn in_a_batch_the_first_stands_for_the_others() {
    let server = RealServer::start().await;
    let tasks = json!([held("a"), {"id": "x", "after": ["a"]}, held("b"), held("c")]);
    let created = batch(&server, tasks.clone()).await.expect(201);
    assert_eq!(ids(&created), ["a", "x", "a", "a"]);
    assert_eq!(ids(&batch(&server, tasks).await.expect(200)), ["a", "x", "a", "a"]);
    assert_eq!(ids(&batch(&server, json!([held("d"), {"id": "y"}])).await.expect(201)), ["a", "y"]);
    assert_eq!(ids(&batch(&server, json!([held("d")])).await.expect(200)), ["a"]);

    let refused = batch(&server, json!([{"id": "z", "after": ["y", "d"]}, held("d")])).await;
    assert_eq!(refused.faults(), [fault("/tasks/0/after/1", "not_created")]);
    server.get("/v1/tasks/z").await.expect(404);
    assert_eq!(count(&server).await, 3);
    server.stop().await;
}

#[tokio::test]
async fn a_retry_takes_the_key_again_or_is_refused() {
    let server = RealServer::start().await;
    let cancel = async |id: &str| server.post(&format!("/v1/tasks/{id}/cancel"), json!({})).await.expect(200);
    let retry = async |id: &str| server.post(&format!("/v1/tasks/{id}/retry"), json!({})).await;
    server.create(held("a")).await;
    cancel("a").await;
    server.create(held("b")).await;
    let refused = retry("a").await.problem(409, "unique_key_held");
    assert_eq!(
        refused["detail"],
        "task \"b\" holds the unique key of this one; retry it once that is free again"
    );
    assert_eq!(server.task("a").await["state"], "cancelled");
    cancel("b").await;
    assert_eq!(retry("a").await.expect(200)["state"], "running");
    assert_eq!(server.post("/v1/tasks", held("c")).await.expect(200)["id"], "a");
    retry("b").await.problem(409, "unique_key_held");
    server.stop().await;
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_is_answered_as_it_was() {
    let server = RealServer::start().await;
    let post = async |key: &str, task: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.send("POST", "/v1/tasks", &headers, task.to_string()).await
    };
    server.create(held("a")).await;
    let first = post("k1", held("b")).await;
    assert_eq!(first.expect(200)["id"], "a");
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    let again = post("k1", held("b")).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(post("k2", held("b")).await.expect(201)["id"], "b");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_it_is_said() {
    let server = RealServer::start().await;
    for (unique, pointer, code) in [
        (json!("k"), "/unique", "wrong_type"),
        (json!({}), "/unique/key", "missing"),
        (json!({"key": null}), "/unique/key", "missing"),
        (json!({"key": 7}), "/unique/key", "wrong_type"),
        (json!({"key": ""}), "/unique/key", "not_a_name"),
        (json!({"key": "a\nb"}), "/unique/key", "not_a_name"),
        (json!({"key": "k".repeat(129)}), "/unique/key", "not_a_name"),
        (json!({"key": "k", "until": 5}), "/unique/until", "wrong_type"),
        (json!({"key": "k", "until": "never"}), "/unique/until", "not_a_duration"),
        (json!({"key": "k", "until": "0s"}), "/unique/until", "not_a_duration"),
        (json!({"key": "k", "for": "1h"}), "/unique/for", "unknown_field"),
    ] {
        let answer = server.post("/v1/tasks", json!({"unique": unique})).await;
        assert_eq!(answer.faults(), [fault(pointer, code)], "{unique}");
    }
    let long = json!({"unique": {"key": "ä b/c".repeat(21), "until": null}});
    assert_eq!(server.create(long).await["unique"]["until"], "finished");
    assert_eq!(server.create(json!({"unique": null})).await["unique"], Value::Null);
    server.stop().await;
}
