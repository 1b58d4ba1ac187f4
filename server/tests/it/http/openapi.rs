//! The OpenAPI document, made from the routes: a change of the public API shows as a change of its snapshot.

use serde_json::{Value, json};

use crate::support::TestServer;

fn document() -> Value {
    let text = taskhook::http::document().to_json().expect("a document");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_document_is_the_one_that_was_looked_at() {
    let pretty = taskhook::http::document().to_pretty_json().expect("a document");
    insta::assert_snapshot!("openapi", pretty);
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_served() {
    let server = TestServer::start().await;
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let served = answer.expect(200);
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["title"], "Taskhook");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(served, document());
    server.stop().await;
}

#[tokio::test]
async fn every_path_of_the_contract_is_in_the_document_and_every_path_in_it_is_served() {
    let mut listed = Vec::new();
    for (path, methods) in document()["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
            listed.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    listed.sort();
    let wanted = [
        "DELETE /v1/keys/{key}",
        "DELETE /v1/schedules/{name}",
        "DELETE /v1/sources/{name}",
        "GET /healthz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
        "GET /v1/audit",
        "GET /v1/bulk",
        "GET /v1/bulk/{id}",
        "GET /v1/events",
        "GET /v1/events/{id}",
        "GET /v1/hold",
        "GET /v1/keys",
        "GET /v1/queues",
        "GET /v1/queues/{name}",
        "GET /v1/schedules",
        "GET /v1/schedules/{name}",
        "GET /v1/schedules/{name}/preview",
        "GET /v1/secrets/dispatch",
        "GET /v1/sources",
        "GET /v1/sources/{name}",
        "GET /v1/stats/tasks",
        "GET /v1/tasks",
        "GET /v1/tasks/{id}",
        "GET /v1/tasks/{id}/history",
        "GET /webhook/{source}",
        "OPTIONS /webhook/{source}",
        "POST /callback/{token}",
        "POST /v1/bulk",
        "POST /v1/bulk/{id}/cancel",
        "POST /v1/events/{id}/replay",
        "POST /v1/hold",
        "POST /v1/keys",
        "POST /v1/queues/{name}/pause",
        "POST /v1/queues/{name}/resume",
        "POST /v1/resume",
        "POST /v1/schedules/{name}/backfill",
        "POST /v1/schedules/{name}/pause",
        "POST /v1/schedules/{name}/resume",
        "POST /v1/schedules/{name}/trigger",
        "POST /v1/secrets/dispatch/rotate",
        "POST /v1/sources/{name}/rotate-secret",
        "POST /v1/sources/{name}/test",
        "POST /v1/tasks",
        "POST /v1/tasks/batch",
        "POST /v1/tasks/{id}/cancel",
        "POST /v1/tasks/{id}/retry",
        "POST /v1/tasks/{id}/trigger",
        "POST /webhook",
        "POST /webhook/{source}",
        "PUT /v1/queues/{name}",
        "PUT /v1/schedules/{name}",
        "PUT /v1/sources/{name}",
    ];
    assert_eq!(listed, wanted);

    let server = TestServer::start().await;
    for route in wanted {
        let (method, path) = route.split_once(' ').expect("a route");
        let answer = server.send(method, path, &[], "").await;
        assert!(answer.status != 405, "{route}");
        let no_route = String::from_utf8_lossy(&answer.body).contains("there is nothing here");
        assert!(!no_route, "{route}");
    }
    server.stop().await;
}

#[test]
fn all_that_is_referred_to_is_defined() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members
                    .get("$ref")
                    .and_then(Value::as_str)
                    .into_iter()
                    .for_each(|text| found.push(text.into()));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_fields_in_the_document_are_those_that_are_read() {
    let server = TestServer::start().await;
    let document = document();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    for (name, method, path, around) in [
        ("TaskRequest", "POST", "/v1/tasks", ""),
        ("RetryRequest", "POST", "/v1/tasks", "/retry"),
        ("UniqueRequest", "POST", "/v1/tasks", "/unique"),
        ("StatusObject", "POST", "/v1/tasks", "/status"),
        ("StatusMapRequest", "POST", "/v1/tasks", "/status/map"),
        ("BatchRequest", "POST", "/v1/tasks/batch", ""),
        ("ReopenRequest", "POST", "/v1/tasks/t/retry", ""),
        ("BulkRequest", "POST", "/v1/bulk", ""),
        ("BulkFilterRequest", "POST", "/v1/bulk", "/filter"),
        ("QueueRequest", "PUT", "/v1/queues/q", ""),
        ("PerKeyRequest", "PUT", "/v1/queues/q", "/per_key"),
        ("RateRequest", "PUT", "/v1/queues/q", "/rate"),
        ("ScheduleRequest", "PUT", "/v1/schedules/s", ""),
        ("TriggerRequest", "POST", "/v1/schedules/s/trigger", ""),
        ("BackfillRequest", "POST", "/v1/schedules/s/backfill", ""),
        ("SourceRequest", "PUT", "/v1/sources/s", ""),
        ("VerifyRequest", "PUT", "/v1/sources/s", "/verify"),
        ("MapRequest", "PUT", "/v1/sources/s", "/map"),
        ("ResponseRequest", "PUT", "/v1/sources/s", "/response"),
        ("TestRequest", "POST", "/v1/sources/default/test", ""),
        ("KeyRequest", "POST", "/v1/keys", ""),
    ] {
        let schema = schema(name);
        assert_eq!(schema["additionalProperties"], false, "{name}");
        for field in schema["properties"].as_object().expect("properties").keys() {
            // Of a type that no field has, so that one that is read says so.
            let mut body = json!({field: [[true]]});
            for name in around.split('/').rev().filter(|name| !name.is_empty()) {
                body = json!({name: body});
            }
            let answer = server.send(method, path, &[], body.to_string()).await;
            if field == "payload" {
                assert_eq!(answer.faults(), [("/payload".to_string(), "needs_url".to_string())]);
                continue;
            }
            if field == "jwks" {
                // It is any JSON, and only for a scheme.
                continue;
            }
            let faults = answer.faults();
            let at = format!("{around}/{field}");
            let is_read = |(pointer, code): &(String, String)| {
                pointer.starts_with(&at) && ["wrong_type", "not_a_dependency"].contains(&code.as_str())
            };
            assert!(faults.iter().any(is_read), "{name}.{field}: {faults:?}");
        }
    }
    // And what is answered of a task is what can be asked for, and what became of it.
    let asked = schema("TaskRequest")["properties"].as_object().expect("properties").clone();
    let answered = schema("TaskBody")["properties"].as_object().expect("properties").clone();
    let missing: Vec<&String> = asked.keys().filter(|field| !answered.contains_key(*field)).collect();
    assert_eq!(missing, ["delay"], "it is answered as run_at");
    server.stop().await;
}

/// What generators of clients stumble over (<https://spec.openapis.org/oas/v3.1.0#operation-object>).
#[test]
fn each_operation_has_an_id_of_its_own_and_each_answer_a_description() {
    let document = document();
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_string()), "{method} {path} is a second {id}");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let words = response["description"].as_str();
                assert!(words.is_some_and(|words| !words.is_empty()), "{method} {path} {status}: {response}");
            }
        }
    }
}

#[test]
fn a_refusal_is_a_problem_wherever_there_may_be_one() {
    let document = document();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let open = ["/healthz", "/openapi.json", "/metrics"].contains(&path.as_str());
            let problem =
                &operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert!(open || problem == "#/components/schemas/Problem", "{method} {path}: {operation}");
        }
    }
}
