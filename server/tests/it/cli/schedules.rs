//! `taskhook schedules`, which needs no server to say when something is due.

use serde_json::{Value, json};

use crate::cli::program::{run, taskhook};

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
