//! Tasks that wait for others: every `on`, the skip down the graph, fan-in and fan-out (contract, section 4).

use serde_json::{Value, json};

use crate::support::{TestServer, Worker, task_for, with};

const ENDS: [&str; 4] = ["succeeded", "failed", "cancelled", "skipped"];

/// What a dependent becomes, by `on` and by the end of what it waits for.
const TABLE: [(&str, [&str; 4]); 4] = [
    ("succeeded", ["running", "skipped", "skipped", "skipped"]),
    ("failed", ["skipped", "running", "skipped", "skipped"]),
    ("not_failed", ["running", "skipped", "skipped", "running"]),
    ("finished", ["running", "running", "running", "running"]),
];

/// Ends the external task `id`, which exists and waits for `{id}-parent`.
async fn end(server: &TestServer, id: &str, state: &str) {
    let parent = format!("{id}-parent");
    let event = |task: &str, event: &str| json!({"event": event, "task_id": task});
    match state {
        "succeeded" => server.webhook(event(id, "task_completed")).await,
        "failed" => server.webhook(event(id, "task_failed")).await,
        "cancelled" => server.webhook(event(id, "task_cancelled")).await,
        _ => server.webhook(event(&parent, "task_failed")).await,
    };
    assert_eq!(server.task(id).await["state"], state);
}

async fn create_with_parent(server: &TestServer, id: &str) {
    let parent = format!("{id}-parent");
    server.create(json!({"id": parent})).await;
    server.create(json!({"id": id, "after": [parent]})).await;
}

#[tokio::test]
async fn a_dependent_starts_or_is_skipped_by_how_its_dependency_ends() {
    let server = TestServer::start().await;
    for (position, state) in ENDS.into_iter().enumerate() {
        create_with_parent(&server, state).await;
        for (on, _) in TABLE {
            let child = json!({"id": format!("{on}-{state}"), "after": [{"task": state, "on": on}]});
            let child = server.create(child).await;
            assert_eq!(child["state"], "blocked");
        }
        end(&server, state, state).await;
        for (on, becomes) in TABLE {
            let id = format!("{on}-{state}");
            let child = server.until(&id, |task| task["state"] != "blocked").await;
            assert_eq!(child["state"], becomes[position], "on {on}, and it was {state}");
            if becomes[position] == "skipped" {
                assert!(!child["ended_at"].is_null());
                assert_eq!(server.changes(&id).await, ["created", "blocked", "dependency_ended", "skipped"]);
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_dependency_that_has_already_ended_counts_at_once_at_creation_too() {
    let server = TestServer::start().await;
    for (position, state) in ENDS.into_iter().enumerate() {
        create_with_parent(&server, state).await;
        end(&server, state, state).await;
        for (on, becomes) in TABLE {
            let child = json!({"id": format!("{on}-{state}"), "after": [{"task": state, "on": on}]});
            assert_eq!(server.create(child).await["state"], becomes[position], "on {on}, and it was {state}");
        }
    }
    // One that is met at once and one that is not.
    server.create(json!({"id": "open"})).await;
    let child = server.create(json!({"id": "both", "after": ["succeeded", "open"]})).await;
    assert_eq!((&child["state"], &child["waiting_for"]["ref"]), (&json!("blocked"), &json!("open")));
    server.stop().await;
}

#[tokio::test]
async fn the_skip_goes_down_the_graph_as_far_as_on_lets_it() {
    let server = TestServer::start().await;
    let tasks = json!([
        {"id": "a"}, {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]}, {"id": "d", "after": ["c"]},
        {"id": "e", "after": [{"task": "d", "on": "not_failed"}]}, {"id": "f", "after": [{"task": "d", "on": "finished"}]},
        {"id": "g", "after": ["e"]}, {"id": "h", "after": [{"task": "c", "on": "failed"}]},
    ]);
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    server.webhook(json!({"event": "task_failed", "task_id": "a"})).await;
    for (id, state) in [
        ("b", "skipped"),
        ("c", "skipped"),
        ("d", "skipped"),
        ("e", "running"),
        ("f", "running"),
        ("g", "blocked"),
        ("h", "skipped"),
    ] {
        server.until_state(id, state).await;
    }
    let skipped = server.get("/v1/tasks/d/history").await.expect(200);
    let last = &skipped["data"][3];
    assert_eq!((&last["change"], &last["detail"]["task"]), (&json!("skipped"), &json!("c")));
    assert_eq!(last["cause"], json!({"kind": "task", "ref": "c"}));
    server.stop().await;
}

#[tokio::test]
async fn a_fan_in_starts_once_when_the_last_has_ended() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let mut tasks: Vec<Value> = (0..20).map(|n| json!({"id": format!("part-{n}")})).collect();
    let parts: Vec<String> = (0..20).map(|n| format!("part-{n}")).collect();
    tasks.push(with(task_for(&worker, "whole"), json!({"after": parts})));
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    for part in &parts {
        assert_eq!(server.task("whole").await["state"], "blocked");
        server.webhook(json!({"event": "task_completed", "task_id": part})).await;
    }
    worker.call().await.status(200);
    assert_eq!(server.end_of("whole").await["attempt"], 1);
    assert!(worker.is_idle());
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_that_completes_a_task_has_its_dependent_dispatched() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "122"})).await;
    server.create(with(task_for(&worker, "123"), json!({"after": ["122"]}))).await;
    server.webhook(json!({"event": "task_completed", "task_id": "122"})).await;
    let call = worker.call().await;
    assert_eq!(call.header("taskhook-task-id"), "123");
    call.status(200);
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn an_unblocked_task_still_waits_for_its_time() {
    let server = TestServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.create(json!({"id": "b", "after": ["a"], "delay": "1h"})).await;
    server.create(json!({"id": "c", "after": ["a"], "delay": "1ms"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    server.until_state("b", "scheduled").await;
    server.until_state("c", "running").await;
    server.stop().await;
}

#[tokio::test]
async fn a_blocked_task_can_be_cancelled_and_its_dependents_follow() {
    let server = TestServer::start().await;
    let tasks = json!([{"id": "a"}, {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]}]);
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    server.post("/v1/tasks/b/cancel", json!({})).await.expect(200);
    server.until_state("c", "skipped").await;
    server.webhook(json!({"event": "task_completed", "task_id": "a"})).await;
    assert_eq!(server.task("b").await["state"], "cancelled", "its dependency comes too late");
    server.stop().await;
}

#[tokio::test]
async fn a_dependency_that_is_no_longer_kept_is_named_all_the_same() {
    let server = TestServer::start().await;
    server.create(json!({"id": "parent"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "parent"})).await;
    server.create(json!({"id": "child", "after": ["parent"]})).await;
    let server = server
        .restart_after(|store| {
            let key = "(SELECT key FROM name WHERE text = 'parent')";
            let tables = ["history WHERE task", "spec WHERE task", "task WHERE key", "name WHERE key"];
            for table in tables {
                store.execute(&format!("DELETE FROM {table} = {key}"), []).expect("it is pruned");
            }
        })
        .await;
    let answer = server.post("/v1/tasks/child/retry", json!({})).await;
    let problem = answer.problem(409, "dependencies_unmet");
    assert_eq!(problem["errors"][0]["pointer"], "/after/0");
    assert_eq!(problem["errors"][0]["detail"], "task parent is no longer kept");
    let history = server.get("/v1/tasks/child/history").await.expect(200);
    assert!(history.to_string().contains("that is no longer kept"), "{history}");
    let again = json!({"ignore_dependencies": true});
    assert_eq!(server.post("/v1/tasks/child/retry", again).await.expect(200)["state"], "running");
    server.stop().await;
}
