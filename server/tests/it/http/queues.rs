//! Queues over HTTP (contract, section 5).

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, Worker, task_for, with};

fn fault(pointer: &str, code: &str) -> (String, String) {
    (pointer.into(), code.into())
}

async fn put(server: &Api, name: &str, queue: Value) -> Answer {
    server.send("PUT", &format!("/v1/queues/{name}"), &[], queue.to_string()).await
}

async fn command(server: &Api, name: &str, command: &str) -> Answer {
    server.send("POST", &format!("/v1/queues/{name}/{command}"), &[], "").await
}

/// A task for this worker in this queue.
fn queued(worker: &Worker, id: &str, queue: &str) -> Value {
    with(task_for(worker, id), json!({"queue": queue}))
}

async fn waits_for(server: &Api, id: &str) -> Value {
    server.task(id).await["waiting_for"].clone()
}

#[tokio::test]
async fn one_queue_too_many_is_refused() {
    let server = RealServer::start().await;
    let others = "WITH RECURSIVE n (key) AS (SELECT 1001 UNION ALL SELECT key + 1 FROM n WHERE key < 10998)
        INSERT INTO queue (key, settings, paused, open, paced) SELECT key, '{}', 0, 0, 0 FROM n;
        INSERT INTO name SELECT key, 1, 2, 'q' || key FROM queue WHERE key > 1000";
    let server = server.restart_after(|store| store.execute_batch(others).expect("more queues")).await;
    put(&server, "last", json!({})).await.expect(201);
    let refused = put(&server, "mail", json!({})).await.problem(409, "too_many");
    assert_eq!(refused["detail"], "there are 10000 queues, and there may be no more");
    put(&server, "last", json!({"paused": true})).await.expect(200);
    server.get("/v1/queues/mail").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn a_queue_is_made_read_replaced_and_listed() {
    let server = RealServer::start().await;
    let default = server.get("/v1/queues/default").await.expect(200);
    assert_eq!(
        default,
        json!({"name": "default", "concurrency": null, "per_key": null, "rate": null, "paused": false,
            "retry": null, "timeout": null, "completion": null, "retention": null, "has_secret": false, "open": 0, "states": {}, "waiting_for": {},
            "oldest_due_seconds": null})
    );
    let full = json!({"concurrency": 10, "per_key": {"concurrency": 1, "rate": {"limit": 2, "per": "1m"}},
        "rate": {"limit": 100, "per": "1s", "burst": 5}, "paused": true, "retry": {"max_attempts": 3, "max": "1m"},
        "timeout": "10m", "completion": "callback", "retention": "12h"});
    let made = put(&server, "mail", full.clone()).await.expect(201);
    for (field, value) in full.as_object().expect("fields") {
        let mut wanted = value.clone();
        if field == "per_key" {
            wanted["rate"]["burst"] = json!(1);
        }
        assert_eq!(made[field], wanted, "{field}");
    }
    assert_eq!(server.get("/v1/queues/mail").await.expect(200), made);
    // It is replaced as a whole.
    let replaced = put(&server, "mail", json!({"concurrency": 2})).await.expect(200);
    assert_eq!(
        (&replaced["concurrency"], &replaced["rate"], &replaced["paused"]),
        (&json!(2), &Value::Null, &json!(false))
    );
    assert_eq!(put(&server, "mail", json!({"concurrency": 2})).await.expect(200), replaced);

    put(&server, "a", json!({})).await.expect(201);
    let names = |page: &Value| {
        let rows = page["data"].as_array().expect("a list");
        rows.iter().map(|queue| queue["name"].as_str().expect("a name").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&server.get("/v1/queues").await.expect(200)), ["a", "default", "mail"]);
    let first = server.get("/v1/queues?limit=2").await.expect(200);
    assert_eq!(names(&first), ["a", "default"]);
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = server.get(&format!("/v1/queues?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["mail".to_string()], &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn what_a_queue_cannot_say_is_refused_with_the_reason() {
    let server = RealServer::start().await;
    for (queue, pointer, code) in [
        (json!({"concurrency": 0}), "/concurrency", "out_of_range"),
        (json!({"concurrency": -1}), "/concurrency", "wrong_type"),
        (json!({"concurrency": 1_000_001}), "/concurrency", "out_of_range"),
        (json!({"concurrency": "2"}), "/concurrency", "wrong_type"),
        (json!({"per_key": 1}), "/per_key", "wrong_type"),
        (json!({"per_key": {"concurency": 1}}), "/per_key/concurency", "unknown_field"),
        (json!({"rate": {"limit": 1}}), "/rate/per", "missing"),
        (json!({"rate": {"per": "1s"}}), "/rate/limit", "missing"),
        (json!({"rate": {"limit": 0, "per": "1s"}}), "/rate/limit", "out_of_range"),
        (json!({"rate": {"limit": 1, "per": "0s"}}), "/rate/per", "out_of_range"),
        (json!({"rate": {"limit": 1, "per": "soon"}}), "/rate/per", "not_a_duration"),
        (json!({"rate": {"limit": 1, "per": "1s", "burst": 0}}), "/rate/burst", "out_of_range"),
        (json!({"rate": "1/s"}), "/rate", "wrong_type"),
        (json!({"per_key": {"rate": {"limit": 1}}}), "/per_key/rate/per", "missing"),
        (json!({"paused": "yes"}), "/paused", "wrong_type"),
        (json!({"retry": {"max_attempts": 0}}), "/retry/max_attempts", "out_of_range"),
        (json!({"timeout": "0s"}), "/timeout", "out_of_range"),
        (json!({"completion": "later"}), "/completion", "unknown_value"),
        (json!({"retention": "0s"}), "/retention", "not_a_duration"),
        (json!({"retention": 7}), "/retention", "wrong_type"),
        (json!({"secret": "s"}), "/secret", "not_a_secret"),
        (json!({"concurency": 1}), "/concurency", "unknown_field"),
    ] {
        let answer = put(&server, "mail", queue.clone()).await;
        assert_eq!(answer.faults(), [fault(pointer, code)], "{queue}");
    }
    assert_eq!(put(&server, "-mail", json!({})).await.faults(), [fault("/name", "not_a_name")]);
    assert_eq!(put(&server, &"m".repeat(65), json!({})).await.faults(), [fault("/name", "not_a_name")]);
    for path in ["/v1/queues/mail", "/v1/queues/no%20such"] {
        server.get(path).await.problem(404, "not_found");
    }
    command(&server, "mail", "pause").await.problem(404, "not_found");
    command(&server, "mail", "resume").await.problem(404, "not_found");
    server.get("/v1/queues?limit=0").await.problem(400, "invalid_query");
    server.get("/v1/queues?cursor=%2A").await.problem(400, "invalid_query");
    server.send("PUT", "/v1/queues/mail?x=1", &[], "{}").await.problem(400, "invalid_query");
    server.send("PUT", "/v1/queues/mail", &[], "[]").await.problem(400, "malformed");
    // A task in a queue that is not there is refused, alone and in a batch, and nothing of the batch is made.
    let task = json!({"id": "t", "queue": "mail"});
    assert_eq!(server.post("/v1/tasks", task.clone()).await.faults(), [fault("/queue", "no_such_queue")]);
    let batch = server.post("/v1/tasks/batch", json!({"tasks": [{"id": "first"}, task]})).await;
    assert_eq!(batch.faults(), [fault("/tasks/1/queue", "no_such_queue")]);
    server.get("/v1/tasks/first").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn a_paused_queue_finishes_what_runs_and_resume_starts_at_once() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({})).await.expect(201);
    server.create(queued(&worker, "running", "mail")).await;
    let call = worker.call().await;
    assert_eq!(command(&server, "mail", "pause").await.expect(200)["paused"], true);
    assert_eq!(command(&server, "mail", "pause").await.expect(200)["paused"], true);
    server.create(queued(&worker, "waiting", "mail")).await;
    call.answer(200, &[], "{}");
    server.end_of("running").await;
    let waiting = waits_for(&server, "waiting").await;
    assert_eq!(
        waiting,
        json!({"code": "paused", "text": "queue mail to be resumed", "until": null, "ref": null})
    );
    let queue = server.get("/v1/queues/mail").await.expect(200);
    assert_eq!(
        (&queue["waiting_for"], &queue["states"]),
        (&json!({"paused": 1}), &json!({"queued": 1, "succeeded": 1}))
    );
    assert!(worker.is_idle(), "nothing starts");
    // Other queues go on.
    server.create(task_for(&worker, "other")).await;
    worker.call().await.answer(200, &[], "{}");

    command(&server, "mail", "resume").await.expect(200);
    let call = worker.call().await;
    assert_eq!(server.task("waiting").await["state"], "dispatching");
    call.answer(200, &[], "{}");
    server.end_of("waiting").await;
    server.stop().await;
}

#[tokio::test]
async fn a_place_is_held_until_the_webhook() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({"concurrency": 1})).await.expect(201);
    server.create(queued(&worker, "first", "mail")).await;
    server.create(queued(&worker, "second", "mail")).await;
    worker.call().await.answer(202, &[], "");
    while server.task("first").await["state"] != "running" {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        waits_for(&server, "second").await["text"],
        "a place in queue mail, where one attempt may be open"
    );
    let queue = server.get("/v1/queues/mail").await.expect(200);
    assert_eq!(
        (&queue["open"], &queue["waiting_for"]),
        (&json!(1), &json!({"callback": 1, "concurrency": 1}))
    );
    assert_eq!(queue["oldest_due_seconds"].as_f64().map(|age| age < 60.0), Some(true));
    server.webhook(json!({"event": "task_completed", "task_id": "first"})).await;
    worker.call().await.answer(200, &[], "{}");
    server.end_of("second").await;
    server.stop().await;
}

#[tokio::test]
async fn tasks_of_one_key_share_its_limit_and_say_so() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({"per_key": {"concurrency": 1}})).await.expect(201);
    let keyed = |worker: &Worker, id: &str, key: &str| {
        with(queued(worker, id, "mail"), json!({"concurrency_key": key}))
    };
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let task = server.create(keyed(&worker, id, key)).await;
        assert_eq!(task["concurrency_key"], key);
    }
    let mut calls = [worker.call().await, worker.call().await];
    calls.sort_by_key(|call| call.header("taskhook-task-id"));
    assert_eq!(calls.each_ref().map(|call| call.header("taskhook-task-id")), ["a1", "b1"]);
    let waiting = waits_for(&server, "a2").await;
    assert_eq!(
        (&waiting["code"], &waiting["text"]),
        (
            &json!("key_limit"),
            &json!("the end of an attempt with its key in queue mail, of which 1 may be open")
        )
    );
    let queue = server.get("/v1/queues/mail").await.expect(200);
    assert_eq!(queue["waiting_for"], json!({"key_limit": 1, "response": 2}));
    let [a, b] = calls;
    a.answer(200, &[], "{}");
    worker.call().await.answer(200, &[], "{}");
    b.answer(200, &[], "{}");
    for id in ["a1", "a2", "b1"] {
        server.end_of(id).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_rate_spaces_attempts_and_says_until_when() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({"rate": {"limit": 1, "per": "1h"}})).await.expect(201);
    server.create(queued(&worker, "first", "mail")).await;
    server.create(queued(&worker, "second", "mail")).await;
    worker.call().await.answer(200, &[], "{}");
    server.end_of("first").await;
    let waiting = waits_for(&server, "second").await;
    assert_eq!(waiting["code"], "rate");
    assert!(waiting["until"].as_str() > server.task("first").await["created_at"].as_str(), "{waiting}");
    // A faster rate lets it go at once, or soon.
    put(&server, "mail", json!({"rate": {"limit": 1000, "per": "1s"}})).await.expect(200);
    worker.call().await.answer(200, &[], "{}");
    server.end_of("second").await;
    server.stop().await;
}

#[tokio::test]
async fn tasks_take_what_they_leave_open_from_their_queue() {
    let server = RealServer::start().await;
    let worker = Worker::start().await;
    let says = json!({"retry": {"max_attempts": 2, "initial": "1m"}, "timeout": "10s", "completion": "callback", "paused": true});
    put(&server, "mail", says).await.expect(201);
    let task = server.create(queued(&worker, "open", "mail")).await;
    assert_eq!(
        (&task["retry"], &task["timeout"], &task["completion"], &task["request_timeout"], &task["queue"]),
        (
            &json!({"max_attempts": 2, "initial": "1m", "factor": 4.0, "max": "1h"}),
            &json!("10s"),
            &json!("callback"),
            &json!("10s"),
            &json!("mail")
        )
    );
    let own = json!({"retry": {"initial": "2s"}, "timeout": "1m", "completion": "response"});
    let task = server.create(with(queued(&worker, "own", "mail"), own)).await;
    assert_eq!(
        (&task["retry"], &task["timeout"], &task["completion"], &task["request_timeout"]),
        (
            &json!({"max_attempts": 2, "initial": "2s", "factor": 4.0, "max": "1h"}),
            &json!("1m"),
            &json!("response"),
            &json!("1m")
        )
    );
    let external = server.create(json!({"id": "external", "queue": "mail"})).await;
    assert_eq!((&external["timeout"], &external["state"]), (&Value::Null, &json!("running")));
    // The same creation again is the same task, though the queue has come to say something else.
    put(&server, "mail", json!({"paused": true})).await.expect(200);
    server.post("/v1/tasks", queued(&worker, "open", "mail")).await.expect(200);
    let listed = server.get("/v1/tasks?queue=mail").await.expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(server.get("/v1/tasks?queue=none").await.expect(200)["data"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_queue_and_its_tasks_outlive_a_restart() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({"concurrency": 1, "paused": true})).await.expect(201);
    let before = server.get("/v1/queues/mail").await.expect(200);
    server.create(queued(&worker, "waiting", "mail")).await;
    let server = server.restart().await;
    let mut after = server.get("/v1/queues/mail").await.expect(200);
    assert_eq!(after["waiting_for"], json!({"paused": 1}));
    for field in ["waiting_for", "states", "oldest_due_seconds"] {
        after[field] = before[field].clone();
    }
    assert_eq!(after, before);
    command(&server, "mail", "resume").await.expect(200);
    worker.call().await.answer(200, &[], "{}");
    server.end_of("waiting").await;
    server.stop().await;
}

#[tokio::test]
async fn the_metrics_name_every_queue() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mail", json!({})).await.expect(201);
    server.create(queued(&worker, "sent", "mail")).await;
    worker.call().await.answer(200, &[], "{}");
    server.end_of("sent").await;
    let text = String::from_utf8(server.get("/metrics").await.body.to_vec()).expect("text");
    for line in [
        "taskhook_tasks{queue=\"mail\",state=\"succeeded\"} 1",
        "taskhook_tasks{queue=\"default\",state=\"succeeded\"} 0",
        "taskhook_attempts_total{queue=\"mail\",result=\"succeeded\"} 1",
        "taskhook_oldest_due_seconds{queue=\"mail\"} 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    server.stop().await;
}
