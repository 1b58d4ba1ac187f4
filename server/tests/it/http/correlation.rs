//! `correlate` and `map.external_id`: the remote's own id names the task (contract, sections 4 and 8).

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Worker, task_for, with};

/// A source whose webhooks name tasks by the remote's own ids.
async fn shop(server: &RealServer) {
    let source = json!({
        "verify": {"scheme": "none"},
        "map": {"event": {"job.done": "task_completed", "job.broken": "task_failed"}, "external_id": "body.job.id"}
    });
    server.send("PUT", "/v1/sources/shop", &[], source.to_string()).await.expect(201);
}

/// What the remote says of its job.
async fn says(server: &RealServer, event: &str, id: impl Into<Value>) -> Value {
    let body = json!({"event": event, "job": {"id": id.into()}});
    server.tell("/webhook/shop", &[], body).await
}

fn of_shop(worker: &Worker, id: &str, correlate: &str) -> Value {
    with(task_for(worker, id), json!({"source": "shop", "correlate": correlate}))
}

#[tokio::test]
async fn the_id_in_the_response_names_the_task() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    shop(&server).await;
    for (id, correlate, headers, body, remote) in [
        ("a", "response.body.job.id", &[][..], r#"{"job": {"id": "job_1"}}"#, json!("job_1")),
        ("b", "response.body.id", &[], r#"{"id": 77}"#, json!(77)),
        ("c", "response.headers.location", &[("location", "/jobs/j-9")], "", json!("/jobs/j-9")),
        ("d", "response.body", &[("content-type", "text/plain")], "plain-4", json!("plain-4")),
        ("e", "'job-' + string(response.status)", &[], "", json!("job-202")),
    ] {
        let task = server.create(of_shop(&worker, id, correlate)).await;
        assert_eq!((&task["correlate"], &task["external_id"]), (&json!(correlate), &Value::Null));
        worker.call().await.answer(202, headers, body);
        server.until_change(id, "correlated").await;
        let text = remote.as_str().map_or_else(|| remote.to_string(), Into::into);
        assert_eq!(server.task(id).await["external_id"], text);
        let answer = says(&server, "job.done", remote).await;
        assert_eq!(
            (&answer["outcome"], &answer["task_state"]),
            (&json!("applied"), &json!("succeeded")),
            "{id}"
        );
        let event =
            server.get(&format!("/v1/events/{}", answer["event_id"].as_str().unwrap())).await.expect(200);
        assert_eq!(
            (&event["task"], &event["external_id"], &event["attempt"]),
            (&json!(id), &json!(text), &json!(1))
        );
        assert_eq!(
            server.get(&format!("/v1/events?task={id}")).await.expect(200)["data"][0]["id"],
            event["id"]
        );
        assert_eq!(server.task(id).await["state"], "succeeded");
    }
    let history = server.get("/v1/tasks/a/history").await.expect(200);
    let told: Vec<&str> =
        history["data"].as_array().unwrap().iter().filter_map(|entry| entry["text"].as_str()).collect();
    assert!(told.iter().any(|text| text.contains(r#"the remote calls attempt 1 "job_1""#)), "{told:?}");
}

/// G7: the remote's webhook may be faster than its own response.
#[tokio::test]
async fn a_webhook_that_is_faster_than_the_response_counts() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    shop(&server).await;
    server.create(of_shop(&worker, "a", "response.body.id")).await;
    let call = worker.call().await;
    let early = says(&server, "job.done", "job_1").await;
    assert_eq!((&early["outcome"], early.get("task_state")), (&json!("unmatched"), None));
    let path = format!("/v1/events/{}", early["event_id"].as_str().unwrap());
    let waiting = server.get(&path).await.expect(200);
    assert_eq!((&waiting["task"], &waiting["external_id"]), (&Value::Null, &json!("job_1")));
    call.answer(202, &[], r#"{"id": "job_1"}"#);
    let task = server.end_of("a").await;
    assert_eq!(task["state"], "succeeded");
    let known = server.get(&path).await.expect(200);
    assert_eq!((&known["task"], &known["outcome"]), (&json!("a"), &json!("applied")));
    let changes = server.changes("a").await;
    assert_eq!(changes[changes.len() - 3..], ["correlated", "started", "succeeded"], "{changes:?}");
}

#[tokio::test]
async fn a_failure_of_an_earlier_attempt_leaves_the_newer_one_alone() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    shop(&server).await;
    let retry = json!({"retry": {"max_attempts": 3, "initial": "1ms"}});
    server.create(with(of_shop(&worker, "a", "response.body.id"), retry)).await;
    worker.call().await.answer(202, &[], r#"{"id": "first"}"#);
    server.until_change("a", "correlated").await;
    assert_eq!(says(&server, "job.broken", "first").await["outcome"], "applied");
    worker.call().await.answer(202, &[], r#"{"id": "second"}"#);
    server.until("a", |task| task["external_id"] == "second").await;
    assert_eq!(says(&server, "job.broken", "first").await["outcome"], "stale");
    assert_eq!(server.task("a").await["state"], "running");
    // Its success is the task's all the same.
    assert_eq!(says(&server, "job.done", "first").await["outcome"], "applied");
    assert_eq!(server.task("a").await["state"], "succeeded");
}

#[tokio::test]
async fn an_external_task_says_its_remote_id_itself() {
    let server = RealServer::start().await;
    shop(&server).await;
    assert_eq!(says(&server, "job.done", "early").await["outcome"], "unmatched");
    for (id, correlate, remote) in [
        ("a", "pi_3Mt-w.B", "pi_3Mt-w.B"),
        ("b", "'quoted id'", "quoted id"),
        ("c", "991", "991"),
        ("d", "early", "early"),
    ] {
        let task = server.create(json!({"id": id, "source": "shop", "correlate": correlate})).await;
        assert_eq!((&task["external_id"], &task["correlate"]), (&json!(remote), &json!(correlate)));
        if id != "d" {
            assert_eq!(says(&server, "job.done", remote).await["outcome"], "applied");
        }
        assert_eq!(server.task(id).await["state"], "succeeded", "{id}");
    }
    // While a task has not ended, no other has its id.
    server.create(json!({"id": "e", "source": "shop", "correlate": "one"})).await;
    let second = json!({"id": "f", "source": "shop", "correlate": "one"});
    server.post("/v1/tasks", second.clone()).await.problem(409, "external_id_taken");
    // That of another source is another id.
    server.create(json!({"id": "g", "correlate": "one"})).await;
    says(&server, "job.done", "one").await;
    server.post("/v1/tasks", second).await.expect(201);
    assert_eq!(server.task("g").await["state"], "running");
}

#[tokio::test]
async fn what_is_not_found_is_told() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    shop(&server).await;
    let long = format!(r#"{{"id": "{}"}}"#, "x".repeat(257));
    for (id, body, why) in [
        ("a", "{}", "it is not there"),
        ("b", r#"{"id": null}"#, "it is not there"),
        ("c", r#"{"id": [1]}"#, "neither a string nor an integer"),
        ("d", r#"{"id": ""}"#, "it is empty"),
        ("e", &long, "may have 256"),
        ("f", "no json", "not known"),
    ] {
        server.create(of_shop(&worker, id, "response.body.id")).await;
        worker.call().await.answer(202, &[], body.to_string());
        server.until_change(id, "not_correlated").await;
        let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200).to_string();
        assert!(history.contains(why), "{id}: {history}");
        assert_eq!(server.task(id).await["state"], "running");
    }
    // A failed attempt is not asked what it is called.
    server
        .create(with(of_shop(&worker, "g", "response.body.id"), json!({"retry": {"max_attempts": 1}})))
        .await;
    worker.call().await.answer(500, &[], r#"{"id": "job_1"}"#);
    assert_eq!(server.end_of("g").await["external_id"], Value::Null);
    let other = server.create(of_shop(&worker, "h", "response.body.id")).await;
    assert_eq!(other["state"], "dispatching");
    worker.call().await.answer(202, &[], r#"{"id": "job_h"}"#);
    server.until_change("h", "correlated").await;
    server.create(of_shop(&worker, "i", "response.body.id")).await;
    worker.call().await.answer(202, &[], r#"{"id": "job_h"}"#);
    server.until_change("i", "not_correlated").await;
    let history = server.get("/v1/tasks/i/history").await.expect(200).to_string();
    assert!(history.contains(r#"but that is task h, which had not ended"#), "{history}");
}

#[tokio::test]
async fn what_cannot_be_an_id_is_refused_with_the_reason() {
    let server = RealServer::start().await;
    let url = "http://127.0.0.1:9/x";
    for (task, says) in [
        (json!({"url": url, "correlate": "pi_123"}), "'pi_123'"),
        (json!({"url": url, "correlate": "request.body.id"}), "asks for request"),
        (json!({"url": url, "correlate": "response.headers.location.split('/')[2]"}), "asks for split()"),
        (json!({"url": url, "correlate": "''"}), "it is empty"),
        (json!({"correlate": ""}), "it is empty"),
        (json!({"correlate": "a\nb"}), "control characters"),
        (json!({"correlate": "x".repeat(257)}), "may have 256"),
        (json!({"correlate": 7}), "a string"),
    ] {
        let answer = server.post("/v1/tasks", task.clone()).await;
        assert_eq!(answer.faults()[0].0, "/correlate", "{task}");
        assert!(answer.text().contains(says), "{task}: {}", answer.text());
    }
    let template = json!({"every": "1h", "task": {"url": url, "correlate": "'one'"}});
    let faults = server.send("PUT", "/v1/schedules/s", &[], template.to_string()).await.faults();
    assert_eq!(faults[0].0, "/task/correlate");
    let template = json!({"every": "1h", "task": {"url": url, "correlate": "response.body.id"}});
    let made = server.send("PUT", "/v1/schedules/s", &[], template.to_string()).await.expect(201);
    assert_eq!(made["task"]["correlate"], "response.body.id");
}

#[tokio::test]
async fn ids_survive_a_kill() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    shop(&server).await;
    server.create(of_shop(&worker, "a", "response.body.id")).await;
    worker.call().await.answer(202, &[], r#"{"id": "job_1"}"#);
    server.until_change("a", "correlated").await;
    assert_eq!(says(&server, "job.done", "job_2").await["outcome"], "unmatched");
    server.crash_and_restart().await;
    assert_eq!(says(&server, "job.done", "job_1").await["outcome"], "applied");
    let task = server.create(json!({"id": "b", "source": "shop", "correlate": "job_2"})).await;
    assert_eq!(task["state"], "succeeded");
}

/// A replay of a webhook names the task in the same way, and its map sees the query that it came with.
#[tokio::test]
async fn a_replay_finds_the_task_by_the_same_id() {
    let server = RealServer::start().await;
    let source = json!({
        "verify": {"scheme": "none"},
        "map": {"event": "query.kind", "external_id": "query.job"}
    });
    server.send("PUT", "/v1/sources/shop", &[], source.to_string()).await.expect(201);
    let answer = server.tell("/webhook/shop?kind=task_completed&job=j1&token=canary", &[], json!({})).await;
    assert_eq!(answer["outcome"], "unmatched");
    let path = format!("/v1/events/{}", answer["event_id"].as_str().unwrap());
    let event = server.get(&path).await.expect(200);
    assert_eq!(event["query"], "kind=task_completed&job=j1&token=%5Bredacted%5D");
    // Another task takes it first; the replay comes to the one that has the id by then.
    server.create(json!({"id": "a", "source": "shop", "correlate": "j1"})).await;
    assert_eq!(server.task("a").await["state"], "succeeded");
    server.create(json!({"id": "b", "source": "shop", "correlate": "j1"})).await;
    let replay = server.post(&format!("{path}/replay"), json!({})).await.expect(200);
    assert_eq!((&replay["outcome"], &replay["task_state"]), (&json!("applied"), &json!("succeeded")));
    assert_eq!(server.task("b").await["state"], "succeeded");
}
