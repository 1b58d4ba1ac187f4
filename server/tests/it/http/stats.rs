//! Counting tasks over HTTP (contract, section 13).

use std::time::Duration;

use serde_json::{Value, json};
use taskhook::store::read::{GroupBy, TaskFilter};

use crate::binary::process::RealServer;
use crate::support::{Answer, Api, TestServer, Worker, task_for, with};

async fn stats(server: &Api, query: &str) -> Value {
    let stats = server.get(&format!("/v1/stats/tasks{query}")).await.expect(200);
    assert_eq!(stats["complete"], true, "{stats}");
    stats["data"].clone()
}

/// The rows without their ages, which the test cannot know.
async fn rows(server: &Api, query: &str) -> Value {
    let mut rows = stats(server, query).await;
    for row in rows.as_array_mut().expect("a list") {
        let oldest = &row["oldest"];
        assert!(oldest["age_seconds"].as_f64().is_some_and(|age| (0.0..600.0).contains(&age)), "{row}");
        assert!(oldest["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row}");
        row["oldest"] = oldest["id"].clone();
    }
    rows
}

async fn put(server: &Api, name: &str, queue: Value) {
    let answer: Answer = server.send("PUT", &format!("/v1/queues/{name}"), &[], queue.to_string()).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

#[tokio::test]
async fn tasks_are_counted_by_what_is_asked_for() {
    let server = RealServer::start().await;
    assert_eq!(rows(&server, "").await, json!([]));
    put(&server, "mail", json!({})).await;
    for n in 1..=5 {
        server.create(json!({"id": format!("t{n}"), "name": "resize", "labels": {"day": "1"}})).await;
    }
    server.create(json!({"id": "late", "delay": "1h"})).await;
    server.create(json!({"id": "m", "queue": "mail", "name": "send"})).await;
    server.webhook(json!({"event": "task_completed", "task_id": "t2"})).await;
    server.webhook(json!({"event": "task_failed", "task_id": "t4"})).await;

    let by_queue_and_state = json!([
        {"queue": "default", "state": "scheduled", "count": 1, "oldest": "late", "sample": ["late"]},
        {"queue": "default", "state": "running", "count": 3, "oldest": "t1", "sample": ["t5", "t3", "t1"]},
        {"queue": "default", "state": "succeeded", "count": 1, "oldest": "t2", "sample": ["t2"]},
        {"queue": "default", "state": "failed", "count": 1, "oldest": "t4", "sample": ["t4"]},
        {"queue": "mail", "state": "running", "count": 1, "oldest": "m", "sample": ["m"]},
    ]);
    assert_eq!(rows(&server, "").await, by_queue_and_state);
    assert_eq!(rows(&server, "?by=state,queue").await, by_queue_and_state);
    // The same from the tasks themselves.
    assert_eq!(rows(&server, "?created_after=2000-01-01T00:00:00Z").await, by_queue_and_state);
    assert_eq!(
        rows(&server, "?by=queue").await,
        json!([
            {"queue": "default", "count": 6, "oldest": "t1", "sample": ["late", "t5", "t4"]},
            {"queue": "mail", "count": 1, "oldest": "m", "sample": ["m"]},
        ])
    );
    assert_eq!(
        rows(&server, "?by=name").await,
        json!([
            {"name": null, "count": 1, "oldest": "late", "sample": ["late"]},
            {"name": "resize", "count": 5, "oldest": "t1", "sample": ["t5", "t4", "t3"]},
            {"name": "send", "count": 1, "oldest": "m", "sample": ["m"]},
        ])
    );
    let by_code = json!([
        {"code": null, "count": 2, "oldest": "t2", "sample": ["t4", "t2"]},
        {"code": "callback", "count": 4, "oldest": "t1", "sample": ["m", "t5", "t3"]},
        {"code": "time", "count": 1, "oldest": "late", "sample": ["late"]},
    ]);
    assert_eq!(rows(&server, "?by=code").await, by_code);
    assert_eq!(rows(&server, "?by=code&created_after=2000-01-01T00:00:00Z").await, by_code);
    assert_eq!(
        rows(&server, "?by=name,state&state=failed,succeeded&label=day:1&queue=default").await,
        json!([
            {"name": "resize", "state": "succeeded", "count": 1, "oldest": "t2", "sample": ["t2"]},
            {"name": "resize", "state": "failed", "count": 1, "oldest": "t4", "sample": ["t4"]},
        ])
    );
    assert_eq!(
        rows(&server, "?by=state&queue=mail").await,
        json!([{"state": "running", "count": 1, "oldest": "m", "sample": ["m"]}])
    );
    assert_eq!(rows(&server, "?name=nothing").await, json!([]));
    assert_eq!(rows(&server, "?queue=none").await, json!([]));
    server.stop().await;
}

#[tokio::test]
async fn tasks_that_are_queued_are_counted_by_why_each_of_them_is() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let task = |id: &str, more: Value| with(task_for(&worker, id), more);
    put(&server, "still", json!({"paused": true})).await;
    put(&server, "keys", json!({"per_key": {"concurrency": 1}})).await;
    put(&server, "one", json!({"concurrency": 1})).await;
    let tasks = [
        task("p1", json!({"queue": "still"})),
        task("p2", json!({"queue": "still"})),
        task("k1", json!({"queue": "keys", "concurrency_key": "a"})),
        task("k2", json!({"queue": "keys", "concurrency_key": "a"})),
        task("k3", json!({"queue": "keys", "concurrency_key": "a"})),
        task("o1", json!({"queue": "one"})),
        task("o2", json!({"queue": "one"})),
        json!({"id": "late", "delay": "1h"}),
        json!({"id": "after", "after": ["late"]}),
    ];
    for task in tasks {
        server.create(task).await;
    }
    let calls = [worker.call().await, worker.call().await];
    let by_code = json!([
        {"code": "concurrency", "count": 1, "oldest": "o2", "sample": ["o2"]},
        {"code": "dependency", "count": 1, "oldest": "after", "sample": ["after"]},
        {"code": "key_limit", "count": 2, "oldest": "k2", "sample": ["k3", "k2"]},
        {"code": "paused", "count": 2, "oldest": "p1", "sample": ["p2", "p1"]},
        {"code": "response", "count": 2, "oldest": "k1", "sample": ["o1", "k1"]},
        {"code": "time", "count": 1, "oldest": "late", "sample": ["late"]},
    ]);
    assert_eq!(rows(&server, "?by=code").await, by_code);
    assert_eq!(rows(&server, "?by=code&created_after=2000-01-01T00:00:00Z").await, by_code);
    // Each row says what its tasks say.
    for row in by_code.as_array().expect("rows") {
        let id = row["oldest"].as_str().expect("an id");
        assert_eq!(server.task(id).await["waiting_for"]["code"], row["code"], "{id}");
    }
    assert_eq!(
        rows(&server, "?by=queue,code&state=queued").await,
        json!([
            {"queue": "keys", "code": "key_limit", "count": 2, "oldest": "k2", "sample": ["k3", "k2"]},
            {"queue": "one", "code": "concurrency", "count": 1, "oldest": "o2", "sample": ["o2"]},
            {"queue": "still", "code": "paused", "count": 2, "oldest": "p1", "sample": ["p2", "p1"]},
        ])
    );
    assert_eq!(
        rows(&server, "?by=state&state=queued").await,
        json!([{"state": "queued", "count": 5, "oldest": "p1", "sample": ["o2", "k3", "k2"]}])
    );
    calls.into_iter().for_each(|call| call.status(400));
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_reason() {
    let server = RealServer::start().await;
    for (query, reason) in [
        ("?by=stat", "did you mean \"state\"?"),
        ("?by=", "by is one or more of queue, name, state, code"),
        ("?by=queue,state,queue", "by has \"queue\" twice"),
        ("?by=queue&by=state", "may be given only once"),
        ("?by=label", "tasks cannot be told apart by \"label\""),
        ("?sate=failed", "did you mean \"state\"?"),
        ("?state=failled", "did you mean \"failed\"?"),
        ("?label=day", "label must be key:value"),
        ("?limit=1", "not known here"),
    ] {
        let problem = server.get(&format!("/v1/stats/tasks{query}")).await.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(reason)), "{query}: {problem}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_looked_at_in_time_is_said() {
    let server = TestServer::start().await;
    let tasks: Vec<Value> =
        (0..1_000).map(|n| json!({"id": format!("t{n}"), "name": format!("n{}", n % 2)})).collect();
    server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    let reader = server.app().reader;
    let by_name = GroupBy { name: true, ..GroupBy::default() };
    let cut = reader.task_stats(TaskFilter::default(), by_name, Duration::ZERO).await.expect("counts");
    let counts: Vec<u64> = cut.groups.iter().map(|group| group.count).collect();
    assert!(!cut.complete && counts.iter().sum::<u64>() < 1_000, "{cut:?}");
    assert!(cut.groups.iter().all(|group| group.oldest.is_none() && group.sample.len() == 3), "{cut:?}");
    // What the store counts by itself is whole all the same.
    let by_state = GroupBy { state: true, ..GroupBy::default() };
    let whole = reader.task_stats(TaskFilter::default(), by_state, Duration::ZERO).await.expect("counts");
    assert_eq!(whole.groups.first().map(|group| group.count), Some(1_000));

    let stats =
        reader.task_stats(TaskFilter::default(), by_name, Duration::from_secs(600)).await.expect("counts");
    let counts: Vec<u64> = stats.groups.iter().map(|group| group.count).collect();
    assert_eq!((stats.complete, counts), (true, vec![500, 500]));
    server.stop().await;
}

#[tokio::test]
async fn there_are_no_more_rows_than_can_be_read() {
    let server = RealServer::start().await;
    for batch in 0..2 {
        let task = |n: usize| json!({"id": format!("{batch}-{n}"), "name": format!("{batch}-{n}")});
        let tasks: Vec<Value> = (0..1_000).map(task).collect();
        server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    }
    let stats = server.get("/v1/stats/tasks?by=name").await.expect(200);
    assert_eq!((stats["data"].as_array().map(Vec::len), &stats["complete"]), (Some(1_000), &json!(false)));
    server.stop().await;
}

#[tokio::test]
async fn every_task_is_counted_once_however_many_slices_it_takes() {
    let server = TestServer::start().await;
    put(&server, "still", json!({"paused": true})).await;
    let url = "http://127.0.0.1:9/";
    for batch in 0..11 {
        let kind = format!("kind-{}", batch % 3);
        let task =
            |n: usize| json!({"id": format!("{batch}-{n}"), "name": kind, "queue": "still", "url": url});
        let tasks: Vec<Value> = (0..1_000).map(task).collect();
        server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    }
    server.create(json!({"id": "other"})).await;
    let reader = server.app().reader;
    let count = |by: GroupBy, filter: TaskFilter| {
        let reader = reader.clone();
        async move {
            let stats = reader.task_stats(filter, by, Duration::from_secs(600)).await.expect("counts");
            assert!(stats.complete);
            let told = |group: taskhook::store::read::TaskGroup| {
                (group.count, group.oldest.map(|(id, _)| id).unwrap_or_default(), group.sample.join(" "))
            };
            stats.groups.into_iter().map(told).collect::<Vec<_>>()
        }
    };
    let row = |count: u64, oldest: &str, sample: &str| (count, oldest.to_string(), sample.to_string());
    let (by_code, by_queue) =
        (GroupBy { code: true, ..GroupBy::default() }, GroupBy { queue: true, ..GroupBy::default() });
    let by_name = GroupBy { name: true, ..GroupBy::default() };
    let still = || TaskFilter { queue: Some("still".into()), ..TaskFilter::default() };
    let all = row(11_000, "0-0", "10-999 10-998 10-997");
    let other = row(1, "other", "other");
    assert_eq!(count(by_code, TaskFilter::default()).await, [other.clone(), all.clone()]);
    assert_eq!(count(by_code, still()).await.as_slice(), std::slice::from_ref(&all));
    assert_eq!(count(by_queue, TaskFilter::default()).await, [other, all.clone()]);
    assert_eq!(
        count(by_name, still()).await,
        [
            row(4_000, "0-0", "9-999 9-998 9-997"),
            row(4_000, "1-0", "10-999 10-998 10-997"),
            row(3_000, "2-0", "8-999 8-998 8-997"),
        ]
    );
    server.stop().await;
}
