//! How a webhook's body is read: the default mapping of contract section 3.

use serde_json::{Value, json};

use crate::support::{TestServer, with};

/// Sends a webhook about a new external task, and gives the task after it. `body` gets the task's id, which is
/// a number as a text.
async fn after(server: &TestServer, body: impl FnOnce(u64) -> Value) -> (Value, Value) {
    let newest = server.get("/v1/tasks?limit=1").await.expect(200);
    let number = newest["data"][0]["id"].as_str().map_or(1_000, |id| id.parse().expect("a number")) + 1;
    server.create(json!({"id": number.to_string()})).await;
    let answer = server.webhook(body(number)).await;
    (answer, server.task(&number.to_string()).await)
}

#[tokio::test]
async fn event_and_task_are_the_first_that_is_present_and_a_string_or_integer() {
    let server = TestServer::start().await;
    let bodies: [fn(u64) -> Value; 16] = [
        |id| json!({"event": "task_completed", "task_id": id.to_string()}),
        |id| json!({"type": "task_completed", "task_id": id.to_string()}),
        |id| json!({"event": "task_completed", "task_id": id}),
        |id| json!({"event": "task_completed", "data": {"task_id": id.to_string()}}),
        |id| json!({"type": "task.completed", "data": {"task_id": id}}),
        |id| json!({"event": "task.completed", "task_id": id}),
        |id| json!({"event": "task_completed", "type": "order_created", "task_id": id}),
        |id| json!({"event": null, "type": "task_completed", "task_id": id}),
        |id| json!({"event": {"name": "x"}, "type": "task_completed", "task_id": id}),
        |id| json!({"event": ["task_failed"], "type": "task_completed", "task_id": id}),
        |id| json!({"event": "task_completed", "task_id": null, "data": {"task_id": id}}),
        |id| json!({"event": "task_completed", "task_id": [id], "data": {"task_id": id}}),
        |id| json!({"event": "task_completed", "task_id": 1.5, "data": {"task_id": id}}),
        |id| json!({"event": "task_completed", "task_id": id, "data": {"task_id": "other"}}),
        |id| json!({"event": "task_completed", "task_id": id, "data": "no object"}),
        |id| json!({"event": "task_completed", "task_id": id, "more": [{"deep": {"a": 1}}, null], "id": 7}),
    ];
    for body in bodies {
        let (answer, task) = after(&server, body).await;
        assert_eq!(
            (&answer["outcome"], &task["state"]),
            (&json!("applied"), &json!("succeeded")),
            "{}",
            body(0)
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn the_attempt_is_at_the_top_or_under_data() {
    let server = TestServer::start().await;
    for (fields, outcome) in [
        (json!({}), "applied"),
        (json!({"attempt": null}), "applied"),
        (json!({"attempt": 1}), "applied"),
        (json!({"attempt": "1"}), "applied"),
        (json!({"data": {"attempt": 1}}), "applied"),
        (json!({"attempt": 1, "data": {"attempt": 9}}), "applied"),
        (json!({"attempt": null, "data": {"attempt": 9}}), "ignored"),
        (json!({"attempt": 9}), "ignored"),
        (json!({"data": {"attempt": 9}}), "ignored"),
        (json!({"attempt": 9, "data": {"attempt": 1}}), "ignored"),
    ] {
        let body = |id: u64| with(json!({"event": "task_completed", "task_id": id}), fields.clone());
        let (answer, _) = after(&server, body).await;
        assert_eq!(answer["outcome"], outcome, "{fields}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_result_is_at_the_top_or_under_data_and_any_json() {
    let server = TestServer::start().await;
    for (fields, result) in [
        (json!({}), Value::Null),
        (json!({"result": null}), Value::Null),
        (json!({"result": {"pages": [1, 2, {"a": null}]}}), json!({"pages": [1, 2, {"a": null}]})),
        (json!({"result": "text ä ☃ \u{1}"}), json!("text ä ☃ \u{1}")),
        (json!({"result": false}), json!(false)),
        (json!({"result": 0}), json!(0)),
        (json!({"data": {"result": [1]}}), json!([1])),
        (json!({"result": "top", "data": {"result": "below"}}), json!("top")),
        (json!({"result": null, "data": {"result": 5}}), json!(5)),
        (json!({"result": null, "data": {"result": null}}), Value::Null),
    ] {
        let body = |id: u64| with(json!({"event": "task_completed", "task_id": id}), fields.clone());
        let (_, task) = after(&server, body).await;
        assert_eq!(task["result"], result, "{fields}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_result_is_given_back_as_it_was_written() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let result = "{\"b\":1.50,  \"a\":12345678901234567890123, \"c\":\"\\u00e4\"}";
    let body = format!("{{\"event\":\"task_completed\",\"task_id\":\"123\",\"result\":{result}}}");
    server.send("POST", "/webhook", &[], body).await.expect(200);
    let answer = server.get("/v1/tasks/123").await;
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(text.contains(&format!("\"result\":{result}")), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn progress_and_message_are_at_the_top_or_under_data() {
    let server = TestServer::start().await;
    let left_out = |what| json!(format!("progress {what} is left out: it has to be a number from 0 to 1"));
    for (fields, progress, message) in [
        (json!({"progress": 0.5, "message": "half"}), json!(0.5), json!("half")),
        (json!({"progress": 1, "message": 7}), json!(1.0), json!("7")),
        (json!({"data": {"progress": 0.25, "message": "a quarter"}}), json!(0.25), json!("a quarter")),
        (
            json!({"progress": null, "message": null, "data": {"progress": 0.25, "message": "a quarter"}}),
            json!(0.25),
            json!("a quarter"),
        ),
        (json!({"message": "no number"}), Value::Null, json!("no number")),
        (json!({"progress": 0}), json!(0.0), Value::Null),
        (json!({"progress": "much"}), Value::Null, left_out("\"much\"")),
        (json!({"progress": 40}), Value::Null, left_out("40")),
        (json!({"progress": -1}), Value::Null, left_out("-1")),
        (json!({"progress": 40, "message": "forty"}), Value::Null, json!("forty")),
    ] {
        let body = |id: u64| with(json!({"event": "task_progress", "task_id": id}), fields.clone());
        let (answer, task) = after(&server, body).await;
        assert_eq!(answer["outcome"], "applied", "{fields}");
        assert_eq!((&task["progress"], &task["message"]), (&progress, &message), "{fields}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_error_is_a_string_or_has_message_code_and_retryable() {
    let server = TestServer::start().await;
    let silent = "the worker reported a failure without a message";
    for (fields, code, message) in [
        (json!({"error": "disk full"}), "reported", "disk full"),
        (json!({"error": {"message": "disk full", "code": "ENOSPC"}}), "ENOSPC", "disk full"),
        (json!({"error": {"message": "disk full", "code": 28, "retryable": true}}), "28", "disk full"),
        (json!({"data": {"error": "disk full"}}), "reported", "disk full"),
        (json!({"error": "top", "data": {"error": "below"}}), "reported", "top"),
        (json!({"error": null, "data": {"error": "disk full"}}), "reported", "disk full"),
        (json!({"error": null, "message": null, "data": {"message": "disk full"}}), "reported", "disk full"),
        (json!({"message": "disk full"}), "reported", "disk full"),
        (json!({"error": {"code": "E1"}}), "E1", silent),
        (json!({"error": null}), "reported", silent),
        (json!({}), "reported", silent),
    ] {
        let body = |id: u64| with(json!({"event": "task_failed", "task_id": id}), fields.clone());
        let (answer, task) = after(&server, body).await;
        // An external task fails at once.
        assert_eq!(
            (&answer["outcome"], &answer["task_state"]),
            (&json!("applied"), &json!("failed")),
            "{fields}"
        );
        assert_eq!(task["error"], json!({"code": code, "message": message}), "{fields}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_longer_than_is_kept_is_cut() {
    let server = TestServer::start().await;
    let long = "ä".repeat(4_000);
    let (_, task) = after(
        &server,
        |id| json!({"event": "task_failed", "task_id": id, "error": {"message": long, "code": long}}),
    )
    .await;
    let length = |member: &str| task["error"][member].as_str().expect("text").len();
    assert_eq!((length("message"), length("code")), (1_024, 64));
    server.stop().await;
}
