//! Payloads that others have attacked servers of this kind with, thrown at the real binary: parsing of HTTP, bodies,
//! signatures, what goes into a dispatch, paths and ids. Each is refused or taken for what it is; none is a 500, and the
//! server goes on.

mod signatures;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::binary::process::RealServer;
use crate::support::PATIENCE;

/// The status of the answer to these bytes; 0 where the server hangs up without one.
async fn status(server: &RealServer, bytes: &[u8]) -> u16 {
    let address = server.url.strip_prefix("http://").expect("http");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = async {
        let mut part = [0; 4_096];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&part[..count]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer, or an end");
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// After all of it the server lives, its store is sound, and no defect was told.
async fn is_unharmed(mut server: RealServer) {
    server.get("/readyz").await.expect(200);
    let said = server.said();
    assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
    server.tell_to_stop();
    assert!(server.stopped().await.0.success());
    let doctor = server.doctor();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}

#[tokio::test]
async fn http_that_is_read_in_two_ways_is_refused() {
    let server = RealServer::start().await;
    let with = |headers: &str, body: &str| {
        format!("POST /webhook HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}").into_bytes()
    };
    let body = r#"{"event":"x"}"#;
    let many: String = (0..120).map(|number| format!("x-{number}: 1\r\n")).collect();
    for (name, bytes, wanted) in [
        ("a length with a sign", with("content-length: +5\r\n", "hello"), &[400][..]),
        ("two lengths", with("content-length: 13\r\ncontent-length: 14\r\n", body), &[400]),
        (
            "a length and chunks",
            with("content-length: 13\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (
            "chunks that are something else",
            with("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "a chunk beyond every number",
            with("transfer-encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nabc"),
            &[400, 0],
        ),
        ("a folded header", with("x-a: 1\r\n 2\r\ncontent-length: 13\r\n", body), &[400]),
        ("a NUL in a header", with("x-a: a\0b\r\ncontent-length: 13\r\n", body), &[400]),
        ("two hosts", with("host: localhost\r\ncontent-length: 13\r\n", body), &[400]),
        ("too many headers", with(&format!("{many}content-length: 13\r\n"), body), &[431]),
        ("a cookie of 1 MiB", with(&format!("cookie: {}\r\n", "a".repeat(1 << 20)), body), &[431, 0]),
        (
            "another host's URL",
            b"GET http://evil.example/v1/tasks HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            &[403],
        ),
        ("no host", b"GET /v1/tasks HTTP/1.1\r\n\r\n".to_vec(), &[400, 403]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 505, 0]),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), &[400, 0]),
        ("a NUL in the method", b"G\0T / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), &[400, 0]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa\r\n\r\n".to_vec(), &[400, 0]),
        (
            "a URL of 70 KB",
            format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000)).into_bytes(),
            &[414, 431, 0],
        ),
    ] {
        let got = status(&server, &bytes).await;
        assert!(wanted.contains(&got), "{name}: {got}");
    }
    is_unharmed(server).await;
}

/// Bodies that parsers disagree about, and what becomes of each at the webhook and at the API.
#[tokio::test]
async fn no_body_is_read_as_something_that_it_is_not() {
    let server = RealServer::start().await;
    server.create(json!({"id": "1"})).await;
    let deep = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)).into_bytes();
    let text = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("100,000 brackets", "[".repeat(100_000).into_bytes(), 400),
        ("200 deep", deep(200), 400),
        ("a key twice", text(r#"{"event":"task_completed","task_id":"1","task_id":"2"}"#), 400),
        ("no number", text(r#"{"event":"x","n":1e400e}"#), 400),
        ("half a surrogate", text(r#"{"event":"\ud800"}"#), 400),
        ("overlong UTF-8", b"{\"event\":\"\xc0\x80\"}".to_vec(), 400),
        ("a NUL in a string", text("{\"event\":\"x\0\"}"), 400),
        ("UTF-16", "{\"event\":\"x\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(), 400),
        ("nothing", Vec::new(), 400),
        ("a list", text("[]"), 400),
        ("a string", text("\"x\""), 400),
        ("null", text("null"), 400),
        ("half an object", text(r#"{"event":"x""#), 400),
        ("two objects", text("{}{}"), 400),
        ("a NUL in an id", text(r#"{"event":"task_completed","task_id":"1\u0000"}"#), 200),
        (
            "an id that turns the line around",
            text("{\"event\":\"task_completed\",\"task_id\":\"1\u{202e}\"}"),
            200,
        ),
        (
            "an id that looks like another",
            text("{\"event\":\"task_completed\",\"task_id\":\"\u{0661}\"}"),
            200,
        ),
        ("an attempt below nothing", text(r#"{"event":"task_completed","task_id":"1","attempt":-1}"#), 200),
        (
            "an attempt beyond every number",
            text(r#"{"event":"task_completed","task_id":"1","attempt":99999999999999999999}"#),
            200,
        ),
        ("a prototype", text(r#"{"__proto__":{"event":"task_completed","task_id":"1"}}"#), 200),
        (
            "a number of 10,000 digits",
            format!(r#"{{"event":"x","n":{}}}"#, "9".repeat(10_000)).into_bytes(),
            400,
        ),
    ];
    for (name, body, wanted) in cases {
        let answer = server.send("POST", "/webhook", &[], body.clone()).await;
        assert_eq!(answer.status, wanted, "{name}: {}", answer.text());
        let as_task = server.send("POST", "/v1/tasks", &[], body).await;
        assert!([400, 422].contains(&as_task.status), "{name} as a task: {}", as_task.text());
    }
    assert_eq!(server.task("1").await["state"], "running", "nothing of it was about the task");
    // A number that no float holds is the id that it is.
    server.create(json!({"id": "9007199254740993"})).await;
    let exact = r#"{"event":"task_completed","task_id":9007199254740993}"#;
    let applied = server.send("POST", "/webhook", &[], exact).await.expect(200);
    assert_eq!(applied["task_state"], "succeeded");
    is_unharmed(server).await;
}

#[tokio::test]
async fn nothing_is_smuggled_into_a_dispatch() {
    let server = RealServer::start().await;
    let long = format!("http://{}", "a".repeat(9_000));
    let urls = [
        "http://a@b/",
        "http://good.example\\@evil.example/",
        "http://ex\tample.com/",
        "http://example.com/\r\nX-Evil: 1",
        "http://example.com/ HTTP/1.1\r\nX-Evil: 1",
        "file:///etc/passwd",
        "gopher://x/",
        "dict://x",
        "ftp://x",
        "unix:/x",
        "jar:http://x!/",
        "javascript:alert(1)",
        "http://",
        "//x",
        "http:///x",
        "http://[::1",
        "http://1.1.1.1:99999/",
        "http://1.1.1.1:-1/",
        "http://ex ample/",
        "http://\0/",
        long.as_str(),
    ];
    let headers = [
        json!({"x": "a\r\nX-Evil: 1"}),
        json!({"x": "a\nX-Evil: 1"}),
        json!({"x": "a\0"}),
        json!({"x\r\nX-Evil": "1"}),
        json!({"": "1"}),
        json!({"x y": "1"}),
        json!({"Host": "evil.example"}),
        json!({"Content-Length": "0"}),
        json!({"Transfer-Encoding": "chunked"}),
        json!({"Connection": "upgrade"}),
        json!({"Upgrade": "h2c"}),
        json!({"TE": "trailers"}),
        json!({"Proxy-Authorization": "Basic eDp5"}),
        json!({"Webhook-Signature": "v1,AAAA"}),
        json!({"TASKHOOK-TASK-ID": "1"}),
    ];
    let task = |field: &str, value: Value| {
        let mut task = json!({"url": "http://127.0.0.1:9999/", "delay": "1h"});
        task[field] = value;
        task
    };
    let urls = urls.map(|url| task("url", json!(url)));
    let headers = headers.map(|headers| task("headers", headers));
    let methods =
        ["GET\r\nX-Evil: 1", "CONNECT", "", "GET /", "é"].map(|method| task("method", json!(method)));
    for task in urls.into_iter().chain(headers).chain(methods) {
        let answer = server.post("/v1/tasks", task.clone()).await;
        assert_eq!(answer.status, 422, "{task}: {}", answer.text());
        let schedule = json!({"every": "1h", "task": {"url": task["url"], "headers": task["headers"], "method": task["method"]}});
        let answer = server.send("PUT", "/v1/schedules/s", &[], schedule.to_string()).await;
        assert_eq!(answer.status, 422, "{schedule}: {}", answer.text());
    }
    // What looks like a template is text: nobody puts anything in its place.
    let kept = server.create(task("headers", json!({"x": "{{ secrets.x }} ${{ 1 + 1 }} %s"}))).await;
    assert_eq!(kept["headers"]["x"], "{{ secrets.x }} ${{ 1 + 1 }} %s");
    is_unharmed(server).await;
}

#[tokio::test]
async fn a_path_names_one_thing_or_nothing() {
    let server = RealServer::start().await;
    server.create(json!({"id": "1"})).await;
    let long = "a".repeat(4_096);
    for name in [
        "..",
        "../keys",
        "..%2fkeys",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e",
        "%00",
        "%ff",
        "%5c",
        ".",
        "",
        "1%00",
        "1%20",
        "%31%00",
        long.as_str(),
    ] {
        for kind in ["tasks", "queues", "schedules", "sources", "keys", "events", "bulk"] {
            for method in ["GET", "PUT", "DELETE", "POST"] {
                let Some(answer) = server.try_send(method, &format!("/v1/{kind}/{name}"), &[], "{}").await
                else {
                    continue;
                };
                let is_refused = (400..500).contains(&answer.status);
                // `/v1/tasks/..` is a name for nobody, and a list is a list.
                let is_list = answer.status == 200 && name.is_empty() && method == "GET";
                assert!(
                    is_refused || is_list,
                    "{method} /v1/{kind}/{name}: {} {}",
                    answer.status,
                    answer.text()
                );
            }
        }
        for path in [format!("/webhook/{name}"), format!("/callback/{name}")] {
            let Some(answer) = server.try_send("POST", &path, &[], "{}").await else { continue };
            assert!((400..500).contains(&answer.status) || name.is_empty(), "{path}: {}", answer.status);
        }
    }
    for query in [
        "limit=0",
        "limit=-1",
        "limit=99999999999999999999",
        "cursor=x",
        "cursor=%00",
        "cursor=AAAAAAAAAAA%3D",
        "limit=1&limit=2",
        "x=y",
    ] {
        for list in ["tasks", "events", "queues", "schedules", "sources", "keys", "audit", "bulk"] {
            let answer = server.get(&format!("/v1/{list}?{query}")).await;
            assert_eq!(answer.status, 400, "{list}?{query}: {}", answer.text());
        }
    }
    assert_eq!(server.task("1").await["state"], "running");
    is_unharmed(server).await;
}

/// Expressions that would take long, or the stack, or another language.
#[tokio::test]
async fn no_expression_takes_the_server_with_it() {
    let server = RealServer::start().await;
    let texts = [
        "(".repeat(2_000),
        "a".repeat(4_096),
        "body.".repeat(800),
        "[".repeat(4_096),
        "!".repeat(4_000) + "true",
        "-".repeat(4_000) + "1",
        "true ? ".repeat(580) + "1",
        "'".into(),
        "\\u0000".into(),
        "body.all(x,".into(),
        "'a'.matches('(a+)+$')".into(),
        "[1,2,3].map(x, [1,2,3].map(y, x * y))".into(),
        "{1: 2}".into(),
        "-9223372036854775808 - 1".into(),
        "18446744073709551615u + 1u".into(),
        "1 / 0".into(),
        "body == body".into(),
        "timestamp('x')".into(),
        "\u{1F600}".into(),
        "`x`".into(),
        "body.map(body, body)".into(),
    ];
    let large = json!({"a": "x".repeat(500_000), "l": vec![1; 20_000]}).to_string();
    for text in texts {
        let source =
            json!({"verify": {"scheme": "none"}, "map": {"event": text, "task_id": text}}).to_string();
        let made = server.send("PUT", "/v1/sources/m", &[], source).await;
        assert!([200, 201, 422].contains(&made.status), "{text}: {}", made.text());
        if made.status != 422 {
            for body in ["{}", r#"{"x":[1,2]}"#, large.as_str()] {
                let answer = server.send("POST", "/webhook/m", &[], body.to_string()).await;
                assert!([200, 400].contains(&answer.status), "{text}: {}", answer.text());
            }
        }
    }
    is_unharmed(server).await;
}

/// What strangers write does not become lines of the log, nor orders to the terminal that shows it.
#[tokio::test]
async fn nobody_writes_lines_of_the_log() {
    const FORGED: &str = "2026-11-24T00:00:00.000000Z  INFO taskhook: forged by a stranger";
    let mut server = RealServer::start_with("[log]\nlevel = \"trace\"\n").await;
    let evil = format!("a\r\n{FORGED}\n\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}");
    let percent: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for (path, body) in [
        ("/webhook".to_string(), json!({"event": evil, "task_id": evil})),
        (
            "/webhook".to_string(),
            json!({"event": "task_failed", "task_id": "a", "error": {"message": evil, "code": evil}}),
        ),
        (format!("/webhook/{percent}"), json!({"event": "x"})),
        (format!("/callback/{percent}"), json!({"event": "x"})),
        (format!("/v1/tasks/{percent}/cancel"), json!({})),
        (format!("/v1/tasks?label={percent}"), json!({})),
        ("/v1/tasks".into(), json!({"id": evil, "name": evil, "url": format!("http://127.0.0.1:1/{evil}")})),
        (
            "/v1/tasks".into(),
            json!({"url": format!("http://a{percent}.invalid/"), "name": evil, "labels": {"a": evil}}),
        ),
        ("/v1/tasks".into(), json!({"url": "http://127.0.0.1:1/x", "headers": {"x": evil}})),
        (format!("/v1/keys?{percent}"), json!({"role": "read", "name": evil})),
    ] {
        let answer = server.send("POST", &path, &[("x-log", "a\tb")], body.to_string()).await;
        assert!(answer.status < 500, "{path}: {}", answer.text());
    }
    let raw = format!("GET /healthz?{} HTTP/1.1\r\nhost: \u{1b}[31m\r\nuser-agent: \u{9b}31m\r\n\r\n", "%0a");
    let _ = status(&server, raw.as_bytes()).await;

    server.get("/readyz").await.expect(200);
    server.tell_to_stop();
    let (status, _, said) = server.stopped().await;
    assert!(status.success(), "{said}");
    assert!(said.contains("DEBUG") || said.contains("TRACE"), "it says much: {said}");
    for line in said.lines() {
        assert!(!line.starts_with(FORGED), "{line:?}");
        let hostile = |sign: char| (sign.is_control() && sign != '\t') || sign == '\u{202e}';
        assert!(!line.contains(hostile), "{line:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_core_dump_is_written() {
    let server = RealServer::start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("its limits");
    let core =
        limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit of core dumps");
    let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"]);
    server.stop().await;
}
