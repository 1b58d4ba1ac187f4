//! Who may use which route (contract, section 11), through the real binary.

use serde_json::{Value, json};
use taskhook::http::{Access, rules};
use taskhook_core::access::Role;

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, Worker, task_for};

const BODY: &str = "{}";

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn with_key(server: &Api, key: &str, method: &str, path: &str, body: &str) -> Answer {
    server.send(method, path, &[("authorization", &bearer(key))], body.to_string()).await
}

async fn make(server: &Api, key: &str, said: Value) -> Answer {
    with_key(server, key, "POST", "/v1/keys", &said.to_string()).await
}

async fn key(server: &Api, root: &str, said: Value) -> String {
    make(server, root, said).await.expect(201)["key"].as_str().expect("a key").into()
}

/// A server with a key, and the key.
async fn closed() -> (RealServer, String) {
    let server = RealServer::start().await;
    let made = server.post("/v1/keys", json!({"role": "admin", "name": "root"})).await.expect(201);
    assert_eq!(made["closes_the_server"], true);
    (server, made["key"].as_str().expect("a key").into())
}

/// A path of a route, with something in each of its places.
fn some(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// G18: nobody reads or changes what their key does not allow.
#[tokio::test]
async fn every_route_is_for_whom_its_rule_says() {
    let (server, root) = closed().await;
    let mut keys = vec![(None, String::new()), (None, "thk_unknown".into())];
    for role in Role::ALL {
        let made = key(&server, &root, json!({"role": role.name(), "expires_in": "1h"})).await;
        keys.push((Some(role), made));
    }
    let all = rules();
    let mut rules: Vec<_> = all.iter().collect();
    rules.sort_by_key(|(path, method, _)| (*path, method.to_string()));
    assert!(rules.len() > 45, "{}", rules.len());
    for (path, method, access) in rules {
        let Access::Key(needed) = access else { continue };
        for (role, key) in &keys {
            let answer = with_key(&server, key, method.as_str(), &some(path), BODY).await;
            let route = format!("{method} {path} as {role:?}: {}", answer.text());
            match role {
                None => {
                    assert_eq!(answer.status, 401, "{route}");
                    assert!(answer.header("www-authenticate").is_some(), "{route}");
                }
                Some(role) if *role < needed => assert_eq!(answer.status, 403, "{route}"),
                Some(_) => assert!(![401, 403].contains(&answer.status), "{route}: {}", answer.status),
            }
        }
    }
    server.stop().await;
}

/// What the contract says of roles, route by route, written out: the rules are no other.
#[test]
fn the_rules_are_those_of_the_contract() {
    let mut lines: Vec<String> = rules()
        .iter()
        .map(|(path, method, access)| match access {
            Access::Key(role) => format!("{} {method} {path}", role.name()),
            other => format!("{other:?} {method} {path}"),
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_path_that_only_looks_like_an_open_one_is_not() {
    let (server, root) = closed().await;
    for path in [
        "/v1/tasks/healthz",
        "/v1/tasks/webhook",
        "/v1/tasks/..%2fhealthz",
        "/healthz/",
        "//healthz",
        "/HEALTHZ",
        "/healthz;x",
        "/healthz%2f..%2fv1%2ftasks",
        "/v1/tasks?/healthz",
        "/v1/tasks#/healthz",
        "/webhook/../v1/tasks",
        "/callback/../v1/tasks",
        "/metrics",
        "/openapi.json",
        "/",
        "/nothing",
    ] {
        let Some(answer) = server.try_send("GET", path, &[], "").await else { continue };
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(server.get(path).await.status, status, "{path}");
        assert_eq!(server.send("HEAD", path, &[], "").await.status, status, "HEAD {path}");
    }
    // Things may be called so; they are things all the same.
    with_key(&server, &root, "POST", "/v1/tasks", r#"{"id": "healthz"}"#).await.expect(201);
    server.get("/v1/tasks/healthz").await.problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_of_use_until_it_is_revoked_or_expires() {
    let (server, root) = closed().await;
    let made = make(&server, &root, json!({"role": "write", "name": "billing", "expires_in": "2s"})).await;
    let made = made.expect(201);
    let text = made["key"].as_str().expect("a key").to_string();
    assert!(text.starts_with("thk_") && text.starts_with(made["hint"].as_str().expect("a hint")), "{made}");
    assert_eq!(made["closes_the_server"], false);
    with_key(&server, &text, "GET", "/v1/tasks", "").await.expect(200);

    let listed = with_key(&server, &root, "GET", "/v1/keys", "").await.expect(200);
    let names: Vec<&Value> =
        listed["data"].as_array().expect("a list").iter().map(|key| &key["name"]).collect();
    assert_eq!(names, [&json!("billing"), &json!("root")]);
    assert!(!listed.to_string().contains(&text[8..]), "{listed}");
    let page = with_key(&server, &root, "GET", "/v1/keys?limit=1", "").await.expect(200);
    let next = format!("/v1/keys?limit=1&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    let next = with_key(&server, &root, "GET", &next, "").await.expect(200);
    assert_eq!((&next["data"][0]["name"], &next["next_cursor"]), (&json!("root"), &Value::Null));

    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await; // real time: it expires by the clock.
    with_key(&server, &text, "GET", "/v1/tasks", "").await.problem(401, "unauthorized");

    let other = key(&server, &root, json!({"role": "read"})).await;
    with_key(&server, &other, "GET", "/v1/tasks", "").await.expect(200);
    let listed = with_key(&server, &root, "GET", "/v1/keys", "").await.expect(200);
    let id = listed["data"].as_array().expect("a list").iter().find(|key| key["role"] == "read");
    let id = id.expect("it is there")["id"].as_str().expect("an id").to_string();
    assert_eq!(with_key(&server, &root, "DELETE", &format!("/v1/keys/{id}"), "").await.status, 204);
    with_key(&server, &other, "GET", "/v1/tasks", "").await.problem(401, "unauthorized");
    with_key(&server, &root, "DELETE", &format!("/v1/keys/{id}"), "").await.problem(404, "not_found");
    with_key(&server, &root, "DELETE", "/v1/keys/root", "").await.problem(409, "last_admin_key");

    // All of it outlives the process.
    let server = server.restart().await;
    server.get("/v1/tasks").await.problem(401, "unauthorized");
    with_key(&server, &root, "GET", "/v1/tasks", "").await.expect(200);
    with_key(&server, &other, "GET", "/v1/tasks", "").await.problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_new_key_is_said() {
    let server = RealServer::start().await;
    // The first one must be able to make others.
    let fault = |pointer: &str, code: &str| vec![(pointer.to_string(), code.to_string())];
    let post = async |said: Value| server.post("/v1/keys", said).await;
    assert_eq!(post(json!({"role": "write"})).await.faults(), fault("/role", "admin_first"));
    for (said, pointer, code) in [
        (json!({}), "/role", "missing"),
        (json!({"role": "root"}), "/role", "not_a_role"),
        (json!({"role": 5}), "/role", "wrong_type"),
        (json!({"role": "admin", "name": ""}), "/name", "not_a_name"),
        (json!({"role": "admin", "name": "key_x"}), "/name", "not_a_name"),
        (json!({"role": "admin", "name": "a\r\nb"}), "/name", "not_a_name"),
        (json!({"role": "admin", "expires_at": "2020-01-01T00:00:00Z"}), "/expires_at", "out_of_range"),
        (json!({"role": "admin", "expires_in": "0s"}), "/expires_at", "out_of_range"),
        (
            json!({"role": "admin", "expires_in": "1h", "expires_at": "2099-01-01T00:00:00Z"}),
            "/expires_in",
            "conflict",
        ),
        (json!({"role": "admin", "scopes": []}), "/scopes", "unknown_field"),
    ] {
        assert_eq!(post(said.clone()).await.faults(), fault(pointer, code), "{said}");
    }
    let headers = [("idempotency-key", "k1")];
    let kept = server.send("POST", "/v1/keys", &headers, r#"{"role": "admin"}"#).await;
    kept.problem(422, "not_repeatable");
    post(json!({"role": "admin", "name": "root"})).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn the_source_default_is_closed_once_there_is_a_key() {
    let server = RealServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.create(json!({"id": "b"})).await;
    let done = |id: &str| json!({"event": "task_completed", "task_id": id});
    assert_eq!(server.webhook(done("a")).await["outcome"], "applied");
    let root = server.post("/v1/keys", json!({"role": "admin"})).await.expect(201);
    let root = root["key"].as_str().expect("a key").to_string();

    let refused = server.post("/webhook", done("b")).await.problem(401, "unauthorized");
    assert_eq!(refused["detail"], "signature does not verify");
    let event = with_key(&server, &root, "GET", "/v1/events?limit=1", "").await.expect(200);
    let event = &event["data"][0];
    let reason = event["reason"].as_str().expect("a reason");
    assert!(reason.contains("has no verify") && reason.contains("API keys"), "{reason}");
    let id = event["id"].as_str().expect("an id").to_string();

    // Asked for by name, it is no different.
    server.post("/webhook/default", done("b")).await.problem(401, "unauthorized");
    let none = r#"{"verify": {"scheme": "none"}}"#;
    with_key(&server, &root, "PUT", "/v1/sources/default", none).await.expect(200);
    // What was refused then is taken in now.
    let replay = format!("/v1/events/{id}/replay");
    assert_eq!(with_key(&server, &root, "POST", &replay, "").await.expect(200)["outcome"], "applied");
    assert_eq!(server.webhook(done("b")).await["outcome"], "ignored");
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_may_write_reports_on_any_task() {
    let (server, root) = closed().await;
    let (write, read) = (
        key(&server, &root, json!({"role": "write", "name": "worker"})).await,
        key(&server, &root, json!({"role": "read"})).await,
    );
    let source = r#"{"verify": {"scheme": "github", "secrets": ["It's a Secret to Everybody"]}}"#;
    with_key(&server, &root, "PUT", "/v1/sources/github", source).await.expect(201);
    let hmac = r#"{"verify": {"scheme": "hmac", "header": "x-sig", "secrets": ["0123456789abcdef"]}}"#;
    with_key(&server, &root, "PUT", "/v1/sources/hmac", hmac).await.expect(201);
    for (id, source) in [("a", "default"), ("b", "github"), ("c", "hmac")] {
        let task = json!({"id": id, "source": source}).to_string();
        with_key(&server, &write, "POST", "/v1/tasks", &task).await.expect(201);
        let done = json!({"event": "task_completed", "task_id": id}).to_string();
        let refused = with_key(&server, &read, "POST", "/webhook", &done).await;
        refused.problem(403, "forbidden");
        with_key(&server, "thk_nobody", "POST", "/webhook", &done).await.problem(401, "unauthorized");
    }
    for (id, path) in [("a", "/webhook/hmac"), ("b", "/webhook"), ("c", "/webhook/default")] {
        let done = json!({"event": "task_completed", "task_id": id}).to_string();
        let taken = with_key(&server, &write, "POST", path, &done).await.expect(200);
        assert_eq!(
            (&taken["outcome"], &taken["task_state"]),
            (&json!("applied"), &json!("succeeded")),
            "{id}"
        );
    }
    let events = with_key(&server, &read, "GET", "/v1/events?limit=1", "").await.expect(200);
    let event = &events["data"][0];
    assert!(event["key"].as_str().is_some_and(|key| key.starts_with("key_")), "{event}");
    assert_eq!((&event["secret"], &event["headers"]["authorization"]), (&Value::Null, &json!("[redacted]")));
    server.stop().await;
}

#[tokio::test]
async fn a_worker_needs_no_key_and_loopback_must_be_allowed() {
    // An open server on loopback may call loopback; with a key it may no more, unless its settings say so.
    for allowed in [false, true] {
        let settings = if allowed { "[dispatch]\nallow = [\"127.0.0.0/8\"]\n" } else { "" };
        let server = RealServer::start_with(settings).await;
        let mut worker = Worker::start().await;
        let root = server.post("/v1/keys", json!({"role": "admin"})).await.expect(201);
        let root = root["key"].as_str().expect("a key").to_string();
        let task = task_for(&worker, "a");
        with_key(&server, &root, "POST", "/v1/tasks", &task.to_string()).await.expect(201);
        if allowed {
            let call = worker.call().await;
            let url = call.header("taskhook-callback-url");
            call.status(202);
            // The token is its proof.
            assert_eq!(
                server.call_back(&url, json!({"event": "task_completed"})).await["outcome"],
                "applied"
            );
        }
        let end = with_key(&server, &root, "GET", "/v1/tasks/a?wait=30s", "").await.expect(200);
        match allowed {
            true => assert_eq!(end["state"], "succeeded"),
            false => assert_eq!(end["error"]["code"], "egress_not_allowed", "{end}"),
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn every_change_is_written_down_with_who_made_it() {
    let (server, root) = closed().await;
    let write = key(&server, &root, json!({"role": "write", "name": "billing"})).await;
    let id = with_key(&server, &write, "POST", "/v1/tasks", r#"{"id": "t1"}"#).await;
    let request = id.header("request-id").expect("an id").to_string();
    let steps = [
        (&write, "POST", "/v1/tasks/batch", r#"{"tasks": [{"id": "t1"}, {"id": "t2"}, {"id": "t3"}]}"#, 201),
        (&write, "POST", "/v1/tasks", r#"{"id": "t4", "delay": "1h"}"#, 201),
        (&write, "POST", "/v1/tasks/t4/trigger", "", 200),
        (&write, "POST", "/v1/tasks/t1/cancel", "", 200),
        (&write, "POST", "/v1/tasks/t1/cancel", "", 200),
        (&write, "POST", "/v1/tasks/t1/retry", "", 200),
        (&write, "POST", "/v1/tasks/nobody/cancel", "", 404),
        (&root, "PUT", "/v1/queues/q", "{}", 201),
        (&write, "POST", "/v1/queues/q/pause", "", 200),
        (&write, "POST", "/v1/queues/q/resume", "", 200),
        (&root, "PUT", "/v1/schedules/s", r#"{"every": "1h", "task": {}}"#, 201),
        (&write, "POST", "/v1/schedules/s/pause", "", 200),
        (&write, "POST", "/v1/schedules/s/resume", "", 200),
        (&write, "POST", "/v1/schedules/s/trigger", "", 201),
        (
            &write,
            "POST",
            "/v1/schedules/s/backfill",
            r#"{"from": "2026-11-23T00:00:00Z", "to": "2026-11-23T01:00:00Z"}"#,
            202,
        ),
        (&root, "DELETE", "/v1/schedules/s", "", 204),
        (
            &root,
            "PUT",
            "/v1/sources/hook",
            r#"{"verify": {"scheme": "github", "secrets": ["0123456789abcdef"]}}"#,
            201,
        ),
        (&root, "POST", "/v1/sources/hook/rotate-secret", r#"{"secret": "0123456789abcdee"}"#, 200),
        (&root, "DELETE", "/v1/sources/hook", "", 204),
        (&write, "POST", "/v1/bulk", r#"{"action": "cancel", "filter": {"name": "x"}}"#, 202),
        (&root, "POST", "/v1/hold", "", 200),
        (&root, "POST", "/v1/hold", "", 200),
        (&root, "POST", "/v1/resume", "", 200),
        (&root, "DELETE", "/v1/keys/billing", "", 204),
    ];
    for (key, method, path, body, status) in steps {
        let answer = with_key(&server, key, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let log = with_key(&server, &root, "GET", "/v1/audit?limit=100", "").await.expect(200);
    let log: Vec<Value> = log["data"].as_array().expect("a list").iter().rev().cloned().collect();
    let bulk = log.iter().find(|entry| entry["action"] == "bulk.begin").expect("the bulk");
    assert!(bulk["subject"].as_str().is_some_and(|id| id.starts_with("bulk_")), "{bulk}");
    let line = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_string();
        let subject = text("subject");
        let subject = if subject.starts_with("bulk_") { "bulk_…".into() } else { subject };
        let by = entry["key"]["name"].as_str().unwrap_or("nobody");
        format!("{by} {} {subject} {}", text("action"), entry["count"])
    };
    insta::assert_snapshot!(log.iter().map(line).collect::<Vec<_>>().join("\n"), @r"
    nobody key.create root 1
    root key.create billing 1
    billing task.create t1 1
    billing task.create t2 2
    billing task.create t4 1
    billing task.trigger t4 1
    billing task.cancel t1 1
    billing task.retry t1 1
    root queue.define q 1
    billing queue.pause q 1
    billing queue.resume q 1
    root schedule.define s 1
    billing schedule.pause s 1
    billing schedule.resume s 1
    billing schedule.trigger s 1
    billing schedule.backfill s 1
    root schedule.delete s 1
    root source.define hook 1
    root source.rotate_secret hook 1
    root source.delete hook 1
    billing bulk.begin bulk_… 1
    root server.hold  1
    root server.resume  1
    root key.revoke billing 1
    ");
    assert!(log.iter().all(|entry| entry["address"] == "127.0.0.1"), "{log:?}");
    assert!(log.iter().any(|entry| entry["request_id"] == request.as_str()), "{log:?}");
    let of = with_key(&server, &root, "GET", "/v1/audit?subject=t1&action=task.cancel&key=billing", "").await;
    assert_eq!(of.expect(200)["data"].as_array().map(Vec::len), Some(1));
    with_key(&server, &root, "GET", "/v1/audit?who=me", "").await.problem(400, "invalid_query");
    server.stop().await;
}

/// A page of another site, and a tunnel: with a key, what counts is the key.
#[tokio::test]
async fn with_a_key_a_proxy_may_stand_in_between() {
    let (server, root) = closed().await;
    for header in
        [("host", "tasks.example.com"), ("x-forwarded-for", "1.2.3.4"), ("origin", "https://evil.example")]
    {
        let authorization = bearer(&root);
        let headers = [header, ("authorization", authorization.as_str())];
        server.send("GET", "/v1/tasks", &headers, "").await.expect(200);
        server.send("GET", "/v1/tasks", &[header], "").await.problem(401, "unauthorized");
        server.send("GET", "/readyz", &[header], "").await.expect(200);
    }
    for wrong in ["", "Bearer", "Bearer ", "Basic dGhrX3g6", "Bearer  thk_x", "bearer thk_", "thk_x"] {
        let answer = server.send("GET", "/v1/tasks", &[("authorization", wrong)], "").await;
        answer.problem(401, "unauthorized");
    }
    let lower = format!("bearer {root}");
    server.send("GET", "/v1/tasks", &[("authorization", &lower)], "").await.expect(200);
    // Two of them: the first counts, and another key behind it opens nothing.
    let twice = [("authorization", "Bearer thk_x"), ("authorization", &lower)];
    server.send("GET", "/v1/tasks", &twice, "").await.problem(401, "unauthorized");
    server.stop().await;
}
