//! Sources by the command line, against the real server.

use serde_json::{Value, json};

use crate::cli::program::Serving;

fn source(server: &Serving, name: &str) -> Value {
    serde_json::from_str(&server.api(&format!("/v1/sources/{name}"))).unwrap()
}

/// A file in the server's folder.
fn file(server: &Serving, name: &str, text: &str) {
    std::fs::write(server.folder.path().join(name), text).unwrap();
}

#[test]
fn a_source_is_set_shown_listed_and_deleted() {
    let server = Serving::start();
    file(&server, "github.secret", "It's a Secret to Everybody\n");
    let set = server.run(&["sources", "set", "github", "--scheme=github", "--secret-file=github.secret"]);
    assert_eq!((set.code, set.err.as_str()), (0, "source github is new\n"));
    assert!(set.out.contains(&format!("{}/webhook/github", server.url)) && set.out.contains("never used"));
    assert!(!set.out.contains("Everybody"), "{}", set.out);
    let id = source(&server, "github")["verify"]["secrets"][0]["id"].clone();

    // What is not given stays, its secrets too.
    server.done(&["sources", "set", "github", "--event", "push=task_completed", "--tolerance=1h"]);
    let says = source(&server, "github");
    assert_eq!(says["verify"]["secrets"][0]["id"], id);
    assert_eq!(says["map"], json!({"event": {"push": "task_completed"}}));
    assert_eq!(says["verify"]["tolerance"], "1h");
    server.done(&["sources", "set", "github", "--response", r#"{"status": 202, "body": "ok"}"#]);
    assert_eq!(source(&server, "github")["map"], says["map"]);

    let list = server.done(&["sources", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SCHEME", "SECRETS", "RETENTION", "URL"]);
    assert_eq!(
        (&rows[1][..3], &rows[2][..3]),
        (&["default", "none", "0"][..], &["github", "github", "1"][..])
    );
    let deleted = server.run(&["sources", "delete", "github"]);
    assert_eq!((deleted.code, deleted.err.as_str()), (0, "source github is deleted\n"));
    assert_eq!(server.run(&["sources", "get", "github"]).code, 3);
    assert_eq!(server.run(&["sources", "delete", "github"]).code, 3);
}

#[test]
fn how_long_its_webhooks_are_kept_is_set_shown_and_left_to_the_server() {
    let server = Serving::start();
    let set = server.done(&["sources", "set", "jobs", "--scheme=none", "--retention=90d"]);
    assert!(set.lines().any(|line| line.split_whitespace().eq(["retention", "2160h"])), "{set}");
    assert!(server.done(&["sources", "list"]).contains("2160h"));
    server.done(&["sources", "set", "jobs", "--event=done=task_completed"]);
    assert_eq!(source(&server, "jobs")["retention"], "2160h", "what is not given stays");
    server.done(&["sources", "set", "jobs", "--retention=never"]);
    assert_eq!(source(&server, "jobs")["retention"], "never");
    server.done(&["sources", "set", "jobs", "--retention=default"]);
    assert_eq!(source(&server, "jobs")["retention"], Value::Null);
    assert!(!server.done(&["sources", "get", "jobs"]).contains("retention"));
    let wrong = server.run(&["sources", "set", "jobs", "--retention=soon"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("/retention: must be a duration"), "{}", wrong.err);
}

#[test]
fn a_scheme_of_ones_own_is_described_and_another_one_forgets_it() {
    let server = Serving::start();
    file(&server, "a.secret", "the first secret");
    file(&server, "b.secret", "the second secret\r\n");
    server.done(&[
        "sources",
        "set",
        "jobs",
        "--scheme=hmac",
        "--header=x-signature",
        "--algorithm=sha512",
        "--encoding=base64",
        "--prefix=v1=",
        "--signed={timestamp}.{body}",
        "--timestamp-header=x-time",
        "--sender-url=https://hooks.example/jobs",
        "--secret-file=a.secret",
        "--secret-file=b.secret",
    ]);
    let verify = source(&server, "jobs")["verify"].clone();
    assert_eq!(verify["secrets"].as_array().unwrap().len(), 2);
    for (field, value) in [
        ("scheme", "hmac"),
        ("header", "x-signature"),
        ("algorithm", "sha512"),
        ("encoding", "base64"),
        ("prefix", "v1="),
        ("signed", "{timestamp}.{body}"),
        ("timestamp_header", "x-time"),
        ("url", "https://hooks.example/jobs"),
    ] {
        assert_eq!(verify[field], value, "{field}");
    }
    server.done(&["sources", "set", "jobs", "--scheme=bearer"]);
    let verify = source(&server, "jobs")["verify"].clone();
    assert_eq!((&verify["scheme"], &verify["header"]), (&json!("bearer"), &Value::Null));
    assert_eq!(verify["secrets"].as_array().unwrap().len(), 2, "its secrets fit, and stay");
}

#[test]
fn a_secret_is_rotated_given_or_made() {
    let server = Serving::start();
    file(&server, "a.secret", "the first secret");
    server.done(&["sources", "set", "own", "--scheme=bearer", "--secret-file=a.secret"]);
    let made = server.run(&["sources", "rotate-secret", "own", "--generate", "--keep=1h"]);
    assert_eq!((made.code, made.out.trim().len()), (0, 64), "{}", made.out);
    assert!(made.err.contains("not shown again"), "{}", made.err);
    let secrets = source(&server, "own")["verify"]["secrets"].clone();
    assert!(secrets[0]["until"].is_string() && secrets[1]["until"].is_null(), "{secrets}");
    let test = |secret: &str| {
        let header = format!("authorization=Bearer {secret}");
        server.run(&["sources", "test", "own", "--header", &header]).code
    };
    assert_eq!((test("the first secret"), test(made.out.trim()), test("another secret")), (0, 0, 1));
    file(&server, "b.secret", "the second secret");
    let shown = server.done(&["sources", "rotate-secret", "own", "--secret-file=b.secret", "--keep=0s"]);
    assert!(shown.contains("secret sec_"), "{shown}");
    assert_eq!((test("the first secret"), test(made.out.trim()), test("the second secret")), (1, 1, 0));
}

#[test]
fn a_test_shows_what_a_request_would_do() {
    let server = Serving::start();
    file(&server, "body.json", r#"{"event": "task_completed", "task_id": 7}"#);
    let shown = server.done(&["sources", "test", "default", "--body=body.json", "--header=webhook-id=msg_1"]);
    insta::assert_snapshot!(shown, @r"
    verified     yes
    type         task_completed
    event        task_completed
    task         7
    delivery id  msg_1
    ");
    file(&server, "a.secret", "the first secret");
    server.done(&["sources", "set", "own", "--scheme=github", "--secret-file=a.secret"]);
    let refused = server.run(&["sources", "test", "own", "--body=body.json"]);
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains("it has no header x-hub-signature-256"), "{}", refused.out);
}

#[test]
fn what_is_wrong_is_told() {
    let server = Serving::start();
    for (arguments, code, says) in [
        (&["sources", "set", "x"][..], 1, "/verify: says how requests prove themselves"),
        (&["sources", "set", "x", "--scheme=githup"], 1, "did you mean \"github\"?"),
        (&["sources", "set", "x", "--scheme=github"], 1, "/verify/secrets: says which secrets"),
        (&["sources", "set", "x", "--scheme=github", "--secret-file=nowhere"], 2, "--secret-file nowhere:"),
        (&["sources", "set", "x", "--scheme=jwt", "--jwks=nowhere"], 2, "--jwks nowhere:"),
        (
            &["sources", "set", "x", "--scheme=jwt", "--audience=a"],
            1,
            "/verify/jwks: says which public keys sign",
        ),
        (&["sources", "set", "x", "--event=a"], 2, "must be NAME=VALUE"),
        (&["sources", "rotate-secret", "default", "--generate"], 1, "no secrets"),
        (&["sources", "rotate-secret", "default"], 2, "--secret-file"),
        (&["sources", "rotate-secret", "nobody", "--generate"], 3, "there is no source"),
        (&["sources", "test", "nobody"], 3, "there is no source"),
        (&["sources", "delete", "default"], 1, "always there"),
    ] {
        let ran = server.run(arguments);
        assert!(ran.code == code && ran.err.contains(says), "{arguments:?}: {} {}", ran.code, ran.err);
    }
}
