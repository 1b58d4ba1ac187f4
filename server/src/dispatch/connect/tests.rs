use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

fn loopback() -> Allow {
    Allow { loopback: Arc::new(true.into()), ..Allow::default() }
}

#[test]
fn one_forbidden_address_among_many_refuses_the_name() {
    let addresses =
        |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let public = addresses(&["1.1.1.1:443", "[2606:4700::1]:443"]);
    assert_eq!(checked(public.clone(), &loopback()).unwrap(), public);
    for mixed in
        [&["1.1.1.1:443", "10.0.0.1:443"][..], &["127.0.0.1:80", "[::1]:80", "1.1.1.1:80", "0.0.0.0:80"]]
    {
        let error = checked(addresses(mixed), &loopback()).unwrap_err();
        assert!(matches!(error, ConnectError::NotAllowed(..)), "{error}");
    }
    // Also one that would not be tried any more.
    let mut many = vec!["1.1.1.1:443"; 20];
    assert_eq!(checked(addresses(&many), &loopback()).unwrap().len(), ADDRESSES_TRIED_MAX);
    many.push("169.254.169.254:443");
    assert!(checked(addresses(&many), &loopback()).is_err());
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_does_not_answer() {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, gone) = (bind(), bind().local_addr().unwrap());
    let there = listener.local_addr().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let stream = first_that_answers(&[gone, there], deadline).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), there);
    let error = first_that_answers(&[gone, gone], deadline).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tcp(_)), "{error}");
    let error = first_that_answers(&[], deadline).await.unwrap_err();
    assert!(matches!(error, ConnectError::Name(_)), "{error}");
}

#[test]
fn a_refusal_says_how_to_allow_it() {
    let why = |text: &str| checked(vec![text.parse().unwrap()], &Allow::default()).unwrap_err().to_string();
    assert_eq!(
        why("[::ffff:10.0.0.1]:80"),
        "10.0.0.1 is a private address; to allow it, add \"10.0.0.1/32\" to `allow` under [dispatch] in the configuration"
    );
    assert_eq!(
        why("[::1]:80"),
        "::1 is a loopback address; to allow it, add \"::1/128\" to `allow` under [dispatch] in the configuration"
    );
    assert_eq!(why("169.254.169.254:80"), "169.254.169.254 is a link-local address, which is never called");
}

/// A certificate for `localhost` and `127.0.0.1` that vouches for itself, from 2020 to 2120, and its key. It is
/// trusted here and nowhere else.
const CERTIFICATE_AND_KEY: &[u8] = include_bytes!("localhost.pem");

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE_AND_KEY).unwrap()
}

fn its_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    roots
}

fn its_server() -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE_AND_KEY).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    Arc::new(server)
}

/// Connects to `host` at a server with that certificate.
async fn connect_with_tls(roots: RootCertStore, host: &str) -> Result<(), ConnectError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A handshake on a thread: it ends with the connection, whichever side gives up.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(its_server()).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut stream).is_err() {
                return;
            }
        }
    });
    let mut connector = Connector::new(loopback(), None, roots, Duration::from_secs(10));
    let uri: Uri = format!("https://{host}:{port}/").parse().unwrap();
    let connected = connector.call(uri).await.map(drop);
    server.join().unwrap();
    connected
}

#[tokio::test]
async fn a_trusted_certificate_with_the_right_name_is_accepted() {
    for host in ["localhost", "127.0.0.1"] {
        connect_with_tls(its_roots(), host).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_with_another_name_is_not() {
    let error = connect_with_tls(its_roots(), "[::ffff:127.0.0.1]").await.unwrap_err();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not() {
    let error = connect_with_tls(system_roots(), "localhost").await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn tls_goes_through_the_tunnel_of_a_proxy_by_the_name_in_the_url() {
    for (host, fits) in [("localhost", true), ("[::ffff:127.0.0.1]", false)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        // Proxy and target in one: once it has opened the tunnel, what follows is the handshake.
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut tls = rustls::ServerConnection::new(its_server()).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
            String::from_utf8(head).unwrap()
        });
        let networks = ["127.0.0.1", "::1"].map(|network| network.parse().unwrap()).to_vec();
        let allow = Allow { networks, ..Allow::default() };
        let mut connector = Connector::new(allow, Some(proxy), its_roots(), Duration::from_secs(10));
        let connected = connector.call(format!("https://{host}:8443/").parse().unwrap()).await;
        let asked = server.join().unwrap();
        let by_address = ["CONNECT 127.0.0.1:8443 ", "CONNECT [::1]:8443 "];
        assert!(by_address.iter().any(|line| asked.starts_with(line)), "{asked}");
        assert_eq!(connected.is_ok(), fits, "{host}: {:?}", connected.err());
    }
}

#[tokio::test]
async fn without_roots_https_says_what_is_missing() {
    let mut connector = Connector::new(loopback(), None, RootCertStore::empty(), Duration::from_secs(10));
    let error = connector.call(Uri::from_static("https://127.0.0.1:1/")).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoRoots), "{error}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connector.call(format!("http://{gone}/").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tcp(_)), "http goes on without them: {error}");
}
