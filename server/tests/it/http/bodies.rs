//! What a webhook's body may be: its type, its size, its JSON (contract, section 3).

use serde_json::json;

use crate::support::TestServer;

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

#[tokio::test]
async fn a_hundred_thousand_deep_is_refused_and_a_hundred_are_fine() {
    let server = TestServer::start().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| {
            format!("{{\"event\":\"ping\",\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth))
        };
        let problem = server.send("POST", "/webhook", &[], nested(100_000)).await.problem(400, "malformed");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|text| text.starts_with("recursion limit exceeded at line 1"))
        );
        assert_eq!(
            server.send("POST", "/webhook", &[], nested(100)).await.expect(200)["outcome"],
            "recorded"
        );
    }
    server.get("/healthz").await.expect(200);
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
