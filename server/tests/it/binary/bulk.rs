//! Bulks with the real binary: one that is killed half way goes on, tells each task once, and leaves later ones alone.

use serde_json::{Value, json};

use crate::binary::process::RealServer;

const TASKS: usize = 300;

async fn create(server: &RealServer, prefix: &str) {
    let tasks: Vec<Value> = (0..TASKS).map(|number| json!({"id": format!("{prefix}{number}")})).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
}

#[tokio::test]
async fn a_bulk_goes_on_through_kill_9() {
    let mut server = RealServer::start().await;
    create(&server, "t").await;
    let rate = json!({"limit": 100, "per": "1s", "burst": 8});
    let body = json!({"action": "cancel", "filter": {"state": "running"}, "rate": rate});
    let begun = server.post("/v1/bulk", body).await.expect(202);
    let path = format!("/v1/bulk/{}", begun["id"].as_str().expect("an id"));
    create(&server, "later").await;
    let (mut applied, mut crashes) = (0, 0);
    let done = loop {
        let bulk = server.get(&path).await.expect(200);
        let now = bulk["applied"].as_u64().expect("a number");
        assert!(now >= applied, "nothing that was counted is forgotten: {bulk}");
        if bulk["state"] != "running" {
            break bulk;
        }
        // Whenever it has come further, the process dies in the midst of the next step.
        if now > applied && crashes < 8 {
            applied = now;
            crashes += 1;
            server.crash_and_restart().await;
        }
    };
    assert_eq!(crashes, 8, "it was killed half way: {done}");
    let counts = json!([done["state"], done["matched"], done["applied"], done["refused"]]);
    assert_eq!(counts, json!(["done", TASKS, TASKS, 0]));
    for number in (0..TASKS).step_by(7) {
        let changes = server.changes(&format!("t{number}")).await;
        assert_eq!(changes.iter().filter(|change| *change == "cancelled").count(), 1, "{changes:?}");
    }
    let cancelled = server.get("/v1/tasks?limit=1000&state=cancelled").await.expect(200);
    let running = server.get("/v1/tasks?limit=1000&state=running").await.expect(200);
    for (page, prefix) in [(cancelled, "t"), (running, "later")] {
        let rows = page["data"].as_array().expect("a list");
        assert_eq!(rows.len(), TASKS, "{prefix}");
        assert!(rows.iter().all(|row| row["id"].as_str().is_some_and(|id| id.starts_with(prefix))));
    }
    server.kill();
    let found = server.doctor();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));
}
