//! What was received, and taking it in once more: `/v1/events` (contract, section 3).

use serde_json::{Value, json};

use crate::support::{TestServer, Worker, task_for, with};

async fn event(server: &TestServer, answer: &Value) -> Value {
    let id = answer["event_id"].as_str().expect("an id");
    server.get(&format!("/v1/events/{id}")).await.expect(200)
}

async fn replay(server: &TestServer, answer: &Value) -> Value {
    let id = answer["event_id"].as_str().expect("an id");
    server.send("POST", &format!("/v1/events/{id}/replay"), &[], "").await.expect(200)
}

/// The ids on all pages of a list, and how many pages there were.
async fn walk(server: &TestServer, path: &str) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = server.get(&format!("{path}{cursor}")).await.expect(200);
        pages += 1;
        let data = page["data"].as_array().expect("a list");
        ids.extend(data.iter().map(|row| row["id"].as_str().expect("an id").to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn an_event_has_its_headers_its_raw_body_and_what_it_did_and_why() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let body = "{ \"event\" : \"task.completed\",\n  \"task_id\": 123, \"attempt\": 2 }";
    let headers = [
        ("webhook-id", "msg_1"),
        ("x-custom", "kept"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
    ];
    let answer = server.send("POST", "/webhook", &headers, body).await.expect(200);
    let event = event(&server, &answer).await;
    assert_eq!(event["id"], answer["event_id"]);
    for (member, wanted) in [
        ("source", json!("default")),
        ("type", json!("task.completed")),
        ("task", json!("123")),
        ("attempt", json!(2)),
        ("delivery_id", json!("msg_1")),
        ("outcome", json!("ignored")),
        ("reason", json!("unknown_attempt")),
        ("duplicate_of", Value::Null),
        ("replay_of", Value::Null),
        ("body", json!(body)),
    ] {
        assert_eq!(event[member], wanted, "{member}");
    }
    assert_eq!(event["headers"]["x-custom"], "kept");
    let shown = event.to_string();
    assert!(!shown.contains("Bearer") && !shown.contains("session"), "credentials are not kept: {event}");
    let at = event["received_at"].as_str().expect("a time");
    assert!(at.len() == "2026-11-23T15:21:37.120Z".len() && at.ends_with('Z'), "{at}");
    server.stop().await;
}

#[tokio::test]
async fn repeated_headers_are_joined_in_their_order() {
    let server = TestServer::start().await;
    let headers = [("accept", "b/c"), ("x-one", "1"), ("accept", "a"), ("cookie", "x"), ("cookie", "y")];
    let answer = server.send("POST", "/webhook", &headers, "{}").await.expect(200);
    let event = event(&server, &answer).await;
    assert_eq!((&event["headers"]["accept"], &event["headers"]["x-one"]), (&json!("b/c, a"), &json!("1")));
    assert_eq!(event["headers"]["cookie"], "[redacted], [redacted]");
    server.stop().await;
}

#[tokio::test]
async fn a_duplicate_is_listed_and_names_its_original() {
    let server = TestServer::start().await;
    let headers = [("webhook-id", "msg_1")];
    let first = server.send("POST", "/webhook", &headers, "{\"event\": \"ping\"}").await.expect(200);
    server.send("POST", "/webhook", &headers, "{\"event\": \"ping\"}").await.expect(200);
    let listed = server.get("/v1/events?outcome=duplicate").await.expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    let duplicate = &listed["data"][0];
    assert_eq!(duplicate["duplicate_of"], first["event_id"]);
    assert_ne!(duplicate["id"], first["event_id"]);
    server.stop().await;
}

#[tokio::test]
async fn events_are_listed_newest_first_in_pages_and_by_filters() {
    let server = TestServer::start().await;
    server.create(json!({"id": "a"})).await;
    server.create(json!({"id": "b"})).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        for body in [
            json!({"event": "task_progress", "task_id": "a", "progress": f64::from(number) / 10.0}),
            json!({"event": "task.progress", "task_id": "b"}),
            json!({"event": "ping"}),
            json!({"event": "task_completed", "task_id": "a", "attempt": 7}),
        ] {
            ids.push(server.webhook(body).await["event_id"].as_str().expect("an id").to_string());
        }
    }
    ids.reverse();
    assert_eq!(walk(&server, "/v1/events?").await, (ids.clone(), 1));
    assert_eq!(walk(&server, "/v1/events?limit=7").await, (ids.clone(), 3));
    assert_eq!(walk(&server, "/v1/events?limit=10").await, (ids.clone(), 2), "no empty page at the end");
    assert_eq!(walk(&server, "/v1/events?limit=1").await, (ids.clone(), 20));
    for (filter, count) in [
        ("source=default", 20),
        ("source=other", 0),
        ("task=a", 10),
        ("task=b", 5),
        ("task=c", 0),
        ("outcome=applied", 10),
        ("outcome=ignored", 5),
        ("outcome=recorded", 5),
        ("outcome=unmatched", 0),
        ("type=task_progress", 5),
        ("type=task.progress", 5),
        ("type=ping", 5),
        ("task=a&type=task_progress&outcome=applied&source=default", 5),
        ("task=b&outcome=ignored", 0),
    ] {
        for limit in ["", "&limit=2", "&limit=5"] {
            let (found, _) = walk(&server, &format!("/v1/events?{filter}{limit}")).await;
            assert_eq!(found.len(), count, "{filter}{limit}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_400() {
    let server = TestServer::start().await;
    for (query, hint) in [
        ("tsak=a", "did you mean \"task\"?"),
        ("state=running", "\"state\" is not known here"),
        ("limit=0", "limit must be from 1 to 1000"),
        ("limit=1001", "limit must be from 1 to 1000"),
        ("limit=many", "limit must be from 1 to 1000"),
        ("limit=1&limit=2", "only once"),
        ("task=a&task=b", "only once"),
        ("cursor=x", "no cursor of a list"),
        ("outcome=aplied", "did you mean \"applied\"?"),
        ("outcome=nothing", "\"nothing\" is no outcome"),
    ] {
        let problem = server.get(&format!("/v1/events?{query}")).await.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(hint)), "{query}: {problem}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_is_not_there_is_404() {
    let server = TestServer::start().await;
    for id in ["evt_00000000000000000000000000", "evt_", "task_00000000000000000000000000", "x", "%20", "%ff"]
    {
        server.get(&format!("/v1/events/{id}")).await.problem(404, "not_found");
        server.post(&format!("/v1/events/{id}/replay"), Value::Null).await.problem(404, "not_found");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_replay_is_a_new_event_past_de_duplication() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let body = json!({"event": "task_progress", "task_id": "123", "progress": 0.5}).to_string();
    let first = server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body.clone()).await.expect(200);
    server.webhook(json!({"event": "task_progress", "task_id": "123", "progress": 0.75})).await;

    let path = format!("/v1/events/{}/replay", first["event_id"].as_str().expect("an id"));
    server.post(&path, json!({"zz": 1})).await.problem(422, "invalid");
    let again = replay(&server, &first).await;
    assert_eq!((&again["outcome"], &again["task_state"]), (&json!("applied"), &json!("running")));
    assert_ne!(again["event_id"], first["event_id"]);
    assert_eq!(server.task("123").await["progress"], 0.5);
    let (new, old) = (event(&server, &again).await, event(&server, &first).await);
    assert_eq!(new["replay_of"], old["id"]);
    assert_eq!((&new["body"], &new["type"], &new["task"]), (&old["body"], &old["type"], &old["task"]));
    assert_eq!(new["delivery_id"], Value::Null, "it claims nothing");

    // A replay can be replayed, and the claim of the first stands.
    assert_eq!(replay(&server, &again).await["outcome"], "applied");
    let repeat = server.send("POST", "/webhook", &[("webhook-id", "msg_1")], body).await.expect(200);
    assert_eq!((&repeat["outcome"], &repeat["event_id"]), (&json!("duplicate"), &first["event_id"]));
    server.stop().await;
}

#[tokio::test]
async fn a_duplicate_is_replayed_as_its_original() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let body = json!({"event": "task_progress", "task_id": "123", "progress": 0.5}).to_string();
    let headers = [("webhook-id", "msg_1")];
    let first = server.send("POST", "/webhook", &headers, body.clone()).await.expect(200);
    server.send("POST", "/webhook", &headers, body).await.expect(200);
    let duplicate = server.get("/v1/events?outcome=duplicate").await.expect(200)["data"][0]["id"].clone();
    let again = replay(&server, &json!({"event_id": duplicate})).await;
    assert_eq!(again["outcome"], "applied");
    assert_eq!(event(&server, &again).await["replay_of"], first["event_id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_replay_means_what_it_would_mean_now() {
    let server = TestServer::start().await;
    let early = server.webhook(json!({"event": "task_failed", "task_id": "123", "error": "no"})).await;
    assert_eq!(early["outcome"], "unmatched");
    server.create(json!({"id": "123"})).await;
    server.end_of("123").await;
    assert_eq!(replay(&server, &early).await["reason"], "terminal");
    server.post("/v1/tasks/123/retry", json!({})).await.expect(200);
    let again = replay(&server, &early).await;
    assert_eq!((&again["outcome"], &again["task_state"]), (&json!("applied"), &json!("failed")));
    server.stop().await;
}

#[tokio::test]
async fn what_came_by_a_callback_url_is_replayed_about_the_same_attempt() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let retry = json!({"retry": {"initial": "1ms", "max": "1ms"}, "completion": "callback"});
    server.create(with(task_for(&worker, "123"), retry)).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    let path = url.strip_prefix(&server.url).expect("a URL of this server").to_string();
    let progress = server.post(&path, json!({"event": "task_progress", "progress": 0.5})).await.expect(200);
    assert_eq!(progress["outcome"], "applied");
    assert_eq!(replay(&server, &progress).await["outcome"], "applied");
    call.status(500);
    let second = worker.call().await;
    assert_eq!(replay(&server, &progress).await["outcome"], "stale");
    second.status(202);
    server.stop().await;
}

/// The rejected requests that are kept, newest first: source, reason and body of each.
async fn rejected(server: &TestServer) -> Vec<(String, String, String)> {
    let listed = server.get("/v1/events?outcome=rejected").await.expect(200);
    let text = |event: &Value, member: &str| event[member].as_str().expect("text").to_string();
    let data = listed["data"].as_array().expect("a list").iter();
    data.map(|event| (text(event, "source"), text(event, "reason"), text(event, "body"))).collect()
}

/// Replays the newest rejected request, and checks that it cannot be.
async fn is_not_replayable(server: &TestServer) {
    let listed = server.get("/v1/events?outcome=rejected").await.expect(200);
    let id = listed["data"][0]["id"].as_str().expect("an id").to_string();
    let answer = server.post(&format!("/v1/events/{id}/replay"), Value::Null).await;
    answer.problem(409, "not_replayable");
}

#[tokio::test]
async fn what_was_sent_to_an_unknown_source_is_kept_as_rejected() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let body = json!({"event": "task_completed", "task_id": "123"}).to_string();
    let headers = [("webhook-id", "msg_1")];
    let answer = server.send("POST", "/webhook/shop", &headers, body.clone()).await;
    let detail = answer.problem(404, "not_found")["detail"].as_str().expect("text").to_string();
    assert_eq!(rejected(&server).await, [("shop".to_string(), detail, body.clone())]);
    assert_eq!(server.get("/v1/events?source=shop").await.expect(200)["data"][0]["task"], Value::Null);
    // There is still no such source.
    is_not_replayable(&server).await;
    assert_eq!(server.task("123").await["state"], "running");
    // It has claimed nothing.
    let sent = server.send("POST", "/webhook", &headers, body).await.expect(200);
    assert_eq!(sent["outcome"], "applied");

    let long = "s".repeat(10_000);
    server.send("POST", &format!("/webhook/{long}"), &[], "{}").await.problem(404, "not_found");
    let (source, reason, _) = rejected(&server).await.remove(0);
    assert!(source.len() <= 64 && reason.len() <= 1_024, "{source} {reason}");
    server.stop().await;
}

#[tokio::test]
async fn what_was_rejected_at_a_callback_url_is_kept_and_cannot_be_replayed() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "123")).await;
    server.create(json!({"id": "124"})).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    let path = url.strip_prefix(&server.url).expect("a URL of this server").to_string();
    let about_another = json!({"event": "task_completed", "task_id": "124"}).to_string();
    for (path, status) in [(format!("{path}A"), 404), (path.clone(), 422)] {
        let answer = server.send("POST", &path, &[("webhook-id", "msg_1")], about_another.clone()).await;
        let detail = answer.expect(status)["detail"].as_str().expect("text").to_string();
        let reason = format!("at a callback URL: {detail}");
        assert_eq!(rejected(&server).await[0], ("default".to_string(), reason, about_another.clone()));
        let list = server.get("/v1/events").await.expect(200);
        assert!(!list.to_string().contains(path.strip_prefix("/callback/").expect("a token")), "{list}");
        is_not_replayable(&server).await;
    }
    assert_eq!(rejected(&server).await.len(), 2, "a replay that is refused leaves nothing");
    assert_eq!(server.task("124").await["state"], "running");
    call.status(200);
    server.end_of("123").await;
    server.stop().await;
}
