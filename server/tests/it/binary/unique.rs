//! Unique keys: whoever is answered is told of the same task, though the server is killed meanwhile.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::task::JoinSet;

use crate::binary::process::RealServer;
use crate::support::Answer;

/// The task that an answer is about.
fn task_of(answer: &Answer) -> String {
    assert!(matches!(answer.status, 200 | 201), "{}: {:?}", answer.status, answer.body);
    answer.json()["id"].as_str().expect("an id").to_string()
}

#[tokio::test]
async fn a_key_has_one_task_through_kill_9() {
    const ROUNDS: usize = 4;
    let mut server = RealServer::start().await;
    for round in 0..ROUNDS {
        let unique = json!({"key": format!("k{round}")});
        let mut posts = JoinSet::new();
        for number in 0..24 {
            let api = server.clone();
            let task = json!({"id": format!("{round}-{number}"), "unique": unique}).to_string();
            let headers = [("content-type", "application/json")];
            posts.spawn(async move { api.try_send("POST", "/v1/tasks", &headers, task).await });
        }
        let mut told = BTreeSet::new();
        for _ in 0..=round * 6 {
            let answer = posts.join_next().await.expect("one more").expect("it ends");
            told.extend(answer.as_ref().map(task_of));
        }
        // The others may have happened or not, and most are answered by nobody.
        server.crash_and_restart().await;
        while let Some(answer) = posts.join_next().await {
            told.extend(answer.expect("it ends").as_ref().map(task_of));
        }
        told.insert(task_of(&server.post("/v1/tasks", json!({"unique": unique})).await));
        assert_eq!(told.len(), 1, "{told:?}");
    }
    let all = server.get("/v1/tasks").await.expect(200);
    assert_eq!(all["data"].as_array().map(Vec::len), Some(ROUNDS), "{all:#}");
    server.kill();
    let found = server.doctor();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));
}
