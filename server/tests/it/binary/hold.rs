//! That a server is held outlives it, however it ends.

use serde_json::json;

use crate::binary::process::RealServer;
use crate::support::{Worker, task_for};

#[tokio::test]
async fn a_server_that_is_killed_while_it_is_held_is_held_when_it_starts_again() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "lost")).await;
    let first = worker.call().await;
    let held = server.send("POST", "/v1/hold", &[], "").await.expect(200);
    assert_eq!(held["held"], true);
    server.create(task_for(&worker, "before")).await;
    server.crash_and_restart().await;

    assert_eq!(server.get("/v1/hold").await.expect(200), held);
    server.until_it_says("held: nothing is sent until POST /v1/resume").await;
    server.get("/readyz").await.expect(200);
    server.create(task_for(&worker, "after")).await;
    for id in ["before", "after"] {
        assert_eq!(server.task(id).await["waiting_for"]["code"], "held", "{id}");
    }
    // What was being sent when it was killed may be reported on all the same.
    let url = first.header("taskhook-callback-url");
    let alive = server.call_back(&url, json!({"event": "task_heartbeat"})).await;
    assert_eq!(alive["outcome"], "applied");
    server.create(json!({"id": "external"})).await;
    let done = server.webhook(json!({"event": "task_completed", "task_id": "external"})).await;
    assert_eq!(done["task_state"], "succeeded");
    assert!(worker.is_idle(), "nothing is sent");

    server.send("POST", "/v1/resume", &[], "").await.expect(200);
    let mut calls = [worker.call().await, worker.call().await];
    calls.sort_by_key(|call| call.header("taskhook-task-id"));
    assert_eq!(calls.each_ref().map(|call| call.header("taskhook-task-id")), ["after", "before"]);
    calls.into_iter().for_each(|call| call.status(200));
    for id in ["before", "after"] {
        assert_eq!(server.end_of(id).await["state"], "succeeded");
    }
    server.call_back(&url, json!({"event": "task_completed"})).await;
    assert_eq!(server.end_of("lost").await["state"], "succeeded");
    // Resumed is as durable as held.
    server.crash_and_restart().await;
    assert_eq!(server.get("/v1/hold").await.expect(200), json!({"held": false, "since": null}));
    server.kill();
    let doctor = server.doctor();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}
