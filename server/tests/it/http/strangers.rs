//! What an open server answers to requests that do not come from this machine's own hand (contract, section 11).

use serde_json::json;

use crate::support::{Answer, TestServer};

/// Headers by which a request is known not to be this machine's own.
const STRANGERS: [(&str, &str); 16] = [
    ("host", "example.com"),
    ("host", "127.0.0.1.nip.io"),
    ("host", "localhost.example.com"),
    ("host", "10.0.0.1:8420"),
    ("host", "0.0.0.0"),
    ("host", "[fe80::1]"),
    ("host", "2130706433"),
    ("forwarded", "for=1.2.3.4"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "localhost"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-anything", ""),
    ("origin", "https://evil.example"),
    ("origin", "null"),
    ("origin", "http://localhost:1"),
    ("origin", "file://"),
];

async fn send(server: &TestServer, method: &str, path: &str, header: (&str, &str)) -> Answer {
    let headers = [("content-type", "application/json"), header];
    server.send(method, path, &headers, if method == "POST" { "{}" } else { "" }).await
}

#[tokio::test]
async fn a_stranger_is_answered_on_webhook_callback_and_healthz() {
    let server = TestServer::start().await;
    for header in STRANGERS {
        for path in ["/webhook", "/webhook/default"] {
            let answer = send(&server, "POST", path, header).await.expect(200);
            assert_eq!(answer["outcome"], "recorded", "{header:?}");
        }
        send(&server, "POST", "/callback/x", header).await.problem(404, "not_found");
        send(&server, "GET", "/healthz", header).await.expect(200);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_is_answered_nowhere_else() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    for header in STRANGERS {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/readyz"),
            ("GET", "/openapi.json"),
            ("GET", "/v1/tasks"),
            ("POST", "/v1/tasks"),
            ("POST", "/v1/tasks/batch"),
            ("GET", "/v1/tasks/123"),
            ("GET", "/v1/tasks/123/history"),
            ("POST", "/v1/tasks/123/cancel"),
            ("GET", "/v1/events"),
            ("OPTIONS", "/v1/tasks"),
            ("GET", "/nothing"),
            ("GET", "/webhooks"),
            ("GET", "/healthz/"),
            ("GET", "//healthz"),
            ("GET", "/Healthz"),
        ] {
            let problem = send(&server, method, path, header).await.problem(403, "open_server");
            let detail = problem["detail"].as_str().expect("text");
            assert!(detail.contains("/webhook, /callback and /healthz only"), "{detail}");
        }
        // A path that only begins like an open one leads nowhere.
        for path in [
            "/webhook/../v1/tasks",
            "/callback/../v1/tasks",
            "/webhook/%2e%2e/v1/tasks",
            "/webhook//v1/tasks",
        ] {
            let answer = send(&server, "GET", path, header).await;
            assert!([403, 404, 405].contains(&answer.status), "{path}: {}", answer.status);
        }
    }
    assert_eq!(server.task("123").await["state"], "running");
    server.stop().await;
}

#[tokio::test]
async fn this_machine_by_any_of_its_names_is_answered_everywhere() {
    let server = TestServer::start().await;
    let port = server.url.rsplit(':').next().expect("a port");
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]"] {
        for host in [host.to_string(), format!("{host}:{port}"), format!("{host}:80")] {
            send(&server, "GET", "/v1/tasks", ("host", &host)).await.expect(200);
        }
    }
    let own = server.url.clone();
    send(&server, "POST", "/v1/tasks", ("origin", &own)).await.expect(201);
    server.stop().await;
}
