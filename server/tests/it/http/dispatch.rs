//! Dispatch: the request that a worker gets, and what its answer does (contract, section 4).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use taskhook::vault::{KeyPlace, MasterKey, Vault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{TestServer, Worker, task_for, with};

/// A policy whose next attempt follows at once.
fn at_once() -> Value {
    json!({"retry": {"initial": "1ms", "max": "1ms"}})
}

/// The entries of a task's history with this change.
async fn entries(server: &TestServer, id: &str, change: &str) -> Vec<Value> {
    let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200);
    let data = history["data"].as_array().expect("a list");
    data.iter().filter(|entry| entry["change"] == change).cloned().collect()
}

#[tokio::test]
async fn the_body_is_the_payload_byte_for_byte() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (id, payload) in [
        ("spaces", "{ \"b\" : 1.50,\n\t\"a\":[ 1,2 ] ,\"u\":\"\\u00e4\\/\" }"),
        ("large-numbers", "[12345678901234567890123, 1E2, -0.0]"),
        ("null", "null"),
        ("text", "\"ä ☃\""),
        ("empty", "{}"),
    ] {
        let url = format!("{}/work", worker.url);
        let body = format!("{{\"id\": \"{id}\", \"url\": \"{url}\", \"payload\":  {payload} }}");
        server.send("POST", "/v1/tasks", &[], body).await.expect(201);
        let call = worker.call().await;
        assert_eq!(call.body, payload.as_bytes(), "{id}");
        assert_eq!(call.header("content-type"), "application/json");
        call.status(200);
        server.end_of(id).await;
    }
    server.create(task_for(&worker, "absent")).await;
    let call = worker.call().await;
    assert_eq!(call.body.len(), 0);
    assert_eq!(call.header("content-length"), "0");
    call.status(200);
    server.end_of("absent").await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_has_the_headers_of_the_contract() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let fields = json!({"run_at": "2020-01-01T00:00:00Z", "headers": {"X-Token": "abc", "Content-Type": "text/x"}, "payload": 1});
    server.create(with(task_for(&worker, "A.b:c@d"), fields)).await;
    let call = worker.call().await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/work"));
    for (name, value) in [
        ("taskhook-task-id", "A.b:c@d"),
        ("taskhook-attempt", "1"),
        ("taskhook-scheduled-for", "2020-01-01T00:00:00.000Z"),
        ("x-token", "abc"),
        ("content-type", "text/x"),
        ("content-length", "1"),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    let target = worker.url.strip_prefix("http://").expect("http");
    assert_eq!(call.header("host"), target);
    assert!(call.header("taskhook-callback-url").starts_with(&format!("{}/callback/", server.url)));
    let trace = call.header("traceparent");
    let parts: Vec<usize> = trace.split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2], "{trace}");
    let sent: u64 = call.header("webhook-timestamp").parse().expect("seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    assert!((now - 60..=now).contains(&sent), "{sent}");
    call.status(200);
    server.end_of("A.b:c@d").await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_is_signed_by_standard_webhooks_with_the_secret_of_the_store() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let mut signed = Vec::new();
    for (id, fields) in
        [("a", json!({"payload": {"n": 1}})), ("b", json!({})), ("c", json!({"payload": "ä"}))]
    {
        server.create(with(task_for(&worker, id), fields)).await;
        let call = worker.call().await;
        let [id, at, signature] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| call.header(name));
        signed.push(([format!("{id}.{at}.").as_bytes(), &call.body].concat(), signature));
        call.status(202);
    }
    let folder = server.into_folder().await;
    let path = SqlitePath(folder.path().join("store.db"));
    let store = SqliteStore::open(&path, taskhook::clock::wall_clock).expect("the store");
    let sealed = store.secret("dispatch").expect("the store").expect("a secret");
    assert!(sealed.is_sealed);
    let key = KeyPlace::File(folder.path().join("store.db-key"));
    let vault = Vault::new(&MasterKey::load(&key, true).expect("the master key"));
    let secret = vault.open("secret/dispatch", &sealed.value).expect("it opens");
    assert_eq!(secret.len(), 32);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    for (content, signature) in signed {
        let code = signature.strip_prefix("v1,").and_then(|code| STANDARD.decode(code).ok()).expect("v1");
        hmac::verify(&key, &content, &code).expect("it verifies");
    }
}

#[tokio::test]
async fn each_attempt_has_an_id_of_its_own_and_the_task_one_key() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "123"), at_once())).await;
    let (mut ids, mut keys, mut traces) = (Vec::new(), Vec::new(), Vec::new());
    for attempt in ["1", "2", "3"] {
        let call = worker.call().await;
        assert_eq!(call.header("taskhook-attempt"), attempt);
        ids.push(call.header("webhook-id"));
        keys.push(call.header("idempotency-key"));
        traces.push(call.header("traceparent")[..35].to_string());
        call.status(if attempt == "3" { 200 } else { 503 });
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(traces.iter().all(|trace| *trace == traces[0]), "one trace: {traces:?}");
    server.create(task_for(&worker, "124")).await;
    let other = worker.call().await;
    assert_ne!(other.header("idempotency-key"), keys[0]);
    other.status(200);
    server.end_of("124").await;
    server.stop().await;
}

#[tokio::test]
async fn completion_says_which_answers_are_success() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (completion, states) in [
        ("auto", ["succeeded", "succeeded", "running", "succeeded", "succeeded"]),
        ("response", ["succeeded"; 5]),
        ("callback", ["running"; 5]),
    ] {
        for (status, state) in [200, 201, 202, 204, 299].into_iter().zip(states) {
            let id = format!("{completion}-{status}");
            server.create(with(task_for(&worker, &id), json!({"completion": completion}))).await;
            let call = worker.call().await;
            let body = if status == 204 { "" } else { "{\"n\": 1}" };
            call.answer(status, &[("content-type", "application/json")], body);
            let task = server.until(&id, |task| task["state"] != "dispatching").await;
            assert_eq!(task["state"], state, "{id}");
            let result = if state == "succeeded" && status != 204 { json!({"n": 1}) } else { Value::Null };
            assert_eq!(task["result"], result, "{id}");
            if state == "running" {
                let done = json!({"event": "task_completed", "task_id": id, "result": "later"});
                assert_eq!(server.webhook(done).await["outcome"], "applied");
                assert_eq!(server.task(&id).await["result"], "later");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn time_outs_conflicts_locks_limits_and_server_errors_are_retried() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for status in [408, 409, 423, 425, 429, 500, 501, 502, 503, 504, 599] {
        let id = status.to_string();
        server.create(with(task_for(&worker, &id), at_once())).await;
        worker.call().await.status(status);
        let again = worker.call().await;
        assert_eq!(
            (again.header("taskhook-task-id"), again.header("taskhook-attempt")),
            (id.clone(), "2".into())
        );
        let error = server.task(&id).await["error"].clone();
        assert_eq!(
            error,
            json!({"code": format!("http_{status}"), "message": format!("the target answered {status}")})
        );
        again.status(200);
        assert_eq!(server.end_of(&id).await["state"], "succeeded");
    }
    server.stop().await;
}

#[tokio::test]
async fn any_other_answer_fails_the_task_at_once() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for status in [
        300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410, 413, 415, 418, 422, 426, 431, 451,
        499,
    ] {
        let id = status.to_string();
        server.create(with(task_for(&worker, &id), at_once())).await;
        let elsewhere = format!("{}/elsewhere", worker.url);
        worker.call().await.answer(status, &[("location", elsewhere.as_str())], "");
        let task = server.end_of(&id).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("failed"), &json!(1)), "{status}");
        assert_eq!(task["error"]["code"], format!("http_{status}"));
        let message = task["error"]["message"].as_str().expect("text");
        assert_eq!(message.contains("redirects are not followed"), (300..400).contains(&status), "{message}");
        let responded = entries(&server, &id, "responded").await;
        assert_eq!(responded[0]["detail"]["headers"]["location"], elsewhere);
    }
    assert!(worker.is_idle(), "nothing was sent elsewhere");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_with_no_retry_fails_the_task_at_once() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (value, state) in [("true", "failed"), ("True", "failed"), ("false", "succeeded"), ("1", "succeeded")]
    {
        server.create(with(task_for(&worker, value), at_once())).await;
        let headers = [("taskhook-no-retry", value), ("retry-after", "1")];
        worker.call().await.answer(500, &headers, "");
        if state == "succeeded" {
            worker.call().await.status(200);
        }
        let task = server.end_of(value).await;
        assert_eq!(task["state"], state, "{value}");
        assert!(
            task["error"]["message"]
                .as_str()
                .is_some_and(|it| it.contains("no retry") == (state == "failed"))
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn after_max_attempts_the_task_has_failed() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"max_attempts": 3, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    for _ in 0..3 {
        worker.call().await.status(500);
    }
    let task = server.end_of("123").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("failed"), &json!(3)));
    assert!(worker.is_idle());
    server.stop().await;
}

#[tokio::test]
async fn retry_after_of_429_and_503_postpones_and_uses_up_no_attempt() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let only_one = json!({"retry": {"max_attempts": 1}});
    for (id, status) in [("a", 429), ("b", 503)] {
        server.create(with(task_for(&worker, id), only_one.clone())).await;
        worker.call().await.answer(status, &[("retry-after", "1")], "");
        let task = server.until_state(id, "scheduled").await;
        assert_eq!(task["waiting_for"]["code"], "retry");
        let text = task["waiting_for"]["text"].as_str().expect("text");
        assert!(text.ends_with("(0 of 1 attempts used up)"), "{text}");
        assert_eq!(task["error"]["code"], format!("http_{status}"), "its latest failed attempt: {task}");
        let failed = entries(&server, id, "attempt_failed").await;
        assert_eq!(failed[0]["detail"]["counted"], false);
        let text = failed[0]["text"].as_str().expect("text");
        assert!(text.ends_with("; this uses up no attempt"), "{text}");
    }
    for _ in 0..2 {
        let again = worker.call().await;
        assert_eq!(again.header("taskhook-attempt"), "2");
        again.status(200);
    }
    for id in ["a", "b"] {
        assert_eq!(server.end_of(id).await["state"], "succeeded");
    }
    server.stop().await;
}

#[tokio::test]
async fn retry_after_postpones_for_as_long_as_it_says_up_to_a_day() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (number, (value, seconds)) in [
        ("120", 120.0),
        ("0", 1.0),
        ("86400", 86_400.0),
        ("864000", 86_400.0),
        ("99999999999999999999", 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
    ]
    .into_iter()
    .enumerate()
    {
        let id = number.to_string();
        server.create(task_for(&worker, &id)).await;
        worker.call().await.answer(429, &[("retry-after", value)], "");
        let task = server.until(&id, |task| !task["error"].is_null()).await;
        let failed = entries(&server, &id, "attempt_failed").await[0]["at"].clone();
        let planned = entries(&server, &id, "retry_planned").await[0]["detail"]["retry_at"].clone();
        let instant =
            |time: &Value| -> jiff::Timestamp { time.as_str().expect("a time").parse().expect("RFC 3339") };
        let pause = (instant(&planned).as_millisecond() - instant(&failed).as_millisecond()) as f64 / 1_000.0;
        assert!((pause - seconds).abs() < 0.01, "{value}: {pause} s");
        server.post(&format!("/v1/tasks/{id}/cancel"), json!({})).await.expect(200);
        assert_eq!(task["error"]["code"], "http_429");
    }
    // Of others it says nothing: that is a failed attempt like any.
    server.create(with(task_for(&worker, "500"), at_once())).await;
    worker.call().await.answer(500, &[("retry-after", "3600")], "");
    worker.call().await.status(200);
    server.end_of("500").await;
    assert_eq!(entries(&server, "500", "attempt_failed").await[0]["detail"]["counted"], true);
    server.stop().await;
}

#[tokio::test]
async fn a_json_response_of_up_to_one_mib_is_the_result() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for (id, body, is_result) in [
        ("object", "{\"pages\": [1, 2]}".to_string(), true),
        ("spaces", " \n7 ".to_string(), true),
        ("no-json", "done".to_string(), false),
        ("two", "1 2".to_string(), false),
        ("empty", String::new(), false),
        ("one-mib", of(1 << 20), true),
        ("more", of((1 << 20) + 1), false),
    ] {
        server.create(task_for(&worker, id)).await;
        // Whatever it says that it is.
        worker.call().await.answer(200, &[("content-type", "text/plain")], body.clone());
        let task = server.end_of(id).await;
        assert_eq!(task["state"], "succeeded", "{id}");
        let wanted = if is_result { serde_json::from_str(&body).expect("JSON") } else { Value::Null };
        assert!(task["result"] == wanted, "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_first_64_kib_of_the_response_are_kept() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    for (id, bytes, kept, truncated) in [
        ("short", 10, 10, None),
        ("64-kib", 64 << 10, 64 << 10, None),
        ("longer", (64 << 10) + 1, 64 << 10, Some(true)),
        ("long", 3 << 20, 64 << 10, Some(true)),
    ] {
        for status in [200, 404] {
            let id = format!("{id}-{status}");
            server.create(task_for(&worker, &id)).await;
            worker.call().await.answer(status, &[], "x".repeat(bytes));
            server.end_of(&id).await;
            let detail = &entries(&server, &id, "responded").await[0]["detail"];
            assert_eq!(detail["body"].as_str().map(str::len), Some(kept), "{id}");
            assert_eq!(detail.get("truncated").and_then(Value::as_bool), truncated, "{id}");
            assert_eq!(detail["status"], status);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_or_breaks_is_retried() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "broken"), at_once())).await;
    worker.call().await.hang_up();
    worker.call().await.status(200);
    let task = server.end_of("broken").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("succeeded"), &json!("broken")));

    // A port that was free a moment ago: nobody listens there.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", free.local_addr().expect("an address"));
    drop(free);
    let retry = json!({"max_attempts": 2, "initial": "1ms", "max": "1ms"});
    server.create(json!({"id": "refused", "url": url, "retry": retry})).await;
    let task = server.end_of("refused").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("failed"), &json!(2)));
    assert_eq!(task["error"]["code"], "connect");
    let responded = entries(&server, "refused", "responded").await;
    let text = responded[0]["text"].as_str().expect("text");
    assert!(text.starts_with("attempt 1 got no answer: cannot connect to 127.0.0.1:"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_not_complete_in_time_is_retried() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let fields =
        json!({"request_timeout": "300ms", "retry": {"max_attempts": 2, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "silent"), fields.clone())).await;
    let (first, second) = (worker.call().await, worker.call().await);
    let task = server.end_of("silent").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("request_timeout")));
    first.hang_up();
    second.hang_up();

    // One that says how long its answer is, and sends half of it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    server.create(with(json!({"id": "half", "url": url}), fields)).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 4_096];
        assert!(stream.read(&mut head).await.expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.expect("written");
        open.push(stream);
    }
    let task = server.end_of("half").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("request_timeout")));
    drop(open);
    server.stop().await;
}

#[tokio::test]
async fn an_attempt_must_be_complete_within_its_timeout() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let fields = json!({"timeout": "300ms", "retry": {"max_attempts": 2, "initial": "1ms", "max": "1ms"}});
    server.create(with(task_for(&worker, "123"), fields)).await;
    for _ in 0..2 {
        // Accepted in time, and then nothing more is heard.
        worker.call().await.status(202);
    }
    let task = server.end_of("123").await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timeout")));
    let failed = entries(&server, "123", "attempt_failed").await;
    let text = failed[0]["text"].as_str().expect("text");
    assert!(text.contains("within 300ms of its dispatch"), "{text}");
    let external = server.create(json!({"id": "external", "timeout": "20ms"})).await;
    assert_eq!(external["state"], "running");
    assert_eq!(server.end_of("external").await["error"]["code"], "timeout");
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_may_not_be_called_fails_the_task_at_once() {
    let server = TestServer::start().await;
    for (id, url, words) in [
        ("metadata", "http://169.254.169.254/latest/meta-data/", "which is never called"),
        ("metadata-v6", "http://[fd00:ec2::254]/", "which is never called"),
        ("mapped", "http://[::ffff:169.254.169.254]/", "which is never called"),
        ("private", "http://10.0.0.1/", "add \"10.0.0.1/32\" to `allow` under [dispatch]"),
        ("private-v6", "http://[fc00::1]:8080/", "to `allow` under [dispatch]"),
    ] {
        server.create(json!({"id": id, "url": url})).await;
        let task = server.end_of(id).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("failed"), &json!(1)), "{url}");
        assert_eq!(task["error"]["code"], "egress_not_allowed");
        let message = task["error"]["message"].as_str().expect("text");
        assert!(message.contains("not allowed") && message.contains(words), "{message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn no_more_exchanges_are_open_than_there_are_places_for_a_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| config.dispatch.exchanges_per_host = 2).await;
    let (mut busy, mut idle) = (Worker::start().await, Worker::start().await);
    for n in 0..6 {
        server.create(task_for(&busy, &format!("busy-{n}"))).await;
    }
    let mut open = vec![busy.call().await, busy.call().await];
    server.create(task_for(&idle, "other")).await;
    idle.call().await.status(200);
    server.end_of("other").await;
    let queued = server.get("/v1/tasks?state=queued").await.expect(200);
    assert_eq!(queued["data"].as_array().map(Vec::len), Some(4));
    for _ in 0..4 {
        open.remove(0).status(200);
        open.push(busy.call().await);
        assert!(busy.is_idle(), "one has ended, and one has begun");
    }
    open.into_iter().for_each(|call| call.status(200));
    for n in 0..6 {
        server.end_of(&format!("busy-{n}")).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn higher_priority_goes_first_and_within_one_the_due_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| {
        config.dispatch.exchanges = 1;
        config.dispatch.exchanges_per_host = 1;
    })
    .await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "holds-the-place")).await;
    let held = worker.call().await;
    for (id, priority, run_at) in [
        ("third", 0, "2020-01-01T00:00:01Z"),
        ("fourth", 0, "2020-01-01T00:00:02Z"),
        ("second", 0, "2020-01-01T00:00:00Z"),
        ("last", -100, "2019-01-01T00:00:00Z"),
        ("first", 100, "2020-01-01T00:00:03Z"),
    ] {
        server.create(with(task_for(&worker, id), json!({"priority": priority, "run_at": run_at}))).await;
    }
    held.status(200);
    for id in ["first", "second", "third", "fourth", "last"] {
        let call = worker.call().await;
        assert_eq!(call.header("taskhook-task-id"), id);
        call.status(200);
    }
    server.end_of("last").await;
    server.stop().await;
}

#[tokio::test]
async fn public_url_is_what_callback_urls_begin_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start_in(folder, |config| {
        config.public_url = Some("https://hooks.example.com/taskhook".into());
    })
    .await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    assert!(url.starts_with("https://hooks.example.com/taskhook/callback/"), "{url}");
    call.status(200);
    server.end_of("123").await;
    server.stop().await;
}

#[tokio::test]
async fn the_pause_before_a_retry_is_between_nothing_and_its_bound() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "10s", "factor": 10, "max": "60s"}});
    server.create(with(task_for(&worker, "123"), retry)).await;
    for bound in [10, 60, 60] {
        worker.call().await.status(500);
        let task = server.until_state("123", "scheduled").await;
        let until: jiff::Timestamp =
            task["waiting_for"]["until"].as_str().expect("a time").parse().expect("RFC 3339");
        let now = jiff::Timestamp::now();
        let pause = until.duration_since(now);
        assert!(pause < jiff::SignedDuration::from_secs(bound), "{pause:?}");
        server.post("/v1/tasks/123/trigger", json!({})).await.expect(200);
    }
    worker.call().await.status(200);
    assert_eq!(server.end_of("123").await["attempt"], 4);
    server.stop().await;
}
