//! What a target is sent.

use super::*;

#[tokio::test]
async fn a_request_says_who_calls_and_about_what() {
    let mut worker = target(vec![Answer::Send(http("202 Accepted", b""))]).await;
    let mut sending =
        Sending::with(Settings { allow_loopback: Arc::new(true.into()), clock: stopped_clock, ..settings() });
    let request = Request {
        headers: vec![("X-Tenant".into(), "a".into()), ("x-tenant".into(), "b".into())],
        payload: Some(br#"{"test": 2432232314}"#.to_vec()),
        ..post(worker.url("/work?day=1"))
    };
    sending.send(dispatch_at(stopped_clock(), request));

    let seen = worker.seen().await;
    assert_eq!(seen.line(), "POST /work?day=1 HTTP/1.1");
    assert_eq!(seen.body, br#"{"test": 2432232314}"#);
    let mut headers: Vec<String> = seen.headers().map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    let host = format!("host: {}", worker.address);
    let user_agent = format!("user-agent: taskhook/{}", env!("CARGO_PKG_VERSION"));
    // The ids, the token, the trace and the signature were computed outside, with Python's hmac and hashlib.
    let expected = [
        "content-length: 20",
        "content-type: application/json",
        &host,
        "idempotency-key: key_0000000000003g0000021az9g5",
        "taskhook-attempt: 3",
        "taskhook-callback-url: https://hooks.example/callback/AAAAAAAAAAcAAAADXnownRjz56P6NMVFuOHRpw",
        "taskhook-scheduled-for: 2026-11-23T15:21:37.120Z",
        "taskhook-task-id: order-991",
        "traceparent: 00-2da8d6cfdff927158ed9294aad697b86-0bc49fe936693201-01",
        &user_agent,
        "webhook-id: att_0000000000003g00000ftpthv1",
        "webhook-signature: v1,hwiY+yy9fQvvcy2z0uq+HD8+Qc3414NZQDjpojL4ReQ=",
        "webhook-timestamp: 1795447297",
        "x-tenant: a",
        "x-tenant: b",
    ];
    assert_eq!(headers, expected);
    let (reply, permit) = sending.replies.recv().await.expect("the dispatcher lives");
    assert_eq!((reply.task, reply.attempt), (TaskKey(7), 3));
    assert_eq!(permit, Permit { host: HostKey(5), bytes: 20, poll: false });
    assert!(matches!(reply.kind, ReplyKind::Response(response) if response.status == 202));
}

#[tokio::test]
async fn every_send_of_an_attempt_is_the_same_but_for_its_time() {
    let answers = (0..3).map(|_| Answer::Send(http("503 Busy", b""))).collect();
    let mut worker = target(answers).await;
    let mut sending = Sending::start();
    let url = worker.url("/");
    let mut send = async |attempt, send| {
        let dispatch = dispatch(post(url.clone()));
        sending.response(Dispatch { attempt, send, ..dispatch }).await;
        worker.seen().await
    };
    let first = send(3, 1).await;
    let again = send(3, 2).await;
    let next = send(4, 1).await;
    for name in ["webhook-id", "idempotency-key", "traceparent", "taskhook-attempt", "taskhook-callback-url"]
    {
        assert!(first.header(name).is_some(), "{name}");
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    assert_eq!(first.header("idempotency-key"), next.header("idempotency-key"));
    for name in ["webhook-id", "traceparent", "taskhook-attempt", "taskhook-callback-url"] {
        assert_ne!(first.header(name), next.header(name), "{name}");
    }
    let trace = |seen: &target::Seen| seen.header("traceparent").expect("it is sent")[..36].to_owned();
    assert_eq!(trace(&first), trace(&next), "one trace for all attempts");
}

#[tokio::test]
async fn what_a_task_sets_itself_is_left_alone() {
    let mut worker = target(vec![Answer::Send(http("200 OK", b""))]).await;
    let mut sending = Sending::start();
    let own = [
        ("content-type", "application/cloudevents+json"),
        ("idempotency-key", "order-991"),
        ("traceparent", "00-11111111111111111111111111111111-2222222222222222-01"),
        ("user-agent", "shop/1"),
        ("authorization", "Bearer t0ken"),
    ];
    let headers = own.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let request =
        Request { method: "PUT".into(), headers, payload: Some(b"{}".to_vec()), ..post(worker.url("/")) };
    sending.response(dispatch(request)).await;
    let seen = worker.seen().await;
    assert_eq!(seen.line(), "PUT / HTTP/1.1");
    for (name, value) in own {
        assert_eq!(seen.header(name), Some(value));
    }
}

#[tokio::test]
async fn without_a_payload_there_is_no_body() {
    let mut worker = target(vec![Answer::Send(http("200 OK", b"")), Answer::Send(http("200 OK", b""))]).await;
    let mut sending = Sending::start();
    sending.response(dispatch(post(worker.url("/")))).await;
    let seen = worker.seen().await;
    assert_eq!((seen.header("content-type"), seen.header("content-length")), (None, Some("0")));
    sending.response(dispatch(Request { method: "GET".into(), ..post(worker.url("/")) })).await;
    let seen = worker.seen().await;
    assert_eq!((seen.header("content-type"), seen.header("content-length")), (None, None));
    assert!(seen.header("webhook-signature").is_some());
}

#[tokio::test]
async fn a_large_payload_arrives_byte_for_byte() {
    let mut worker = target(vec![Answer::Send(http("200 OK", b""))]).await;
    let mut sending = Sending::start();
    let mut payload = format!("\"{}\"", "ä€ ".repeat(BODY_BYTES_MAX / 8)).into_bytes();
    payload.resize(BODY_BYTES_MAX, b' ');
    let request = Request { payload: Some(payload.clone()), ..post(worker.url("/")) };
    sending.response(dispatch(request)).await;
    assert!(worker.seen().await.body == payload);
}

#[tokio::test]
async fn nothing_is_sent_that_is_not_one_request() {
    let mut worker = target(vec![]).await;
    let mut sending = Sending::start();
    let request = |change: fn(&mut Request)| {
        let mut request = post(worker.url("/"));
        change(&mut request);
        request
    };
    let header = |name: &str, value: &str| {
        let headers = vec![(name.into(), value.into())];
        Request { headers, ..post(worker.url("/")) }
    };
    let long = "n".repeat(4_000);
    for request in [
        request(|request| request.method = "POST / HTTP/1.1\r\nx-evil: 1\r\n\r\nGET".into()),
        request(|request| request.method = "CONNECT".into()),
        request(|request| request.method = String::new()),
        request(|request| request.url.push_str(" HTTP/1.1\r\nx-evil: 1")),
        request(|request| request.url.push('\t')),
        header("x-a", "secret\r\nx-evil: 1"),
        header("x-a", "secret\nx-evil: 1"),
        header("x-a", "secret\0"),
        header("x-evil: 1\r\nx-a", "secret"),
        header("x a", "secret"),
        header("", "secret"),
        header(&format!("{long}\n"), "secret"),
        header("Host", "secret"),
        header("content-length", "0"),
        header("Transfer-Encoding", "chunked"),
        header("connection", "close"),
        header("webhook-id", "secret"),
        header("Taskhook-Anything", "secret"),
    ] {
        let failure = sending.refused(dispatch(request.clone())).await;
        assert_eq!(failure.code, "invalid_request", "{request:?}");
        assert!(!failure.message.contains("secret"), "{}", failure.message);
        assert!(failure.message.len() <= MESSAGE_BYTES_MAX, "{}", failure.message.len());
        assert!(!failure.message.contains(['\r', '\n']), "{:?}", failure.message);
    }
    assert!(worker.requests.try_recv().is_err());
}

#[tokio::test]
async fn only_http_urls_with_a_host_are_called() {
    let mut sending = Sending::start();
    for url in [
        "",
        "/relative",
        "localhost:1",
        "http://",
        "http:///path",
        "http://:80/",
        "http://a b/",
        "http://localhost:99999/",
        "http://localhost:0x50/",
        "http://[::1]:99999/",
        "http://user:secret@localhost/",
        "http://localhost\\@1.1.1.1/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%1]/",
        "http://[localhost]/",
        "http://[127.0.0.1]/",
        "http://①②⑦.⓪.⓪.①/",
        "file:///etc/passwd",
        "ftp://localhost/",
        "gopher://localhost:1/_secret",
        "unix:/run/secret.sock",
    ] {
        let failure = sending.refused(dispatch(post(url.into()))).await;
        assert_eq!(failure.code, "invalid_request", "{url}: {}", failure.message);
        assert!(!failure.message.contains("secret"), "{url}: {}", failure.message);
    }
}
