//! The command line, as a user has it: the real binary, its output and its exit codes.

mod bulk;
mod doctor;
mod keys;
mod program;
mod queues;
mod schedules;
mod serving;
mod sources;
mod tasks;

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use program::{Answering, run, taskhook};

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["serv"],
        &["tasks"],
        &["tasks", "get"],
        &["tasks", "get", ""],
        &["tasks", "list", "--output", "yaml"],
        &["tasks", "create", "--delay", "1s", "--run-at", "2026-11-24T00:00:00Z"],
        &["tasks", "create", "--payload", "{\"a\":"],
        &["tasks", "create", "--payload", "@/no/such/file"],
        &["tasks", "create", "--label", "novalue"],
        &["tasks", "create", "--label", "day=1", "--label", "day=2"],
        &["tasks", "create", "http://h.example/", "--header", "x-team"],
        &["tasks", "create", "http://h.example/", "--header", "x-team=a", "--header", "x-team=b"],
        &["tasks", "create", "--retry-factor", "inf"],
        &["tasks", "wait", "1", "--timeout", "soon"],
        &["queues"],
        &["queues", "get"],
        &["queues", "get", ""],
        &["queues", "pause", "a", "b"],
        &["queues", "list", "--limit", "many"],
        &["queues", "set", "--concurrency", "1"],
        &["queues", "set", ""],
        &["queues", "set", "a", "--concurrency", "-1"],
        &["queues", "set", "a", "--concurrency", "none"],
        &["queues", "set", "a", "--rate", "100"],
        &["queues", "set", "a", "--rate", "100/second"],
        &["queues", "set", "a", "--key-rate", "100/1s+"],
        &["queues", "set", "a", "--retry-factor", "NaN"],
        &["queues", "set", "a", "--completion", "never"],
        &["queues", "set", "a", "--clear", "everything"],
        &["queues", "set", "a", "--clear", "name"],
        &["queues", "set", "a", "--clear", "timeout,rate", "--rate", "1/1s"],
        &["send", "task_completed", "1", "--result", "done"],
        &["tasks", "list", "--url", "localhost:8420"],
        &["doctor", "--store", "taskhook.db"],
        &["completions", "tcl"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}: what is wrong is no data");
        assert_ne!(ran.err, "", "{arguments:?}");
    }
}

#[test]
fn help_is_data_and_leads_with_an_example() {
    for arguments in [&["--help"][..], &["tasks", "create", "--help"], &["help", "send"], &["serve", "-h"]] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.out.starts_with("taskhook "), "{}", ran.out);
    }
    assert_eq!(run(&["--version"]).out, format!("taskhook {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_server_that_does_not_answer_is_exit_code_5() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for arguments in [
        &["tasks", "list"][..],
        &["tasks", "create", "http://worker.example/x", "--wait"],
        &["tasks", "wait", "123"],
        &["send", "task_completed", "123"],
        &["events", "list"],
        &["queues", "list"],
        &["queues", "set", "images", "--concurrency", "1"],
        &["queues", "pause", "images"],
        &["doctor"],
    ] {
        let ran = taskhook(arguments).env("TASKHOOK_URL", &url).run();
        assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(&format!("no server answers at {url}")), "{}", ran.err);
    }
}

#[test]
fn a_refusal_is_exit_code_4_and_told_with_its_detail() {
    let body = r#"{"type": "about:blank", "title": "Forbidden", "status": 403, "code": "open_server",
        "detail": "the request was forwarded"}"#;
    for status in ["403 Forbidden", "401 Unauthorized"] {
        for arguments in [&["tasks", "list"][..], &["queues", "set", "images"]] {
            let server = Answering::once(status, body);
            let ran = run(&[arguments, &["--url", &server.url]].concat());
            assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{status}");
            assert_eq!(ran.err, "error: Forbidden: the request was forwarded\n");
        }
    }
}

#[test]
fn an_answer_that_is_not_taskhooks_is_told_as_such() {
    let server = Answering::once("200 OK", "<html>hello</html>");
    let ran = run(&["tasks", "list", "--url", &server.url]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("is the URL right?"), "{}", ran.err);

    let server = Answering::once("502 Bad Gateway", "<html>nobody home</html>");
    let ran = run(&["tasks", "list", "--url", &server.url]);
    let text = "error: the server answered 502 Bad Gateway, and not as Taskhook does; is its URL right?\n";
    assert_eq!((ran.code, ran.err.as_str()), (1, text));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell}");
        assert!(ran.out.contains("explain"), "{shell}");
    }
}

#[test]
fn the_default_settings_are_printed_with_their_meaning() {
    let ran = run(&["config", "default"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, taskhook::config::DEFAULT_FILE));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut command = taskhook(&["completions", "zsh"]).command;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
