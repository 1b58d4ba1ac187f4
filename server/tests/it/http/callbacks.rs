//! Callback URLs: a token that stands for one attempt of one task (contract, section 4, Dispatch).

use serde_json::{Value, json};

use crate::support::{Call, TestServer, Worker, task_for, with};

/// The path of a call's callback URL.
fn path_of(server: &TestServer, call: &Call) -> String {
    let url = call.header("taskhook-callback-url");
    let path = url.strip_prefix(&server.url).unwrap_or_else(|| panic!("no URL of this server: {url}"));
    assert!(path.starts_with("/callback/"), "{path}");
    path.to_string()
}

#[tokio::test]
async fn a_worker_needs_no_task_id_to_answer() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    let call = worker.call().await;
    let path = path_of(&server, &call);
    call.status(202);
    let started = server.post(&path, json!({"event": "task_started"})).await.expect(200);
    assert_eq!((&started["outcome"], &started["task_state"]), (&json!("applied"), &json!("running")));
    let done =
        server.post(&path, json!({"event": "task_completed", "result": {"pages": 3}})).await.expect(200);
    assert_eq!((&done["outcome"], &done["task_state"]), (&json!("applied"), &json!("succeeded")));
    assert_eq!(server.task("123").await["result"], json!({"pages": 3}));
    let id = done["event_id"].as_str().expect("an id");
    let event = server.get(&format!("/v1/events/{id}")).await.expect(200);
    assert_eq!((&event["task"], &event["attempt"]), (&json!("123"), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_task_event_is_recorded_there_too() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    let call = worker.call().await;
    let path = path_of(&server, &call);
    for (body, reason) in [
        (json!({}), json!("it has no event name")),
        (json!({"result": 3}), json!("it has no event name")),
        (json!({"event": "page_done"}), Value::Null),
    ] {
        let answer = server.post(&path, body).await.expect(200);
        assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("recorded"), &reason));
    }
    for body in ["", "{", "[]", "{\"event\": 1, \"event\": 2}"] {
        server.send("POST", &path, &[], body).await.problem(400, "malformed");
    }
    server.send("POST", &path, &[("origin", "https://evil.example")], "{}").await.problem(415, "not_json");
    call.status(200);
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn the_token_stands_for_its_attempt() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    let first = worker.call().await;
    let old = path_of(&server, &first);
    first.status(500);
    let second = worker.call().await;
    let new = path_of(&server, &second);
    assert_ne!(old, new);
    let report = async |path: &str, event: &str| {
        // The token says which attempt it is, whatever the body says.
        server.post(path, json!({"event": event, "attempt": 2})).await.expect(200)["outcome"].clone()
    };
    assert_eq!(report(&old, "task_failed").await, "stale");
    assert_eq!(report(&old, "task_progress").await, "stale");
    assert_eq!(report(&new, "task_progress").await, "applied");
    assert_eq!(report(&new, "task_completed").await, "applied");
    second.status(202);
    server.stop().await;
}

#[tokio::test]
async fn the_token_is_the_scope_of_de_duplication() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let mut paths = Vec::new();
    for id in ["a", "b"] {
        server.create(task_for(&worker, id)).await;
        let call = worker.call().await;
        paths.push(path_of(&server, &call));
        call.status(202);
        server.until_state(id, "running").await;
    }
    let headers = [("webhook-id", "msg_1")];
    let body = json!({"event": "task_progress"}).to_string();
    for outcome in ["applied", "duplicate"] {
        for path in &paths {
            let answer = server.send("POST", path, &headers, body.clone()).await.expect(200);
            assert_eq!(answer["outcome"], outcome);
        }
    }
    let elsewhere = json!({"event": "task_progress", "task_id": "a"}).to_string();
    let answer = server.send("POST", "/webhook", &headers, elsewhere).await.expect(200);
    assert_eq!(answer["outcome"], "applied");
    for id in ["a", "b"] {
        server.webhook(json!({"event": "task_completed", "task_id": id})).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn naming_its_own_task_is_fine_and_another_one_is_422() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    server.create(json!({"id": "124"})).await;
    let call = worker.call().await;
    let path = path_of(&server, &call);
    for (name, place) in [
        (json!("124"), "/task_id"),
        (json!(124), "/task_id"),
        (json!("unknown"), "/task_id"),
        (json!("no id!"), "/task_id"),
    ] {
        for body in [json!({"task_id": name}), json!({"data": {"task_id": name}})] {
            let body = with(json!({"event": "task_completed"}), body).to_string();
            let answer = server.send("POST", &path, &[("webhook-id", "msg_1")], body).await;
            assert_eq!(answer.faults(), [(place.to_string(), "other_task".to_string())]);
        }
    }
    assert_eq!(server.task("124").await["state"], "running");
    server.has_taken_nothing().await;
    let own = json!({"event": "task_completed", "task_id": 123}).to_string();
    let answer = server.send("POST", &path, &[("webhook-id", "msg_1")], own).await.expect(200);
    assert_eq!(answer["outcome"], "applied");
    call.status(202);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_verify_is_404() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    let call = worker.call().await;
    let path = path_of(&server, &call);
    let token = path.strip_prefix("/callback/").expect("a token");
    let mut bent: Vec<String> =
        vec![String::new(), "x".into(), "%ff".into(), format!("{token}A"), token[1..].into()];
    for position in 0..token.len() {
        let letter = if &token[position..=position] == "A" { "B" } else { "A" };
        bent.push(format!("{}{letter}{}", &token[..position], &token[position + 1..]));
    }
    for token in bent {
        let answer = server.post(&format!("/callback/{token}"), json!({"event": "task_completed"})).await;
        answer.problem(404, "not_found");
    }
    assert_eq!(server.task("123").await["state"], "dispatching");

    // That of another server is none of ours.
    let other = TestServer::start().await;
    other.create(json!({"id": "123"})).await;
    other.post(&path, json!({"event": "task_completed"})).await.problem(404, "not_found");
    other.stop().await;
    call.status(200);
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_good_after_a_restart_and_gone_once_its_task_is_pruned() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "123"), json!({"completion": "callback"}))).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    let path = url.strip_prefix(&server.url).expect("a URL of this server").to_string();
    call.status(200);
    server.until_state("123", "running").await;
    let server = server.restart().await;
    let answer = server.post(&path, json!({"event": "task_completed"})).await.expect(200);
    assert_eq!(answer["outcome"], "applied");
    let pruned = server
        .restart_after(|store| {
            store
                .execute_batch("DELETE FROM task; DELETE FROM spec; DELETE FROM name WHERE kind = 1")
                .expect("SQL");
        })
        .await;
    pruned.get("/v1/tasks/123").await.problem(404, "not_found");
    pruned.post(&path, json!({"event": "task_completed"})).await.problem(410, "gone");

    // A later task of the same id is another one.
    pruned.create(json!({"id": "123"})).await;
    pruned.post(&path, json!({"event": "task_completed"})).await.problem(410, "gone");
    assert_eq!(pruned.task("123").await["state"], "running");
    let kept = pruned.get("/v1/events?outcome=rejected").await.expect(200);
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(2), "{kept}");
    pruned.stop().await;
}
