//! Webhooks that were proved and cannot be read: kept, and replayed once that is mended.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::binary::process::RealServer;

const SECRET: &str = "It's a Secret to Everybody";

async fn put(server: &RealServer, name: &str, source: Value) -> Value {
    let answer = server.send("PUT", &format!("/v1/sources/{name}"), &[], source.to_string()).await;
    assert!(answer.status < 300, "{}", answer.text());
    answer.json()
}

fn signature(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hex::encode(hmac::sign(&key, body.as_bytes()))
}

/// A source that signs whole requests, with this map.
fn signed(map: &Value) -> Value {
    json!({"verify": {"scheme": "hmac", "header": "x-signature", "secrets": [SECRET]}, "map": map})
}

/// One event that cannot be read takes none of the others with it, and comes back when it can.
#[tokio::test]
async fn a_part_that_cannot_be_read_is_kept_and_the_others_count() {
    let server = RealServer::start().await;
    let map = |task: &str| json!({"event": "body.type", "task_id": task});
    put(&server, "builds", signed(&map("body.data.number + ''"))).await;
    for id in ["7", "8", "9"] {
        server.create(json!({"id": id, "source": "builds"})).await;
    }
    let event = |id: &str, number: Value| json!({"specversion": "1.0", "id": id, "source": "ci", "type": "task_completed", "data": {"number": number}});
    let send = async |events: Value| {
        let body = events.to_string();
        let signature = signature(&body);
        let headers =
            [("content-type", "application/cloudevents-batch+json"), ("x-signature", signature.as_str())];
        server.send("POST", "/webhook/builds", &headers, body).await
    };
    let answer =
        send(json!([event("a", json!("7")), event("b", json!(8)), event("c", json!("9"))])).await.expect(200);
    let outcomes: Vec<&Value> =
        answer["events"].as_array().unwrap().iter().map(|event| &event["outcome"]).collect();
    assert_eq!(outcomes, ["applied", "rejected", "applied"]);
    assert_eq!(answer["events"][1]["reason"], "not_mapped");
    assert_eq!(server.task("7").await["state"], "succeeded");
    assert_eq!(server.task("9").await["state"], "succeeded");
    let kept = answer["events"][1]["event_id"].as_str().unwrap().to_string();
    let event_kept = server.get(&format!("/v1/events/{kept}")).await.expect(200);
    assert_eq!(event_kept["outcome"], "rejected");
    // It was proved with the whole request, of which it is only a part.
    put(&server, "builds", signed(&map("string(body.data.number)"))).await;
    let replayed = server.post(&format!("/v1/events/{kept}/replay"), json!({})).await.expect(200);
    assert_eq!((&replayed["outcome"], &replayed["task_state"]), (&json!("applied"), &json!("succeeded")));
    // Where none can be read, the sender hears so.
    put(&server, "builds", signed(&map("body.data.number + ''"))).await;
    let refused = send(json!([event("d", json!(1)), event("e", json!(2))])).await;
    refused.problem(400, "not_mapped");
    assert_eq!(
        server.get("/v1/events?outcome=rejected").await.expect(200)["data"].as_array().unwrap().len(),
        3
    );
}

/// The URL is a part of what Twilio signs, and the source `default` has two.
#[tokio::test]
async fn what_came_to_the_short_address_of_default_is_proved_again_for_it() {
    let server = RealServer::start().await;
    let twilio = |secret: &str| json!({"verify": {"scheme": "twilio", "secrets": [secret]}});
    put(&server, "default", twilio("another secret")).await;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    for path in ["/webhook", "/webhook/default", "/webhook?x=1"] {
        let signed = format!("{}{path}FromaStatusb", server.url);
        let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-twilio-signature", signature.as_str()),
        ];
        server.send("POST", path, &headers, "From=a&Status=b").await.problem(401, "unauthorized");
    }
    let rejected = server.get("/v1/events?outcome=rejected").await.expect(200);
    put(&server, "default", twilio(SECRET)).await;
    for event in rejected["data"].as_array().unwrap() {
        let path = format!("/v1/events/{}/replay", event["id"].as_str().unwrap());
        let replayed = server.post(&path, json!({})).await.expect(200);
        assert_eq!(replayed["outcome"], "recorded", "{event}");
    }
    assert_eq!(rejected["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn no_credential_of_a_query_is_kept_or_comes_into_a_result() {
    let server = RealServer::start().await;
    let map = json!({"event": "'task_completed'", "task_id": "query.task", "result": "query"});
    put(&server, "q", json!({"verify": {"scheme": "none"}, "map": map})).await;
    server.create(json!({"id": "a", "source": "q"})).await;
    let secrets = "access_token=canary&X-Amz-Signature=canary&sig=canary&pass=canary&pwd=canary&auth=canary&jwt=canary\
                   &SAMLResponse=canary&api_key=canary&canary-canary-canary-canary";
    let answer = server.tell(&format!("/webhook/q?task=a&author=me&{secrets}"), &[], json!({})).await;
    assert_eq!(answer["outcome"], "applied");
    let event = server.get(&format!("/v1/events/{}", answer["event_id"].as_str().unwrap())).await.expect(200);
    let task = server.task("a").await;
    assert_eq!(task["result"]["author"], "me");
    assert!(!event.to_string().contains("canary") && !task.to_string().contains("canary"), "{event} {task}");
}

/// A task that is reopened is known to its remote as before, or says that it cannot be.
#[tokio::test]
async fn a_reopened_task_takes_its_id_again() {
    let server = RealServer::start().await;
    let map = json!({"event": "body.event", "external_id": "body.job"});
    put(&server, "shop", json!({"verify": {"scheme": "none"}, "map": map})).await;
    let says =
        async |event: &str| server.tell("/webhook/shop", &[], json!({"event": event, "job": "pi"})).await;
    let task = |id: &str| json!({"id": id, "source": "shop", "correlate": "pi"});
    server.create(task("a")).await;
    says("task_failed").await;
    server.create(task("b")).await;
    server.post("/v1/tasks/a/retry", json!({})).await.problem(409, "external_id_taken");
    assert_eq!(says("task_completed").await["outcome"], "applied");
    assert_eq!(server.task("b").await["state"], "succeeded");
    server.post("/v1/tasks/a/retry", json!({})).await.expect(200);
    assert_eq!(server.task("a").await["external_id"], "pi");
    assert_eq!(says("task_completed").await["task_state"], "succeeded");
    assert_eq!(server.task("a").await["state"], "succeeded");
}
