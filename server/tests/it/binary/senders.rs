//! Real senders, with their own libraries; and a real worker's library, which verifies what we send.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::binary::process::RealServer;
use crate::binary::python;
use crate::support::{Worker, task_for, with};

const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Of the key whose seed is 32 times 7.
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

#[tokio::test]
async fn what_real_senders_sign_is_taken_in_and_refused_with_a_byte_changed() {
    let server = RealServer::start().await;
    for (name, scheme, secret) in [
        ("stripe", "stripe", "whsec_of_stripe"),
        ("standardwebhooks", "standard-webhooks", STANDARD),
        ("svix", "standard-webhooks", STANDARD),
        ("slack", "slack", "8f742231b10e8888abcd99yyyzzz85a5"),
        ("nacl", "discord", PUBLIC),
    ] {
        let source = json!({"verify": {"scheme": scheme, "secrets": [secret]}}).to_string();
        server.send("PUT", &format!("/v1/sources/{name}"), &[], source).await.expect(201);
    }
    let mut command = python::program(
        "senders.py",
        "requests, stripe, standardwebhooks, svix, slack_sdk.signature, nacl.signing",
    );
    command.arg(&server.url);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "stripe 200 401\nstandardwebhooks 200 401\nsvix 200 401\nslack 200 401\nnacl 204 401\n");
}

/// What the published library says of a dispatch.
async fn verified(server: &RealServer, worker: &mut Worker, id: &str, secret: &str) -> String {
    server.create(with(task_for(worker, id), json!({"payload": {"größe": 1}}))).await;
    let call = worker.call().await;
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.iter().map(|name| (name.to_string(), call.header(name).into())).collect();
    let body = String::from_utf8(call.body.to_vec()).expect("text");
    call.status(200);
    // A server that is killed before it has heard the answer sends the attempt again.
    server.end_of(id).await;
    let mut command = python::program("verify_dispatch.py", "standardwebhooks");
    command.arg(secret.trim()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let said = json!({"headers": headers, "body": body}).to_string();
    child.stdin.take().expect("a pipe").write_all(said.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_dispatch_is_verified_by_the_published_library_with_the_old_secret_too_while_it_is_rotated() {
    const VERIFIED: &str = "verified, and refused with a byte changed\n";
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let old = server.taskhook(&["secrets", "show", "dispatch"]);
    assert_eq!(verified(&server, &mut worker, "1", &old).await, VERIFIED);

    server.kill();
    let new = server.taskhook(&["secrets", "rotate", "dispatch", "--keep", "1h"]);
    assert_ne!(new, old);
    server.start_again().await;
    assert_eq!(server.taskhook(&["secrets", "show", "dispatch"]), new);
    assert_eq!(verified(&server, &mut worker, "2", &new).await, VERIFIED);
    assert_eq!(verified(&server, &mut worker, "3", &old).await, VERIFIED);

    // Once more: the oldest is of no use any more.
    server.kill();
    let newest = server.taskhook(&["secrets", "rotate", "dispatch"]);
    server.start_again().await;
    assert_eq!(verified(&server, &mut worker, "4", &newest).await, VERIFIED);
    assert_eq!(verified(&server, &mut worker, "5", &old).await, "");
}
