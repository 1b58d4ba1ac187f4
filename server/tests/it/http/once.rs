//! `Idempotency-Key`: a request that is sent again happens once, and is answered as it was.

use std::sync::Arc;

use serde_json::json;
use taskhook::engine::submission::{Draft, Submission};
use taskhook::secrets::fingerprint;
use taskhook_core::{
    Asked, ClaimKey, Command, Completion, ConcurrencyKey, Once, QueueKey, RetryAsked, Spec, Timestamp,
};

use crate::support::{Answer, TestServer};

async fn post(server: &TestServer, path: &str, key: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    server.send("POST", path, &headers, body.to_string()).await
}

async fn count(server: &TestServer) -> usize {
    server.get("/v1/tasks").await.expect(200)["data"].as_array().expect("a list").len()
}

#[tokio::test]
async fn the_same_key_and_body_replays_the_answer() {
    let server = TestServer::start().await;
    let first = post(&server, "/v1/tasks", "k1", r#"{"name": "a"}"#).await;
    first.expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = post(&server, "/v1/tasks", "k1", r#"{"name": "a"}"#).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("content-type"), Some("application/json"));
    assert_eq!(count(&server).await, 1);

    // A key belongs to a route, and to one server's life as well as the next one's.
    post(&server, "/v1/tasks/batch", "k1", r#"{"tasks": [{"id": "b"}]}"#).await.expect(201);
    let server = server.restart().await;
    let later = post(&server, "/v1/tasks", "k1", r#"{"name": "a"}"#).await;
    assert_eq!((later.status, &later.body), (201, &first.body));
    assert_eq!(count(&server).await, 2);
    server.stop().await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let server = TestServer::start().await;
    post(&server, "/v1/tasks", "k1", r#"{"id": "a"}"#).await.expect(201);
    let other = post(&server, "/v1/tasks", "k1", r#"{"id": "b"}"#).await.expect(422);
    assert_eq!(other["code"], "idempotency_key_reused");
    assert_eq!(count(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_too() {
    let server = TestServer::start().await;
    let first = post(&server, "/v1/tasks/none/cancel", "k1", "").await;
    first.expect(404);
    server.create(json!({"id": "none"})).await;
    let again = post(&server, "/v1/tasks/none/cancel", "k1", "").await;
    assert_eq!((again.status, &again.body), (404, &first.body));
    assert_eq!(again.header("content-type"), Some("application/problem+json"));
    post(&server, "/v1/tasks/none/cancel", "k2", "").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_command_happens_once() {
    let server = TestServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "a"})).await;
    let first = post(&server, "/v1/tasks/a/retry", "k1", "").await;
    assert_eq!(first.expect(200)["state"], "running");
    server.webhook(json!({"event": "task_failed", "task_id": "a"})).await;
    let again = post(&server, "/v1/tasks/a/retry", "k1", "").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(server.task("a").await["state"], "failed", "the repeat did not reopen it");
    server.stop().await;
}

#[tokio::test]
async fn of_many_at_the_same_time_one_happens() {
    let server = Arc::new(TestServer::start().await);
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let server = server.clone();
        posts.spawn(async move { post(&server, "/v1/tasks", "k1", r#"{"name": "a"}"#).await });
    }
    let mut created = Vec::new();
    while let Some(answer) = posts.join_next().await {
        let answer = answer.expect("an answer");
        match answer.status {
            201 => created.push(answer.body),
            409 => assert_eq!(answer.json()["code"], "in_progress"),
            other => panic!("{other}: {:?}", answer.body),
        }
    }
    assert!(!created.is_empty() && created.iter().all(|body| *body == created[0]));
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn a_crash_between_doing_and_answering_does_not_make_it_happen_twice() {
    let server = TestServer::start().await;
    let body = r#"{"name": "a"}"#;
    let once = Once {
        claim: ClaimKey(fingerprint(&[b"idempotency", b"/v1/tasks", b"k1"])),
        request: fingerprint(&[body.as_bytes()]),
    };
    let draft = Draft {
        external: None,
        other_hosts: Default::default(),
        id: "made-before-the-crash".into(),
        host: None,
        queue: "default".into(),
        source: "default".into(),
        asked: Asked {
            host: None,
            queue: QueueKey::DEFAULT,
            source: taskhook_core::SourceKey::DEFAULT,
            concurrency_key: ConcurrencyKey::NONE,
            unique: None,
            priority: 0,
            run_at: Timestamp(0),
            completion: Some(Completion::Auto),
            timeout: Some(None),
            request_timeout: Some(std::time::Duration::from_secs(1)),
            retry: RetryAsked::default(),
            oversight: Default::default(),
            payload_bytes: 0,
            scheduled: None,
        },
        spec: Spec::default(),
        content: [0; 16],
    };
    let submission = Submission::Once(once, Box::new(Submission::Create(vec![Arc::new(draft)])));
    server.engine().submit(submission).await.expect("it is durable");

    let answer = post(&server, "/v1/tasks", "k1", body).await;
    assert_eq!(answer.expect(201)["id"], "made-before-the-crash");
    assert_eq!(count(&server).await, 1);
    let again = post(&server, "/v1/tasks", "k1", body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    server.stop().await;
}

#[tokio::test]
async fn a_command_that_nobody_answered_does_not_happen_again() {
    let server = TestServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "a"})).await;
    let once = Once {
        claim: ClaimKey(fingerprint(&[b"idempotency", b"/v1/tasks/a/retry", b"k1"])),
        request: fingerprint(&[b""]),
    };
    let retry = Submission::Command("a".into(), Command::Retry { ignore_dependencies: false });
    server.engine().submit(Submission::Once(once, Box::new(retry))).await.expect("it is durable");
    server.webhook(json!({"event": "task_failed", "task_id": "a"})).await;

    let answer = post(&server, "/v1/tasks/a/retry", "k1", "").await;
    assert_eq!(answer.expect(200)["attempt"], 2, "the repeat did not reopen it");
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let server = TestServer::start().await;
    let long = "k".repeat(256);
    post(&server, "/v1/tasks", &long, r#"{"id": "a"}"#).await.expect(400);
    assert_eq!(count(&server).await, 0);
    server.stop().await;
}
