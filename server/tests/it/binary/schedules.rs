//! Schedules with the real binary: each instant is decided once and makes at most one task (G13), however often the process
//! is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Api, Worker};

/// How often a schedule is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A schedule that is due every second.
async fn define(server: &Api, worker: &Worker, overlap: &str, missed: &str) {
    let task = json!({"url": format!("{}/work", worker.url), "retry": {"initial": "1s", "max": "1s"}});
    let body = json!({"every": "1s", "task": task, "overlap": overlap, "missed": missed});
    server.send("PUT", "/v1/schedules/tick", &[], body.to_string()).await.expect(201);
}

/// The instants of all tasks of the schedule, in seconds, in order.
async fn instants(server: &Api) -> Vec<i64> {
    let page = server.get("/v1/tasks?limit=1000").await.expect(200);
    assert_eq!(page["next_cursor"], Value::Null);
    let tasks = page["data"].as_array().expect("a list");
    let mut instants: Vec<i64> = tasks
        .iter()
        .map(|task| {
            let at = task["scheduled_for"].as_str().expect("an instant");
            assert_eq!(
                task["id"],
                json!(format!("tick~{}Z", at.strip_suffix(".000Z").expect("a whole second")))
            );
            at.parse::<jiff::Timestamp>().expect("an instant").as_second()
        })
        .collect();
    instants.sort_unstable();
    instants
}

#[tokio::test]
async fn each_instant_makes_one_task_through_kill_9() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    define(&server, &worker, "allow", "all").await;
    let mut sent: BTreeMap<(String, String), String> = BTreeMap::new();
    for call in 0..20 {
        let call_now = worker.call().await;
        let (instant, id) = (call_now.header("taskhook-scheduled-for"), call_now.header("webhook-id"));
        // The same attempt may come again after a crash, and then as itself.
        let attempt = (instant, call_now.header("taskhook-attempt"));
        let first = sent.entry(attempt.clone()).or_insert_with(|| id.clone());
        assert_eq!(*first, id, "{attempt:?}");
        match call % 2 {
            0 => call_now.status(200),
            _ => call_now.hang_up(),
        }
        // At once: the instant may be decided, its answer may not be stored.
        server.crash_and_restart().await;
    }
    server.send("POST", "/v1/schedules/tick/pause", &[], "").await.expect(200);
    let schedule = server.get("/v1/schedules/tick").await.expect(200);
    let instants = instants(&server).await;
    // With `all`, every second since the first one has its task, though the server was down for some of them.
    let (first, last) = (instants[0], instants[instants.len() - 1]);
    assert_eq!(instants, (first..=last).collect::<Vec<_>>());
    let counts = json!({"fired": instants.len(), "requested": 0, "missed": 0, "overlapped": 0, "skipped": 0});
    assert_eq!(schedule["counts"], counts, "{schedule}");
    server.kill();
    let found = server.doctor();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[tokio::test]
async fn tasks_that_may_not_overlap_never_do_through_kill_9() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    define(&server, &worker, "skip", "all").await;
    for round in 0..6 {
        let call = worker.call().await;
        let id = call.header("taskhook-task-id");
        call.status(202);
        server.until_state(&id, "running").await;
        if round % 2 == 0 {
            server.crash_and_restart().await;
        }
        // Instants pass while the worker has the task.
        let count = |schedule: &Value| schedule["counts"]["overlapped"].as_u64().unwrap_or(0);
        let before = count(&server.get("/v1/schedules/tick").await.expect(200));
        while count(&server.get("/v1/schedules/tick").await.expect(200)) <= before {
            tokio::time::sleep(LOOK_AGAIN).await; // real time: instants are a second apart
        }
        assert!(worker.is_idle(), "no other task is sent before the webhook comes");
        server.webhook(json!({"event": "task_completed", "task_id": id})).await;
        assert_eq!(server.end_of(&id).await["state"], "succeeded");
    }
    server.kill();
    assert!(server.doctor().status.success());
}
