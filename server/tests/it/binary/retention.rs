//! What is old goes while the server runs, and nothing that is left of it is taken for something new.

use serde_json::json;

use crate::binary::process::RealServer;
use crate::support::{PATIENCE, Worker, task_for, with};

/// Reads `path` again and again until there is nothing any more.
async fn until_gone(server: &RealServer, path: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get(path).await.status != 404 {
        assert!(tokio::time::Instant::now() < deadline, "{path} is kept for ever: {}", server.said());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn webhooks_are_kept_as_long_as_their_source_says() {
    let server = RealServer::start_with("[retention]\nrejected = \"1s\"\n").await;
    for (name, retention) in [("brief", json!("1s")), ("kept", json!("never")), ("open", json!(null))] {
        let source = json!({"verify": {"scheme": "none"}, "retention": retention});
        let made = server.send("PUT", &format!("/v1/sources/{name}"), &[], source.to_string()).await;
        assert_eq!(made.expect(201)["retention"], retention);
    }
    let mut events = Vec::new();
    for name in ["kept", "open", "brief"] {
        let headers = [("webhook-id", "d-1")];
        let told = server.tell(&format!("/webhook/{name}"), &headers, json!({"event": "x"})).await;
        events.push(format!("/v1/events/{}", told["event_id"].as_str().expect("an id")));
    }
    until_gone(&server, &events[2]).await;
    for event in &events[..2] {
        server.get(event).await.expect(200);
    }
    // Its delivery id is remembered all the same.
    let again = server.tell("/webhook/brief", &[("webhook-id", "d-1")], json!({"event": "x"})).await;
    assert_eq!(again["outcome"], "duplicate");
    for (wrong, code) in
        [(json!("0s"), "not_a_duration"), (json!("soon"), "not_a_duration"), (json!(30), "wrong_type")]
    {
        let source = json!({"verify": {"scheme": "none"}, "retention": wrong}).to_string();
        let faults = server.send("PUT", "/v1/sources/brief", &[], source).await.faults();
        assert_eq!(faults, [("/retention".to_string(), code.to_string())], "{wrong}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_old_callback_url_never_stands_for_a_later_task() {
    let settings = "[retention]\ntasks = \"1s\"\nevents = \"1s\"\nrejected = \"1s\"\n";
    let mut server = RealServer::start_with(settings).await;
    let mut worker = Worker::start().await;
    // The host has a key too, and keeps it: the task of the callback URL is to have the newest of all.
    server.create(task_for(&worker, "0")).await;
    worker.call().await.status(200);
    server.create(task_for(&worker, "1")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    call.status(202);
    let done = server.call_back(&url, json!({"event": "task_completed"})).await;
    assert_eq!(done["task_state"], "succeeded");
    let event = format!("/v1/events/{}", done["event_id"].as_str().expect("an id"));
    until_gone(&server, "/v1/tasks/1").await;
    until_gone(&server, &event).await;
    server.get("/v1/tasks/1/history").await.problem(404, "not_found");

    let late = async |server: &RealServer| {
        let body = json!({"event": "task_failed", "error": "late"});
        server.post(server.path_of(&url), body).await.problem(410, "gone");
    };
    late(&server).await;
    // Nothing newer than what was pruned is left to count on from.
    server.crash_and_restart().await;
    late(&server).await;
    let again = server.post("/v1/tasks", json!({"id": "1"})).await.expect(201);
    assert_eq!(again["state"], "running");
    late(&server).await;
    server.crash_and_restart().await;
    late(&server).await;
    let task = server.task("1").await;
    assert_eq!((&task["state"], &task["error"]), (&json!("running"), &json!(null)));
    server.kill();
    let doctor = server.doctor();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}

#[tokio::test]
async fn a_remote_is_told_of_the_cancel_of_each_task_that_an_id_has_had() {
    // The queue @cancel keeps what was told of the first for longer than that is kept.
    let server = RealServer::start_with("[retention]\nrejected = \"1s\"\n").await;
    let mut worker = Worker::start().await;
    server.send("PUT", "/v1/queues/brief", &[], json!({"retention": "1s"}).to_string()).await.expect(201);
    let fields = json!({"queue": "brief", "cancel_url": format!("{}/stop", worker.url)});
    let mut told = Vec::new();
    for _ in 0..2 {
        server.create(with(task_for(&worker, "a"), fields.clone())).await;
        worker.call().await.status(202);
        server.until_state("a", "running").await;
        server.post("/v1/tasks/a/cancel", json!({})).await.expect(200);
        let call = worker.call().await;
        assert_eq!(call.path, "/stop");
        told.push(call.header("taskhook-task-id"));
        call.status(204);
        until_gone(&server, "/v1/tasks/a").await;
    }
    assert_eq!(told[0], "a~cancel~0");
    assert!(told[1].starts_with("a~cancel~0~"), "{told:?}");
    for id in &told {
        assert_eq!(server.end_of(id).await["state"], "succeeded");
    }
    server.stop().await;
}
