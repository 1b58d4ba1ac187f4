//! Holding and resuming the server over HTTP (contract, section 13).

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, TestServer, Worker, task_for, with};

async fn command(server: &Api, command: &str) -> Answer {
    server.send("POST", &format!("/v1/{command}"), &[], "").await
}

fn is_held(answer: &Value) -> bool {
    assert_eq!(answer["held"].as_bool(), Some(answer["since"].is_string()), "{answer}");
    answer["held"] == true
}

#[tokio::test]
async fn a_server_is_held_and_resumed_and_says_so() {
    let server = RealServer::start().await;
    let free = json!({"held": false, "since": null});
    assert_eq!(server.get("/v1/hold").await.expect(200), free);
    assert_eq!(command(&server, "resume").await.expect(200), free);
    let held = command(&server, "hold").await.expect(200);
    assert!(is_held(&held));
    assert_eq!(command(&server, "hold").await.expect(200), held, "it is held since the first time");
    assert_eq!(server.get("/v1/hold").await.expect(200), held);
    server.get("/readyz").await.expect(200);
    let gauge = async |server: &Api| {
        let text = String::from_utf8(server.get("/metrics").await.body.to_vec()).expect("text");
        text.lines().find_map(|line| line.strip_prefix("taskhook_held ")).expect("a gauge").to_string()
    };
    assert_eq!(gauge(&server).await, "1");

    server.send("POST", "/v1/hold", &[], "{\"for\": \"1h\"}").await.problem(422, "invalid");
    server.send("POST", "/v1/hold?x=1", &[], "").await.problem(400, "invalid_query");
    server.send("DELETE", "/v1/hold", &[], "").await.problem(405, "method_not_allowed");

    let keyed = [("idempotency-key", "once")];
    assert_eq!(server.send("POST", "/v1/resume", &keyed, "").await.expect(200), free);
    command(&server, "hold").await.expect(200);
    let again = server.send("POST", "/v1/resume", &keyed, "").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), free));
    assert!(is_held(&server.get("/v1/hold").await.expect(200)), "the repeat has resumed nothing");
    let server = server.restart().await;
    assert!(is_held(&server.get("/v1/hold").await.expect(200)));
    command(&server, "resume").await.expect(200);
    assert_eq!(gauge(&server).await, "0");
    server.stop().await;
}

#[tokio::test]
async fn a_held_server_receives_and_sends_nothing_until_it_is_resumed() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    for id in ["answered", "reported"] {
        server.create(task_for(&worker, id)).await;
    }
    let mut calls = [worker.call().await, worker.call().await];
    calls.sort_by_key(|call| call.header("taskhook-task-id"));
    let [answered, reported] = calls;
    reported.status(202);
    server.until_state("reported", "running").await;
    let held = command(&server, "hold").await.expect(200);

    // What was begun goes on.
    answered.status(503);
    let task = server.until_state("answered", "scheduled").await;
    assert_eq!(task["waiting_for"]["code"], "retry");
    let done = server.webhook(json!({"event": "task_completed", "task_id": "reported"})).await;
    assert_eq!((&done["outcome"], &done["task_state"]), (&json!("applied"), &json!("succeeded")));
    // What is due waits: a new task, a retry, a dependent, a task that was reopened.
    server.send("POST", "/v1/tasks/answered/trigger", &[], "").await.expect(200);
    server.create(with(task_for(&worker, "new"), json!({"priority": 5}))).await;
    server.create(with(task_for(&worker, "next"), json!({"after": ["reported"]}))).await;
    server.create(task_for(&worker, "reopened")).await;
    server.send("POST", "/v1/tasks/reopened/cancel", &[], "").await.expect(200);
    server.send("POST", "/v1/tasks/reopened/retry", &[], "").await.expect(200);
    server.create(with(task_for(&worker, "gone"), json!({}))).await;
    server.send("POST", "/v1/tasks/gone/cancel", &[], "").await.expect(200);
    assert_eq!(server.create(json!({"id": "external"})).await["state"], "running");
    let parked = server.webhook(json!({"event": "task_completed", "task_id": "early"})).await;
    assert_eq!(parked["outcome"], "unmatched");
    let waiting = ["answered", "new", "next", "reopened"];
    for id in waiting {
        let task = server.until_state(id, "queued").await;
        let since = held["since"].as_str().expect("an instant");
        let text = format!("the server to be resumed, which is held since {since}");
        assert_eq!(
            task["waiting_for"],
            json!({"code": "held", "text": text, "until": null, "ref": null}),
            "{id}"
        );
    }
    let queue = server.get("/v1/queues/default").await.expect(200);
    assert_eq!(queue["waiting_for"], json!({"callback": 1, "held": 4}));
    let stats = server.get("/v1/stats/tasks?by=code&state=queued").await.expect(200);
    assert_eq!((&stats["data"][0]["code"], &stats["data"][0]["count"]), (&json!("held"), &json!(4)));
    assert!(worker.is_idle(), "nothing is sent");

    command(&server, "resume").await.expect(200);
    let mut sent = Vec::new();
    for _ in waiting {
        let call = worker.call().await;
        sent.push(call.header("taskhook-task-id"));
        call.status(200);
    }
    // They come over connections of their own; that all begin in their turn is for core to show.
    sent.sort();
    assert_eq!(sent, waiting);
    for id in waiting {
        assert_eq!(server.end_of(id).await["state"], "succeeded");
    }
    assert!(worker.is_idle());
    server.stop().await;
}

#[tokio::test]
async fn a_held_server_still_judges_time_outs() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let brief = json!({"timeout": "300ms", "retry": {"max_attempts": 1}});
    server.create(with(task_for(&worker, "brief"), brief)).await;
    worker.call().await.status(202);
    command(&server, "hold").await.expect(200);
    let task = server.end_of("brief").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timeout")));
    server.stop().await;
}

#[tokio::test]
async fn what_is_lost_while_the_server_is_held_is_sent_again_once_it_is_resumed() {
    let server = TestServer::start_doomed().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "lost")).await;
    let first = worker.call().await;
    server.create(with(task_for(&worker, "later"), json!({"delay": "1ms"}))).await;
    let later = worker.call().await;
    command(&server, "hold").await.expect(200);
    let done =
        server.call_back(&later.header("taskhook-callback-url"), json!({"event": "task_completed"})).await;
    assert_eq!(done["task_state"], "succeeded");

    let server = server.crash_and_restart().await;
    server.create(task_for(&worker, "new")).await;
    server.until_change("new", "queued").await;
    assert!(worker.is_idle(), "neither the new one nor the lost one is sent");
    let lost = server.task("lost").await;
    assert_eq!((&lost["state"], &lost["waiting_for"]["code"]), (&json!("dispatching"), &json!("response")));
    let text = lost["waiting_for"]["text"].as_str().expect("a sentence");
    assert!(text.starts_with("the server to be resumed, which is held since 2"), "{text}");
    assert!(text.contains(", and then the response to attempt 1, until "), "{text}");
    command(&server, "resume").await.expect(200);
    let mut again = [worker.call().await, worker.call().await];
    again.sort_by_key(|call| call.header("taskhook-task-id"));
    assert_eq!(again[0].header("webhook-id"), first.header("webhook-id"));
    assert_eq!(again[1].header("taskhook-task-id"), "new");
    again.into_iter().for_each(|call| call.status(200));
    assert_eq!(server.end_of("lost").await["state"], "succeeded");
    assert_eq!(server.end_of("new").await["state"], "succeeded");
    let changes = server.changes("lost").await;
    assert_eq!(changes, ["created", "queued", "dispatched", "resent", "responded", "succeeded"]);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_started_held_begins_nothing() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.send("PUT", "/v1/queues/default", &[], json!({"paused": true}).to_string()).await.expect(200);
    server.create(task_for(&worker, "waiting")).await;
    let folder = server.into_folder().await;
    let server = TestServer::start_in(folder, |config| config.hold = true).await;
    let held = server.get("/v1/hold").await.expect(200);
    assert!(is_held(&held), "before anything else");
    server.send("POST", "/v1/queues/default/resume", &[], "").await.expect(200);
    assert_eq!(server.task("waiting").await["waiting_for"]["code"], "held");
    // Once more, with and without the flag: it is held since the first time.
    let folder = server.into_folder().await;
    let server = TestServer::start_in(folder, |config| config.hold = true).await.restart().await;
    assert_eq!(server.get("/v1/hold").await.expect(200), held);
    assert!(worker.is_idle());
    command(&server, "resume").await.expect(200);
    worker.call().await.status(200);
    server.end_of("waiting").await;
    server.stop().await;
}
