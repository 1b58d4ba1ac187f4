//! Real senders, with their own libraries; and a real worker's library, which verifies what we send.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::binary::process::RealServer;
use crate::binary::python;
use crate::support::{Call, Worker, task_for, with};

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

/// A dispatch as a worker has received it: its headers and its body.
struct Received(String);

impl Received {
    /// Of a new task of this queue.
    async fn from(server: &RealServer, worker: &mut Worker, id: &str, queue: &str) -> Received {
        let task = json!({"payload": {"größe": 1}, "queue": queue});
        server.create(with(task_for(worker, id), task)).await;
        let received = Received::of(worker.call().await);
        // A server that is killed before it has heard the answer sends the attempt again.
        server.end_of(id).await;
        received
    }

    /// Of this call, which is answered 200.
    fn of(call: Call) -> Received {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: serde_json::Map<_, _> =
            names.iter().map(|name| (name.to_string(), call.header(name).into())).collect();
        let body = String::from_utf8(call.body.to_vec()).expect("text");
        call.status(200);
        Received(json!({"headers": headers, "body": body}).to_string())
    }

    /// Whether the published libraries verify it with this secret, and refuse it with a byte changed. They agree.
    fn is_verified(&self, secret: &str) -> bool {
        let python = python::program("verify_dispatch.py", "standardwebhooks");
        let node = python::node_program("verify_dispatch.cjs", "standardwebhooks");
        let [by_python, by_node] = [python, node].map(|mut command| {
            command.arg(secret.trim()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("it runs");
            child.stdin.take().expect("a pipe").write_all(self.0.as_bytes()).expect("it reads");
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            match said.as_str() {
                "verified, and refused with a byte changed\n" => true,
                "" if errors.contains("No matching signature") => false,
                _ => panic!("{said}{errors}"),
            }
        });
        assert_eq!(by_python, by_node);
        by_python
    }
}

#[tokio::test]
async fn a_dispatch_is_verified_by_the_published_libraries_with_the_old_secret_too_while_it_is_rotated() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let old = server.taskhook(&["secrets", "show", "dispatch"]);
    assert!(Received::from(&server, &mut worker, "1", "default").await.is_verified(&old));

    server.kill();
    let new = server.taskhook(&["secrets", "rotate", "dispatch", "--keep", "1h"]);
    assert_ne!(new, old);
    server.start_again().await;
    assert_eq!(server.taskhook(&["secrets", "show", "dispatch"]), new);
    let received = Received::from(&server, &mut worker, "2", "default").await;
    assert!(received.is_verified(&new) && received.is_verified(&old));

    // Once more: the oldest is of no use any more.
    server.kill();
    let newest = server.taskhook(&["secrets", "rotate", "dispatch"]);
    server.start_again().await;
    let received = Received::from(&server, &mut worker, "4", "default").await;
    assert!(received.is_verified(&newest) && received.is_verified(&new) && !received.is_verified(&old));
}

/// While it runs, with a key of the role admin; on an open server, where nobody has to say who they are, not at all.
#[tokio::test]
async fn a_running_server_rotates_its_secret_and_signs_with_both_at_once() {
    let server = RealServer::start_with("[dispatch]\nallow = [\"127.0.0.0/8\"]\n").await;
    let mut worker = Worker::start().await;
    let old = server.taskhook(&["secrets", "show", "dispatch"]);
    server.get("/v1/secrets/dispatch").await.problem(403, "forbidden");
    server.post("/v1/secrets/dispatch/rotate", json!({})).await.problem(403, "forbidden");

    let root = server.post("/v1/keys", json!({"role": "admin"})).await.expect(201);
    let root = root["key"].as_str().expect("a key").to_string();
    let server = server.with_key(&root);
    let shown = server.get("/v1/secrets/dispatch").await.expect(200);
    assert_eq!(shown["secret"].as_str(), Some(old.trim()));
    assert!(shown["old_signs_until"].is_null(), "{shown}");
    let keyed = [("idempotency-key", "x")];
    server.send("POST", "/v1/secrets/dispatch/rotate", &keyed, "").await.problem(422, "not_repeatable");
    let rotated = server.post("/v1/secrets/dispatch/rotate", json!({"keep": "1h"})).await.expect(200);
    let new = rotated["secret"].as_str().expect("a secret").to_string();
    assert!(new != old.trim() && rotated["old_signs_until"].is_string(), "{rotated}");
    let received = Received::from(&server, &mut worker, "1", "default").await;
    assert!(received.is_verified(&new) && received.is_verified(&old));
    let log = server.get("/v1/audit?action=secret.rotate").await.expect(200);
    assert_eq!(log["data"][0]["subject"], "dispatch", "{log}");

    let server = server.restart().await;
    let received = Received::from(&server, &mut worker, "2", "default").await;
    assert!(received.is_verified(&new) && received.is_verified(&old));
    server.stop().await;
}

#[tokio::test]
async fn a_queue_may_sign_with_a_secret_of_its_own() {
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let own = server.taskhook(&["secrets", "show", "dispatch"]);
    let put = async |says: serde_json::Value| {
        let answer = server.send("PUT", "/v1/queues/signed", &[], says.to_string()).await;
        let text = answer.text();
        assert!([200, 201].contains(&answer.status), "{text}");
        assert!(!text.contains(STANDARD) && !text.contains(OTHER), "{text}");
        answer.json()["has_secret"].as_bool()
    };
    assert_eq!(put(json!({"secret": STANDARD})).await, Some(true));
    server.send("PUT", "/v1/queues/plain", &[], "{}").await.expect(201);
    let received = Received::from(&server, &mut worker, "1", "signed").await;
    assert!(received.is_verified(STANDARD) && !received.is_verified(&own));
    assert!(Received::from(&server, &mut worker, "2", "plain").await.is_verified(&own));

    // Whoever is told of a cancel verifies it as the task itself.
    let cancelled = json!({"queue": "signed", "cancel_url": format!("{}/stop", worker.url)});
    server.create(with(task_for(&worker, "c"), cancelled)).await;
    worker.call().await.status(202);
    server.until_state("c", "running").await;
    server.post("/v1/tasks/c/cancel", json!({})).await.expect(200);
    let received = Received::of(worker.call().await);
    assert!(received.is_verified(STANDARD) && !received.is_verified(&own));

    // Left out, it stays, over a restart too; another one signs beside it for a while.
    assert_eq!(put(json!({"concurrency": 7})).await, Some(true));
    let server = server.restart().await;
    assert!(Received::from(&server, &mut worker, "3", "signed").await.is_verified(STANDARD));
    let put = async |says: serde_json::Value| {
        server.send("PUT", "/v1/queues/signed", &[], says.to_string()).await.expect(200)["has_secret"]
            .as_bool()
    };
    assert_eq!(put(json!({"secret": OTHER})).await, Some(true));
    // Said twice, it is the same one still.
    assert_eq!(put(json!({"secret": OTHER})).await, Some(true));
    let received = Received::from(&server, &mut worker, "4", "signed").await;
    assert!(received.is_verified(OTHER) && received.is_verified(STANDARD) && !received.is_verified(&own));
    assert_eq!(put(json!({"secret": null})).await, Some(false));
    assert!(Received::from(&server, &mut worker, "5", "signed").await.is_verified(&own));

    for wrong in [
        json!(""),
        json!("short"),
        json!(5),
        json!("whsec_!"),
        json!("whsec_c2hvcnQ="),
        json!("any other text at all"),
    ] {
        let said = json!({"secret": wrong}).to_string();
        let answer = server.send("PUT", "/v1/queues/signed", &[], said.clone()).await;
        assert_eq!(answer.faults()[0].0, "/secret", "{said}");
    }
    server.stop().await;
}
