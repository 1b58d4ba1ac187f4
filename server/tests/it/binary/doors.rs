//! The addresses that a server listens on: who is let in at which, and over TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::binary::process::{Process, taskhook};
use crate::support::{Api, PATIENCE};

/// A server in a folder, with these arguments. Gives its first line.
async fn serve(folder: &Path, arguments: &[&str]) -> (Process, String) {
    let mut command = taskhook();
    command.current_dir(folder).arg("serve").args(arguments);
    let mut process = Process::spawn(command);
    let line = process.first_line().await;
    (process, line)
}

/// The URL at the end of the line, or behind this word in what it said.
fn url(said: &str) -> String {
    said.split_whitespace().find(|word| word.starts_with("http")).expect("a URL").to_string()
}

async fn end(process: Process) {
    process.tell_to_stop();
    assert!(process.end().await.0.success());
}

/// What a command prints in this folder, and whether it did what it should.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = taskhook().current_dir(folder).args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The address for strangers, as the server tells it.
async fn for_strangers(process: &Process) -> Api {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let said = process.said();
        if let Some(line) = said.lines().find(|line| line.trim().starts_with("strangers")) {
            return Api::new(url(line));
        }
        assert!(tokio::time::Instant::now() < deadline, "it says nothing of strangers: {said}");
        tokio::time::sleep(Duration::from_millis(5)).await; // real time: it is another process.
    }
}

#[tokio::test]
async fn strangers_have_an_address_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (process, line) =
        serve(folder.path(), &["--listen", "127.0.0.1:0", "--listen-public", "127.0.0.1:0"]).await;
    let (main, strangers) = (Api::new(url(&line)), for_strangers(&process).await);
    assert_ne!(main.url, strangers.url);
    main.create(json!({"id": "123"})).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/tasks"),
        ("POST", "/v1/tasks"),
        ("GET", "/v1/tasks/123"),
        ("POST", "/v1/keys"),
        ("GET", "/nothing"),
        ("GET", "/webhook/../v1/tasks"),
        ("GET", "/webhooks"),
    ] {
        strangers.send(method, path, &[], "").await.problem(404, "not_found");
    }
    strangers.get("/healthz").await.expect(200);
    // From wherever they come.
    let proxy = [("host", "hooks.example.com"), ("x-forwarded-for", "1.2.3.4")];
    let done = json!({"event": "task_completed", "task_id": "123"}).to_string();
    assert_eq!(strangers.send("POST", "/webhook", &proxy, done).await.expect(200)["outcome"], "applied");
    strangers.post("/callback/x", json!({})).await.problem(404, "not_found");
    // With a key too: what is not there is there for nobody.
    let root = main.post("/v1/keys", json!({"role": "admin"})).await.expect(201);
    let root = root["key"].as_str().expect("a key").to_string();
    strangers.with_key(&root).get("/v1/tasks").await.problem(404, "not_found");
    strangers.with_key(&root).webhook(json!({"event": "x"})).await;
    end(process).await;
}

#[tokio::test]
async fn nobody_else_is_let_in_without_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let wide = ["serve", "--listen", "0.0.0.0:0", "--public-url", "http://127.0.0.1"];
    let (done, out, said) = run(folder.path(), &wide);
    assert!(!done && out.is_empty(), "{out}");
    assert!(
        said.contains("anybody could do everything") && said.contains("taskhook keys create --role admin"),
        "{said}"
    );
    let public =
        ["serve", "--listen", "127.0.0.1:0", "--listen-public", "0.0.0.0:0", "--public-url", "http://h"];
    let (done, _, said) = run(folder.path(), &public);
    assert!(!done && said.contains("the source default has no verify"), "{said}");

    // As it says: a key first, straight in the store.
    let create = ["keys", "create", "--role", "admin", "--name", "root", "--store", "sqlite:taskhook.db"];
    let (done, key, said) = run(folder.path(), &create);
    assert!(done && key.starts_with("thk_"), "{key}{said}");
    assert!(said.contains("root is made, with the role admin") && said.contains("the first one"), "{said}");
    let (process, line) = serve(folder.path(), &wide[1..]).await;
    let port = url(&line).rsplit(':').next().expect("a port").to_string();
    let main = Api::new(format!("http://127.0.0.1:{port}"));
    main.get("/v1/tasks").await.problem(401, "unauthorized");
    main.with_key(key.trim()).get("/v1/tasks").await.expect(200);
    main.post("/webhook", json!({"event": "x"})).await.problem(401, "unauthorized");
    // The store is the server's while it runs.
    let (done, _, said) = run(folder.path(), &create);
    assert!(!done && said.contains("another taskhook has the store"), "{said}");
    end(process).await;

    // With a key the source default is closed by itself, so strangers may come.
    let (process, _) = serve(folder.path(), &public[1..]).await;
    for_strangers(&process).await;
    end(process).await;

    // The last key goes only this way, and then the server is open again.
    let revoke = ["keys", "revoke", "root", "--store", "sqlite:taskhook.db"];
    let (done, _, said) = run(folder.path(), &revoke);
    assert!(done && said.contains("it was the last one"), "{said}");
    assert!(!run(folder.path(), &wide).0);
}

/// A certificate for localhost, written where the server looks for it.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made: CertifiedKey<KeyPair> =
        generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("a file");
    made.cert.into()
}

/// The first line of the answer to a GET, over TLS; `None` if the server shows no certificate that is trusted.
async fn get(address: SocketAddr, trusted: &CertificateDer<'static>, path: &str) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    // Some close without a word; what counts is the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).lines().next().map(String::from)
}

#[tokio::test]
async fn a_certificate_from_files_is_shown_and_taken_anew_when_they_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = certify(folder.path());
    let settings = "[tls]\ncertificate = 'tls.crt'\nkey = 'tls.key'\n";
    std::fs::write(folder.path().join("taskhook.toml"), settings).expect("a file");
    let (process, line) = serve(folder.path(), &["--listen", "127.0.0.1:0"]).await;
    let shown = url(&line);
    let address: SocketAddr = shown.strip_prefix("https://").expect("https").parse().expect("an address");
    assert_eq!(get(address, &first, "/readyz").await.as_deref(), Some("HTTP/1.1 200 OK"));
    // Plain HTTP gets nothing.
    let plain = Api::new(shown.replace("https://", "http://"));
    assert!(plain.try_send("GET", "/healthz", &[], "").await.is_none());

    // A file that cannot be used changes nothing.
    std::fs::write(folder.path().join("tls.crt"), "nothing").expect("a file");
    until(&process, "the old one stays").await;
    assert_eq!(get(address, &first, "/readyz").await.as_deref(), Some("HTTP/1.1 200 OK"));

    let second = certify(folder.path());
    until(&process, "new connections see the new one").await;
    assert_eq!(get(address, &second, "/readyz").await.as_deref(), Some("HTTP/1.1 200 OK"));
    assert_eq!(get(address, &first, "/readyz").await, None);
    end(process).await;
}

async fn until(process: &Process, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !process.said().contains(words) {
        assert!(tokio::time::Instant::now() < deadline, "it never says {words:?}: {}", process.said());
        tokio::time::sleep(Duration::from_millis(20)).await; // real time: it looks at its files once a second.
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "[tls]\ncertificate = 'tls.crt'\nkey = 'tls.key'\n";
    std::fs::write(folder.path().join("taskhook.toml"), settings).expect("a file");
    let refused = |words: &str| {
        let (done, _, said) = run(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        assert!(!done && said.contains(words), "{words}: {said}");
    };
    refused("tls.certificate: tls.crt cannot be read");
    certify(folder.path());
    std::fs::write(folder.path().join("tls.key"), "nothing").expect("a file");
    refused("tls.key: tls.key cannot be read");
    // That of another certificate.
    let other: CertifiedKey<KeyPair> =
        generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
    std::fs::write(folder.path().join("tls.key"), other.signing_key.serialize_pem()).expect("a file");
    refused("tls.crt and tls.key cannot be used together");
    std::fs::write(folder.path().join("tls.crt"), "").expect("a file");
    refused("holds no certificate");
}
