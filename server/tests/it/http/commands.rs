//! `cancel`, `retry` and `trigger`, of a task in every state (contract, section 4).

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, Worker, task_for, with};

async fn command(server: &TestServer, id: &str, command: &str) -> Answer {
    server.send("POST", &format!("/v1/tasks/{id}/{command}"), &[], "").await
}

/// A task in each state, by the state's name. Answer `held`, which is the open exchange, before the server is
/// to stop.
async fn one_in_each_state(server: &TestServer, worker: &mut Worker) -> crate::support::Call {
    server.create(json!({"id": "parent"})).await;
    server.create(json!({"id": "blocked", "after": ["parent"]})).await;
    server.create(json!({"id": "scheduled", "delay": "1h"})).await;
    for id in ["running", "succeeded", "failed", "cancelled"] {
        server.create(json!({"id": id})).await;
    }
    server.webhook(json!({"event": "task_completed", "task_id": "succeeded"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "failed"})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "cancelled"})).await;
    server.create(json!({"id": "skipped", "after": ["failed"]})).await;
    server.create(task_for(worker, "dispatching")).await;
    // With one exchange in all, another task stays queued.
    server.create(task_for(worker, "queued")).await;
    let held = worker.call().await;
    for state in STATES {
        assert_eq!(server.task(state).await["state"], state);
    }
    held
}

const STATES: [&str; 9] = [
    "blocked",
    "scheduled",
    "queued",
    "dispatching",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "skipped",
];

async fn start_with_one_exchange() -> TestServer {
    let folder = tempfile::tempdir().expect("a folder");
    TestServer::start_in(folder, |config| {
        config.dispatch.exchanges = 1;
        config.dispatch.exchanges_per_host = 1;
    })
    .await
}

#[tokio::test]
async fn cancel_is_immediate_409_of_an_end_and_200_of_a_cancelled_task() {
    let server = start_with_one_exchange().await;
    let mut worker = Worker::start().await;
    let held = one_in_each_state(&server, &mut worker).await;
    // The queued one first: it would start when the exchange ends.
    for state in ["blocked", "scheduled", "queued", "dispatching", "running", "cancelled"] {
        let task = command(&server, state, "cancel").await.expect(200);
        assert_eq!(task["state"], "cancelled", "it was {state}");
        assert_eq!(task["waiting_for"], Value::Null);
        assert!(!task["ended_at"].is_null());
    }
    for (state, words) in
        [("succeeded", "has succeeded"), ("failed", "has failed"), ("skipped", "has been skipped")]
    {
        let problem = command(&server, state, "cancel").await.problem(409, "already_ended");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem}");
        assert_eq!(server.task(state).await["state"], state);
    }
    // The answer to what was cancelled is only recorded.
    held.answer(200, &[], "\"done\"");
    let responded = |changes: Vec<String>| changes.last().is_some_and(|change| change == "responded");
    while !responded(server.changes("dispatching").await) {
        tokio::task::yield_now().await;
    }
    let task = server.task("dispatching").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("cancelled"), &Value::Null));
    assert!(worker.is_idle(), "a cancelled task is not sent");
    server.stop().await;
}

#[tokio::test]
async fn trigger_makes_a_scheduled_task_due_now_and_is_409_of_any_other() {
    let server = start_with_one_exchange().await;
    let mut worker = Worker::start().await;
    let held = one_in_each_state(&server, &mut worker).await;
    assert_eq!(command(&server, "scheduled", "trigger").await.expect(200)["state"], "running");
    assert_eq!(server.changes("scheduled").await, ["created", "scheduled", "triggered", "begun"]);
    for state in STATES.into_iter().filter(|state| *state != "scheduled") {
        let problem = command(&server, state, "trigger").await.problem(409, "not_scheduled");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.ends_with(&format!("this one is {state}")))
        );
    }
    held.status(200);
    worker.call().await.status(200);
    server.end_of("queued").await;
    server.stop().await;
}

#[tokio::test]
async fn trigger_sends_a_task_that_waits_for_its_time_or_for_a_retry() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let fields = json!({"delay": "1h", "retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), fields)).await;
    for attempt in ["1", "2"] {
        server.until_state("123", "scheduled").await;
        command(&server, "123", "trigger").await.expect(200);
        let call = worker.call().await;
        assert_eq!(call.header("taskhook-attempt"), attempt);
        call.status(if attempt == "1" { 500 } else { 200 });
    }
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn retry_reopens_failed_and_cancelled_and_is_409_of_what_did_not_end_so() {
    let server = start_with_one_exchange().await;
    let mut worker = Worker::start().await;
    let held = one_in_each_state(&server, &mut worker).await;
    for state in ["blocked", "scheduled", "queued", "dispatching", "running", "succeeded"] {
        let problem = command(&server, state, "retry").await.problem(409, "not_retryable");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.ends_with(&format!("this one is {state}")))
        );
    }
    for state in ["cancelled", "failed"] {
        let task = command(&server, state, "retry").await.expect(200);
        assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(2)), "it was {state}");
        assert_eq!(task["ended_at"], Value::Null);
    }
    // It was skipped only because of the failed one.
    server.until_state("skipped", "blocked").await;
    held.status(200);
    worker.call().await.status(200);
    server.end_of("queued").await;
    server.stop().await;
}

#[tokio::test]
async fn attempt_numbers_go_on_after_a_retry_and_attempts_are_counted_anew() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"max_attempts": 2, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    let mut keys = Vec::new();
    for attempt in ["1", "2", "3", "4"] {
        let call = worker.call().await;
        assert_eq!(call.header("taskhook-attempt"), attempt);
        keys.push(call.header("idempotency-key"));
        call.status(500);
        if attempt == "2" {
            let failed = server.end_of("123").await;
            assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &json!("http_500")));
            command(&server, "123", "retry").await.expect(200);
        }
    }
    assert_eq!(server.end_of("123").await["state"], "failed");
    assert_eq!((&keys[0], &keys[2]), (&keys[1], &keys[3]), "one key until an explicit retry");
    assert_ne!(keys[0], keys[2]);
    server.stop().await;
}

#[tokio::test]
async fn retry_reopens_the_tasks_that_were_skipped_only_because_of_it() {
    let server = TestServer::start().await;
    let tasks = json!([
        {"id": "a"}, {"id": "x"}, {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]},
        {"id": "both", "after": ["a", "x"]}, {"id": "on_failed", "after": [{"task": "a", "on": "failed"}]},
    ]);
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    for id in ["a", "x"] {
        server.webhook(json!({"event": "task_failed", "task_id": id})).await;
    }
    for id in ["b", "c", "both"] {
        server.until_state(id, "skipped").await;
    }
    server.until_state("on_failed", "running").await;
    command(&server, "a", "retry").await.expect(200);
    for id in ["b", "c"] {
        server.until_state(id, "blocked").await;
    }
    assert_eq!(server.task("both").await["state"], "skipped", "because of x too");
    assert_eq!(server.task("on_failed").await["state"], "running", "what has started goes on");
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    server.until_state("b", "running").await;
    command(&server, "x", "retry").await.expect(200);
    server.until_state("both", "blocked").await;
    server.webhook(json!({"event": "task_completed", "task_id": "x"})).await;
    server.until_state("both", "running").await;
    server.stop().await;
}

#[tokio::test]
async fn a_skipped_task_with_unmet_dependencies_is_409_that_names_them_unless_they_are_ignored() {
    let server = TestServer::start().await;
    for id in ["done", "failed", "cancelled", "open"] {
        server.create(json!({"id": id})).await;
    }
    server.create(json!({"id": "123", "after": ["done", "open", "failed", {"task": "cancelled", "on": "not_failed"}]})).await;
    server.create(json!({"id": "124", "after": ["123"]})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "done"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "failed"})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "cancelled"})).await;
    server.until_state("124", "skipped").await;
    for body in [json!({}), json!({"ignore_dependencies": false}), json!({"ignore_dependencies": null})] {
        let problem = server.post("/v1/tasks/123/retry", body).await.problem(409, "dependencies_unmet");
        let wanted = json!([
            {"pointer": "/after/1", "code": "unmet", "detail": "task open is running"},
            {"pointer": "/after/2", "code": "unmet", "detail": "task failed is failed"},
            {"pointer": "/after/3", "code": "unmet", "detail": "task cancelled is cancelled"},
        ]);
        assert_eq!(problem["errors"], wanted);
    }
    let task = server.post("/v1/tasks/123/retry", json!({"ignore_dependencies": true})).await.expect(200);
    assert_eq!(task["state"], "running");
    server.until_state("124", "blocked").await;
    server.stop().await;
}

#[tokio::test]
async fn a_command_takes_no_options_but_its_own() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123", "delay": "1h"})).await;
    for name in ["cancel", "trigger", "retry"] {
        let path = format!("/v1/tasks/123/{name}");
        let answer = server.post(&path, json!({"forse": true})).await;
        assert_eq!(answer.faults(), [("/forse".to_string(), "unknown_field".to_string())], "{name}");
        server.send("POST", &path, &[], "[]").await.problem(400, "malformed");
        server.send("POST", &path, &[], "{").await.problem(400, "malformed");
        server.send("POST", &path, &[], "x".repeat(65 << 10)).await.problem(413, "too_large");
    }
    let answer = server.post("/v1/tasks/123/retry", json!({"ignore_dependency": true})).await;
    assert!(
        answer.json()["errors"][0]["detail"]
            .as_str()
            .is_some_and(|it| it.contains("\"ignore_dependencies\""))
    );
    let answer = server.post("/v1/tasks/123/retry", json!({"ignore_dependencies": "yes"})).await;
    assert_eq!(answer.faults(), [("/ignore_dependencies".to_string(), "wrong_type".to_string())]);
    assert_eq!(server.changes("123").await, ["created", "scheduled"]);
    server.stop().await;
}

#[tokio::test]
async fn a_command_to_a_task_that_is_not_there_is_404() {
    let server = TestServer::start().await;
    for name in ["cancel", "trigger", "retry"] {
        for id in ["123", "evt_x", "a%20b", "%ff"] {
            command(&server, id, name).await.problem(404, "not_found");
        }
    }
    server.stop().await;
}
