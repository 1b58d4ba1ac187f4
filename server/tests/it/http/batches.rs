//! Creating tasks together: all of them, or none (contract, section 4).

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, Worker, task_for, with};

async fn batch(server: &TestServer, tasks: Value) -> Answer {
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await
}

fn fault(pointer: &str, code: &str) -> (String, String) {
    (pointer.into(), code.into())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().expect("a list").iter().map(|task| task["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_batch_answers_with_its_tasks_in_their_order() {
    let server = TestServer::start().await;
    let tasks = json!([{"id": "b", "after": ["c"]}, {"id": "a"}, {}, {"id": "c", "name": "resize"}]);
    let made = batch(&server, tasks).await.expect(201);
    assert_eq!(made["next_cursor"], Value::Null);
    let ids = ids(&made);
    assert_eq!((ids[0], ids[1], ids[3]), ("b", "a", "c"));
    assert!(ids[2].starts_with("task_"));
    for task in made["data"].as_array().expect("a list") {
        assert_eq!(*task, server.task(task["id"].as_str().expect("an id")).await, "each is the whole task");
    }
    server.stop().await;
}

#[tokio::test]
async fn after_may_name_tasks_of_the_same_batch_in_any_order() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "before"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "before"})).await;
    let tasks: Vec<Value> = [
        ("last", vec!["left", "right"]),
        ("left", vec!["first"]),
        ("first", vec!["before"]),
        ("right", vec!["first"]),
    ]
    .into_iter()
    .map(|(id, after)| with(task_for(&worker, id), json!({"after": after})))
    .collect();
    batch(&server, tasks.into()).await.expect(201);
    let mut order = Vec::new();
    for _ in 0..4 {
        let call = worker.call().await;
        order.push(call.header("taskhook-task-id"));
        call.status(200);
    }
    order[1..3].sort();
    assert_eq!(order, ["first", "left", "right", "last"]);
    server.end_of("last").await;
    server.stop().await;
}

#[tokio::test]
async fn the_same_batch_again_is_200_and_what_is_new_in_another_is_made() {
    let server = TestServer::start().await;
    let tasks = json!([{"id": "a"}, {"id": "b", "after": ["a"]}]);
    let made = batch(&server, tasks.clone()).await.expect(201);
    assert_eq!(batch(&server, tasks).await.expect(200), made);
    let more = json!([{"after": ["a"], "id": "b"}, {"id": "c", "after": ["b"]}]);
    let mixed = batch(&server, more).await.expect(201);
    assert_eq!(ids(&mixed), ["b", "c"]);
    assert_eq!(mixed["data"][0], made["data"][1]);
    server.stop().await;
}

#[tokio::test]
async fn it_is_all_or_none() {
    let server = TestServer::start().await;
    server.create(json!({"id": "taken"})).await;
    let wrong_field =
        batch(&server, json!([{"id": "a"}, {"id": "b", "priority": 1_000}, {"id": "c", "nmae": "x"}])).await;
    assert_eq!(
        wrong_field.faults(),
        [fault("/tasks/1/priority", "out_of_range"), fault("/tasks/2/nmae", "unknown_field")]
    );
    let no_parent = batch(&server, json!([{"id": "a"}, {"id": "b", "after": ["a", "nobody"]}])).await;
    assert_eq!(no_parent.faults(), [fault("/tasks/1/after/1", "no_such_task")]);
    let problem =
        batch(&server, json!([{"id": "a"}, {"id": "taken", "name": "x"}])).await.problem(409, "id_taken");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("\"taken\"")), "{problem}");
    for id in ["a", "b", "c"] {
        server.get(&format!("/v1/tasks/{id}")).await.problem(404, "not_found");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cycle_is_422_and_names_its_path() {
    let server = TestServer::start().await;
    for (tasks, pointer, path) in [
        (json!([{"id": "a", "after": ["a"]}]), "/tasks/0/after", "a after a"),
        (
            json!([{"id": "x"}, {"id": "a", "after": ["b"]}, {"id": "b", "after": ["a"]}]),
            "/tasks/1/after",
            "a after b after a",
        ),
        (
            json!([
                {"id": "in", "after": ["a"]}, {"id": "a", "after": ["x", "b"]}, {"id": "b", "after": ["c"]},
                {"id": "c", "after": ["a"]}, {"id": "x"},
            ]),
            "/tasks/1/after",
            "a after b after c after a",
        ),
    ] {
        let answer = batch(&server, tasks).await;
        assert_eq!(answer.faults(), [fault(pointer, "cycle")]);
        let detail = answer.json()["errors"][0]["detail"].as_str().expect("text").to_string();
        assert!(detail.ends_with(&format!(": {path}")), "{detail}");
    }
    assert_eq!(server.get("/v1/tasks").await.expect(200)["data"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn one_id_twice_is_422() {
    let server = TestServer::start().await;
    let answer =
        batch(&server, json!([{"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": "a", "name": "x"}])).await;
    assert_eq!(answer.faults(), [fault("/tasks/2/id", "twice"), fault("/tasks/3/id", "twice")]);
    server.get("/v1/tasks/b").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_are_taken_and_one_more_is_refused() {
    let server = TestServer::start().await;
    let tasks = |count: usize| -> Value {
        (0..count).map(|n| json!({"id": format!("t{n}")})).collect::<Vec<_>>().into()
    };
    assert_eq!(batch(&server, tasks(1_001)).await.faults(), [fault("/tasks", "too_many")]);
    assert_eq!(batch(&server, json!([])).await.faults(), [fault("/tasks", "empty")]);
    assert_eq!(server.get("/v1/tasks").await.expect(200)["data"], json!([]));
    let made = batch(&server, tasks(1_000)).await.expect(201);
    assert_eq!(made["data"].as_array().map(Vec::len), Some(1_000));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let server = TestServer::start().await;
    for (body, wanted) in [
        (json!({}), fault("/tasks", "wrong_type")),
        (json!({"tasks": null}), fault("/tasks", "wrong_type")),
        (json!({"tasks": {"id": "a"}}), fault("/tasks", "wrong_type")),
        (json!({"tasks": ["a"]}), fault("/tasks/0", "wrong_type")),
        (json!({"tasks": [{}], "dry_run": true}), fault("/dry_run", "unknown_field")),
    ] {
        assert_eq!(server.post("/v1/tasks/batch", body.clone()).await.faults(), [wanted], "{body}");
    }
    let large = json!({"tasks": [{"name": "x".repeat(4 << 20)}]});
    server.post("/v1/tasks/batch", large).await.problem(413, "too_large");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_with_large_results_is_answered_in_pieces() {
    let server = TestServer::start().await;
    let tasks: Vec<Value> = (0..20).map(|n| json!({"id": format!("t{n}")})).collect();
    let body = json!({"tasks": tasks}).to_string();
    let post = async |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.send("POST", "/v1/tasks/batch", &headers, body.clone()).await
    };
    post("k1").await.expect(201);
    for n in 0..20 {
        let result = format!("{n}").repeat(500_000);
        let done = json!({"event": "task_completed", "task_id": format!("t{n}"), "result": result});
        server.webhook(done).await;
    }
    let whole = server.get("/v1/tasks?limit=1000").await;
    assert!(whole.header("content-length").is_some());
    for replayed in [None, Some("true")] {
        let again = post("k2").await;
        assert_eq!(again.header("idempotent-replayed"), replayed);
        assert_eq!(again.header("content-length"), None, "nobody holds all of it");
        let made = again.expect(200);
        assert_eq!((&made["next_cursor"], ids(&made).len()), (&Value::Null, 20));
        for (n, task) in made["data"].as_array().expect("a list").iter().enumerate() {
            assert_eq!((&task["id"], &task["state"]), (&json!(format!("t{n}")), &json!("succeeded")));
            assert_eq!(task["result"], format!("{n}").repeat(500_000));
        }
    }
    server.stop().await;
}
