//! Clients that are broken, slow or hostile: what they are told, and that the server goes on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use taskhook::http::{self, App, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::support::{Api, PATIENCE, TestServer};

/// A connection on which every byte is the test's own.
struct Raw(TcpStream);

impl Raw {
    async fn open(url: &str) -> Raw {
        let address = url.strip_prefix("http://").expect("http");
        Raw(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Writes all of it. A server that hangs up in between is no failure of the test.
    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// What comes until the server hangs up.
    async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        // A connection that is reset has ended too.
        let _ = read.expect("the server hangs up");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One answer: its status and its body.
    async fn answer(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(PATIENCE, self.0.read_u8()).await.expect("an answer");
            head.push(byte.unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&head))));
        }
        let head = String::from_utf8(head).expect("a head");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a body");
        (head[9..12].parse().expect("a status"), String::from_utf8(body).expect("UTF-8"))
    }
}

/// A request with a body, as its bytes.
fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

async fn goes_on(server: &TestServer) {
    server.get("/healthz").await.expect(200);
}

/// The same server on another port, with less patience.
async fn impatient(server: &TestServer, head_time: Duration, body_time: Duration) -> (Listener, String) {
    let settings = http::Settings { head_time, ..http::Settings::default() };
    listen(App { body_time, ..server.app() }, settings).await
}

async fn listen(app: App, settings: http::Settings) -> (Listener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listener = Listener::start(socket, http::router(Arc::new(app), http::Door::Main), None, settings)
        .expect("it listens");
    let url = format!("http://{}", listener.address());
    (listener, url)
}

#[tokio::test]
async fn a_413_reaches_a_client_that_is_still_sending() {
    let server = TestServer::start().await;
    let large = "x".repeat(2 << 20);
    for path in ["/webhook", "/webhook/default"] {
        let mut raw = Raw::open(&server.url).await;
        // All of it before it looks at what comes.
        raw.write(post(path, "", &large)).await;
        let (status, body) = raw.answer().await;
        assert_eq!(status, 413, "{body}");
        assert!(body.contains("\"code\":\"too_large\""), "{body}");
    }
    // Without a length, a piece at a time.
    let mut raw = Raw::open(&server.url).await;
    raw.write("POST /webhook HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..512 {
        raw.write(format!("1000\r\n{}\r\n", "x".repeat(4_096))).await;
    }
    raw.write("0\r\n\r\n").await;
    assert_eq!(raw.answer().await.0, 413);
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_without_end_is_given_up() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server.url).await;
    raw.write(format!(
        "POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        u64::MAX >> 1
    ))
    .await;
    let piece = vec![b'x'; 64 << 10];
    let sending = async {
        let mut sent = 0_usize;
        while raw.0.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    };
    // What the kernel holds on both sides comes on top of what is read.
    let sent = tokio::time::timeout(PATIENCE, sending).await.expect("the server hangs up");
    assert!((5 << 20..64 << 20).contains(&sent), "{sent} bytes");
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_headers_and_too_large_a_head_are_431() {
    let server = TestServer::start().await;
    for headers in [
        (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect::<String>(),
        (0..200).map(|n| format!("x-{n}: y\r\n")).collect(),
        format!("x-large: {}\r\n", "y".repeat(1 << 20)),
        format!("{}: y\r\n", "x".repeat(80 << 10)),
    ] {
        let mut raw = Raw::open(&server.url).await;
        raw.write(post("/webhook", &headers, "{}")).await;
        let answer = raw.rest().await;
        // Where the client is still sending, the connection may be reset before it has read.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        goes_on(&server).await;
    }
    let mut raw = Raw::open(&server.url).await;
    raw.write(format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(1 << 20))).await;
    let answer = raw.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Ninety are fine.
    let mut raw = Raw::open(&server.url).await;
    let headers: String = (0..90).map(|n| format!("x-{n}: y\r\n")).collect();
    raw.write(post("/webhook", &headers, "{}")).await;
    assert_eq!(raw.answer().await.0, 200);
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_never_completes_is_closed() {
    let server = TestServer::start().await;
    assert_eq!(http::Settings::default().head_time, Duration::from_secs(10));
    let (listener, url) = impatient(&server, Duration::from_millis(50), http::BODY_TIME).await;
    for begun in ["", "P", "POST /webhook HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let mut raw = Raw::open(&url).await;
        raw.write(begun).await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    // One that adds a byte now and then gains nothing.
    let mut raw = Raw::open(&url).await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    let trickling = async {
        while raw.0.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trickling).await.expect("the server hangs up");
    listener.stop(PATIENCE).await;
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_hung_up_on() {
    let server = TestServer::start().await;
    assert_eq!(http::Settings::default().write_time, Duration::from_secs(30));
    let settings = http::Settings { write_time: Duration::from_millis(200), ..http::Settings::default() };
    let (listener, url) = listen(server.app(), settings).await;
    server.create(json!({"id": "123"})).await;
    let result = "x".repeat(1_000_000);
    server.webhook(json!({"event": "task_completed", "task_id": "123", "result": result})).await;
    let asked = "GET /v1/tasks/123 HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let mut raw = Raw::open(&url).await;
    let asking = async { while raw.0.write_all(asked.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server hangs up");
    listener.stop(PATIENCE).await;
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn large_answers_that_nobody_takes_are_bounded() {
    let server = TestServer::start().await;
    let result = "x".repeat(1_000_000);
    for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        server.create(json!({"id": id})).await;
        server.webhook(json!({"event": "task_completed", "task_id": id, "result": result})).await;
    }
    // More than fits between two sockets, and room for one of them.
    let answers = Arc::new(Semaphore::new(10_000_000));
    let (listener, url) = listen(App { answers, ..server.app() }, http::Settings::default()).await;
    let mut idle = Raw::open(&url).await;
    idle.write("GET /v1/tasks HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    idle.0.read_u8().await.expect("the beginning of an answer");

    let port = Api::new(&url);
    let refused = port.get("/v1/tasks").await;
    let problem = refused.problem(503, "behind");
    assert!(refused.header("retry-after").is_some(), "{problem}");
    port.get("/v1/tasks?limit=1&state=failed").await.expect(200);
    port.webhook(json!({"event": "ping"})).await;
    drop(idle);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let whole = loop {
        let answer = port.get("/v1/tasks").await;
        if answer.status != 503 {
            break answer.expect(200);
        }
        assert!(tokio::time::Instant::now() < deadline, "its place never comes back");
    };
    assert_eq!(whole["data"].as_array().map(Vec::len), Some(8));
    assert_eq!(whole["data"][7]["result"].as_str().map(str::len), Some(result.len()));
    drop(port);
    listener.stop(PATIENCE).await;
    server.stop().await;
}

#[tokio::test]
async fn a_slow_body_gets_408() {
    let server = TestServer::start().await;
    let (listener, url) = impatient(&server, PATIENCE, Duration::from_millis(50)).await;
    for path in ["/webhook", "/v1/tasks", "/v1/tasks/batch", "/v1/tasks/123/retry"] {
        let mut raw = Raw::open(&url).await;
        raw.write(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{{")).await;
        let (status, body) = raw.answer().await;
        assert_eq!(status, 408, "{path}: {body}");
        assert!(body.contains("\"code\":\"slow_body\""), "{body}");
    }
    // One that adds a byte now and then gains nothing.
    let mut raw = Raw::open(&url).await;
    raw.write("POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{\"x\": \"").await;
    let mut now_and_then = tokio::time::interval(Duration::from_millis(10));
    let trickling = async {
        loop {
            tokio::select! {
                biased;
                answer = raw.0.readable() => break answer,
                _ = now_and_then.tick() => drop(raw.0.try_write(b"x")),
            }
        }
    };
    tokio::time::timeout(PATIENCE, trickling).await.expect("an answer").expect("a connection");
    assert_eq!(raw.answer().await.0, 408);
    listener.stop(PATIENCE).await;
    server.has_taken_nothing().await;
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_kept() {
    let server = TestServer::start().await;
    let whole = post("/webhook", "webhook-id: msg_1\r\n", "{\"event\": \"ping\"}");
    for left in [1, 5, 16] {
        let mut raw = Raw::open(&server.url).await;
        raw.write(&whole[..whole.len() - left]).await;
        let _ = raw.0.shutdown().await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.has_taken_nothing().await;
    let mut raw = Raw::open(&server.url).await;
    raw.write(whole).await;
    let (status, body) = raw.answer().await;
    assert_eq!(
        (status, body.contains("\"outcome\":\"recorded\"")),
        (200, true),
        "nothing was claimed: {body}"
    );
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_or_closed() {
    let server = TestServer::start().await;
    let tls_hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".repeat(10);
    for bytes in [
        b"hello\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"POST /webhook HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n".to_vec(),
        b"POST /webhook HTTP/1.1\r\nhost: localhost\r\nx\x00y: z\r\n\r\n".to_vec(),
        b"POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"
            .to_vec(),
        b"POST /webhook HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n{}".to_vec(),
        vec![0; 1_000],
        tls_hello,
    ] {
        let mut raw = Raw::open(&server.url).await;
        raw.write(&bytes).await;
        let answer = raw.rest().await;
        let shown = String::from_utf8_lossy(&bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
        goes_on(&server).await;
    }
    for body in ["z\r\n{}\r\n0\r\n\r\n", "ffffffffffffffffff\r\n{}", "2\r\n{}XX0\r\n\r\n"] {
        let mut raw = Raw::open(&server.url).await;
        raw.write(format!(
            "POST /webhook HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        ))
        .await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
    }
    server.has_taken_nothing().await;
    server.stop().await;
}

#[tokio::test]
async fn two_hosts_are_400_on_every_path() {
    let server = TestServer::start().await;
    for path in ["/webhook", "/v1/tasks", "/callback/x"] {
        for hosts in [
            "host: localhost\r\nhost: localhost",
            "host: localhost\r\nhost: evil.example",
            "host: \r\nhost: localhost",
        ] {
            let mut raw = Raw::open(&server.url).await;
            raw.write(format!("POST {path} HTTP/1.1\r\n{hosts}\r\ncontent-length: 2\r\n\r\n{{}}")).await;
            let (status, body) = raw.answer().await;
            assert_eq!(status, 400, "{path} {hosts:?}: {body}");
        }
    }
    server.has_taken_nothing().await;
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let server = TestServer::start().await;
    server.create(json!({"id": "123"})).await;
    let progress = |n: usize| json!({"event": "task_progress", "task_id": "123", "message": n}).to_string();
    let mut all: String = (0..20).map(|n| post("/webhook", "", &progress(n))).collect();
    all.push_str("GET /v1/tasks/123 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    all.push_str(&post("/webhook", "", "{"));
    all.push_str(&post("/webhook", "", "{\"event\": \"ping\"}"));
    all.push_str("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut raw = Raw::open(&server.url).await;
    raw.write(all).await;
    for n in 0..20 {
        let (status, body) = raw.answer().await;
        assert_eq!((status, body.contains("\"outcome\":\"applied\"")), (200, true), "{n}: {body}");
    }
    let (status, body) = raw.answer().await;
    assert_eq!((status, body.contains("\"message\":\"19\"")), (200, true), "{body}");
    assert_eq!(raw.answer().await.0, 400);
    let (status, body) = raw.answer().await;
    assert_eq!((status, body.contains("\"outcome\":\"recorded\"")), (200, true), "{body}");
    assert_eq!(raw.answer().await.0, 200);
    assert_eq!(raw.rest().await, "", "it closes as it was asked to");
    server.stop().await;
}

#[tokio::test]
async fn json_that_is_made_to_be_expensive_is_no_trouble() {
    let server = TestServer::start().await;
    let most = (1 << 20) - 100;
    for (inner, status) in [
        (format!("[{}0]", "[],".repeat(most / 3)), 200),
        (format!("{{{}\"x\":0}}", (0..most / 12).map(|n| format!("\"{n:07}\":0,")).collect::<String>()), 200),
        ("1".repeat(most), 400),
        (format!("0.{}", "1".repeat(most - 2)), 200),
        (format!("1e{}", "9".repeat(most - 2)), 400),
        (format!("\"{}\"", "\\u0061".repeat(most / 6)), 200),
        (format!("\"{}\"", "\\".repeat(most / 2 * 2)), 200),
        ("\u{10ffff}".repeat(most / 4), 400),
    ] {
        let answer =
            server.send("POST", "/webhook", &[], format!("{{\"event\": \"ping\", \"x\": {inner}}}")).await;
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    }
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let server = TestServer::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Raw::open(&server.url).await);
    }
    goes_on(&server).await;
    drop(silent);
    server.stop().await;
}

#[tokio::test]
async fn a_request_with_a_million_faults_is_refused_with_the_first_of_them() {
    let server = TestServer::start().await;
    let fields: String = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
    let (task, name) = (format!("{{{fields}\"x\":0}}"), "n".repeat(1 << 20));
    let tasks = [task.as_str(); 4].join(",");
    for (path, body, count) in [
        ("/v1/tasks", task.clone(), 100),
        ("/v1/tasks/batch", format!("{{\"tasks\":[{tasks}]}}"), 100),
        ("/v1/tasks", format!("{{\"{name}\":0}}"), 1),
        ("/v1/tasks", format!("{{\"headers\":{task}}}"), 2),
        ("/v1/tasks/123/cancel", format!("{{{}\"x\":0}}", &fields[..60_000]), 100),
    ] {
        let answer = server.send("POST", path, &[], body).await;
        assert_eq!(answer.faults().len(), count, "{path}");
    }
    // Many tasks that each wait for hundreds: as many edges as a batch may have, and more.
    let after: Vec<String> = (0..600).map(|n| format!("t{n}")).collect();
    for (count, wanted) in [(16, ("/tasks/0/after/0", "no_such_task")), (200, ("/tasks", "too_many"))] {
        let tasks: Vec<_> = (0..count).map(|n| json!({"id": format!("u{n}"), "after": after})).collect();
        let answer = server.post("/v1/tasks/batch", json!({"tasks": tasks})).await;
        assert_eq!(answer.faults(), [(wanted.0.to_string(), wanted.1.to_string())]);
    }
    goes_on(&server).await;
    server.stop().await;
}
