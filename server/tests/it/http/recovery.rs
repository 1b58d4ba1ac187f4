//! What survives a stop or a crash: attempts, timers, follow-ups, answers (contract, sections 4 and 13).
//!
//! A crash here ends every task of the server's runtime at once, in the middle of whatever it does; what the
//! kernel does to a killed process is the crash test's business.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use taskhook::clock::wall_clock;
use taskhook::engine::commit::{Batch, Node, commit};
use taskhook::engine::submission::{Draft, Heard, Submission};
use taskhook::store::BatchId;
use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use taskhook_core::{
    Asked, Completion, ConcurrencyKey, EventId, EventKind, On, Permits, QueueKey, Received, RetryAsked, Spec,
    Timestamp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestServer, Worker, task_for, with};

#[tokio::test]
async fn at_sigterm_open_exchanges_get_eight_seconds_and_the_rest_is_sent_again() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "silent")).await;
    let silent = worker.call().await;
    server.create(task_for(&worker, "prompt")).await;
    let prompt = worker.call().await;
    server.create(with(task_for(&worker, "next"), json!({"after": ["prompt"]}))).await;
    // Somebody waits for the end of a task that does not come.
    let mut waiting = waiting_for(&server, "silent").await;
    let began = Instant::now();
    let stopping = server.into_folder();
    let answering = async { prompt.answer(200, &[], "\"in time\"") };
    let (folder, ()) = tokio::join!(stopping, answering);
    let took = began.elapsed().as_secs_f64();
    assert!((7.5..9.5).contains(&took), "it took {took} s");
    let mut answer = Vec::new();
    let _ = waiting.read_to_end(&mut answer).await;
    assert_eq!(String::from_utf8_lossy(&answer), "", "the connection has ended");
    assert!(worker.is_idle(), "nothing new was begun");

    let server = TestServer::start_in(folder, |_| {}).await;
    let prompt = server.task("prompt").await;
    assert_eq!((&prompt["state"], &prompt["result"]), (&json!("succeeded"), &json!("in time")));
    let mut calls = vec![worker.call().await, worker.call().await];
    calls.sort_by_key(|call| call.header("taskhook-task-id"));
    for name in ["taskhook-task-id", "taskhook-attempt", "webhook-id", "idempotency-key"] {
        assert_eq!(calls[1].header(name), silent.header(name), "{name}");
    }
    assert_eq!(calls[0].header("taskhook-task-id"), "next");
    calls.into_iter().for_each(|call| call.status(200));
    server.end_of("next").await;
    assert_eq!(server.end_of("silent").await["attempt"], 1);
    let changes = server.changes("silent").await;
    assert_eq!(changes, ["created", "queued", "dispatched", "resent", "responded", "succeeded"]);
    server.stop().await;
}

#[tokio::test]
async fn an_attempt_without_a_response_is_sent_again_at_most_three_times_with_the_same_id() {
    let mut server = TestServer::start_doomed().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"max_attempts": 2, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    let first = worker.call().await;
    let mut dead = Vec::new();
    for send in 2..=4 {
        server = server.crash_and_restart().await;
        let again = worker.call().await;
        for name in ["taskhook-attempt", "webhook-id", "idempotency-key", "traceparent"] {
            assert_eq!(again.header(name), first.header(name), "{name} of send {send}");
        }
        assert!(
            again.header("taskhook-callback-url").ends_with(path_of(&first.header("taskhook-callback-url")))
        );
        dead.push(again);
    }
    server = server.crash_and_restart().await;
    let second = worker.call().await;
    assert_eq!(second.header("taskhook-attempt"), "2");
    assert_ne!(second.header("webhook-id"), first.header("webhook-id"));
    let task = server.task("123").await;
    assert_eq!(task["error"]["code"], "dispatch_lost");
    second.status(200);
    assert_eq!(server.end_of("123").await["state"], "succeeded");
    server.stop().await;
}

/// A client in the middle of `?wait=` for a task.
async fn waiting_for(server: &TestServer, id: &str) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("http");
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /v1/tasks/{id}?wait=60s HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("written");
    client
}

fn path_of(url: &str) -> &str {
    &url[url.find("/callback/").expect("a callback URL")..]
}

#[tokio::test]
async fn a_task_that_gave_a_sign_of_life_is_not_sent_again() {
    let server = TestServer::start_doomed().await;
    let mut worker = Worker::start().await;
    let mut calls = Vec::new();
    for (id, event) in [("a", "task_started"), ("b", "task_progress"), ("c", "task_heartbeat")] {
        server.create(task_for(&worker, id)).await;
        calls.push(worker.call().await);
        server.webhook(json!({"event": event, "task_id": id})).await;
    }
    // One that has accepted, and one that has not, as a witness.
    server.create(task_for(&worker, "d")).await;
    worker.call().await.status(202);
    server.until_state("d", "running").await;
    server.create(task_for(&worker, "lost")).await;
    calls.push(worker.call().await);

    let server = server.crash_and_restart().await;
    let again = worker.call().await;
    assert_eq!(again.header("taskhook-task-id"), "lost");
    again.status(200);
    server.end_of("lost").await;
    for id in ["a", "b", "c", "d"] {
        let task = server.task(id).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(1)), "{id}");
        server.webhook(json!({"event": "task_completed", "task_id": id})).await;
        assert_eq!(server.task(id).await["state"], "succeeded");
    }
    assert!(worker.is_idle());
    server.stop().await;
}

#[tokio::test]
async fn timers_survive_and_a_time_out_runs_on_from_the_first_send() {
    let server = TestServer::start_doomed().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"max_attempts": 2, "initial": "300ms", "factor": 1, "max": "300ms"}});
    server.create(with(task_for(&worker, "retried"), retry)).await;
    worker.call().await.status(500);
    server.until("retried", |task| !task["error"].is_null()).await;
    let once = json!({"timeout": "1s", "retry": {"max_attempts": 1}});
    server.create(with(task_for(&worker, "timed"), once)).await;
    let mut timed = worker.call().await;
    while timed.header("taskhook-task-id") != "timed" {
        timed.status(200);
        timed = worker.call().await;
    }
    let soon = server.create(with(task_for(&worker, "delayed"), json!({"delay": "300ms"}))).await;
    let far = server.create(json!({"id": "far", "run_at": "2030-01-01T00:00:00Z"})).await;

    let server = server.crash_and_restart().await;
    let mut unanswered = Vec::new();
    let answering = async {
        loop {
            let call = worker.call().await;
            match call.header("taskhook-task-id").as_str() {
                "timed" => unanswered.push(call),
                _ => call.status(200),
            }
        }
    };
    let ending = async {
        for (id, state) in [("retried", "succeeded"), ("delayed", "succeeded"), ("timed", "failed")] {
            assert_eq!(server.end_of(id).await["state"], state, "{id}");
        }
    };
    tokio::select! {
        () = ending => {}
        () = answering => {}
    }
    let timed = server.task("timed").await;
    let instant =
        |time: &Value| -> jiff::Timestamp { time.as_str().expect("a time").parse().expect("RFC 3339") };
    let lived = instant(&timed["ended_at"]).duration_since(instant(&timed["created_at"]));
    assert_eq!(timed["attempt"], 1);
    assert!(lived >= jiff::SignedDuration::from_millis(999), "{lived:?}");
    assert!(instant(&server.task("delayed").await["ended_at"]) >= instant(&soon["run_at"]));
    assert_eq!(server.task("far").await, far);
    server.stop().await;
}

#[tokio::test]
async fn what_was_answered_survives_a_crash_right_after_the_answer() {
    let mut server = TestServer::start_doomed().await;
    for round in 0..5 {
        let id = format!("t{round}");
        server.create(json!({"id": id})).await;
        server = server.crash_and_restart().await;
        let headers = [("webhook-id", id.as_str())];
        let body = json!({"event": "task_completed", "task_id": id, "result": round}).to_string();
        let first = server.send("POST", "/webhook", &headers, body.clone()).await.expect(200);
        assert_eq!(first["outcome"], "applied");
        server = server.crash_and_restart().await;
        let task = server.task(&id).await;
        assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!(round)));
        let again = server.send("POST", "/webhook", &headers, body).await.expect(200);
        assert_eq!((&again["outcome"], &again["event_id"]), (&json!("duplicate"), &first["event_id"]));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_fan_out_of_two_thousand_released_by_one_webhook_is_all_dispatched() {
    let server = TestServer::start_doomed().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "first"})).await;
    for batch in 0..2 {
        let task = |n: usize| {
            with(task_for(&worker, &format!("t{}", batch * 1_000 + n)), json!({"after": ["first"]}))
        };
        let tasks: Vec<Value> = (0..1_000).map(task).collect();
        server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    }
    assert_eq!(
        server.webhook(json!({"event": "task_completed", "task_id": "first"})).await["outcome"],
        "applied"
    );
    // In the middle of it.
    let server = server.crash_and_restart().await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2_000 {
        let call = worker.call().await;
        assert_eq!(call.header("taskhook-attempt"), "1");
        seen.insert(call.header("taskhook-task-id"));
        call.status(200);
    }
    let open = "/v1/tasks?state=blocked,scheduled,queued,dispatching,running&limit=1";
    while server.get(open).await.expect(200)["data"] != json!([]) {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

/// An external task, as the HTTP port would have drafted it.
fn draft(id: &str, after: &[&str]) -> Arc<Draft> {
    Arc::new(Draft {
        external: None,
        other_hosts: Default::default(),
        id: id.into(),
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
            request_timeout: Some(std::time::Duration::from_secs(300)),
            retry: RetryAsked::default(),
            oversight: Default::default(),
            payload_bytes: 0,
            scheduled: None,
        },
        spec: Spec {
            after: after.iter().map(|id| ((*id).to_string(), On::Succeeded)).collect(),
            ..Spec::default()
        },
        content: [0; 16],
    })
}

fn completed(id: &str) -> Submission {
    Submission::Event(Box::new(Heard {
        task: Some(id.into()),
        external: None,
        source: taskhook_core::SourceKey::DEFAULT,
        by_key: false,
        token: None,
        attempt: None,
        kind: EventKind::Completed(None),
        claim: None,
        received: Arc::new(Received {
            name: Some("task_completed".into()),
            task_name: Some(id.into()),
            ..Received::unread(EventId([7; 16]), b"{}")
        }),
    }))
}

#[tokio::test]
async fn follow_ups_that_were_kept_are_finished_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = SqlitePath(folder.path().join("store.db"));
    let mut store = SqliteStore::open(&path, wall_clock).expect("a store");
    let node = Node { up_since: wall_clock(), shown: wall_clock(), permits: Permits::new(1, 1), full: false };
    let tasks = (0..1_000).map(|n| draft(&format!("t{n}"), &["first"]));
    let creation = Submission::Create(std::iter::once(draft("first", &[])).chain(tasks).collect());
    let end = completed("first");
    // The process ends after the transaction that answered the webhook, before the next one.
    for (number, submission) in [creation, end].iter().enumerate() {
        let batch = Batch { submissions: vec![submission], ..Batch::default() };
        let committed =
            commit(&mut store, &node, &batch, || BatchId(number as u128)).await.expect("it commits");
        assert_eq!(
            committed.kept.is_empty(),
            number == 0,
            "a wide fan-out does not fit into one transaction"
        );
    }
    drop(store);

    let server = TestServer::start_in(folder, |_| {}).await;
    while server.get("/v1/tasks?state=blocked&limit=1").await.expect(200)["data"] != json!([]) {
        tokio::task::yield_now().await;
    }
    let running = server.get("/v1/tasks?state=running&limit=1000").await.expect(200);
    assert_eq!(running["data"].as_array().map(Vec::len), Some(1_000));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_takes_no_more_requests() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let url = server.url.clone();
    let folder = server.into_folder().await;
    let address = url.strip_prefix("http://").expect("http");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let server = TestServer::start_in(folder, |_| {}).await;
    assert_eq!(server.task("123").await["state"], "running");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_task_holds_up_no_stop() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let address = server.url.strip_prefix("http://").expect("http").to_string();
    let _waiting = waiting_for(&server, "123").await;
    // One that is idle, and one in the middle of a head.
    let _idle = TcpStream::connect(&address).await.expect("a connection");
    let mut half = TcpStream::connect(&address).await.expect("a connection");
    half.write_all(b"POST /webhook HTTP/1.1\r\nhost: loc").await.expect("written");
    server.get("/healthz").await.expect(200);
    let began = Instant::now();
    server.stop().await;
    // It is given a second; then the writer has nobody left to write for, and ends too.
    assert!(began.elapsed().as_secs_f64() < 1.9, "{:?}", began.elapsed());
}
