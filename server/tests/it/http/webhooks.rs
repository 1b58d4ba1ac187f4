//! What a webhook does to its task, and what it is answered (contract, section 3).

use serde_json::{Value, json};
use taskhook_core::id::parse_type_id;

use crate::support::{TestServer, Worker, task_for, with};

/// The three members of an answer that say what became of a webhook.
fn outcome(answer: &Value) -> (&str, Option<&str>, Option<&str>) {
    let text = |member: &str| answer.get(member).map(|value| value.as_str().expect("text"));
    (text("outcome").expect("an outcome"), text("reason"), text("task_state"))
}

/// A task that is skipped: what it waits for has failed, as `{id}-parent`.
async fn skipped(server: &TestServer, id: &str) {
    let parent = format!("{id}-parent");
    server.create(json!({"id": parent})).await;
    server.webhook(json!({"event": "task_failed", "task_id": parent})).await;
    server.create(json!({"id": id, "after": [parent]})).await;
}

#[tokio::test]
async fn the_answer_says_what_became_of_the_webhook() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let answer = server.post("/webhook", json!({"event": "task_completed", "task_id": "123"})).await;
    let body = answer.expect(200);
    let id = body["event_id"].as_str().expect("an id");
    assert!(parse_type_id("evt", id).is_some(), "{id}");
    let wanted = json!({
        "message": "Webhook received", "event_id": id, "outcome": "applied", "task_state": "succeeded",
    });
    assert_eq!(body, wanted);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("request-id").is_some_and(|id| parse_type_id("req", id).is_some()));
    server.stop().await;
}

#[tokio::test]
async fn webhook_default_is_the_source_of_webhook_and_others_are_unknown() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    for path in ["/webhook/github", "/webhook/Default", "/webhook/default%20"] {
        let answer = server.post(path, json!({"event": "task_completed", "task_id": "123"})).await;
        answer.problem(404, "not_found");
    }
    let answer = server.post("/webhook/default", json!({"event": "task_completed", "task_id": "123"})).await;
    assert_eq!(outcome(&answer.expect(200)), ("applied", None, Some("succeeded")));
    server.stop().await;
}

#[tokio::test]
async fn each_of_the_six_events_has_its_effect_with_underscores_and_with_dots() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let cases = [
        ("task_started", json!({}), "running"),
        ("task_progress", json!({"progress": 0.25, "message": "a quarter"}), "running"),
        ("task_heartbeat", json!({}), "running"),
        ("task_completed", json!({"result": {"pages": 3}}), "succeeded"),
        ("task_failed", json!({"error": "disk full"}), "scheduled"),
        ("task_failed", json!({"error": {"message": "no such image", "retryable": false}}), "failed"),
        ("task_cancelled", json!({}), "cancelled"),
    ];
    for (number, (event, fields, state)) in cases.into_iter().enumerate() {
        for name in [event.to_string(), event.replace('_', ".")] {
            let id = format!("{number}-{name}");
            let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
            server.create(with(task_for(&worker, &id), retry)).await;
            let call = worker.call().await;
            let body = with(json!({"event": name, "task_id": id}), fields.clone());
            assert_eq!(outcome(&server.webhook(body).await), ("applied", None, Some(state)), "{name}");
            assert_eq!(server.task(&id).await["state"], state, "{name}");
            call.status(202);
        }
    }
    let progress = server.task("1-task_progress").await;
    assert_eq!((&progress["progress"], &progress["message"]), (&json!(0.25), &json!("a quarter")));
    assert_eq!(server.task("3-task_completed").await["result"], json!({"pages": 3}));
    let failed = server.task("5-task_failed").await;
    assert_eq!(failed["error"], json!({"code": "reported", "message": "no such image"}));
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_id_that_was_seen_is_a_duplicate_and_nothing_is_done_twice() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let send = async |body: Value| {
        server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body.to_string()).await.expect(200)
    };
    let first = send(json!({"event": "task_progress", "task_id": "123", "progress": 0.5})).await;
    assert_eq!(outcome(&first), ("applied", None, Some("running")));
    let again = send(json!({"event": "task_completed", "task_id": "123"})).await;
    assert_eq!(outcome(&again), ("duplicate", None, Some("running")), "whatever it says the second time");
    assert_eq!(again["event_id"], first["event_id"]);
    assert_eq!(server.changes("123").await, ["created", "begun", "alive"]);
    server.stop().await;
}

#[tokio::test]
async fn an_older_attempt_that_is_named_is_stale() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    worker.call().await.status(500);
    let second = worker.call().await;
    for event in ["task_started", "task_progress", "task_heartbeat", "task_failed", "task_cancelled"] {
        let answer = server.webhook(json!({"event": event, "task_id": "123", "attempt": 1})).await;
        assert_eq!(outcome(&answer), ("stale", None, Some("dispatching")), "{event}");
    }
    second.status(200);
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn an_end_is_not_changed_by_a_webhook_and_the_reason_says_so() {
    let server = TestServer::start().await;
    for id in ["succeeded", "failed", "cancelled"] {
        server.create(json!({"id": id})).await;
    }
    server.webhook(json!({"event": "task_completed", "task_id": "succeeded"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "failed"})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "cancelled"})).await;
    skipped(&server, "skipped").await;

    for (state, event, reason) in [
        ("succeeded", "task_started", "terminal"),
        ("succeeded", "task_progress", "terminal"),
        ("succeeded", "task_heartbeat", "terminal"),
        ("succeeded", "task_completed", "terminal"),
        ("succeeded", "task_failed", "contradiction"),
        ("succeeded", "task_cancelled", "contradiction"),
        ("failed", "task_started", "terminal"),
        ("failed", "task_progress", "terminal"),
        ("failed", "task_heartbeat", "terminal"),
        ("failed", "task_completed", "contradiction"),
        ("failed", "task_failed", "terminal"),
        ("failed", "task_cancelled", "terminal"),
        ("cancelled", "task_started", "terminal"),
        ("cancelled", "task_completed", "terminal"),
        ("cancelled", "task_failed", "terminal"),
        ("cancelled", "task_cancelled", "terminal"),
        ("skipped", "task_started", "terminal"),
        ("skipped", "task_completed", "terminal"),
        ("skipped", "task_failed", "terminal"),
        ("skipped", "task_cancelled", "terminal"),
    ] {
        let before = server.task(state).await;
        let answer = server.webhook(json!({"event": event, "task_id": state})).await;
        assert_eq!(outcome(&answer), ("ignored", Some(reason), Some(state)), "{event}");
        let after = server.task(state).await;
        assert_eq!(after["state"], before["state"], "{event}");
        assert_eq!(after["ended_at"], before["ended_at"], "{event}");
        assert_eq!(after["result"], before["result"], "{event}");
    }
    for (id, warned) in [("succeeded", true), ("failed", true), ("cancelled", false), ("skipped", false)] {
        let task = server.task(id).await;
        let codes: Vec<&str> = task["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|warning| warning["code"].as_str().expect("a code"))
            .collect();
        assert_eq!(codes, if warned { vec!["contradicted"] } else { vec![] }, "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_task_that_has_not_started_ignores_what_is_about_an_attempt() {
    let server = TestServer::start().await;
    let worker = Worker::start().await;
    server.create(json!({"id": "parent"})).await;
    server.create(with(task_for(&worker, "scheduled"), json!({"delay": "1h"}))).await;
    server.create(with(task_for(&worker, "blocked"), json!({"after": ["parent"]}))).await;
    for id in ["scheduled", "blocked"] {
        for event in ["task_started", "task_progress", "task_heartbeat", "task_completed", "task_failed"] {
            let answer = server.webhook(json!({"event": event, "task_id": id})).await;
            assert_eq!(outcome(&answer), ("ignored", Some("not_started"), Some(id)), "{event}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_external_task_takes_its_end_in_any_non_terminal_state_but_nothing_on_the_way_there() {
    let server = TestServer::start().await;
    server.create(json!({"id": "parent"})).await;
    for (number, (event, end)) in
        [("task_completed", "succeeded"), ("task_failed", "failed"), ("task_cancelled", "cancelled")]
            .into_iter()
            .enumerate()
    {
        for (state, fields) in [
            ("blocked", json!({"after": ["parent"]})),
            ("scheduled", json!({"delay": "1h"})),
            ("running", json!({})),
        ] {
            let id = format!("{state}-{number}");
            let created = server.create(with(json!({"id": id}), fields)).await;
            assert_eq!(created["state"], state);
            if state != "running" {
                for early in ["task_started", "task_progress", "task_heartbeat"] {
                    let answer = server.webhook(json!({"event": early, "task_id": id})).await;
                    assert_eq!(outcome(&answer), ("ignored", Some("not_started"), Some(state)), "{early}");
                }
            }
            let answer = server.webhook(json!({"event": event, "task_id": id})).await;
            assert_eq!(outcome(&answer), ("applied", None, Some(end)), "{event} while {state}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_after_the_response_that_completed_its_task_is_ignored_with_a_warning() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    worker.call().await.answer(200, &[], "\"at once\"");
    server.end_of("123").await;
    assert_eq!(server.task("123").await["warnings"], json!([]));
    for event in ["task_started", "task_completed"] {
        let answer = server.webhook(json!({"event": event, "task_id": "123", "result": "later"})).await;
        assert_eq!(
            outcome(&answer),
            ("ignored", Some("completed_by_response"), Some("succeeded")),
            "{event}"
        );
    }
    let task = server.task("123").await;
    assert_eq!(task["result"], "at once");
    let warning = &task["warnings"][0];
    assert_eq!(warning["code"], "answered_too_early");
    let detail = warning["detail"].as_str().expect("text");
    assert!(detail.contains("202") && detail.contains("completion: \"callback\""), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn an_attempt_that_never_was_is_ignored() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "external"})).await;
    server.create(task_for(&worker, "dispatched")).await;
    let call = worker.call().await;
    for (id, state) in [("external", "running"), ("dispatched", "dispatching")] {
        for attempt in
            [json!(2), json!("2"), json!(0), json!(-1), json!(1.5), json!("first"), json!(4_294_967_297_u64)]
        {
            let body = json!({"event": "task_completed", "task_id": id, "attempt": attempt});
            let answer = server.webhook(body).await;
            assert_eq!(outcome(&answer), ("ignored", Some("unknown_attempt"), Some(state)), "{attempt}");
        }
        let answer = server.webhook(json!({"event": "task_completed", "task_id": id, "attempt": 1})).await;
        assert_eq!(outcome(&answer), ("applied", None, Some("succeeded")));
    }
    call.status(202);
    server.stop().await;
}

#[tokio::test]
async fn a_report_about_an_attempt_that_has_ended_is_ignored() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    worker.call().await.status(500);
    server.until_state("123", "scheduled").await;
    for event in ["task_started", "task_progress", "task_heartbeat", "task_failed"] {
        for attempt in [Value::Null, json!(1)] {
            let answer = server.webhook(json!({"event": event, "task_id": "123", "attempt": attempt})).await;
            assert_eq!(outcome(&answer), ("ignored", Some("attempt_ended"), Some("scheduled")), "{event}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_task_that_does_not_exist_yet_is_unmatched() {
    let server = TestServer::start().await;
    for event in
        ["task_started", "task_progress", "task_heartbeat", "task_completed", "task_failed", "task_cancelled"]
    {
        let answer = server.webhook(json!({"event": event, "task_id": "not-yet"})).await;
        assert_eq!(outcome(&answer), ("unmatched", None, None), "{event}");
    }
    server.get("/v1/tasks/not-yet").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_about_a_task_is_recorded_with_the_reason() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let (no_name, no_task, no_id) =
        (Some("it has no event name"), Some("it names no task"), Some("its task_id is no id of a task"));
    for (body, reason) in [
        (json!({}), no_name),
        (json!({"task_id": "123", "result": 1}), no_name),
        (json!({"event": null, "task_id": "123"}), no_name),
        (json!({"event": true, "type": ["task_completed"], "task_id": "123"}), no_name),
        (json!({"event": "task_completed"}), no_task),
        (json!({"event": "task_completed", "task_id": -5}), no_id),
        (json!({"event": "task_completed", "task_id": "-5"}), no_id),
        (json!({"event": "task_completed", "task_id": "~~"}), no_id),
        (json!({"event": "task_completed", "task_id": ".a"}), no_id),
        (json!({"event": "task_completed", "task_id": null}), no_task),
        (json!({"event": "task_completed", "task_id": {"id": "123"}}), no_task),
        (json!({"event": "task_completed", "id": "123"}), no_task),
        (json!({"event": "task_completed", "task_id": ""}), no_id),
        (json!({"event": "task_completed", "task_id": "1 2 3"}), no_id),
        (json!({"event": "task_completed", "task_id": "a/b"}), no_id),
        (json!({"event": "order_created"}), None),
        (json!({"event": "order_created", "task_id": "123"}), None),
        (json!({"event": "TASK_COMPLETED", "task_id": "123"}), None),
        (json!({"event": "task-completed", "task_id": "123"}), None),
        (json!({"event": "task_completed ", "task_id": "123"}), None),
        (json!({"event": 7, "task_id": "123"}), None),
        (json!({"event": "", "task_id": "123"}), None),
    ] {
        let answer = server.webhook(body.clone()).await;
        assert_eq!(
            (&answer["outcome"], answer.get("reason").and_then(Value::as_str)),
            (&json!("recorded"), reason),
            "{body}"
        );
    }
    assert_eq!(server.changes("123").await, ["created", "begun"], "none of them touched the task");
    server.stop().await;
}
