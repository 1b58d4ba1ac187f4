//! What a webhook's body may be: its type, its size, its JSON (contract, section 3).

use serde_json::json;

use crate::support::{TestServer, Worker};

#[tokio::test]
async fn any_content_type_is_read_as_json_without_an_origin() {
    let server = TestServer::start().await;
    for content_type in [
        None,
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        // What `curl -d` says.
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
        Some("application/octet-stream"),
        Some("no content type at all"),
    ] {
        let headers: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
        let answer = server.send("POST", "/webhook", &headers, json!({"event": "ping"}).to_string()).await;
        assert_eq!(answer.expect(200)["outcome"], "recorded", "{content_type:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn with_an_origin_only_json_is_read() {
    let server = TestServer::start().await;
    let own = server.url.clone();
    for origin in [own.as_str(), "https://evil.example", "null"] {
        for (content_type, status) in [
            (None, 415),
            (Some("text/plain"), 415),
            (Some("application/x-www-form-urlencoded"), 415),
            (Some("multipart/form-data; boundary=json"), 415),
            (Some("text/plain; application/json"), 415),
            (Some("text/plain; x=\"a;json\""), 415),
            (Some("application/json"), 200),
            (Some("Application/JSON; charset=utf-8"), 200),
            (Some("application/cloudevents+json"), 200),
        ] {
            let mut headers = vec![("origin", origin)];
            headers.extend(content_type.map(|value| ("content-type", value)));
            let answer =
                server.send("POST", "/webhook", &headers, json!({"event": "ping"}).to_string()).await;
            match status {
                415 => drop(answer.problem(415, "not_json")),
                _ => assert_eq!(answer.expect(200)["outcome"], "recorded", "{content_type:?} from {origin}"),
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_one_json_object_and_a_fault_has_line_and_column() {
    let server = TestServer::start().await;
    for (body, wanted) in [
        ("", "the body is empty; send a JSON object"),
        (" \r\n\t ", "the body is empty; send a JSON object"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        (
            "{\"event\": \"task_completed\",\n \"task_id\": \"12",
            "EOF while parsing a string at line 2 column 15",
        ),
        ("{\"event\": \"a\",\n \"event\": \"b\"}", "the key \"event\" is there twice at line 2 column 8"),
        ("{\"x\": [{\"b\": 1,\n\n \"\\u0062\": 2}]}", "the key \"b\" is there twice at line 3 column 9"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("{\"a\": 01}", "invalid number at line 1 column 8"),
        ("{\"a\": NaN}", "expected value at line 1 column 7"),
        ("{'a': 1}", "key must be a string at line 1 column 2"),
        ("event=task_completed&task_id=123", "expected value at line 1 column 1"),
        ("[{\"event\": \"ping\"}]", "the body must be a JSON object"),
        ("\"ping\"", "the body must be a JSON object"),
        ("null", "the body must be a JSON object"),
    ] {
        for path in ["/webhook", "/v1/tasks", "/v1/tasks/batch"] {
            let problem = server.send("POST", path, &[], body).await.problem(400, "malformed");
            assert_eq!(problem["detail"], wanted, "{path} {body}");
        }
    }
    for bytes in
        [&b"{\"event\": \"\xff\xfe\"}"[..], &b"{\"event\": \"\xed\xa0\x80\"}"[..], &b"\xff\xfe{\x00}\x00"[..]]
    {
        server.send("POST", "/webhook", &[], bytes).await.problem(400, "malformed");
    }
    server.has_taken_nothing().await;
    server.stop().await;
}

/// A number within so many lists or objects.
fn nested(depth: usize, (open, close): (&str, &str)) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

#[tokio::test]
async fn a_hundred_thousand_deep_is_refused_and_a_hundred_are_fine() {
    let server = TestServer::start().await;
    for brackets in [("[", "]"), ("{\"a\":", "}")] {
        let send = async |depth: usize| {
            let body = format!("{{\"event\":\"ping\",\"x\":{}}}", nested(depth - 1, brackets));
            server.send("POST", "/webhook", &[], body).await
        };
        assert_eq!(send(100).await.expect(200)["outcome"], "recorded");
        for depth in [101, 128, 100_000] {
            let problem = send(depth).await.problem(400, "malformed");
            let detail = problem["detail"].as_str().expect("text");
            assert!(detail.starts_with("nested more than 100 deep at line 1 column "), "{detail}");
        }
    }
    server.get("/healthz").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn what_is_as_deep_as_it_may_be_can_be_read_back_wherever_it_is_shown() {
    let server = TestServer::start().await;
    let mut worker = Worker::start().await;
    let deep = nested(99, ("[", "]"));
    for (id, answer, is_result) in
        [("a", nested(100, ("[", "]")), true), ("b", nested(101, ("{\"a\":", "}")), false)]
    {
        let task = format!("{{\"id\": \"{id}\", \"url\": \"{}/\", \"payload\": {deep}}}", worker.url);
        server.send("POST", "/v1/tasks", &[], task).await.expect(201);
        worker.call().await.answer(200, &[], answer);
        let task = server.end_of(id).await;
        assert_eq!((&task["state"], task["result"].is_null()), (&json!("succeeded"), !is_result));
    }
    server.create(json!({"id": "c"})).await;
    let done = format!("{{\"event\": \"task_completed\", \"task_id\": \"c\", \"result\": {deep}}}");
    server.send("POST", "/webhook", &[], done).await.expect(200);
    // serde_json reads 127 deep; reading at all is what is shown here.
    for path in [
        "/v1/tasks",
        "/v1/tasks/a",
        "/v1/tasks/a/history",
        "/v1/tasks/c",
        "/v1/tasks/c/history",
        "/v1/events",
    ] {
        server.get(path).await.expect(200);
    }
    let history = server.get("/v1/tasks/c/history").await.expect(200);
    assert!(history["data"][2]["detail"]["result"].is_array());
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_one_mib_is_taken_with_its_result_and_one_byte_more_is_413() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let body = |bytes: usize| {
        let around = json!({"event": "task_completed", "task_id": "123", "result": ""}).to_string();
        around.replace("\"result\":\"\"", &format!("\"result\":\"{}\"", "x".repeat(bytes - around.len())))
    };
    let problem = server.send("POST", "/webhook", &[], body((1 << 20) + 1)).await.problem(413, "too_large");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("1048576 bytes")), "{problem}");
    let answer = server.send("POST", "/webhook", &[], body(1 << 20)).await.expect(200);
    assert_eq!(answer["outcome"], "applied");
    let result = server.task("123").await["result"].as_str().map(str::len);
    assert!(result.is_some_and(|bytes| bytes > (1 << 20) - 100), "{result:?}");
    server.stop().await;
}
