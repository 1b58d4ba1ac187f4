//! `/metrics`, and refused webhooks, which are kept.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{PATIENCE, TestServer, Worker, task_for, with};

#[tokio::test]
async fn what_happened_is_counted() {
    let server = TestServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.create(json!({"id": "b"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    for line in [
        r#"taskhook_tasks{queue="default",state="running"} 1"#,
        r#"taskhook_tasks{queue="default",state="succeeded"} 1"#,
        r#"taskhook_tasks{queue="default",state="failed"} 0"#,
        r#"taskhook_attempts_total{queue="default",result="succeeded"} 1"#,
        r#"taskhook_events_total{source="default",outcome="applied"} 1"#,
        r#"taskhook_events_total{source="default",outcome="ignored"} 1"#,
        r#"taskhook_oldest_due_seconds{queue="default"} 0.0"#,
        "taskhook_dispatch_lateness_seconds_count 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line}:\n{text}");
    }
    let number = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().parse().expect("a number")
    };
    // One for each request; a server that starts looks at its queues once, alone or with the first of them.
    assert!((4..=5).contains(&number("taskhook_commit_seconds_count ")), "{text}");
    assert!(number("taskhook_store_bytes ") > 0);
    server.stop().await;
}

#[tokio::test]
async fn callbacks_are_overdue_from_the_first_question_to_the_end() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let status = json!({"url": format!("{}/status", worker.url), "after": "50ms"});
    server.create(with(task_for(&worker, "a"), json!({"status": status}))).await;
    server.create(task_for(&worker, "b")).await;
    for _ in 0..2 {
        worker.call().await.status(202);
    }
    let question = worker.call().await;
    let gauge = |text: String| {
        let name = "taskhook_callbacks_overdue{queue=\"default\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)).expect("a line").to_string()
    };
    let text = server.get("/metrics").await.text();
    assert_eq!(gauge(text), "1");
    question.answer(200, &[], r#"{"status": "completed"}"#);
    server.end_of("a").await;
    let deadline = Instant::now() + PATIENCE;
    while gauge(server.get("/metrics").await.text()) != "0" {
        assert!(Instant::now() < deadline, "it is overdue for ever");
        tokio::time::sleep(Duration::from_millis(100)).await; // real time: the figures are up to a second old.
    }
    server.stop().await;
}

#[tokio::test]
async fn a_task_is_not_late_before_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| config.dispatch.exchanges = 1).await;
    let mut worker = Worker::start().await;
    for id in ["a", "b"] {
        server.create(with(task_for(&worker, id), json!({"run_at": "1999-12-31T23:59:59Z"}))).await;
    }
    // The other one waits for its exchange to end.
    let call = worker.call().await;
    let text = String::from_utf8(server.get("/metrics").await.body.to_vec()).expect("text");
    assert!(text.contains("\ntaskhook_dispatch_lateness_seconds_count 1\n"), "{text}");
    for name in ["taskhook_dispatch_lateness_seconds_sum ", "taskhook_oldest_due_seconds{queue=\"default\"} "]
    {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let late: f64 = line.parse().expect("a number");
        assert!(late < 3_600.0, "{name}{late}");
    }
    call.status(200);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_webhook_is_kept_with_its_reason() {
    let server = TestServer::start().await;
    server.send("POST", "/webhook", &[("webhook-id", "d1")], "{\"event\": ").await.expect(400);
    let events = server.get("/v1/events?outcome=rejected").await.expect(200);
    let event = &events["data"][0];
    assert_eq!(event["outcome"], "rejected");
    assert_eq!(event["body"], "{\"event\": ");
    assert!(event["reason"].as_str().expect("a reason").contains("line 1 column 10"), "{event}");

    // It claims no delivery id, and cannot be replayed while it cannot be read.
    let answer = server.send("POST", "/webhook", &[("webhook-id", "d1")], r#"{"event": "hello"}"#).await;
    assert_eq!(answer.expect(200)["outcome"], "recorded");
    let id = event["id"].as_str().expect("an id");
    server.post(&format!("/v1/events/{id}/replay"), json!({})).await.expect(400);
    server.stop().await;
}

#[tokio::test]
async fn refused_webhooks_are_bounded() {
    let server = TestServer::start().await;
    let began = Instant::now();
    for _ in 0..200 {
        server.send("POST", "/webhook", &[], "no json").await.expect(400);
    }
    let most = 51 + began.elapsed().as_millis() / 100;
    let kept = server.get("/v1/events?outcome=rejected&limit=1000").await.expect(200);
    let kept = kept["data"].as_array().expect("a list").len();
    assert!((50..=most).contains(&(kept as u128)), "a flood is cut: {kept} of 200 were kept, {most} may be");
    server.stop().await;
}
