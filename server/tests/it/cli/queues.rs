//! Queues by the command line, against the real server.

use serde_json::{Value, json};

use crate::cli::program::{Answering, Serving};

/// What a queue says and does, by the API.
fn queue(server: &Serving, name: &str) -> Value {
    serde_json::from_str(&server.api(&format!("/v1/queues/{name}"))).unwrap()
}

/// Compares fields of a queue.
#[track_caller]
fn says(server: &Serving, name: &str, expected: &Value) {
    let queue = queue(server, name);
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&queue[field], value, "{field}");
    }
}

#[test]
fn every_setting_of_a_queue_can_be_given() {
    let server = Serving::start();
    let set = server.run(&[
        "queues",
        "set",
        "images",
        "--concurrency=10",
        "--key-concurrency=1",
        "--rate=100/1s+20",
        "--key-rate=5/1m",
        "--paused",
        "--max-attempts=3",
        "--retry-initial=1s",
        "--retry-factor=2.5",
        "--retry-max=1m",
        "--timeout=1h 30m",
        "--completion=callback",
        "--retention=7d",
    ]);
    assert_eq!((set.code, set.err.as_str()), (0, "queue images is new\n"));
    insta::assert_snapshot!(set.out, @r"
    name             images
    paused           yes
    concurrency      10
    rate             100/1s+20
    key concurrency  1
    key rate         5/1m
    max attempts     3
    retry initial    1s
    retry factor     2.5
    retry max        1m
    timeout          1h 30m
    completion       callback
    retention        168h
    open             0
    ");
    assert_eq!(server.done(&["queues", "get", "images"]), set.out);
    says(
        &server,
        "images",
        &json!({
            "concurrency": 10,
            "per_key": {"concurrency": 1, "rate": {"limit": 5, "per": "1m", "burst": 1}},
            "rate": {"limit": 100, "per": "1s", "burst": 20},
            "paused": true,
            "retry": {"max_attempts": 3, "initial": "1s", "factor": 2.5, "max": "1m"},
            "timeout": "1h 30m",
            "completion": "callback",
            "retention": "168h",
        }),
    );

    server.done(&["tasks", "create", "http://127.0.0.1:9/", "--id", "a", "--queue", "images"]);
    let task: Value = serde_json::from_str(&server.api("/v1/tasks/a")).unwrap();
    assert_eq!((&task["completion"], &task["retry"]["max_attempts"]), (&json!("callback"), &json!(3)));
}

#[test]
fn set_changes_what_is_given_and_keeps_the_rest() {
    let server = Serving::start();
    let first = ["queues", "set", "images", "--concurrency=10", "--key-concurrency=1", "--rate=100/1s+20"];
    let defaults =
        ["--max-attempts=3", "--retry-max=1m", "--timeout=10m", "--completion=response", "--retention=never"];
    server.done(&[&first[..], &defaults].concat());
    server.done(&["queues", "pause", "images"]);
    let rate = json!({"limit": 100, "per": "1s", "burst": 20});
    let retry = json!({"max_attempts": 3, "max": "1m"});

    let set = server.run(&["queues", "set", "images", "--concurrency", "4", "--key-rate", "1/1s"]);
    assert_eq!((set.code, set.err.as_str()), (0, ""), "it was there already");
    let per_key = json!({"concurrency": 1, "rate": {"limit": 1, "per": "1s", "burst": 1}});
    let kept = json!({"paused": true, "rate": rate, "retry": retry, "timeout": "10m", "completion": "response", "retention": "never"});
    says(&server, "images", &kept);
    says(&server, "images", &json!({"concurrency": 4, "per_key": per_key}));

    let before = queue(&server, "images");
    server.done(&["queues", "set", "images"]);
    assert_eq!(queue(&server, "images"), before, "nothing was given");

    let cleared = ["--clear", "concurrency,key-rate", "--clear", "retry-max", "--max-attempts", "5"];
    server.done(&[&["queues", "set", "images"], &cleared[..]].concat());
    says(
        &server,
        "images",
        &json!({"concurrency": null, "per_key": {"concurrency": 1, "rate": null}, "rate": rate,
            "retry": {"max_attempts": 5}, "paused": true}),
    );

    let all = "key-concurrency,rate,max-attempts,retry-initial,retry-factor,timeout,completion,retention";
    let shown = server.done(&["queues", "set", "images", "--clear", all]);
    insta::assert_snapshot!(shown, @r"
    name         images
    paused       yes
    concurrency  no limit
    rate         no limit
    open         0
    ");
}

#[test]
fn what_a_queue_does_is_shown() {
    let server = Serving::start();
    server.done(&["queues", "set", "images", "--concurrency", "3", "--rate", "7/1m+2"]);
    assert_eq!(server.done(&["queues", "pause", "images"]), "queue images is paused; 0 attempts are open\n");
    for id in ["a", "b"] {
        server.done(&["tasks", "create", "http://127.0.0.1:9/", "--id", id, "--queue", "images"]);
    }
    server.done(&["tasks", "create", "http://127.0.0.1:9/", "--delay", "1h", "--queue", "images"]);
    insta::assert_snapshot!(server.done(&["queues", "list"]), @r"
    NAME     PAUSED  OPEN  CONCURRENCY  RATE    WAITING FOR
    default  -       0     -            -
    images   yes     0     3            7/1m+2  paused 2, time 1
    ");
    let shown = server.done(&["queues", "get", "images"]);
    assert!(shown.contains("\nwaiting for  paused 2, time 1\n"), "{shown}");
    assert!(server.done(&["tasks", "explain", "a"]).contains("it waits for queue images to be resumed"));

    let worker = Answering::once("202 Accepted", "");
    server.done(&["queues", "set", "reports", "--concurrency", "1", "--paused"]);
    for id in ["c", "d"] {
        server.done(&["tasks", "create", &worker.url, "--id", id, "--queue", "reports"]);
    }
    let resumed = server.done(&["queues", "resume", "reports"]);
    assert_eq!(resumed, "queue reports is not paused; 1 attempt is open\n");
    let shown = server.done(&["queues", "get", "reports"]);
    assert!(shown.contains("open         1\n"), "it holds its place until its webhook: {shown}");
    assert!(shown.contains("concurrency 1"), "{shown}");
    assert!(server.done(&["tasks", "explain", "d"]).contains("a place in queue reports"));
}

#[test]
fn json_is_the_body_of_the_api_unchanged() {
    let server = Serving::start();
    let body = |printed: String| printed.trim_end().to_string();
    let set = body(server.done(&["queues", "set", "a", "--rate", "1/1s", "-o", "json"]));
    assert_eq!(set, server.api("/v1/queues/a"));
    assert_eq!(body(server.done(&["queues", "get", "a", "-o", "json"])), set);
    let paused = body(server.done(&["queues", "pause", "a", "-o", "json"]));
    assert_eq!(paused, server.api("/v1/queues/a"));
    assert_eq!(body(server.done(&["queues", "resume", "a", "-o", "json"])), set);
    assert_eq!(body(server.done(&["queues", "list", "-o", "json"])), server.api("/v1/queues"));
}

#[test]
fn a_long_list_is_read_page_by_page() {
    let server = Serving::start();
    for name in ["a", "b"] {
        server.done(&["queues", "set", name]);
    }
    let first = server.run(&["queues", "list", "--limit", "2"]);
    assert_eq!(first.out.lines().count(), 3, "{}", first.out);
    let cursor = first.err.trim().strip_prefix("there are more: --cursor ").unwrap();
    let rest = server.run(&["queues", "list", "--cursor", cursor]);
    assert_eq!((rest.err.as_str(), rest.out.lines().count()), ("", 2), "{}", rest.out);
    assert!(rest.out.contains("\ndefault"), "{}", rest.out);
}

#[test]
fn what_is_wrong_is_told_and_changes_nothing() {
    let server = Serving::start();
    for command in
        [&["queues", "get", "nobody"][..], &["queues", "pause", "nobody"], &["queues", "resume", "no/b?dy"]]
    {
        let ran = server.run(command);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{command:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: Not Found: there is no queue with the name \"no"), "{}", ran.err);
    }

    server.done(&["queues", "set", "a", "--concurrency", "2"]);
    let before = queue(&server, "a");
    let limits = ["--concurrency=0", "--key-concurrency=1000001", "--rate=0/1s", "--key-rate=1/0s+0"];
    let defaults = [
        "--max-attempts=101",
        "--retry-factor=0.5",
        "--retry-max=25h",
        "--timeout=soon",
        "--retention=forever",
    ];
    let wrong = server.run(&[&["queues", "set", "a"], &limits[..], &defaults].concat());
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    for pointer in [
        "/concurrency",
        "/per_key/concurrency",
        "/rate/limit",
        "/per_key/rate/per",
        "/per_key/rate/burst",
        "/retry/max_attempts",
        "/retry/factor",
        "/retry/max",
        "/timeout",
        "/retention",
    ] {
        assert!(wrong.err.contains(&format!("\n  {pointer}: ")), "{pointer:?} is not in: {}", wrong.err);
    }
    assert_eq!(queue(&server, "a"), before);

    for name in ["no name", ".a", "a/b", &"a".repeat(65)] {
        let wrong = server.run(&["queues", "set", name, "--concurrency", "1"]);
        assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{name}");
        assert!(wrong.err.contains("a queue's name begins with"), "{name}: {}", wrong.err);
    }
    assert_eq!(server.done(&["queues", "list"]).lines().count(), 3);
}
