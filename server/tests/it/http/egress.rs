//! Where a dispatch may go (contract, section 11): addresses that others try, in every spelling.

use serde_json::json;

use crate::binary::process::RealServer;

/// What no server may call that has named nothing: special ranges, metadata services, and other ways to write them.
const FORBIDDEN: [&str; 54] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[64:ff9b::a00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::a00:1]",
    "[100::1]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "0",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
    "localhost.",
    "%31%32%37.0.0.1",
];

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_called() {
    let server = RealServer::start().await;
    let root = server.post("/v1/keys", json!({"role": "admin"})).await.expect(201);
    let server = server.with_key(root["key"].as_str().expect("a key"));
    let mut sent = 0;
    for host in FORBIDDEN {
        let task =
            json!({"url": format!("http://{host}:8080/latest/meta-data/"), "retry": {"max_attempts": 1}});
        let made = server.post("/v1/tasks", task).await;
        if made.status == 422 {
            assert_eq!(made.faults()[0].0, "/url", "{host}");
            continue;
        }
        sent += 1;
        let id = made.expect(201)["id"].as_str().expect("an id").to_string();
        let end = server.end_of(&id).await;
        assert_eq!(end["state"], "failed", "{host}");
        let (code, message) = (&end["error"]["code"], end["error"]["message"].as_str().expect("text"));
        // A text that no resolver takes for an address is a name that nobody has.
        let is_refused = code == "egress_not_allowed" && message.contains("not allowed");
        assert!(is_refused || message.contains("does not resolve"), "{host}: {end}");
        let attempt = &server.get(&format!("/v1/tasks/{id}/history")).await.expect(200).to_string();
        assert!(!attempt.contains("\"status\":2"), "{host}: {attempt}");
    }
    assert!(sent > 40, "{sent}");
    server.stop().await;
}

#[tokio::test]
async fn an_open_server_calls_neither_itself_nor_a_port_of_another_service() {
    let server = RealServer::start().await;
    let own = format!("{}/v1/tasks", server.url);
    for (id, url, why) in [
        ("self", own.as_str(), "where this server itself listens"),
        ("smtp", "http://127.0.0.1:25/", "port 25 is below 1024"),
    ] {
        server.create(json!({"id": id, "url": url, "payload": {"id": "made"}})).await;
        let end = server.end_of(id).await;
        assert_eq!(
            (&end["state"], &end["error"]["code"]),
            (&json!("failed"), &json!("egress_not_allowed")),
            "{end}"
        );
        assert!(end["error"]["message"].as_str().is_some_and(|text| text.contains(why)), "{end}");
    }
    server.get("/v1/tasks/made").await.problem(404, "not_found");
    server.stop().await;
}
