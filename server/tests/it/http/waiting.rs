//! `waiting_for`: why a task is not further, in every state (contract, section 4).

use serde_json::{Value, json};

use crate::support::{TestServer, Worker, task_for, with};

/// The time of day of a time, `14:03:20Z`, as sentences have it.
fn time_of_day(time: &Value) -> String {
    format!("{}Z", &time.as_str().expect("a time")[11..19])
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
    time.as_millisecond() as f64 / 1_000.0
}

#[tokio::test]
async fn a_blocked_task_waits_for_its_dependencies_and_names_the_first() {
    let server = TestServer::start().await;
    for id in ["a", "b", "c"] {
        server.create(json!({"id": id})).await;
    }
    server.create(json!({"id": "123", "after": ["a", "b", {"task": "c", "on": "finished"}]})).await;
    for (event, text, reference) in [
        (None, "the end of task a and of 2 other tasks", "a"),
        (Some("b"), "the end of task a and of one other task", "a"),
        (Some("a"), "the end of task c", "c"),
    ] {
        if let Some(id) = event {
            server.webhook(json!({"event": "task_completed", "task_id": id})).await;
        }
        let wanted = json!({"code": "dependency", "text": text, "until": null, "ref": reference});
        server.until("123", |task| task["waiting_for"] == wanted).await;
    }
    server.webhook(json!({"event": "task_failed", "task_id": "c"})).await;
    server.until_state("123", "running").await;
    server.stop().await;
}

#[tokio::test]
async fn a_scheduled_task_waits_for_its_time_or_for_a_retry() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let later = server.create(json!({"id": "later", "run_at": "2030-01-01T00:00:00Z"})).await;
    let at = "2030-01-01T00:00:00.000Z";
    assert_eq!(
        later["waiting_for"],
        json!({"code": "time", "text": format!("its time, {at}"), "until": at, "ref": null})
    );

    let retry = json!({"retry": {"max_attempts": 3, "initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    worker.call().await.status(500);
    let task = server.until_state("123", "scheduled").await;
    let waiting = &task["waiting_for"];
    let text = format!("its next attempt, at {} (1 of 3 attempts used up)", time_of_day(&waiting["until"]));
    assert_eq!((&waiting["code"], &waiting["text"]), (&json!("retry"), &json!(text)));
    server.stop().await;
}

#[tokio::test]
async fn a_queued_task_waits_for_capacity() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| {
        config.dispatch.exchanges = 1;
        config.dispatch.exchanges_per_host = 1;
    })
    .await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "one")).await;
    server.create(task_for(&worker, "two")).await;
    let call = worker.call().await;
    let task = server.task("two").await;
    let text = "a free exchange with its target, for attempt 1";
    assert_eq!(task["state"], "queued");
    assert_eq!(task["waiting_for"], json!({"code": "capacity", "text": text, "until": null, "ref": null}));
    call.status(200);
    worker.call().await.status(200);
    server.end_of("two").await;
    server.stop().await;
}

#[tokio::test]
async fn a_dispatching_task_waits_for_the_response_and_a_running_one_for_the_webhook() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (id, fields, response, callback) in [
        ("plain", json!({}), 300.0, Some(3_600.0)),
        ("short", json!({"timeout": "10s"}), 10.0, Some(10.0)),
        ("both", json!({"timeout": "1h", "request_timeout": "1m"}), 60.0, Some(3_600.0)),
    ] {
        let created = server.create(with(task_for(&worker, id), fields)).await;
        let call = worker.call().await;
        let began = seconds(&created["created_at"]);
        for (state, code, words, limit) in [
            ("dispatching", "response", "the response to attempt 1", Some(response)),
            ("running", "callback", "the completion webhook of attempt 1", callback),
        ] {
            if state == "running" {
                server.webhook(json!({"event": "task_started", "task_id": id})).await;
            }
            let task = server.until_state(id, state).await;
            let waiting = &task["waiting_for"];
            assert_eq!((&waiting["code"], &waiting["ref"]), (&json!(code), &Value::Null), "{task}");
            let text = format!("{words}, until {}", time_of_day(&waiting["until"]));
            assert_eq!(waiting["text"], text);
            let wait = limit.map(|limit| seconds(&waiting["until"]) - began - limit);
            assert!(wait.is_some_and(|off| (-0.002..30.0).contains(&off)), "{id} {state}: {task}");
        }
        call.status(200);
        let ended = server.end_of(id).await;
        assert_eq!(ended["waiting_for"], Value::Null, "it has ended");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_external_task_waits_for_its_webhook_with_a_time_out_if_it_has_one() {
    let server = TestServer::start().await;
    let open = server.create(json!({})).await;
    let text = "the completion webhook of attempt 1";
    assert_eq!(open["waiting_for"], json!({"code": "callback", "text": text, "until": null, "ref": null}));
    let timed = server.create(json!({"timeout": "1h"})).await;
    let until = &timed["waiting_for"]["until"];
    assert_eq!(timed["waiting_for"]["text"], format!("{text}, until {}", time_of_day(until)));
    let off = seconds(until) - seconds(&timed["created_at"]) - 3_600.0;
    assert!((-0.002..0.002).contains(&off), "{timed}");
    server.stop().await;
}
