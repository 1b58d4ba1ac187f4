//! Reading tasks: lists, `?wait=`, history, and what is not there (contract, sections 2 and 4).

use std::time::Instant;

use serde_json::{Value, json};
use taskhook_core::id::parse_type_id;
use taskhook_core::limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Api, PATIENCE, TestServer, Worker, task_for, with};

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().expect("a list");
    data.iter().map(|task| task["id"].as_str().expect("an id").to_string()).collect()
}

/// The ids on all pages of a list.
async fn walk(server: &TestServer, path: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{path}{cursor}")).await.expect(200);
        found.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn tasks_are_listed_newest_first_in_pages() {
    let server = TestServer::start().await;
    let tasks: Vec<Value> = (0..25).map(|n| json!({"id": format!("t{n:02}")})).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    let newest_first: Vec<String> = (0..25).rev().map(|n| format!("t{n:02}")).collect();
    for limit in [1, 7, 24, 25, 26, 1_000] {
        assert_eq!(walk(&server, &format!("/v1/tasks?limit={limit}")).await, newest_first, "limit {limit}");
    }
    let page = server.get("/v1/tasks?limit=25").await.expect(200);
    assert_eq!(page["next_cursor"], Value::Null, "no empty page at the end");
    // What is created between two pages is on neither.
    let page = server.get("/v1/tasks?limit=20").await.expect(200);
    server.create(json!({"id": "new"})).await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = server.get(&format!("/v1/tasks?limit=20&cursor={cursor}")).await.expect(200);
    assert_eq!(ids(&rest), newest_first[20..]);
    assert_eq!(page["data"][0], server.task("t24").await, "each is the whole task");
    server.stop().await;
}

#[tokio::test]
async fn a_page_ends_early_where_its_rows_are_large() {
    let server = TestServer::start().await;
    let large = "x".repeat((1 << 20) - 200);
    let url = "http://127.0.0.1:9/";
    for n in 0..12 {
        server.create(json!({"id": format!("t{n:02}"), "url": url, "delay": "1h", "payload": large})).await;
        server.webhook(json!({"event": format!("e{n}"), "x": large})).await;
    }
    for (list, member) in [("/v1/tasks", "id"), ("/v1/events", "type")] {
        let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let answer = server.get(&format!("{list}?limit=1000{cursor}")).await;
            assert!(answer.body.len() < 11 << 20, "{} bytes", answer.body.len());
            let page = answer.expect(200);
            let rows = page["data"].as_array().expect("a list");
            found.extend(
                rows.iter().map(|row| row[member].as_str().expect("text")[1..].parse::<u32>().expect("n")),
            );
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, (0..12).rev().collect::<Vec<_>>(), "{list}");
        assert_eq!(pages, 2, "{list}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_list_is_filtered_by_state_queue_name_label_and_time() {
    let server = TestServer::start().await;
    for n in 0..6 {
        let name = if n % 2 == 0 { "resize" } else { "crop" };
        let labels = json!({"team": if n < 3 { "a" } else { "b" }, "n": n.to_string(), "url": "a:b"});
        server.create(json!({"id": format!("t{n}"), "name": name, "labels": labels})).await;
    }
    server.webhook(json!({"event": "task_completed", "task_id": "t0"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "t1"})).await;
    let third = server.task("t3").await["created_at"].as_str().expect("a time").to_string();
    let later = server.task("t5").await["created_at"].as_str().expect("a time").to_string();
    for (query, wanted) in [
        ("state=succeeded", vec!["t0"]),
        ("state=failed,succeeded", vec!["t1", "t0"]),
        ("state=failed&state=succeeded", vec!["t1", "t0"]),
        ("state=blocked", vec![]),
        ("state=running&name=resize", vec!["t4", "t2"]),
        ("queue=default&name=crop", vec!["t5", "t3", "t1"]),
        ("queue=other", vec![]),
        ("name=none", vec![]),
        ("label=team:a", vec!["t2", "t1", "t0"]),
        ("label=team:a&label=n:2", vec!["t2"]),
        ("label=team:a&label=n:5", vec![]),
        ("label=url:a:b&state=failed", vec!["t1"]),
        ("label=team:", vec![]),
        ("created_after=2030-01-01T00:00:00Z", vec![]),
        ("created_after=2000-01-01T00:00:00%2B01:00&name=crop", vec!["t5", "t3", "t1"]),
    ] {
        for limit in ["", "&limit=1", "&limit=2"] {
            assert_eq!(walk(&server, &format!("/v1/tasks?{query}{limit}")).await, wanted, "{query}{limit}");
        }
    }
    // Times are shown cut to milliseconds, so those of the same millisecond may be on either side.
    let after = walk(&server, &format!("/v1/tasks?created_after={third}")).await;
    assert!(after.contains(&"t5".to_string()) || third == later, "{after:?}");
    assert!(!after.contains(&"t0".to_string()) || third[..20] == later[..20], "{after:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_400_wherever_it_is() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let event = server.webhook(json!({"event": "ping"})).await;
    let event = event["event_id"].as_str().expect("an id");
    for (path, hint) in [
        ("/v1/tasks?stat=running", "did you mean \"state\"?"),
        ("/v1/tasks?outcome=applied", "\"outcome\" is not known here"),
        ("/v1/tasks?state=runing", "did you mean \"running\"?"),
        ("/v1/tasks?state=done", "\"done\" is no state; the states are blocked, scheduled, "),
        ("/v1/tasks?state=", "\"\" is no state"),
        ("/v1/tasks?label=team", "label must be key:value"),
        ("/v1/tasks?name=a&name=b", "only once"),
        ("/v1/tasks?created_after=yesterday", "no RFC 3339 time"),
        ("/v1/tasks?created_after=2027-01-01T00:00:00%2B25:00", "no RFC 3339 time"),
        ("/v1/tasks?limit=0", "from 1 to 1000"),
        ("/v1/tasks?limit=1001", "from 1 to 1000"),
        ("/v1/tasks?limit=-1", "from 1 to 1000"),
        ("/v1/tasks?cursor=", "no cursor of a list"),
        ("/v1/tasks?cursor=%21", "no cursor of a list"),
        ("/v1/tasks/123?wait=soon", "is no duration"),
        ("/v1/tasks/123?wait=30", "is no duration"),
        ("/v1/tasks/123?wait=-1s", "is negative"),
        ("/v1/tasks/123?wiat=1s", "did you mean \"wait\"?"),
        ("/v1/tasks/123/history?limit=0", "from 1 to 1000"),
        ("/v1/tasks/123/history?cursor=x", "no cursor of a list"),
        ("/v1/tasks/123/history?wait=1s", "\"wait\" is not known here"),
        (&format!("/v1/events/{event}?wait=1s"), "\"wait\" is not known here"),
    ] {
        let problem = server.get(path).await.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(hint)), "{path}: {problem}");
    }
    for path in [
        "/v1/tasks?dry_run=true",
        "/v1/tasks/batch?wait=1s",
        "/v1/tasks/123/cancel?force=1",
        "/v1/tasks/123/retry?ignore_dependencies=true",
        "/v1/tasks/123/trigger?at=now",
        &format!("/v1/events/{event}/replay?x=1"),
    ] {
        server.post(path, json!({})).await.problem(400, "invalid_query");
    }
    // Senders of webhooks add what they like.
    server.post("/webhook?utm_source=x", json!({"event": "ping"})).await.expect(200);
    server.post("/webhook/default?a&b=%ff", json!({"event": "ping"})).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn wait_answers_when_the_task_has_ended() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let waiting = server.get("/v1/tasks/123?wait=60s");
    let ending = async {
        // The answer to this is younger than the request that waits.
        while server.webhook(json!({"event": "task_heartbeat", "task_id": "123"})).await["outcome"]
            != "applied"
        {}
        server.webhook(json!({"event": "task_completed", "task_id": "123", "result": 7})).await
    };
    let (answer, _) = tokio::join!(waiting, ending);
    let task = answer.expect(200);
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!(7)));
    // Of one that has ended it answers at once.
    assert_eq!(server.get("/v1/tasks/123?wait=60s").await.expect(200), task);
    server.stop().await;
}

#[tokio::test]
async fn wait_answers_then_if_the_task_has_not_ended() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let began = Instant::now();
    let task = server.get("/v1/tasks/123?wait=50ms").await.expect(200);
    assert_eq!(task["state"], "running");
    assert!(began.elapsed().as_millis() >= 50, "{:?}", began.elapsed());
    assert_eq!(server.get("/v1/tasks/123?wait=0s").await.expect(200)["state"], "running");
    server.get("/v1/tasks/124?wait=60s").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn the_history_has_every_decision_with_its_cause_and_a_sentence() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "first"})).await;
    let fields = json!({"after": ["first"], "retry": {"initial": "24h", "max": "24h"}});
    server.create(with(task_for(&worker, "123"), fields)).await;
    let done = server.webhook(json!({"event": "task_completed", "task_id": "first"})).await;
    worker.call().await.answer(503, &[("content-type", "text/plain"), ("x-secret", "y")], "busy");
    server.until_state("123", "scheduled").await;
    server.post("/v1/tasks/123/trigger", json!({})).await.expect(200);
    worker.call().await.status(202);
    server.until_state("123", "running").await;
    let progress = json!({"event": "task_progress", "task_id": "123", "progress": 0.5, "message": "half"});
    let progress = server.webhook(progress).await;
    let end = server.webhook(json!({"event": "task_completed", "task_id": "123", "result": [1]})).await;

    let parent = server.get("/v1/tasks/first/history").await.expect(200);
    let cause = json!({"kind": "event", "ref": done["event_id"]});
    assert_eq!(parent["data"][2]["cause"], cause, "{parent}");
    let history = server.get("/v1/tasks/123/history").await.expect(200);
    let entries = history["data"].as_array().expect("a list");
    let planned = entries[7]["detail"]["retry_at"].as_str().unwrap_or_default().to_string();
    let by = |answer: &Value| format!("by webhook {}", answer["event_id"].as_str().expect("an id"));
    let (by_progress, by_end) = (by(&progress), by(&end));
    let (event, response) = (|answer: &Value| Some(answer["event_id"].clone()), |n: &str| Some(json!(n)));
    let wanted = [
        ("created", "creation", None, "created, by a call of the API".to_string()),
        ("blocked", "creation", None, "blocked, waits for other tasks".into()),
        ("dependency_ended", "task", Some(json!("first")), "task first ended as succeeded, as asked".into()),
        ("queued", "task", Some(json!("first")), "queued, waits for its turn, because of task first".into()),
        ("dispatched", "queue", None, "attempt 1 dispatched, since there was a free exchange".into()),
        ("responded", "response", response("1"), "attempt 1 was answered 503".into()),
        ("attempt_failed", "response", response("1"), "attempt 1 failed: the target answered 503".into()),
        (
            "retry_planned",
            "response",
            response("1"),
            format!("the next attempt is planned for {planned}, by the response to attempt 1"),
        ),
        ("triggered", "command", None, "made due now, by a call of the API".into()),
        ("queued", "command", None, "queued, waits for its turn, by a call of the API".into()),
        ("dispatched", "queue", None, "attempt 2 dispatched, since there was a free exchange".into()),
        ("responded", "response", response("2"), "attempt 2 was answered 202".into()),
        (
            "started",
            "response",
            response("2"),
            "attempt 2 runs at the worker, by the response to attempt 2".into(),
        ),
        ("alive", "event", event(&progress), format!("progress 50 %: half, {by_progress}")),
        ("succeeded", "event", event(&end), format!("succeeded in attempt 2, {by_end}")),
    ];
    for (entry, (change, kind, reference, text)) in entries.iter().zip(&wanted) {
        assert_eq!((&entry["change"], &entry["text"]), (&json!(change), &json!(text)));
        let mut cause = json!({"kind": kind});
        reference.iter().for_each(|reference| cause["ref"] = reference.clone());
        assert_eq!(entry["cause"], cause, "{entry}");
    }
    assert_eq!(entries.len(), wanted.len(), "{history}");
    let times: Vec<&str> = entries.iter().map(|entry| entry["at"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "{times:?}");
    let response = &entries[5]["detail"];
    assert_eq!((&response["status"], &response["body"]), (&json!(503), &json!("busy")));
    assert_eq!(response["headers"]["content-type"], "text/plain");
    assert_eq!(response["headers"].get("x-secret"), None, "only headers of interest");
    assert_eq!(
        (&entries[6]["detail"]["code"], &entries[6]["detail"]["counted"]),
        (&json!("http_503"), &json!(true))
    );
    assert_eq!((&entries[14]["attempt"], &entries[14]["detail"]["result"]), (&json!(2), &json!([1])));
    server.stop().await;
}

/// The sentences of a task's history, with `evt` for the id of any event and `then` for any instant.
async fn story(server: &TestServer, id: &str) -> Vec<String> {
    let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200);
    let plain = |word: &str| match word {
        event if event.starts_with("evt_") => "evt".to_string(),
        time if time.starts_with("20") && time.contains("T") => "then".into(),
        other => other.into(),
    };
    let entries = history["data"].as_array().expect("a list").iter();
    let texts = entries.map(|entry| entry["text"].as_str().expect("text"));
    texts.map(|text| text.split(' ').map(plain).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn the_history_says_why_in_sentences() {
    let server = TestServer::start().await;
    let early = server.webhook(json!({"event": "task_completed", "task_id": "early"})).await;
    server.create(json!({"id": "early"})).await;
    let cause = json!({"kind": "event", "ref": early["event_id"]});
    let history = server.get("/v1/tasks/early/history").await.expect(200);
    assert_eq!(history["data"][2]["cause"], cause, "a webhook that came first is the cause all the same");

    server.create(json!({"id": "timed", "timeout": "20ms"})).await;
    server.end_of("timed").await;
    server.create(json!({"id": "parent"})).await;
    server.create(json!({"id": "child", "after": ["parent"]})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "parent"})).await;
    server.until_state("child", "skipped").await;
    server.post("/v1/tasks/child/retry", json!({"ignore_dependencies": true})).await.expect(200);
    server.webhook(json!({"event": "task_heartbeat", "task_id": "child"})).await;
    server.post("/v1/tasks/child/cancel", json!({})).await.expect(200);
    server.webhook(json!({"event": "task_completed", "task_id": "child"})).await;
    server.create(json!({"id": "later", "delay": "1h"})).await;
    server.post("/v1/tasks/later/trigger", json!({})).await.expect(200);
    server.webhook(json!({"event": "task_failed", "task_id": "later", "error": "disk full"})).await;
    server.create(json!({"id": "again"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "again"})).await;
    server.post("/v1/tasks/again/retry", json!({})).await.expect(200);
    server.webhook(json!({"event": "task_progress", "task_id": "again", "attempt": 1})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "again"})).await;
    for (id, wanted) in [
        (
            "early",
            vec![
                "created, by a call of the API",
                "attempt 1 begun, waits for its webhook",
                "succeeded in attempt 1, by webhook evt",
            ],
        ),
        (
            "timed",
            vec![
                "created, by a call of the API",
                "attempt 1 begun, waits for its webhook",
                "attempt 1 failed: no end of the attempt was reported within 20ms of its begin",
                "failed for good",
            ],
        ),
        (
            "child",
            vec![
                "created, by a call of the API",
                "blocked, waits for other tasks",
                "task parent ended as failed, which rules this task out",
                "skipped, because of how task parent ended",
                "reopened, whatever it waited for, by a call of the API",
                "attempt 1 begun, waits for its webhook, by a call of the API",
                "sign of life, by webhook evt",
                "cancelled, by a call of the API",
                "webhook evt changed nothing: ignored (terminal): the task had ended",
            ],
        ),
        (
            "later",
            vec![
                "created, by a call of the API",
                "scheduled, waits for its time",
                "made due now, by a call of the API",
                "attempt 1 begun, waits for its webhook, by a call of the API",
                "attempt 1 failed: disk full, by webhook evt",
                "failed for good, by webhook evt",
            ],
        ),
        (
            "again",
            vec![
                "created, by a call of the API",
                "attempt 1 begun, waits for its webhook",
                "attempt 1 failed: the worker reported a failure without a message, by webhook evt",
                "failed for good, by webhook evt",
                "reopened, by a call of the API",
                "attempt 2 begun, waits for its webhook, by a call of the API",
                "webhook evt changed nothing: stale: it is about an older attempt, of which nothing counts but a success, \
                 and not even that where `late_success` is `reject` or the task was reopened since",
                "cancelled, by webhook evt",
            ],
        ),
    ] {
        assert_eq!(story(&server, id).await, wanted, "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_history_is_read_in_pages_oldest_first() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    for n in 0..20 {
        server.webhook(json!({"event": "task_progress", "task_id": "123", "message": n})).await;
    }
    let whole = server.get("/v1/tasks/123/history").await.expect(200);
    assert_eq!(whole["next_cursor"], Value::Null);
    let whole = whole["data"].as_array().expect("a list").clone();
    assert_eq!(whole.len(), 22);
    for limit in [1, 5, 11, 21, 22, 23] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/v1/tasks/123/history?limit={limit}{cursor}")).await.expect(200);
            found.extend(page["data"].as_array().expect("a list").clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "limit {limit}");
    }
    server.get("/v1/tasks/124/history").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn the_error_of_a_task_is_that_of_its_latest_failed_attempt() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    worker.call().await.status(500);
    let second = worker.call().await;
    assert_eq!(server.task("123").await["error"]["code"], "http_500");
    second.status(502);
    let third = worker.call().await;
    let error = server.task("123").await["error"].clone();
    assert_eq!(error, json!({"code": "http_502", "message": "the target answered 502"}));
    third.status(200);
    let done = server.end_of("123").await;
    assert_eq!((&done["state"], &done["attempt"], &done["error"]), (&json!("succeeded"), &json!(3), &error));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405_as_a_problem() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/task",
        "/v1/tasks/",
        "/v1/tasks/123/",
        "/v1/tasks/123/pause",
        "/v2/tasks",
        "/x",
        "/webhook/",
        "/webhook/a/b",
        "//",
    ] {
        server.get(path).await.problem(404, "not_found");
        server.post(path, json!({})).await.problem(404, "not_found");
    }
    for path in
        ["/v1/tasks/124", "/v1/tasks/a%20b", "/v1/tasks/%ff", "/v1/tasks/%00", "/v1/tasks/%ff/history"]
    {
        server.get(path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        ("GET", "/webhook", "POST"),
        ("PUT", "/webhook/default", "GET,HEAD,OPTIONS,POST"),
        ("GET", "/webhook/default", "POST"),
        ("OPTIONS", "/webhook/default", "POST"),
        ("GET", "/callback/x", "POST"),
        ("DELETE", "/v1/tasks/123", "GET,HEAD"),
        ("PUT", "/v1/tasks", "GET,HEAD,POST"),
        ("GET", "/v1/tasks/123/cancel", "POST"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("BREW", "/v1/tasks", "GET,HEAD,POST"),
    ] {
        let answer = server.send(method, path, &[], "").await;
        answer.problem(405, "method_not_allowed");
        let mut allowed: Vec<&str> =
            answer.header("allow").expect("what is allowed").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let server = TestServer::start().await;
    let mut seen = Vec::new();
    for answer in [
        server.get("/healthz").await,
        server.get("/readyz").await,
        server.get("/openapi.json").await,
        server.get("/v1/tasks").await,
        server.get("/nothing").await,
        server.post("/v1/tasks", json!({})).await,
        server.post("/webhook", json!({})).await,
        server.send("POST", "/webhook", &[("request-id", "mine")], "").await,
        server.send("HEAD", "/v1/tasks", &[], "").await,
        server.send("OPTIONS", "/v1/tasks", &[], "").await,
    ] {
        let id = answer.header("request-id").expect("an id").to_string();
        assert!(parse_type_id("req", &id).is_some(), "{id}");
        assert!(!seen.contains(&id));
        seen.push(id);
    }
    assert_eq!(server.get("/healthz").await.expect(200), json!({"status": "ok"}));
    assert_eq!(server.get("/readyz").await.expect(200), json!({"status": "ok"}));
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_history_is_bounded_in_bytes_and_the_next_one_goes_on() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"max_attempts": 100, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    for attempt in 1..=200 {
        // Tried again, and from a target that is in order.
        worker.call().await.answer(409, &[], "x".repeat(64 << 10));
        if attempt == 100 {
            server.end_of("123").await;
            server.post("/v1/tasks/123/retry", json!({})).await.expect(200);
        }
    }
    server.end_of("123").await;
    let (mut changes, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = server.get(&format!("/v1/tasks/123/history?limit=1000{cursor}")).await;
        assert!(page.body.len() < 9 << 20, "{} bytes", page.body.len());
        let page = page.expect(200);
        pages += 1;
        changes.extend(page["data"].as_array().expect("a list").iter().map(|entry| entry["change"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(pages, 2);
    assert_eq!(changes.iter().filter(|change| *change == "responded").count(), 200, "none twice");
    assert_eq!((changes.first(), changes.last()), (Some(&json!("created")), Some(&json!("failed"))));
    server.stop().await;
}

/// Until so many requests wait for the end of a task.
async fn until_waiting(server: &TestServer, count: usize) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.engine().watch().count() != count {
        assert!(tokio::time::Instant::now() < deadline, "{} wait", server.engine().watch().count());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wait_is_forgotten_when_its_client_hangs_up() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let address = server.url.strip_prefix("http://").expect("http");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let asked = b"GET /v1/tasks/123?wait=60s HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write_all(asked).await.expect("it is sent");
        clients.push(client);
    }
    until_waiting(&server, 2).await;
    clients.pop();
    until_waiting(&server, 1).await;
    clients.pop();
    until_waiting(&server, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn who_waits_while_the_server_stops_is_answered_with_the_task_as_it_is() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let api = Api::new(&server.url);
    let asked = tokio::spawn(async move { api.get("/v1/tasks/123?wait=60s").await });
    until_waiting(&server, 1).await;
    server.stop().await;
    assert_eq!(asked.await.expect("an answer").expect(200)["state"], "running");

    // Who comes while it stops does not wait.
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    server.engine().watch().close();
    let asked = tokio::time::timeout(PATIENCE, server.get("/v1/tasks/123?wait=60s")).await;
    assert_eq!(asked.expect("an answer").expect(200)["state"], "running");
    server.stop().await;
}

#[tokio::test]
async fn a_task_says_that_its_history_is_cut() {
    let server = TestServer::start().await;
    server.create(json!({"id": "chatty"})).await;
    let beat = json!({"event": "task_heartbeat", "task_id": "chatty"});
    for _ in 0..limits::NOTES_PER_TASK_MAX {
        server.webhook(beat.clone()).await;
    }
    assert_eq!(server.task("chatty").await["warnings"], json!([]));
    server.webhook(beat).await;
    let warning = &server.task("chatty").await["warnings"][0];
    assert_eq!(warning["code"], "history_cut");
    assert!(
        warning["detail"].as_str().is_some_and(|text| text.starts_with("it has had more than 1,000 ")),
        "{warning}"
    );
    server.stop().await;
}
