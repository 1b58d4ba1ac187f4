//! Staying in sync (contract, section 7): status URLs, signs of life, deadlines, and remotes that are told of a cancel.

use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Worker, task_for, with};

/// A task whose remote is asked 50 ms after its dispatch.
fn asked(worker: &Worker, id: &str) -> Value {
    let status = json!({"url": format!("{}/status/{id}", worker.url), "after": "50ms"});
    with(task_for(worker, id), json!({"status": status, "retry": {"max_attempts": 1}}))
}

/// The sentences of a task's history.
async fn told(server: &RealServer, id: &str) -> String {
    let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200);
    let texts = history["data"].as_array().unwrap().iter().filter_map(|entry| entry["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// G14: the callback never comes, and the true end is found.
#[tokio::test]
async fn a_lost_callback_is_found_by_asking() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    for (id, answer, state) in [
        ("a", json!({"status": "completed", "result": {"pages": 3}}), "succeeded"),
        ("b", json!({"status": "failed", "error": {"message": "no paper", "code": "paper"}}), "failed"),
        ("c", json!({"status": "cancelled"}), "cancelled"),
    ] {
        server.create(asked(&worker, id)).await;
        let dispatch = worker.call().await;
        let attempt = dispatch.header("webhook-id");
        dispatch.status(202);
        let question = worker.call().await;
        assert_eq!(
            (question.method.as_str(), question.path.as_str()),
            ("GET", format!("/status/{id}").as_str())
        );
        assert_eq!(question.header("webhook-id"), attempt, "it is about the attempt");
        assert!(question.headers.contains_key("webhook-signature") && question.body.is_empty());
        assert_eq!(
            (question.header("taskhook-task-id").as_str(), question.header("taskhook-attempt").as_str()),
            (id, "1")
        );
        assert!(!question.headers.contains_key("taskhook-callback-url"), "who is only asked may not report");
        question.answer(200, &[], answer.to_string());
        let task = server.end_of(id).await;
        assert_eq!(task["state"], state, "{task}");
        let told = told(&server, id).await;
        let asked = "the remote was asked about attempt 1, since its end was not reported: it";
        assert!(told.contains(asked), "{told}");
        assert!(told.contains("since its remote said so when it was asked"), "{told}");
    }
    assert_eq!(server.task("a").await["result"], json!({"pages": 3}));
    assert_eq!(server.task("b").await["error"], json!({"code": "paper", "message": "no paper"}));
}

/// That asking came to nothing says most where the task has failed.
#[tokio::test]
async fn a_time_out_behind_questions_without_an_answer_carries_the_warning() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let little_time = json!({"timeout": "2500ms", "retry": {"max_attempts": 1}});
    server.create(with(asked(&worker, "a"), little_time)).await;
    worker.call().await.status(202);
    for _ in 0..3 {
        let question = worker.call().await;
        assert_eq!(question.method, "GET");
        question.status(500);
    }
    let task = server.end_of("a").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timeout")));
    assert_eq!(task["warnings"][0]["code"], "unanswered", "{task}");
    // Of an end that the worker itself has reported nothing is unclear.
    server.create(asked(&worker, "b")).await;
    let dispatch = worker.call().await;
    let callback = dispatch.header("taskhook-callback-url");
    dispatch.status(202);
    for _ in 0..2 {
        worker.call().await.status(500);
    }
    server.until("b", |task| task["warnings"][0]["code"] == "unanswered").await;
    // Whatever it calls that.
    let told =
        json!({"event": "task_failed", "retryable": false, "error": {"code": "timeout", "message": "mine"}});
    assert_eq!(server.call_back(&callback, told).await["outcome"], "applied");
    let task = server.task("b").await;
    assert_eq!((&task["error"]["message"], &task["warnings"]), (&json!("mine"), &json!([])));
    // The next attempt, if there is one, is another matter.
    server.post("/v1/tasks/a/retry", json!({})).await.expect(200);
    worker.call().await.answer(422, &[], "");
    let task = server.until("a", |task| task["error"]["code"] == "http_422" && task["attempt"] == 2).await;
    assert_eq!(task["warnings"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn it_is_asked_again_until_it_says_something() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(asked(&worker, "a")).await;
    worker.call().await.status(202);
    for (status, body) in [
        (500, ""),
        (200, "no json"),
        (200, r#"{"status": "SUCCESS"}"#),
        (200, r#"{"state": "running"}"#),
        (200, r#"{"status": [1]}"#),
    ] {
        let question = worker.call().await;
        assert_eq!(question.method, "GET");
        question.answer(status, &[], body);
    }
    let last = worker.call().await;
    // Whoever watches it sees that asking comes to nothing, and not only when it is too late.
    assert_eq!(server.task("a").await["warnings"][0]["code"], "unanswered");
    last.answer(200, &[], r#"{"status": "completed"}"#);
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    let told = told(&server, "a").await;
    for words in [
        "it answered 500",
        "it is no JSON",
        "is none of running, completed",
        "it names no status",
        "its status is no text, and is to be one of running",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// An answer that cannot be read says nothing, and the history says why, and what to do.
#[tokio::test]
async fn an_answer_that_cannot_be_read_says_nothing() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let large = |bytes: usize| {
        let around = json!({"status": "completed", "result": ""}).to_string().len();
        json!({"status": "completed", "result": "x".repeat(bytes - around)}).to_string()
    };
    let twice = r#"{"status": "running", "status": "completed"}"#;
    let map = || json!({"status": "response.body.status", "result": "response.body.result"});
    let div = json!({"status": "response.body.status", "result": "response.body.percent / 100.0"});
    let percent = r#"{"status": "completed", "percent": 55}"#;
    let none = json!({});
    let mut missing = Vec::new();
    for (id, map, status, body, words) in [
        ("a", none.clone(), 204, String::new(), "its answer says nothing: it is empty"),
        ("b", none.clone(), 200, large((1 << 20) + 1), "it has more than 1 MiB, and no more is read"),
        ("c", map(), 200, large((1 << 20) + 1), "it has more than 1 MiB, and no more is read"),
        ("d", none.clone(), 200, "x".repeat(70_000), "it is no JSON: expected value at line 1 column 1"),
        (
            "e",
            none.clone(),
            200,
            "[".repeat(101),
            "it is no JSON: nested more than 100 deep at line 1 column 101",
        ),
        ("f", none.clone(), 200, twice.into(), "the key \"status\" is there twice at line 1 column 30"),
        ("g", map(), 200, twice.into(), "the key \"status\" is there twice at line 1 column 30"),
        ("h", map(), 204, String::new(), "it is empty"),
        ("k", map(), 200, "x".repeat(70_000), "it is no JSON, and of a text no more than 64 KiB are read"),
        ("i", div.clone(), 200, percent.into(), "status.map.result: "),
        ("j", div, 200, percent.into(), "write double(…) around those that are whole"),
    ] {
        let status_url = json!({"url": format!("{}/status/{id}", worker.url), "after": "50ms", "map": map});
        server.create(with(task_for(&worker, id), json!({"status": status_url}))).await;
        worker.call().await.status(202);
        worker.call().await.answer(status, &[], body);
        server.until_change(id, "polled").await;
        assert_eq!(server.task(id).await["warnings"], json!([]), "once may be chance");
        let told = told(&server, id).await;
        if !told.contains(words) || server.task(id).await["state"] != "running" {
            missing.push(format!("{id}: {words}: {told}"));
        }
        // What is asked again would be the next call.
        server.post(&format!("/v1/tasks/{id}/cancel"), json!({})).await;
    }
    assert!(missing.is_empty(), "{}", missing.join("\n\n"));
    // What has just the size is read, and what is said by a header needs no body.
    let status = json!({"url": format!("{}/s", worker.url), "after": "50ms", "map": {"status": "response.headers['taskhook-state']"}});
    server.create(with(task_for(&worker, "y"), json!({"status": status}))).await;
    worker.call().await.status(202);
    worker.call().await.answer(204, &[("taskhook-state", "completed")], "");
    assert_eq!(server.end_of("y").await["state"], "succeeded");
    server.create(asked(&worker, "z")).await;
    worker.call().await.status(202);
    worker.call().await.answer(200, &[], large(1 << 20));
    assert_eq!(server.end_of("z").await["state"], "succeeded");
}

/// Progress is a comfort: one that cannot be worked out takes nothing away from the rest of an answer.
#[tokio::test]
async fn a_progress_that_cannot_be_worked_out_is_left_out() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let map = json!({
        "status": "response.body.state", "progress": "response.body.percent / 100.0",
        "result": "response.body.output"
    });
    let status = json!({"url": format!("{}/jobs/9", worker.url), "after": "50ms", "map": map});
    server.create(with(task_for(&worker, "a"), json!({"status": status}))).await;
    worker.call().await.status(202);
    worker.call().await.answer(200, &[], r#"{"state": "running", "percent": 40}"#);
    let task = server.until("a", |task| task["message"].is_string()).await;
    assert_eq!((&task["state"], &task["progress"]), (&json!("running"), &Value::Null));
    let message = task["message"].as_str().unwrap();
    assert!(message.starts_with("no progress is known: status.map.progress: "), "{message}");
    assert!(message.ends_with("write double(…) around those that are whole"), "{message}");
    worker.call().await.answer(200, &[], r#"{"state": "running", "percent": 4000.0}"#);
    let left_out = "progress 40.0 is left out: it has to be a number from 0 to 1";
    let task = server.until("a", |task| task["message"] == left_out).await;
    assert_eq!((&task["state"], &task["progress"]), (&json!("running"), &Value::Null));
    // An end is one, and what its result does not have is null.
    worker.call().await.answer(200, &[], r#"{"state": "completed", "percent": 100}"#);
    let task = server.end_of("a").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &Value::Null));
}

#[tokio::test]
async fn a_remote_that_knows_nothing_of_it_twice_has_lost_it() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(asked(&worker, "a"), json!({"retry": {"max_attempts": 2, "initial": "1ms"}}))).await;
    worker.call().await.status(202);
    for _ in 0..2 {
        let question = worker.call().await;
        assert_eq!(question.method, "GET");
        question.status(404);
    }
    let again = worker.call().await;
    assert_eq!((again.method.as_str(), again.header("taskhook-attempt").as_str()), ("POST", "2"));
    again.status(200);
    assert_eq!(server.end_of("a").await["error"]["code"], "not_found");
}

#[tokio::test]
async fn other_shapes_are_mapped() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let status = json!({
        "url": format!("{}/jobs/9", worker.url), "after": "50ms",
        "headers": {"authorization": "Bearer canary", "x-team": "web"},
        "map": {
            "status": "response.body.state == 'DONE' ? 'completed' : 'running'",
            "result": "response.body.output",
            "progress": "double(response.body.percent) / 100.0"
        }
    });
    let task = server.create(with(task_for(&worker, "a"), json!({"status": status}))).await;
    assert_eq!(task["status"]["headers"], json!({"authorization": "[redacted]", "x-team": "web"}));
    assert_eq!(task["status"]["after"], "50ms");
    worker.call().await.status(202);
    let question = worker.call().await;
    assert_eq!(question.header("authorization"), "Bearer canary");
    question.answer(200, &[], r#"{"state": "WORKING", "percent": 40}"#);
    server.until("a", |task| task["progress"] == 0.4).await;
    worker.call().await.answer(200, &[], r#"{"state": "DONE", "output": [1]}"#);
    let task = server.end_of("a").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!([1])));
}

#[tokio::test]
async fn the_response_may_say_where_to_ask() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let status = json!({"status": {"url": "location", "after": "50ms"}});
    let task = server.create(with(task_for(&worker, "a"), status.clone())).await;
    assert_eq!(task["status"], json!({"url": "location", "after": "50ms"}));
    worker.call().await.answer(202, &[("location", "/jobs/17?full=1")], "");
    let question = worker.call().await;
    assert_eq!((question.method.as_str(), question.path.as_str()), ("GET", "/jobs/17"));
    question.answer(200, &[], r#"{"status": "completed"}"#);
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    assert_eq!(server.task("a").await["status"]["location"], format!("{}/jobs/17?full=1", worker.url));
    // Another server is asked too, and gets nothing with which it could report.
    let mut other = Worker::start().await;
    server.create(with(task_for(&worker, "c"), status.clone())).await;
    worker.call().await.answer(202, &[("location", &format!("{}/jobs/18", other.url))], "");
    let question = other.call().await;
    assert_eq!(question.header("taskhook-task-id"), "c");
    assert_eq!(server.task("c").await["warnings"], json!([]));
    assert!(!question.headers.contains_key("taskhook-callback-url"), "{:?}", question.headers);
    question.answer(200, &[], r#"{"status": "completed"}"#);
    assert_eq!(server.end_of("c").await["state"], "succeeded");
    server.create(with(task_for(&worker, "b"), status.clone())).await;
    worker.call().await.status(202);
    server.until_change("b", "located").await;
    assert!(
        told(&server, "b")
            .await
            .contains("cannot be asked about: the response to its dispatch has no Location")
    );
    let warned = server.until("b", |task| task["warnings"] != json!([])).await;
    assert_eq!(warned["warnings"][0]["code"], "no_status_url", "{warned}");
    // So it is where the response died with its process.
    server.create(with(task_for(&worker, "d"), status)).await;
    let dispatch = worker.call().await;
    server.call_back(&dispatch.header("taskhook-callback-url"), json!({"event": "task_started"})).await;
    assert_eq!(server.task("d").await["warnings"], json!([]), "it may still come");
    server.crash_and_restart().await;
    assert_eq!(server.task("d").await["warnings"][0]["code"], "no_status_url");
}

/// A time-out is not declared before the remote had its last word.
#[tokio::test]
async fn a_remote_is_asked_once_more_before_a_time_out() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let times = |task: Value| with(task, json!({"timeout": "300ms", "retry": {"max_attempts": 1}}));
    let status = |worker: &Worker, after: &str| json!({"status": {"url": format!("{}/s", worker.url), "after": after}});
    server.create(times(with(task_for(&worker, "a"), status(&worker, "1h")))).await;
    worker.call().await.status(202);
    worker.call().await.answer(200, &[], r#"{"status": "completed", "result": 1}"#);
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    server.create(times(with(task_for(&worker, "b"), status(&worker, "1h")))).await;
    worker.call().await.status(202);
    worker.call().await.answer(200, &[], r#"{"status": "running"}"#);
    let task = server.end_of("b").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timeout")));
}

/// Who is only asked is asked again after the next start.
#[tokio::test]
async fn an_end_does_not_wait_for_a_remote_that_is_asked() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(asked(&worker, "a")).await;
    worker.call().await.status(202);
    let question = worker.call().await;
    assert_eq!(question.path, "/status/a");
    server.tell_to_stop();
    let (status, time, said) = server.stopped().await;
    assert!(status.success() && time < Duration::from_secs(4), "{time:?}: {said}");
    assert!(!said.contains("sent again at the next start"), "{said}");
}

/// After downtime every overdue remote is asked at once, before anything is given up.
#[tokio::test]
async fn after_downtime_remotes_are_asked_at_once() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let status = |id: &str| json!({"status": {"url": format!("{}/s/{id}", worker.url), "after": "50ms"}, "timeout": "700ms"});
    let (a, b) = (status("a"), status("b"));
    for (id, status) in [("a", a), ("b", b)] {
        server.create(with(task_for(&worker, id), status)).await;
        worker.call().await.status(202);
        // The first answer puts the next question off.
        let question = worker.call().await;
        assert_eq!(question.path, format!("/s/{id}"));
        question.answer(200, &[], r#"{"status": "running"}"#);
        server.until_change(id, "polled").await;
    }
    server.crash_and_restart().await;
    for _ in 0..2 {
        let question = worker.call().await;
        assert_eq!(question.method, "GET", "nothing is sent again before it is asked");
        question.answer(200, &[], r#"{"status": "completed"}"#);
    }
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    assert_eq!(server.end_of("b").await["state"], "succeeded");
}

/// A question that dies with its process is part of the story too.
#[tokio::test]
async fn a_question_without_an_answer_is_told_when_it_is_asked_again() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(asked(&worker, "a")).await;
    worker.call().await.status(202);
    let first = worker.call().await;
    server.crash_and_restart().await;
    worker.call().await.answer(200, &[], r#"{"status": "completed"}"#);
    drop(first);
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    let changes = server.changes("a").await;
    assert_eq!(changes[changes.len() - 3..], ["poll_lost", "polled", "succeeded"], "{changes:?}");
    let told = told(&server, "a").await;
    assert!(told.contains("asked about attempt 1 again: no answer had come to the last question"), "{told}");
}

/// Poll and late callback: one transition, whichever is faster.
#[tokio::test]
async fn a_callback_that_is_faster_than_the_answer_counts_once() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(asked(&worker, "a")).await;
    let dispatch = worker.call().await;
    let callback = dispatch.header("taskhook-callback-url");
    dispatch.status(202);
    let question = worker.call().await;
    let answer =
        server.call_back(&callback, json!({"event": "task_completed", "result": "by callback"})).await;
    assert_eq!(answer["outcome"], "applied");
    question.answer(200, &[], r#"{"status": "completed", "result": "by poll"}"#);
    server.until_change("a", "polled").await;
    let changes = server.changes("a").await;
    assert_eq!(changes.iter().filter(|change| *change == "succeeded").count(), 1, "{changes:?}");
    assert_eq!(server.task("a").await["result"], "by callback");
    let late = server.call_back(&callback, json!({"event": "task_failed"})).await;
    assert_eq!((&late["outcome"], &late["reason"]), (&json!("ignored"), &json!("contradiction")));
}

#[tokio::test]
async fn heartbeats_keep_an_attempt_alive_and_silence_ends_it() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let beats = json!({"heartbeat": "400ms", "retry": {"max_attempts": 1}});
    let task = server.create(with(task_for(&worker, "a"), beats)).await;
    assert_eq!((&task["heartbeat"], &task["timeout"]), (&json!("400ms"), &Value::Null));
    worker.call().await.status(202);
    let task = server.until_state("a", "running").await;
    assert!(task["waiting_for"]["until"].is_string(), "{task}");
    let task = server.end_of("a").await;
    assert_eq!(
        task["error"],
        json!({"code": "heartbeat", "message": "the worker gave no sign of life for 400ms"})
    );
}

#[tokio::test]
async fn past_its_deadline_a_task_has_failed() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let soon = json!({"deadline": "200ms"});
    server.create(with(with(task_for(&worker, "a"), soon.clone()), json!({"delay": "1h"}))).await;
    let task = server.end_of("a").await;
    assert_eq!(
        (&task["state"], &task["error"]["code"], &task["attempt"]),
        (&json!("failed"), &json!("deadline"), &json!(0))
    );
    server.create(with(task_for(&worker, "b"), soon)).await;
    worker.call().await.status(202);
    assert_eq!(server.end_of("b").await["error"]["code"], "deadline");
    assert!(told(&server, "b").await.contains("its deadline passed"));
    let past = server.create(json!({"id": "c", "deadline": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(past["deadline"], "2020-01-01T00:00:00.000Z");
    assert_eq!(server.end_of("c").await["state"], "failed");
    // Whoever retries it by hand has decided otherwise.
    server.post("/v1/tasks/c/retry", json!({})).await.expect(200);
    assert_eq!(server.task("c").await["state"], "running");
}

/// What ran out while nobody was there to see it, and when it was judged, stands in the failure.
#[tokio::test]
async fn a_failure_that_was_put_off_for_a_downtime_says_so() {
    let mut server = RealServer::start().await;
    let spans = [
        ("a", json!({"deadline": "3s"})),
        ("b", json!({"timeout": "3s"})),
        ("c", json!({"heartbeat": "3s"})),
    ];
    for (id, span) in &spans {
        let task = json!({"id": id, "retry": {"max_attempts": 1}});
        assert_eq!(server.create(with(task, span.clone())).await["state"], "running");
    }
    let mut worker = Worker::start().await;
    let unanswered = json!({"timeout": "3s", "retry": {"max_attempts": 1}});
    server.create(with(task_for(&worker, "d"), unanswered)).await;
    let dispatch = worker.call().await;
    server.kill();
    tokio::time::sleep(Duration::from_secs(4)).await; // real time: the spans run out while nobody is up
    server.start_again().await;
    let waits = server.task("a").await["waiting_for"]["text"].as_str().unwrap().to_string();
    assert!(
        waits.contains(": its deadline ran out at ") && waits.ends_with("the server's last start"),
        "{waits}"
    );
    // Whoever has an attempt may still report on it, and does not get it again.
    let done = json!({"event": "task_completed"});
    let answer = server.call_back(&dispatch.header("taskhook-callback-url"), done).await;
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
    assert!(worker.is_idle());
    tokio::time::sleep(Duration::from_secs(25)).await; // real time: a start gives 30 s of grace
    for (id, _) in &spans {
        let task = server.end_of(id).await;
        let message = task["error"]["message"].as_str().unwrap();
        let (_, judged_at) = message.split_once("and was judged from ").expect(message);
        assert!(message.contains("; this ran out at 20") && judged_at.ends_with("Z on"), "{message}");
        assert!(told(&server, id).await.contains(message), "the history says the same");
    }
    server.stop().await;
}

/// A deadline waits for no answer, so there is one in time where there are places to ask.
#[tokio::test]
async fn however_many_have_one_deadline_each_is_asked_before_it() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let status = json!({"url": format!("{}/status", worker.url), "after": "1h"});
    let task = |number: u32| json!({"id": format!("t{number}"), "deadline": "12s", "status": status});
    let tasks: Vec<Value> = (0..150).map(task).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    for _ in 0..150 {
        let question = worker.call().await;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await; // real time: answers take some
            question.answer(200, &[], r#"{"status": "completed"}"#);
        });
    }
    for number in 0..150 {
        assert_eq!(server.end_of(&format!("t{number}")).await["state"], "succeeded", "{number}");
    }
}

#[tokio::test]
async fn a_late_success_may_be_rejected() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let strict = json!({"late_success": "reject", "retry": {"max_attempts": 2, "initial": "1ms"}});
    let task = server.create(with(task_for(&worker, "a"), strict)).await;
    assert_eq!(task["late_success"], "reject");
    let first = worker.call().await;
    let callback = first.header("taskhook-callback-url");
    first.status(500);
    let second = worker.call().await;
    let answer = server.call_back(&callback, json!({"event": "task_completed"})).await;
    assert_eq!(answer["outcome"], "stale");
    second.status(200);
    assert_eq!(server.end_of("a").await["attempt"], 2);
}

#[tokio::test]
async fn a_remote_is_told_of_a_cancel_by_a_task_of_its_own() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let cancel =
        json!({"cancel_url": format!("{}/stop", worker.url), "headers": {"authorization": "Bearer canary"}});
    let task = server.create(with(task_for(&worker, "a"), cancel)).await;
    assert_eq!(task["cancel_url"], format!("{}/stop", worker.url));
    let dispatch = worker.call().await;
    let callback = dispatch.header("taskhook-callback-url");
    dispatch.status(202);
    server.until_state("a", "running").await;
    server.post("/v1/tasks/a/cancel", json!({})).await.expect(200);
    let cancelled = "cancelled, which task a~cancel~0 is to tell its remote, by a call of the API";
    assert!(told(&server, "a").await.ends_with(cancelled));
    let call = worker.call().await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/stop"));
    assert_eq!(call.header("authorization"), "Bearer canary", "it is for the same server");
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(body, json!({"event": "task_cancelled", "task_id": "a", "attempt": 1}));
    call.status(503);
    let failed = server.until("a~cancel~0", |task| task["state"] == "scheduled").await;
    assert_eq!((&failed["queue"], &failed["error"]["code"]), (&json!("@cancel"), &json!("http_503")));
    server.post("/v1/tasks/a~cancel~0/trigger", json!({})).await.expect(200);
    worker.call().await.status(204);
    assert_eq!(server.end_of("a~cancel~0").await["state"], "succeeded");
    // The worker learns of it by the answer to its webhook too.
    let late = server.call_back(&callback, json!({"event": "task_completed"})).await;
    assert_eq!((&late["outcome"], &late["task_state"]), (&json!("ignored"), &json!("cancelled")));
    assert_eq!(server.get("/v1/queues/@cancel").await.expect(200)["states"]["succeeded"], 1);
    // One that was never dispatched is nobody's business.
    let cancel = json!({"cancel_url": format!("{}/stop", worker.url), "delay": "1h"});
    server.create(with(task_for(&worker, "b"), cancel)).await;
    server.post("/v1/tasks/b/cancel", json!({})).await.expect(200);
    server.get("/v1/tasks/b~cancel~0").await.problem(404, "not_found");
    // And of each cancel its own call is told.
    server.post("/v1/tasks/b/retry", json!({})).await.expect(200);
    server.post("/v1/tasks/b/trigger", json!({})).await.expect(200);
    worker.call().await.status(202);
    server.until_state("b", "running").await;
    server.post("/v1/tasks/b/cancel", json!({})).await.expect(200);
    server.until_state("b~cancel~1", "dispatching").await;
    let story = told(&server, "b").await;
    let cancels: Vec<&str> = story.lines().filter(|line| line.starts_with("cancelled")).collect();
    let second = "cancelled, which task b~cancel~1 is to tell its remote, by a call of the API";
    assert_eq!(cancels, ["cancelled, by a call of the API", second]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let server = RealServer::start().await;
    let url = "http://127.0.0.1:9/x";
    for (fields, pointer, code) in [
        (json!({"heartbeat": "0s"}), "/heartbeat", "out_of_range"),
        (json!({"heartbeat": 5}), "/heartbeat", "wrong_type"),
        (json!({"deadline": "tomorrow"}), "/deadline", "not_an_instant"),
        (json!({"deadline": "0s"}), "/deadline", "out_of_range"),
        (json!({"late_success": "maybe"}), "/late_success", "unknown_value"),
        (json!({"status": "ftp://h/"}), "/status", "not_a_url"),
        (json!({"status": 7}), "/status", "wrong_type"),
        (json!({"status": {"after": "1s"}}), "/status/url", "missing"),
        (json!({"status": {"url": "http://u:p@h/"}}), "/status/url", "not_a_url"),
        (json!({"status": {"url": url, "after": "0s"}}), "/status/after", "out_of_range"),
        (json!({"status": {"url": url, "headers": {"host": "x"}}}), "/status/headers/host", "own_header"),
        (json!({"status": {"url": "location", "headers": {"x-a": "x"}}}), "/status/headers", "conflict"),
        (json!({"status": {"url": url, "map": {"state": "1"}}}), "/status/map/state", "unknown_field"),
        (
            json!({"status": {"url": url, "map": {"status": "body.x"}}}),
            "/status/map/status",
            "not_an_expression",
        ),
        (json!({"status": {"url": url, "every": "1s"}}), "/status/every", "unknown_field"),
        (json!({"cancel_url": "/stop"}), "/cancel_url", "not_a_url"),
    ] {
        let answer = server.post("/v1/tasks", with(json!({"url": url}), fields.clone())).await;
        assert_eq!(answer.faults(), [(pointer.to_string(), code.to_string())], "{fields}");
    }
    for (task, pointer) in
        [(json!({"status": "location"}), "/status"), (json!({"cancel_url": url}), "/cancel_url")]
    {
        let faults = server.post("/v1/tasks", task).await.faults();
        assert_eq!(faults, [(pointer.to_string(), "needs_url".to_string())]);
    }
    let template = json!({"every": "1h", "task": {"url": url, "deadline": "2030-01-01T00:00:00Z"}});
    let faults = server.send("PUT", "/v1/schedules/s", &[], template.to_string()).await.faults();
    assert_eq!(faults, [("/task/deadline".to_string(), "not_for_schedules".to_string())]);
    let watched = json!({
        "url": url, "heartbeat": "30s", "deadline": "2h", "late_success": "reject", "cancel_url": url,
        "status": {"url": url, "after": "10s", "headers": {"x-key": "canary"}, "map": {"status": "response.body.s"}}
    });
    let template = json!({"every": "1h", "task": watched});
    let made = server.send("PUT", "/v1/schedules/s", &[], template.to_string()).await.expect(201);
    assert_eq!(made["task"]["status"]["headers"]["x-key"], "[redacted]");
    // Written back as it is shown, it stays what it was.
    let again = json!({"every": "1h", "task": made["task"]});
    let again = server.send("PUT", "/v1/schedules/s", &[], again.to_string()).await.expect(200);
    assert_eq!(again["task"], made["task"]);
}
