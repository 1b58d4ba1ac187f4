//! The rules of the race: webhooks, responses, time-outs and retries in every order (contract, section 4).

use serde_json::{Value, json};

use crate::support::{Call, TestServer, Worker, task_for, with};

/// Sends an event about task `123`, and gives outcome, reason and state.
async fn report(
    server: &TestServer,
    event: &str,
    attempt: impl Into<Option<u32>>,
) -> (String, String, String) {
    let answer = server.webhook(json!({"event": event, "task_id": "123", "attempt": attempt.into()})).await;
    let text = |member: &str| answer[member].as_str().unwrap_or("-").to_string();
    (text("outcome"), text("reason"), text("task_state"))
}

fn answer(outcome: &str, reason: &str, state: &str) -> (String, String, String) {
    (outcome.into(), reason.into(), state.into())
}

fn applied(state: &str) -> (String, String, String) {
    answer("applied", "-", state)
}

/// Waits until so many responses are recorded on task `123`.
async fn until_responded(server: &TestServer, count: usize) {
    while server.changes("123").await.iter().filter(|change| *change == "responded").count() < count {
        tokio::task::yield_now().await;
    }
}

/// Task `123`, whose attempt 1 has failed, and which waits long for attempt 2.
async fn backing_off(server: &TestServer, worker: &mut Worker) {
    let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(worker, "123"), retry)).await;
    worker.call().await.status(500);
    server.until_state("123", "scheduled").await;
}

/// Task `123`, whose attempt 1 has failed, and the open exchange of attempt 2.
async fn second_attempt(server: &TestServer, worker: &mut Worker) -> Call {
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(worker, "123"), retry)).await;
    worker.call().await.status(500);
    worker.call().await
}

#[tokio::test]
async fn a_terminal_webhook_before_the_response_counts_and_the_response_is_only_recorded() {
    for (event, end) in [("task_completed", "succeeded"), ("task_cancelled", "cancelled")] {
        for status in [200, 202, 400, 503] {
            let server = TestServer::start().await;
            let mut worker = Worker::start().await;
            server.create(task_for(&worker, "123")).await;
            let call = worker.call().await;
            assert_eq!(report(&server, event, None).await, applied(end));
            let ended = server.task("123").await;
            call.answer(status, &[("taskhook-no-retry", "true")], "\"from the response\"");
            until_responded(&server, 1).await;
            let after = server.task("123").await;
            assert_eq!(after, ended, "{event}, then {status}");
            assert!(worker.is_idle());
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_failure_before_the_response_ends_the_attempt_and_a_late_200_of_it_is_only_recorded() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    let call = worker.call().await;
    assert_eq!(report(&server, "task_failed", None).await, applied("scheduled"));
    call.answer(200, &[], "\"from the response\"");
    until_responded(&server, 1).await;
    let task = server.task("123").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("scheduled"), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn after_task_started_the_response_still_decides() {
    for (status, completion, state) in [
        (200, "auto", "succeeded"),
        (204, "auto", "succeeded"),
        (202, "auto", "running"),
        (200, "callback", "running"),
        (202, "response", "succeeded"),
        (500, "auto", "scheduled"),
        (400, "auto", "failed"),
    ] {
        for event in ["task_started", "task_progress", "task_heartbeat"] {
            let server = TestServer::start().await;
            let mut worker = Worker::start().await;
            let fields = json!({"completion": completion, "retry": {"initial": "24h", "max": "24h"}});
            server.create(with(task_for(&worker, "123"), fields)).await;
            let call = worker.call().await;
            assert_eq!(report(&server, event, None).await, applied("running"));
            call.status(status);
            until_responded(&server, 1).await;
            assert_eq!(server.task("123").await["state"], state, "{event}, then {status} under {completion}");
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_connection_error_after_a_sign_of_life_leaves_the_task_running_and_the_webhook_ends_it() {
    for (event, end, state) in [
        ("task_started", "task_completed", "succeeded"),
        ("task_progress", "task_failed", "scheduled"),
        ("task_heartbeat", "task_cancelled", "cancelled"),
    ] {
        let server = TestServer::start().await;
        let mut worker = Worker::start().await;
        let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
        server.create(with(task_for(&worker, "123"), retry)).await;
        let call = worker.call().await;
        assert_eq!(report(&server, event, 1).await, applied("running"));
        call.hang_up();
        until_responded(&server, 1).await;
        let task = server.task("123").await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(1)), "after {event}");
        assert_eq!(report(&server, end, None).await, applied(state));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_connection_error_without_a_sign_of_life_is_retried() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    backing_off(&server, &mut worker).await;
    server.post("/v1/tasks/123/trigger", json!({})).await.expect(200);
    worker.call().await.hang_up();
    let task = server.until("123", |task| task["error"]["code"] == "broken").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("scheduled"), &json!(2)));
    server.stop().await;
}

#[tokio::test]
async fn a_late_success_during_the_back_off_completes_the_task() {
    for attempt in [None, Some(1)] {
        let server = TestServer::start().await;
        let mut worker = Worker::start().await;
        backing_off(&server, &mut worker).await;
        assert_eq!(report(&server, "task_completed", attempt).await, applied("succeeded"));
        let task = server.task("123").await;
        assert_eq!((&task["attempt"], &task["error"]["code"]), (&json!(1), &json!("http_500")));
        server.post("/v1/tasks/123/trigger", json!({})).await.problem(409, "not_scheduled");
        assert!(worker.is_idle(), "there is no second attempt");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_late_cancellation_during_the_back_off_cancels_the_task() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    backing_off(&server, &mut worker).await;
    assert_eq!(report(&server, "task_cancelled", None).await, applied("cancelled"));
    server.stop().await;
}

#[tokio::test]
async fn a_late_failure_during_the_back_off_is_ignored() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    backing_off(&server, &mut worker).await;
    let before = server.task("123").await;
    for event in ["task_failed", "task_progress", "task_heartbeat", "task_started"] {
        let wanted = answer("ignored", "attempt_ended", "scheduled");
        assert_eq!(report(&server, event, 1).await, wanted, "{event}");
        assert_eq!(report(&server, event, None).await, wanted, "{event}");
    }
    assert_eq!(server.task("123").await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_late_failure_during_a_newer_attempt_is_stale_and_never_touches_it() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let second = second_attempt(&server, &mut worker).await;
    let before = server.task("123").await;
    for event in ["task_failed", "task_progress", "task_heartbeat", "task_started", "task_cancelled"] {
        assert_eq!(report(&server, event, 1).await, answer("stale", "-", "dispatching"), "{event}");
    }
    assert_eq!(server.task("123").await, before);
    second.status(202);
    server.until_state("123", "running").await;
    assert_eq!(report(&server, "task_failed", 1).await, answer("stale", "-", "running"));
    assert_eq!(report(&server, "task_completed", 2).await, applied("succeeded"));
    server.stop().await;
}

#[tokio::test]
async fn a_late_success_during_a_newer_attempt_completes_the_task_and_that_one_is_given_up() {
    for status in [200, 202, 500] {
        let server = TestServer::start().await;
        let mut worker = Worker::start().await;
        let second = second_attempt(&server, &mut worker).await;
        let body = json!({"event": "task_completed", "task_id": "123", "attempt": 1, "result": "late"});
        let answered = server.webhook(body).await;
        assert_eq!((&answered["outcome"], &answered["task_state"]), (&json!("applied"), &json!("succeeded")));
        let ended = server.task("123").await;
        assert_eq!((&ended["result"], &ended["attempt"]), (&json!("late"), &json!(2)));
        second.answer(status, &[], "\"of the second\"");
        until_responded(&server, 2).await;
        assert_eq!(server.task("123").await, ended, "{status}");
        assert_eq!(report(&server, "task_completed", 2).await, answer("ignored", "terminal", "succeeded"));
        assert!(worker.is_idle());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_webhook_that_names_no_attempt_means_the_current_one() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    worker.call().await.status(202);
    server.until_state("123", "running").await;
    assert_eq!(report(&server, "task_failed", None).await, applied("scheduled"));
    let second = worker.call().await;
    assert_eq!(report(&server, "task_progress", None).await, applied("running"));
    assert_eq!(report(&server, "task_failed", None).await, applied("scheduled"));
    second.status(200);
    let third = worker.call().await;
    third.status(202);
    server.until_state("123", "running").await;
    assert_eq!(report(&server, "task_completed", None).await, applied("succeeded"));
    let history = server.get("/v1/tasks/123/history").await.expect(200);
    let last = history["data"].as_array().and_then(|entries| entries.last()).expect("an end").clone();
    assert_eq!((&last["change"], &last["attempt"]), (&json!("succeeded"), &json!(3)));
    server.stop().await;
}

#[tokio::test]
async fn no_success_from_before_an_explicit_retry_counts() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "123"), json!({"retry": {"max_attempts": 1}}))).await;
    worker.call().await.status(500);
    assert_eq!(server.end_of("123").await["state"], "failed");
    server.post("/v1/tasks/123/retry", json!({})).await.expect(200);
    let second = worker.call().await;
    for event in ["task_completed", "task_failed", "task_cancelled", "task_progress"] {
        assert_eq!(report(&server, event, 1).await, answer("stale", "-", "dispatching"), "{event}");
    }
    assert_eq!(report(&server, "task_completed", 2).await, applied("succeeded"));
    second.status(202);
    server.stop().await;
}

#[tokio::test]
async fn a_retried_task_that_waits_ignores_what_names_no_attempt() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| {
        config.dispatch.exchanges = 1;
        config.dispatch.exchanges_per_host = 1;
    })
    .await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "123"), json!({"retry": {"max_attempts": 1}}))).await;
    worker.call().await.status(500);
    server.end_of("123").await;
    server.create(task_for(&worker, "holds-the-place")).await;
    let held = worker.call().await;
    assert_eq!(server.post("/v1/tasks/123/retry", json!({})).await.expect(200)["state"], "queued");
    assert_eq!(report(&server, "task_completed", None).await, answer("ignored", "not_started", "queued"));
    assert_eq!(report(&server, "task_completed", 1).await, answer("stale", "-", "queued"));
    held.status(200);
    worker.call().await.status(200);
    assert_eq!(server.end_of("123").await["attempt"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_failure_that_is_not_retryable_fails_the_task_at_once() {
    for (error, state) in [
        (json!({"message": "no such image", "retryable": false}), "failed"),
        (json!({"message": "busy", "retryable": true}), "scheduled"),
        (json!({"message": "busy", "retryable": "no"}), "scheduled"),
        (json!("busy"), "scheduled"),
    ] {
        let server = TestServer::start().await;
        let mut worker = Worker::start().await;
        let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
        server.create(with(task_for(&worker, "123"), retry)).await;
        worker.call().await.status(202);
        server.until_state("123", "running").await;
        let body = json!({"event": "task_failed", "task_id": "123", "error": error});
        assert_eq!(server.webhook(body).await["task_state"], state, "{error}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_synchronous_worker_that_reports_task_started_and_then_answers_200_has_done_the_task() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    server.create(with(task_for(&worker, "124"), json!({"after": ["123"]}))).await;
    let call = worker.call().await;
    assert_eq!(report(&server, "task_started", None).await, applied("running"));
    call.answer(200, &[], "{\"pages\": 3}");
    let next = worker.call().await;
    assert_eq!(next.header("taskhook-task-id"), "124");
    next.status(200);
    let task = server.end_of("123").await;
    assert_eq!(
        (&task["state"], &task["result"], &task["warnings"]),
        (&json!("succeeded"), &json!({"pages": 3}), &json!([]))
    );
    server.end_of("124").await;
    server.stop().await;
}

#[tokio::test]
async fn a_time_out_ends_the_attempt_and_a_webhook_may_still_complete_it() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let fields = json!({"timeout": "3s", "retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), fields)).await;
    worker.call().await.status(202);
    let task = server.until("123", |task| task["error"]["code"] == "timeout").await;
    assert_eq!(task["state"], "scheduled");
    assert_eq!(report(&server, "task_progress", None).await, answer("ignored", "attempt_ended", "scheduled"));
    assert_eq!(report(&server, "task_completed", None).await, applied("succeeded"));
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_never_changes_a_terminal_state() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "123"), json!({"retry": {"max_attempts": 1}}))).await;
    worker.call().await.status(500);
    let failed = server.end_of("123").await;
    for event in
        ["task_started", "task_progress", "task_heartbeat", "task_completed", "task_failed", "task_cancelled"]
    {
        for attempt in [None, Some(1), Some(2)] {
            let (outcome, ..) = report(&server, event, attempt).await;
            assert_eq!(outcome, "ignored", "{event} of {attempt:?}");
        }
    }
    let after = server.task("123").await;
    for member in ["state", "ended_at", "error", "result", "attempt", "progress", "message"] {
        assert_eq!(after[member], failed[member], "{member}");
    }
    assert!(worker.is_idle());
    server.stop().await;
}
