//! Tasks sent through a proxy.

use std::net::SocketAddr;

use taskhook::dispatch::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a proxy does with one who asks for a tunnel.
#[derive(Debug, Clone)]
enum Opens {
    /// It opens one.
    Tunnel,
    /// It answers with these bytes, and keeps the connection open.
    Nothing(&'static str),
    /// It opens a tunnel, and says something before anybody has asked.
    TunnelWith(&'static str),
    /// It opens none to addresses that begin so.
    NoneTo(&'static str),
    /// It hangs up.
    HangsUp,
}

/// A proxy on loopback.
struct TestProxy {
    address: SocketAddr,
    /// What it was asked, as it came over the wire.
    asked: mpsc::UnboundedReceiver<String>,
}

impl TestProxy {
    async fn start(opens: Opens) -> TestProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, opens.clone(), tell.clone()));
            }
        });
        TestProxy { address, asked }
    }

    /// Sends through it, and may call loopback by address.
    fn sending(&self) -> Sending {
        self.sending_as("")
    }

    /// With `userinfo`, which ends with an @.
    fn sending_as(&self, userinfo: &str) -> Sending {
        let proxy = format!("http://{userinfo}{}", self.address);
        Sending::with(through(&proxy))
    }

    async fn asked(&mut self) -> String {
        self.asked.recv().await.expect("the proxy lives")
    }

    fn was_not_asked(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

fn through(proxy: &str) -> Settings {
    let allow = ["127.0.0.0/8", "::1"].map(|range| range.parse().expect("a range")).to_vec();
    Settings { allow, proxy: Some(Proxy::parse(proxy).expect("a proxy")), ..settings() }
}

async fn serve(mut stream: TcpStream, opens: Opens, tell: mpsc::UnboundedSender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let to = head.split(' ').nth(1).expect("it asks for an address").to_string();
    let _ = tell.send(head);
    let answer = match opens {
        Opens::Tunnel => "HTTP/1.1 200 Connection established\r\n\r\n",
        Opens::TunnelWith(answer) | Opens::Nothing(answer) => answer,
        Opens::NoneTo(these) if to.starts_with(these) => {
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
        }
        Opens::NoneTo(_) => "HTTP/1.1 200 OK\r\n\r\n",
        Opens::HangsUp => return,
    };
    stream.write_all(answer.as_bytes()).await.expect("it is read");
    if let Opens::Nothing(_) = opens {
        let _ = stream.read(&mut [0; 1]).await;
        return;
    }
    let Ok(mut target) = TcpStream::connect(to).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
}

fn local() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn the_tunnel_is_asked_for_to_the_address_and_the_request_names_the_host() {
    let ok = || Answer::Send(http("200 OK", b"{}"));
    let mut worker = target(vec![ok(), ok()]).await;
    let mut proxy = TestProxy::start(Opens::NoneTo("[::1]")).await;
    let mut sending = proxy.sending();
    let port = worker.address.port();
    let url = format!("http://localhost:{port}/work?a=b");
    assert_eq!(sending.response(dispatch(post(url.clone()))).await.status, 200);
    // Where localhost has an IPv6 address too, the proxy may have been asked for that one first.
    let mut head = proxy.asked().await;
    if head.starts_with("CONNECT [") {
        assert_eq!(head, format!("CONNECT [::1]:{port} HTTP/1.1\r\nhost: [::1]:{port}\r\n\r\n"));
        head = proxy.asked().await;
    }
    assert_eq!(head, format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"));
    let seen = worker.seen().await;
    assert_eq!(seen.line(), "POST /work?a=b HTTP/1.1", "not the form that is for proxies");
    assert_eq!(seen.header("host"), Some(format!("localhost:{port}").as_str()));

    // A tunnel is kept, as a connection is.
    sending.response(dispatch(post(url))).await;
    assert_eq!(worker.seen().await.connection, 1);
    assert!(proxy.was_not_asked());
}

#[tokio::test]
async fn a_forbidden_address_is_refused_before_the_proxy_hears_of_it() {
    let mut proxy = TestProxy::start(Opens::Tunnel).await;
    let own = "0.0.0.0:7777".parse().expect("an address");
    let settings = Settings { own: vec![own], ..through(&format!("http://{}", proxy.address)) };
    let mut sending = Sending::with(settings);
    for host in
        ["10.1.2.3", "169.254.169.254", "0xa9fea9fe", "[fd00:ec2::254]", "127.0.0.1:22", "127.0.0.1:7777"]
    {
        let failure = sending.refused(dispatch(post(format!("http://{host}/")))).await;
        assert_eq!(failure.code, "egress_not_allowed", "{host}: {}", failure.message);
    }
    assert!(proxy.was_not_asked());
}

/// The address by which others reach this machine; `None` where it has none but loopback.
fn address_of_this_machine() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: it is only asked which way it would go.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().expect("an address").ip())
}

#[tokio::test]
async fn a_server_that_listens_everywhere_is_not_called_through_the_proxy_either() {
    let ip = address_of_this_machine().expect("tests run where there is a network");
    let mut proxy = TestProxy::start(Opens::Tunnel).await;
    let own = "0.0.0.0:7777".parse().expect("an address");
    let allow = vec!["0.0.0.0/0".parse().expect("a range")];
    let settings = Settings { own: vec![own], allow, ..through(&format!("http://{}", proxy.address)) };
    let mut sending = Sending::with(settings);
    let failure = sending.refused(dispatch(post(format!("http://{ip}:7777/")))).await;
    assert!(failure.message.contains("where this server itself listens"), "{}", failure.message);
    assert!(proxy.was_not_asked());
    // Another port of this machine is not the server.
    sending.lost(dispatch(post(format!("http://{ip}:{}/", local().port())))).await;
    assert!(proxy.asked().await.starts_with(&format!("CONNECT {ip}:")));
}

#[tokio::test]
async fn loopback_behind_a_proxy_is_allowed_only_where_it_is_named() {
    let mut proxy = TestProxy::start(Opens::Tunnel).await;
    let settings = Settings {
        allow: Vec::new(),
        allow_loopback: Arc::new(true.into()),
        ..through(&format!("http://{}", proxy.address))
    };
    let failure = Sending::with(settings).refused(dispatch(post(format!("http://{}/", local())))).await;
    assert!(failure.message.contains("127.0.0.1 is a loopback address; to allow it"), "{}", failure.message);
    assert!(proxy.was_not_asked());
}

#[tokio::test]
async fn what_the_proxy_answers_is_said_and_retried() {
    let to = local();
    let broke = format!("broke off before it had opened a tunnel to {to}: ");
    let asks = "asks for a user name and a password (407): write them into `proxy` under [dispatch], as in \
                http://user:password@";
    for (opens, expected) in [
        (
            Opens::Nothing("HTTP/1.1 403 Forbidden <b>by policy</b>\r\ncontent-length: 9\r\n\r\n"),
            format!("refused a tunnel to {to}: 403 Forbidden"),
        ),
        (
            Opens::Nothing("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"),
            format!("refused a tunnel to {to}: 302 Found"),
        ),
        (
            Opens::Nothing("HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n"),
            asks.into(),
        ),
        (Opens::Nothing("SSH-2.0-OpenSSH_9.9\r\n"), broke.clone()),
        (Opens::HangsUp, broke),
        (
            Opens::TunnelWith("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            format!("sent more than an answer when it was asked for a tunnel to {to}"),
        ),
    ] {
        let proxy = TestProxy::start(opens.clone()).await;
        let failure = proxy.sending().lost(dispatch(post(format!("http://{to}/")))).await;
        assert_eq!(failure.code, "proxy", "{opens:?}: {}", failure.message);
        let expected = format!("cannot connect to {to}: the proxy {} {expected}", proxy.address);
        assert!(failure.message.starts_with(&expected), "{opens:?}: {}", failure.message);
        assert!(!failure.message.contains("policy"), "{}", failure.message);
    }
}

#[tokio::test]
async fn credentials_are_sent_to_the_proxy_and_shown_nowhere() {
    let worker = target(vec![Answer::Send(http("200 OK", b"{}"))]).await;
    let mut proxy = TestProxy::start(Opens::Tunnel).await;
    proxy.sending_as("me:hunter%32@").response(dispatch(post(worker.url("/")))).await;
    let head = proxy.asked().await;
    assert!(head.contains("\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n"), "{head}");

    let refuses = Opens::Nothing("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let mut proxy = TestProxy::start(refuses).await;
    let failure = proxy.sending_as("me:hunter2@").lost(dispatch(post(worker.url("/")))).await;
    assert_eq!(failure.code, "proxy");
    let expected = format!(
        "cannot connect to {}: the proxy {} did not take the user name and the password that it was given (407)",
        worker.address, proxy.address
    );
    assert_eq!(failure.message, expected);
    proxy.asked().await;
    assert!(proxy.was_not_asked(), "it is asked once: for another address it would want the same");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told_apart_from_its_targets() {
    let (gone, to) = (local(), local());
    let host = "a".repeat(64);
    for (proxy, named, expected) in [
        (format!("http://me:hunter2@{gone}"), gone.to_string(), "cannot be reached: "),
        (
            format!("http://me:hunter2@{host}.invalid:3128"),
            format!("{host}.invalid:3128"),
            "cannot be reached: its name does not resolve: ",
        ),
    ] {
        let failure = Sending::with(through(&proxy)).lost(dispatch(post(format!("http://{to}/")))).await;
        assert_eq!(failure.code, "proxy", "{}", failure.message);
        let expected = format!("cannot connect to {to}: the proxy {named} {expected}");
        assert!(failure.message.starts_with(&expected), "{}", failure.message);
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_silent_proxy_is_given_up() {
    let to = local();
    let proxy = TestProxy::start(Opens::Nothing("")).await;
    let connect_timeout = Duration::from_millis(100); // real time: what is tested is that it passes
    let settings = Settings { connect_timeout, ..through(&format!("http://{}", proxy.address)) };
    let failure = Sending::with(settings).lost(dispatch(post(format!("http://{to}/")))).await;
    assert_eq!(failure.code, "proxy");
    let expected =
        format!("cannot connect to {to}: the proxy {} opened no tunnel within 100ms", proxy.address);
    assert_eq!(failure.message, expected);
}
