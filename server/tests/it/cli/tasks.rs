//! Tasks and webhooks by the command line, against the real server.

use serde_json::{Value, json};

use crate::cli::program::{Answering, Serving};

/// Every line in the order of its columns, without times and made ids.
fn shape(table: &str) -> String {
    let mut shape = String::new();
    for line in table.lines() {
        let words = line.split_whitespace().map(|word| match word {
            _ if word.starts_with("evt_") => "evt_…",
            _ if word.len() == 24 && word.starts_with("20") && word.ends_with('Z') => "TIME",
            word => word,
        });
        shape.push_str(&words.collect::<Vec<_>>().join(" "));
        shape.push('\n');
    }
    shape
}

#[test]
fn a_webhook_completes_a_task_and_its_dependent_starts() {
    let server = Serving::start();
    assert_eq!(
        server.done(&["tasks", "create", "--id", "123"]),
        "task 123 is running: it waits for the completion webhook of attempt 1\n"
    );
    assert_eq!(
        server.done(&[
            "tasks", "create", "--id", "124", "--name", "notify", "--after", "123", "--label", "day=1"
        ]),
        "task 124 (notify) is blocked: it waits for the end of task 123\n"
    );
    insta::assert_snapshot!(shape(&server.done(&["tasks", "list"])), @r"
    ID STATE NAME ATTEMPT CREATED WHY
    124 blocked notify - TIME waits for the end of task 123
    123 running - 1 TIME waits for the completion webhook of attempt 1
    ");
    let listed =
        server.done(&["tasks", "list", "--state", "blocked,queued", "--label", "day=1", "--name", "notify"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let next = server.run(&["tasks", "list", "--limit", "1"]);
    assert!(next.err.starts_with("there are more: --cursor "), "{}", next.err);
    let cursor = next.err.trim().rsplit(' ').next().unwrap();
    assert!(server.done(&["tasks", "list", "--cursor", cursor]).contains("\n123 "));

    insta::assert_snapshot!(
        shape(&server.done(&["send", "task_completed", "123", "--result", "{\"width\": 640}", "--id", "d-1"])),
        @r"
    outcome applied
    task 123 is succeeded
    event evt_…
    "
    );
    let again = server.done(&["send", "task_completed", "123", "--id", "d-1"]);
    assert!(again.starts_with("outcome  duplicate"), "{again}");
    server.done(&["send", "invoice.paid", "123"]);
    let first = server.done(&["events", "list", "--outcome", "applied"]);
    let first = first.lines().nth(1).and_then(|row| row.split(' ').next()).unwrap();
    let explained = server.done(&["tasks", "explain", "123"]);
    let story: Vec<&str> = explained.lines().filter(|line| line.contains("changed nothing")).collect();
    assert!(story[0].ends_with(&format!("changed nothing: it repeats {first}")), "{explained}");
    assert!(
        story[1].ends_with("changed nothing: invoice.paid is no event that changes a task"),
        "{explained}"
    );
    (0..21).for_each(|_| drop(server.done(&["send", "task_completed", "123", "--id", "d-1"])));
    let explained = server.run(&["tasks", "explain", "123"]);
    assert_eq!(explained.out.matches("it repeats").count(), 20, "the newest of many");
    let more = "more that changed nothing: taskhook events list --task 123 --outcome duplicate";
    assert!(explained.err.contains(more), "{}", explained.err);
    let explained = server.done(&["tasks", "explain", "123", "-o", "json"]);
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(
        explained["events"].as_array().map(Vec::len),
        Some(21),
        "with the one that says nothing of tasks"
    );

    let explained = shape(&server.done(&["tasks", "explain", "124"]));
    let lines: Vec<&str> = explained.lines().collect();
    assert_eq!(
        lines[..2],
        ["task 124 (notify) is running: it waits for the completion webhook of attempt 1", ""]
    );
    assert_eq!(lines.len(), 2 + 4, "{explained}");
    assert!(lines[2..].iter().all(|line| line.starts_with("TIME ")), "{explained}");
    assert!(lines[4].starts_with("TIME task 123 ended as succeeded"), "{explained}");
    insta::assert_snapshot!(shape(&server.done(&["tasks", "get", "123"])), @r#"
    id 123
    state succeeded
    attempt 1
    result {"width": 640}
    request none: it is only tracked
    queue default
    priority 0
    completion auto
    max attempts 8
    request timeout 5m
    created TIME
    not before TIME
    ended TIME
    "#);
}

#[test]
fn json_is_the_body_of_the_api_unchanged() {
    let server = Serving::start();
    let payload = server.folder.path().join("payload.json");
    std::fs::write(&payload, "{\"n\": 1.00, \"list\":[ ]}\n").unwrap();
    let payload = format!("@{}", payload.display());
    let created = server.done(&[
        "tasks",
        "create",
        "http://127.0.0.1:9/x",
        "--id",
        "job:7@a",
        "--delay",
        "1h",
        "--payload",
        &payload,
        "-o",
        "json",
    ]);
    assert!(created.contains("{\"n\": 1.00, \"list\":[ ]}"), "{created}");
    assert_eq!(created.trim_end(), server.api("/v1/tasks/job:7@a"));
    assert_eq!(
        server.done(&["tasks", "get", "job:7@a", "-o", "json"]).trim_end(),
        server.api("/v1/tasks/job:7@a")
    );
    assert_eq!(server.done(&["tasks", "list", "-o", "json"]).trim_end(), server.api("/v1/tasks"));
    assert_eq!(
        server.done(&["events", "list", "-o", "json"]).trim_end(),
        r#"{"data":[],"next_cursor":null}"#
    );

    let explained: Value =
        serde_json::from_str(&server.done(&["tasks", "explain", "job:7@a", "-o", "json"])).unwrap();
    assert_eq!(explained["task"]["waiting_for"]["code"], "time");
    assert_eq!(explained["history"][0]["change"], "created");
    let until = explained["task"]["waiting_for"]["until"].as_str().unwrap();
    assert!(server.done(&["tasks", "explain", "job:7@a"]).contains(&format!("\nuntil {until}\n")));

    let wrong = server.run(&["tasks", "get", "nobody", "-o", "json"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (3, ""), "an error is no data");
}

#[test]
fn every_field_of_a_task_can_be_given() {
    let server = Serving::start();
    server.done(&["tasks", "create", "--id", "first"]);
    let created = server.done(&[
        "tasks",
        "create",
        "http://127.0.0.1:9/images/7",
        "--id=second",
        "--name=resize",
        "--method=PUT",
        "--header=x-team=web",
        "--header=authorization=Basic dXNlcjo=",
        "--payload={\"width\": 640}",
        "--queue=default",
        "--concurrency-key=customer 7",
        "--priority=-5",
        "--run-at=2126-11-24T01:30:00Z",
        "--after=first:finished",
        "--completion=callback",
        "--timeout=2h",
        "--request-timeout=10s",
        "--max-attempts=3",
        "--retry-initial=1s",
        "--retry-factor=2.5",
        "--retry-max=1m",
        "--label=day=1",
        "--unique=image 7",
        "--unique-until=2h",
        "-o=json",
    ]);
    let task: Value = serde_json::from_str(&created).unwrap();
    let given = json!({
        "id": "second",
        "name": "resize",
        "url": "http://127.0.0.1:9/images/7",
        "method": "PUT",
        "headers": {"authorization": "[redacted]", "x-team": "web"},
        "payload": {"width": 640},
        "queue": "default",
        "concurrency_key": "customer 7",
        "unique": {"key": "image 7", "until": "2h"},
        "priority": -5,
        "run_at": "2126-11-24T01:30:00.000Z",
        "after": [{"task": "first", "on": "finished"}],
        "completion": "callback",
        "timeout": "2h",
        "request_timeout": "10s",
        "retry": {"max_attempts": 3, "initial": "1s", "factor": 2.5, "max": "1m"},
        "labels": {"day": "1"},
    });
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&task[name], value, "{name}");
    }

    let refused = server.run(&[
        "tasks",
        "create",
        "http://127.0.0.1:9/",
        "--queue=no spaces",
        "--header=host=x",
        "--retry-max=2d",
        "--method=BREW",
    ]);
    assert_eq!(refused.code, 1);
    for pointer in ["\n  /queue: ", "\n  /headers/host: ", "\n  /retry/max: ", "\n  /method: "] {
        assert!(refused.err.contains(pointer), "{pointer:?} is not in: {}", refused.err);
    }
}

#[test]
fn a_second_task_with_a_unique_key_is_the_first() {
    let server = Serving::start();
    server.done(&["tasks", "create", "--id", "a", "--unique", "k"]);
    for id in [&["--id", "b"][..], &[]] {
        let again =
            server.run(&[&["tasks", "create", "--unique", "k", "--unique-until", "finished"], id].concat());
        let told = (again.code, again.err.as_str());
        assert_eq!(told, (0, "task a holds the unique key, so none is created\n"));
        assert!(again.out.starts_with("task a is running"), "{}", again.out);
    }
    assert!(server.done(&["tasks", "get", "a"]).contains("\nunique           k, finished\n"));
    assert_eq!(server.run(&["tasks", "create", "--unique-until", "1h"]).code, 2);
}

#[test]
fn the_same_task_twice_is_one_task_and_another_is_refused() {
    let server = Serving::start();
    server.done(&["tasks", "create", "--id", "a"]);
    let again = server.run(&["tasks", "create", "--id", "a"]);
    assert_eq!((again.code, again.err.as_str()), (0, "task a exists already, with the same content\n"));
    let other = server.run(&["tasks", "create", "--id", "a", "--name", "b"]);
    assert_eq!((other.code, other.out.as_str()), (1, ""));
    assert!(other.err.starts_with("error: Conflict: "), "{}", other.err);

    let wrong = server.run(&["tasks", "create", "ftp://h", "--id", "no id", "--priority", "-101"]);
    assert_eq!(wrong.code, 1);
    for pointer in ["\n  /id: ", "\n  /url: ", "\n  /priority: "] {
        assert!(wrong.err.contains(pointer), "{pointer:?} is not in: {}", wrong.err);
    }
}

#[test]
fn waiting_ends_as_the_task_does() {
    let server = Serving::start();
    let worker = Answering::once("200 OK", "{\"pages\": 3}");
    let waited = server.run(&["tasks", "create", &worker.url, "--id", "a", "--wait"]);
    assert_eq!(waited.code, 0, "{}", waited.err);
    assert!(waited.out.starts_with("task a succeeded at "), "{}", waited.out);

    let worker = Answering::once("404 Not Found", "");
    let waited = server.run(&["tasks", "create", &worker.url, "--id", "b", "--wait", "-o", "json"]);
    assert_eq!(waited.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&waited.out).unwrap()["state"], "failed");
    assert_eq!(server.run(&["tasks", "wait", "b"]).code, 1);
    assert_eq!(server.run(&["tasks", "wait", "nobody"]).code, 3);

    server.done(&["tasks", "create", "--id", "c"]);
    let waited = server.run(&["tasks", "wait", "c", "--timeout", "10ms"]);
    assert_eq!((waited.code, waited.err.as_str()), (1, "gave up after 0 s\n"));
    assert!(waited.out.starts_with("task c is running"), "{}", waited.out);

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.run(&["tasks", "wait", "c", "--timeout", "1m"]));
        server.done(&["send", "task_completed", "c"]);
        assert_eq!(waiting.join().unwrap().code, 0);
    });
}

#[test]
fn tasks_are_cancelled_retried_and_triggered() {
    let server = Serving::start();
    server.done(&["tasks", "create", "--id", "a"]);
    server.done(&["tasks", "create", "--id", "b", "--after", "a"]);
    assert!(server.done(&["tasks", "cancel", "a"]).starts_with("task a was cancelled at "));
    let refused = server.run(&["tasks", "retry", "b"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("\n  /after/0: "), "it names what is unmet: {}", refused.err);
    assert!(server.done(&["tasks", "retry", "b", "--ignore-dependencies"]).starts_with("task b is running"));
    assert!(server.done(&["tasks", "retry", "a"]).starts_with("task a is running"));
    assert_eq!(server.run(&["tasks", "trigger", "a"]).code, 1);
    server.done(&["tasks", "create", "--id", "c", "--delay", "1h"]);
    assert!(server.done(&["tasks", "trigger", "c"]).starts_with("task c is running"));
    assert_eq!(server.run(&["tasks", "cancel", "nobody"]).code, 3);
}

#[test]
fn webhooks_are_sent_found_and_replayed() {
    let server = Serving::start();
    let sent = server.done(&["send", "task_failed", "later", "--error", "no such image", "--attempt", "1"]);
    assert!(sent.starts_with("outcome  unmatched"), "{sent}");
    let sent =
        server.program(&["send", "order_paid", "--data", "-", "-o", "json"]).run_with("{\"order\": 7}");
    assert_eq!(sent.code, 0, "{}", sent.err);
    let receipt: Value = serde_json::from_str(&sent.out).unwrap();
    assert_eq!(receipt["outcome"], "recorded");

    insta::assert_snapshot!(shape(&server.done(&["events", "list"])), @r"
    ID RECEIVED TYPE TASK OUTCOME
    evt_… TIME order_paid - recorded
    evt_… TIME task_failed later unmatched
    ");
    assert_eq!(server.done(&["events", "list", "--task", "later"]).lines().count(), 2);
    assert_eq!(
        server.done(&["events", "list", "--type", "order_paid", "--outcome", "ignored"]).lines().count(),
        1
    );
    let id = receipt["event_id"].as_str().unwrap();
    let event = server.done(&["events", "get", id]);
    assert!(event.contains(r#"{"event":"order_paid","data":{"order": 7}}"#), "{event}");
    let replayed = server.done(&["events", "replay", id]);
    assert!(replayed.starts_with("outcome  recorded"), "{replayed}");
    assert_eq!(server.done(&["events", "list"]).lines().count(), 4);
    assert_eq!(server.run(&["events", "get", "evt_nobody"]).code, 3);
}

#[test]
fn tasks_are_counted_in_a_table_with_the_columns_that_were_asked_for() {
    let server = Serving::start();
    for n in 1..=4 {
        let id = format!("t{n}");
        server.done(&["tasks", "create", "--id", &id, "--name", "resize", "--label", "day=1"]);
    }
    server.done(&["tasks", "create", "--id", "late", "--delay", "1h"]);
    insta::assert_snapshot!(shape(&server.done(&["tasks", "stats"])), @r"
    QUEUE STATE COUNT OLDEST CREATED NEWEST
    default scheduled 1 late TIME late
    default running 4 t1 TIME t4, t3, t2
    ");
    let by_name = ["tasks", "stats", "--by", "code,name", "--label", "day=1", "--state", "running,failed"];
    insta::assert_snapshot!(shape(&server.done(&by_name)), @r"
    NAME CODE COUNT OLDEST CREATED NEWEST
    resize callback 4 t1 TIME t4, t3, t2
    ");
    let later = ["tasks", "stats", "--created-after", "2999-01-01T00:00:00Z"];
    assert_eq!(shape(&server.done(&later)), "QUEUE STATE COUNT OLDEST CREATED NEWEST\n");
    let given: Value =
        serde_json::from_str(&server.done(&["tasks", "stats", "--by", "state", "-o", "json"])).unwrap();
    assert_eq!(given["data"][1]["count"], 4);
    assert_eq!(given["complete"], true);
    let wrong = server.run(&["tasks", "stats", "--by", "stat"]);
    assert!(wrong.err.contains("did you mean \"state\"?"), "{}", wrong.err);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
}
