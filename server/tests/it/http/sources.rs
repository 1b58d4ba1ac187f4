//! Sources: who may send webhooks, and how each proves itself (contract, section 8).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, Worker, task_for, with};

const SECRET: &str = "It's a Secret to Everybody";
const CANARY: &str = "canary-6f1d0c5e-secret";

fn code(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &parts.concat()).as_ref().to_vec()
}

/// GitHub's header for a body.
fn hub(secret: &str, body: &str) -> String {
    format!("sha256={}", hex::encode(code(secret.as_bytes(), &[body.as_bytes()])))
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

async fn put(server: &Api, name: &str, source: Value) -> Answer {
    server.send("PUT", &format!("/v1/sources/{name}"), &[], source.to_string()).await
}

async fn github(server: &Api, headers: &[(&str, &str)], body: &str) -> Answer {
    server.send("POST", "/webhook/github", headers, body.to_string()).await
}

async fn newest(server: &Api) -> Value {
    server.get("/v1/events?limit=1").await.expect(200)["data"][0].clone()
}

#[tokio::test]
async fn what_its_source_has_signed_is_taken_in_and_nothing_else() {
    let server = RealServer::start().await;
    let made = put(&server, "github", json!({"verify": {"scheme": "github", "secrets": [SECRET]}})).await;
    let made = made.expect(201);
    assert_eq!(made["url"], format!("{}/webhook/github", server.url));
    let id = made["verify"]["secrets"][0]["id"].as_str().expect("an id").to_string();
    assert!(id.starts_with("sec_") && !made.to_string().contains(SECRET), "{made}");
    assert_eq!(made["verify"]["secrets"][0]["last_used_at"], Value::Null);

    let body = r#"{"action":"opened","number":7}"#;
    let signature = hub(SECRET, body);
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "issues"),
        ("x-github-delivery", "d-1"),
    ];
    let taken = github(&server, &headers, body).await.expect(200);
    assert_eq!((&taken["message"], &taken["outcome"]), (&json!("Webhook received"), &json!("recorded")));
    let event = newest(&server).await;
    assert_eq!((&event["source"], &event["type"]), (&json!("github"), &json!("issues.opened")));
    assert_eq!((&event["delivery_id"], &event["secret"]), (&json!("d-1"), &json!(id)));
    let again = github(&server, &headers, body).await.expect(200);
    assert_eq!((&again["outcome"], &again["event_id"]), (&json!("duplicate"), &taken["event_id"]));
    let source = server.get("/v1/sources/github").await.expect(200);
    assert!(source["verify"]["secrets"][0]["last_used_at"].is_string(), "{source}");

    let wrong = hub("another secret", body);
    for (headers, why) in [
        (vec![("x-hub-signature-256", wrong.as_str())], "was made by none of them"),
        (vec![], "it has no header x-hub-signature-256"),
        (vec![("x-hub-signature-256", "sha256=")], "was made by none of them"),
        (vec![("x-hub-signature-256", "sha1=aa")], "does not begin with \"sha256=\""),
        (vec![("x-hub-signature-256", &signature), ("x-hub-signature-256", &signature)], "is there twice"),
    ] {
        let problem = github(&server, &headers, body).await.problem(401, "unauthorized");
        assert_eq!(problem["detail"], "signature does not verify", "nothing more is said to strangers");
        let event = newest(&server).await;
        assert_eq!((&event["outcome"], &event["source"]), (&json!("rejected"), &json!("github")));
        let reason = event["reason"].as_str().expect("a reason");
        assert!(reason.contains(why) && !reason.contains(&signature[7..]), "{reason}");
    }
    let other = body.replace('7', "8");
    github(&server, &headers, &other).await.problem(401, "unauthorized");
    // Before it is verified, nothing of it is read.
    github(&server, &[], "{ not JSON").await.problem(401, "unauthorized");
    let broken = "{ not JSON";
    github(&server, &[("x-hub-signature-256", &hub(SECRET, broken))], broken).await.problem(400, "malformed");
    server.stop().await;
}

#[tokio::test]
async fn only_its_source_reports_on_a_task() {
    let server = RealServer::start().await;
    for name in ["mine", "other"] {
        put(&server, name, json!({"verify": {"scheme": "none"}})).await.expect(201);
    }
    let answer = server.post("/v1/tasks", json!({"id": "x", "source": "nobody"})).await;
    assert_eq!(answer.faults(), [("/source".to_string(), "no_such_source".to_string())]);
    let task = server.create(json!({"id": "1", "source": "mine"})).await;
    assert_eq!(task["source"], "mine");
    server.create(json!({"id": "2"})).await;
    let said = |task: &str| json!({"event": "task_completed", "task_id": task});
    for (path, task) in [("/webhook/other", "1"), ("/webhook", "1"), ("/webhook/mine", "2")] {
        let answer = server.post(path, said(task)).await.expect(200);
        assert_eq!(answer["outcome"], "ignored", "{path} {task}");
        assert_eq!(answer["reason"], "source_not_allowed", "{path} {task}");
    }
    assert_eq!(server.post("/webhook/mine", said("1")).await.expect(200)["outcome"], "applied");
    assert_eq!(server.post("/webhook", said("2")).await.expect(200)["outcome"], "applied");
    // A webhook that comes first is judged when its task comes, over a restart too.
    for (path, task) in [("/webhook/other", "3"), ("/webhook/mine", "4")] {
        assert_eq!(server.post(path, said(task)).await.expect(200)["outcome"], "unmatched");
    }
    let server = server.restart().await;
    server.create(json!({"id": "3", "source": "mine"})).await;
    server.create(json!({"id": "4", "source": "mine"})).await;
    assert_eq!(server.task("3").await["state"], "running");
    assert_eq!(server.task("4").await["state"], "succeeded");
    server.stop().await;
}

#[tokio::test]
async fn what_came_by_a_callback_url_may_be_replayed_and_what_was_not_allowed_still_is_not() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    put(&server, "mine", json!({"verify": {"scheme": "none"}})).await.expect(201);
    server.create(with(task_for(&worker, "1"), json!({"source": "mine"}))).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    call.status(202);
    let path = url.strip_prefix(&server.url).expect("a URL of the server");
    let by_callback = server.post(path, json!({"event": "task_heartbeat"})).await.expect(200);
    let said = json!({"event": "task_heartbeat", "task_id": "1", "attempt": 1});
    let strange = server.post("/webhook", said).await.expect(200);
    assert_eq!((&by_callback["outcome"], &strange["outcome"]), (&json!("applied"), &json!("ignored")));
    for (answer, outcome) in [(by_callback, "applied"), (strange, "ignored")] {
        let replay = format!("/v1/events/{}/replay", answer["event_id"].as_str().expect("an id"));
        assert_eq!(server.send("POST", &replay, &[], "").await.expect(200)["outcome"], outcome);
    }
    server.stop().await;
}

#[tokio::test]
async fn secrets_are_kept_replaced_rotated_and_never_shown() {
    let server = RealServer::start().await;
    let define = |secrets: Value| json!({"verify": with(json!({"scheme": "github"}), secrets)});
    put(&server, "github", define(json!({"secrets": [SECRET, CANARY]}))).await.expect(201);
    let ids = |source: &Value| -> Vec<String> {
        let secrets = source["verify"]["secrets"].as_array().expect("secrets");
        secrets.iter().map(|secret| secret["id"].as_str().expect("an id").to_string()).collect()
    };
    let before = ids(&server.get("/v1/sources/github").await.expect(200));
    let kept = put(&server, "github", define(json!({}))).await.expect(200);
    assert_eq!(ids(&kept), before, "what is left out stays");
    let one = put(&server, "github", define(json!({"secrets": [CANARY]}))).await.expect(200);
    assert_eq!(ids(&one), before[1..], "what is given again keeps its id");
    let body = "{}";
    let sent = async |secret: &str| {
        let signature = hub(secret, body);
        github(&server, &[("x-hub-signature-256", &signature)], body).await.status
    };
    assert_eq!((sent(SECRET).await, sent(CANARY).await), (401, 200));

    let path = "/v1/sources/github/rotate-secret";
    let rotated = server.post(path, json!({"secret": SECRET, "keep": "1h"})).await.expect(200);
    assert_eq!(rotated["verify"]["secrets"][0]["id"], before[1]);
    assert!(
        rotated["verify"]["secrets"][0]["until"].is_string()
            && rotated["verify"]["secrets"][1]["until"].is_null()
    );
    assert_eq!((sent(SECRET).await, sent(CANARY).await), (200, 200), "both are live");
    server.post(path, json!({"secret": "a third secret", "keep": "0s"})).await.expect(200);
    assert_eq!((sent(SECRET).await, sent(CANARY).await, sent("a third secret").await), (401, 401, 200));
    assert_eq!(server.post(path, json!({})).await.faults()[0].0, "/secret");
    assert_eq!(server.post(path, json!({"secret": "short"})).await.faults()[0].1, "not_a_secret");

    let answer = put(&server, "github", define(json!({"secrets": null}))).await;
    assert_eq!(answer.faults(), [("/verify/secrets".to_string(), "missing".to_string())]);
    // A scheme with other secrets cannot keep these.
    let answer = put(&server, "github", json!({"verify": {"scheme": "discord"}})).await;
    assert_eq!(answer.faults(), [("/verify/secrets".to_string(), "not_for_this_scheme".to_string())]);
    let list = server.get("/v1/sources").await.expect(200);
    let names: Vec<&Value> =
        list["data"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["default", "github"]);

    let server = server.restart().await;
    let signature = hub("a third secret", body);
    github(&server, &[("x-hub-signature-256", &signature)], body).await.expect(200);
    let folder = server.into_folder().await;
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("bytes");
        for secret in [SECRET, CANARY, "a third secret"] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in a file of the store");
        }
    }
}

#[tokio::test]
async fn a_source_says_what_its_events_mean_and_what_its_sender_hears() {
    let server = RealServer::start().await;
    let source = json!({
        "verify": {"scheme": "none"},
        "map": {"event": {"job.done": "task_completed", "job.bad": "task_failed"}},
        "response": {"status": 202, "body": "[accepted]"},
    });
    let made = put(&server, "jobs", source.clone()).await.expect(201);
    assert_eq!((&made["map"], &made["response"]["body"]), (&source["map"], &json!("[accepted]")));
    server.create(json!({"id": "1", "source": "jobs"})).await;
    let sent = json!({"event": "job.done", "task_id": 1, "result": 5}).to_string();
    let answer = server.send("POST", "/webhook/jobs", &[], sent).await;
    assert_eq!((answer.status, answer.text()), (202, "[accepted]".into()));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let task = server.task("1").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("succeeded"), &json!(5)));
    // What is refused is answered as always.
    server.send("POST", "/webhook/jobs", &[], "x").await.problem(400, "malformed");
    put(&server, "jobs", json!({"verify": {"scheme": "none"}, "response": {"status": 204}}))
        .await
        .expect(200);
    let answer = server.send("POST", "/webhook/jobs", &[], "{}").await;
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    server.stop().await;
}

#[tokio::test]
async fn a_sender_of_forms_is_read_and_the_others_send_json() {
    let server = RealServer::start().await;
    let slack = json!({"verify": {"scheme": "slack", "secrets": [SECRET]}});
    put(&server, "slack", slack).await.expect(201);
    let (at, body) = (now().to_string(), "command=%2Fdeploy&trigger_id=13345224609.738474920");
    let signature = format!(
        "v0={}",
        hex::encode(code(SECRET.as_bytes(), &[b"v0:", at.as_bytes(), b":", body.as_bytes()]))
    );
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-slack-signature", &signature),
        ("x-slack-request-timestamp", &at),
    ];
    let answer = server.send("POST", "/webhook/slack", &headers, body).await.expect(200);
    assert_eq!(answer["outcome"], "recorded");
    let event = newest(&server).await;
    assert_eq!((&event["type"], &event["body"]), (&json!("/deploy"), &json!(body)));
    assert_eq!(event["delivery_id"], "13345224609.738474920");
    server.send("POST", "/webhook", &headers[..1], body).await.problem(400, "malformed");
    // Signed in time, by a clock that is ten minutes off.
    let late = (now() - 600).to_string();
    let signature = format!(
        "v0={}",
        hex::encode(code(SECRET.as_bytes(), &[b"v0:", late.as_bytes(), b":", body.as_bytes()]))
    );
    let headers = [headers[0], ("x-slack-signature", &signature), ("x-slack-request-timestamp", &late)];
    server.send("POST", "/webhook/slack", &headers, body).await.problem(401, "unauthorized");
    let reason = newest(&server).await["reason"].to_string();
    assert!(reason.contains("s ago, and 300 s are tolerated"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn what_was_rejected_is_replayed_once_the_secret_is_mended() {
    let server = RealServer::start().await;
    put(&server, "stripe", json!({"verify": {"scheme": "stripe", "secrets": ["whsec_wrong"]}}))
        .await
        .expect(201);
    let body = r#"{"id":"evt_1","type":"charge.succeeded"}"#;
    let at = now().to_string();
    let signature = hex::encode(code(b"whsec_right", &[at.as_bytes(), b".", body.as_bytes()]));
    let header = format!("t={at},v1={signature}");
    let headers = [("stripe-signature", header.as_str())];
    server.send("POST", "/webhook/stripe", &headers, body).await.problem(401, "unauthorized");
    let id = newest(&server).await["id"].as_str().expect("an id").to_string();
    let replay = format!("/v1/events/{id}/replay");
    let problem = server.send("POST", &replay, &[], "").await.problem(409, "not_replayable");
    assert!(problem["detail"].as_str().expect("text").contains("still does not verify"), "{problem}");
    put(&server, "stripe", json!({"verify": {"scheme": "stripe", "secrets": ["whsec_right"]}}))
        .await
        .expect(200);
    let replayed = server.send("POST", &replay, &[], "").await.expect(200);
    assert_eq!(replayed["outcome"], "recorded");
    assert_eq!(newest(&server).await["type"], "charge.succeeded");

    put(&server, "token", json!({"verify": {"scheme": "gitlab", "secrets": [SECRET]}})).await.expect(201);
    let headers = [("x-gitlab-token", CANARY)];
    server.send("POST", "/webhook/token", &headers, "{}").await.problem(401, "unauthorized");
    let event = newest(&server).await;
    assert_eq!(event["headers"]["x-gitlab-token"], "[redacted]");
    let replay = format!("/v1/events/{}/replay", event["id"].as_str().expect("an id"));
    server.send("POST", &replay, &[], "").await.problem(409, "not_replayable");
    server.stop().await;
}

#[tokio::test]
async fn the_default_source_verifies_once_it_is_told_to() {
    let server = RealServer::start().await;
    let source = server.get("/v1/sources/default").await.expect(200);
    assert_eq!((&source["verify"], &source["created_at"]), (&Value::Null, &Value::Null));
    server.create(json!({"id": "1"})).await;
    let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
    let verify = json!({"verify": {"scheme": "standard-webhooks", "secrets": [secret]}});
    put(&server, "default", verify).await.expect(200);
    let body = r#"{"event":"task_completed","task_id":"1"}"#;
    server.send("POST", "/webhook", &[], body).await.problem(401, "unauthorized");
    let at = now().to_string();
    let signed = code(&[7; 32], &[b"msg_1.", at.as_bytes(), b".", body.as_bytes()]);
    let signature = format!("v1,{}", STANDARD.encode(signed));
    let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &at), ("webhook-signature", &signature)];
    let answer = server.send("POST", "/webhook", &headers, body).await.expect(200);
    assert_eq!((&answer["outcome"], &answer["task_state"]), (&json!("applied"), &json!("succeeded")));
    // Its other name is the same door.
    assert_eq!(
        server.send("POST", "/webhook/default", &headers, body).await.expect(200)["outcome"],
        "duplicate"
    );
    server.send("DELETE", "/v1/sources/default", &[], "").await.problem(409, "always_there");
    put(&server, "default", json!({})).await.expect(200);
    server.send("POST", "/webhook", &[], body).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_generic_signature_is_described() {
    let server = RealServer::start().await;
    let verify = json!({
        "scheme": "hmac", "secrets": [SECRET], "header": "X-Sign", "algorithm": "sha512", "encoding": "base64",
        "prefix": "v1 ", "signed": "{header:x-id}:{timestamp}:{url}:{body}", "timestamp_header": "x-time",
        "tolerance": "1h", "url": "https://hooks.example/in",
    });
    put(&server, "own", json!({"verify": verify})).await.expect(201);
    let at = format!("{}000", now() - 3_000);
    let text = format!("7:{at}:https://hooks.example/in:{{}}");
    let key = hmac::Key::new(hmac::HMAC_SHA512, SECRET.as_bytes());
    let signature = format!("v1 {}", STANDARD.encode(hmac::sign(&key, text.as_bytes())));
    let headers = [("x-sign", signature.as_str()), ("x-id", "7"), ("x-time", &at)];
    server.send("POST", "/webhook/own", &headers, "{}").await.expect(200);
    let headers = [("x-sign", signature.as_str()), ("x-id", "8"), ("x-time", &at)];
    server.send("POST", "/webhook/own", &headers, "{}").await.problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_is_signed_for_us_proves_a_request() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let server = RealServer::start().await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": URL_SAFE_NO_PAD.encode(pair.public_key())});
    let verify = json!({"scheme": "jwt", "jwks": {"keys": [key]}, "audience": "hooks"});
    let shown = put(&server, "push", json!({"verify": verify})).await.expect(201);
    assert_eq!((&shown["verify"]["audience"], &shown["verify"]["secrets"]), (&json!("hooks"), &json!([])));
    let send = async |audience: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"aud": audience, "exp": now() + 60});
        let signed = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "k"})), part(claims));
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())));
        let headers = [("authorization", format!("Bearer {token}"))];
        server.send("POST", "/webhook/push", &[(headers[0].0, &headers[0].1)], "{}").await
    };
    send("hooks").await.expect(200);
    send("others").await.problem(401, "unauthorized");
    let event = newest(&server).await;
    assert!(event["reason"].as_str().expect("a reason").contains("InvalidAudience"), "{event}");
    assert_eq!(event["headers"]["authorization"], "[redacted]");
    let replay = format!("/v1/events/{}/replay", event["id"].as_str().expect("an id"));
    server.send("POST", &replay, &[], "").await.problem(409, "not_replayable");
    server.send("POST", "/webhook/push", &[], "{}").await.problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_definition_is_refused_where_it_is_wrong() {
    let server = RealServer::start().await;
    let verify = |fields: Value| json!({"verify": with(json!({"scheme": "hmac", "header": "x", "secrets": [SECRET]}), fields)});
    for (source, pointer, code) in [
        (json!({}), "/verify", "missing"),
        (json!({"verify": null}), "/verify", "missing"),
        (json!({"verify": {}}), "/verify/scheme", "missing"),
        (json!({"verify": []}), "/verify", "wrong_type"),
        (json!({"verify": {"scheme": "github"}}), "/verify/secrets", "missing"),
        (json!({"verify": {"scheme": "github", "secrets": []}}), "/verify/secrets", "missing"),
        (json!({"verify": {"scheme": "githup", "secrets": [SECRET]}}), "/verify/scheme", "unknown_value"),
        (
            json!({"verify": {"scheme": "none", "secrets": [SECRET]}}),
            "/verify/secrets",
            "not_for_this_scheme",
        ),
        (
            json!({"verify": {"scheme": "github", "secrets": [SECRET], "header": "x"}}),
            "/verify/header",
            "not_for_this_scheme",
        ),
        (json!({"verify": {"scheme": "discord", "secrets": [SECRET]}}), "/verify/secrets/0", "not_a_secret"),
        (json!({"verify": {"scheme": "basic", "secrets": [SECRET]}}), "/verify/secrets/0", "not_a_secret"),
        (json!({"verify": {"scheme": "jwt"}}), "/verify/jwks", "invalid"),
        (
            json!({"verify": {"scheme": "jwt", "jwks": {"keys": []}, "audience": "a"}}),
            "/verify/jwks",
            "invalid",
        ),
        (json!({"verify": {"scheme": "jwt", "jwks": {"keys": []}}}), "/verify/audience", "invalid"),
        (
            json!({"verify": {"scheme": "github", "secrets": [SECRET], "jwks": {}}}),
            "/verify/jwks",
            "not_for_this_scheme",
        ),
        (verify(json!({"secrets": [SECRET, SECRET]})), "/verify/secrets/1", "twice"),
        (verify(json!({"secrets": ["x".repeat(2_000)]})), "/verify/secrets/0", "not_a_secret"),
        (verify(json!({"secrets": "one"})), "/verify/secrets", "wrong_type"),
        (verify(json!({"header": "a b"})), "/verify/header", "invalid"),
        (verify(json!({"header": null})), "/verify/header", "invalid"),
        (verify(json!({"algorithm": "md5"})), "/verify/algorithm", "invalid"),
        (verify(json!({"signed": "{id}"})), "/verify/signed", "invalid"),
        (verify(json!({"tolerance": "0s"})), "/verify/tolerance", "out_of_range"),
        (verify(json!({"tolerance": "31d"})), "/verify/tolerance", "out_of_range"),
        (verify(json!({"url": "hooks.example"})), "/verify/url", "not_a_url"),
        (verify(json!({"secret": "x"})), "/verify/secret", "unknown_field"),
        (
            json!({"verify": {"scheme": "none"}, "map": {"event": {"a": "task_done"}}}),
            "/map/event/a",
            "unknown_value",
        ),
        (
            json!({"verify": {"scheme": "none"}, "response": {"status": 302}}),
            "/response/status",
            "out_of_range",
        ),
        (
            json!({"verify": {"scheme": "none"}, "response": {"status": 204, "body": "x"}}),
            "/response/body",
            "conflict",
        ),
        (
            json!({"verify": {"scheme": "none"}, "response": {"content_type": "a\nb"}}),
            "/response/content_type",
            "not_a_header",
        ),
        (json!({"verify": {"scheme": "none"}, "secret": "x"}), "/secret", "unknown_field"),
    ] {
        let answer = put(&server, "bad", source.clone()).await;
        assert_eq!(answer.faults(), [(pointer.to_string(), code.to_string())], "{source}");
        assert!(!answer.text().contains(SECRET), "{source}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_source_that_is_not_there_is_not_found_and_one_that_was_deleted_neither() {
    let server = RealServer::start().await;
    assert_eq!(put(&server, "-", json!({"verify": {"scheme": "none"}})).await.faults()[0].0, "/name");
    server.get("/v1/sources/bad").await.problem(404, "not_found");
    server.send("DELETE", "/v1/sources/bad", &[], "").await.problem(404, "not_found");
    server.post("/v1/sources/bad/rotate-secret", json!({"secret": SECRET})).await.problem(404, "not_found");
    server.post("/v1/sources/bad/test", json!({})).await.problem(404, "not_found");
    server
        .post("/v1/sources/default/rotate-secret", json!({"secret": SECRET}))
        .await
        .problem(409, "no_secrets");
    put(&server, "gone", json!({"verify": {"scheme": "none"}})).await.expect(201);
    server.send("POST", "/webhook/gone", &[], "{}").await.expect(200);
    assert_eq!(server.send("DELETE", "/v1/sources/gone", &[], "").await.status, 204);
    server.send("POST", "/webhook/gone", &[], "{}").await.problem(404, "not_found");
    server.stop().await;
}

#[tokio::test]
async fn a_test_shows_what_a_request_would_do_without_doing_it() {
    let server = RealServer::start().await;
    put(&server, "github", json!({"verify": {"scheme": "github", "secrets": [SECRET]}})).await.expect(201);
    let (body, path) = (r#"{"action":"opened"}"#, "/v1/sources/github/test");
    let headers = json!({"x-hub-signature-256": hub(SECRET, body), "x-github-event": "issues", "x-github-delivery": "d"});
    let would = server.post(path, json!({"body": body, "headers": headers})).await.expect(200);
    assert_eq!((&would["verified"], &would["type"]), (&json!(true), &json!("issues.opened")));
    assert_eq!((&would["delivery_id"], &would["reason"]), (&json!("d"), &Value::Null));
    assert!(would["secret"].is_string(), "{would}");
    let would = server.post(path, json!({"body": body})).await.expect(200);
    assert_eq!(
        (&would["verified"], &would["reason"]),
        (&json!(false), &json!("it has no header x-hub-signature-256"))
    );
    let task = json!({"event": "task.completed", "data": {"task_id": 7}, "attempt": 2}).to_string();
    let would = server.post("/v1/sources/default/test", json!({"body": task})).await.expect(200);
    assert_eq!((&would["event"], &would["task"]), (&json!("task_completed"), &json!("7")));
    assert_eq!((&would["attempt"], &would["verified"]), (&json!(2), &json!(true)));
    let would = server.post("/v1/sources/default/test", json!({"body": "{"})).await.expect(200);
    assert!(would["reason"].as_str().expect("a reason").contains("line 1 column 1"), "{would}");
    assert_eq!(server.post(path, json!({"headers": {"a b": "x"}})).await.faults()[0].0, "/headers/a b");
    assert_eq!(server.get("/v1/events").await.expect(200)["data"], json!([]), "nothing was done");
    server.stop().await;
}

/// The body of a request that is answered 200.
async fn asked(server: &Api, name: &str, headers: &[(&str, &str)], body: &str) -> Value {
    server.send("POST", &format!("/webhook/{name}"), headers, body.to_string()).await.expect(200)
}

#[tokio::test]
async fn a_sender_that_asks_whether_the_address_is_ours_is_answered() {
    let server = RealServer::start().await;
    let at = now().to_string();
    let version_0 = |body: &str| {
        format!(
            "v0={}",
            hex::encode(code(SECRET.as_bytes(), &[b"v0:", at.as_bytes(), b":", body.as_bytes()]))
        )
    };
    for scheme in ["slack", "zoom", "meta", "azure-event-grid", "cloudevents"] {
        put(&server, scheme, json!({"verify": {"scheme": scheme, "secrets": [SECRET]}})).await.expect(201);
    }
    let body = r#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    let signature = version_0(body);
    let headers = [("x-slack-signature", signature.as_str()), ("x-slack-request-timestamp", &at)];
    assert_eq!(asked(&server, "slack", &headers, body).await, json!({"challenge": "3eZbrw1aB"}));
    server.send("POST", "/webhook/slack", &headers[1..], body).await.problem(401, "unauthorized");

    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let signature = version_0(body);
    let headers = [("x-zm-signature", signature.as_str()), ("x-zm-request-timestamp", &at)];
    let token = hex::encode(code(SECRET.as_bytes(), &[b"qgg8vlvZRS6UYooatFL8Aw"]));
    let wanted = json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": token});
    assert_eq!(asked(&server, "zoom", &headers, body).await, wanted);

    let bearer = format!("Bearer {SECRET}");
    let body = r#"[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6"}}]"#;
    let headers = [("aeg-event-type", "SubscriptionValidation"), ("authorization", bearer.as_str())];
    assert_eq!(
        asked(&server, "azure-event-grid", &headers, body).await,
        json!({"validationResponse": "512d38b6"})
    );
    server.send("POST", "/webhook/azure-event-grid", &headers[..1], body).await.problem(401, "unauthorized");

    for name in ["cloudevents", "azure-event-grid"] {
        let headers = [("webhook-request-origin", "events.example"), ("webhook-request-rate", "120")];
        let answer = server.send("OPTIONS", &format!("/webhook/{name}"), &headers, "").await;
        assert_eq!((answer.status, answer.header("webhook-allowed-origin")), (200, Some("events.example")));
        assert_eq!(
            (answer.header("webhook-allowed-rate"), answer.header("allow")),
            (Some("*"), Some("POST"))
        );
        server.send("OPTIONS", &format!("/webhook/{name}"), &[], "").await.problem(400, "malformed");
    }
    server.send("OPTIONS", "/webhook/slack", &[], "").await.problem(405, "method_not_allowed");
    server.send("GET", "/webhook/slack", &[], "").await.problem(405, "method_not_allowed");
    server.send("GET", "/webhook/nobody", &[], "").await.problem(404, "not_found");

    let question = "/webhook/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    server.get(&format!("{question}meatyhamhock")).await.problem(401, "unauthorized");
    let verify = json!({"scheme": "meta", "verify_token": "meatyhamhock"});
    let shown = put(&server, "meta", json!({"verify": verify})).await.expect(200);
    assert!(!shown.to_string().contains("meatyhamhock"), "{shown}");
    // Left out, it stays.
    put(&server, "meta", json!({"verify": {"scheme": "meta"}})).await.expect(200);
    let answer = server.get(&format!("{question}meatyhamhock")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "1158201444"));
    server.get(&format!("{question}meatyhamhook")).await.problem(401, "unauthorized");
    server.get(&question.replace("subscribe", "other")).await.problem(401, "unauthorized");
    assert_eq!(
        server.get("/v1/events?outcome=recorded").await.expect(200)["data"],
        json!([]),
        "nothing is kept"
    );
    server.stop().await;
}

#[tokio::test]
async fn discord_hears_what_it_insists_on() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    let server = RealServer::start().await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = hex::encode(pair.public_key().as_ref());
    put(&server, "discord", json!({"verify": {"scheme": "discord", "secrets": [public]}})).await.expect(201);
    let at = now().to_string();
    let send = async |body: &str, signed: &str| {
        let signature = hex::encode(pair.sign(format!("{at}{signed}").as_bytes()).as_ref());
        let headers = [("x-signature-ed25519", signature.as_str()), ("x-signature-timestamp", &at)];
        server.send("POST", "/webhook/discord", &headers, body.to_string()).await
    };
    assert_eq!(send(r#"{"type":1}"#, r#"{"type":1}"#).await.expect(200), json!({"type": 1}));
    let ping = send(r#"{"type":0}"#, r#"{"type":0}"#).await;
    assert_eq!((ping.status, ping.text()), (204, String::new()));
    // It sends wrong ones on purpose, and goes away where they are taken.
    send(r#"{"type":1}"#, r#"{"type":0}"#).await.problem(401, "unauthorized");
    let event = r#"{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}"#;
    let taken = send(event, event).await;
    assert_eq!((taken.status, taken.text()), (204, String::new()));
    assert_eq!(newest(&server).await["type"], "APPLICATION_AUTHORIZED");
    server.stop().await;
}

#[tokio::test]
async fn events_that_come_together_count_each_for_itself() {
    let server = RealServer::start().await;
    let source = json!({"verify": {"scheme": "cloudevents", "secrets": [CANARY]}});
    put(&server, "ce", source).await.expect(201);
    server.create(json!({"id": "1", "source": "ce"})).await;
    let one = |id: &str, task: &str| json!({"specversion": "1.0", "id": id, "source": "/jobs", "type": "task_completed", "data": {"task_id": task}});
    let body = json!([one("a", "1"), one("b", "2"), one("a", "1")]).to_string();
    let headers =
        [("content-type", "application/cloudevents-batch+json; charset=utf-8"), ("webhook-id", "all")];
    let path = format!("/webhook/ce?access_token={CANARY}");
    let answer = server.send("POST", &path, &headers, body.clone()).await.expect(200);
    let outcomes = |answer: &Value| -> Vec<String> {
        let events = answer["events"].as_array().expect("events");
        events.iter().map(|event| event["outcome"].as_str().expect("an outcome").to_string()).collect()
    };
    assert_eq!(outcomes(&answer), ["applied", "unmatched", "duplicate"]);
    assert_eq!(server.task("1").await["state"], "succeeded");
    let again = server.send("POST", &path, &headers, body).await.expect(200);
    assert_eq!(outcomes(&again), ["duplicate"; 3]);
    let event = newest(&server).await;
    assert_eq!((&event["delivery_id"], &event["type"]), (&json!("/jobs\na"), &json!("task_completed")));
    // However many there are, they keep their order.
    let said = |count: usize| {
        let one = |number: usize| json!({"event": "task_progress", "task_id": "9", "progress": number as f64 / 2_000.0});
        json!((0..count).map(one).collect::<Vec<_>>()).to_string()
    };
    server.create(json!({"id": "9", "source": "ce"})).await;
    let many = server.send("POST", &path, &headers, said(2_001)).await.expect(200);
    assert!(outcomes(&many).iter().all(|outcome| outcome == "applied") && outcomes(&many).len() == 2_001);
    assert_eq!(server.task("9").await["progress"], 1.0);
    // All are read before the first counts.
    for body in
        ["[]", "[1]", r#"[{"event":"x"},{"a":1,"a":2}]"#, "[{}", &format!("[{}{{}}]", "{},".repeat(5_000))]
    {
        server.send("POST", &path, &headers, body.to_string()).await.problem(400, "malformed");
    }
    server
        .send("POST", "/webhook/ce?access_token=wrong-secret", &headers, "[{}]")
        .await
        .problem(401, "unauthorized");
    let shown = server.get("/v1/events").await.expect(200).to_string();
    assert!(!shown.contains(CANARY), "a token in a URL is not kept");
    // In binary mode the attributes are headers.
    let headers =
        [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/jobs"), ("ce-type", "job.done")];
    let answer = server.send("POST", &path, &headers, "{}").await.expect(200);
    assert_eq!(answer["outcome"], "recorded");
    let event = newest(&server).await;
    assert_eq!((&event["type"], &event["delivery_id"]), (&json!("job.done"), &json!("/jobs\n7")));
    server.stop().await;
}

/// A service of its own kind, whose events are mapped by expressions.
async fn mapped(server: &Api, map: Value) {
    let source = json!({"verify": {"scheme": "none"}, "map": map});
    let answer = put(server, "mapped", source).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

#[tokio::test]
async fn expressions_say_where_everything_is() {
    let server = RealServer::start().await;
    let map = json!({
        "event": "body.status == 'DONE' ? 'task_completed' : body.status == 'BROKEN' ? 'task_failed' : body.status",
        "task_id": "has(body.job) ? body.job.ref : headers['x-job']",
        "result": "{'pages': body.job.pages.map(p, p.n), 'by': query['by']}",
        "error": "{'message': body.why, 'code': 'remote', 'retryable': false}",
        "delivery_id": "string(body.seq)",
    });
    mapped(&server, map.clone()).await;
    let shown = server.get("/v1/sources/mapped").await.expect(200);
    assert_eq!(shown["map"], map, "it is shown as it was given");
    for id in ["a", "b", "7"] {
        server.create(json!({"id": id, "source": "mapped"})).await;
    }
    let done = json!({"status": "DONE", "seq": 1, "job": {"ref": "a", "pages": [{"n": 3}, {"n": 5}]}});
    let taken = server.tell("/webhook/mapped?by=me", &[], done.clone()).await;
    assert_eq!((&taken["outcome"], &taken["task_state"]), (&json!("applied"), &json!("succeeded")));
    assert_eq!(server.task("a").await["result"], json!({"pages": [3, 5], "by": "me"}));
    assert_eq!(server.tell("/webhook/mapped", &[], done).await["outcome"], "duplicate");

    let broken = json!({"status": "BROKEN", "seq": 2, "why": "no paper"});
    let taken = server.tell("/webhook/mapped", &[("x-job", "b")], broken).await;
    assert_eq!(taken["task_state"], "failed", "{taken}");
    let error = server.task("b").await["error"].clone();
    assert_eq!(error, json!({"code": "remote", "message": "no paper"}));
    // A number is read as its decimal text.
    let number = json!({"status": "DONE", "seq": 3, "job": {"ref": 7, "pages": []}});
    assert_eq!(server.tell("/webhook/mapped", &[], number).await["task_state"], "succeeded");

    // What is not there is not found; what is no task event is recorded.
    let other = json!({"status": "QUEUED", "seq": 4});
    assert_eq!(server.tell("/webhook/mapped", &[], other).await["outcome"], "recorded");
    let nameless = json!({"status": "DONE", "seq": 5});
    let recorded = server.tell("/webhook/mapped", &[], nameless).await;
    assert_eq!((&recorded["outcome"], &recorded["reason"]), (&json!("recorded"), &json!("it names no task")));
    server.stop().await;
}

#[tokio::test]
async fn what_an_expression_cannot_say_is_kept_until_it_is_mended() {
    let server = RealServer::start().await;
    mapped(&server, json!({"event": "'task_completed'", "task_id": "body.id + 1"})).await;
    server.create(json!({"id": "a", "source": "mapped"})).await;
    let refused = server.post("/webhook/mapped", json!({"id": "a"})).await.problem(400, "not_mapped");
    assert_eq!(refused["detail"], "the source cannot map it", "why is for who owns it");
    let event = newest(&server).await;
    assert_eq!(event["outcome"], "rejected");
    let reason = event["reason"].as_str().expect("a reason");
    assert!(reason.contains("map.task_id: ") && reason.contains("add"), "{reason}");

    let replay = format!("/v1/events/{}/replay", event["id"].as_str().expect("an id"));
    let again = server.post(&replay, json!({})).await.problem(409, "not_replayable");
    assert!(again["detail"].as_str().is_some_and(|text| text.contains("still cannot map it")), "{again}");
    mapped(&server, json!({"event": "'task_completed'", "task_id": "body.id"})).await;
    assert_eq!(server.post(&replay, json!({})).await.expect(200)["task_state"], "succeeded");
    server.stop().await;
}

#[tokio::test]
async fn a_sender_of_its_own_kind_reports_once_its_source_says_where() {
    let server = RealServer::start().await;
    let source = json!({
        "verify": {"scheme": "github", "secrets": [SECRET]},
        "map": {
            "event": {"workflow_run.completed": "task_completed"},
            "task_id": "body.workflow_run.name",
            "result": "body.workflow_run.conclusion",
        },
    });
    put(&server, "github", source).await.expect(201);
    server.create(json!({"id": "nightly", "source": "github"})).await;
    let body = r#"{"action":"completed","workflow_run":{"name":"nightly","conclusion":"success"}}"#;
    let signature = hub(SECRET, body);
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", "workflow_run")];
    assert_eq!(github(&server, &headers, body).await.expect(200)["task_state"], "succeeded");
    assert_eq!(server.task("nightly").await["result"], "success");
    // Tried out, without doing it; secrets of headers are not for expressions.
    let test = json!({"body": body, "headers": {"x-hub-signature-256": signature, "x-github-event": "workflow_run"}});
    let tested = server.post("/v1/sources/github/test", test).await.expect(200);
    assert_eq!((&tested["event"], &tested["task"]), (&json!("task_completed"), &json!("nightly")));
    let bearer = json!({
        "verify": {"scheme": "bearer", "secrets": [CANARY]},
        "map": {"event": "headers.authorization", "task_id": "'x'"},
    });
    put(&server, "token", bearer).await.expect(201);
    let authorization = format!("Bearer {CANARY}");
    server.tell("/webhook/token", &[("authorization", &authorization)], json!({})).await;
    let event = newest(&server).await;
    assert_eq!(event["type"], "[redacted]", "{event}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_expression_is_refused_with_its_place() {
    let server = RealServer::start().await;
    for (map, pointer, code) in [
        (json!({"task_id": "body."}), "/map/task_id", "not_an_expression"),
        (json!({"task_id": ""}), "/map/task_id", "not_an_expression"),
        (json!({"task_id": "task.id"}), "/map/task_id", "not_an_expression"),
        (json!({"event": "'a".repeat(3_000)}), "/map/event", "not_an_expression"),
        (json!({"event": format!("{}1", "true ? 1 : ".repeat(370))}), "/map/event", "not_an_expression"),
        (json!({"result": "body.map(a, body.map(b, body.map(c, c)))"}), "/map/result", "not_an_expression"),
        (json!({"result": 5}), "/map/result", "wrong_type"),
        (json!({"event": [1]}), "/map/event", "wrong_type"),
        (json!({"task": "body.id"}), "/map/task", "unknown_field"),
    ] {
        let answer = put(&server, "x", json!({"verify": {"scheme": "none"}, "map": map})).await;
        assert_eq!(answer.faults(), [(pointer.to_string(), code.to_string())], "{map}");
    }
    // A long list costs nobody else their answer.
    mapped(&server, json!({"event": "body.l.exists(a, body.l.exists(b, a + b < 0)) ? 'x' : 'y'"})).await;
    let long = json!({"l": vec![1; 301]});
    server.post("/webhook/mapped", long).await.problem(400, "not_mapped");
    server.tell("/webhook/mapped", &[], json!({"l": vec![1; 300]})).await;
    // It is there after a restart too.
    let server = server.restart().await;
    server.tell("/webhook/mapped", &[], json!({"l": [1]})).await;
    assert_eq!(newest(&server).await["type"], "y");
    server.stop().await;
}
