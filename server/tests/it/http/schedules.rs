//! Schedules over HTTP (contract, section 6).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, Worker};

const DAY: i64 = 86_400_000_000;

/// How often a schedule is looked at that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

async fn put(server: &Api, name: &str, schedule: Value) -> Answer {
    server.send("PUT", &format!("/v1/schedules/{name}"), &[], schedule.to_string()).await
}

async fn command(server: &Api, name: &str, command: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send("POST", &format!("/v1/schedules/{name}/{command}"), &[], body).await
}

async fn schedule(server: &Api, name: &str) -> Value {
    server.get(&format!("/v1/schedules/{name}")).await.expect(200)
}

/// Reads a schedule again and again until `is` holds.
async fn until(server: &Api, name: &str, is: impl Fn(&Value) -> bool) -> Value {
    loop {
        let found = schedule(server, name).await;
        if is(&found) {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await; // real time: instants are a second apart
    }
}

/// What became of the newest instants, newest first.
fn outcomes(schedule: &Value) -> Vec<String> {
    let last = schedule["last"].as_array().expect("a list");
    last.iter().map(|fate| fate["outcome"].as_str().expect("a word").to_string()).collect()
}

/// A schedule that is due every second, and what it does for this worker.
fn every_second(worker: &Worker) -> Value {
    json!({"every": "1s", "task": {"url": format!("{}/work", worker.url), "payload": {"a":  1}}})
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[tokio::test]
async fn a_schedule_is_made_read_replaced_listed_and_deleted() {
    let server = RealServer::start().await;
    let full = json!({"cron": "0 30 2 * * MON-FRI", "timezone": "europe/stockholm", "overlap": "buffer_one",
        "catch_up": "2h", "missed": "all", "jitter": "30s", "start_at": "2026-01-01T00:00:00.000Z",
        "end_at": "2999-01-01T00:00:00.000Z", "paused": true, "task": {
            "name": "report", "url": "http://127.0.0.1:9/report", "method": "PUT", "headers": {"x-team": "a"},
            "payload": {"n": 1.50}, "queue": "default", "concurrency_key": "k", "priority": 7,
            "completion": "callback", "timeout": "10m", "request_timeout": "5s", "retry": {"max_attempts": 3},
            "labels": {"team": "a"}}});
    let made = put(&server, "nightly", full.clone()).await.expect(201);
    for (field, value) in full.as_object().expect("fields") {
        let wanted = if field == "timezone" { &json!("Europe/Stockholm") } else { value };
        assert_eq!(&made[field], wanted, "{field}");
    }
    assert_eq!((&made["name"], &made["every"], &made["next"]), (&json!("nightly"), &Value::Null, &json!([])));
    assert_eq!(schedule(&server, "nightly").await, made);
    let raw = String::from_utf8(server.get("/v1/schedules/nightly").await.body.to_vec()).expect("text");
    assert!(raw.contains("\"payload\":{\"n\":1.5}"), "{raw}");

    // It is replaced as a whole, and what is left out has its default.
    let replaced = put(&server, "nightly", json!({"every": "90s", "task": {}})).await.expect(200);
    for (field, value) in [
        ("cron", Value::Null),
        ("every", json!("1m 30s")),
        ("timezone", json!("UTC")),
        ("overlap", json!("skip")),
        ("catch_up", json!("1h")),
        ("missed", json!("latest")),
        ("jitter", json!("0s")),
        ("paused", json!(false)),
        ("task", json!({"queue": "default", "priority": 0})),
        ("counts", json!({"fired": 0, "requested": 0, "missed": 0, "overlapped": 0, "skipped": 0})),
        ("backfill", Value::Null),
        ("note", Value::Null),
    ] {
        assert_eq!(replaced[field], value, "{field}");
    }
    assert_eq!(replaced["next"].as_array().map(Vec::len), Some(10));
    assert_eq!(replaced["created_at"], made["created_at"]);

    put(&server, "a", json!({"every": "1h", "task": {}})).await.expect(201);
    put(&server, "z", json!({"every": "1h", "task": {}})).await.expect(201);
    let names = |page: &Value| {
        let rows = page["data"].as_array().expect("a list");
        rows.iter().map(|row| text(&row["name"]).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&server.get("/v1/schedules").await.expect(200)), ["a", "nightly", "z"]);
    let first = server.get("/v1/schedules?limit=2").await.expect(200);
    let cursor = text(&first["next_cursor"]);
    let second = server.get(&format!("/v1/schedules?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&first).len(), names(&second)), (2, vec!["z".to_string()]));

    assert_eq!(server.send("DELETE", "/v1/schedules/a", &[], "").await.status, 204);
    server.send("DELETE", "/v1/schedules/a", &[], "").await.problem(404, "not_found");
    server.get("/v1/schedules/a").await.problem(404, "not_found");
    for verb in ["pause", "resume", "trigger"] {
        command(&server, "a", verb, Value::Null).await.problem(404, "not_found");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_schedule_cannot_say_is_refused_with_the_reason() {
    let server = RealServer::start().await;
    let with = |fields: Value| {
        let mut schedule = json!({"cron": "@daily", "task": {}});
        for (name, value) in fields.as_object().expect("fields") {
            schedule[name] = value.clone();
        }
        schedule
    };
    for (body, pointer, code) in [
        (with(json!({"cron": "0 0 31 2 *"})), "/cron", "not_a_cron_expression"),
        (with(json!({"cron": "60 * * * *"})), "/cron", "not_a_cron_expression"),
        (with(json!({"cron": 5})), "/cron", "wrong_type"),
        (with(json!({"cron": null, "every": "0s"})), "/every", "out_of_range"),
        (with(json!({"cron": null, "every": "1500ms"})), "/every", "out_of_range"),
        (with(json!({"cron": null, "every": "often"})), "/every", "not_a_duration"),
        (with(json!({"cron": null})), "/cron", "missing"),
        (with(json!({"every": "5m"})), "/every", "conflict"),
        (with(json!({"timezone": "Mars/Base"})), "/timezone", "no_such_timezone"),
        (with(json!({"overlap": "queue"})), "/overlap", "unknown_value"),
        (with(json!({"missed": "some"})), "/missed", "unknown_value"),
        (with(json!({"catch_up": "-1h"})), "/catch_up", "not_a_duration"),
        (with(json!({"jitter": 5})), "/jitter", "wrong_type"),
        (with(json!({"start_at": "tomorrow"})), "/start_at", "not_a_time"),
        (
            with(json!({"start_at": "2026-02-01T00:00:00Z", "end_at": "2026-01-01T00:00:00Z"})),
            "/end_at",
            "out_of_range",
        ),
        (with(json!({"paused": "yes"})), "/paused", "wrong_type"),
        (with(json!({"corn": "* * * * *"})), "/corn", "unknown_field"),
        (with(json!({"task": null})), "/task", "missing"),
        (with(json!({"task": []})), "/task", "wrong_type"),
        (with(json!({"task": {"id": "x"}})), "/task/id", "not_for_schedules"),
        (with(json!({"task": {"run_at": "2026-02-01T00:00:00Z"}})), "/task/run_at", "not_for_schedules"),
        (with(json!({"task": {"after": ["x"]}})), "/task/after", "not_for_schedules"),
        (with(json!({"task": {"url": "ftp://x"}})), "/task/url", "not_a_url"),
        (with(json!({"task": {"deadline": "2030-01-01T00:00:00Z"}})), "/task/deadline", "not_for_schedules"),
        (with(json!({"task": {"queue": "nowhere"}})), "/task/queue", "no_such_queue"),
    ] {
        let answer = put(&server, "s", body.clone()).await;
        assert_eq!(answer.faults(), [(pointer.to_string(), code.to_string())], "{body}");
    }
    assert_eq!(put(&server, "~s", with(json!({}))).await.faults(), [("/name".into(), "not_a_name".into())]);
    put(&server, "s", Value::Null).await.problem(400, "malformed");
    server.get("/v1/schedules/s").await.problem(404, "not_found");

    put(&server, "s", with(json!({"start_at": "2020-01-01T00:00:00Z"}))).await.expect(201);
    for (body, pointer, code) in [
        (json!({"to": "2026-01-01T00:00:00Z"}), "/from", "missing"),
        (json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}), "/to", "out_of_range"),
        (json!({"from": "2026-01-02T00:00:00Z", "to": "2999-01-01T00:00:00Z"}), "/to", "out_of_range"),
        (
            json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "overlap": "buffer_one"}),
            "/overlap",
            "unknown_value",
        ),
    ] {
        assert_eq!(command(&server, "s", "backfill", body).await.faults(), [(pointer.into(), code.into())]);
    }
    put(&server, "s", json!({"every": "1s", "start_at": "2020-01-01T00:00:00Z", "paused": true, "task": {}}))
        .await
        .expect(200);
    let long = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"});
    assert_eq!(command(&server, "s", "backfill", long).await.faults(), [("/to".into(), "too_many".into())]);
    assert_eq!(
        command(&server, "s", "trigger", json!({"overlap": "never"})).await.faults(),
        [("/overlap".into(), "unknown_value".into())]
    );
    for query in ["count=0", "count=1001", "from=now", "until=x"] {
        server.get(&format!("/v1/schedules/s/preview?{query}")).await.problem(400, "invalid_query");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_instant_makes_a_task_and_the_wait_for_its_webhook_holds_the_next_ones_back() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "tick", every_second(&worker)).await.expect(201);
    let call = worker.call().await;
    let (id, instant) = (call.header("taskhook-task-id"), call.header("taskhook-scheduled-for"));
    assert_eq!(id, format!("tick~{}Z", instant.strip_suffix(".000Z").expect("a whole second")));
    assert_eq!(call.body, "{\"a\":1}");
    call.status(202);
    let task = server.task(&id).await;
    assert_eq!((&task["schedule"], &task["scheduled_for"]), (&json!("tick"), &json!(instant)));
    let history = server.get(&format!("/v1/tasks/{id}/history")).await.expect(200);
    assert_eq!(history["data"][0]["cause"], json!({"kind": "schedule", "ref": "tick"}));
    assert_eq!(history["data"][0]["text"], "created, by schedule tick");

    // It is the worker's turn: as long as no webhook comes, no other task is made, and it is said why.
    let is_held_back = |found: &Value| found["counts"]["overlapped"].as_u64() >= Some(2);
    let found = until(&server, "tick", is_held_back).await;
    assert_eq!(found["counts"]["fired"], 1, "{found}");
    let last =
        found["last"].as_array().and_then(|last| last.iter().find(|fate| fate["outcome"] == "overlapped"));
    let last = last.expect("it was held back");
    assert_eq!(last["task"], json!(id));
    let told = text(&last["text"]).to_string();
    assert_eq!(told, format!("no task: task {id} had not ended, and overlap is skip"));
    assert!(worker.is_idle());

    server.webhook(json!({"event": "task_completed", "task_id": id})).await;
    let next = worker.call().await;
    assert_ne!(next.header("taskhook-task-id"), id);
    next.status(200);
    server.stop().await;
}

#[tokio::test]
async fn a_task_may_wait_for_the_earlier_one_or_take_its_place() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let overlap = |overlap: &str| {
        let mut schedule = every_second(&worker);
        schedule["overlap"] = json!(overlap);
        schedule
    };
    let (buffer_one, cancel_previous) = (overlap("buffer_one"), overlap("cancel_previous"));
    put(&server, "one", buffer_one).await.expect(201);
    let call = worker.call().await;
    let first = call.header("taskhook-task-id");
    call.status(202);
    let found = until(&server, "one", |found| found["counts"]["overlapped"].as_u64() >= Some(1)).await;
    assert_eq!(found["counts"]["fired"], 2, "{found}");
    let last = found["last"].as_array().and_then(|last| last.iter().find(|fate| fate["outcome"] == "fired"));
    let second = text(&last.expect("it was made")["task"]).to_string();
    let waits = server.task(&second).await;
    assert_eq!(waits["after"], json!([{"task": first, "on": "finished"}]));
    assert_eq!(waits["waiting_for"]["ref"], json!(first));
    command(&server, "one", "pause", Value::Null).await.expect(200);
    server
        .webhook(
            json!({"event": "task_failed", "task_id": first, "error": {"message": "x", "retryable": false}}),
        )
        .await;
    let call = worker.call().await;
    assert_eq!(call.header("taskhook-task-id"), second, "it begins when the earlier one has ended, however");
    call.status(200);
    assert_eq!(server.end_of(&second).await["state"], "succeeded");

    put(&server, "two", cancel_previous).await.expect(201);
    let call = worker.call().await;
    let first = call.header("taskhook-task-id");
    call.status(202);
    let call = worker.call().await;
    command(&server, "two", "pause", Value::Null).await.expect(200);
    let ended = server.end_of(&first).await;
    assert_eq!(ended["state"], "cancelled");
    let history = server.get(&format!("/v1/tasks/{first}/history")).await.expect(200);
    let last = history["data"].as_array().and_then(|entries| entries.last().cloned()).expect("an entry");
    let second = call.header("taskhook-task-id");
    assert_eq!(last["text"], json!(format!("cancelled, because of task {second}")));
    call.status(200);
    server.stop().await;
}

#[tokio::test]
async fn a_pause_leaves_out_and_nothing_of_it_is_made_up_for() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "tick", every_second(&worker)).await.expect(201);
    worker.call().await.status(200);
    let paused = command(&server, "tick", "pause", Value::Null).await.expect(200);
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &json!([])));
    assert_eq!(command(&server, "tick", "pause", Value::Null).await.expect(200)["paused"], true);
    let made = paused["counts"]["fired"].clone();
    // Two hours pass in which nobody looks.
    let server = server
        .restart_after(|store| {
            let back = "UPDATE schedule SET decided_until = decided_until - 7200000000, created_at = created_at - 7200000000";
            store.execute_batch(back).expect("a change");
        })
        .await;
    let before = schedule(&server, "tick").await;
    assert_eq!((&before["counts"]["fired"], &before["counts"]["missed"]), (&made, &json!(0)));
    let resumed = command(&server, "tick", "resume", Value::Null).await.expect(200);
    assert_eq!(resumed["counts"]["fired"], made, "the past makes no task");
    let skipped = resumed["counts"]["skipped"].as_u64().expect("a count");
    assert!((7_199..7_300).contains(&skipped), "{skipped}");
    assert_eq!(
        resumed["last"][0]["text"],
        json!(format!("no task for {skipped} instants: the schedule was paused"))
    );
    let call = worker.call().await;
    assert!(*call.header("taskhook-scheduled-for") > *text(&resumed["decided_until"]));
    call.status(200);
    server.stop().await;
}

#[tokio::test]
async fn after_downtime_the_past_is_made_up_for_as_the_schedule_says() {
    let server = RealServer::start().await;
    // Half an hour ago was an instant, and another one each hour before.
    let newest = (taskhook::clock::shown().0 / 1_000_000 - 1_800) * 1_000_000;
    let start_at = taskhook_core::Timestamp(newest - 10 * DAY).to_string();
    for (name, missed, catch_up) in
        [("latest", "latest", "1h"), ("all", "all", "3h"), ("none", "skip", "1h"), ("late", "latest", "1m")]
    {
        let body =
            json!({"every": "1h", "start_at": start_at, "task": {}, "missed": missed, "catch_up": catch_up});
        put(&server, name, body).await.expect(201);
    }
    // Three days without a server.
    let server = server
        .restart_after(|store| {
            let wake = "UPDATE schedule SET decided_until = ?1, wake_at = ?1 + 3600000000";
            assert_eq!(store.execute(wake, [newest - 3 * DAY]).expect("a change"), 4);
        })
        .await;
    let all = until(&server, "all", |found| !outcomes(found).is_empty()).await;
    assert_eq!(outcomes(&all), ["fired", "fired", "fired", "missed"]);
    assert_eq!((&all["counts"]["missed"], &all["counts"]["fired"]), (&json!(72 - 3), &json!(3)));
    assert!(text(&all["last"][3]["text"]).contains("longer ago than catch_up (3h)"), "{all}");
    // They run one after the other.
    let newest_task = server.task(text(&all["last"][0]["task"])).await;
    assert_eq!(newest_task["waiting_for"]["ref"], all["last"][1]["task"]);
    for (name, what, fired, missed) in [
        ("latest", &["fired", "missed"][..], 1, 71),
        ("none", &["missed"], 0, 72),
        ("late", &["missed"], 0, 72),
    ] {
        let found = until(&server, name, |found| !outcomes(found).is_empty()).await;
        assert_eq!(outcomes(&found), what, "{found}");
        assert_eq!((&found["counts"]["fired"], &found["counts"]["missed"]), (&json!(fired), &json!(missed)));
    }
    let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).expect("text");
    let total = format!("taskhook_schedule_missed_total {}\n", 69 + 71 + 72 + 72);
    assert!(metrics.contains(&total), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn a_task_is_made_on_request_paused_or_not() {
    let server = RealServer::start().await;
    let body = json!({"cron": "@yearly", "paused": true, "task": {"name": "report"}});
    put(&server, "report", body).await.expect(201);
    let made = command(&server, "report", "trigger", Value::Null).await.expect(201);
    assert_eq!((&made["schedule"], &made["state"]), (&json!("report"), &json!("running")));
    let id = text(&made["id"]).to_string();
    assert!(id.starts_with("report~20") && !id.ends_with(".000Z"), "{id}");
    let refused = command(&server, "report", "trigger", json!({})).await.problem(409, "overlaps");
    assert!(text(&refused["detail"]).contains(&id), "{refused}");
    let waits = command(&server, "report", "trigger", json!({"overlap": "buffer_one"})).await.expect(201);
    assert_eq!(waits["waiting_for"]["ref"], json!(id));

    // Each request makes another task, however close they are; the same request only one.
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let api = Api::clone(&server);
        asks.spawn(
            async move { api.post("/v1/schedules/report/trigger", json!({"overlap": "allow"})).await },
        );
    }
    let answers = asks.join_all().await;
    let ids: BTreeSet<String> =
        answers.iter().map(|answer| text(&answer.expect(201)["id"]).to_string()).collect();
    assert_eq!(ids.len(), 20);
    let once = || async {
        let headers = [("idempotency-key", "k1")];
        server.send("POST", "/v1/schedules/report/trigger", &headers, "{\"overlap\":\"allow\"}").await
    };
    let (first, again) = (once().await, once().await);
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let found = schedule(&server, "report").await;
    assert_eq!((&found["counts"]["requested"], &found["counts"]["fired"]), (&json!(23), &json!(0)));
    server.stop().await;
}

#[tokio::test]
async fn a_backfill_makes_the_past_in_order_and_no_instant_twice() {
    let server = RealServer::start().await;
    let body = json!({"cron": "30 2 * * *", "timezone": "Europe/Stockholm", "task": {}, "start_at": "2026-01-01T00:00:00Z"});
    put(&server, "nightly", body).await.expect(201);
    let week = |dry_run: bool| json!({"from": "2026-03-26T00:00:00Z", "to": "2026-04-02T00:00:00Z", "dry_run": dry_run});
    let dry = command(&server, "nightly", "backfill", week(true)).await.expect(200);
    let expected = json!({"count": 7, "first": "2026-03-26T01:30:00.000Z", "last": "2026-04-01T00:30:00.000Z", "dry_run": true});
    assert_eq!(dry, expected);
    assert_eq!(server.get("/v1/tasks").await.expect(200)["data"], json!([]));
    assert_eq!(command(&server, "nightly", "backfill", week(false)).await.expect(202)["count"], 7);
    let found = until(&server, "nightly", |found| found["backfill"].is_null()).await;
    assert_eq!(found["counts"]["requested"], 7);
    // The clocks go forward on the 29th: 02:30 is then 03:00.
    assert_eq!(server.task("nightly~2026-03-29T01:00:00Z").await["state"], "blocked");
    assert_eq!(server.task("nightly~2026-03-26T01:30:00Z").await["state"], "running");
    server.webhook(json!({"event": "task_completed", "task_id": "nightly~2026-03-26T01:30:00Z"})).await;
    assert_eq!(server.task("nightly~2026-03-27T01:30:00Z").await["state"], "running");

    let longer = json!({"from": "2026-03-25T00:00:00Z", "to": "2026-04-02T00:00:00Z", "overlap": "allow"});
    command(&server, "nightly", "backfill", longer).await.expect(202);
    let found = until(&server, "nightly", |found| found["backfill"].is_null()).await;
    assert_eq!(found["counts"]["requested"], 8, "those that exist are not made again");
    assert_eq!(server.task("nightly~2026-03-25T01:30:00Z").await["state"], "running");
    server.stop().await;
}

#[tokio::test]
async fn a_preview_says_what_a_gap_moves() {
    let server = RealServer::start().await;
    let body = json!({"cron": "30 2 * * *", "timezone": "America/New_York", "task": {}, "paused": true});
    put(&server, "s", body).await.expect(201);
    let preview =
        server.get("/v1/schedules/s/preview?from=2026-03-07T00:00:00-05:00&count=2").await.expect(200);
    assert_eq!(
        preview,
        json!({"data": [
            {"at": "2026-03-07T07:30:00.000Z", "local": "2026-03-07T02:30:00-05:00[America/New_York]", "note": null},
            {"at": "2026-03-08T07:00:00.000Z", "local": "2026-03-08T03:00:00-04:00[America/New_York]",
             "note": "02:30 does not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so it runs at 03:00"}]})
    );
    assert_eq!(
        server.get("/v1/schedules/s/preview").await.expect(200)["data"].as_array().map(Vec::len),
        Some(10)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_held_server_fires_nothing_and_goes_on_when_it_is_resumed() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.send("POST", "/v1/hold", &[], "").await.expect(200);
    put(&server, "tick", every_second(&worker)).await.expect(201);
    tokio::time::sleep(Duration::from_millis(2_500)).await; // real time: two instants pass
    let held = schedule(&server, "tick").await;
    assert_eq!((&held["counts"]["fired"], &held["last"]), (&json!(0), &json!([])));
    server.send("POST", "/v1/resume", &[], "").await.expect(200);
    worker.call().await.status(200);
    let found = until(&server, "tick", |found| found["counts"]["fired"].as_u64() >= Some(1)).await;
    assert!(found["counts"]["missed"].as_u64() >= Some(1), "{found}");
    server.stop().await;
}
