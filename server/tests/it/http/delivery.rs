//! De-duplication: what is a delivery id, what it is good for, and how long (contract, section 3).

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Api, TestServer, Worker, task_for, with};

/// Reports progress on task `123`, and gives the answer.
async fn report(server: &TestServer, headers: &[(&str, &str)], fields: Value) -> Value {
    let body = with(json!({"event": "task_progress", "task_id": "123"}), fields);
    server.send("POST", "/webhook", headers, body.to_string()).await.expect(200)
}

#[tokio::test]
async fn the_delivery_id_is_the_header_or_the_source_and_id_of_a_cloud_event() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let none = || json!({});
    let structured = |source: &str, id: &str| json!({"specversion": "1.0", "source": source, "id": id});
    type Headers = &'static [(&'static str, &'static str)];
    let header: Headers = &[("webhook-id", "a")];
    // Each line but the first: headers, fields of the body, and what it is after all before it.
    let deliveries: [(Headers, Value, &str); 19] = [
        (header, none(), "applied"),
        (header, none(), "duplicate"),
        (&[("Webhook-Id", "a")], none(), "duplicate"),
        (&[("webhook-id", "A")], none(), "applied"),
        (&[("webhook-id", "")], none(), "applied"),
        (&[("webhook-id", "")], none(), "applied"),
        (&[("ce-source", "/one"), ("ce-id", "a")], none(), "applied"),
        (&[("ce-source", "/one"), ("ce-id", "a")], none(), "duplicate"),
        (&[("ce-source", "/two"), ("ce-id", "a")], none(), "applied"),
        (&[("ce-source", "/one"), ("ce-id", "b")], none(), "applied"),
        // An id without its source names nothing.
        (&[("ce-id", "a")], none(), "applied"),
        (&[("ce-id", "a")], none(), "applied"),
        (&[], structured("/one", "a"), "duplicate"),
        (&[], structured("/three", "a"), "applied"),
        (&[], structured("/three", "a"), "duplicate"),
        (&[], json!({"source": "/three", "id": "a"}), "applied"),
        (&[], json!({"source": "/three", "id": "a"}), "applied"),
        // The header comes first.
        (&[("webhook-id", "b"), ("ce-source", "/one"), ("ce-id", "a")], structured("/three", "a"), "applied"),
        (&[("webhook-id", "b")], none(), "duplicate"),
    ];
    for (number, (headers, fields, outcome)) in deliveries.into_iter().enumerate() {
        let answer = report(&server, headers, fields.clone()).await;
        assert_eq!(answer["outcome"], outcome, "line {number}: {headers:?} {fields}");
    }
    server.stop().await;
}

#[tokio::test]
async fn without_a_delivery_id_every_request_is_a_new_event() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let first = report(&server, &[], json!({"progress": 0.5})).await;
    let second = report(&server, &[], json!({"progress": 0.5})).await;
    assert_eq!((&first["outcome"], &second["outcome"]), (&json!("applied"), &json!("applied")));
    assert_ne!(first["event_id"], second["event_id"]);
    server.stop().await;
}

#[tokio::test]
async fn whatever_became_of_the_first_its_repeat_is_a_duplicate() {
    let server = TestServer::start().await;
    server.create(json!({"id": "ended"})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "ended"})).await;
    for (body, outcome) in [
        (json!({"event": "order_created"}), "recorded"),
        (json!({"event": "task_completed", "task_id": "later"}), "unmatched"),
        (json!({"event": "task_completed", "task_id": "ended"}), "ignored"),
    ] {
        let headers = [("webhook-id", outcome)];
        let first = server.send("POST", "/webhook", &headers, body.to_string()).await.expect(200);
        let again = server.send("POST", "/webhook", &headers, body.to_string()).await.expect(200);
        assert_eq!((&first["outcome"], &again["outcome"]), (&json!(outcome), &json!("duplicate")));
        assert_eq!(first["event_id"], again["event_id"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_id_that_was_issued_for_an_attempt_is_no_delivery_id() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    let call = worker.call().await;
    let attempt_id = call.header("webhook-id");
    // A worker that echoes the headers of its request with each of its webhooks.
    for (event, state) in
        [("task_started", "running"), ("task_progress", "running"), ("task_completed", "succeeded")]
    {
        let body = json!({"event": event, "task_id": "123"}).to_string();
        let answer = server.send("POST", "/webhook", &[("webhook-id", &attempt_id)], body).await.expect(200);
        assert_eq!(
            (&answer["outcome"], &answer["task_state"]),
            (&json!("applied"), &json!(state)),
            "{event}"
        );
        let event = server
            .get(&format!("/v1/events/{}", answer["event_id"].as_str().expect("an id")))
            .await
            .expect(200);
        assert_eq!(event["delivery_id"], Value::Null);
    }
    call.status(202);
    // One that only looks like it is as good as any other.
    let lookalike = [("webhook-id", "att_00000000000000000000000000")];
    let body = json!({"event": "order_created"}).to_string();
    for outcome in ["recorded", "duplicate"] {
        assert_eq!(
            server.send("POST", "/webhook", &lookalike, body.clone()).await.expect(200)["outcome"],
            outcome
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn of_a_hundred_parallel_deliveries_with_one_id_exactly_one_is_applied() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let mut deliveries = JoinSet::new();
    for number in 0..100 {
        let api = Api::new(server.url.clone());
        let body = json!({"event": "task_completed", "task_id": "123", "result": number});
        deliveries.spawn(async move { api.tell("/webhook", &[("webhook-id", "msg_1")], body).await });
    }
    let answers = deliveries.join_all().await;
    let applied = answers.iter().filter(|answer| answer["outcome"] == "applied").count();
    let duplicates = answers.iter().filter(|answer| answer["outcome"] == "duplicate").count();
    assert_eq!((applied, duplicates), (1, 99));
    assert!(answers.iter().all(|answer| answer["event_id"] == answers[0]["event_id"]));
    assert!(answers.iter().all(|answer| answer["task_state"] == "succeeded"));
    assert_eq!(server.changes("123").await, ["created", "begun", "succeeded"]);
    server.stop().await;
}

#[tokio::test]
async fn a_repeat_is_recognised_after_a_restart() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let first = report(&server, &[("webhook-id", "msg_1")], json!({})).await;
    let server = server.restart().await;
    let again = report(&server, &[("webhook-id", "msg_1")], json!({})).await;
    assert_eq!((&first["outcome"], &again["outcome"]), (&json!("applied"), &json!("duplicate")));
    assert_eq!(again["event_id"], first["event_id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_rejected_request_claims_no_delivery_id() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let large = format!("{{\"event\": \"task_completed\", \"x\": \"{}\"}}", "x".repeat(1 << 20));
    let good = json!({"event": "task_completed", "task_id": "123"}).to_string();
    for (headers, body, status, code) in [
        (vec![], "{\"event\": ", 400, "malformed"),
        (vec![], "", 400, "malformed"),
        (vec![("origin", "http://evil.example"), ("content-type", "text/plain")], &good, 415, "not_json"),
        (vec![("content-encoding", "gzip")], &good, 415, "encoded"),
        (vec![], &large, 413, "too_large"),
    ] {
        let headers = [headers, vec![("webhook-id", "msg_1")]].concat();
        server.send("POST", "/webhook", &headers, body.to_string()).await.problem(status, code);
    }
    let answer = server.send("POST", "/webhook", &[("webhook-id", "msg_1")], good).await.expect(200);
    assert_eq!(answer["outcome"], "applied");
    server.stop().await;
}
