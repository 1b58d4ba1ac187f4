//! Schedules by the command line: previews without a server, the others against the real one.

use serde_json::{Value, json};

use crate::cli::program::{Serving, run, taskhook};

/// Runs a preview that must succeed.
#[track_caller]
fn preview(arguments: &[&str]) -> String {
    let ran = run(&[&["schedules", "preview"], arguments].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
    ran.out
}

#[test]
fn a_preview_explains_what_a_change_of_the_clocks_does() {
    let shown =
        preview(&["30 2 * * *", "--timezone", "America/New_York", "--from", "2026-03-07", "--count", "3"]);
    insta::assert_snapshot!(shown, @"
    AT                        LOCAL                                        NOTE
    2026-03-07T07:30:00.000Z  2026-03-07T02:30:00-05:00[America/New_York]
    2026-03-08T07:00:00.000Z  2026-03-08T03:00:00-04:00[America/New_York]  02:30 does not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so it runs at 03:00
    2026-03-09T06:30:00.000Z  2026-03-09T02:30:00-04:00[America/New_York]
    ");
}

#[test]
fn a_preview_is_data_for_programs() {
    let arguments =
        ["30 1 * * *", "--timezone", "europe/london", "--from", "2026-10-24T12:00:00Z", "--count", "2"];
    let shown = preview(&[&arguments[..], &["--output", "json"]].concat());
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let note = "01:30 happens twice on 2026-10-25 in Europe/London: clocks go back from 02:00 to 01:00, so it runs the first time only";
    assert_eq!(
        shown,
        json!({"data": [
            {"at": "2026-10-25T00:30:00.000Z", "local": "2026-10-25T01:30:00+01:00[Europe/London]", "note": note},
            {"at": "2026-10-26T01:30:00.000Z", "local": "2026-10-26T01:30:00+00:00[Europe/London]", "note": null},
        ]})
    );
}

#[test]
fn an_interval_is_counted_from_its_start() {
    let arguments =
        ["--every", "1d 12h", "--start-at", "2026-03-01T06:00:00Z", "--from", "2026-03-04T18:00:00Z"];
    let shown = preview(&[&arguments[..], &["--count", "2", "-o", "json"]].concat());
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let times: Vec<&Value> = shown["data"].as_array().unwrap().iter().map(|due| &due["at"]).collect();
    assert_eq!(times, ["2026-03-05T18:00:00.000Z", "2026-03-07T06:00:00.000Z"]);
    assert_eq!(preview(&["--every", "90s"]).lines().count(), 11);
}

#[test]
fn the_machines_own_time_zone_and_its_data_are_not_asked() {
    let arguments = ["schedules", "preview", "@daily", "--from", "2026-03-07", "--count", "1", "-o", "json"];
    let plain = run(&arguments).out;
    let elsewhere = taskhook(&arguments).env("TZ", "Asia/Tokyo").env("TZDIR", "/nowhere").run();
    assert_eq!((elsewhere.code, elsewhere.out), (0, plain));
}

#[test]
fn what_is_never_due_or_cannot_be_read_is_wrong_usage() {
    for (arguments, reason) in [
        (&["0 0 31 2 *"][..], "no year has day 31 in month 2"),
        (&["0 25 * * *"], "the hour \"25\" of \"0 25 * * *\": 25 is not from 0 to 23"),
        (&["@reboot"], "names no time"),
        (&["@daily", "--timezone", "Stockholm"], "did you mean Europe/Stockholm?"),
        (&["@daily", "--from", "monday"], "or a day such as 2026-03-07"),
        (&["@daily", "--count", "0"], "1..=1000"),
        (&["@daily", "--every", "90s"], "cannot be used with"),
        (&["@daily", "--start-at", "2026-03-07T00:00:00Z"], "cannot be used with"),
        (&["--every", "0s"], "at least one second"),
        (&["--every=-5s"], "must be a duration"),
        (&["--every", "1s", "--start-at", "2026-03-07"], "must be a time"),
        (&[], "required"),
    ] {
        let ran = run(&[&["schedules", "preview"], arguments].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{arguments:?}: {}", ran.err);
    }
}

/// What a schedule says and does, by the API.
fn schedule(server: &Serving, name: &str) -> Value {
    serde_json::from_str(&server.api(&format!("/v1/schedules/{name}"))).unwrap()
}

/// `text` without the table of the next instants, which changes with the time.
fn without_next(text: &str) -> &str {
    text.split("\n\nNEXT").next().unwrap_or_default()
}

#[test]
fn every_setting_of_a_schedule_can_be_given() {
    let server = Serving::start();
    let set = server.run(&[
        "schedules",
        "set",
        "nightly",
        "http://127.0.0.1:9/report",
        "--cron=30 2 * * *",
        "--timezone=europe/stockholm",
        "--overlap=buffer_one",
        "--catch-up=2h",
        "--missed=all",
        "--jitter=5m",
        "--start-at=2026-01-01T00:00:00Z",
        "--end-at=2999-01-01T00:00:00Z",
        "--method=PUT",
        "--header=x-team=a",
        "--payload={\"n\": 1.50}",
        "--name=report",
        "--priority=-7",
        "--concurrency-key=k",
        "--completion=callback",
        "--timeout=10m",
        "--request-timeout=5s",
        "--max-attempts=3",
        "--label=team=a",
    ]);
    assert_eq!((set.code, set.err.as_str()), (0, "schedule nightly is new\n"));
    insta::assert_snapshot!(without_next(&set.out), @r#"
    name             nightly
    when             30 2 * * * (Europe/Stockholm)
    paused           no
    overlap          buffer_one
    missed           all
    catch up         2h
    jitter           5m
    start at         2026-01-01T00:00:00.000Z
    end at           2999-01-01T00:00:00.000Z
    request          PUT http://127.0.0.1:9/report
    headers          x-team=a
    payload          {"n": 1.50}
    kind             report
    queue            default
    concurrency key  k
    priority         -7
    completion       callback
    timeout          10m
    request timeout  5s
    max attempts     3
    labels           team=a
    fired            0
    "#);
    assert_eq!(set.out.lines().filter(|line| line.ends_with("[Europe/Stockholm]")).count(), 10);
    let said = schedule(&server, "nightly");
    assert_eq!(said["task"]["payload"].to_string(), "{\"n\":1.5}");
    assert_eq!((&said["overlap"], &said["missed"]), (&json!("buffer_one"), &json!("all")));
    let printed: Value =
        serde_json::from_str(&server.done(&["schedules", "get", "nightly", "-o", "json"])).unwrap();
    assert_eq!(printed, said);
}

#[test]
fn set_changes_what_is_given_and_keeps_the_rest() {
    let server = Serving::start();
    server.done(&[
        "schedules",
        "set",
        "s",
        "http://127.0.0.1:9/",
        "--every=1h",
        "--payload=[1.00]",
        "--max-attempts=3",
    ]);
    server.done(&["schedules", "set", "s", "--cron=@daily", "--retry-max=1m", "--jitter=1m", "--paused"]);
    let said = schedule(&server, "s");
    for (field, value) in
        [("cron", json!("@daily")), ("every", Value::Null), ("jitter", json!("1m")), ("paused", json!(true))]
    {
        assert_eq!(said[field], value, "{field}");
    }
    assert_eq!(said["task"]["retry"], json!({"max_attempts": 3, "max": "1m"}));
    assert_eq!(said["task"]["url"], "http://127.0.0.1:9/");
    let raw = server.api("/v1/schedules/s");
    assert!(raw.contains("\"payload\":[1.00]"), "byte for byte: {raw}");

    server.done(&["schedules", "set", "s", "--clear", "jitter,retry,payload"]);
    let said = schedule(&server, "s");
    assert_eq!((&said["jitter"], &said["paused"]), (&json!("0s"), &json!(true)), "a pause is kept");
    assert_eq!((said["task"].get("retry"), said["task"].get("payload")), (None, None));
    let wrong = server.run(&["schedules", "set", "s", "--timezone=Mars/Base"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("there is no time zone \"Mars/Base\""), "{}", wrong.err);
    let never = server.run(&["schedules", "set", "t", "--cron=0 0 31 2 *"]);
    assert_eq!(never.code, 1);
    assert!(never.err.contains("no year has day 31 in month 2"), "{}", never.err);
    let zero = server.run(&["schedules", "set", "t", "--every=0s"]);
    assert!(zero.err.contains("at least one second"), "{}", zero.err);
    assert_eq!(server.run(&["schedules", "set", "t", "--every=1s", "--cron=@daily"]).code, 2);
    assert_eq!(server.run(&["schedules", "get", "t"]).code, 3, "what is refused is not there");
}

#[test]
fn schedules_are_listed_paused_triggered_and_deleted() {
    let server = Serving::start();
    server.done(&["schedules", "set", "a", "--every=1h"]);
    server.done(&["schedules", "set", "b", "--cron=0 12 * * *", "--timezone=Asia/Tokyo", "--paused"]);
    let listed = server.done(&["schedules", "list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("NAME  WHEN"), "{listed}");
    assert!(lines[1].starts_with("a     every 1h"), "{listed}");
    assert!(lines[2].contains("0 12 * * * (Asia/Tokyo)  yes"), "{listed}");
    let first = server.run(&["schedules", "list", "--limit=1"]);
    assert!(first.err.starts_with("there are more: --cursor "), "{}", first.err);

    assert_eq!(server.done(&["schedules", "pause", "a"]), "schedule a is paused\n");
    assert!(server.done(&["schedules", "resume", "b"]).starts_with("schedule b is next due at "));
    let made = server.done(&["schedules", "trigger", "a"]);
    assert!(
        made.starts_with("task a~20") && made.ends_with("the completion webhook of attempt 1\n"),
        "{made}"
    );
    let again = server.run(&["schedules", "trigger", "a"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("has not ended"), "{}", again.err);
    server.done(&["schedules", "trigger", "a", "--overlap", "allow"]);
    let shown = server.done(&["schedules", "get", "a"]);
    let requested = shown.lines().find_map(|line| line.strip_prefix("on request")).map(str::trim);
    assert_eq!(requested, Some("2"), "{shown}");
    assert!(shown.contains("its task was asked for"), "{shown}");

    let deleted = server.run(&["schedules", "delete", "a"]);
    assert_eq!((deleted.code, deleted.err.as_str()), (0, "schedule a is deleted; its tasks stay\n"));
    for command in ["get", "delete", "pause", "resume", "trigger"] {
        assert_eq!(server.run(&["schedules", command, "a"]).code, 3, "{command}");
    }
}

#[test]
fn a_backfill_is_counted_and_made() {
    let server = Serving::start();
    server.done(&["schedules", "set", "d", "--cron=0 0 * * *", "--start-at=2026-01-01T00:00:00Z"]);
    let week = ["schedules", "backfill", "d", "--from=2026-03-01T00:00:00Z", "--to=2026-03-08T00:00:00Z"];
    let instants = "the tasks of 7 instants from 2026-03-01T00:00:00.000Z to 2026-03-07T00:00:00.000Z";
    assert_eq!(server.done(&[&week[..], &["--dry-run"]].concat()), format!("{instants} would be made\n"));
    assert_eq!(schedule(&server, "d")["counts"]["requested"], 0);
    assert_eq!(server.done(&week), format!("{instants} are being made\n"));
    let future = server.run(&[
        "schedules",
        "backfill",
        "d",
        "--from=2026-03-01T00:00:00Z",
        "--to=2999-01-01T00:00:00Z",
    ]);
    assert!(future.err.contains("is in the future"), "{}", future.err);
}

#[test]
fn a_preview_of_a_schedule_is_the_servers() {
    let server = Serving::start();
    server.done(&["schedules", "set", "s", "--cron=30 2 * * *", "--timezone=America/New_York", "--paused"]);
    let shown =
        server.done(&["schedules", "preview", "--schedule=s", "--from=2026-03-08T00:00:00Z", "--count=1"]);
    assert_eq!(
        shown,
        preview(&["30 2 * * *", "--timezone=America/New_York", "--from=2026-03-08T00:00:00Z", "--count=1"])
    );
    assert_eq!(server.run(&["schedules", "preview", "--schedule=t"]).code, 3);
    assert_eq!(server.run(&["schedules", "preview", "--schedule=s", "--from=2026-03-08"]).code, 2);
    assert_eq!(server.run(&["schedules", "preview", "@daily", "--schedule=s"]).code, 2);
}
