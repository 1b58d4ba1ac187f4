//! Bulks over HTTP (contract, section 4).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskhook::engine::submission::{BulkAsk, Submission};
use taskhook::secrets::fingerprint;
use taskhook_core::bulk::{Filter, Settings};
use taskhook_core::id::type_id;
use taskhook_core::{ClaimKey, Command, Once, limits};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, TestServer, Worker, task_for, with};

async fn bulk(server: &Api, body: Value) -> Answer {
    server.post("/v1/bulk", body).await
}

/// Begins a bulk, and gives its id.
async fn begin(server: &Api, body: Value) -> String {
    let begun = bulk(server, body).await.expect(202);
    let id = begun["id"].as_str().expect("an id").to_string();
    assert!(id.starts_with("bulk_"), "{id}");
    id
}

/// Reads a bulk until `is` holds.
async fn until(server: &Api, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    loop {
        let found = server.get(&format!("/v1/bulk/{id}")).await.expect(200);
        if is(&found) {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

async fn end_of(server: &Api, id: &str) -> Value {
    until(server, id, |bulk| bulk["state"] != "running").await
}

/// What a bulk has come to: state, matched, applied, refused.
fn counts(bulk: &Value) -> Value {
    json!([bulk["state"], bulk["matched"], bulk["applied"], bulk["refused"]])
}

/// Creates so many external tasks, in batches.
async fn create_many(server: &Api, prefix: &str, count: usize, like: Value) {
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(limits::BATCH_TASKS_MAX) {
        let task = |number: &usize| with(like.clone(), json!({"id": format!("{prefix}{number}")}));
        let tasks: Vec<Value> = numbers.iter().map(task).collect();
        server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    }
}

async fn count(server: &Api, query: &str) -> usize {
    let page = server.get(&format!("/v1/tasks?limit=1000&{query}")).await.expect(200);
    page["data"].as_array().expect("a list").len()
}

#[tokio::test]
async fn cancel_reaches_every_task_that_has_not_ended() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    create_many(&server, "t", 100, json!({"name": "resize", "labels": {"team": "a"}})).await;
    server.create(json!({"id": "other", "name": "other"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "t7"})).await;
    server.create(with(task_for(&worker, "sent"), json!({"name": "resize", "labels": {"team": "a"}}))).await;
    let call = worker.call().await;
    let body = json!({"action": "cancel", "filter": {"name": "resize", "label": "team:a"}});
    let begun = bulk(&server, body).await.expect(202);
    for (field, value) in [
        ("action", json!("cancel")),
        ("filter", json!({"name": "resize", "label": ["team:a"]})),
        ("rate", Value::Null),
        ("refused", json!(0)),
    ] {
        assert_eq!(begun[field], value, "{field}");
    }
    let id = begun["id"].as_str().expect("an id");
    let done = end_of(&server, id).await;
    assert_eq!(counts(&done), json!(["done", 100, 100, 0]));
    assert!(done["ended_at"].as_str() >= done["began_at"].as_str(), "{done}");
    call.status(200);
    assert_eq!(count(&server, "state=cancelled").await, 100);
    assert_eq!(server.task("t7").await["state"], "succeeded");
    assert_eq!(server.task("other").await["state"], "running");
    let history = server.get("/v1/tasks/t3/history").await.expect(200);
    let last = history["data"].as_array().and_then(|all| all.last()).expect("an entry");
    assert_eq!(last["text"], format!("cancelled, by bulk {id}"), "{last}");
    assert_eq!(last["cause"], json!({"kind": "bulk", "ref": id}), "{last}");
    // It can be read, and cannot be stopped any more.
    server.post(&format!("/v1/bulk/{id}/cancel"), Value::Null).await.problem(409, "already_ended");
    server.stop().await;
}

#[tokio::test]
async fn retry_and_trigger_reach_the_tasks_that_they_can_be_applied_to() {
    let server = RealServer::start().await;
    let queue = json!({"paused": true}).to_string();
    server.send("PUT", "/v1/queues/slow", &[], queue).await.expect(201);
    for id in ["failed", "cancelled", "done"] {
        server.create(json!({"id": id})).await;
    }
    server.create(json!({"id": "skipped", "after": ["failed"]})).await;
    server.create(json!({"id": "later", "delay": "1h"})).await;
    server.create(json!({"id": "later-and-slow", "delay": "1h", "queue": "slow"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "failed"})).await;
    server.webhook(json!({"event": "task_cancelled", "task_id": "cancelled"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "done"})).await;
    let dry = json!({"action": "retry", "filter": {"queue": "default"}, "dry_run": true});
    let counted = bulk(&server, dry).await.expect(200);
    assert_eq!(counted, json!({"dry_run": true, "matched": 3, "complete": true}));

    // What is skipped because of `failed` is not retried before it, unless that does not matter.
    let skipped = json!({"action": "retry", "filter": {"state": ["skipped"]}});
    let id = begin(&server, skipped.clone()).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 1, 0, 1]));
    let id = begin(&server, with(skipped, json!({"ignore_dependencies": true}))).await;
    let done = end_of(&server, &id).await;
    assert_eq!((counts(&done), &done["ignore_dependencies"]), (json!(["done", 1, 1, 0]), &json!(true)));
    assert_eq!(server.task("skipped").await["state"], "running");
    let id = begin(&server, json!({"action": "retry", "filter": {"state": "failed,cancelled,queued"}})).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 2, 2, 0]));
    for id in ["failed", "cancelled"] {
        assert_eq!(server.task(id).await["state"], "running");
    }
    let id = begin(&server, json!({"action": "trigger", "filter": {"queue": "slow"}})).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 1, 1, 0]));
    assert_eq!(server.task("later-and-slow").await["state"], "running");
    assert_eq!(server.task("later").await["state"], "scheduled");
    server.stop().await;
}

#[tokio::test]
async fn a_rate_caps_it() {
    let server = RealServer::start().await;
    create_many(&server, "t", 12, json!({})).await;
    let rate = json!({"limit": 20, "per": "1s", "burst": 2});
    let begun = Instant::now();
    let body = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let id = begin(&server, body).await;
    let done = end_of(&server, &id).await;
    assert_eq!((counts(&done), &done["rate"]), (json!(["done", 12, 12, 0]), &rate));
    // Two at once, and ten more, each a twentieth of a second after the one before.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    let mut ends: Vec<jiff::Timestamp> = Vec::new();
    for number in 0..12 {
        let ended_at = server.task(&format!("t{number}")).await["ended_at"].clone();
        ends.push(ended_at.as_str().expect("a time").parse().expect("a time"));
    }
    // Tasks of one batch have no order among them.
    ends.sort_unstable();
    // Of any four, two may come at once, and the others a twentieth of a second each. Times are shown in milliseconds.
    for (first, end) in ends.iter().zip(&ends[3..]) {
        assert!(end.as_millisecond() - first.as_millisecond() >= 99, "{ends:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn it_can_be_stopped_half_way() {
    let server = RealServer::start().await;
    create_many(&server, "t", 50, json!({})).await;
    let rate = json!({"limit": 1, "per": "1h", "burst": 5});
    let body = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let id = begin(&server, body).await;
    until(&server, &id, |bulk| bulk["applied"] == 5).await;
    let path = format!("/v1/bulk/{id}/cancel");
    let stopped = server.post(&path, Value::Null).await.expect(200);
    assert_eq!(counts(&stopped), json!(["cancelled", 5, 5, 0]));
    assert!(stopped["ended_at"].is_string(), "{stopped}");
    assert_eq!(server.post(&path, Value::Null).await.expect(200), stopped, "it is cancelled already");
    let server = server.restart().await;
    assert_eq!(server.get(&format!("/v1/bulk/{id}")).await.expect(200), stopped);
    assert_eq!(count(&server, "state=cancelled").await, 5);
    server.stop().await;
}

#[tokio::test]
async fn tasks_that_are_created_meanwhile_are_left_alone() {
    let server = RealServer::start().await;
    create_many(&server, "t", 6, json!({})).await;
    let rate = json!({"limit": 50, "per": "1s"});
    let body = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let id = begin(&server, body).await;
    create_many(&server, "new", 6, json!({})).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 6, 6, 0]));
    assert_eq!((count(&server, "state=running").await, count(&server, "state=cancelled").await), (6, 6));
    server.stop().await;
}

#[tokio::test]
async fn it_goes_on_after_a_restart() {
    let server = RealServer::start().await;
    create_many(&server, "t", 8, json!({})).await;
    let rate = json!({"limit": 20, "per": "1s"});
    let body = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let id = begin(&server, body).await;
    let server = server.restart().await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 8, 8, 0]));
    server.stop().await;
}

#[tokio::test]
async fn it_goes_on_while_the_server_is_held_and_nothing_is_sent() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(with(task_for(&worker, "later"), json!({"delay": "1h"}))).await;
    server.create(json!({"id": "external"})).await;
    server.post("/v1/hold", Value::Null).await.expect(200);
    let id = begin(&server, json!({"action": "trigger", "filter": {"queue": "default"}})).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 1, 1, 0]));
    let id = begin(&server, json!({"action": "cancel", "filter": {"state": "running"}})).await;
    assert_eq!(counts(&end_of(&server, &id).await), json!(["done", 1, 1, 0]));
    let task = server.task("later").await;
    assert_eq!((&task["state"], &task["waiting_for"]["code"]), (&json!("queued"), &json!("held")));
    assert!(worker.is_idle());
    server.post("/v1/resume", Value::Null).await.expect(200);
    worker.call().await.status(200);
    assert_eq!(server.end_of("later").await["state"], "succeeded");
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let server = RealServer::start().await;
    create_many(&server, "t", 9, json!({"labels": {"a": "1", "b": "2"}})).await;
    server.create(json!({"id": "plain"})).await;
    for (filter, matched) in [
        (json!({"label": ["a:1", "b:2"]}), 9),
        (json!({"label": "a:2"}), 0),
        (json!({"state": "running"}), 10),
        (json!({"state": ["running", "failed"], "queue": "default"}), 10),
        (json!({"created_after": "2999-01-01T00:00:00Z"}), 0),
        (json!({"created_after": "2001-01-01T00:00:00Z", "name": "none"}), 0),
    ] {
        let body = json!({"action": "cancel", "filter": filter, "dry_run": true});
        let counted = bulk(&server, body).await.expect(200);
        assert_eq!(counted, json!({"dry_run": true, "matched": matched, "complete": true}), "{filter}");
    }
    assert_eq!(count(&server, "state=running").await, 10);
    assert_eq!(server.get("/v1/bulk").await.expect(200)["data"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_it_is_said_with_its_place() {
    let server = RealServer::start().await;
    let asked = |fields: Value| with(json!({"action": "cancel", "filter": {"name": "a"}}), fields);
    let filter = |filter: Value| asked(json!({"filter": filter}));
    for (body, pointer, code) in [
        (asked(json!({"action": null})), "/action", "missing"),
        (asked(json!({"action": "delete"})), "/action", "unknown_value"),
        (asked(json!({"action": 1})), "/action", "wrong_type"),
        (asked(json!({"filter": null})), "/filter", "missing"),
        (asked(json!({"filter": "all"})), "/filter", "wrong_type"),
        (filter(json!({})), "/filter", "empty"),
        (filter(json!({"name": null})), "/filter", "empty"),
        (filter(json!({"states": "failed"})), "/filter/states", "unknown_field"),
        (filter(json!({"limit": 5})), "/filter/limit", "unknown_field"),
        (filter(json!({"state": "done"})), "/filter/state", "unknown_value"),
        (filter(json!({"state": ""})), "/filter/state", "unknown_value"),
        (filter(json!({"state": []})), "/filter/state", "empty"),
        (filter(json!({"state": {"a": 1}})), "/filter/state", "wrong_type"),
        (filter(json!({"state": "failed,skipped"})), "/filter/state", "never_applies"),
        (
            asked(json!({"action": "retry", "filter": {"state": ["running"]}})),
            "/filter/state",
            "never_applies",
        ),
        (
            asked(json!({"action": "trigger", "filter": {"state": "queued"}})),
            "/filter/state",
            "never_applies",
        ),
        (filter(json!({"queue": "nowhere"})), "/filter/queue", "no_such_queue"),
        (filter(json!({"queue": 5})), "/filter/queue", "wrong_type"),
        (filter(json!({"name": ["a"]})), "/filter/name", "wrong_type"),
        (filter(json!({"label": "team"})), "/filter/label", "not_a_label"),
        (filter(json!({"label": ["a:b", "c"]})), "/filter/label", "not_a_label"),
        (filter(json!({"label": []})), "/filter/label", "empty"),
        (filter(json!({"label": {"a": "b"}})), "/filter/label", "wrong_type"),
        (filter(json!({"created_after": "yesterday"})), "/filter/created_after", "not_a_time"),
        (asked(json!({"rate": 5})), "/rate", "wrong_type"),
        (asked(json!({"rate": {"per": "1s"}})), "/rate/limit", "missing"),
        (asked(json!({"rate": {"limit": 0, "per": "1s"}})), "/rate/limit", "out_of_range"),
        (asked(json!({"rate": {"limit": 5}})), "/rate/per", "missing"),
        (asked(json!({"rate": {"limit": 5, "per": "0s"}})), "/rate/per", "out_of_range"),
        (asked(json!({"dry_run": "yes"})), "/dry_run", "wrong_type"),
        (asked(json!({"ignore_dependencies": true})), "/ignore_dependencies", "conflict"),
        (asked(json!({"ignore_dependencies": 1})), "/ignore_dependencies", "wrong_type"),
        (asked(json!({"actions": "cancel"})), "/actions", "unknown_field"),
    ] {
        let problem = bulk(&server, body.clone()).await.problem(422, "invalid");
        let found = (&problem["errors"][0]["pointer"], &problem["errors"][0]["code"]);
        assert_eq!(found, (&json!(pointer), &json!(code)), "{body}: {problem}");
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{body}: {problem}");
    }
    let hinted = bulk(&server, filter(json!({"state": "runing"}))).await.expect(422);
    assert!(
        hinted["detail"].as_str().is_some_and(|text| text.contains("did you mean \"running\"?")),
        "{hinted}"
    );
    let nowhere = json!({"filter": {"queue": "nowhere"}, "dry_run": true});
    let problem = bulk(&server, asked(nowhere)).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/filter/queue");
    server.send("POST", "/v1/bulk", &[], "").await.problem(400, "malformed");
    server.send("POST", "/v1/bulk?dry_run=true", &[], "{}").await.problem(400, "invalid_query");
    for id in ["bulk_00000000000000000000000000", "nothing", "task_00000000000000000000000000"] {
        server.get(&format!("/v1/bulk/{id}")).await.problem(404, "not_found");
        server.post(&format!("/v1/bulk/{id}/cancel"), Value::Null).await.problem(404, "not_found");
    }
    assert_eq!(server.get("/v1/bulk").await.expect(200)["data"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn so_many_may_run_and_all_are_listed_newest_first() {
    let server = RealServer::start().await;
    create_many(&server, "t", 2, json!({})).await;
    // The first task uses the rate up, so that the second one is waited for.
    let rate = json!({"limit": 1, "per": "1h"});
    let trigger = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let first = begin(&server, trigger.clone()).await;
    until(&server, &first, |bulk| bulk["applied"] == 1).await;
    create_many(&server, "more", 40, json!({})).await;
    let mut ids = vec![first.clone()];
    for _ in 1..limits::BULKS_RUNNING_MAX {
        ids.push(begin(&server, trigger.clone()).await);
    }
    let problem = bulk(&server, trigger.clone()).await.problem(409, "too_many");
    assert_eq!(problem["detail"], "there are 16 bulks that run, and there may be no more");
    server.post(&format!("/v1/bulk/{first}/cancel"), Value::Null).await.expect(200);
    ids.push(begin(&server, trigger).await);

    ids.reverse();
    let mut listed = Vec::new();
    let mut path = "/v1/bulk?limit=5".to_string();
    loop {
        let page = server.get(&path).await.expect(200);
        let rows = page["data"].as_array().expect("a list");
        listed.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_string()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/bulk?limit=5&cursor={cursor}");
    }
    assert_eq!(listed, ids);
    server.get("/v1/bulk?limit=0").await.problem(400, "invalid_query");
    server.get("/v1/bulk?state=running").await.problem(400, "invalid_query");
    server.stop().await;
}

#[tokio::test]
async fn the_same_key_begins_one_bulk() {
    let server = RealServer::start().await;
    create_many(&server, "t", 3, json!({})).await;
    let body = json!({"action": "cancel", "filter": {"state": "running"}}).to_string();
    let keyed = [("idempotency-key", "k")];
    let first = server.send("POST", "/v1/bulk", &keyed, body.clone()).await;
    first.expect(202);
    let again = server.send("POST", "/v1/bulk", &keyed, body).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(server.get("/v1/bulk").await.expect(200)["data"].as_array().map(Vec::len), Some(1));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_never_given_is_made_from_the_bulk() {
    let server = TestServer::start().await;
    let body = json!({"action": "cancel", "filter": {"state": "running"}}).to_string();
    let once = Once {
        claim: ClaimKey(fingerprint(&[b"idempotency", b"/v1/bulk", b"k"])),
        request: fingerprint(&[body.as_bytes()]),
    };
    let settings = Settings { command: Command::Cancel, filter: Filter::default(), rate: None };
    let id = type_id("bulk", &[1; 16]);
    let ask = Submission::Bulk(id.clone(), BulkAsk::Begin(Box::new(settings), None));
    server.engine().submit(Submission::Once(once, Box::new(ask))).await.expect("it is durable");
    let answer = server.send("POST", "/v1/bulk", &[("idempotency-key", "k")], body).await;
    assert_eq!(answer.expect(202)["id"], json!(id));
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    assert_eq!(server.get("/v1/bulk").await.expect(200)["data"].as_array().map(Vec::len), Some(1));
    server.stop().await;
}
