//! Secrets and credentials: kept sealed, sent where they belong, found nowhere else.

use std::path::Path;

use axum::http::Method;
use serde_json::{Value, json};
use taskhook::http::rules;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::binary::process::RealServer;
use crate::support::{Worker, task_for, with};

#[tokio::test]
async fn a_credential_of_a_task_reaches_its_worker_and_nobody_else() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let headers = json!({"Authorization": "Bearer canary-7d1", "X-Api-Key": "canary-7d2", "x-team": "blue"});
    let made = server.create(with(task_for(&worker, "a"), json!({"headers": headers}))).await;
    let shown = json!({"Authorization": "[redacted]", "X-Api-Key": "[redacted]", "x-team": "blue"});
    assert_eq!(made["headers"], shown);
    let call = worker.call().await;
    assert_eq!(
        (call.header("authorization"), call.header("x-api-key")),
        ("Bearer canary-7d1".into(), "canary-7d2".into())
    );
    call.status(503);
    // The same creation again is the same task, whatever a seal looks like.
    let again = with(task_for(&worker, "a"), json!({"headers": headers}));
    assert_eq!(server.post("/v1/tasks", again).await.expect(200)["headers"], shown);
    let server = server.restart().await;
    assert_eq!(server.task("a").await["headers"], shown);
    server.post("/v1/tasks/a/trigger", json!({})).await.expect(200);
    let call = worker.call().await;
    assert_eq!(call.header("authorization"), "Bearer canary-7d1");
    call.status(200);
    server.end_of("a").await;

    // What is shown is no credential.
    let copied = with(task_for(&worker, "b"), json!({"headers": shown}));
    let faults = server.post("/v1/tasks", copied.clone()).await.faults();
    assert_eq!(faults[0], ("/headers/Authorization".into(), "redacted".into()));
    let faults = server.post("/v1/tasks/batch", json!({"tasks": [{"id": "c"}, copied]})).await.faults();
    assert_eq!(faults[0].0, "/tasks/1/headers/Authorization");
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_keeps_its_credentials_when_it_is_written_back() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let put = async |says: Value| server.send("PUT", "/v1/schedules/s", &[], says.to_string()).await;
    let url = format!("{}/work", worker.url);
    let template = json!({"url": url, "headers": {"authorization": "Bearer canary-8a1"}});
    put(json!({"every": "1h", "task": template})).await.expect(201);
    let mut shown = server.get("/v1/schedules/s").await.expect(200);
    assert_eq!(shown["task"]["headers"]["authorization"], "[redacted]");

    // As `taskhook schedules set` does.
    shown["task"]["headers"]["x-team"] = json!("blue");
    let task = json!({"url": url, "headers": shown["task"]["headers"]});
    put(json!({"every": "2h", "task": task})).await.expect(200);
    server.post("/v1/schedules/s/trigger", json!({})).await.expect(201);
    let call = worker.call().await;
    assert_eq!(
        (call.header("authorization"), call.header("x-team")),
        ("Bearer canary-8a1".into(), "blue".into())
    );
    call.status(200);

    // For another server it is none.
    let mut task = task.clone();
    task["url"] = json!("https://elsewhere.example/work");
    let faults = put(json!({"every": "2h", "task": task})).await.faults();
    assert_eq!(faults, [("/task/headers/authorization".into(), "redacted".into())]);
    server.stop().await;
}

/// Everything that ends with one of these is a secret.
const CANARIES: [&str; 9] = [
    "canary-c01-source-secret",
    "canary-c02-header-token",
    "canary-c03-task-credential",
    "canary-c04-cookie",
    "canary-c05-schedule-credential",
    "canary-c06-basic-password",
    "canary-c07-verify-token",
    "canary-c08-query-token",
    "canary-c09-bearer-of-nobody",
];

fn bytes_hold(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

fn files_hold(folder: &Path, secret: &str) -> Option<String> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let paths = files.map(|file| file.expect("a file").path()).filter(|path| path.is_file());
    let holds = |path: &std::path::PathBuf| bytes_hold(&std::fs::read(path).unwrap_or_default(), secret);
    paths.into_iter().find(holds).map(|path| path.display().to_string())
}

#[tokio::test]
async fn the_password_of_the_proxy_is_in_no_log_and_no_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = listener.local_addr().expect("an address");
    let settings = format!(
        "[log]\nlevel = \"trace\"\n[dispatch]\nallow = [\"127.0.0.0/8\"]\n\
         proxy = \"http://me:canary-c11-proxy@{proxy}\"\n"
    );
    let server = RealServer::start_with(&settings).await;
    let refusing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("it is asked"));
        }
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal).await.expect("it is read");
        String::from_utf8(head).expect("a head is text")
    });
    let task = json!({"id": "a", "url": "http://127.0.0.1:8009/", "retry": {"max_attempts": 1}});
    server.create(task).await;
    let end = server.end_of("a").await;
    assert_eq!(end["error"]["code"], "proxy", "{end}");
    let encoded = "bWU6Y2FuYXJ5LWMxMS1wcm94eQ==";
    let head = refusing.await.expect("it was asked");
    assert!(head.contains(encoded), "{head}");
    let history = server.get("/v1/tasks/a/history").await.text();
    let metrics = server.get("/metrics").await.text();
    let log = server.said();
    assert!(log.contains("TRACE") && log.contains("not answered"), "it says everything: {log}");
    for secret in ["canary-c11-proxy", encoded] {
        for told in [&end.to_string(), &history, &metrics, &log] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn canaries_are_found_in_no_answer_no_log_and_no_file() {
    const STANDARD: &str = "whsec_Y2FuYXJ5LWMxMC1xdWV1ZS1zZWNyZXQtMDEyMzQ1";
    let settings = "[log]\nlevel = \"trace\"\n[dispatch]\nallow = [\"127.0.0.0/8\"]\n";
    let server = RealServer::start_with(settings).await;
    let mut worker = Worker::start().await;
    let root = server.post("/v1/keys", json!({"role": "admin", "name": "root"})).await.expect(201);
    let root = root["key"].as_str().expect("a key").to_string();
    let server = server.with_key(&root);
    let write = server.post("/v1/keys", json!({"role": "write", "name": "w"})).await.expect(201);
    let write = write["key"].as_str().expect("a key").to_string();
    let dispatch = server.get("/v1/secrets/dispatch").await.expect(200);
    let dispatch = dispatch["secret"].as_str().expect("a secret").to_string();

    let put = async |path: &str, says: Value| {
        let answer = server.send("PUT", path, &[], says.to_string()).await;
        assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
        answer.text()
    };
    let mut answers = vec![
        put("/v1/sources/hmac", json!({"verify": {"scheme": "hmac", "header": "x-sig", "secrets": [CANARIES[0]]}})).await,
        put("/v1/sources/token", json!({"verify": {"scheme": "header", "header": "x-hook-token", "secrets": [CANARIES[1]]}})).await,
        put("/v1/sources/basic", json!({"verify": {"scheme": "basic", "secrets": [format!("me:{}", CANARIES[5])]}})).await,
        put("/v1/sources/meta", json!({"verify": {"scheme": "meta", "secrets": ["0123456789abcdef"], "verify_token": CANARIES[6]}})).await,
        put("/v1/sources/grid", json!({"verify": {"scheme": "azure-event-grid", "secrets": [CANARIES[7]]}})).await,
        put("/v1/queues/signed", json!({"secret": STANDARD})).await,
        put("/v1/schedules/s", json!({"every": "1h", "task": {"url": format!("{}/s", worker.url), "headers": {"x-token": CANARIES[4]}}})).await,
    ];
    let credential =
        json!({"queue": "signed", "headers": {"Authorization": format!("Bearer {}", CANARIES[2])}});
    answers.push(server.create(with(task_for(&worker, "a"), credential)).await.to_string());
    let call = worker.call().await;
    let callback = call.header("taskhook-callback-url");
    call.status(202);

    // What senders prove themselves with, right and wrong.
    let body = json!({"event": "x"}).to_string();
    let basic = "Basic bWU6Y2FuYXJ5LWMwNi1iYXNpYy1wYXNzd29yZA==";
    let nobody = format!("Bearer {}", CANARIES[8]);
    let grid = format!("/webhook/grid?access_token={}", CANARIES[7]);
    let (by_write, cookie) = (format!("Bearer {write}"), format!("session={}", CANARIES[3]));
    let open = crate::support::Api::new(server.url.clone());
    for (path, headers) in [
        ("/webhook/token", vec![("x-hook-token", CANARIES[1]), ("cookie", &cookie)]),
        ("/webhook/token", vec![("x-hook-token", "wrong-canary"), ("proxy-authorization", basic)]),
        ("/webhook/basic", vec![("authorization", basic)]),
        ("/webhook/hmac", vec![("x-sig", "00"), ("authorization", &nobody)]),
        ("/webhook", vec![("authorization", &by_write)]),
        ("/webhook", vec![("authorization", &nobody)]),
        (grid.as_str(), vec![]),
    ] {
        answers.push(open.send("POST", path, &headers, body.clone()).await.text());
    }
    let meta = format!("/webhook/meta?hub.mode=subscribe&hub.verify_token={}&hub.challenge=1", CANARIES[6]);
    answers.push(open.get(&meta).await.text());
    answers.push(open.call_back(&callback, json!({"event": "task_completed"})).await.to_string());

    // Every route that reads, on everything that is there.
    let mut paths: Vec<String> = Vec::new();
    for (path, method, _) in rules().iter() {
        if *method != Method::GET || path.starts_with("/v1/secrets") {
            continue;
        }
        let names = ["a", "root", "hmac", "token", "basic", "meta", "grid", "signed", "s", "default"];
        match path.contains('{') {
            true => paths.extend(names.map(|name| {
                path.split('/')
                    .map(|part| if part.starts_with('{') { name } else { part })
                    .collect::<Vec<_>>()
                    .join("/")
            })),
            false => paths.push(path.to_string()),
        }
    }
    let events = server.get("/v1/events").await.expect(200);
    let ids = events["data"].as_array().expect("a list").iter();
    paths.extend(ids.map(|event| format!("/v1/events/{}", event["id"].as_str().expect("an id"))));
    assert!(paths.len() > 100, "{}", paths.len());
    for path in &paths {
        answers.push(server.get(path).await.text());
    }

    let mut secrets: Vec<&str> = CANARIES.to_vec();
    let token = callback.rsplit('/').next().expect("a token").to_string();
    let in_base64 = basic.rsplit(' ').next().expect("a text");
    secrets.extend([STANDARD, &dispatch, &root, &write, &token, in_base64]);
    let (log, folder) = (server.said(), server.folder().to_path_buf());
    assert!(log.contains("TRACE"), "it says everything");
    for secret in secrets {
        let told = answers.iter().find(|answer| answer.contains(secret));
        assert_eq!(told, None, "{secret} is in an answer");
        assert!(!log.contains(secret), "{secret} is in the log");
        assert_eq!(files_hold(&folder, secret), None, "{secret} is in a file");
    }
    server.stop().await;
}
