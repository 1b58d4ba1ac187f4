//! Creating a task: every field, its default and what is refused (contract, sections 2 and 4).

use serde_json::{Value, json};
use taskhook_core::id::parse_type_id;

use crate::support::{TestServer, with};

/// Whether it is a time in RFC 3339, in UTC, with milliseconds.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let pattern = "0000-00-00T00:00:00.000Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            _ => found == wanted,
        })
}

fn fault(pointer: &str, code: &str) -> (String, String) {
    (pointer.into(), code.into())
}

#[tokio::test]
async fn every_field_has_its_default() {
    let server = TestServer::start().await;
    let run_at = "2030-01-01T00:00:00.000Z";
    let external = server.create(json!({})).await;
    let id = external["id"].as_str().expect("an id");
    assert!(parse_type_id("task", id).is_some(), "{id}");
    for member in ["created_at", "run_at"] {
        assert!(is_time(&external[member]), "{external}");
    }
    let wanted = json!({
        "id": id, "name": null, "state": "running", "attempt": 1, "url": null, "method": null, "headers": {},
        "payload": null, "queue": "default", "source": "default", "concurrency_key": null, "unique": null, "priority": 0,
        "run_at": external["run_at"], "after": [],
        "completion": "auto", "timeout": null, "request_timeout": "5m",
        "retry": {"max_attempts": 8, "initial": "5s", "factor": 4.0, "max": "1h"}, "late_success": "accept",
        "labels": {}, "heartbeat": null, "deadline": null, "status": null, "cancel_url": null, "correlate": null, "external_id": null, "schedule": null, "scheduled_for": null,
        "result": null, "error": null, "progress": null, "message": null,
        "waiting_for": {"code": "callback", "text": "the completion webhook of attempt 1", "until": null, "ref": null},
        "warnings": [], "created_at": external["created_at"], "ended_at": null,
    });
    assert_eq!(external, wanted);

    let dispatched = server.create(json!({"id": "t", "url": "http://127.0.0.1:9/", "run_at": run_at})).await;
    let wanted = with(
        external.clone(),
        json!({
            "id": "t", "state": "scheduled", "attempt": 0, "url": "http://127.0.0.1:9/", "method": "POST",
            "run_at": run_at, "timeout": "1h", "created_at": dispatched["created_at"],
            "waiting_for": {"code": "time", "text": format!("its time, {run_at}"), "until": run_at, "ref": null},
        }),
    );
    assert_eq!(dispatched, wanted);
    let callback =
        json!({"id": "c", "url": "http://127.0.0.1:9/", "run_at": run_at, "completion": "callback"});
    let callback = server.create(callback).await;
    assert_eq!((&callback["timeout"], &callback["request_timeout"]), (&json!("1h"), &json!("30s")));
    let short = json!({"id": "s", "url": "http://127.0.0.1:9/", "run_at": run_at, "timeout": "10s"});
    assert_eq!(server.create(short).await["request_timeout"], "10s", "never beyond the timeout");
    server.stop().await;
}

#[tokio::test]
async fn every_field_comes_back_as_it_was_given() {
    let server = TestServer::start().await;
    server.create(json!({"id": "121"})).await;
    server.create(json!({"id": "120"})).await;
    let given = json!({
        "id": "A.b_c:d@e-9", "name": "resize", "url": "https://worker.example/resize?size=1&x=%20#part", "method": "PUT",
        "headers": {"X-Team": "abc", "content-type": "text/plain"}, "payload": {"image": 7, "tags": []},
        "queue": "default", "concurrency_key": "customer 7",
        "unique": {"key": "image 7", "until": "2h"}, "priority": -100, "run_at": "2030-01-01T01:00:00+01:00",
        "after": ["121", {"task": "120", "on": "not_failed"}], "completion": "response", "timeout": "1h 30m",
        "request_timeout": "PT90S", "retry": {"max_attempts": 1, "initial": "250ms", "factor": 1, "max": "1s"},
        "late_success": "accept", "labels": {"team": "a", "": "no"},
    });
    let mut given = given;
    given["labels"] = json!({"team": "a", "app/part": "ä"});
    let task = server.create(given.clone()).await;
    for member in [
        "id",
        "name",
        "url",
        "method",
        "headers",
        "payload",
        "queue",
        "unique",
        "priority",
        "completion",
        "labels",
    ] {
        assert_eq!(task[member], given[member], "{member}");
    }
    assert_eq!(task["run_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(
        task["after"],
        json!([{"task": "121", "on": "succeeded"}, {"task": "120", "on": "not_failed"}])
    );
    assert_eq!((&task["timeout"], &task["request_timeout"]), (&json!("1h 30m"), &json!("1m 30s")));
    assert_eq!(task["retry"], json!({"max_attempts": 1, "initial": "250ms", "factor": 1.0, "max": "1s"}));
    server.stop().await;
}

/// Refuses each of these tasks for one fault, and creates none.
async fn each_is_refused(tasks: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    let server = TestServer::start().await;
    for (task, pointer, code) in tasks {
        let answer = server.post("/v1/tasks", task.clone()).await;
        let shown: String = task.to_string().chars().take(200).collect();
        assert_eq!(answer.faults(), [fault(pointer, code)], "{shown}");
    }
    assert_eq!(server.get("/v1/tasks").await.expect(200)["data"], json!([]), "none of them exists");
    server.stop().await;
}

/// An object with so many members.
fn many(count: usize) -> Value {
    (0..count).map(|n| (format!("n{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn an_id_name_or_request_that_is_wrong_is_refused_with_pointer_and_code() {
    let url = "http://127.0.0.1:9/";
    each_is_refused([
        (json!({"id": 7}), "/id", "wrong_type"),
        (json!({"id": ""}), "/id", "not_an_id"),
        (json!({"id": "-a"}), "/id", "not_an_id"),
        (json!({"id": "a b"}), "/id", "not_an_id"),
        (json!({"id": "a/b"}), "/id", "not_an_id"),
        (json!({"id": "a~b"}), "/id", "not_an_id"),
        (json!({"id": "ä"}), "/id", "not_an_id"),
        (json!({"id": "a".repeat(129)}), "/id", "not_an_id"),
        (json!({"name": 7}), "/name", "wrong_type"),
        (json!({"name": ""}), "/name", "not_a_name"),
        (json!({"name": "a".repeat(65)}), "/name", "not_a_name"),
        (json!({"name": "a\nb"}), "/name", "not_a_name"),
        (json!({"url": 7}), "/url", "wrong_type"),
        (json!({"url": ""}), "/url", "not_a_url"),
        (json!({"url": "worker.example/x"}), "/url", "not_a_url"),
        (json!({"url": "/x"}), "/url", "not_a_url"),
        (json!({"url": "ftp://worker.example/"}), "/url", "not_a_url"),
        (json!({"url": "http://"}), "/url", "not_a_url"),
        (json!({"url": "http:///x"}), "/url", "not_a_url"),
        (json!({"url": "http://:80/x"}), "/url", "not_a_url"),
        (json!({"url": "http://user:pass@worker.example/"}), "/url", "not_a_url"),
        (json!({"url": "http://worker.example/a b"}), "/url", "not_a_url"),
        (json!({"url": "http://worker.example:99999/"}), "/url", "not_a_url"),
        (json!({"url": "http://worker.example:x/"}), "/url", "not_a_url"),
        (json!({"url": format!("http://worker.example/{}", "a".repeat(2_048))}), "/url", "not_a_url"),
        (json!({"url": url, "method": "CONNECT"}), "/method", "not_a_method"),
        (json!({"url": url, "method": "post"}), "/method", "not_a_method"),
        (json!({"url": url, "method": 7}), "/method", "wrong_type"),
        (json!({"url": url, "headers": ["a"]}), "/headers", "wrong_type"),
        (json!({"url": url, "headers": {"a": 7}}), "/headers", "wrong_type"),
        (json!({"url": url, "headers": many(33)}), "/headers", "too_many"),
        (json!({"url": url, "headers": {"a": "b".repeat(8_193)}}), "/headers", "too_many"),
        (json!({"url": url, "headers": {"a": "b\nc"}}), "/headers/a", "not_a_header"),
        (json!({"url": url, "headers": {"a": "\u{0}"}}), "/headers/a", "not_a_header"),
        (json!({"url": url, "headers": {"a b": "c"}}), "/headers/a b", "not_a_header"),
        (json!({"url": url, "headers": {"": "c"}}), "/headers/", "not_a_header"),
        (json!({"url": url, "headers": {"a/b~c": "d"}}), "/headers/a~1b~0c", "not_a_header"),
        (json!({"url": url, "payload": "x".repeat(1 << 20)}), "/payload", "too_large"),
        (json!({"method": "POST"}), "/method", "needs_url"),
        (json!({"headers": {}}), "/headers", "needs_url"),
        (json!({"payload": null}), "/payload", "needs_url"),
    ])
    .await;
}

#[tokio::test]
async fn any_other_field_that_is_wrong_is_refused_with_pointer_and_code() {
    let ids: Vec<String> = (0..1_001).map(|n| format!("n{n}")).collect();
    each_is_refused([
        (json!({"queue": "other"}), "/queue", "no_such_queue"),
        (json!({"queue": 7}), "/queue", "wrong_type"),
        (json!({"queue": "no spaces"}), "/queue", "not_a_name"),
        (json!({"concurrency_key": ""}), "/concurrency_key", "not_a_name"),
        (json!({"concurrency_key": "k".repeat(129)}), "/concurrency_key", "not_a_name"),
        (json!({"priority": 101}), "/priority", "out_of_range"),
        (json!({"priority": -101}), "/priority", "out_of_range"),
        (json!({"priority": 1.5}), "/priority", "wrong_type"),
        (json!({"priority": "1"}), "/priority", "wrong_type"),
        (json!({"run_at": 1_795_447_297}), "/run_at", "wrong_type"),
        (json!({"run_at": "tomorrow"}), "/run_at", "not_a_time"),
        (json!({"run_at": "2026-11-24"}), "/run_at", "not_a_time"),
        (json!({"run_at": "2026-11-24T01:30:00"}), "/run_at", "not_a_time"),
        (json!({"run_at": "2026-02-30T01:30:00Z"}), "/run_at", "not_a_time"),
        (json!({"run_at": "9999-12-31T23:59:59Z"}), "/run_at", "not_a_time"),
        (json!({"run_at": "-000001-12-31T23:59:59Z"}), "/run_at", "not_a_time"),
        (json!({"delay": 30}), "/delay", "wrong_type"),
        (json!({"delay": "soon"}), "/delay", "not_a_duration"),
        (json!({"delay": "-5s"}), "/delay", "not_a_duration"),
        (json!({"delay": "1 month"}), "/delay", "not_a_duration"),
        (json!({"delay": "4000d"}), "/delay", "not_a_duration"),
        (json!({"run_at": "2030-01-01T00:00:00Z", "delay": "1s"}), "/delay", "conflict"),
        (json!({"after": "122"}), "/after", "wrong_type"),
        (json!({"after": [122]}), "/after/0", "not_a_dependency"),
        (json!({"after": ["n", {"task": 122}]}), "/after/1", "not_a_dependency"),
        (json!({"after": [{"on": "failed"}]}), "/after/0", "not_a_dependency"),
        (json!({"after": [{"task": "n", "on": "completed"}]}), "/after/0", "not_a_dependency"),
        (json!({"after": [{"task": "n", "when": "failed"}]}), "/after/0", "not_a_dependency"),
        (json!({"after": ["n", {"task": "n", "on": "failed"}]}), "/after/1", "twice"),
        (json!({"after": ids}), "/after", "too_many"),
        (json!({"after": ["unknown"]}), "/after/0", "no_such_task"),
        (json!({"after": ["not an id"]}), "/after/0", "no_such_task"),
        (json!({"id": "self", "after": ["self"]}), "/after", "cycle"),
        (json!({"completion": "webhook"}), "/completion", "unknown_value"),
        (json!({"completion": true}), "/completion", "wrong_type"),
        (json!({"timeout": "0s"}), "/timeout", "out_of_range"),
        (json!({"timeout": "x"}), "/timeout", "not_a_duration"),
        (json!({"request_timeout": "0ms"}), "/request_timeout", "out_of_range"),
        (json!({"retry": 3}), "/retry", "wrong_type"),
        (json!({"retry": {"max_attempts": 0}}), "/retry/max_attempts", "out_of_range"),
        (json!({"retry": {"max_attempts": 101}}), "/retry/max_attempts", "out_of_range"),
        (json!({"retry": {"max_attempts": "3"}}), "/retry/max_attempts", "wrong_type"),
        (json!({"retry": {"initial": 5}}), "/retry/initial", "wrong_type"),
        (json!({"retry": {"factor": 0.5}}), "/retry/factor", "out_of_range"),
        (json!({"retry": {"factor": 101}}), "/retry/factor", "out_of_range"),
        (json!({"retry": {"max": "25h"}}), "/retry/max", "out_of_range"),
        (json!({"retry": {"attempts": 3}}), "/retry/attempts", "unknown_field"),
        (json!({"late_success": "maybe"}), "/late_success", "unknown_value"),
        (json!({"labels": ["a"]}), "/labels", "wrong_type"),
        (json!({"labels": {"a": 1}}), "/labels", "wrong_type"),
        (json!({"labels": many(33)}), "/labels", "too_many"),
        (json!({"labels": {"": "a"}}), "/labels/", "too_long"),
        (json!({"labels": {"a": "b".repeat(129)}}), "/labels/a", "too_long"),
    ])
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_with_did_you_mean() {
    let server = TestServer::start().await;
    for (field, pointer, hint) in [
        ("payloda", "/payloda", "did you mean \"payload\"?"),
        ("run_after", "/run_after", "did you mean \"run_at\"?"),
        ("Url", "/Url", "did you mean \"url\"?"),
        ("request-timeout", "/request-timeout", "did you mean \"request_timeout\"?"),
        ("a/b~c", "/a~1b~0c", "is not known here"),
        ("", "/", "is not known here"),
    ] {
        let answer = server.post("/v1/tasks", json!({field: 1})).await;
        assert_eq!(answer.faults(), [fault(pointer, "unknown_field")], "{field}");
        let detail = answer.json()["errors"][0]["detail"].as_str().expect("text").to_string();
        assert!(detail.contains(hint), "{field}: {detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() {
    let server = TestServer::start().await;
    let task = json!({
        "id": "no id", "url": "nowhere", "priority": 1_000, "retry": {"max_attempts": 0, "factr": 2}, "deadline": "soon",
        "labls": {},
    });
    let mut faults = server.post("/v1/tasks", task).await.faults();
    faults.sort();
    let wanted = [
        fault("/deadline", "not_an_instant"),
        fault("/id", "not_an_id"),
        fault("/labls", "unknown_field"),
        fault("/priority", "out_of_range"),
        fault("/retry/factr", "unknown_field"),
        fault("/retry/max_attempts", "out_of_range"),
        fault("/url", "not_a_url"),
    ];
    assert_eq!(faults, wanted);
    server.stop().await;
}

#[tokio::test]
async fn ids_are_what_callers_may_choose() {
    let server = TestServer::start().await;
    let longest = "9".repeat(128);
    for id in ["1", "a", "Z", "0.a", "a:b@c-d_e.f", longest.as_str()] {
        assert_eq!(server.create(json!({"id": id})).await["id"], id);
        assert_eq!(server.task(id).await["id"], id);
    }
    let (one, two) = (server.create(json!({})).await, server.create(json!({})).await);
    assert_ne!(one["id"], two["id"]);
    server.stop().await;
}

#[tokio::test]
async fn the_same_id_with_the_same_content_is_the_existing_task_and_other_content_is_409() {
    let server = TestServer::start().await;
    let first = r#"{"id": "123", "delay": "1h", "labels": {"a": "1", "b": "2"}, "name": "ä"}"#;
    let post = async |body: &str| server.send("POST", "/v1/tasks", &[], body.to_string()).await;
    let task = post(first).await.expect(201);
    for same in [
        first,
        r#"{"id":"123","delay":"1h","labels":{"a":"1","b":"2"},"name":"ä"}"#,
        r#"{"name": "\u00e4", "labels": {"b": "2", "a": "1"}, "delay": "1h", "id": "123"}"#,
    ] {
        assert_eq!(post(same).await.expect(200), task, "{same}");
    }
    for other in [
        r#"{"id": "123"}"#,
        r#"{"id": "123", "delay": "60m", "labels": {"a": "1", "b": "2"}, "name": "ä"}"#,
        r#"{"id": "123", "delay": "1h", "labels": {"a": "2", "b": "1"}, "name": "ä"}"#,
        r#"{"id": "123", "delay": "1h", "labels": {"a": "1", "b": "2"}, "name": "ä", "priority": 0}"#,
    ] {
        let problem = post(other).await.problem(409, "id_taken");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("\"123\"")), "{problem}");
    }
    assert_eq!(server.task("123").await, task, "nothing of it has changed");
    server.webhook(json!({"event": "task_cancelled", "task_id": "123"})).await;
    assert_eq!(post(first).await.expect(200)["state"], "cancelled", "as it is now");
    server.stop().await;
}

#[tokio::test]
async fn numbers_are_told_apart_as_they_are_given() {
    let server = TestServer::start().await;
    let task = |id: &str, number: &str| {
        format!(r#"{{"id": "{id}", "url": "http://127.0.0.1:9/", "delay": "1h", "payload": {number}}}"#)
    };
    for (id, one, other) in [
        ("a", "1", "2"),
        ("b", "1", "-1"),
        ("c", "12345678901234567890123", "12345678901234567890124"),
        ("d", "0.1", "0.10000000000000000001"),
        ("e", "{\"a\": 1}", "{\"a\": [1]}"),
        ("f", "\"1\"", "1"),
    ] {
        server.send("POST", "/v1/tasks", &[], task(id, one)).await.expect(201);
        server.send("POST", "/v1/tasks", &[], task(id, one)).await.expect(200);
        server.send("POST", "/v1/tasks", &[], task(id, other)).await.problem(409, "id_taken");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_instant_in_any_zone_and_a_duration_in_any_form_is_read() {
    let server = TestServer::start().await;
    for (given, shown) in [
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00.000Z"),
        ("2030-01-01T00:00:00.123456Z", "2030-01-01T00:00:00.123Z"),
        ("2030-01-01T02:00:00+02:00", "2030-01-01T00:00:00.000Z"),
        ("2030-01-01t00:00:00z", "2030-01-01T00:00:00.000Z"),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(server.create(json!({"run_at": given})).await["run_at"], shown, "{given}");
    }
    for (given, shown) in [
        ("250ms", "250ms"),
        ("30s", "30s"),
        ("90s", "1m 30s"),
        ("1h 30m", "1h 30m"),
        ("1h30m", "1h 30m"),
        ("PT30S", "30s"),
        ("PT1H30M", "1h 30m"),
        ("P1D", "24h"),
        ("7d", "168h"),
        ("1.5s", "1s 500ms"),
    ] {
        assert_eq!(server.create(json!({"timeout": given})).await["timeout"], shown, "{given}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_task_is_not_due_before_its_time_or_delay() {
    let server = TestServer::start().await;
    for fields in [json!({"delay": "1h"}), json!({"run_at": "2030-01-01T00:00:00Z"})] {
        let task = server.create(fields).await;
        assert_eq!((&task["state"], &task["waiting_for"]["code"]), (&json!("scheduled"), &json!("time")));
        assert_eq!(task["waiting_for"]["until"], task["run_at"]);
    }
    for fields in [
        json!({"delay": "0s"}),
        json!({"run_at": "2000-01-01T00:00:00Z"}),
        json!({"run_at": null, "delay": null}),
    ] {
        assert_eq!(server.create(fields.clone()).await["state"], "running", "{fields}");
    }
    let soon = server.create(json!({"id": "soon", "delay": "20ms"})).await;
    let begun = server.until_state("soon", "running").await;
    assert_eq!(begun["run_at"], soon["run_at"]);
    assert_eq!(server.changes("soon").await, ["created", "scheduled", "begun"]);
    server.stop().await;
}

#[tokio::test]
async fn a_payload_of_one_mib_is_taken() {
    let server = TestServer::start().await;
    let task = json!({"id": "123", "url": "http://127.0.0.1:9/", "delay": "1h", "payload": "x".repeat((1 << 20) - 2)});
    let task = server.create(task).await;
    assert_eq!(task["payload"].as_str().map(str::len), Some((1 << 20) - 2));
    server.stop().await;
}
