//! Exchanges that bring no answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_silent_or_trickling_target_is_given_up() {
    let trickle = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1".to_vec();
    for answer in [Vec::new(), b"HTTP/1.1 2".to_vec(), trickle] {
        let mut worker = target(vec![Answer::SendAndWait(answer)]).await;
        let limit = Duration::from_millis(100); // real time: what is tested is that it passes
        let failure =
            Sending::start().lost(with_request_timeout(dispatch(post(worker.url("/"))), limit)).await;
        assert_eq!(failure.code, "request_timeout");
        assert_eq!(failure.message, format!("{} did not answer completely within 100ms", worker.address));
        worker.given_up.recv().await.expect("the target lives");
    }
}

#[tokio::test]
async fn an_exchange_never_outlives_its_attempt() {
    let mut worker = target(vec![Answer::SendAndWait(Vec::new())]).await;
    let mut sending =
        Sending::with(Settings { allow_loopback: Arc::new(true.into()), clock: stopped_clock, ..settings() });
    // It was first sent an hour ago, but for a moment; the exchange alone might take five minutes.
    let left = Duration::from_millis(100); // real time: the moment must pass
    let began = stopped_clock() - Duration::from_secs(3_600) + left;
    let failure = sending.lost(dispatch_at(began, post(worker.url("/")))).await;
    assert_eq!(failure.code, "request_timeout");
    assert_eq!(failure.message, format!("{} did not answer completely within 100ms", worker.address));
    worker.given_up.recv().await.expect("the target lives");
}

#[tokio::test]
async fn an_attempt_whose_time_is_over_is_not_sent() {
    let mut worker = target(vec![]).await;
    let began = wall_clock() - Duration::from_secs(3_600);
    let failure = Sending::start().lost(dispatch_at(began, post(worker.url("/")))).await;
    assert_eq!(failure.code, "request_timeout");
    assert!(worker.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_closed_too_early_is_broken() {
    for (answer, expected) in [
        ("", "closed the connection before it had answered"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "closed the connection before it had answered"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "broke before its whole answer was read"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
            "broke before its whole answer was read",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", "is not HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}", "is not HTTP/1.1"),
    ] {
        let worker = target(vec![Answer::SendAndClose(answer.into())]).await;
        let failure = Sending::start().lost(dispatch(post(worker.url("/?token=secret")))).await;
        assert_eq!(failure.code, "broken", "{answer:?}: {}", failure.message);
        assert!(failure.message.contains(expected), "{answer:?}: {}", failure.message);
        assert!(failure.message.contains(&worker.address.to_string()), "{}", failure.message);
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_seen_is_not_sent_again_by_the_pool() {
    // The first answer leaves a connection behind, the second request is read from it, and then it closes.
    let mut worker = target(vec![
        Answer::Send(http("200 OK", b"")),
        Answer::SendAndClose(Vec::new()),
        Answer::Send(http("200 OK", b"")),
    ])
    .await;
    let mut sending = Sending::start();
    sending.response(dispatch(post(worker.url("/1")))).await;
    assert_eq!(worker.seen().await.connection, 1);
    let failure = sending.lost(dispatch(post(worker.url("/2")))).await;
    assert_eq!(failure.code, "broken");
    assert_eq!(worker.seen().await.connection, 1, "it was sent on the connection that was kept");
    sending.response(dispatch(post(worker.url("/3")))).await;
    let third = worker.seen().await;
    assert_eq!((third.line(), third.connection), ("POST /3 HTTP/1.1", 2), "nothing was sent in between");
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let failure = Sending::start().lost(dispatch(post(format!("http://{address}/")))).await;
    assert_eq!(failure.code, "connect");
    assert!(failure.message.starts_with(&format!("cannot connect to {address}: ")), "{}", failure.message);
    assert!(failure.message.contains("refused"), "{}", failure.message);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart() {
    // Too long for a name, so that no name server is asked.
    let host = "a".repeat(64);
    let failure = Sending::start().lost(dispatch(post(format!("http://{host}.invalid/")))).await;
    assert_eq!(failure.code, "dns");
    let expected = format!("cannot connect to {host}.invalid:80: its name does not resolve");
    assert!(failure.message.starts_with(&expected), "{}", failure.message);
}

#[tokio::test]
async fn a_failed_tls_handshake_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it is read");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let failure = Sending::start().lost(dispatch(post(format!("https://{address}/")))).await;
    assert_eq!(failure.code, "connect");
    let expected = format!("cannot connect to {address}: the TLS handshake failed: ");
    assert!(failure.message.starts_with(&expected), "{}", failure.message);
    plain.await.expect("the connection was ended");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let connect_timeout = Duration::from_millis(100); // real time: what is tested is that it passes
    let mut sending =
        Sending::with(Settings { allow_loopback: Arc::new(true.into()), connect_timeout, ..settings() });
    let failure = sending.lost(dispatch(post(format!("https://{address}/")))).await;
    assert_eq!(failure.code, "connect");
    assert_eq!(failure.message, format!("cannot connect to {address}: it took longer than 100ms"));
}

#[tokio::test]
async fn however_it_is_written_the_address_is_judged() {
    let mut sending = Sending::with(settings());
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::ffff:7f00:1]", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("169.254.169.254", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("[::ffff:a9fe:a9fe]", "169.254.169.254"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        // Everything behind the # is no part of what is called.
        ("127.0.0.1#@1.1.1.1", "127.0.0.1"),
    ] {
        let failure = sending.refused(dispatch(post(format!("http://{host}")))).await;
        assert_eq!(failure.code, "egress_not_allowed", "{host}: {}", failure.message);
        let expected = format!("is not allowed: {address} is a");
        assert!(failure.message.contains(&expected), "{host}: {}", failure.message);
    }
}

#[tokio::test]
async fn what_is_named_may_be_called() {
    let worker = target(vec![Answer::Send(http("200 OK", b""))]).await;
    let allow = vec!["10.0.0.0/8".parse().expect("a range"), "127.0.0.1".parse().expect("an address")];
    let mut sending = Sending::with(Settings { allow, ..settings() });
    sending.response(dispatch(post(worker.url("/")))).await;
    let failure = sending.refused(dispatch(post("http://127.0.0.2:1/?token=secret".into()))).await;
    assert_eq!(
        failure.message,
        "calling 127.0.0.2:1 is not allowed: 127.0.0.2 is a loopback address; to allow it, \
         add \"127.0.0.2/32\" to `allow` under [dispatch] in the configuration"
    );
}

#[tokio::test]
async fn metadata_is_never_called_whatever_is_named() {
    let allow = vec!["0.0.0.0/0".parse().expect("a range"), "::/0".parse().expect("a range")];
    let mut sending = Sending::with(Settings { allow_loopback: Arc::new(true.into()), allow, ..settings() });
    for host in
        ["169.254.169.254", "100.100.100.200", "168.63.129.16", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]"]
    {
        let failure = sending.refused(dispatch(post(format!("http://{host}/latest/meta-data")))).await;
        assert_eq!(failure.code, "egress_not_allowed", "{host}");
        assert!(failure.message.ends_with("which is never called"), "{}", failure.message);
    }
}
