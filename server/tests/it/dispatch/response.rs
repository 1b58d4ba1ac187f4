//! What is made of an answer.

use super::*;

#[tokio::test]
async fn a_json_body_of_a_success_is_the_result() {
    let result = |response: &Response| {
        response.result.as_deref().map(|json| String::from_utf8_lossy(json).into_owned())
    };
    for (head, body, expected) in [
        ("200 OK", "{\"a\": [1, 2.50]}", Some("{\"a\": [1, 2.50]}")),
        ("200 OK", "  null\r\n", Some("null")),
        ("204 No Content", "", None),
        ("200 OK", "", None),
        ("200 OK", "done", None),
        ("200 OK", "{\"a\": 1} {}", None),
        ("200 OK", "\u{feff}1", None),
        ("202 Accepted", "\"later\"", Some("\"later\"")),
        ("404 Not Found", "{\"a\": 1}", None),
        ("500 Oh", "1", None),
    ] {
        let answer = match head.starts_with("204") {
            true => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            false => http(head, body.as_bytes()),
        };
        let worker = target(vec![Answer::Send(answer)]).await;
        let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
        assert_eq!(result(&response).as_deref(), expected, "{head} {body:?}");
        assert_eq!((response.body.as_slice(), response.truncated), (body.as_bytes(), false));
    }
}

#[tokio::test]
async fn a_body_is_kept_and_read_as_far_as_its_bounds() {
    for (body_bytes, kept, truncated, has_result) in [
        (RESPONSE_BYTES_KEPT, RESPONSE_BYTES_KEPT, false, true),
        (RESPONSE_BYTES_KEPT + 1, RESPONSE_BYTES_KEPT, true, true),
        (BODY_BYTES_MAX, RESPONSE_BYTES_KEPT, true, true),
        (BODY_BYTES_MAX + 1, RESPONSE_BYTES_KEPT, true, false),
    ] {
        let body = format!("\"{}\"", "x".repeat(body_bytes - 2)).into_bytes();
        let worker = target(vec![Answer::SendAndClose(http("200 OK", &body))]).await;
        let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
        assert!(response.body == body[..kept], "{body_bytes}");
        assert_eq!((response.truncated, response.result.is_some()), (truncated, has_result), "{body_bytes}");
        assert!(response.result.as_deref().is_none_or(|result| result == body));
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    for status in ["200 OK", "500 Oh"] {
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
        let chunk = [b"8000\r\n".as_slice(), &[b'1'; 0x8000], b"\r\n"].concat();
        let mut worker = target(vec![Answer::SendForEver(head, chunk)]).await;
        let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
        assert_eq!(response.body, [b'1'; RESPONSE_BYTES_KEPT]);
        assert_eq!((response.truncated, &response.result), (true, &None));
        worker.given_up.recv().await.expect("the target lives");
    }
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let line = b"x-more: 0123456789012345678901234567890123456789\r\n".to_vec();
    let mut worker = target(vec![Answer::SendForEver(b"HTTP/1.1 200 OK\r\n".to_vec(), line)]).await;
    let failure = Sending::start().lost(dispatch(post(worker.url("/")))).await;
    assert_eq!(failure.code, "broken");
    assert!(failure.message.contains("its head is too large"), "{}", failure.message);
    worker.given_up.recv().await.expect("the target lives");
}

#[tokio::test]
async fn a_redirect_is_only_a_response() {
    let mut elsewhere = target(vec![Answer::Send(http("200 OK", b""))]).await;
    for status in ["301", "302", "303", "307", "308"] {
        let head = format!("{status} Elsewhere\r\nlocation: {}", elsewhere.url("/new"));
        let worker = target(vec![Answer::Send(http(&head, b""))]).await;
        let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
        assert_eq!(response.status.to_string(), status);
        assert!(response.headers.contains(&("location".into(), elsewhere.url("/new"))));
    }
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn headers_of_interest_are_kept_and_read() {
    let head = "503 Busy\r\nRetry-After: 120\r\nTaskhook-No-Retry: TRUE\r\ntaskhook-shard: 4\r\nserver: w/1\r\n\
                x-request-id: r1\r\nwebhook-id: m1\r\ncontent-type: text/plain\r\ndate: Mon\r\n\
                set-cookie: secret\r\nwww-authenticate: secret\r\nlocation: \u{e9}";
    let worker = target(vec![Answer::Send(http(head, b""))]).await;
    let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
    assert!(response.no_retry);
    assert_eq!(response.retry_after, Some(Duration::from_secs(120)));
    let mut headers: Vec<String> =
        response.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-length: 0",
            "content-type: text/plain",
            "date: Mon",
            "location: \u{e9}",
            "retry-after: 120",
            "server: w/1",
            "taskhook-no-retry: TRUE",
            "taskhook-shard: 4",
            "webhook-id: m1",
            "x-request-id: r1",
        ]
    );
}

#[tokio::test]
async fn kept_headers_are_bounded() {
    let mut head = format!("200 OK\r\nserver: {}", "s".repeat(5_000));
    for number in 0..60 {
        head.push_str(&format!("\r\ntaskhook-{number}: {number}"));
    }
    let worker = target(vec![Answer::Send(http(&head, b""))]).await;
    let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
    assert_eq!(response.headers.len(), 32);
    assert!(response.headers.iter().all(|(_, value)| value.len() <= 1_024));
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let answer =
        [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".as_slice(), &http("200 OK", b"1")].concat();
    let worker = target(vec![Answer::Send(answer)]).await;
    let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
    assert_eq!((response.status, response.body.as_slice()), (200, b"1".as_slice()));
}

#[tokio::test]
async fn an_offer_of_another_protocol_is_only_a_response() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n".to_vec();
    let mut worker = target(vec![Answer::SendAndWait(answer)]).await;
    let response = Sending::start().response(dispatch(post(worker.url("/")))).await;
    assert_eq!((response.status, response.body.len()), (101, 0));
    worker.given_up.recv().await.expect("the target lives");
}
